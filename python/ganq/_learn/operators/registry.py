"""The table of operators, and the call of one."""

import torch

from ..._tools import GanqError

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


def operator(*names, lists=(), host=()):
    """Registers a function (node, *operands) for operators.

    Operands `lists` are Python lists. Operands `host` stay on the device where they are: sizes and other
    small integers are on the CPU when the data is elsewhere.
    """

    def register(function):
        for name in names:
            _TABLE[name] = (function, lists, {*lists, *host})
        return function

    return register


def elementwise(*names):
    """Registers a function of the operands alone."""

    def register(function):
        operator(*names)(lambda node, *operands: function(*operands))
        return function

    return register


def is_known(op):
    return op in _TABLE


def _place(operands, host):
    """Operands on one device; scalars on the CPU may stay there."""
    moved = [x for i, x in enumerate(operands) if x is not None and i not in host]
    device = next((x.device for x in moved if x.device.type != "cpu"), None)
    if device is None:
        return list(operands)
    alone = all(not x.dim() for x in moved)

    def place(i, x):
        stays = x is None or i in host or x.device == device or (not x.dim() and not alone)
        return x if stays else x.to(device)

    return [place(i, x) for i, x in enumerate(operands)]


def apply(node, operands):
    """The results of `node`, a tuple. Operands are tensors, or None where optional ones are missing."""
    function, lists, host = _TABLE[node.op]
    values = _place(operands, host)
    try:
        for i in lists:
            if i < len(values) and values[i] is not None:
                values[i] = values[i].reshape(-1).tolist()
        result = function(node, *values)
    except GanqError:
        raise
    except torch.OutOfMemoryError as error:
        raise GanqError(
            f"out of memory at {node}: {str(error).splitlines()[0]}; use a smaller batch"
        ) from None
    except (RuntimeError, IndexError, ValueError, TypeError, KeyError) as error:
        shapes = ", ".join("none" if x is None else str(list(x.shape)) for x in operands)
        raise GanqError(f"cannot compute {node} of {shapes}: {str(error).splitlines()[0]}") from None
    return result if isinstance(result, tuple) else (result,)


def cast(x, to):
    """x as ONNX's type `to`; floating point of any precision is f32."""
    if to in _FLOATS:
        return x.to(torch.float32)
    if to not in _DTYPES:
        raise ValueError(f"no numbers of ONNX type {to}")
    return x.to(_DTYPES[to])
