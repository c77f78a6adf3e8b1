"""Products with block-quantized weights agree with ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import DEMO, run_tool
from onnx import TensorProto, helper


def save(path, op, inputs, rows, n, k, dtype=np.float32, **attributes):
    """A model of one product; an input without a value is left out."""
    constants = [onnx.numpy_helper.from_array(v, name) for name, v in inputs if v is not None]
    node = helper.make_node(
        op, ["A"] + [name if v is not None else "" for name, v in inputs], ["Y"], domain="com.microsoft",
        N=n, K=k, **attributes,
    )
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("A", element, [rows, k])],
        [helper.make_tensor_value_info("Y", element, [rows, n])],
        constants,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17),
                       helper.make_opsetid("com.microsoft", 1)],
        ir_version=8,
    )
    onnx.save(model, path)


def check(folder, rows, k, dtype=np.float32, rtol=2e-5, atol=2e-4):
    """Compiles and runs m.onnx beside ONNX Runtime; returns what the file says of its weights."""
    a = np.random.default_rng(1).standard_normal((rows, k)).astype(dtype)
    np.save(folder / "a.npy", a)
    model = str(folder / "m.onnx")
    run_tool("ganq-compile", model, "-o", folder / "m.ganq")
    run_tool("ganq-run", folder / "m.ganq", f"--inputs={folder / 'a.npy'}",
             f"--outputs={folder}")
    # Its optimizer rounds activations to 8 bits.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    expected = onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"]
    ).run(None, {"A": a})[0]
    np.testing.assert_allclose(np.load(folder / "Y.npy"), expected, rtol=rtol, atol=atol)
    return run_tool("ganq-run", folder / "m.ganq", "--inspect").stdout


def nbits(bits, n, k, block, zeros, dtype=np.float32, bias=False):
    random = np.random.default_rng(bits)
    blocks = -(-k // block)
    packed = n * -(-blocks * bits // 8)
    return [
        ("B", random.integers(0, 256, (n, blocks, block * bits // 8), dtype=np.uint8)),
        ("scales", random.uniform(0.1, 1, n * blocks).astype(dtype)),
        ("zeros", random.integers(0, 256, packed, dtype=np.uint8) if zeros else None),
        ("group", None),
        ("bias", random.standard_normal(n).astype(dtype) if bias else None),
    ]


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("bits,n,k,block", [(4, 8, 64, 32), (4, 5, 80, 16), (8, 7, 64, 32)])
def test_small_matmul_nbits(tmp_path, bits, n, k, block, zeros):
    save(tmp_path / "m.onnx", "MatMulNBits", nbits(bits, n, k, block, zeros), 3, n, k, bits=bits,
         block_size=block)
    check(tmp_path, 3, k)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("rows", [1, 9])
@pytest.mark.parametrize(
    "bits,n,k,block",
    [(4, 42, 128, 32), (4, 37, 208, 64), (4, 33, 1100, 128), (4, 64, 96, 16), (8, 21, 96, 16), (8, 23, 300, 256),
     (2, 70, 128, 64), (2, 70, 96, 32), (2, 70, 112, 16), (4, 30, 100, 128)],
)
def test_matmul_nbits_is_packed(tmp_path, bits, n, k, block, rows, zeros):
    save(tmp_path / "m.onnx", "MatMulNBits", nbits(bits, n, k, block, zeros, bias=zeros), rows, n, k, bits=bits,
         block_size=block)
    scheme = f"uniform{bits}" + (f"g{block}" if block < k else "")
    assert scheme in check(tmp_path, rows, k, atol=2e-3)


def test_matmul_nbits_of_halves(tmp_path):
    save(tmp_path / "m.onnx", "MatMulNBits", nbits(4, 64, 96, 32, True, np.float16), 3, 64, 96, np.float16,
         bits=4, block_size=32)
    assert "uniform4g32" in check(tmp_path, 3, 96, np.float16, rtol=1e-2, atol=0.25)


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


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("block", [0, 16, 32])
@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4, TensorProto.INT8, TensorProto.UINT8])
def test_dequantized_weights_are_packed(tmp_path, kind, block, zeros):
    """MatMul(A, Transpose(DequantizeLinear(B))), with 3 blocks or a scale per row."""
    n, k, random = 37, 96, np.random.default_rng(kind)
    signed, bits = kind in (TensorProto.INT4, TensorProto.INT8), 4 if "4" in TensorProto.DataType.Name(kind) else 8
    low = -(1 << (bits - 1)) if signed else 0
    shape = (n, k // block) if block else (n,)

    def codes(name, size):
        values = random.integers(low, low + (1 << bits), size).astype(np.uint8).flatten()
        if bits == 4:
            values = np.append(values, [0] * (values.size % 2)).astype(np.uint8) & 15
            values = values[::2] | values[1::2] << 4
        return helper.make_tensor(name, kind, size, values.tobytes(), raw=True)

    inputs = [codes("B", (n, k)), onnx.numpy_helper.from_array(random.uniform(0.1, 1, shape).astype(np.float32), "s")]
    if zeros:
        inputs.append(codes("z", shape))
    options = {"axis": 1, "block_size": block} if block else {"axis": 0}
    nodes = [
        helper.make_node("DequantizeLinear", [t.name for t in inputs], ["W"], **options),
        helper.make_node("Transpose", ["W"], ["WT"], perm=[1, 0]),
        helper.make_node("MatMul", ["A", "WT"], ["Y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, size]) for name, size in [("A", k), ("Y", n)]]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], inputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, tmp_path / "m.onnx")
    scheme = f"uniform{bits}" + (f"g{block}" if block else "")
    assert scheme in check(tmp_path, 3, k, atol=2e-3 if bits == 4 else 5e-2)


def to_nbits(model, block):
    """Every product with a constant [K, N] weight as a 4-bit MatMulNBits, rounded to nearest."""
    weights = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "MatMul" or node.input[1] not in weights:
            continue
        name = node.input[1]
        w = onnx.numpy_helper.to_array(weights[name]).T
        n, k = w.shape
        groups = np.pad(w, [(0, 0), (0, -k % block)]).reshape(n, -1, block)
        scale = np.maximum(np.abs(groups).max(-1, keepdims=True) / 7, 1e-8).astype(np.float32)
        codes = (np.clip(np.rint(groups / scale), -8, 7) + 8).astype(np.uint8)
        packed = codes[..., ::2] | codes[..., 1::2] << 4
        for suffix, value in [("_codes", packed), ("_scales", scale.reshape(n, -1))]:
            model.graph.initializer.append(onnx.numpy_helper.from_array(value, name + suffix))
        del node.input[1:]
        node.input.extend([name + "_codes", name + "_scales"])
        node.op_type, node.domain = "MatMulNBits", "com.microsoft"
        for key, value in {"K": k, "N": n, "bits": 4, "block_size": block}.items():
            node.attribute.append(helper.make_attribute(key, value))
    used = {name for node in model.graph.node for name in node.input}
    kept = [t for t in model.graph.initializer if t.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def test_language_model_of_nbits(tmp_path):
    """A whole model: the same logits as ONNX Runtime, and text with the cache."""
    model = onnx.load(DEMO / "model.onnx")
    to_nbits(model, 32)
    onnx.save(model, tmp_path / "m.onnx")
    compiled = tmp_path / "m.ganq"
    run_tool("ganq-compile", tmp_path / "m.onnx", "-o", compiled)
    assert "uniform4g32" in run_tool("ganq-run", compiled, "--inspect").stdout
    tokens = np.random.default_rng(7).integers(3, 200, (1, 40))
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    name, kind = session.get_inputs()[0].name, session.get_inputs()[0].type
    tokens = tokens.astype(np.int32 if "int32" in kind else np.int64)
    expected = session.run(None, {name: tokens})[0]
    np.save(tmp_path / "t.npy", tokens)
    run_tool("ganq-run", compiled, f"--inputs={tmp_path / 't.npy'}", f"--outputs={tmp_path}")
    output = session.get_outputs()[0].name
    np.testing.assert_allclose(np.load(tmp_path / f"{output}.npy"), expected, rtol=1e-3, atol=2e-3)
    first = run_tool("ganq-run", compiled, f"--tokens={tmp_path / 't.npy'}", "--generate=1").stdout
    assert int(first.split()[-1]) == int(expected[0, -1].argmax())
