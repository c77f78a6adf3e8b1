"""Calibration of models with other inputs than tokens, and with sizes unknown before they run."""

import json

import numpy as np
import onnx
import pytest
from conftest import data_file, run_tool
from onnx import TensorProto, helper

SORTING = "models/nanosort_gpt2.opset17.onnx"


@pytest.fixture
def sorting_rows(tmp_path):
    rows = np.random.default_rng(3).integers(0, 3, (24, 11)).astype(np.uint16)
    np.save(tmp_path / "rows.npy", rows)
    return tmp_path / "rows.npy"


def with_mask(source, path):
    """The same model with a mask of its tokens and their positions as inputs."""
    model = onnx.load(source)
    for node in model.graph.node:
        node.input[:] = ["masked" if name == "input_ids" else name for name in node.input]
    for name in ("attention_mask", "position_ids"):
        dims = ["batch", "seq"]
        model.graph.input.insert(0, helper.make_tensor_value_info(name, TensorProto.INT64, dims))
    one = helper.make_tensor("one", TensorProto.INT64, [], [100])
    model.graph.initializer.append(one)
    nodes = [
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["kept"]),
        helper.make_node("Div", ["position_ids", "one"], ["none"]),
        helper.make_node("Add", ["kept", "none"], ["masked"]),
    ]
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    onnx.save(model, path)


@pytest.mark.parametrize("mode", ["sequential", "one-shot"])
def test_masks_and_positions_are_bound(mode, tmp_path, sorting_rows):
    """A model with more inputs gets the same weights."""
    plain, masked = data_file(SORTING), tmp_path / "masked.onnx"
    with_mask(plain, masked)
    errors = []
    for model in (plain, masked):
        result = run_tool(
            *("ganq-compile", model, "-o", tmp_path / "m.ganq", "--scheme=lut", "--bits=3", "--json"),
            *(f"--calibration={sorting_rows}", f"--calibration-mode={mode}"),
        )
        errors.append([weight["relative_error"] for weight in json.loads(result.stdout)["weights"]])
    assert errors[0] == pytest.approx(errors[1], rel=0.02)


def with_compress(source, path):
    """The same model with a step after its first layer that picks all tokens by their values."""
    model = onnx.load(source)
    at, hidden = max(
        (index, node.output[0])
        for index, node in enumerate(model.graph.node)
        if node.op_type == "Add" and node.name.startswith("/layers.0/")
    )
    for node in model.graph.node:
        node.input[:] = ["picked" if name == hidden else name for name in node.input]
    model.graph.initializer.append(helper.make_tensor("least", TensorProto.INT64, [], [-1]))
    model.graph.initializer.append(helper.make_tensor("batch_axis", TensorProto.INT64, [1], [0]))
    nodes = [
        helper.make_node("Greater", ["input_ids", "least"], ["greater"]),
        helper.make_node("Squeeze", ["greater", "batch_axis"], ["each"]),
        helper.make_node("Compress", [hidden, "each"], ["picked"], axis=1),
    ]
    for node in reversed(nodes):
        model.graph.node.insert(at + 1, node)
    onnx.save(model, path)


def test_unknown_sizes_are_calibrated_in_one_shot(tmp_path, sorting_rows):
    with_compress(data_file(SORTING), tmp_path / "picking.onnx")
    summaries = []
    for mode in ("sequential", "one-shot"):
        result = run_tool(
            *("ganq-compile", tmp_path / "picking.onnx", "-o", tmp_path / "m.ganq", "--scheme=uniform", "--json"),
            *(f"--calibration={sorting_rows}", f"--calibration-mode={mode}"),
        )
        assert ("calibrates in one shot" in result.stderr) == (mode == "sequential")
        summaries.append(json.loads(result.stdout)["weights"])
    for sequential, once in zip(*summaries, strict=True):
        assert sequential["note"].startswith("calibrated in one shot: ") and "note" not in once
        assert sequential["relative_error"] == once["relative_error"]
