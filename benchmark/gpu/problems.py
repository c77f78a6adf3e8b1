"""Products to run on a device: operands of kernels, and what they have to give.

Codes are random bytes, decoded with the places that kernels.json gives for them.
Values are such that f32 holds all products and sums, so results of kernels must
be equal bit for bit. Shapes are (M, N, K).
"""

import numpy as np


def ceil(value, size):
    return -(-value // size)


def padded_rows(n):
    return ceil(n, 32) * 32


class Weight:
    """A random [N, K] weight for a kernel, as the kernel reads it."""

    def __init__(self, kernel, n, k, random):
        self.kernel, self.n, self.k = kernel, n, k
        layout, bits = kernel["layout"], kernel["bits"]
        self.rows = padded_rows(n)
        self.granules = ceil(k, len(layout["columns"]))
        size = self.granules * layout["units"] * self.rows * 16
        self.operands = {"codes": np.frombuffer(random.bytes(size), np.uint8)}
        self.group = kernel.get("group", 0)
        groups = ceil(k, self.group) if self.group else 1
        if kernel["family"] == "lut":
            table = random.integers(-16, 17, (self.rows, 1 << bits)) / 8
            self.operands["table"] = table.astype(np.float16)
        else:
            scale = 2.0 ** random.integers(-5, -1, (groups, self.rows))
            self.operands["scale"] = scale.astype(np.float16)
        if kernel["family"] == "uniform":
            zero = random.integers(0, 1 << bits, (groups, self.rows))
            self.operands["zero"] = zero.astype(np.float16)
        self.bytes = sum(each.nbytes for each in self.operands.values())

    def codes(self, rows):
        """[rows, K] of the rows with these numbers."""
        layout = self.kernel["layout"]
        words = self.operands["codes"].view(np.uint32)
        words = words.reshape(self.granules, layout["units"], self.rows, 4)[:, :, rows]
        words = words.transpose(2, 0, 1, 3).reshape(len(rows), self.granules, 4, -1)
        result = np.zeros((len(rows), self.granules, len(layout["columns"])), np.uint8)
        for column, (slot, index) in enumerate(layout["columns"]):
            for bit, (word, place) in enumerate(layout["places"][index]):
                taken = words[:, :, slot, word] >> np.uint32(place) & np.uint32(1)
                result[:, :, column] |= (taken << bit).astype(np.uint8)
        return result.reshape(len(rows), -1)[:, : self.k]

    def add_sums(self, rows):
        """The operand of sums of codes, right for these rows."""
        sums = np.zeros(self.rows, np.int32)
        sums[rows] = self.codes(rows).sum(1, dtype=np.int32)
        self.operands["weight_sum"] = sums

    def spread(self, name, rows):
        """Values of groups, or of rows, for all columns."""
        values = self.operands[name][:, rows].T.astype(np.float64)
        return np.repeat(values, self.group, 1)[:, : self.k] if self.group else values

    def values(self, rows):
        codes = self.codes(rows).astype(np.int64)
        if self.kernel["family"] == "lut":
            table = self.operands["table"][rows].astype(np.float64)
            return np.take_along_axis(table, codes, 1)
        scale = self.spread("scale", rows)
        if self.kernel["family"] == "uniform":
            return (codes - self.spread("zero", rows)) * scale
        sign = codes >> self.kernel["bits"] - 1
        exponent = codes & (1 << self.kernel["bits"] - 1) - 1
        return np.where(sign, -1, 1) * np.ldexp(scale, exponent * self.kernel["stride"])


def pack_x(codes, bits, planes):
    """Codes [M, K] of x as the kernels of integers read them."""
    m, k = codes.shape
    if not planes:
        return np.pad(codes, ((0, 0), (0, ceil(k, 128) * 128 - k)))
    codes = np.pad(codes, ((0, 0), (0, ceil(k, 256) * 256 - k)))
    each = [np.packbits(codes >> bit & 1, 1, "little") for bit in range(bits)]
    return np.stack(each)


def make_x(kernel, m, k, random):
    """The operands of x, and its values; those of integers with their scale apart."""
    if not kernel["activation"]:
        x = random.integers(-2, 3, (m, k)).astype(np.float16)
        return {"x": x}, x
    bits = kernel["activation"]
    codes = random.integers(0, 1 << bits, (m, k), np.uint8)
    zero = random.integers(0, 1 << bits, m).astype(np.int32)
    operands = {
        "x": pack_x(codes, bits, kernel["strategy"] == "btc"),
        "x_scale": (2.0 ** random.integers(-12, -7, m)).astype(np.float32),
        "x_zero": zero,
        "x_sum": codes.sum(1, dtype=np.int32),
    }
    return operands, codes.astype(np.int64) - zero[:, None]


def reference(weight, operands, x, tokens, rows):
    """The product's results [tokens, rows], as f16."""
    x = x[tokens].astype(np.float64)
    if not weight.kernel["activation"]:
        return (x @ weight.values(rows).T).astype(np.float32).astype(np.float16)
    codes = weight.codes(rows) - weight.spread("zero", rows)
    exact = (x @ codes.T).astype(np.float32)
    scale = weight.operands["scale"][0, rows].astype(np.float32)
    with np.errstate(over="ignore"):
        return (exact * (scale * operands["x_scale"][tokens, None])).astype(np.float16)


def quantize_reference(kernel, x):
    """What the kernel that makes codes of x gives."""
    greatest = np.float32((1 << kernel["bits"]) - 1)
    x = x.astype(np.float32)
    low = np.minimum(x.min(1), np.float32(0))
    high = np.maximum(x.max(1), np.float32(0))
    scale = high / greatest - low / greatest
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale > 0)
    zero = np.rint(-low * inverse)
    codes = np.clip(np.rint(x * inverse[:, None]) + zero[:, None], 0, greatest).astype(np.uint8)
    return {
        "codes": pack_x(codes, kernel["bits"], kernel["planes"]),
        "x_scale": scale,
        "x_zero": zero.astype(np.int32),
        "x_sum": codes.sum(1, dtype=np.int32),
    }


class Problem:
    """A product on a device. `copies` of the weight take turns, so that no cache has
    the next one's."""

    def __init__(self, device, module, kernel, shape, random, copies=1, sampled=None):
        self.device, self.kernel, self.shape = device, kernel, shape
        m, n, k = shape
        self.function = device.function(module, kernel["entry"], kernel["shared"])
        self.weight = Weight(kernel, n, k, random)
        self.rows = np.arange(n) if sampled is None else random.choice(n, min(n, sampled), False)
        self.tokens = np.arange(m) if sampled is None else np.unique(random.integers(0, m, 8))
        if kernel["activation"]:
            self.weight.add_sums(self.rows)
        self.x, self.values = make_x(kernel, m, k, random)
        self.addresses, self.owned, self.copies = {}, [], []
        self.out = np.full((m, n), np.nan, np.float16)
        for name, array in {**self.x, "out": self.out}.items():
            self.addresses[name] = self.keep(device.upload(array))
        for _ in range(copies):
            self.copies.append(
                {name: self.keep(device.upload(array)) for name, array in self.weight.operands.items()}
            )

    def keep(self, address):
        self.owned.append(address)
        return address

    def launch(self, copy=0):
        m, n, k = self.shape
        grid = ceil(n, self.kernel["rows"]), ceil(m, self.kernel["tokens"]), 1
        places = {**self.addresses, **self.copies[copy]}
        arguments = [places[name] for name in self.kernel["args"]]
        self.device.launch(
            self.function, grid, self.kernel["threads"], self.kernel["shared"], [*arguments, m, n, k]
        )

    def check(self):
        """Runs it once; how the result differs from the reference, or nothing."""
        self.launch()
        got = self.device.download(self.addresses["out"], self.out)[np.ix_(self.tokens, self.rows)]
        wanted = reference(self.weight, self.x, self.values, self.tokens, self.rows)
        wrong = np.argwhere(got != wanted)
        if len(wrong) == 0:
            return None
        i, j = wrong[0]
        return (
            f"{len(wrong)} of {got.size} results differ: [{self.tokens[i]}, {self.rows[j]}] is "
            f"{got[i, j]}, but expected {wanted[i, j]}"
        )

    def free(self):
        for address in self.owned:
            self.device.free(address)
        self.owned = []


def check_quantize(device, module, kernel, m, k, random):
    """As Problem.check, of a kernel that makes codes of x."""
    x = (random.standard_normal((m, k)) * 3).astype(np.float16)
    x[0] = 0
    wanted = quantize_reference(kernel, x)
    function = device.function(module, kernel["entry"], kernel["shared"])
    addresses = {name: device.upload(np.full_like(array, 99)) for name, array in wanted.items()}
    addresses["x"] = device.upload(x)
    arguments = [addresses[name] for name in kernel["args"]]
    grid = ceil(m, kernel["tokens"]), 1, 1
    device.launch(function, grid, kernel["threads"], kernel["shared"], [*arguments, m, k])
    wrong = None
    for name, array in wanted.items():
        if not np.array_equal(device.download(addresses[name], np.empty_like(array)), array):
            wrong = f"{name} differs"
    for address in addresses.values():
        device.free(address)
    return wrong
