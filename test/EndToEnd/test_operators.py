"""Single operators whose indices the model computes: results and errors."""

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import run_tool
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator


def save(path, op, inputs, outputs, constants=(), domain="", opset=18, types=(), **attributes):
    """A model of one node; `inputs` are arrays by name, those in `constants` initializers."""
    names = list(inputs)
    kinds = dict(types)
    node = helper.make_node(
        op, [n if inputs[n] is not None else "" for n in names], outputs, domain=domain, **attributes
    )
    present = {n: v for n, v in inputs.items() if v is not None}

    def tensor(name, value):
        if name in kinds:
            return helper.make_tensor(name, kinds[name], value.shape, value.flatten())
        return numpy_helper.from_array(value, name)

    graph = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for n, v in present.items()
            if n not in constants
        ],
        [helper.make_empty_tensor_value_info(o) for o in outputs if o],
        [tensor(n, present[n]) for n in constants],
    )
    # The outputs' types are for the compiler to find.
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)],
        ir_version=10,
    )
    onnx.save(model, path)
    return {n: v for n, v in present.items() if n not in constants}


def compile_and_run(folder, feeds, check=True):
    run_tool("ganq-compile", folder / "m.onnx", "-o", folder / "m.ganq")
    for name, value in feeds.items():
        np.save(folder / f"in_{name}.npy", value)
    files = ",".join(str(folder / f"in_{name}.npy") for name in feeds)
    return run_tool(
        "ganq-run", folder / "m.ganq", f"--inputs={files}", f"--outputs={folder}", check=check
    )


def compare(folder, feeds, outputs, expected, tolerance=2e-6):
    compile_and_run(folder, feeds)
    for name, want in zip(outputs, expected):
        got = np.load(folder / f"{name}.npy")
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def ort(folder, feeds, outputs):
    session = onnxruntime.InferenceSession(str(folder / "m.onnx"), providers=["CPUExecutionProvider"])
    return session.run(outputs, feeds)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("bits,columns,block", [(4, 64, 32), (4, 96, 32), (4, 80, 16), (8, 96, 32)])
def test_gather_block_quantized_bytes(tmp_path, bits, columns, block, zeros):
    random = np.random.default_rng(bits)
    rows, blocks = 40, -(-columns // block)
    inputs = {
        "data": random.integers(0, 256, (rows, columns * bits // 8), dtype=np.uint8),
        "indices": np.array([[0, 39, -1], [7, 3, -40]], np.int64),
        "scales": random.uniform(0.1, 1, (rows, blocks)).astype(np.float32),
    }
    if zeros:
        inputs["zeros"] = random.integers(0, 256, (rows, -(-blocks * bits // 8)), dtype=np.uint8)
    feeds = save(
        tmp_path / "m.onnx", "GatherBlockQuantized", inputs, ["y"], set(inputs) - {"indices"}, "com.microsoft",
        bits=bits, block_size=block, gather_axis=0, quantize_axis=1,
    )
    compare(tmp_path, feeds, ["y"], ort(tmp_path, feeds, ["y"]))


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("gather,blocked", [(0, 1), (1, 0), (0, 2)])
@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4])
def test_gather_block_quantized_nibbles(tmp_path, kind, gather, blocked, zeros):
    random = np.random.default_rng(gather)
    low, high = (-8, 8) if kind == TensorProto.INT4 else (0, 16)
    shape, block = (33, 48, 5), 16
    if blocked == 2:
        shape = (5, 33, 48)
    groups = list(shape)
    groups[blocked] = -(-shape[blocked] // block)
    inputs = {
        "data": random.integers(low, high, shape),
        "indices": np.array([1, 4, -2], np.int32),
        "scales": random.uniform(0.1, 1, groups).astype(np.float32),
    }
    if zeros:
        inputs["zeros"] = random.integers(low, high, groups)
    feeds = save(
        tmp_path / "m.onnx", "GatherBlockQuantized", inputs, ["y"], set(inputs) - {"indices"}, "com.microsoft",
        types=[("data", kind), ("zeros", kind)], block_size=block, gather_axis=gather, quantize_axis=blocked,
    )
    compare(tmp_path, feeds, ["y"], ort(tmp_path, feeds, ["y"]))


def test_dequantized_nibbles_of_a_large_weight(tmp_path):
    random = np.random.default_rng(0)
    inputs = {
        "x": random.integers(-8, 8, (96, 64)),
        "scale": random.uniform(0.1, 1, (96, 2)).astype(np.float32),
        "zero": random.integers(-8, 8, (96, 2)),
    }
    kinds = [("x", TensorProto.INT4), ("zero", TensorProto.INT4)]
    feeds = save(
        tmp_path / "m.onnx", "DequantizeLinear", inputs, ["y"], ["x", "zero"], opset=21, types=kinds,
        axis=1, block_size=32,
    )
    compare(tmp_path, feeds, ["y"], ort(tmp_path, feeds, ["y"]))


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("positions", [None, 1, 2])
def test_embed_layer_normalization(tmp_path, positions, segments):
    random = np.random.default_rng(3)

    def table(rows):
        return random.standard_normal((rows, 24), dtype=np.float32)

    inputs = {
        "ids": random.integers(0, 30, (2, 7), dtype=np.int32),
        "segments": random.integers(0, 2, (2, 7), dtype=np.int32) if segments else None,
        "words": table(30),
        "positions": table(9),
        "kinds": table(2) if segments else None,
        "gamma": table(1)[0],
        "beta": table(1)[0],
        "mask": np.array([[1] * 7, [1] * 4 + [0] * 3], np.int32),
        "position_ids": random.integers(0, 9, (positions, 7), dtype=np.int32) if positions else None,
    }
    if not positions:
        del inputs["position_ids"]
    constants = [n for n in ["words", "positions", "kinds", "gamma", "beta"] if inputs[n] is not None]
    outputs = ["y", "mask_index", "sum"]
    feeds = save(
        tmp_path / "m.onnx", "EmbedLayerNormalization", inputs, outputs, constants, "com.microsoft", epsilon=1e-6
    )
    compare(tmp_path, feeds, outputs, ort(tmp_path, feeds, outputs), 1e-5)


@pytest.mark.parametrize("mode,starts", [("linear", [0, 3]), ("linear", None), ("circular", [4, 1])])
def test_tensor_scatter(tmp_path, mode, starts):
    random = np.random.default_rng(5)
    inputs = {
        "cache": random.standard_normal((2, 3, 5, 4), dtype=np.float32),
        "update": random.standard_normal((2, 3, 2, 4), dtype=np.float32),
    }
    if starts is not None:
        inputs["starts"] = np.array(starts, np.int64)
    feeds = save(tmp_path / "m.onnx", "TensorScatter", inputs, ["y"], opset=24, mode=mode)
    model = onnx.load(tmp_path / "m.onnx")
    expected = ReferenceEvaluator(model).run(None, feeds)
    compare(tmp_path, feeds, ["y"], expected)


DATA = np.arange(24, dtype=np.float32).reshape(4, 6)


@pytest.mark.parametrize("bad", [4, -5, 1 << 40])
@pytest.mark.parametrize(
    "op,shape,updates",
    [
        ("Gather", (2,), None),
        ("GatherElements", (1, 6), None),
        ("GatherND", (2, 2), None),
        ("ScatterElements", (1, 6), (1, 6)),
        ("ScatterND", (2, 1), (2, 6)),
        ("ScatterND", (2, 2), (2,)),
        ("TensorScatter", (2,), (2, 2, 3)),
        ("GatherBlockQuantized", (2,), None),
        ("EmbedLayerNormalization", (1, 2), None),
    ],
)
def test_indices_out_of_range(tmp_path, op, shape, updates, bad):
    indices = np.zeros(shape, np.int32 if op.startswith("Embed") else np.int64)
    if op.startswith("Embed"):
        bad = min(bad, 1 << 30)
    inputs = {"data": DATA, "indices": indices}
    attributes, constants, domain, opset = {}, [], "", 18
    if updates:
        inputs["updates"] = np.ones(updates, np.float32)
    if op == "TensorScatter":
        inputs = {"data": DATA.reshape(2, 4, 3), "updates": inputs["updates"], "indices": indices}
        attributes, opset = {"axis": 1}, 24
    if op == "GatherBlockQuantized":
        inputs = {
            "data": np.zeros((4, 16), np.uint8), "indices": indices, "scales": np.ones((4, 1), np.float32),
        }
        attributes, constants, domain = {"block_size": 32}, ["data", "scales"], "com.microsoft"
    if op == "EmbedLayerNormalization":
        inputs = {
            "ids": indices, "segments": None, "words": DATA, "positions": DATA, "kinds": None,
            "gamma": DATA[0], "beta": DATA[0],
        }
        constants, domain = ["words", "positions", "gamma", "beta"], "com.microsoft"
        indices = inputs["ids"]
    feeds = save(tmp_path / "m.onnx", op, inputs, ["y"], constants, domain, opset, **attributes)
    compile_and_run(tmp_path, feeds)
    indices.flat[0] = bad
    result = compile_and_run(tmp_path, feeds, check=False)
    assert result.returncode == 1
    assert f"{op}: expected indices within the dimension" in result.stderr
