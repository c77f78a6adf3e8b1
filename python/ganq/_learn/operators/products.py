"""Reductions, norms and products."""

import torch
import torch.nn.functional as F

from .registry import operator

# Reductions and norms


def _product(x, axes, keep):
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = torch.prod(x, axis, keep)
    return x


def _reduction(function):
    def reduce(node, x, axes=None):
        axes = node.attributes.get("axes") if axes is None else axes
        if not axes and node.attributes.get("noop_with_empty_axes", 0):
            return x
        axes = tuple(axes) if axes else tuple(range(x.dim()))
        return function(x, axes, bool(node.attributes.get("keepdims", 1))).to(x.dtype) if x.dim() else x

    return reduce


for _name, _function in {
    "ReduceMean": torch.mean,
    "ReduceSum": torch.sum,
    "ReduceMax": torch.amax,
    "ReduceMin": torch.amin,
    "ReduceSumSquare": lambda x, axes, keep: torch.sum(x * x, axes, keep),
    "ReduceL1": lambda x, axes, keep: torch.sum(x.abs(), axes, keep),
    "ReduceL2": lambda x, axes, keep: torch.sum(x * x, axes, keep).sqrt(),
    "ReduceLogSum": lambda x, axes, keep: torch.sum(x, axes, keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, axes, keep),
    "ReduceProd": _product,
}.items():
    operator(_name, lists=(1,))(_reduction(_function))


@operator("Softmax", "LogSoftmax")
def _softmax(node, x):
    function = torch.softmax if node.op == "Softmax" else torch.log_softmax
    if node.opset >= 13:
        return function(x, node.attributes.get("axis", -1))
    axis = node.attributes.get("axis", 1) % x.dim()
    return function(x.flatten(axis), -1).reshape(x.shape)


@operator("Hardmax")
def _hardmax(node, x):
    axis = node.attributes.get("axis", -1 if node.opset >= 13 else 1) % x.dim()
    flat = x if node.opset >= 13 else x.flatten(axis)
    axis = axis if node.opset >= 13 else -1
    hot = torch.zeros_like(flat).scatter(axis, flat.argmax(axis, True), 1.0)
    return hot.reshape(x.shape)


@operator("LpNormalization")
def _lp_norm(node, x):
    length = torch.linalg.vector_norm(x, node.attributes.get("p", 2), node.attributes.get("axis", -1), True)
    return x / torch.where(length > 0, length, torch.ones_like(length))


@operator("MeanVarianceNormalization")
def _mean_variance_norm(node, x):
    axes = node.attributes.get("axes", [0, 2, 3])
    centered = x - x.mean(axes, keepdim=True)
    return centered / ((centered * centered).mean(axes, keepdim=True).sqrt() + 1e-9)


@operator("InstanceNormalization")
def _instance_norm(node, x, scale, bias):
    return F.instance_norm(x, weight=scale, bias=bias, eps=node.attributes.get("epsilon", 1e-5))


@operator("BatchNormalization")
def _batch_norm(node, x, scale, bias, mean, variance):
    if node.attributes.get("training_mode", 0):
        raise ValueError("training is not supported")
    return F.batch_norm(x, mean, variance, scale, bias, eps=node.attributes.get("epsilon", 1e-5))


@operator("LayerNormalization")
def _layer_norm(node, x, scale, bias=None):
    axes = tuple(range(node.attributes.get("axis", -1) % x.dim(), x.dim()))
    epsilon = node.attributes.get("epsilon", 1e-5)
    y = F.layer_norm(x, [x.shape[axis] for axis in axes], eps=epsilon)
    y = y * scale if bias is None else y * scale + bias
    if len(node.outputs) == 1:
        return y
    mean = x.mean(axes, keepdim=True)
    return y, mean, torch.rsqrt(((x - mean) ** 2).mean(axes, keepdim=True) + epsilon)


@operator("RMSNormalization", "SimplifiedLayerNormalization")
def _rms_norm(node, x, scale):
    axes = tuple(range(node.attributes.get("axis", -1) % x.dim(), x.dim()))
    return x * torch.rsqrt((x * x).mean(axes, keepdim=True) + node.attributes.get("epsilon", 1e-5)) * scale


# Products


@operator("MatMul")
def _matmul(node, x, y):
    return torch.matmul(x, y)


@operator("Gemm")
def _gemm(node, x, y, c=None):
    x = x.T if node.attributes.get("transA", 0) else x
    y = y.T if node.attributes.get("transB", 0) else y
    return add_gemm(node, x @ y, c)


def add_gemm(node, product, c=None):
    """alpha * product + beta * C with a Gemm's factors."""
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    product = product if alpha == 1.0 else alpha * product
    return product if c is None or beta == 0.0 else product + (c if beta == 1.0 else beta * c)


@operator("Conv")
def _conv(node, x, weight, bias=None):
    flags, sizes = node.attributes, x.shape[2:]
    strides = flags.get("strides") or [1] * len(sizes)
    dilations = flags.get("dilations") or [1] * len(sizes)
    pads, kind = flags.get("pads") or [0] * (2 * len(sizes)), flags.get("auto_pad", "NOTSET")
    if kind.startswith("SAME"):
        reach = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, weight.shape[2:])]
        whole = [
            max(0, (-(-size // stride) - 1) * stride + width - size)
            for size, stride, width in zip(sizes, strides, reach)
        ]
        small, large = [total // 2 for total in whole], [total - total // 2 for total in whole]
        pads = small + large if kind == "SAME_UPPER" else large + small
    pairs = zip(reversed(pads[: len(sizes)]), reversed(pads[len(sizes) :]))
    x = F.pad(x, [size for pair in pairs for size in pair])
    function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(sizes)]
    return function(x, weight, bias, strides, 0, dilations, flags.get("group", 1))


@operator("com.microsoft.FusedMatMul")
def _fused_matmul(node, x, y):
    flags = node.attributes
    if flags.get("transBatchA", 0) or flags.get("transBatchB", 0):
        raise ValueError("transposed batches are not supported")
    x = x.mT if flags.get("transA", 0) and x.dim() > 1 else x
    y = y.mT if flags.get("transB", 0) and y.dim() > 1 else y
    return torch.matmul(x, y) * flags.get("alpha", 1.0)


@operator("Einsum")
def _einsum(node, *operands):
    return torch.einsum(node.attributes["equation"], *operands)
