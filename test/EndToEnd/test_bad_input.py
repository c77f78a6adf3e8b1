"""Input that cannot be used: an error with a message, and no output file."""

import json
import os
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from conftest import DEMO, HOME, run_tool


def refuse(directory, model, *options, tool="ganq-compile"):
    """The message of a compilation that must fail cleanly."""
    output = directory / "refused.ganq"
    before = set(os.listdir(directory))
    result = run_tool(tool, model, "-o", output, *options, check=False)
    assert result.returncode > 0, f"expected an error, but got status {result.returncode}\n{result.stderr}"
    assert "error" in result.stderr
    for crash in ("PLEASE submit a bug report", "Stack dump", "Assertion", "LLVM ERROR", "terminate called"):
        assert crash not in result.stderr
    assert set(os.listdir(directory)) == before
    return result.stderr


def linear_model(path, nodes=None, inputs=None, initializer=None, **external):
    """Writes y = x w; with `location=...` the weight is external."""
    weight = initializer or helper.make_tensor(
        "w", TensorProto.FLOAT, [8, 4], np.ones(32, np.float32).tobytes(), raw=True
    )
    if external:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in external.items():
            weight.external_data.add(key=key, value=str(value))
    graph = helper.make_graph(
        nodes or [helper.make_node("MatMul", ["x", "w"], ["y"], name="linear")],
        "g",
        inputs or [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight],
    )
    path.write_bytes(
        helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
        ).SerializeToString()
    )
    return path


def test_the_linear_model_itself_compiles(tmp_path):
    model = linear_model(tmp_path / "m.onnx")
    run_tool("ganq-compile", model, "-o", tmp_path / "m.ganq", "--scheme=none")
    (tmp_path / "w.bin").write_bytes(np.ones(32, np.float32).tobytes())
    model = linear_model(tmp_path / "e.onnx", location="w.bin", offset=0, length=128)
    run_tool("ganq-compile", model, "-o", tmp_path / "e.ganq", "--scheme=none")


def test_missing_model(tmp_path):
    assert "none.onnx" in refuse(tmp_path, tmp_path / "none.onnx", "--scheme=none")


@pytest.mark.parametrize("content", [b"", b"hello, this is no model\n" * 20, bytes(range(256)) * 8])
def test_not_an_onnx_file(tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    refuse(tmp_path, tmp_path / "m.onnx", "--scheme=none")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.999])
def test_truncated_protobuf(tmp_path, keep):
    content = (DEMO / "model.onnx").read_bytes()
    (tmp_path / "m.onnx").write_bytes(content[: int(len(content) * keep)])
    refuse(tmp_path, tmp_path / "m.onnx", "--scheme=none")


def test_external_data_missing(tmp_path):
    model = linear_model(tmp_path / "m.onnx", location="gone.bin", offset=0, length=128)
    assert "gone.bin" in refuse(tmp_path, model, "--scheme=none")


def test_external_data_short(tmp_path):
    (tmp_path / "w.bin").write_bytes(b"\0" * 100)
    model = linear_model(tmp_path / "m.onnx", location="w.bin", offset=0, length=128)
    refuse(tmp_path, model, "--scheme=none")


def test_external_data_of_the_wrong_length(tmp_path):
    (tmp_path / "w.bin").write_bytes(b"\0" * 128)
    model = linear_model(tmp_path / "m.onnx", location="w.bin", offset=0, length=64)
    refuse(tmp_path, model, "--scheme=none")


@pytest.mark.parametrize("location", ["../w.bin", "{absolute}", "folder/../../w.bin"])
def test_external_data_outside(tmp_path, location):
    inner = tmp_path / "inner"
    (inner / "folder").mkdir(parents=True)
    (tmp_path / "w.bin").write_bytes(b"\0" * 128)
    model = linear_model(
        inner / "m.onnx", location=location.format(absolute=tmp_path / "w.bin"), offset=0, length=128
    )
    refuse(inner, model, "--scheme=none")


def test_external_data_symlink(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "w.bin").write_bytes(b"\0" * 128)
    (inner / "w.bin").symlink_to(tmp_path / "w.bin")
    refuse(inner, linear_model(inner / "m.onnx", location="w.bin", offset=0, length=128), "--scheme=none")


def test_unknown_operator_is_named(tmp_path):
    nodes = [
        helper.make_node("Frobnicate", ["x"], ["h"], name="odd"),
        helper.make_node("MatMul", ["h", "w"], ["y"]),
    ]
    message = refuse(tmp_path, linear_model(tmp_path / "m.onnx", nodes=nodes), "--scheme=none")
    assert "Frobnicate" in message and "odd" in message


def test_wrong_dtype(tmp_path):
    inputs = [helper.make_tensor_value_info("x", TensorProto.INT64, ["n", 8])]
    refuse(tmp_path, linear_model(tmp_path / "m.onnx", inputs=inputs), "--scheme=none")


def test_shapes_that_do_not_fit(tmp_path):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 7])]
    refuse(tmp_path, linear_model(tmp_path / "m.onnx", inputs=inputs), "--scheme=none")


def test_cyclic_graph(tmp_path):
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="second"),
        helper.make_node("MatMul", ["b", "w"], ["y"]),
    ]
    refuse(tmp_path, linear_model(tmp_path / "m.onnx", nodes=nodes), "--scheme=none")


@pytest.mark.parametrize(
    "option",
    [
        "--scheme=magic",
        "--bits=0",
        "--bits=99",
        "--group=-3",
        "--cpu=z80",
        "--target=toaster",
        "--bind=seq",
        "--exclude=[",
    ],
)
def test_bad_option(tmp_path, option):
    scheme = () if option.startswith("--scheme") else ("--scheme=uniform",)
    refuse(tmp_path, linear_model(tmp_path / "m.onnx"), *scheme, option)


@pytest.mark.parametrize(
    "tokens",
    [
        np.full((2, 16), 5000, np.int32),
        np.full((2, 16), -1, np.int32),
        np.zeros((2, 2, 16), np.int32),
        np.zeros((2, 16), np.float32),
        np.zeros((0, 16), np.int32),
    ],
    ids=["large", "negative", "rank", "dtype", "empty"],
)
def test_bad_calibration(tmp_path, tokens):
    np.save(tmp_path / "c.npy", tokens)
    refuse(tmp_path, DEMO / "model.onnx", "--scheme=lut", "--bits=4", f"--calibration={tmp_path / 'c.npy'}")


@pytest.mark.parametrize("tokens", [np.full((2, 16), 1024, np.int32), np.full((2, 16), -1, np.int32)])
def test_tokens_out_of_range(tmp_path, compiled, tokens):
    np.save(tmp_path / "t.npy", tokens)
    model = compiled(DEMO / "model.onnx", "--scheme=none")
    result = run_tool("ganq-run", model, "--perplexity", f"--tokens={tmp_path / 't.npy'}", check=False)
    assert result.returncode > 0 and "error" in result.stderr
    np.save(tmp_path / "t.npy", tokens[0])
    result = run_tool("ganq-run", model, "--generate=4", f"--tokens={tmp_path / 't.npy'}", check=False)
    assert result.returncode > 0 and "error" in result.stderr


@pytest.mark.parametrize("keep", [0, 4, 100, 0.3, 0.99])
def test_ganq_file_cut_short(tmp_path, compiled, keep):
    content = compiled(DEMO / "model.onnx", "--scheme=none").read_bytes()
    (tmp_path / "m.ganq").write_bytes(content[: int(keep if keep >= 1 else keep * len(content))])
    result = run_tool("ganq-run", tmp_path / "m.ganq", "--inspect", check=False)
    assert result.returncode > 0 and "error" in result.stderr


def test_ganq_file_of_another_abi(tmp_path, compiled):
    content = compiled(DEMO / "model.onnx", "--scheme=none").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    manifest = json.loads(header["__metadata__"]["ganq.manifest"])
    manifest["abi"] = manifest["abi"] + 1
    header["__metadata__"]["ganq.manifest"] = json.dumps(manifest, separators=(",", ":"))
    text = json.dumps(header, separators=(",", ":")).encode()
    assert len(text) <= length
    (tmp_path / "m.ganq").write_bytes(content[:8] + text.ljust(length) + content[8 + length :])
    result = run_tool("ganq-run", tmp_path / "m.ganq", "--inspect", check=False)
    assert result.returncode > 0 and "abi" in result.stderr.lower()


def test_full_disk(tmp_path):
    """The size of files is limited to less than the output."""
    program = HOME / "bin" / "ganq-compile"
    if not program.is_file():
        pytest.skip("ganq-compile is not built")
    command = f"ulimit -f 1000; trap '' XFSZ; exec '{program}' '{DEMO / 'model.onnx'}' -o '{tmp_path / 'm.ganq'}' --scheme=none"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=600)
    assert result.returncode > 0 and "error" in result.stderr
    assert os.listdir(tmp_path) == []


def test_output_folder_missing(tmp_path):
    result = run_tool(
        "ganq-compile",
        linear_model(tmp_path / "m.onnx"),
        "-o",
        tmp_path / "none" / "m.ganq",
        "--scheme=none",
        check=False,
    )
    assert result.returncode > 0 and "error" in result.stderr


def test_the_old_output_survives_an_error(tmp_path):
    (tmp_path / "m.ganq").write_text("old")
    (tmp_path / "m.onnx").write_text("no model")
    result = run_tool(
        "ganq-compile", tmp_path / "m.onnx", "-o", tmp_path / "m.ganq", "--scheme=none", check=False
    )
    assert result.returncode > 0
    assert (tmp_path / "m.ganq").read_text() == "old"
