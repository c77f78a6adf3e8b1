"""The rounding of the compiler's uniform scheme, with straight-through gradients.

Forward values are those of the compiled model: f16 scales, integer zero points, ties to even. The bounds of
a group are widened to include 0.
"""

import torch
import torch.nn.functional as F


class _Round(torch.autograd.Function):
    """To the nearest integer; the gradient passes as if it were the identity."""

    @staticmethod
    def forward(context, x):
        return torch.round(x)

    @staticmethod
    def backward(context, gradient):
        return gradient


class _Half(torch.autograd.Function):
    """To the nearest f16; the gradient passes as if it were the identity."""

    @staticmethod
    def forward(context, x):
        return x.to(torch.float16).to(x.dtype)

    @staticmethod
    def backward(context, gradient):
        return gradient


round_through = _Round.apply
half_through = _Half.apply


def split_groups(w, group):
    """w [n, k] as [n, groups, group], the last group filled up with zeros."""
    k = w.shape[1]
    group = min(group, k) if group else k
    w = F.pad(w, (0, -k % group)) if k % group else w
    return w.unflatten(1, (-1, group))


def bounds(w, group):
    """Least and greatest value of each group of w [n, k] with 0 among them, [n, groups] each."""
    parts = split_groups(w, group)
    return parts.amin(-1).clamp(max=0), parts.amax(-1).clamp(min=0)


def round_weight(w, low, high, levels, group):
    """w [n, k] on `levels` evenly spaced levels between low and high, [n, groups] each."""
    top = levels - 1
    low, high = low.double(), high.double()
    scale = half_through(((high - low) / top).float())
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero = round_through(-low / scale.double()).float().clamp(0, top).unsqueeze(-1)
    scale = scale.unsqueeze(-1)
    codes = (round_through(split_groups(w, group) * (1 / scale)) + zero).clamp(0, top)
    return ((codes - zero) * scale).flatten(1)[:, : w.shape[1]]


def round_rows(x, bits):
    """x [..., k] on 2^bits levels, with a scale and a zero point for each row: dynamic, per token."""
    top = 2**bits - 1
    low, high = x.amin(-1, keepdim=True).clamp(max=0), x.amax(-1, keepdim=True).clamp(min=0)
    # As ganq.quantize_rows, operation by operation; a subnormal scale has no finite inverse.
    scale = high / top - low / top
    scale = torch.where(scale >= torch.finfo(scale.dtype).tiny, scale, torch.ones_like(scale))
    inverse = 1 / scale
    zero = round_through(-low * inverse).clamp(0, top)
    return ((round_through(x * inverse) + zero).clamp(0, top) - zero) * scale


def transform_weight(weight, learned):
    """W' = (W + weight_delta) diag(input_scale) + compensation_left compensation_right^T."""
    if "weight_delta" in learned:
        weight = weight + learned["weight_delta"]
    if "input_scale" in learned:
        weight = weight * learned["input_scale"]
    if "compensation_left" in learned:
        weight = weight + learned["compensation_left"][:, None] * learned["compensation_right"]
    return weight


def apply_product(x, weight, rounded, learned, activation_bits):
    """x W^T as the compiled model computes it with the rounded W', x [..., k], W [n, k]."""
    offset = None
    if "input_shift" in learned:
        offset = weight @ learned["input_shift"]
        x = x - learned["input_shift"]
    if "input_scale" in learned:
        x = x / learned["input_scale"]
    if activation_bits:
        x = round_rows(x, activation_bits)
    return F.linear(x, rounded, offset)
