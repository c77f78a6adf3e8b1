"""Operators that make, move and choose elements."""

import math

import torch

from .registry import cast, operator


@operator("Constant")
def _constant(node):
    value = next(iter(node.attributes.values()))
    return value if isinstance(value, torch.Tensor) else torch.tensor(value)


@operator("Shape")
def _shape(node, x):
    end = node.attributes.get("end", x.dim())
    return torch.tensor(x.shape[slice(node.attributes.get("start", 0), end)], dtype=torch.int64)


@operator("Size")
def _size(node, x):
    return torch.tensor(x.numel())


@operator("ConstantOfShape", lists=(0,))
def _constant_of_shape(node, shape):
    value = node.attributes.get("value")
    value = torch.zeros(1) if value is None else value
    return value.reshape(()).expand(shape).clone()


@operator("Range", host=(0, 1, 2))
def _range(node, start, limit, delta):
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


@operator("Reshape", lists=(1,))
def _reshape(node, x, shape):
    if not node.attributes.get("allowzero", 0):
        shape = [x.shape[i] if size == 0 else size for i, size in enumerate(shape)]
    if -1 in shape and 0 in x.shape:  # torch does not infer the size of nothing
        rest = math.prod(size for size in shape if size != -1)
        shape = [x.numel() // rest if size == -1 and rest else max(size, 0) for size in shape]
    return x.reshape(shape)


@operator("Flatten")
def _flatten(node, x):
    axis = node.attributes.get("axis", 1)
    axis += x.dim() if axis < 0 else 0
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("Transpose")
def _transpose(node, x):
    return x.permute(node.attributes.get("perm") or tuple(reversed(range(x.dim()))))


@operator("Unsqueeze", lists=(1,))
def _unsqueeze(node, x, axes=None):
    axes = node.attributes["axes"] if axes is None else axes
    for axis in sorted(axis % (x.dim() + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Squeeze", lists=(1,))
def _squeeze(node, x, axes=None):
    axes = node.attributes.get("axes") if axes is None else axes
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


@operator("Expand", lists=(1,))
def _expand(node, x, shape):
    return x.expand(torch.broadcast_shapes(x.shape, shape))


@operator("Tile", lists=(1,))
def _tile(node, x, repeats):
    return x.repeat(repeats)


@operator("Concat")
def _concat(node, *operands):
    return torch.cat(operands, node.attributes["axis"])


@operator("Split", lists=(1,))
def _split(node, x, sizes=None):
    axis = node.attributes.get("axis", 0)
    sizes = node.attributes.get("split") if sizes is None else sizes
    if sizes is None:
        part = -(-x.shape[axis] // len(node.outputs))
        sizes = [min(part, x.shape[axis] - i * part) for i in range(len(node.outputs))]
    return torch.split(x, sizes, axis)


@operator("Slice", lists=(1, 2, 3, 4))
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


def _check_indices(indices, size):
    """Refuses indices outside a dimension, where that costs no wait for a device."""
    if indices.device.type == "cpu" and indices.numel():
        low, high = indices.min().item(), indices.max().item()
        if low < -size or high >= size:
            raise ValueError(
                f"expected indices from {-size} to {size - 1}, but got {low} to {high}; "
                "rows of tokens may be longer than the model takes"
            )


def _from_start(indices, size):
    """Indices [0, size) as int64: negative ones count from the end."""
    _check_indices(indices, size)
    indices = indices.to(torch.int64)
    return torch.where(indices < 0, indices + size, indices)


def take(x, indices, axis):
    """The slices `indices` (any shape) of x along `axis`."""
    flat = _from_start(indices, x.shape[axis]).reshape(-1)
    x, flat = (x, flat.to(x.device)) if x.device.type != "cpu" else (x.to(flat.device), flat)
    return x.index_select(axis, flat).reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])


@operator("Gather", host=(1,))
def _gather(node, x, indices):
    axis = node.attributes.get("axis", 0) % x.dim()
    if indices.dim() == 0 and indices.device.type == "cpu":
        _check_indices(indices, x.shape[axis])
        return x.select(axis, indices.item())
    return take(x, indices, axis)


@operator("GatherElements")
def _gather_elements(node, x, indices):
    axis = node.attributes.get("axis", 0) % x.dim()
    return torch.gather(x, axis, _from_start(indices, x.shape[axis]))


@operator("GatherND")
def _gather_nd(node, x, indices):
    batch = node.attributes.get("batch_dims", 0)
    sizes, places = x.shape[:batch], indices.to(torch.int64).unbind(-1)
    places = [_from_start(place, size) for place, size in zip(places, x.shape[batch:])]
    own = [
        torch.arange(size, device=x.device).reshape([-1 if i == j else 1 for j in range(indices.dim() - 1)])
        for i, size in enumerate(sizes)
    ]
    return x[(*own, *places)]


def _accumulate(node, kinds):
    reduction = node.attributes.get("reduction", "none")
    if reduction not in kinds:
        raise ValueError(f"the reduction '{reduction}' is not supported")
    return kinds[reduction]


@operator("ScatterND")
def _scatter_nd(node, x, indices, updates):
    add = _accumulate(node, {"none": False, "add": True})
    places = zip(indices.to(torch.int64).unbind(-1), x.shape)
    return x.index_put(tuple(_from_start(place, size) for place, size in places), updates, accumulate=add)


@operator("ScatterElements", "Scatter")
def _scatter_elements(node, x, indices, updates):
    kind = _accumulate(node, {"none": None, "add": "sum", "mul": "prod", "min": "amin", "max": "amax"})
    axis = node.attributes.get("axis", 0) % x.dim()
    indices = _from_start(indices, x.shape[axis])
    if kind is None:
        return x.scatter(axis, indices, updates)
    return x.scatter_reduce(axis, indices, updates, kind)


@operator("TensorScatter", host=(2,))
def _tensor_scatter(node, past, update, places=None):
    axis = node.attributes.get("axis", -2) % past.dim()
    size, circular = past.shape[axis], node.attributes.get("mode", "linear") == "circular"
    rows = []
    for row in range(past.shape[0]):
        first = 0 if places is None else int(places[row])
        columns = torch.arange(first, first + update.shape[axis], device=past.device)
        columns = columns % size if circular else columns
        rows.append(past[row].index_copy(axis - 1, columns, update[row]))
    return torch.stack(rows)


@operator("Compress", host=(1,))
def _compress(node, x, chosen):
    axis = node.attributes.get("axis")
    x = x.reshape(-1) if axis is None else x
    kept = chosen.nonzero().reshape(-1).to(x.device)
    return x.index_select(axis or 0, kept)


@operator("NonZero")
def _non_zero(node, x):
    return torch.stack(x.nonzero(as_tuple=True)) if x.dim() else (x != 0).nonzero().T


@operator("OneHot", host=(1,))
def _one_hot(node, indices, depth, values):
    depth, axis = int(depth.item()), node.attributes.get("axis", -1)
    indices = indices.to(torch.int64)
    places = torch.where(indices < 0, indices + depth, indices).unsqueeze(-1)
    hot = places == torch.arange(depth, device=indices.device)
    return torch.where(hot, values[1], values[0]).movedim(-1, axis)


@operator("TopK", lists=(1,))
def _top_k(node, x, k=None):
    k = node.attributes["k"] if k is None else k[0]
    axis, largest = node.attributes.get("axis", -1), bool(node.attributes.get("largest", 1))
    # Of equal elements the first ones count.
    order = torch.sort(x, dim=axis, descending=largest, stable=True)
    return tuple(part.narrow(axis, 0, k) for part in order)


def _arg(function):
    def find(node, x):
        axis = node.attributes.get("axis", 0)
        last = node.attributes.get("select_last_index", 0)
        found = function(x.flip(axis) if last else x, axis, True)
        found = x.shape[axis] - 1 - found if last else found
        return found if node.attributes.get("keepdims", 1) else found.squeeze(axis)

    return find


operator("ArgMax")(_arg(torch.argmax))
operator("ArgMin")(_arg(torch.argmin))


@operator("Pad", lists=(1, 3))
def _pad(node, x, pads=None, value=None, axes=None):
    pads = node.attributes["pads"] if pads is None else pads
    axes = list(range(x.dim())) if axes is None else axes
    value = node.attributes.get("value", 0.0) if value is None else value.item()
    mode = node.attributes.get("mode", "constant")
    for axis, before, after in zip(axes, pads, pads[len(axes) :]):
        axis %= x.dim()
        size = x.shape[axis]
        if mode == "constant":
            start, kept = max(0, -before), size + min(0, before) + min(0, after)
            parts = [x.narrow(axis, start, kept)]
            for count, at in ((before, 0), (after, len(parts))):
                if count > 0:
                    shape = [count if i == axis else n for i, n in enumerate(x.shape)]
                    parts.insert(at if at == 0 else len(parts), x.new_full(shape, value))
            x = torch.cat(parts, axis)
            continue
        places = torch.arange(-before, size + after, device=x.device)
        if mode == "edge":
            places = places.clamp(0, size - 1)
        elif mode == "reflect":
            places = (places + size - 1) % (2 * size - 2) - (size - 1) if size > 1 else places * 0
            places = places.abs()
        elif mode == "wrap":
            places = places % size
        else:
            raise ValueError(f"the mode '{mode}' is not supported")
        x = x.index_select(axis, places)
    return x


@operator("EyeLike")
def _eye_like(node, x):
    dtype = cast(x.new_zeros(1), node.attributes["dtype"]).dtype if "dtype" in node.attributes else x.dtype
    rows = torch.arange(x.shape[0], device=x.device).unsqueeze(1) + node.attributes.get("k", 0)
    return (rows == torch.arange(x.shape[1], device=x.device)).to(dtype)


@operator("Trilu", host=(1,))
def _trilu(node, x, k=None):
    k = 0 if k is None else k.item()
    return torch.triu(x, k) if node.attributes.get("upper", 1) else torch.tril(x, k)


@operator("CumSum", host=(1,))
def _cumsum(node, x, axis):
    axis = axis.item()
    if node.attributes.get("reverse", 0):
        x = x.flip(axis)
    total = x.cumsum(axis).to(x.dtype)
    if node.attributes.get("exclusive", 0):
        total = total - x
    return total.flip(axis) if node.attributes.get("reverse", 0) else total
