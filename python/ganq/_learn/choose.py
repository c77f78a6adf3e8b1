"""How long and how fast to learn: trials on some of the rows, judged by the others."""

import numpy as np
import torch

from .learn import Setting

# Of so many batches of rows one judges.
_SHARE = 8
# Passes of the first trial, by whether weights are learned, and of the last one.
_FIRST = {True: 5, False: 10}
_LAST = {True: 20, False: 40}
# A trial that takes longer must lower the divergence to this part of it.
_GAIN = 0.98


def hold_out(count, seed):
    """Of `count` batches those to learn from and those to judge by; of a single one, none judges."""
    order = np.random.default_rng([seed, count]).permutation(count)
    held = max(1, count // _SHARE) if count > 1 else 0
    return np.sort(order[held:]), np.sort(order[:held])


@torch.no_grad()
def divergence(runner, block, exact, rounded, batches):
    """KL(P, Q) of the model's result, read as logits, the mean over the positions of `batches`.

    exact, rounded: outputs of the last block, of the unquantized model (P) and of the rounded one (Q).
    """
    graph, total, positions = runner.graph, 0.0, 0
    nodes = graph.needed([graph.logits], {block.output} | runner.known)
    for i in batches:
        p, q = (
            torch.log_softmax(runner.compute(i, nodes, {block.output: y[i]}, [graph.logits])[0], -1)
            for y in (exact, rounded)
        )
        total += (p.exp() * (p - q)).sum().item()
        positions += p[..., 0].numel()
    return total / positions


def choose_setting(weights, attempt):
    """The Setting with the least divergence; that of plain rounding has no epochs.

    attempt: the divergence that a Setting leads to, infinite if it diverges.
    """
    best = Setting(0, 1.0)
    least, epochs = attempt(best), _FIRST[weights]
    while epochs <= _LAST[weights]:
        found = attempt(Setting(epochs, 1.0))
        if not found < _GAIN * least:
            break
        best, least, epochs = Setting(epochs, 1.0), found, 2 * epochs
    slower = Setting(best.epochs or _FIRST[weights], 0.5)
    return slower if attempt(slower) < _GAIN * least else best


def default_setting(weights):
    """Where there are no rows to judge by."""
    return Setting(_FIRST[weights], 1.0)
