"""Products with block-quantized weights agree with ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import run_tool
from onnx import TensorProto, helper


def save(path, op, inputs, rows, n, k, **attributes):
    constants = [onnx.numpy_helper.from_array(v, name) for name, v in inputs]
    node = helper.make_node(
        op, ["A"] + [name for name, _ in inputs], ["Y"], domain="com.microsoft",
        N=n, K=k, **attributes,
    )
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("A", TensorProto.FLOAT, [rows, k])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [rows, n])],
        constants,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17),
                       helper.make_opsetid("com.microsoft", 1)],
        ir_version=8,
    )
    onnx.save(model, path)


def check(folder, rows, k):
    a = np.random.default_rng(1).standard_normal((rows, k), dtype=np.float32)
    np.save(folder / "a.npy", a)
    model = str(folder / "m.onnx")
    run_tool("ganq-compile", model, "-o", folder / "m.ganq")
    run_tool("ganq-run", folder / "m.ganq", f"--inputs={folder / 'a.npy'}",
             f"--outputs={folder}")
    expected = onnxruntime.InferenceSession(
        model, providers=["CPUExecutionProvider"]
    ).run(None, {"A": a})[0]
    np.testing.assert_allclose(
        np.load(folder / "Y.npy"), expected, rtol=2e-5, atol=2e-4
    )


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("bits,n,k,block", [(4, 8, 64, 32), (4, 5, 80, 16), (8, 7, 64, 32)])
def test_matmul_nbits(tmp_path, bits, n, k, block, zeros):
    random = np.random.default_rng(bits)
    blocks = -(-k // block)
    inputs = [
        ("B", random.integers(0, 256, (n, blocks, block * bits // 8), dtype=np.uint8)),
        ("scales", random.uniform(0.1, 1, n * blocks).astype(np.float32)),
    ]
    if zeros:
        packed = n * -(-blocks * bits // 8)
        inputs.append(("zeros", random.integers(0, 256, packed, dtype=np.uint8)))
    save(tmp_path / "m.onnx", "MatMulNBits", inputs, 3, n, k, bits=bits, block_size=block)
    check(tmp_path, 3, k)


@pytest.mark.parametrize("kind", [0, 1])
def test_matmul_bnb4(tmp_path, kind):
    n, k, block = 6, 64, 64
    random = np.random.default_rng(kind)
    inputs = [
        ("B", random.integers(0, 256, n * k // 2, dtype=np.uint8)),
        ("absmax", random.uniform(0.1, 1, n * k // block).astype(np.float32)),
    ]
    save(tmp_path / "m.onnx", "MatMulBnb4", inputs, 3, n, k, block_size=block,
         quant_type=kind)
    check(tmp_path, 3, k)


def test_wrong_sizes_are_refused(tmp_path):
    inputs = [("B", np.zeros((4, 2, 16), np.uint8)), ("scales", np.ones(7, np.float32))]
    save(tmp_path / "m.onnx", "MatMulNBits", inputs, 1, 4, 64, bits=4, block_size=32)
    run = run_tool(
        "ganq-compile", tmp_path / "m.onnx", "-o", tmp_path / "m.ganq", check=False
    )
    assert run.returncode == 1
    assert "expected operand 2 to have 8 elements" in run.stderr
    assert not (tmp_path / "m.ganq").exists()
