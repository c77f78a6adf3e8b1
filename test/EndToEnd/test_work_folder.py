"""What a work folder holds is checked before it is used again."""

import json

import numpy as np
import onnx
import pytest
from conftest import data_file, run_tool
from onnx import TensorProto, helper

SORTING = "models/nanosort_gpt2.opset17.onnx"
SORTING_STEPS = "models/nanosort_gpt2.opset17.past.onnx"


@pytest.fixture
def sorting_rows(tmp_path):
    rows = np.random.default_rng(3).integers(0, 3, (24, 11)).astype(np.uint16)
    np.save(tmp_path / "rows.npy", rows)
    return tmp_path / "rows.npy"


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 16
    path.write_bytes(data)


def test_damaged_files_are_made_again(tmp_path, sorting_rows):
    output, work = tmp_path / "m.ganq", tmp_path / "m.ganq.work"
    command = ["ganq-compile", data_file(SORTING), "-o", output, "--scheme=uniform", "--keep-work"]
    command += [f"--calibration={sorting_rows}", "--calibration-mode=one-shot", "--verbose"]
    run_tool(*command)
    whole = output.read_bytes()
    # A byte of the codes, of the statistics, and of what a file says of itself.
    flip(work / "weight0.safetensors", -1)
    flip(work / "calibration.safetensors", -1)
    text = (work / "weight1.safetensors").read_bytes()
    flip(work / "weight1.safetensors", text.index(b'"error":"') + 9)
    times = {path: path.stat().st_mtime_ns for path in work.glob("*.safetensors")}
    result = run_tool(*command)
    assert output.read_bytes() == whole
    assert result.stderr.count("is damaged: solving the weight again") == 2
    changed = {path.name for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert changed == {"weight0.safetensors", "weight1.safetensors", "calibration.safetensors"}


def test_trials_of_a_budget_are_kept(tmp_path, sorting_rows):
    command = ["ganq-compile", data_file(SORTING_STEPS), "-o", tmp_path / "m.ganq", "--keep-work", "--verbose", "--json"]
    command += ["--budget=4.5", f"--calibration={sorting_rows}", "--calibration-mode=one-shot"]
    command += ["--candidates=uniform<bits = 2>;uniform<bits = 4>"]
    first = run_tool(*command)
    assert "18 trials on" in first.stderr
    trials = tmp_path / "m.ganq.work" / "trials"
    flip(trials, 36)
    # A run that was stopped within a line.
    with open(trials, "ab") as file:
        file.write(trials.read_bytes()[1:60])
    second = run_tool(*command)
    assert "17 trials of an earlier run" in second.stderr and "1 trials on" in second.stderr
    assert json.loads(first.stdout)["budget"] == json.loads(second.stdout)["budget"]


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
