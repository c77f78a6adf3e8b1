#!/usr/bin/env python3
"""Writes a LLaMA-architecture ONNX model with random weights.

The graph has the form that PyTorch's exporters give (decomposed norms, rotary
embedding and attention, MatMul weights stored [K, N]); all weights lie in one
external file beside the model.

    python benchmark/make_llama.py build/bench/llama-1b.onnx
    python benchmark/make_llama.py tiny.onnx --hidden=256 --layers=2 --heads=8 \
        --kv-heads=4 --intermediate=512 --vocabulary=1000 --context=256
"""

import argparse
import os

import numpy as np
import onnx
from onnx import TensorProto, helper


class Writer:
    """Collects nodes, and weights in an external file."""

    opsets = []  # beside ONNX's own

    def __init__(self, path, seed):
        self.nodes, self.initializers = [], []
        self.data_name = os.path.basename(path) + ".data"
        self.data = open(path + ".data.tmp", "wb")
        self.random = np.random.default_rng(seed)

    def node(self, op, inputs, output, **attributes):
        self.nodes.append(
            helper.make_node(op, inputs, [output], name=output, **attributes)
        )
        return output

    def constant(self, name, value, dtype=np.int64):
        array = np.asarray(value, dtype=dtype)
        self.initializers.append(onnx.numpy_helper.from_array(array, name))
        return name

    def weight(self, name, shape, scale):
        offset = self.data.tell()
        remaining = int(np.prod(shape))
        while remaining:
            count = min(remaining, 1 << 24)
            block = self.random.standard_normal(count, dtype=np.float32)
            self.data.write((block * np.float32(scale)).tobytes())
            remaining -= count
        return self.written(name, TensorProto.FLOAT, shape, offset)

    def array(self, name, value):
        """A weight of the values of an array."""
        offset = self.data.tell()
        self.data.write(np.ascontiguousarray(value).tobytes())
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        return self.written(name, kind, value.shape, offset)

    def written(self, name, kind, shape, offset):
        """Declares what lies in the external file from `offset` to its end."""
        tensor = TensorProto(
            name=name, data_type=kind, dims=shape, data_location=TensorProto.EXTERNAL
        )
        for key, value in (
            ("location", self.data_name),
            ("offset", str(offset)),
            ("length", str(self.data.tell() - offset)),
        ):
            tensor.external_data.add(key=key, value=value)
        self.initializers.append(tensor)
        return name

    def matmul(self, name, x, inputs, outputs, output=None):
        weight = self.weight(name + ".weight", [inputs, outputs], inputs**-0.5)
        return self.node("MatMul", [x, weight], output or name + "/MatMul")

    def rms_norm(self, name, x, size):
        weight = self.constant(name + ".weight", np.ones(size), np.float32)
        square = self.node("Pow", [x, "two"], name + "/Pow")
        mean = self.node("ReduceMean", [square], name + "/Mean", axes=[-1], keepdims=1)
        root = self.node(
            "Sqrt", [self.node("Add", [mean, "epsilon"], name + "/Add")], name + "/Sqrt"
        )
        scale = self.node("Div", ["one", root], name + "/Div")
        normal = self.node("Mul", [x, scale], name + "/Mul")
        return self.node("Mul", [weight, normal], name + "/Scale")

    def heads(self, name, x, heads, head):
        shape = self.constant(name + ".shape", [0, 0, heads, head])
        return self.node(
            "Transpose",
            [self.node("Reshape", [x, shape], name + "/Reshape")],
            name + "/Heads",
            perm=[0, 2, 1, 3],
        )

    def rope(self, name, x):
        low = self.node("Slice", [x, "zero1", "half", "axis3"], name + "/Low")
        high = self.node("Slice", [x, "half", "end", "axis3"], name + "/High")
        turned = self.node(
            "Concat", [self.node("Neg", [high], name + "/Neg"), low],
            name + "/Turned", axis=-1,
        )
        return self.node(
            "Add",
            [
                self.node("Mul", [x, "cos"], name + "/Cos"),
                self.node("Mul", [turned, "sin"], name + "/Sin"),
            ],
            name + "/Rope",
        )

    def repeat(self, name, x, args, head):
        groups = args.heads // args.kv_heads
        if groups == 1:
            return x
        wide = self.node("Unsqueeze", [x, "axis2"], name + "/Unsqueeze")
        target = self.node(
            "Concat",
            ["batch1", "kv_groups", "total1" if args.cache else "sequence1", "head1"],
            name + "/Target", axis=0,
        )
        wide = self.node("Expand", [wide, target], name + "/Expand")
        shape = self.constant(name + ".merged", [0, args.heads, -1, head])
        return self.node("Reshape", [wide, shape], name + "/Repeat")


def build(args, path, writer=Writer):
    head = args.hidden // args.heads
    w = writer(path, args.seed)
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "seq"])]
    outputs = [
        helper.make_tensor_value_info(
            "logits", TensorProto.FLOAT, ["batch", "seq", args.vocabulary]
        )
    ]
    f32 = np.float32

    def cached(layer, part, x):
        """Appends keys or values to those of earlier tokens."""
        names = [f"{when}.{layer}.{part}" for when in ("past", "present")]
        for name, tensors in zip(names, (inputs, outputs)):
            sizes = ["batch", args.kv_heads, name.split(".")[0], head]
            tensors.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes))
        return w.node("Concat", [names[0], x], names[1], axis=2)

    w.constant("two", 2.0, f32)
    w.constant("one", 1.0, f32)
    w.constant("epsilon", 1e-5, f32)
    w.constant("scale", head**-0.5, f32)
    w.constant("zero1", [0])
    w.constant("half", [head // 2])
    w.constant("end", [np.iinfo(np.int64).max])
    w.constant("axis2", [2])
    w.constant("axis3", [3])
    w.constant("kv_groups", [args.kv_heads, args.heads // args.kv_heads])
    w.constant("head1", [head])

    w.node("Shape", ["input_ids"], "shape")
    w.node("Slice", ["shape", "zero1", w.constant("one1", [1])], "batch1")
    w.node("Slice", ["shape", "one1", "axis2"], "sequence1")
    angles = np.outer(
        np.arange(args.context), 10000.0 ** (-np.arange(0, head, 2) / head)
    )
    angles = np.concatenate([angles, angles], 1)
    w.constant("cos_table", np.cos(angles), f32)
    w.constant("sin_table", np.sin(angles), f32)
    begin, end = "zero1", "sequence1"
    if args.cache:
        w.node("Shape", ["past.0.key"], "past_shape")
        begin = w.node("Slice", ["past_shape", "axis2", "axis3"], "past1")
        end = w.node("Add", [begin, "sequence1"], "total1")
    w.node("Slice", ["cos_table", begin, end, "zero1"], "cos")
    w.node("Slice", ["sin_table", begin, end, "zero1"], "sin")
    w.constant("mask_table", np.triu(np.full((args.context,) * 2, -1e9), 1), f32)
    w.node("Slice", ["mask_table", begin, end, "zero1"], "mask_rows")
    w.node("Slice", ["mask_rows", "zero1", end, "one1"], "mask")

    embedding = w.weight("embed_tokens.weight", [args.vocabulary, args.hidden], 1.0)
    x = w.node("Gather", [embedding, "input_ids"], "embed")
    merged = w.constant("merged", [0, 0, args.hidden])
    for layer in range(args.layers):
        name = f"layers.{layer}"
        normal = w.rms_norm(name + ".input_layernorm", x, args.hidden)
        kv = args.kv_heads * head
        attention = name + ".self_attn"
        q, k, v = (
            w.heads(
                f"{attention}.{part}_proj",
                w.matmul(f"{attention}.{part}_proj", normal, args.hidden, size),
                size // head,
                head,
            )
            for part, size in (("q", args.hidden), ("k", kv), ("v", kv))
        )
        q, k = w.rope(attention + ".q", q), w.rope(attention + ".k", k)
        if args.cache:
            k, v = (cached(layer, part, x) for part, x in (("key", k), ("value", v)))
        k = w.repeat(attention + ".k", k, args, head)
        v = w.repeat(attention + ".v", v, args, head)
        keys = w.node("Transpose", [k], attention + "/Keys", perm=[0, 1, 3, 2])
        scores = w.node("MatMul", [q, keys], attention + "/Scores")
        scores = w.node("Mul", [scores, "scale"], attention + "/Scaled")
        scores = w.node("Add", [scores, "mask"], attention + "/Masked")
        weights = w.node("Softmax", [scores], attention + "/Softmax", axis=-1)
        mixed = w.node("MatMul", [weights, v], attention + "/Values")
        mixed = w.node("Transpose", [mixed], attention + "/Merge", perm=[0, 2, 1, 3])
        mixed = w.node("Reshape", [mixed, merged], attention + "/Merged")
        mixed = w.matmul(attention + ".o_proj", mixed, args.hidden, args.hidden)
        x = w.node("Add", [x, mixed], name + "/Residual1")
        normal = w.rms_norm(name + ".post_attention_layernorm", x, args.hidden)
        gate = w.matmul(name + ".mlp.gate_proj", normal, args.hidden, args.intermediate)
        up = w.matmul(name + ".mlp.up_proj", normal, args.hidden, args.intermediate)
        sigmoid = w.node("Sigmoid", [gate], name + ".mlp/Sigmoid")
        silu = w.node("Mul", [gate, sigmoid], name + ".mlp/Silu")
        hidden = w.node("Mul", [silu, up], name + ".mlp/Mul")
        down = w.matmul(name + ".mlp.down_proj", hidden, args.intermediate, args.hidden)
        x = w.node("Add", [x, down], name + "/Residual2")
    x = w.rms_norm("norm", x, args.hidden)
    w.matmul("lm_head", x, args.hidden, args.vocabulary, output="logits")
    w.data.close()

    graph = helper.make_graph(
        w.nodes,
        "llama",
        inputs,
        outputs,
        w.initializers,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17), *w.opsets],
        ir_version=8,
        producer_name="ganq benchmark",
    )
    os.replace(path + ".data.tmp", path + ".data")
    onnx.save(model, path + ".tmp")
    os.replace(path + ".tmp", path)
    return w


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output")
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--intermediate", type=int, default=5632)
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--kv-heads", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--cache", action="store_true", help="inputs past.N.* and outputs present.N.*: keys, values"
    )
    args = parser.parse_args(arguments)
    if args.hidden % args.heads or args.heads % args.kv_heads:
        parser.error("expected heads to divide hidden, and kv-heads to divide heads")
    os.makedirs(os.path.dirname(os.path.abspath(args.output)), exist_ok=True)
    return args


def main():
    args = parse()
    build(args, args.output)


if __name__ == "__main__":
    main()
