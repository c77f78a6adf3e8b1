"""A decoder small enough to learn in a test, and what tests of learned calibration share."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors import safe_open

WIDTH, HIDDEN, VOCABULARY, HEADS = 32, 48, 40, 2


class Stop(Exception):
    """Ends a run from its progress callback."""


def read(path):
    with safe_open(path, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


def write_model(path, extra=(), bias=False):
    """A decoder of two blocks with random weights: attention and a gated MLP, norms before each."""
    random = np.random.default_rng(0)
    nodes, weights = [], {}

    def constant(name, value):
        weights[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def node(op, inputs, name, output=None, **attributes):
        output = output or f"{name}_output"
        nodes.append(helper.make_node(op, inputs, [output], name, **attributes))
        return output

    def linear(x, path, n, k, output=None):
        scale = random.lognormal(0, 0.7, (k, 1)) / np.sqrt(k)
        w = constant(f"onnx::MatMul_{len(weights)}", (random.normal(size=(k, n)) * scale).astype(np.float32))
        y = node("MatMul", [x, w], f"/{path}/MatMul", None if bias else output)
        if bias:
            b = constant(f"{path.replace('/', '.')}.bias", random.normal(size=n).astype(np.float32) * 0.3)
            y = node("Add", [y, b], f"/{path}/Add", output)
        return y

    def norm(x, path):
        scale = constant(f"{path}.scale", random.lognormal(0, 0.5, WIDTH).astype(np.float32))
        shift = constant(f"{path}.shift", np.zeros(WIDTH, np.float32))
        return node("LayerNormalization", [x, scale, shift], f"/{path}/Norm", axis=-1)

    table = constant("embedding", random.normal(size=(VOCABULARY, WIDTH)).astype(np.float32))
    x = node("Gather", [table, "ids"], "/embedding")
    length = node("Gather", [node("Shape", ["ids"], "/shape"), constant("one", np.int64(1))], "/length")
    square = node(
        "Concat",
        [node("Unsqueeze", [length, constant("zeros", np.zeros(1, np.int64))], "/size")] * 2,
        "/square",
        axis=0,
    )
    low = helper.make_tensor("value", TensorProto.FLOAT, [1], [-1e9])
    mask = node("Trilu", [node("ConstantOfShape", [square], "/full", value=low), "one"], "/mask", upper=1)
    heads = constant("heads", np.array([0, 0, HEADS, WIDTH // HEADS]))
    for i in range(2):
        y = norm(x, f"{i}/before")
        q, k, v = (
            node(
                "Transpose",
                [node("Reshape", [linear(y, f"{i}/{name}", WIDTH, WIDTH), heads], f"/{i}/{name}/Reshape")],
                f"/{i}/{name}/Transpose",
                perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3],
            )
            for name in "qkv"
        )
        scores = node(
            "Mul",
            [node("MatMul", [q, k], f"/{i}/scores"), constant(f"{i}.scale", np.float32(0.25))],
            f"/{i}/scaled",
        )
        p = node("Softmax", [node("Add", [scores, mask], f"/{i}/masked")], f"/{i}/softmax", axis=-1)
        y = node("Transpose", [node("MatMul", [p, v], f"/{i}/mixed")], f"/{i}/back", perm=[0, 2, 1, 3])
        y = node("Reshape", [y, constant(f"{i}.merge", np.array([0, 0, WIDTH]))], f"/{i}/merged")
        x = node("Add", [x, linear(y, f"{i}/o", WIDTH, WIDTH)], f"/{i}/attended")
        y = norm(x, f"{i}/after")
        gate = node("Tanh", [linear(y, f"{i}/gate", HIDDEN, WIDTH)], f"/{i}/tanh")
        y = node("Mul", [gate, linear(y, f"{i}/up", HIDDEN, WIDTH)], f"/{i}/gated")
        x = node("Add", [x, linear(y, f"{i}/down", WIDTH, HIDDEN)], f"/{i}/out")
    for op in extra:
        x = node(op, [x], f"the_{op}", domain="com.example")
    linear(norm(x, "last"), "head", VOCABULARY, WIDTH, "logits")
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "seq"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "seq", VOCABULARY])],
        list(weights.values()),
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path
