"""What each ONNX operator computes, with PyTorch.

Floating point is computed in f32 whatever the model's precision. Shapes and other lists that an operator
takes as an operand arrive as Python lists, so that they may stay on the CPU when the data is elsewhere.
"""

import math

import torch
import torch.nn.functional as F

from .._tools import GanqError

# TensorProto.DataType.
_FLOATS = {1, 10, 11, 16}
_DTYPES = {
    2: torch.uint8,
    3: torch.int8,
    4: torch.uint16,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    12: torch.uint32,
    13: torch.uint64,
}
_TABLE = {}


def _operator(*names, lists=()):
    """Registers a function (node, *operands) for operators; operands `lists` are Python lists."""

    def register(function):
        for name in names:
            _TABLE[name] = (function, lists)
        return function

    return register


def is_known(op):
    return op in _TABLE


def apply(node, operands):
    """The results of `node`, a tuple. Operands are tensors, or None where optional ones are missing."""
    function, lists = _TABLE[node.op]
    devices = {x.device for i, x in enumerate(operands) if x is not None and i not in lists and x.dim()}
    device = next((d for d in devices if d.type != "cpu"), None)
    values = []
    for i, operand in enumerate(operands):
        if operand is not None and i in lists:
            operand = operand.reshape(-1).tolist()
        elif operand is not None and device is not None and operand.device != device:
            operand = operand.to(device)
        values.append(operand)
    try:
        result = function(node, *values)
    except GanqError:
        raise
    except torch.OutOfMemoryError as error:
        raise GanqError(
            f"out of memory at {node}: {str(error).splitlines()[0]}; use a smaller batch"
        ) from None
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        shapes = ", ".join("none" if x is None else str(list(x.shape)) for x in operands)
        raise GanqError(f"cannot compute {node} of {shapes}: {str(error).splitlines()[0]}") from None
    return result if isinstance(result, tuple) else (result,)


def _cast(x, to):
    if to in _FLOATS:
        return x.to(torch.float32)
    if to not in _DTYPES:
        raise ValueError(f"no numbers of ONNX type {to}")
    return x.to(_DTYPES[to])


# Elementwise


def _elementwise(function):
    return lambda node, *operands: function(*operands)


for _names, _function in {
    ("Add",): torch.add,
    ("Sub",): torch.sub,
    ("Mul",): torch.mul,
    ("Neg",): torch.neg,
    ("Abs",): torch.abs,
    ("Sqrt",): torch.sqrt,
    ("Reciprocal",): torch.reciprocal,
    ("Exp",): torch.exp,
    ("Log",): torch.log,
    ("Sin",): torch.sin,
    ("Cos",): torch.cos,
    ("Tanh",): torch.tanh,
    ("Erf",): torch.erf,
    ("Sigmoid",): torch.sigmoid,
    ("Relu",): torch.relu,
    ("Softplus",): F.softplus,
    ("Floor",): torch.floor,
    ("Ceil",): torch.ceil,
    ("Round",): torch.round,
    ("Sign",): torch.sign,
    ("Identity",): lambda x: x,
    ("Dropout",): lambda x, *_: x,
    ("IsNaN",): torch.isnan,
    ("Not",): torch.logical_not,
    ("And",): torch.logical_and,
    ("Or",): torch.logical_or,
    ("Xor",): torch.logical_xor,
    ("Equal",): torch.eq,
    ("Less",): torch.lt,
    ("LessOrEqual",): torch.le,
    ("Greater",): torch.gt,
    ("GreaterOrEqual",): torch.ge,
    ("Where",): torch.where,
    ("com.microsoft.FastGelu",): lambda x, bias=None: F.gelu(
        x if bias is None else x + bias, approximate="tanh"
    ),
    ("com.microsoft.BiasGelu",): lambda x, bias: F.gelu(x + bias),
}.items():
    _operator(*_names)(_elementwise(_function))


@_operator("Div")
def _div(node, x, y):
    return torch.div(x, y, rounding_mode=None if x.is_floating_point() else "trunc")


@_operator("Pow")
def _pow(node, x, y):
    # A constant exponent's gradient would be not a number at x <= 0.
    return torch.pow(x, y.item() if y.numel() == 1 and y.dim() <= x.dim() else y).to(x.dtype)


@_operator("Mod")
def _mod(node, x, y):
    return torch.fmod(x, y) if node.attributes.get("fmod", 0) else torch.remainder(x, y)


@_operator("Min")
def _min(node, first, *rest):
    for x in rest:
        first = torch.minimum(first, x)
    return first


@_operator("Max")
def _max(node, first, *rest):
    for x in rest:
        first = torch.maximum(first, x)
    return first


@_operator("Sum")
def _sum(node, first, *rest):
    for x in rest:
        first = first + x
    return first


@_operator("Clip")
def _clip(node, x, low=None, high=None):
    low = node.attributes.get("min") if low is None else low.item()
    high = node.attributes.get("max") if high is None else high.item()
    return x if low is None and high is None else torch.clamp(x, low, high)


@_operator("Gelu", "com.microsoft.Gelu")
def _gelu(node, x):
    return F.gelu(x, approximate=node.attributes.get("approximate", "none"))


@_operator("com.microsoft.QuickGelu", "Swish")
def _swish(node, x):
    return x * torch.sigmoid(x * node.attributes.get("alpha", 1.702 if "." in node.op else 1.0))


@_operator("LeakyRelu")
def _leaky_relu(node, x):
    return F.leaky_relu(x, node.attributes.get("alpha", 0.01))


@_operator("HardSigmoid")
def _hard_sigmoid(node, x):
    return torch.clamp(node.attributes.get("alpha", 0.2) * x + node.attributes.get("beta", 0.5), 0, 1)


@_operator("Cast")
def _cast_to(node, x):
    return _cast(x, node.attributes["to"])


@_operator("CastLike")
def _cast_like(node, x, like):
    return x.to(like.dtype)


# Shapes and constants


@_operator("Constant")
def _constant(node):
    value = next(iter(node.attributes.values()))
    return value if isinstance(value, torch.Tensor) else torch.tensor(value)


@_operator("Shape")
def _shape(node, x):
    end = node.attributes.get("end", x.dim())
    return torch.tensor(x.shape[slice(node.attributes.get("start", 0), end)], dtype=torch.int64)


@_operator("Size")
def _size(node, x):
    return torch.tensor(x.numel())


@_operator("ConstantOfShape", lists=(0,))
def _constant_of_shape(node, shape):
    value = node.attributes.get("value")
    value = torch.zeros(1) if value is None else value
    return value.reshape(()).expand(shape).clone()


@_operator("Range")
def _range(node, start, limit, delta):
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


@_operator("Reshape", lists=(1,))
def _reshape(node, x, shape):
    if not node.attributes.get("allowzero", 0):
        shape = [x.shape[i] if size == 0 else size for i, size in enumerate(shape)]
    if -1 in shape and 0 in x.shape:  # torch does not infer the size of nothing
        rest = math.prod(size for size in shape if size != -1)
        shape = [x.numel() // rest if size == -1 and rest else max(size, 0) for size in shape]
    return x.reshape(shape)


@_operator("Flatten")
def _flatten(node, x):
    axis = node.attributes.get("axis", 1)
    axis += x.dim() if axis < 0 else 0
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@_operator("Transpose")
def _transpose(node, x):
    return x.permute(node.attributes.get("perm") or tuple(reversed(range(x.dim()))))


@_operator("Unsqueeze", lists=(1,))
def _unsqueeze(node, x, axes=None):
    axes = node.attributes["axes"] if axes is None else axes
    for axis in sorted(axis % (x.dim() + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


@_operator("Squeeze", lists=(1,))
def _squeeze(node, x, axes=None):
    axes = node.attributes.get("axes") if axes is None else axes
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


@_operator("Expand", lists=(1,))
def _expand(node, x, shape):
    return x.expand(torch.broadcast_shapes(x.shape, shape))


@_operator("Tile", lists=(1,))
def _tile(node, x, repeats):
    return x.repeat(repeats)


@_operator("Concat")
def _concat(node, *operands):
    return torch.cat(operands, node.attributes["axis"])


@_operator("Split", lists=(1,))
def _split(node, x, sizes=None):
    axis = node.attributes.get("axis", 0)
    sizes = node.attributes.get("split") if sizes is None else sizes
    if sizes is None:
        part = -(-x.shape[axis] // len(node.outputs))
        sizes = [min(part, x.shape[axis] - i * part) for i in range(len(node.outputs))]
    return torch.split(x, sizes, axis)


@_operator("Slice", lists=(1, 2, 3, 4))
def _slice(node, x, starts=None, ends=None, axes=None, steps=None):
    starts = node.attributes["starts"] if starts is None else starts
    ends = node.attributes["ends"] if ends is None else ends
    axes = axes or node.attributes.get("axes") or range(len(starts))
    for start, end, axis, step in zip(starts, ends, axes, steps or [1] * len(starts)):
        axis %= x.dim()
        kept = range(x.shape[axis])[start:end:step]
        if step == 1:
            x = x.narrow(axis, kept.start, len(kept))
        else:
            x = x.index_select(axis, torch.tensor(kept, dtype=torch.int64, device=x.device))
    return x


@_operator("Gather")
def _gather(node, x, indices):
    axis = node.attributes.get("axis", 0) % x.dim()
    if indices.dim() == 0:
        return x.select(axis, indices.item())
    flat = indices.reshape(-1).to(torch.int64)
    flat = torch.where(flat < 0, flat + x.shape[axis], flat)
    return x.index_select(axis, flat).reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])


@_operator("GatherElements")
def _gather_elements(node, x, indices):
    axis = node.attributes.get("axis", 0)
    return torch.gather(x, axis, torch.where(indices < 0, indices + x.shape[axis], indices))


@_operator("GatherND")
def _gather_nd(node, x, indices):
    if node.attributes.get("batch_dims", 0):
        raise ValueError("batch_dims is not supported")
    return x[tuple(indices.to(torch.int64).unbind(-1))]


@_operator("ScatterND")
def _scatter_nd(node, x, indices, updates):
    if node.attributes.get("reduction", "none") not in ("none", b"none"):
        raise ValueError("reductions are not supported")
    return x.index_put(tuple(indices.to(torch.int64).unbind(-1)), updates)


@_operator("Trilu")
def _trilu(node, x, k=None):
    k = 0 if k is None else k.item()
    return torch.triu(x, k) if node.attributes.get("upper", 1) else torch.tril(x, k)


@_operator("CumSum")
def _cumsum(node, x, axis):
    axis = axis.item()
    if node.attributes.get("reverse", 0):
        x = x.flip(axis)
    total = x.cumsum(axis).to(x.dtype)
    if node.attributes.get("exclusive", 0):
        total = total - x
    return total.flip(axis) if node.attributes.get("reverse", 0) else total


# Reductions and norms


def _reduction(function):
    def reduce(node, x, axes=None):
        axes = node.attributes.get("axes") if axes is None else axes
        if not axes and node.attributes.get("noop_with_empty_axes", 0):
            return x
        axes = tuple(axes) if axes else tuple(range(x.dim()))
        return function(x, axes, bool(node.attributes.get("keepdims", 1)))

    return reduce


for _name, _function in {
    "ReduceMean": torch.mean,
    "ReduceSum": torch.sum,
    "ReduceMax": torch.amax,
    "ReduceMin": torch.amin,
    "ReduceSumSquare": lambda x, axes, keep: torch.sum(x * x, axes, keep),
    "ReduceL2": lambda x, axes, keep: torch.sum(x * x, axes, keep).sqrt(),
}.items():
    _operator(_name, lists=(1,))(_reduction(_function))


@_operator("Softmax", "LogSoftmax")
def _softmax(node, x):
    function = torch.softmax if node.op == "Softmax" else torch.log_softmax
    if node.opset >= 13:
        return function(x, node.attributes.get("axis", -1))
    axis = node.attributes.get("axis", 1) % x.dim()
    return function(x.flatten(axis), -1).reshape(x.shape)


@_operator("LayerNormalization")
def _layer_norm(node, x, scale, bias=None):
    y = F.layer_norm(x, x.shape[node.attributes.get("axis", -1) :], eps=node.attributes.get("epsilon", 1e-5))
    return y * scale if bias is None else y * scale + bias


@_operator("RMSNormalization", "SimplifiedLayerNormalization")
def _rms_norm(node, x, scale):
    axes = tuple(range(node.attributes.get("axis", -1) % x.dim(), x.dim()))
    return x * torch.rsqrt((x * x).mean(axes, keepdim=True) + node.attributes.get("epsilon", 1e-5)) * scale


# Products


@_operator("MatMul")
def _matmul(node, x, y):
    return torch.matmul(x, y)


@_operator("Gemm")
def _gemm(node, x, y, c=None):
    x = x.T if node.attributes.get("transA", 0) else x
    y = y.T if node.attributes.get("transB", 0) else y
    return add_gemm(node, x @ y, c)


def add_gemm(node, product, c=None):
    """alpha * product + beta * C with a Gemm's factors."""
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    product = product if alpha == 1.0 else alpha * product
    return product if c is None or beta == 0.0 else product + (c if beta == 1.0 else beta * c)


@_operator("Einsum")
def _einsum(node, *operands):
    return torch.einsum(node.attributes["equation"], *operands)
