"""Writes the ONNX models that the import tests read into the folder argv[1]."""

import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def value(name, dims, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, dims)


def save(name, nodes, inputs, outputs, initializers=(), opset=17, **graph):
    made = helper.make_graph(nodes, "g", inputs, outputs, initializers, **graph)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    onnx.save(model, name)
    return model


def external(tensor, **entries):
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, entry in entries.items():
        tensor.external_data.add(key=key, value=str(entry))
    return tensor


def matmul(weight, name):
    node = helper.make_node("MatMul", ["x", weight.name], ["y"], name="/q_proj/MatMul")
    save(name, [node], [value("x", ["n", 32])], [value("y", ["n", 16])], [weight])


def main():
    os.chdir(sys.argv[1])
    ones = np.ones((32, 16), np.float32)
    weight = lambda: numpy_helper.from_array(ones, "onnx::MatMul_7")

    matmul(weight(), "linear.onnx")
    typed = helper.make_tensor("w", TensorProto.FLOAT, [32, 16], ones.ravel())
    matmul(typed, "typed.onnx")

    # External data, right and wrong.
    with open("weights.bin", "wb") as file:
        file.write(b"\0" * 64 + ones.tobytes())
    size = ones.nbytes
    cases = {
        "external": dict(location="weights.bin", offset=64, length=size),
        "absolute": dict(location=os.path.abspath("weights.bin")),
        "parent": dict(location="../weights.bin"),
        "missing": dict(location="absent.bin"),
        "beyond": dict(location="weights.bin", offset=65, length=size),
        "negative": dict(location="weights.bin", offset=-1),
        "length": dict(location="weights.bin", length=size - 1),
        "key": dict(location="weights.bin", colour="red"),
        "symlink": dict(location="link.bin"),
        "hardlink": dict(location="hard.bin"),
    }
    for name, entries in cases.items():
        matmul(external(weight(), **entries), name + ".onnx")
    for link in ("link.bin", "hard.bin", "hard2.bin"):
        if os.path.lexists(link):
            os.remove(link)
    os.symlink("weights.bin", "link.bin")
    with open("hard2.bin", "wb") as file:
        file.write(ones.tobytes())
    os.link("hard2.bin", "hard.bin")
    twice = external(weight(), location="weights.bin", offset=64)
    twice.external_data.add(key="location", value="weights.bin")
    matmul(twice, "twice.onnx")

    # Not a model.
    open("empty.onnx", "wb").close()
    with open("text.onnx", "w") as file:
        file.write("this is no protobuf message")
    with open("linear.onnx", "rb") as file:
        whole = file.read()
    with open("truncated.onnx", "wb") as file:
        file.write(whole[: len(whole) // 2])

    # Wrong graphs.
    x, y = value("x", [2]), value("y", [2])
    relu = lambda a, b, name: helper.make_node("Relu", [a], [b], name=name)
    save("cycle.onnx", [relu("b", "a", "first"), relu("a", "b", "second")], [x], [value("b", [2])])
    save("undefined.onnx", [relu("z", "y", "only")], [x], [y])
    save("duplicate.onnx", [relu("x", "y", "first"), relu("x", "y", "second")], [x], [y])
    save("no-output.onnx", [relu("x", "z", "only")], [x], [y])
    save("arity.onnx", [helper.make_node("MatMul", ["x"], ["y"], name="only")], [x], [y])
    save("unsorted.onnx", [relu("a", "y", "late"), relu("x", "a", "early")], [x], [y])

    # Regions, functions, unknown operators, other types.
    branch = lambda op: helper.make_graph(
        [helper.make_node(op, ["x"], ["r"], name=op.lower())], op, [], [value("r", [2])]
    )
    node = helper.make_node("If", ["c"], ["y"], name="choose", then_branch=branch("Neg"), else_branch=branch("Abs"))
    save("if.onnx", [node], [value("c", [], TensorProto.BOOL), x], [y])

    body = helper.make_node("LeakyRelu", ["a"], ["b"], name="inner")
    slope = onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    body.attribute.append(slope)
    function = helper.make_function(
        "local", "Leaky", ["a"], ["b"], [body], [helper.make_opsetid("", 17)], ["slope"]
    )
    call = helper.make_node("Leaky", ["x"], ["y"], name="call", domain="local", slope=0.5)
    model = save("function.onnx", [call], [x], [y])
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    onnx.save(model, "function.onnx")

    call = helper.make_node("Strange", ["x", "", "x"], ["y", "", "z"], name="odd", domain="com.example", axis=3, words=["a", "b"])
    save("unknown.onnx", [call], [x], [y])

    names = helper.make_tensor("names", TensorProto.STRING, [2], [b"one", b"two"])
    node = helper.make_node("Identity", ["names"], ["s"])
    save("string.onnx", [node], [], [value("s", [2], TensorProto.STRING)], [names])

    info = helper.make_tensor_value_info("onnx::MatMul_7", TensorProto.FLOAT, [32, 16])
    entry = info.metadata_props.add()
    entry.key, entry.value = "pkg.onnxscript.optimizer.folded_from", "['model.q.weight']"
    node = helper.make_node("MatMul", ["x", "onnx::MatMul_7"], ["y"], name="node_7")
    save("folded.onnx", [node], [value("x", ["n", 32])], [value("y", ["n", 16])], [weight()], value_info=[info])


main()
