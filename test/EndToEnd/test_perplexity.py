"""Perplexities: fp32 against ONNX Runtime, quantized against known figures."""

import json

import numpy as np
import pytest

from conftest import DEMO, data_file, perplexity, reference_perplexity, run_tool


@pytest.mark.parametrize("name", ["stories260k", "slm4096_gpt2"])
@pytest.mark.parametrize("variant", ["opset13", "opset17", "opset17.past"])
def test_fp32_equals_onnxruntime(name, variant, compiled):
    model, tokens = data_file(f"models/{name}.{variant}.onnx"), data_file(f"models/{name}.eval.npy")
    want = reference_perplexity(model, tokens)
    assert perplexity(compiled(model, "--scheme=none"), tokens) == pytest.approx(want, rel=1e-3)


# Weights only, block linears. The bounds leave a little room above what a solver
# and a calibration of the best kind reach; at 4 and 3 bits round to nearest gives
# 4.78 and 11.69, k-means 4.51 and 6.36.
@pytest.mark.parametrize(
    "options, bound",
    [
        (["--bits=4"], 4.42),
        (["--bits=3"], 5.22),
        (["--bits=2"], 15.0),
        (["--bits=3", "--outliers=0.005"], 5.13),
        (["--bits=3", "--entry=f8E4M3FN", "--group=64", "--table-rows=8"], 5.75),
    ],
)
def test_stories_lut(options, bound, compiled):
    model, tokens = data_file("models/stories260k.opset17.onnx"), data_file("models/stories260k.eval.npy")
    calibration = data_file("models/stories260k.calib.npy")
    quantized = compiled(model, "--scheme=lut", *options, f"--calibration={calibration}")
    assert perplexity(quantized, tokens) <= bound


def test_stories_round_to_nearest(compiled):
    model, tokens = data_file("models/stories260k.opset17.onnx"), data_file("models/stories260k.eval.npy")
    quantized = compiled(model, "--scheme=uniform", "--bits=4", "--solver=rtn")
    assert perplexity(quantized, tokens) == pytest.approx(4.777, rel=0.01)


def test_nanosort_sorts_after_quantization(compiled, tmp_path):
    model = data_file("models/nanosort_gpt2.opset17.onnx")
    random = np.random.default_rng(0)
    digits = random.integers(0, 3, (456, 6))
    rows = np.concatenate([digits, np.sort(digits, -1)[:, :5]], -1).astype(np.int32)
    np.save(tmp_path / "calibration.npy", rows[:256])
    np.save(tmp_path / "rows.npy", rows[256:].astype(np.int64))
    quantized = compiled(model, "--scheme=lut", "--bits=4", f"--calibration={tmp_path / 'calibration.npy'}")
    run_tool("ganq-run", quantized, f"--inputs={tmp_path / 'rows.npy'}", f"--outputs={tmp_path / 'out'}")
    chosen = np.load(tmp_path / "out" / "logits.npy").argmax(-1)[:, 5:]
    # Teacher forcing equals feeding back as long as every choice is right.
    right = (chosen == np.sort(digits[256:], -1)).all(-1)
    assert right.sum() == 200


def test_demo_schemes(compiled, demo_tokens):
    """The demo model survives 4-bit LUT and breaks at 2-bit rounding."""
    calibration, heldout = demo_tokens
    model = DEMO / "model.onnx"
    full = perplexity(compiled(model, "--scheme=none"), heldout)
    lut = compiled(model, "--scheme=lut", "--bits=4", f"--calibration={calibration}")
    uniform = perplexity(compiled(model, "--scheme=uniform", "--bits=4", "--solver=rtn"), heldout)
    broken = perplexity(compiled(model, "--scheme=uniform", "--bits=2", "--solver=rtn"), heldout)
    assert full == pytest.approx(reference_perplexity(model, heldout), rel=1e-3)
    assert perplexity(lut, heldout) < uniform < broken
    assert broken > 2 * full
    bits = json.loads(run_tool("ganq-run", lut, "--perplexity", f"--tokens={heldout}", "--json").stdout)
    # Four bits of code, and 16 entries of 16 bits for each row of 128 or 384 columns.
    columns = 4 * [128] * (3 * 128 + 2 * 64 - 128 + 2 * 384) + 4 * [384] * 128
    want = 4 + 256 * len(columns) / sum(columns)
    assert bits["bits_per_weight"] == pytest.approx(want, rel=1e-6)
