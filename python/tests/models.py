"""Small models with the fused operators of language models, as their exporters write them."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

WIDTH, HIDDEN, VOCABULARY, HEADS, GROUPS, CONTEXT = 64, 96, 50, 4, 2, 32
SIZE = WIDTH // HEADS


class Builder:
    """Collects nodes and constants; random weights have some large columns, which rounding suffers from."""

    def __init__(self, seed=0):
        self.random = np.random.default_rng(seed)
        self.nodes, self.constants = [], {}

    def constant(self, name, value):
        self.constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def node(self, op, inputs, name, outputs=1, domain="", **attributes):
        outputs = [f"{name}/output_{i}" for i in range(outputs)] if isinstance(outputs, int) else outputs
        self.nodes.append(helper.make_node(op, inputs, outputs, name, domain=domain, **attributes))
        return outputs[0]

    def fused(self, op, inputs, name, outputs=1, **attributes):
        return self.node(op, inputs, name, outputs, "com.microsoft", **attributes)

    def matrix(self, k, n):
        columns = self.random.lognormal(0, 0.7, (k, 1)) / np.sqrt(k)
        return (self.random.normal(size=(k, n)) * columns).astype(np.float32)

    def linear(self, x, path, k, n, outputs=1):
        w = self.constant(f"{path.strip('/').replace('/', '.')}.weight", self.matrix(k, n))
        return self.node("MatMul", [x, w], f"{path}/MatMul", outputs)

    def vector(self, name, n=WIDTH, around=1.0):
        return self.constant(name, (around + 0.3 * self.random.normal(size=n)).astype(np.float32))

    def model(self, inputs, outputs, opset=21):
        values = [
            helper.make_tensor_value_info(name, dtype, shape) for name, (dtype, shape) in inputs.items()
        ]
        results = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()
        ]
        graph = helper.make_graph(self.nodes, "m", values, results, list(self.constants.values()))
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def _tables():
    grid = np.outer(np.arange(CONTEXT), 0.5 ** np.arange(SIZE // 2))
    return np.cos(grid).astype(np.float32), np.sin(grid).astype(np.float32)


LENGTHS = ["batch", "total"]
PAST = {
    f"past_key_values.{i}.{part}": (TensorProto.FLOAT, ["batch", GROUPS, "past", SIZE])
    for i in range(2)
    for part in ("key", "value")
}


def make_llama(attention="GroupQueryAttention"):
    """Two layers: grouped queries, rotary embedding, norms of sums, a gated MLP.

    attention: "GroupQueryAttention" (com.microsoft, with rotary embedding inside and caches),
    "MultiHeadAttention" (com.microsoft, RotaryEmbedding before it) or "Attention" (opset 23).
    """
    b = Builder()
    cos, sin = (b.constant(f"{name}_cache", table) for name, table in zip(("cos", "sin"), _tables()))
    grouped, standard = attention == "GroupQueryAttention", attention == "Attention"
    inputs = {"input_ids": (TensorProto.INT64, ["batch", "seq"])}
    outputs = {"logits": ["batch", "seq", VOCABULARY]}
    if grouped:
        inputs["attention_mask"] = (TensorProto.INT64, LENGTHS)
        inputs.update(PAST)
        one = b.constant("one", np.array([1]))
        total = b.node("ReduceSum", ["attention_mask", one], "/mask/sum", keepdims=1)
        lengths = b.node("Cast", [b.node("Sub", [total, one], "/mask/sub")], "/mask/lengths", to=6)
        shape = b.node("Shape", ["attention_mask"], "/mask/shape")
        last = b.node("Gather", [shape, b.constant("last", np.array(1))], "/mask/total", axis=0)
        length = b.node("Cast", [last], "/mask/length", to=6)
    else:
        inputs["position_ids"] = (TensorProto.INT64, ["batch", "seq"])
    table = b.constant("embed.weight", b.random.normal(size=(VOCABULARY, WIDTH)).astype(np.float32))
    x = b.node("Gather", [table, "input_ids"], "/embed/Gather")
    op = "RMSNormalization" if standard else "SimplifiedLayerNormalization"
    y = b.node(op, [x, b.vector("layers.0.norm.weight")], "/layers.0/norm/Norm", axis=-1, epsilon=1e-5)

    def skip(x, y, path):
        """(normed, sum) of the stream x and what a layer adds."""
        weight = b.vector(f"{path.strip('/').replace('/', '.')}.weight")
        if standard:
            x = b.node("Add", [x, y], f"{path}/Add")
            return b.node("RMSNormalization", [x, weight], f"{path}/Norm", axis=-1, epsilon=1e-5), x
        name = f"{path}/SkipLayerNorm"
        results = [f"{name}/output_0", "", "", f"{name}/output_3"]
        b.fused("SkipSimplifiedLayerNormalization", [x, y, weight], name, results, epsilon=1e-5)
        return results[0], results[3]

    for i in range(2):
        path = f"/layers.{i}"
        groups = GROUPS if grouped or standard else HEADS
        q = b.linear(y, f"{path}/attn/q_proj", WIDTH, WIDTH)
        k, v = (b.linear(y, f"{path}/attn/{name}_proj", WIDTH, groups * SIZE) for name in "kv")
        name = f"{path}/attn/{attention}"
        if grouped:
            pasts = [f"past_key_values.{i}.{part}" for part in ("key", "value")]
            presents = [f"present.{i}.{part}" for part in ("key", "value")]
            outputs.update((present, ["batch", GROUPS, "total", SIZE]) for present in presents)
            operands = [q, k, v, *pasts, lengths, length, cos, sin]
            results = [f"{name}/output_0", *presents]
            heads = dict(num_heads=HEADS, kv_num_heads=GROUPS, do_rotary=1)
            y = b.fused(attention, operands, name, results, **heads)
        elif standard:
            q, k = (
                b.node(
                    "RotaryEmbedding", [z, cos, sin, "position_ids"], f"{path}/{at}_rotary", num_heads=count
                )
                for z, at, count in ((q, "q", HEADS), (k, "k", GROUPS))
            )
            y = b.node(attention, [q, k, v], name, q_num_heads=HEADS, kv_num_heads=GROUPS, is_causal=1)
        else:
            q, k = (
                b.fused("RotaryEmbedding", [z, "position_ids", cos, sin], f"{path}/{at}_rotary")
                for z, at in ((q, "q"), (k, "k"))
            )
            y = b.fused(attention, [q, k, v], name, num_heads=HEADS, unidirectional=1)
        y, x = skip(x, b.linear(y, f"{path}/attn/o_proj", WIDTH, WIDTH), f"{path}/post_norm")
        gate = b.linear(y, f"{path}/mlp/gate_proj", WIDTH, HIDDEN)
        gate = b.fused("QuickGelu", [gate], f"{path}/mlp/act", alpha=1.0)
        y = b.node("Mul", [gate, b.linear(y, f"{path}/mlp/up_proj", WIDTH, HIDDEN)], f"{path}/mlp/Mul")
        y, x = skip(x, b.linear(y, f"{path}/mlp/down_proj", HIDDEN, WIDTH), f"{path}/next_norm")
    b.linear(y, "/lm_head", WIDTH, VOCABULARY, ["logits"])
    return b.model(inputs, outputs, opset=23 if standard else 21)


def make_gpt():
    """Two layers: embeddings with a norm, packed attention with a mask, norms of sums with a bias."""
    b = Builder(1)
    tables = [
        b.constant(f"{name}.weight", b.random.normal(size=(rows, WIDTH)).astype(np.float32))
        for name, rows in (("words", VOCABULARY), ("places", CONTEXT))
    ]
    norm = [b.vector("norm.weight"), b.vector("norm.bias", around=0.0)]
    inputs = {"input_ids": (TensorProto.INT32, ["batch", "seq"])}
    inputs["attention_mask"] = (TensorProto.INT32, ["batch", "total"])
    operands = ["input_ids", "", *tables, "", *norm, "attention_mask"]
    x = b.fused("EmbedLayerNormalization", operands, "/embed", ["/embed/x", "/embed/mask"], epsilon=1e-5)
    for i in range(2):
        path = f"/layers.{i}"
        w = b.constant(f"layers.{i}.attn.qkv.weight", b.matrix(WIDTH, 3 * WIDTH))
        bias = b.vector(f"layers.{i}.attn.qkv.bias", 3 * WIDTH, 0.0)
        y = b.fused(
            "Attention",
            [x, w, bias, "attention_mask"],
            f"{path}/attn/Attention",
            num_heads=HEADS,
            unidirectional=1,
        )
        y = b.linear(y, f"{path}/attn/o_proj", WIDTH, WIDTH)
        for at, k in (("attn", WIDTH), ("mlp", HIDDEN)):
            if at == "mlp":
                y = b.linear(x, f"{path}/mlp/fc1", WIDTH, HIDDEN)
                y = b.fused("FastGelu", [y, b.vector(f"layers.{i}.fc1.bias", HIDDEN, 0.0)], f"{path}/mlp/act")
                y = b.linear(y, f"{path}/mlp/fc2", HIDDEN, WIDTH)
            norm = [b.vector(f"layers.{i}.{at}.{name}") for name in ("norm.weight", "norm.bias", "bias")]
            x = b.fused("SkipLayerNormalization", [x, y, *norm], f"{path}/{at}/SkipNorm", epsilon=1e-5)
    b.linear(x, "/lm_head", WIDTH, VOCABULARY, ["logits"])
    return b.model(inputs, {"logits": ["batch", "seq", VOCABULARY]}, opset=17)


FUSED = {
    "group-query": make_llama,
    "multi-head": lambda: make_llama("MultiHeadAttention"),
    "standard": lambda: make_llama("Attention"),
    "packed": make_gpt,
}
