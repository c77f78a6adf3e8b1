"""What each ONNX operator computes, with PyTorch.

Floating point is computed in f32 whatever the model's precision. Shapes and other lists that an operator
takes as an operand arrive as Python lists, so that they may stay on the CPU when the data is elsewhere.

registry.py     the table
elementwise.py  on elements
shapes.py       making, moving and choosing elements
products.py     reductions, norms and products
codes.py        quantized values
fused.py        the fused operators of language models, as smaller ones
"""

from . import codes, elementwise, fused, products, shapes  # noqa: F401 (they fill the table)
from .fused import ATTENTION_MAPS, expand, is_expanded
from .products import add_gemm
from .registry import apply, cast, is_known

__all__ = ["ATTENTION_MAPS", "add_gemm", "apply", "cast", "expand", "is_expanded", "is_known"]
