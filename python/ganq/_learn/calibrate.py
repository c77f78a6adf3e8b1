"""The whole calibration of a model: blocks in order, a file that grows, a summary."""

import hashlib
import json
import os
import re
import time
from dataclasses import asdict

import torch

from .._tools import GanqError
from .graph import Graph
from .learn import Config, Runner, apply_stored, choose_device, learn_block
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
    if epochs is None:  # weights can follow few tokens too closely
        epochs = (5 if rest["weights"] else 20) * (1 if levels >= 8 else 2)
    _check(epochs >= 1, "at least one epoch", epochs)
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


def calibrate_model(path, output, tokens, *, exclude, quantize_head, device, progress, **options):
    """See ganq.calibrate; tokens are int64 [rows, length]."""
    start = time.monotonic()
    folder = os.path.dirname(os.path.abspath(output))
    _check(os.path.isdir(folder), f"a folder for the output {output}", "a path whose folder does not exist")
    device = choose_device(device)
    graph = Graph(path)
    config = _make_config(graph, **options)
    _check(
        tokens.min() >= 0 and tokens.max() < graph.vocabulary,
        f"token ids from 0 to {graph.vocabulary - 1}",
        f"{tokens.min()} to {tokens.max()}",
    )
    chosen = choose_keys(graph, exclude, quantize_head)
    blocks = graph.blocks(chosen)
    settings = {name: value for name, value in asdict(config).items() if name != "batch"}
    metadata = {"ganq.calibration": "1", "ganq.model": graph.sha256, "ganq.learned": json.dumps(settings)}
    metadata["ganq.scheme"] = scheme_text(config)
    digest = hashlib.sha256(tokens.tobytes()).hexdigest()
    store = Store(output, metadata, [asdict(config), graph.sha256, tokens.shape, digest, sorted(chosen)])
    resumed = len(store.losses)

    runner = Runner(graph, tokens, config.batch, device)
    rows = range(len(runner.batches))
    with torch.no_grad():
        prefix = graph.needed([blocks[0].input], runner.known)
        exact = [runner.compute(i, prefix, {}, [blocks[0].input])[0].cpu() for i in rows]
    rounded = list(exact)
    for index, block in enumerate(blocks):
        if index >= resumed:
            compensate = config.compensation and (index < _FIRST or index >= len(blocks) - _LAST)

            def report(epoch, loss):
                if progress:
                    progress(index, len(blocks), epoch, config.epochs, loss)

            known = store.get({product.key for product in block.products})
            store.add(
                *learn_block(graph, runner, block, index, rounded, exact, config, known, compensate, report)
            )
        if index + 1 == len(blocks):
            break
        with torch.no_grad():
            learned = store.get({product.key for product in block.products})
            functions = apply_stored(graph, block.products, learned, config, device).functions()

            def advance(i, x, products=None):
                return runner.compute(i, block.nodes, {block.input: x}, [block.output], products)[0].cpu()

            exact = [advance(i, exact[i]) for i in rows]
            rounded = [advance(i, rounded[i], functions) for i in rows]
        runner.constants.clear()
    store.finish()
    return {
        "output": output,
        "scheme": scheme_text(config),
        "model": path,
        "blocks": len(blocks),
        "resumed_blocks": resumed,
        "quantized": len(store.blocks),
        "tokens": tokens.size,
        **settings,
        "loss": store.losses,
        "seconds": round(time.monotonic() - start, 3),
    }
