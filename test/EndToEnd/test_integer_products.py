"""Products of rounded weights and rounded activations, against the decoded values."""

import hashlib
import json

import numpy as np
import pytest
from conftest import DEMO, perplexity, run_tool

onnx = pytest.importorskip("onnx")

COLUMNS, OUTPUTS = 200, 52


def layer(path, scale=1):
    """y = x diag(scale) W + b for any number of rows."""
    helper, random = onnx.helper, np.random.default_rng(3)
    weights = {
        "w": scale * random.normal(size=(COLUMNS, OUTPUTS)).astype(np.float32),
        "b": random.normal(size=OUTPUTS).astype(np.float32),
    }
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "b"], ["y"])],
        "layer",
        [helper.make_tensor_value_info("x", 1, ["rows", COLUMNS])],
        [helper.make_tensor_value_info("y", 1, ["rows", OUTPUTS])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def tensors(path):
    """The tensors of a compiled model by their names."""
    return pytest.importorskip("safetensors.numpy").load_file(path)


def run(model, x, folder):
    folder.mkdir()
    np.save(folder / "x.npy", x)
    run_tool("ganq-run", model, f"--inputs={folder / 'x.npy'}", f"--outputs={folder}")
    return np.load(folder / "y.npy")


def rounded(x, bits):
    """The values that the codes of each row stand for (ganq.quantize_rows)."""
    most = np.float32(2**bits - 1)
    low, high = np.minimum(x.min(-1, keepdims=True), 0), np.maximum(x.max(-1, keepdims=True), 0)
    scale = high / most - low / most
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale > 0)
    zero = np.clip(np.rint(-low * inverse), 0, most)
    return (np.clip(np.rint(x * inverse) + zero, 0, most) - zero) * scale


@pytest.mark.parametrize("cpu", ["x86-64-v3", "host"])
@pytest.mark.parametrize(
    "scheme, bits, activation, group",
    [("uniform", 4, 8, 0), ("uniform", 4, 8, 64), ("uniform", 1, 2, 0), ("uniform", 8, 8, 0), ("lut", 4, 8, 64)],
)
def test_products_are_those_of_the_decoded_values(scheme, bits, activation, group, cpu, tmp_path):
    model = layer(tmp_path / "layer.onnx")
    solver = ("--solver=rtn",) if scheme == "uniform" else ("--solver=kmeans", "--entry=i8")
    options = (f"--scheme={scheme}", f"--bits={bits}", f"--group={group}", *solver, f"--cpu={cpu}")
    integers, floats = tmp_path / "integers.ganq", tmp_path / "floats.ganq"
    for output, more in (integers, [f"--activation-bits={activation}"]), (floats, []):
        run_tool("ganq-compile", model, "-o", output, *options, "--quantize-head", *more)
    x = np.random.default_rng(4).normal(size=(21, COLUMNS)).astype(np.float32)
    # Rows of one sign, with a value far from all others, and of zeros.
    x[1], x[2], x[3, 7], x[4] = np.abs(x[1]), -np.abs(x[2]), 50, 0
    # The float model decodes the same weights; its input is rounded here.
    want = run(floats, rounded(x, activation), tmp_path / "want")
    got = run(integers, x, tmp_path / "got")
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3 * np.abs(want).mean())


@pytest.mark.parametrize(
    "scheme, smooth, shift",
    [
        ("uniform<bits = 4, activation = 8, shift = true>", False, True),
        ("uniform<bits = 4, group = 64, activation = 8, smooth = true, shift = true>", True, True),
        ("uniform<bits = 4, smooth = true>", True, False),
    ],
)
def test_learned_input_scales_and_shifts(scheme, smooth, shift, tmp_path):
    """y = Q((x - t) / s) Q(W diag(s))^T + W t + b."""
    save_file = pytest.importorskip("safetensors.numpy").save_file
    random, learned = np.random.default_rng(5), {}
    # Both are stored in half precision.
    s, t = np.ones(COLUMNS, np.float32), np.zeros(COLUMNS, np.float32)
    if smooth:
        s = learned["w.input_scale"] = random.uniform(0.5, 2, COLUMNS).astype(np.float16).astype(np.float32)
    if shift:
        t = learned["w.input_shift"] = random.normal(size=COLUMNS).astype(np.float16).astype(np.float32)
    model, calibration = layer(tmp_path / "m.onnx"), tmp_path / "c.safetensors"
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    save_file(learned, calibration, {"ganq.calibration": "1", "ganq.model": digest})
    run_tool(
        "ganq-compile",
        *(model, "-o", tmp_path / "m.ganq", f"--scheme={scheme}", "--quantize-head"),
        *(f"--calibration={calibration}", "--solver=learned"),
    )
    group = "--group=64" if "group" in scheme else "--group=0"
    run_tool(
        "ganq-compile",
        *(layer(tmp_path / "scaled.onnx", s[:, None]), "-o", tmp_path / "scaled.ganq", "--scheme=uniform"),
        *("--bits=4", group, "--solver=rtn", "--quantize-head"),
    )
    w = {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(model).graph.initializer}["w"]
    x = t + random.normal(size=(21, COLUMNS)).astype(np.float32)
    inputs = (x - t) / s
    if "activation" in scheme:
        inputs = rounded(inputs, 8)
    want = run(tmp_path / "scaled.ganq", inputs, tmp_path / "want") + t @ w
    got = run(tmp_path / "m.ganq", x, tmp_path / "got")
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3 * np.abs(want).mean())
    assert not shift or np.abs(t @ w).mean() > 1


def test_rows_that_are_not_finite_stay_so(tmp_path):
    model, output = layer(tmp_path / "layer.onnx"), tmp_path / "m.ganq"
    run_tool(
        "ganq-compile", model, "-o", output, "--scheme=uniform<bits = 4, activation = 8>", "--quantize-head"
    )
    x = np.ones((3, COLUMNS), np.float32)
    x[0, 3], x[2, 5] = np.inf, np.nan
    y = run(output, x, tmp_path / "run")
    assert np.isnan(y[[0, 2]]).all() and np.isfinite(y[1]).all()


def test_a_model_keeps_its_quality(compiled, demo_tokens):
    model = DEMO / "model.onnx"
    weights = compiled(model, "--scheme=uniform", "--bits=8")
    both = compiled(model, "--scheme=uniform<bits = 8, activation = 8>")
    entry = json.loads(run_tool("ganq-run", both, "--inspect", "--json").stdout)["manifest"]["weights"]
    assert "uniform8a8" in {weight["scheme"] for weight in entry}
    assert perplexity(both, demo_tokens[1]) < 1.01 * perplexity(weights, demo_tokens[1])


@pytest.mark.parametrize("options", ["smooth = true", "activation = 8, smooth = true", "activation = 8, group = 64"])
def test_smoothed_inputs_and_groups(options, compiled, demo_tokens):
    model, calibration = DEMO / "model.onnx", f"--calibration={demo_tokens[0]}"
    plain = compiled(model, "--scheme=uniform<bits = 4>", calibration)
    other = compiled(model, f"--scheme=uniform<bits = 4, {options}>", calibration)
    assert perplexity(other, demo_tokens[1]) < 1.01 * perplexity(plain, demo_tokens[1])
    scales = [value for name, value in tensors(other).items() if name.endswith(".input_scale")]
    assert bool(scales) == ("smooth" in options)
    assert not scales or any((value != 1).any() for value in scales)
