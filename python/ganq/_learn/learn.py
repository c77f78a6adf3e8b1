"""Block-wise reconstruction: ABQ-LLM's distribution correction (AAAI 2025, section 3)."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from .._tools import GanqError
from . import operators
from .graph import CONSTANT, SHAPE, Constants, run
from .quantize import apply_product, bounds, half_through, round_weight, transform_weight

# Attention maps of the unquantized model are kept up to so many bytes, else recomputed.
MAX_MAPS = 1 << 30
# Bytes of constants that are kept while no block is at work.
MAX_CONSTANTS = 1 << 30


@dataclass(frozen=True)
class Config:
    """What is learned, and how; see ganq.calibrate."""

    levels: int
    group: int
    activation_bits: int
    smooth: bool
    shift: bool
    compensation: bool
    weights: bool
    epochs: int  # None: as rows that are held out say
    batch: int
    seed: int
    learning_rates: tuple  # of input scales and shifts, clipping, compensation, weights
    attention: float  # weight of the attention loss


@dataclass(frozen=True)
class Setting:
    """How long and how fast a block is learned."""

    epochs: int
    rate: float  # times Config.learning_rates


def choose_device(name):
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise GanqError(f"expected a device that holds values, but got '{name}'")
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise GanqError(f"cannot use the device '{name}': {str(error).splitlines()[0]}") from None
    return device


# Parameters


class Input:
    """The learned scale and shift of a value that products read."""

    def __init__(self, rows, weights, config):
        """rows: greatest magnitude, least and greatest value of each channel, [3, k]."""
        magnitude = rows[0]
        if config.shift:
            shift = (rows[1] + rows[2]) / 2
            magnitude = (rows[2] - shift).abs()
        largest = torch.stack([weight.abs().amax(0) for weight in weights]).amax(0)
        scale = (magnitude.clamp(min=1e-5) / largest.clamp(min=1e-5)).sqrt()
        scale = (scale / scale.log().mean().exp()).clamp(min=1e-2)
        self.log_scale = scale.log().requires_grad_()
        self.shift = shift.clone().requires_grad_() if config.shift else None

    def parameters(self):
        return [self.log_scale] if self.shift is None else [self.log_scale, self.shift]

    def tensors(self):
        tensors = {"input_scale": half_through(self.log_scale.exp().clamp(1e-2, 6e4))}
        if self.shift is not None:
            tensors["input_shift"] = half_through(self.shift.clamp(-6e4, 6e4))
        return tensors


class Weight:
    """The learned clipping, compensation and change of a weight."""

    def __init__(self, weight, source, config, compensate):
        self.weight, self.source, self.config = weight, source, config
        low, _ = bounds(weight, config.group)
        self.low = torch.full_like(low, 4.0, requires_grad=True)
        self.high = torch.full_like(low, 4.0, requires_grad=True)
        self.left = self.right = None
        if compensate:
            self.left = torch.zeros(weight.shape[0], device=weight.device, requires_grad=True)
            self.right = torch.ones(weight.shape[1], device=weight.device, requires_grad=True)
        # In units of the weights' size, which makes the learning rate one for all models.
        self.unit = weight.square().mean().sqrt()
        self.delta = torch.zeros_like(weight, requires_grad=True) if config.weights else None

    def parameters(self):
        """Those of clipping, of compensation and of the weight."""
        found = [self.low, self.high], [self.left, self.right], [self.delta]
        return [[parameter for parameter in group if parameter is not None] for group in found]

    def tensors(self):
        """What calibration.safetensors holds, and W' rounded with it."""
        learned = self.source.tensors() if self.source else {}
        if self.delta is not None:
            learned["weight_delta"] = self.unit * self.delta
        if self.left is not None:
            learned["compensation_left"], learned["compensation_right"] = self.left, self.right
        w = transform_weight(self.weight, learned)
        low, high = bounds(w, self.config.group)
        learned["clip_low"] = torch.sigmoid(self.low) * low
        learned["clip_high"] = torch.sigmoid(self.high) * high
        rounded = round_weight(
            w, learned["clip_low"], learned["clip_high"], self.config.levels, self.config.group
        )
        return learned, rounded


class Stored:
    """The same interface for tensors that are final; without any, plain rounding."""

    def __init__(self, weight, learned, config):
        self.weight = weight
        w = transform_weight(weight, learned)
        low, high = (learned["clip_low"], learned["clip_high"]) if learned else bounds(w, config.group)
        self.result = learned, round_weight(w, low, high, config.levels, config.group)

    def tensors(self):
        return self.result


class Quantizer:
    """Stands in for the products with the weights `sites`, {key: Weight or Stored}."""

    def __init__(self, products, sites, config):
        self.products, self.sites, self.config = products, sites, config

    def functions(self):
        """{id(node): function} for graph.run; weights are rounded once for all of them."""
        states = {key: site.tensors() for key, site in self.sites.items()}

        def function(product):
            weight, (learned, rounded) = self.sites[product.key].weight, states[product.key]

            def compute(node, operands):
                y = apply_product(operands[0], weight, rounded, learned, self.config.activation_bits)
                return operators.add_gemm(node, y, *operands[2:]) if node.op == "Gemm" else y

            return compute

        return {id(product.node): function(product) for product in self.products}


class Diverged(GanqError):
    """The loss is no longer finite."""


# Loss


def output_loss(y, target):
    """MSE(y, target) - log |cos(y, target)|, the angle taken token by token."""
    cosine = F.cosine_similarity(y, target, dim=-1).abs().clamp(min=1e-6)
    return F.mse_loss(y, target) - cosine.log().mean()


def attention_loss(map, target):
    """|KL(target, map)| + |KL(map, target)| of rows of probabilities, the mean over rows."""
    ratio = (target + 1e-8).log() - (map + 1e-8).log()
    return (target * ratio).sum(-1).mean().abs() + (map * ratio).sum(-1).mean().abs()


# Runs


class Runner:
    """Runs parts of a model on batches of token ids."""

    def __init__(self, graph, tokens, batch, device):
        """tokens: integers [rows, length]."""
        self.graph, self.device = graph, device
        self.batches = list(torch.from_numpy(tokens.astype(np.int64)).split(batch))
        self.firsts = range(0, len(tokens), batch)
        self.constants = Constants(graph, device)
        self.passing = Constants(graph, device, MAX_CONSTANTS)
        self.contexts = {}
        self.known = {name for name, kind in graph.kinds.items() if kind in (CONSTANT, SHAPE)}

    def _values(self, i, nodes):
        """The inputs, and what `nodes` read of the values that follow from their sizes."""
        inputs = self.graph.inputs_for(self.batches[i], self.firsts[i])
        size = len(self.batches[i])
        if size not in self.contexts:
            names = {x for node in self.graph.nodes for x in node.inputs if self.graph.kinds[x] == SHAPE}
            stop = {name for name in self.known if self.graph.kinds[name] == CONSTANT}
            needed = self.graph.needed(names, stop)
            with torch.no_grad():
                # On the CPU: sizes may go through floating point.
                constants = Constants(self.graph, torch.device("cpu"), MAX_CONSTANTS)
                values = run(self.graph, needed, dict(inputs), constants, names)
            self.contexts[size] = {
                name: (
                    value.to(self.device) if value.is_floating_point() or value.dtype == torch.bool else value
                )
                for name, value in zip(names, values)
            }
        inputs[self.graph.tokens] = inputs[self.graph.tokens].to(self.device)
        context = self.contexts[size]
        inputs.update((x, context[x]) for node in nodes for x in node.inputs if x in context)
        return inputs

    def compute(self, i, nodes, given, outputs, products=None, constants=None):
        values = self._values(i, nodes)
        values.update((name, value.to(self.device)) for name, value in given.items())
        return run(self.graph, nodes, values, constants or self.constants, outputs, products)

    def compute_once(self, i, nodes, given, outputs, products=None):
        """Keeps few of the constants: for many layers at once."""
        return self.compute(i, nodes, given, outputs, products, self.passing)


def average_maps(maps):
    """Attention [batch, heads, queries, keys] as the mean over heads."""
    return [map.mean(1) if map.dim() == 4 else map for map in maps if map.dim() >= 3]


def observe_inputs(runner, block, streams, batches):
    """{value: [3, k] greatest magnitude, least and greatest value by channel} of the products' inputs."""
    names = list(dict.fromkeys(product.node.inputs[0] for product in block.products))
    result = {}
    for i in batches:
        for name, value in zip(names, runner.compute(i, block.nodes, {block.input: streams[i]}, names)):
            value = value.flatten(0, -2)
            low, high = value.amin(0), value.amax(0)
            row = torch.stack([value.abs().amax(0), -low, high])
            result[name] = torch.maximum(result[name], row) if name in result else row
    return {name: torch.stack([row[0], -row[1], row[2]]) for name, row in result.items()}


def make_sites(block, weights, ranges, config, stored, compensate):
    """{key: Weight or Stored} for a block; weights that an earlier block learned stay as they are.

    weights: {key: W}. ranges: see observe_inputs.
    """
    sites, by_key = {}, {}
    for product in block.products:
        by_key.setdefault(product.key, product)
    for key in by_key:
        if key in stored:
            sites[key] = Stored(weights[key], stored[key], config)
    # Products that read one value share its scale, and so do all uses of one weight.
    groups = []
    for product in block.products:
        names, keys = {product.node.inputs[0]}, {product.key}
        for group in [group for group in groups if group[0] & names or group[1] & keys]:
            groups.remove(group)
            names, keys = names | group[0], keys | group[1]
        groups.append((names, keys))
    for names, keys in groups:
        new = [key for key in by_key if key in keys and key not in stored]
        source = None
        if config.smooth and new:
            row = torch.stack([ranges[name] for name in sorted(names)])
            row = torch.stack([row[:, 0].amax(0), row[:, 1].amin(0), row[:, 2].amax(0)])
            source = Input(row, [weights[key] for key in new], config)
        for key in new:
            sites[key] = Weight(weights[key], source, config, compensate and block.down.key == key)
    return sites


class BlockLearner:
    """A block with what it reads and what it is to give, for all batches of rows.

    streams: the block's input behind quantized blocks, targets: in the unquantized model. batches: those to
    learn from.
    """

    def __init__(self, graph, runner, block, streams, targets, batches, config, stored, compensate):
        self.graph, self.runner, self.block, self.config = graph, runner, block, config
        self.streams, self.targets = streams, targets
        self.stored, self.compensate = stored, compensate
        self.outputs, self.maps, room = [], [], MAX_MAPS
        with torch.no_grad():
            weights = {product.key: product for product in block.products}
            self.weights = {key: graph.weight(product, runner.device) for key, product in weights.items()}
            self.ranges = observe_inputs(runner, block, streams, batches) if config.smooth else {}
            for i, (x, x_fp) in enumerate(zip(streams, targets)):
                y_fp, *attention = runner.compute(
                    i, block.nodes, {block.input: x_fp}, [block.output, *block.attentions]
                )
                (y_q,) = runner.compute(i, block.nodes, {block.input: x}, [block.output])
                self.outputs.append((y_fp.to(x.device), y_q.to(x.device)))
                attention = average_maps(attention) if config.attention else []
                room -= sum(4 * map.numel() for map in attention)
                self.maps.append([map.to(x.device) for map in attention] if room >= 0 else None)
        runner.constants.clear()  # the weights of the products

    def functions(self, sites):
        return Quantizer(self.block.products, sites, self.config).functions()

    def output(self, i, functions):
        block = self.block
        return self.runner.compute(i, block.nodes, {block.input: self.streams[i]}, [block.output], functions)[
            0
        ]

    def loss(self, i, functions):
        """The loss of batch i with the products `functions`."""
        block = self.block
        wanted = [block.output, *(block.attentions if self.config.attention else [])]
        y, *attention = self.runner.compute(i, block.nodes, {block.input: self.streams[i]}, wanted, functions)
        loss = sum(output_loss(y, target.to(y.device)) for target in self.outputs[i])
        target = self.maps[i]
        if target is None:
            with torch.no_grad():
                target = average_maps(
                    self.runner.compute(i, block.nodes, {block.input: self.targets[i]}, block.attentions)
                )
        for map, expected in zip(average_maps(attention), target):
            loss = loss + self.config.attention * attention_loss(map, expected.to(y.device))
        return loss

    @torch.no_grad()
    def judge(self, sites, batches):
        """The mean loss of rows with the weights `sites`."""
        functions = self.functions(sites)
        sizes = [len(self.streams[i]) for i in batches]
        total = sum(self.loss(i, functions).item() * size for i, size in zip(batches, sizes))
        return total / sum(sizes)

    def start(self):
        """{key: Weight or Stored} as learning begins."""
        with torch.no_grad():
            return make_sites(
                self.block, self.weights, self.ranges, self.config, self.stored, self.compensate
            )

    @staticmethod
    def parameters(sites):
        """What is learned of `sites`, in the order of Config.learning_rates."""
        learned = [site for site in sites.values() if isinstance(site, Weight)]
        sources = {id(site.source): site.source for site in learned if site.source}
        groups = [[p for source in sources.values() for p in source.parameters()], [], [], []]
        for site in learned:
            for group, parameters in zip(groups[1:], site.parameters()):
                group.extend(parameters)
        return groups

    def learn(self, sites, batches, setting, order, report):
        """Changes `sites` by `setting.epochs` passes over `batches`."""
        if not setting.epochs:
            return
        rates = [setting.rate * rate for rate in self.config.learning_rates]
        groups = zip(self.parameters(sites), rates)
        optimizer = torch.optim.AdamW(
            [{"params": p, "lr": rate} for p, rate in groups if p], weight_decay=0.0
        )
        steps = setting.epochs * len(batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: (1 + math.cos(math.pi * step / steps)) / 2
        )
        for epoch in range(setting.epochs):
            total, rows = 0.0, 0
            for i in order.permutation(batches):
                loss = self.loss(i, self.functions(sites))
                if not torch.isfinite(loss):
                    raise Diverged(
                        f"expected a finite loss, but got {loss.item()} in epoch {epoch}; "
                        "lower the learning rates"
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.item() * len(self.streams[i])
                rows += len(self.streams[i])
            report(epoch, setting, total / rows)


def learned_tensors(sites, config):
    """{key: {suffix: tensor}} of what is learned in `sites`."""
    # What the compiler checks its scheme against.
    form = torch.tensor([config.levels, config.group, config.activation_bits])
    with torch.no_grad():
        learned = {key: site.tensors()[0] for key, site in sites.items() if isinstance(site, Weight)}
    return {key: {**tensors, "format": form} for key, tensors in learned.items()}


def learn_block(learner, index, setting, batches, report):
    """(tensors {key: {suffix: tensor}}, loss of the rows `batches` before and after) of a block.

    report: called with (epoch, setting, loss).
    """
    sites = learner.start()
    if not any(learner.parameters(sites)):  # earlier blocks learned all of its weights
        return {}, [0.0, 0.0]
    before = learner.judge(sites, batches)
    learner.learn(sites, batches, setting, np.random.default_rng([learner.config.seed, index]), report)
    after = learner.judge(sites, batches) if setting.epochs else before
    return learned_tensors(sites, learner.config), [before, after]


def apply_stored(graph, products, tensors, config, device):
    """A Quantizer with final tensors, {key: {suffix: tensor}}."""
    sites = {}
    for product in products:
        if product.key not in sites:
            learned = {name: value.to(device) for name, value in tensors.get(product.key, {}).items()}
            sites[product.key] = Stored(graph.weight(product, device), learned, config)
    return Quantizer(products, sites, config)


@torch.no_grad()
def perplexity(graph, tokens, config=None, tensors=None, chosen=(), device="cpu", batch=8):
    """exp of the mean cross-entropy on tokens [rows, length]; targets of a row are its tokens 1 to the end.

    The products `chosen` (keys) are rounded as `config` says, with `tensors` or else plainly.
    """
    device = torch.device(device)
    runner = Runner(graph, tokens[:, :-1], batch, device)
    functions = {}
    if chosen:
        products = [product for product in graph.products if product.key in chosen]
        functions = apply_stored(graph, products, tensors or {}, config, device).functions()
    nodes = graph.needed([graph.logits], runner.known)
    loss, goals = 0.0, torch.from_numpy(tokens[:, 1:].astype(np.int64)).split(batch)
    for i, goal in enumerate(goals):
        (logits,) = runner.compute(i, nodes, {}, [graph.logits], functions)
        loss += F.cross_entropy(logits.flatten(0, 1), goal.to(device).flatten(), reduction="sum").item()
    return math.exp(loss / sum(goal.numel() for goal in goals))
