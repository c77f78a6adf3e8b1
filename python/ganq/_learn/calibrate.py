"""The whole calibration of a model: blocks in order, a file that grows, a summary."""

import hashlib
import json
import math
import os
import re
import time
from dataclasses import asdict

import numpy as np
import torch

from .._tools import GanqError
from .choose import choose_setting, default_setting, divergence, hold_out
from .graph import Graph
from .learn import (
    BlockLearner,
    Config,
    Diverged,
    Runner,
    Setting,
    apply_stored,
    choose_device,
    learn_block,
)
from .plan import check_plan, make_plan
from .store import Store

# Blocks whose last product is compensated (ABQ-LLM): the first three and the last four.
_FIRST, _LAST = 3, 4


def _check(condition, expected, got):
    if not condition:
        raise GanqError(f"expected {expected}, but got {got}")


def _make_config(graph, bits, levels, group, activation_bits, smooth, shift, compensation, epochs, **rest):
    _check(1 <= bits <= 8, "1 to 8 bits", bits)
    levels = 2**bits if levels is None else levels
    _check(
        2 <= levels <= min(2**bits + 1, 256), f"2 to {min(2**bits + 1, 256)} levels with {bits} bits", levels
    )
    _check(group >= 0, "a group of at least 0 columns", group)
    _check(0 <= activation_bits <= 8, "0 (floating point) to 8 activation bits", activation_bits)
    smooth = activation_bits > 0 if smooth is None else smooth
    _check(not shift or (smooth and activation_bits), "shift with smooth and activation bits", "it without")
    _check(epochs is None or epochs >= 1, "at least one epoch", epochs)
    _check(rest["batch"] >= 1, "a batch of at least one row", rest["batch"])
    _check(rest["seed"] >= 0, "a seed of at least 0", rest["seed"])
    _check(rest["attention"] >= 0, "a weight of the attention loss of at least 0", rest["attention"])
    rates = tuple(float(rate) for rate in rest.pop("learning_rates"))
    _check(len(rates) == 4 and all(rate >= 0 for rate in rates), "four learning rates of at least 0", rates)
    return Config(
        levels=levels,
        group=group,
        activation_bits=activation_bits,
        smooth=bool(smooth),
        shift=bool(shift),
        compensation=bool(levels <= 5 and not rest["weights"] if compensation is None else compensation),
        epochs=epochs,
        learning_rates=rates,
        **rest,
    )


def scheme_text(config):
    """The compiler's name of the scheme, for --scheme."""
    fields = {
        "bits": (config.levels - 1).bit_length(),
        "levels": config.levels if config.levels & (config.levels - 1) else 0,
        "group": config.group,
        "activation": config.activation_bits,
    }
    text = [f"{name} = {value}" for name, value in fields.items() if value]
    text += [f"{name} = true" for name in ("smooth", "shift") if getattr(config, name)]
    return f"uniform<{', '.join(text)}>"


def choose_keys(graph, exclude=None, quantize_head=False):
    """The keys of the weights to quantize: all but the head's and those that `exclude` matches."""
    keys = {product.key for product in graph.products}
    if exclude is not None:
        try:
            pattern = re.compile(exclude)
        except re.error as error:
            raise GanqError(
                f"expected exclude to be a regular expression, but got '{exclude}': {error}"
            ) from None
        matched = {key for key in keys if pattern.search(key)}
        _check(
            matched, "exclude to match at least one weight", f"'{exclude}', which matches none of {len(keys)}"
        )
        keys -= matched
    return keys if quantize_head else keys - graph.heads


def _check_output(output, model):
    folder = os.path.dirname(os.path.abspath(output))
    _check(os.path.isdir(folder), f"a folder for the output {output}", "a path whose folder does not exist")
    _check(os.access(folder, os.W_OK), f"a folder for the output {output}", "one that cannot be written")
    _check(not os.path.isdir(output), f"a file for the output {output}", "a folder")
    same = os.path.exists(output) and os.path.exists(model) and os.path.samefile(output, model)
    _check(not same, "an output besides the model", output)
    return folder


def _check_weights(graph):
    """Refuses weights that are not finite before any time is spent."""
    read = {name for node in graph.nodes for name in node.inputs}
    products = {product.weight for product in graph.products}
    for name in graph.weights:
        if name in read and graph.weights.is_float(name):
            weight = graph.weights[name]
            # Masks may hold -inf.
            finite = torch.isfinite(weight) if name in products else ~torch.isnan(weight)
            if not finite.all():
                place = (~finite).nonzero()[0].tolist()
                value = weight[tuple(place)].item()
                raise GanqError(
                    f"expected finite weights in '{name}' of {graph.path}, but got {value} at {place}"
                )


def _check_stream(values, what):
    for row, value in enumerate(values):
        _check(
            torch.isfinite(value).all(), f"finite activations {what}", f"others in batch {row} of the tokens"
        )


def _describe(summary):
    """What a run is and needs, in a line."""
    names = {"memory": "memory", "device": f"memory of {summary['device']}", "disk": "disk space"}
    needs = [f"{count / 2**30:.2f} GiB of {names[what]}" for what, count in summary["needs"].items() if count]
    return (
        f"{summary['blocks']} blocks, {summary['tokens']} tokens, {summary['device']}; "
        f"takes up to {', '.join(needs)}"
    )


def _load_inputs(inputs, rows):
    """Arrays of inputs {name: array or path of a .npy file}, with one row or those of the tokens."""
    loaded = {}
    for name, value in (inputs or {}).items():
        if isinstance(value, (str, os.PathLike)):
            try:
                value = np.load(value, allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise GanqError(f"cannot read the input '{name}' from {os.fspath(value)}: {error}") from None
        value = np.asarray(value)
        fits = value.ndim > 0 and value.dtype.kind in "iufb" and value.shape[0] in (1, rows)
        expected = f"the input '{name}' to be numbers with 1 or {rows} rows, one for each row of tokens"
        _check(fits, expected, f"{list(value.shape)} of {value.dtype}")
        loaded[name] = value
    return loaded


def calibrate_model(
    path, output, tokens, *, inputs, exclude, quantize_head, device, dry_run, progress, on_note, **options
):
    """See ganq.calibrate; tokens are int64 [rows, length]."""
    start = time.monotonic()
    note = on_note or (lambda text: None)
    folder = _check_output(output, path)
    device = choose_device(device)
    inputs = _load_inputs(inputs, len(tokens))
    graph = Graph(path, inputs)
    config = _make_config(graph, **options)
    _check(
        tokens.min() >= 0 and tokens.max() < graph.vocabulary,
        f"token ids from 0 to {graph.vocabulary - 1}",
        f"{tokens.min()} to {tokens.max()}",
    )
    chosen = choose_keys(graph, exclude, quantize_head)
    blocks = graph.blocks(chosen)
    plan = make_plan(graph, tokens, blocks, config, device)
    free = check_plan(plan, device, folder)
    settings = {name: value for name, value in asdict(config).items() if name != "batch"}
    summary = {
        "output": output,
        "scheme": scheme_text(config),
        "model": path,
        "device": str(device),
        "blocks": len(blocks),
        "tokens": tokens.size,
        "needs": plan,
        "free": free,
        **settings,
    }
    note(_describe(summary))
    if dry_run:
        return summary
    _check_weights(graph)
    metadata = {"ganq.calibration": "1", "ganq.model": graph.sha256, "ganq.learned": json.dumps(settings)}
    metadata["ganq.scheme"] = scheme_text(config)
    identity = {
        **asdict(config),
        "model": graph.sha256 + graph.weights.digest(),
        "tokens": [tokens.shape, hashlib.sha256(tokens.tobytes()).hexdigest()],
        "inputs": {name: hashlib.sha256(value.tobytes()).hexdigest() for name, value in inputs.items()},
        "weights to learn": sorted(chosen),
    }
    batches = -(-len(tokens) // config.batch)
    with Store(output, metadata, identity) as store:
        resumed = len(store.losses)
        if store.other_run:
            note(
                f"{store.folder} is of another run, with other {', '.join(store.other_run)}: starting afresh"
            )
        task = _Task(graph, tokens, blocks, config, device, progress)
        setting = Setting(config.epochs, 1.0) if config.epochs else _choose(task, store, batches, note)
        task.learn(store, setting, range(batches))
        store.finish()
    return {
        **summary,
        "resumed_blocks": resumed,
        "other_run": store.other_run,
        "quantized": len(store.blocks),
        "trials": {name: found if math.isfinite(found) else None for name, found in store.trials.items()},
        "chosen": [setting.epochs, setting.rate],
        "loss": store.losses,
        "seconds": round(time.monotonic() - start, 3),
    }


def _choose(task, store, batches, note):
    """The Setting that trials on some of the batches find the best; each trial is a run that can be resumed."""
    config = task.config
    learned, held = hold_out(batches, config.seed)
    if not len(held):
        return default_setting(config.weights)

    def attempt(setting):
        name = f"{setting.epochs}x{setting.rate:g}"
        if name not in store.trials:
            identity = {**store.identity, "trial": name}
            with Store(os.path.join(store.folder, name), {}, identity) as trial:
                try:
                    results = task.learn(trial, setting, learned, is_trial=True)
                    found = divergence(task.runner, task.blocks[-1], *results, held)
                except Diverged:
                    found = math.inf
                store.add_trial(name, found)
                trial.drop()
        note(
            f"{setting.epochs} epochs at {setting.rate:g} of the learning rates: "
            f"divergence {store.trials[name]:.4g} on rows held out"
        )
        return store.trials[name]

    return choose_setting(config.weights, attempt)


class _Task:
    """All blocks of a model, to be learned from rows of tokens."""

    def __init__(self, graph, tokens, blocks, config, device, progress):
        self.graph, self.blocks, self.config, self.device = graph, blocks, config, device
        self.progress = progress
        self.runner = Runner(graph, tokens, config.batch, device)

    def learn(self, store, setting, batches, is_trial=False):
        """Learns the blocks that `store` lacks from `batches`.

        A trial returns what the last block gives for all batches, in the unquantized model and the rounded.
        """
        graph, runner, blocks, config = self.graph, self.runner, self.blocks, self.config
        resumed, rows = len(store.losses), range(len(runner.batches))
        with torch.no_grad():
            prefix = graph.needed([blocks[0].input], runner.known)
            exact = [runner.compute(i, prefix, {}, [blocks[0].input])[0].cpu() for i in rows]
        _check_stream(exact, "of the embedding")
        runner.constants.clear()
        rounded = list(exact)
        for index, block in enumerate(blocks):

            @torch.no_grad()
            def advance(i, x, products=None):
                return runner.compute(i, block.nodes, {block.input: x}, [block.output], products)[0].cpu()

            def report(epoch, setting, loss):
                if self.progress:
                    self.progress(index, len(blocks), epoch, setting.epochs, loss)

            following = None
            if index >= resumed:
                compensate = config.compensation and (index < _FIRST or index >= len(blocks) - _LAST)
                known = store.get({product.key for product in block.products})
                learner = BlockLearner(
                    graph, runner, block, rounded, exact, batches, config, known, compensate
                )
                following = [output for output, _ in learner.outputs]
                _check_stream(following, f"behind block {index}")
                store.add(*learn_block(learner, index, setting, batches, report))
                del learner
            if index + 1 == len(blocks) and not is_trial:
                return None
            exact = following or [advance(i, exact[i]) for i in rows]
            learned = store.get({product.key for product in block.products})
            with torch.no_grad():
                functions = apply_stored(graph, block.products, learned, config, self.device).functions()
            rounded = [advance(i, rounded[i], functions) for i in rows]
            runner.constants.clear()
        return exact, rounded
