"""Learned calibration: runs that were stopped, and trials that choose how long to learn."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

import ganq

try:
    import torch
    from tiny import Stop, read

    from ganq._learn import choose
    from ganq._learn.calibrate import choose_keys
    from ganq._learn.graph import Graph
    from ganq._learn.learn import Runner
except ImportError as error:
    pytest.skip(f"learned calibration cannot be tested: {error}", allow_module_level=True)

torch.set_num_threads(1)


def test_a_stopped_run_goes_on(tiny, tokens, tmp_path):
    options = dict(bits=3, activation_bits=8, epochs=2, batch=4)
    whole, resumed = tmp_path / "whole.safetensors", tmp_path / "resumed.safetensors"
    ganq.calibrate(tiny, whole, tokens, **options)

    def stop(block, blocks, epoch, epochs, loss):
        if (block, epoch) == (1, 1):
            raise Stop

    with pytest.raises(Stop):
        ganq.calibrate(tiny, resumed, tokens, progress=stop, **options)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["resumed.safetensors.partial", "whole.safetensors"]
    summary = ganq.calibrate(tiny, resumed, tokens, **options)
    assert summary["resumed_blocks"] == 1
    first, second = read(whole), read(resumed)
    assert first[1] == second[1] and first[0].keys() == second[0].keys()
    assert all(np.array_equal(value, second[0][name]) for name, value in first[0].items())
    # Other options, or half a file, start afresh.
    partial = Path(f"{resumed}.partial")
    with pytest.raises(Stop):
        ganq.calibrate(tiny, resumed, tokens, progress=stop, **options)
    assert ganq.calibrate(tiny, resumed, tokens, **{**options, "seed": 1})["resumed_blocks"] == 0
    assert not partial.exists()
    partial.mkdir()
    (partial / "0.safetensors").write_bytes(b"half")
    assert ganq.calibrate(tiny, resumed, tokens, **options)["resumed_blocks"] == 0
    partial.write_text("no folder")
    with pytest.raises(ganq.GanqError, match="cannot write .*partial"):
        ganq.calibrate(tiny, resumed, tokens, **options)


def test_trials_choose_how_long(tiny, tokens, tmp_path, monkeypatch):
    monkeypatch.setattr(choose, "_LAST", {True: 10})
    tokens, options, calls, notes = tokens[:3, :8], dict(bits=3, activation_bits=8), [], []

    def stop(block, blocks, epoch, epochs, loss):
        calls.append(epochs)
        if (epochs, block) == (10, 1):
            raise Stop

    with pytest.raises(Stop):
        ganq.calibrate(tiny, tmp_path / "c", tokens, progress=stop, **options)
    assert calls == [5] * 10 + [10] * 11
    summary = ganq.calibrate(tiny, tmp_path / "c", tokens, on_note=notes.append, **options)
    trials = summary["trials"]
    assert list(trials)[:3] == ["0x1", "5x1", "10x1"] and trials["5x1"] < 0.98 * trials["0x1"]
    epochs, rate = summary["chosen"]
    assert trials[f"{epochs}x{rate:g}"] <= min(trials.values()) / 0.98
    assert any(f"divergence {trials['5x1']:.4g} on rows held out" in note for note in notes)
    assert re.match(
        r"2 blocks, 24 tokens, c.*; takes up to 0.*GiB of memory, 0.* GiB of disk space", notes[0]
    )
    # The stopped run is no other than a whole one, and all rows count in the end.
    calls.clear()
    assert ganq.calibrate(tiny, tmp_path / "d", tokens, **options)["trials"] == trials
    assert (tmp_path / "c").read_bytes() == (tmp_path / "d").read_bytes()
    if epochs and rate == 1:
        ganq.calibrate(tiny, tmp_path / "e", tokens, epochs=epochs, **options)
        e, c = read(tmp_path / "e")[0], read(tmp_path / "c")[0]
        assert all(np.array_equal(value, c[name]) for name, value in e.items())
    # One row cannot be shared.
    assert ganq.calibrate(tiny, tmp_path / "f", tokens[:1], **options)["chosen"] == [5, 1.0]
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    "divergences,chosen,tried",
    [
        ({"0x1": 9, "5x1": 5, "10x1": 4, "20x1": 3, "20x0.5": 3}, (20, 1.0), 5),
        ({"0x1": 9, "5x1": 5, "10x1": 4.95, "5x0.5": 4}, (5, 0.5), 4),
        ({"0x1": 9, "5x1": 5, "10x1": math.inf, "5x0.5": 4.95}, (5, 1.0), 4),
        ({"0x1": 3, "5x1": 5, "5x0.5": 4}, (0, 1.0), 3),
        ({"0x1": 3, "5x1": math.inf, "5x0.5": 2}, (5, 0.5), 3),
    ],
)
def test_longer_trials_must_pay(divergences, chosen, tried):
    seen = []

    def attempt(setting):
        seen.append(f"{setting.epochs}x{setting.rate:g}")
        return divergences[seen[-1]]

    found = choose.choose_setting(True, attempt)
    assert (found.epochs, found.rate) == chosen and len(seen) == tried


def test_no_row_both_teaches_and_judges():
    for count in (2, 8, 31):
        learned, held = choose.hold_out(count, 0)
        assert sorted([*learned, *held]) == list(range(count)) and len(held) == max(1, count // 8)
    assert [len(part) for part in choose.hold_out(1, 0)] == [1, 0]


def test_the_divergence_is_that_of_the_models_result(tiny, tokens):
    graph = Graph(tiny)
    block = graph.blocks(choose_keys(graph))[1]
    runner = Runner(graph, tokens, 2, torch.device("cpu"))
    nodes = graph.needed([block.output, graph.logits], runner.known)
    exact, rounded, want = [], [], []
    for i in range(3):
        with torch.no_grad():
            y, p = runner.compute(i, nodes, {}, [block.output, graph.logits])
            noisy = y + 0.1 * torch.randn_like(y)
            (q,) = runner.compute(
                i, graph.needed([graph.logits], {block.output}), {block.output: noisy}, [graph.logits]
            )
        exact.append(y), rounded.append(noisy)
        p, q = p.softmax(-1), q.softmax(-1)
        want.append((p * (p / q).log()).sum(-1).mean().item())
    got = choose.divergence(runner, block, exact, rounded, [0, 2])
    assert got == pytest.approx((want[0] + want[2]) / 2, rel=1e-4) and got > 1e-4
    assert choose.divergence(runner, block, exact, exact, [0, 1, 2]) == pytest.approx(0, abs=1e-6)
