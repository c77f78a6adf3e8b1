"""The fused operators of language models, as smaller ones.

A node of such an operator is replaced when the graph is read, so that its parts count: the residual stream
behind a norm, products with weights, and the probabilities of an attention. Caches are taken as empty.
"""

import math

import torch

from ..._tools import GanqError
from .registry import operator
from .shapes import take

# Operators whose result is the probabilities of an attention [batch, heads, queries, keys].
ATTENTION_MAPS = {"Softmax", "ganq.AttentionMap"}


class _Parts:
    """Collects (operator, inputs, outputs, attributes) of one node's parts."""

    def __init__(self, node):
        self.node, self.parts = node, []
        self.attributes = dict(node.attributes)

    def input(self, index):
        """The name of an input, or "" where it is missing."""
        return self.node.inputs[index] if index < len(self.node.inputs) else ""

    def output(self, index):
        return self.node.outputs[index] if index < len(self.node.outputs) else ""

    def take(self, name, default=None):
        return self.attributes.pop(name, default)

    def refuse(self, what):
        raise GanqError(f"expected an operator without {what}, but got {self.node}")

    def refuse_inputs(self, **names):
        for name, index in names.items():
            if self.input(index):
                self.refuse(name.replace("_", " "))

    def refuse_rest(self):
        """For attributes that no one took: newer versions of an operator may say more."""
        for name in self.attributes:
            self.refuse(f"the attribute '{name}'")

    def add(self, op, inputs, output=None, **attributes):
        """Adds a part; returns the name of its first result."""
        output = output or f"{self.node.outputs[0]}/{len(self.parts)}"
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        self.parts.append((op, list(inputs), [output], attributes))
        return output

    def split(self, x, axis, count):
        """`count` equal parts of x."""
        names = [f"{self.node.outputs[0]}/{len(self.parts)}.{i}" for i in range(count)]
        self.parts.append(("Split", [x], names, {"axis": axis}))
        return names


def _skip_norm(parts):
    """The sum is the residual stream: a value of its own."""
    simple = "Simplified" in parts.node.op
    bias = parts.input(3 if simple else 4)
    total = parts.output(3) or f"{parts.node.outputs[0]}/sum"
    added = parts.add("Add", [parts.input(0), parts.input(1)], None if bias else total)
    if bias:
        parts.add("Add", [added, bias], total)
    op = "SimplifiedLayerNormalization" if simple else "LayerNormalization"
    weights = [parts.input(2), "" if simple else parts.input(3)]
    parts.add(op, [total, *weights], parts.node.outputs[0], axis=-1, epsilon=parts.take("epsilon", 1e-12))


def _embed_norm(parts):
    """Word, position and segment embeddings, their sum, its norm; and how many tokens the mask leaves."""
    ids, segments, words, positions, kinds, scale, shift, mask, places = map(parts.input, range(9))
    total = parts.add("Gather", [words, ids])
    places = places or parts.add("ganq.Positions", [ids])
    last = f"{parts.node.outputs[0]}/sum"
    sum_name = parts.output(2) or last
    total = parts.add("Add", [total, parts.add("Gather", [positions, places])], "" if segments else sum_name)
    if segments:
        parts.add("Add", [total, parts.add("Gather", [kinds, segments])], sum_name)
    epsilon = parts.take("epsilon", 1e-12)
    parts.add("LayerNormalization", [sum_name, scale, shift], parts.node.outputs[0], axis=-1, epsilon=epsilon)
    if parts.output(1):
        parts.add("ganq.CountMask", [mask or ids], parts.output(1), given=bool(mask))


def _decoded_matmul(parts):
    """A product with codes: their weights are constants, and stay as they are."""
    is_bnb = parts.node.op.endswith("Bnb4")
    if not is_bnb:
        parts.refuse_inputs(a_group_index=4)
        if parts.take("bits", 4) not in (2, 4, 8):
            parts.refuse("bits other than 2, 4 and 8")
    elif parts.take("transB", 1) != 1:
        parts.refuse("weights that are not transposed")
    op = "ganq.DecodeBnb4" if is_bnb else "ganq.DecodeNBits"
    codes = [parts.input(1), parts.input(2), "" if is_bnb else parts.input(3)]
    weight = parts.add(op, codes, **{"bits": 4, **parts.node.attributes})
    bias = parts.input(3 if is_bnb else 5)
    y = parts.add("MatMul", [parts.input(0), weight], None if bias else parts.node.outputs[0])
    if bias:
        parts.add("Add", [y, bias], parts.node.outputs[0])


def _attend(parts, q, k, v, masks=(), **attributes):
    """Attention of [batch, heads, length, size] values, as the node's first result."""
    p = parts.add("ganq.AttentionMap", [q, k, *masks], scale=parts.take("scale", 0.0), **attributes)
    mixed = parts.add("ganq.AttentionMix", [p, v])
    parts.add("ganq.MergeHeads", [mixed, parts.input(0)], parts.node.outputs[0])
    parts.refuse_rest()


# Values of GroupQueryAttention's attributes that change nothing, the default first.
_USUAL = {"local_window_size": (-1,), "smooth_softmax": (0, -1), "softcap": (0.0,), "qk_output": (0,)}


def _group_query(parts):
    heads, groups = parts.take("num_heads", 0), parts.take("kv_num_heads", 0)
    parts.refuse_inputs(an_attention_bias=10, sinks=11, scales_of_keys=12, scales_of_values=13)
    for name, usual in _USUAL.items():
        if parts.take(name, usual[0]) not in usual:
            parts.refuse(f"the attribute '{name}'")
    query, key, value = parts.input(0), parts.input(1), parts.input(2)
    if key:
        q, k, v = (
            parts.add("ganq.SplitHeads", [x], heads=count)
            for x, count in ((query, heads), (key, groups), (value, groups))
        )
    else:
        packed = parts.add("ganq.SplitHeads", [query], heads=heads + 2 * groups)
        q, k, v = names = [f"{packed}.{part}" for part in "qkv"]
        parts.parts.append(("ganq.SplitRows", [packed], names, {"sizes": [heads, groups, groups]}))
    if parts.take("do_rotary", 0):
        interleaved = parts.take("rotary_interleaved", 0)
        tables = [parts.input(9), parts.input(7), parts.input(8)]
        q, k = (
            parts.add("com.microsoft.RotaryEmbedding", [x, *tables], interleaved=interleaved) for x in (q, k)
        )
    parts.take("rotary_interleaved")
    for index, name in ((1, k), (2, v)):
        if parts.output(index):
            parts.add("Identity", [name], parts.output(index))
    _attend(parts, q, k, v, causal="end")


def _multi_head(parts):
    heads = parts.take("num_heads", 0)
    parts.take("mask_filter_value")
    parts.refuse_inputs(a_padding_mask=4, the_length_of_the_past=8, a_cache_indirection=9)
    values, bias = [parts.input(i) for i in range(3)], parts.input(3)
    if not all(values):
        parts.refuse("packed queries, keys and values")
    if bias:
        values = [parts.add("ganq.AddPart", [x, bias, *values], part=i) for i, x in enumerate(values)]
    q, k, v = (parts.add("ganq.SplitHeads", [x], heads=heads) for x in values)
    k = parts.add("ganq.Append", [parts.input(6), k], parts.output(1))
    v = parts.add("ganq.Append", [parts.input(7), v], parts.output(2))
    causal = "end" if parts.take("unidirectional", 0) else ""
    _attend(parts, q, k, v, [parts.input(5)], causal=causal)


def _packed_attention(parts):
    """com.microsoft.Attention: the product with the weights of queries, keys and values is a part."""
    heads = parts.take("num_heads", 0)
    if parts.take("do_rotary", 0) or parts.take("past_present_share_buffer", 0):
        parts.refuse("do_rotary and past_present_share_buffer")
    parts.take("rotary_embedding_dim")
    parts.refuse_inputs(an_attention_bias=5, the_length_of_the_past=6)
    x, weight, bias, mask, past = (parts.input(i) for i in range(5))
    # The MatMul has the name of the node and the place of its weight: see names.py.
    x = parts.add("MatMul", [x, weight])
    x = parts.add("Add", [x, bias]) if bias else x
    q, k, v = (parts.add("ganq.SplitHeads", [part], heads=heads) for part in parts.split(x, -1, 3))
    if past:
        old = [parts.add("ganq.Part", [past], part=i) for i in range(2)]
        k, v = (parts.add("ganq.Append", pair) for pair in zip(old, (k, v)))
    if parts.output(1):
        parts.add("ganq.Stack", [k, v], parts.output(1))
    causal = "end" if parts.take("unidirectional", 0) else ""
    low = parts.take("mask_filter_value", -10000.0)
    _attend(parts, q, k, v, [mask], causal=causal, low=low, is_seen=True)


def _standard_attention(parts):
    """Attention of opset 23."""
    parts.refuse_inputs(the_length_of_keys=6)
    heads, groups = parts.take("q_num_heads", 0), parts.take("kv_num_heads", 0)
    for name in ("left_window_size", "right_window_size"):
        if parts.take(name, -1) != -1:
            parts.refuse(f"the attribute '{name}'")
    if parts.output(3):
        parts.refuse("the result of its first product")
    parts.take("qk_matmul_output_mode")
    parts.take("softmax_precision")
    q, k, v = (
        parts.add("ganq.SplitHeads", [parts.input(i)], heads=count)
        for i, count in enumerate((heads, groups, groups))
    )
    k = parts.add("ganq.Append", [parts.input(4), k], parts.output(1))
    v = parts.add("ganq.Append", [parts.input(5), v], parts.output(2))
    causal = ("end" if parts.input(4) else "start") if parts.take("is_causal", 0) else ""
    cap = parts.take("softcap", 0.0)
    _attend(parts, q, k, v, [parts.input(3)], causal=causal, cap=cap)


_EXPANSIONS = {
    "Attention": _standard_attention,
    "com.microsoft.Attention": _packed_attention,
    "com.microsoft.EmbedLayerNormalization": _embed_norm,
    "com.microsoft.GroupQueryAttention": _group_query,
    "com.microsoft.MatMulBnb4": _decoded_matmul,
    "com.microsoft.MatMulNBits": _decoded_matmul,
    "com.microsoft.MultiHeadAttention": _multi_head,
    **{
        f"{domain}{name}": _skip_norm
        for domain in ("", "com.microsoft.")
        for name in ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization")
    },
}


def is_expanded(op):
    return op in _EXPANSIONS


def expand(node):
    """[(operator, inputs, outputs, attributes)] of the parts of a fused node."""
    parts = _Parts(node)
    _EXPANSIONS[node.op](parts)
    return parts.parts


# The parts


@operator("ganq.SplitHeads")
def split_heads(node, x):
    """[batch, length, heads size] as [batch, heads, length, size]; rank 4 passes."""
    if x.dim() == 4:
        return x
    heads = node.attributes["heads"]
    if x.dim() != 3 or heads <= 0 or x.shape[2] % heads:
        raise ValueError(f"expected [batch, length, width] for {heads} heads")
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


@operator("ganq.MergeHeads")
def merge_heads(node, x, like=None):
    """The inverse; `like` of rank 4 asks for that rank."""
    return x if like is not None and like.dim() == 4 else x.transpose(1, 2).flatten(2)


@operator("ganq.SplitRows")
def _split_rows(node, x):
    return torch.split(x, node.attributes["sizes"], 1)


@operator("ganq.AddPart")
def _add_part(node, x, bias, q, k, v):
    """Adds its part of a bias of queries, keys and values, one after the other."""
    begin = sum(part.shape[-1] for part in (q, k, v)[: node.attributes["part"]])
    return x + bias[begin : begin + x.shape[-1]]


@operator("ganq.Append")
def _append(node, past, x):
    return x if past is None or not past.shape[2] else torch.cat([past, x], 2)


@operator("ganq.Part")
def _part(node, x):
    return x[node.attributes["part"]]


@operator("ganq.Stack")
def _stack(node, *operands):
    return torch.stack(operands)


@operator("ganq.Positions")
def _positions(node, ids):
    return torch.arange(ids.shape[1]).unsqueeze(0)


@operator("ganq.CountMask")
def _count_mask(node, mask):
    return (mask.sum(1) if node.attributes["given"] else torch.zeros(len(mask))).to(torch.int32)


@operator("ganq.AttentionMap")
def _attention_map(node, q, k, mask=None):
    """Probabilities of q over the keys k; several queries' heads may share one head of keys."""
    flags = node.attributes
    if q.shape[1] % k.shape[1]:
        raise ValueError("expected the heads of keys to divide those of queries")
    scale = flags["scale"] or 1 / math.sqrt(q.shape[-1])
    grouped = q.unflatten(1, (k.shape[1], -1)).flatten(2, 3)
    scores = (grouped @ k.mT).unflatten(2, (-1, q.shape[2])).flatten(1, 2) * scale
    if flags.get("cap"):
        scores = flags["cap"] * torch.tanh(scores / flags["cap"])
    length, total = scores.shape[-2:]
    if mask is not None and flags.get("is_seen"):  # [batch, keys], zero where they are hidden
        if mask.dim() != 2:
            raise ValueError("expected a mask [batch, keys]")
        scores = scores + (mask == 0).to(scores.dtype)[:, None, None] * flags["low"]
        mask = None
    seen = mask if mask is not None and mask.dtype == torch.bool else None
    if mask is not None and seen is None:
        scores = scores + mask
    if flags["causal"]:
        first = total - length if flags["causal"] == "end" else 0
        earlier = torch.ones(length, total, dtype=torch.bool, device=q.device).tril(first)
        seen = earlier if seen is None else earlier & seen
    if seen is not None:
        scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
    p = torch.softmax(scores, -1)
    # A query that sees nothing gets nothing.
    return p * seen.any(-1, True) if mask is not None and mask.dtype == torch.bool else p


@operator("ganq.AttentionMix")
def _attention_mix(node, p, v):
    grouped = p.unflatten(1, (v.shape[1], -1)).flatten(2, 3)
    return (grouped @ v).unflatten(2, (-1, p.shape[2])).flatten(1, 2)


# Rotary embedding


def _rotate(x, cos, sin, interleaved):
    """Turns the first elements of x [batch, heads, length, size]; cos, sin [batch or 1, 1, length, half]."""
    half = cos.shape[-1]
    turned, rest = x[..., : 2 * half], x[..., 2 * half :]
    low, high = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.split(half, -1)
    parts = low * cos - high * sin, high * cos + low * sin
    turned = torch.stack(parts, -1).flatten(-2) if interleaved else torch.cat(parts, -1)
    return torch.cat([turned, rest], -1) if rest.shape[-1] else turned


def _rotary(node, x, cos, sin, positions):
    """cos, sin: tables [rows, half] with positions [batch or 1, length], or rows of each token."""
    flags = node.attributes
    if positions is not None:
        cos, sin = take(cos, positions, 0), take(sin, positions, 0)
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    split = x
    if x.dim() == 3:
        heads = flags.get("num_heads", 0) or x.shape[2] // (2 * cos.shape[-1])
        split = x.unflatten(2, (heads, -1)).transpose(1, 2)
    dims = flags.get("rotary_embedding_dim", 0) // 2 or cos.shape[-1]
    y = _rotate(split, cos[..., :dims], sin[..., :dims], flags.get("interleaved", 0))
    return merge_heads(node, y) if x.dim() == 3 else y


@operator("com.microsoft.RotaryEmbedding", host=(1,))
def _microsoft_rotary(node, x, positions, cos, sin):
    if node.attributes.get("scale", 1.0) != 1.0 or node.attributes.get("is_packed_batching", 0):
        raise ValueError("scale and is_packed_batching are not supported")
    length = x.shape[-2]
    if positions is None:
        positions = torch.arange(length).unsqueeze(0)
    elif positions.numel() == 1:  # the first one
        positions = positions.reshape(1, 1) + torch.arange(length, device=positions.device)
    return _rotary(node, x, cos, sin, positions)


@operator("RotaryEmbedding", host=(3,))
def _standard_rotary(node, x, cos, sin, positions=None):
    return _rotary(node, x, cos, sin, positions)
