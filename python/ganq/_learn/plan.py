"""What a calibration needs, found out before it starts by a run on the device "meta", which computes nothing."""

import os
import shutil

import torch

from .._tools import GanqError
from .learn import MAX_CONSTANTS, MAX_MAPS, BlockLearner, Runner

# Values of the stream that are kept of each row: before a block in both models, and what it is to give.
_STREAMS = 4
# What is alive at once beyond what is saved for the gradients.
_SLACK = 1.5
# Bytes for each learned number: itself, its gradient, AdamW's two moments, what the backward pass and an
# update make on their way, copies as it is written.
_PARAMETER = 48
# Parts of the libraries that are loaded as learning begins.
_BASE = 256 << 20


def _learning_bytes(learner):
    """What learning takes of the device for one batch, weights and all."""
    storages, kept = {}, []

    def save(x):
        storage = x.untyped_storage()
        storages[storage._cdata] = storage.nbytes()
        kept.append(x)  # so that no other storage gets its place
        return x

    sites = learner.start()
    with torch.autograd.graph.saved_tensors_hooks(save, lambda x: x):
        learner.loss(0, learner.functions(sites))
    parameters = {id(p): p.numel() for group in learner.parameters(sites) for p in group}
    weights = sum(weight.numel() for weight in learner.weights.values())
    return 4 * weights + _PARAMETER * sum(parameters.values()) + int(_SLACK * sum(storages.values()))


def _check_length(graph, tokens, block):
    """Refuses rows of tokens that are too long for the model where shorter ones are not."""

    def attempt(length):
        runner = Runner(graph, tokens[:, :length], len(tokens), torch.device("meta"))
        with torch.no_grad():
            runner.compute(0, graph.needed([block.output], runner.known), {}, [block.output])

    length = tokens.shape[1]
    try:
        attempt(length)
    except GanqError as error:
        fits, fails = 0, length
        while fails - fits > 1:
            middle = (fits + fails) // 2
            try:
                attempt(middle)
                fits = middle
            except GanqError:
                fails = middle
        if not fits:
            raise
        raise GanqError(f"expected rows of at most {fits} tokens, but got {length}") from error


def make_plan(graph, tokens, blocks, config, device):
    """What a run takes more than it has: bytes of "memory", of another "device"'s memory and of the "disk"."""
    rows = len(tokens)
    batch = min(config.batch, rows)
    _check_length(graph, tokens[:batch], blocks[0])
    runner = Runner(graph, tokens[:batch], batch, torch.device("meta"))
    with torch.no_grad():
        prefix = graph.needed([blocks[0].input], runner.known)
        (x,) = runner.compute(0, prefix, {}, [blocks[0].input])
    widest, learning, disk, forms = x.numel(), 0, 0, set()
    maps = 0
    for block in blocks:
        sizes = {product.key: product.n * product.k for product in block.products}
        disk += 8 * sum(sizes.values()) if config.weights else 0
        form = (tuple(node.op for node in block.nodes), tuple(sizes.values()), tuple(x.shape))
        if form not in forms:
            forms.add(form)
            learner = BlockLearner(graph, runner, block, [x], [x], [0], config, {}, config.compensation)
            learning = max(learning, _learning_bytes(learner))
            maps = max(maps, sum(4 * map.numel() for map in learner.maps[0] or []) * rows // batch)
        with torch.no_grad():
            (x,) = runner.compute(0, block.nodes, {block.input: x}, [block.output])
        widest = max(widest, x.numel())
    largest = 4 * max((product.n * product.k for product in graph.products), default=0)
    learning += min(MAX_CONSTANTS, largest) + largest
    streams = _STREAMS * 4 * widest * rows // batch
    # The constants inside the model's file stay in memory with it.
    memory = _BASE + streams + min(MAX_MAPS, maps) + os.path.getsize(graph.path)
    on_cpu = device.type == "cpu"
    return {"memory": memory + learning * on_cpu, "device": learning * (not on_cpu), "disk": disk}


def _free_memory():
    """What of the machine's memory is free, or None where that is not known."""
    try:
        with open("/proc/meminfo") as file:
            entries = dict(line.split(":", 1) for line in file)
        free = 1024 * int(entries["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return None
    try:
        with open("/sys/fs/cgroup/memory.max") as limit, open("/sys/fs/cgroup/memory.current") as used:
            free = min(free, int(limit.read()) - int(used.read()))
    except (OSError, ValueError):  # no limit
        pass
    return free


def check_plan(plan, device, folder):
    """Refuses a plan for which memory, the device or the disk is too small. Returns what is free."""
    free = {"memory": _free_memory(), "device": None, "disk": shutil.disk_usage(folder).free}
    if device.type == "cuda":
        free["device"] = torch.cuda.mem_get_info(device)[0]
    remedies = {
        "memory": "use fewer rows of tokens, shorter ones or a smaller batch",
        "device": "use a smaller batch or shorter rows of tokens",
        "disk": "write to another disk",
    }
    names = {"memory": "memory", "device": f"memory of {device}", "disk": f"space in {folder}"}
    for what, needed in plan.items():
        if free[what] is not None and needed > free[what]:
            raise GanqError(
                f"expected {needed / 2**30:.2f} GiB of {names[what]}, but got {free[what] / 2**30:.2f} GiB "
                f"free; {remedies[what]}"
            )
    return free
