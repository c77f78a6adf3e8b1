"""Operators on elements."""

import torch
import torch.nn.functional as F

from .registry import cast, elementwise, operator


def _tanh_gelu(x, bias=None):
    return F.gelu(x if bias is None else x + bias, approximate="tanh")


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
    ("Tan",): torch.tan,
    ("Asin",): torch.asin,
    ("Acos",): torch.acos,
    ("Atan",): torch.atan,
    ("Sinh",): torch.sinh,
    ("Cosh",): torch.cosh,
    ("Asinh",): torch.asinh,
    ("Acosh",): torch.acosh,
    ("Atanh",): torch.atanh,
    ("Tanh",): torch.tanh,
    ("Erf",): torch.erf,
    ("Sigmoid",): torch.sigmoid,
    ("Relu",): torch.relu,
    ("Softplus",): F.softplus,
    ("Softsign",): F.softsign,
    ("HardSwish",): F.hardswish,
    ("Mish",): F.mish,
    ("PRelu",): lambda x, slope: torch.where(x < 0, x * slope, x),
    ("Floor",): torch.floor,
    ("Ceil",): torch.ceil,
    ("Round",): torch.round,
    ("Sign",): torch.sign,
    ("Identity",): lambda x: x,
    ("IsNaN",): torch.isnan,
    ("Not",): torch.logical_not,
    ("And",): torch.logical_and,
    ("Or",): torch.logical_or,
    ("Xor",): torch.logical_xor,
    ("BitwiseNot",): torch.bitwise_not,
    ("BitwiseAnd",): torch.bitwise_and,
    ("BitwiseOr",): torch.bitwise_or,
    ("BitwiseXor",): torch.bitwise_xor,
    ("Equal",): torch.eq,
    ("Less",): torch.lt,
    ("LessOrEqual",): torch.le,
    ("Greater",): torch.gt,
    ("GreaterOrEqual",): torch.ge,
    ("Where",): torch.where,
    ("com.microsoft.FastGelu",): _tanh_gelu,
    ("com.microsoft.BiasGelu",): lambda x, bias: F.gelu(x + bias),
}.items():
    elementwise(*_names)(_function)


def _scalar(x):
    return None if x is None else x.item()


@operator("Div")
def _div(node, x, y):
    return torch.div(x, y, rounding_mode=None if x.is_floating_point() else "trunc")


@operator("Pow", host=(1,))
def _pow(node, x, y):
    # A constant exponent's gradient would be not a number at x <= 0.
    exponent = y.item() if y.numel() == 1 and y.dim() <= x.dim() else y.to(x.device)
    return torch.pow(x, exponent).to(x.dtype)


@operator("Mod")
def _mod(node, x, y):
    return torch.fmod(x, y) if node.attributes.get("fmod", 0) else torch.remainder(x, y)


@elementwise("Min")
def _min(first, *rest):
    for x in rest:
        first = torch.minimum(first, x)
    return first


@elementwise("Max")
def _max(first, *rest):
    for x in rest:
        first = torch.maximum(first, x)
    return first


@elementwise("Sum")
def _sum(first, *rest):
    for x in rest:
        first = first + x
    return first


@elementwise("Mean")
def _mean(*operands):
    return _sum(*operands) / len(operands)


@operator("Clip", host=(1, 2))
def _clip(node, x, low=None, high=None):
    low = node.attributes.get("min") if low is None else low.item()
    high = node.attributes.get("max") if high is None else high.item()
    return x if low is None and high is None else torch.clamp(x, low, high)


@operator("Dropout", host=(2,))
def _dropout(node, x, ratio=None, training=None):
    if _scalar(training):
        raise ValueError("training is not supported")
    return x, torch.ones_like(x, dtype=torch.bool)


@operator("Gelu", "com.microsoft.Gelu")
def _gelu(node, x):
    return F.gelu(x, approximate=node.attributes.get("approximate", "none"))


@operator("com.microsoft.QuickGelu", "Swish")
def _swish(node, x):
    return x * torch.sigmoid(x * node.attributes.get("alpha", 1.702 if "." in node.op else 1.0))


@operator("SwiGLU")
def _swiglu(node, gate, up):
    return gate * torch.sigmoid(gate * node.attributes.get("alpha", 1.0)) * up


@operator("LeakyRelu")
def _leaky_relu(node, x):
    return F.leaky_relu(x, node.attributes.get("alpha", 0.01))


@operator("ThresholdedRelu")
def _thresholded_relu(node, x):
    return torch.where(x > node.attributes.get("alpha", 1.0), x, torch.zeros_like(x))


@operator("Elu")
def _elu(node, x):
    return F.elu(x, node.attributes.get("alpha", 1.0))


@operator("Celu")
def _celu(node, x):
    return F.celu(x, node.attributes.get("alpha", 1.0))


@operator("Selu")
def _selu(node, x):
    alpha = node.attributes.get("alpha", 1.67326319217681884765625)
    gamma = node.attributes.get("gamma", 1.05070102214813232421875)
    return gamma * F.elu(x, alpha)


@operator("Shrink")
def _shrink(node, x):
    bias, edge = node.attributes.get("bias", 0.0), node.attributes.get("lambd", 0.5)
    shrunk = torch.where(x > edge, x - bias, torch.zeros_like(x))
    return torch.where(x < -edge, x + bias, shrunk)


@operator("HardSigmoid")
def _hard_sigmoid(node, x):
    return torch.clamp(node.attributes.get("alpha", 0.2) * x + node.attributes.get("beta", 0.5), 0, 1)


@operator("IsInf")
def _is_inf(node, x):
    found = torch.isinf(x)
    if not node.attributes.get("detect_positive", 1):
        found = found & (x < 0)
    return found if node.attributes.get("detect_negative", 1) else found & (x > 0)


@operator("BitShift")
def _bit_shift(node, x, y):
    if node.attributes["direction"] == "LEFT":
        return torch.bitwise_left_shift(x, y)
    return torch.bitwise_right_shift(x, y)


@operator("Cast")
def _cast_to(node, x):
    return cast(x, node.attributes["to"])


@elementwise("CastLike")
def _cast_like(x, like):
    return x.to(like.dtype)
