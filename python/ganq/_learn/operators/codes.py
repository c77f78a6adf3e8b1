"""Operators on quantized values. Elements of less than 8 bits are int32 tensors."""

import torch

from .registry import cast, operator
from .shapes import take

# bitsandbytes' tables, by MatMulBnb4's quant_type.
_FP4 = [0.0, 5.208333333e-03, 0.66666667, 1.0, 0.33333333, 0.5, 0.16666667, 0.25]
_BNB4 = {
    0: _FP4 + [-x for x in _FP4],
    1: [
        *(-1.0, -0.69619280, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0),
        *(0.07958030, 0.16093020, 0.24611230, 0.33791524, 0.44070983, 0.56261700, 0.72295684, 1.0),
    ],
}


def _expand_parameter(parameter, x, axis, block):
    """A scale or zero point in x's shape: of all of x, of a slice of `axis`, or of blocks along it."""
    if parameter.numel() == 1 and parameter.dim() <= 1:
        return parameter.reshape(())
    if block:
        return parameter.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    return parameter.reshape([-1 if i == axis else 1 for i in range(x.dim())])


@operator("DequantizeLinear")
def _dequantize(node, x, scale, zero=None):
    axis = node.attributes.get("axis", 1) % max(x.dim(), 1)
    block = node.attributes.get("block_size", 0)
    y = x.to(torch.float32)
    if zero is not None:
        y = y - _expand_parameter(zero.to(torch.float32), x, axis, block)
    return y * _expand_parameter(scale, x, axis, block)


@operator("QuantizeLinear")
def _quantize(node, x, scale, zero=None):
    axis = node.attributes.get("axis", 1) % max(x.dim(), 1)
    block, to = node.attributes.get("block_size", 0), node.attributes.get("output_dtype", 0)
    dtype = zero.dtype if zero is not None else cast(x.new_zeros(1), to or 2).dtype
    if dtype not in (torch.uint8, torch.int8, torch.uint16, torch.int16):
        raise ValueError("only 8 and 16 bits are supported")
    y = torch.round(x / _expand_parameter(scale, x, axis, block))
    if zero is not None:
        y = y + _expand_parameter(zero.to(torch.float32), x, axis, block)
    return y.clamp(torch.iinfo(dtype).min, torch.iinfo(dtype).max).to(dtype)


@operator("DynamicQuantizeLinear")
def _dynamic_quantize(node, x):
    low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
    scale = (high - low) / 255
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero = torch.round(-low / scale).clamp(0, 255)
    return (torch.round(x / scale) + zero).clamp(0, 255).to(torch.uint8), scale, zero.to(torch.uint8)


def _centered(x, zero, dim):
    """x - zero in f64, whose products are exact; a vector of zero points is one for each row or column."""
    x = x.double()
    if zero is None:
        return x
    return x - (zero.double().unsqueeze(dim) if zero.dim() == 1 and zero.numel() > 1 else zero.double())


@operator("MatMulInteger")
def _matmul_integer(node, x, y, x_zero=None, y_zero=None):
    return torch.matmul(_centered(x, x_zero, -1), _centered(y, y_zero, -2)).to(torch.int32)


@operator("QLinearMatMul")
def _linear_matmul(node, x, x_scale, x_zero, y, y_scale, y_zero, scale, zero):
    product = torch.matmul(_centered(x, x_zero, -1), _centered(y, y_zero, -2)).float()
    x_scale = x_scale.unsqueeze(-1) if x_scale.dim() == 1 and x_scale.numel() > 1 else x_scale
    result = torch.round(product * (x_scale * y_scale / scale)) + zero.float()
    limits = torch.iinfo(zero.dtype)
    return result.clamp(limits.min, limits.max).to(zero.dtype)


def _unpack(packed, bits):
    """Codes of the last dimension's bytes, the first one in the low bits."""
    shifts = torch.arange(0, 8, bits, device=packed.device, dtype=torch.int32)
    codes = (packed.to(torch.int32).unsqueeze(-1) >> shifts) & (2**bits - 1)
    return codes.flatten(-2)


@operator("ganq.DecodeNBits")
def _decode_n_bits(node, packed, scale, zero=None):
    """The weights [k, n] of com.microsoft.MatMulNBits."""
    n, k, bits, block = (node.attributes[name] for name in ("N", "K", "bits", "block_size"))
    blocks = -(-k // block)
    codes = _unpack(packed.reshape(n, -1), bits).reshape(n, blocks, block)
    if zero is None:
        zero = torch.full((n, blocks), 1 << (bits - 1), device=packed.device)
    elif not zero.is_floating_point():
        zero = _unpack(zero.reshape(n, -1), bits)[:, :blocks]
    y = (codes - zero.reshape(n, blocks, 1)) * scale.reshape(n, blocks, 1)
    return y.flatten(1)[:, :k].T


@operator("ganq.DecodeBnb4")
def _decode_bnb4(node, packed, largest):
    """The weights [k, n] of com.microsoft.MatMulBnb4: the first code of a byte is in its high bits."""
    n, k, block = (node.attributes[name] for name in ("N", "K", "block_size"))
    table = torch.tensor(_BNB4[node.attributes.get("quant_type", 1)], device=packed.device)
    packed = packed.reshape(-1).to(torch.int64)
    codes = torch.stack([packed >> 4, packed & 15], -1).flatten()[: n * k]
    return (table[codes] * largest.repeat_interleave(block)[: n * k]).reshape(n, k).T


@operator("com.microsoft.GatherBlockQuantized")
def _gather_block_quantized(node, x, indices, scale, zero=None):
    axis = node.attributes.get("gather_axis", 0) % x.dim()
    blocked = node.attributes.get("quantize_axis", 1) % x.dim()
    bits, block = node.attributes.get("bits", 4), node.attributes.get("block_size", 128)
    if x.dtype == torch.uint8:  # bytes of codes, as opposed to elements
        x = _unpack(x, bits)
        half = torch.full_like(scale, 1 << (bits - 1))
        zero = half if zero is None else _unpack(zero, bits).narrow(-1, 0, scale.shape[-1])
    y = x.to(torch.float32)
    if zero is not None:
        y = y - _expand_parameter(zero.to(torch.float32), x, blocked, block)
    return take(y * _expand_parameter(scale, x, blocked, block), indices, axis)
