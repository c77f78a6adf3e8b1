"""Outputs of real exports in fp32 against the goldens that lie beside them."""

import json
import os

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from conftest import data_file, run_tool

MODELS = [
    f"{name}.{variant}"
    for name in ("nanosort_gpt2", "slm4096_gpt2", "stories260k")
    for variant in ("opset13", "opset17", "opset17.past")
]


def golden(folder, kind, index):
    tensor = onnx.TensorProto()
    tensor.ParseFromString((folder / f"{kind}_{index}.pb").read_bytes())
    return numpy_helper.to_array(tensor)


@pytest.mark.parametrize("name", MODELS)
def test_golden(name, compiled, tmp_path):
    model = data_file(f"models/{name}.onnx")
    folder = data_file(f"models/{name}.test_data_set_0")
    ganq = compiled(model, "--scheme=none")
    manifest = json.loads(run_tool("ganq-run", ganq, "--inspect", "--json").stdout)["manifest"]
    entry = manifest["entries"]["main"]
    arguments = []
    for index, port in enumerate(entry["inputs"]):
        np.save(tmp_path / f"{index}.npy", golden(folder, "input", index))
        arguments.append(f"{port['name']}={tmp_path / f'{index}.npy'}")
    outputs = tmp_path / "out"
    run_tool("ganq-run", ganq, "--inputs=" + ",".join(arguments), f"--outputs={outputs}")
    checked = 0
    for index, port in enumerate(entry["outputs"]):
        if not (folder / f"output_{index}.pb").exists():
            continue
        want = golden(folder, "output", index)
        got = np.load(outputs / (port["name"] + ".npy"))
        assert got.shape == want.shape and got.dtype == want.dtype
        assert np.abs(got - want).max() <= 2e-4
        checked += 1
    assert checked


def test_inputs_by_position_equal_inputs_by_name(compiled, tmp_path):
    model = compiled(data_file("models/nanosort_gpt2.opset17.onnx"), "--scheme=none")
    np.save(tmp_path / "ids.npy", np.array([[0, 1, 2, 2, 1, 0]], dtype=np.int64))
    for name, prefix in (("a", ""), ("b", "input_ids=")):
        run_tool(
            "ganq-run", model, f"--inputs={prefix}{tmp_path / 'ids.npy'}", f"--outputs={tmp_path / name}"
        )
    assert sorted(os.listdir(tmp_path / "a")) == ["logits.npy"]
    assert np.array_equal(np.load(tmp_path / "a" / "logits.npy"), np.load(tmp_path / "b" / "logits.npy"))
