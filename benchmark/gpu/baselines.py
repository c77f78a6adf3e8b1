"""What others reach with the same products: cuBLAS through PyTorch, and Triton."""

import statistics

try:
    import torch
except (ImportError, OSError):
    torch = None
try:
    import triton
    import triton.language as tl
except (ImportError, OSError):
    triton = None

GROUP = 128


def missing():
    """Why there are no baselines, or nothing."""
    if torch is None:
        return "PyTorch is missing"
    if not torch.cuda.is_available():
        return "PyTorch finds no GPU"
    return None


if triton is not None:

    @triton.jit
    def int4_tile(codes, scale, zero, n, group, N, HALF: tl.constexpr, SIZE: tl.constexpr, stride):
        """Low and high nibbles of a tile [BLOCK_N, HALF] of codes, as floats."""
        j = group * HALF + tl.arange(0, HALF)
        packed = tl.load(codes + n[:, None] * stride + j[None, :], mask=n[:, None] < N, other=0)
        s = tl.load(scale + group * N + n, mask=n < N, other=0.0)[:, None]
        z = tl.load(zero + group * N + n, mask=n < N, other=0.0)[:, None]
        low = ((packed & 15).to(tl.float16) - z) * s
        high = ((packed >> 4).to(tl.float16) - z) * s
        return low, high

    @triton.jit
    def int4_gemv(x, codes, scale, zero, out, N, K, SIZE: tl.constexpr, BLOCK_N: tl.constexpr):
        """One row of x: sums in the lanes that decode."""
        n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
        half: tl.constexpr = SIZE // 2
        j = tl.arange(0, half)
        sums = tl.zeros((BLOCK_N, half), tl.float32)
        for group in range(0, K // SIZE):
            low, high = int4_tile(codes, scale, zero, n, group, N, half, SIZE, K // 2)
            x_low = tl.load(x + group * SIZE + j).to(tl.float32)
            x_high = tl.load(x + group * SIZE + half + j).to(tl.float32)
            sums += low * x_low[None, :] + high * x_high[None, :]
        tl.store(out + n, tl.sum(sums, 1).to(tl.float16), mask=n < N)

    @triton.jit
    def int4_gemm(
        x, codes, scale, zero, out, M, N, K,
        SIZE: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    ):  # fmt: skip
        m = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
        n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
        half: tl.constexpr = SIZE // 2
        j = tl.arange(0, half)
        sums = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        for group in range(0, K // SIZE):
            low, high = int4_tile(codes, scale, zero, n, group, N, half, SIZE, K // 2)
            start = x + m[:, None] * K + group * SIZE + j[None, :]
            x_low = tl.load(start, mask=m[:, None] < M, other=0.0)
            x_high = tl.load(start + half, mask=m[:, None] < M, other=0.0)
            sums += tl.dot(x_low, tl.trans(low)) + tl.dot(x_high, tl.trans(high))
        mask = (m[:, None] < M) & (n[None, :] < N)
        tl.store(out + m[:, None] * N + n[None, :], sums.to(tl.float16), mask=mask)


class TritonInt4:
    """An [N, K] weight of 4 bits with a scale and a zero point per 128 columns; byte j of
    a group has columns j and j + 64. K is a multiple of 128."""

    def __init__(self, n, k, device):
        if k % GROUP:
            raise ValueError(f"expected K to be a multiple of {GROUP}, but got {k}")
        self.n, self.k = n, k
        self.codes = torch.randint(0, 256, (n, k // 2), dtype=torch.uint8, device=device)
        self.scale = torch.rand((k // GROUP, n), device=device).half() / 64
        self.zero = torch.randint(0, 16, (k // GROUP, n), device=device).half()

    def dequantize(self):
        packed = self.codes.view(self.n, -1, GROUP // 2)
        codes = torch.cat([packed & 15, packed >> 4], 2).half()
        values = (codes - self.zero.t()[:, :, None]) * self.scale.t()[:, :, None]
        return values.reshape(self.n, self.k)

    def multiply(self, x, out, block_m=16, block_n=32, warps=4):
        m = x.shape[0]
        if m == 1:
            int4_gemv[(triton.cdiv(self.n, block_n),)](
                x, self.codes, self.scale, self.zero, out, self.n, self.k,
                SIZE=GROUP, BLOCK_N=block_n, num_warps=warps,
            )  # fmt: skip
            return
        int4_gemm[(triton.cdiv(self.n, block_n), triton.cdiv(m, block_m))](
            x, self.codes, self.scale, self.zero, out, m, self.n, self.k,
            SIZE=GROUP, BLOCK_M=block_m, BLOCK_N=block_n, num_warps=warps,
        )  # fmt: skip


def seconds(functions, repeats=5):
    """Seconds of one of the functions, by events around a graph of all of them."""
    for function in functions:
        function()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for function in functions:
            function()
    graph.replay()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1e3 / len(functions))
    return statistics.median(times)


def copies_of(size, cache):
    """As many weights as no cache holds at once."""
    return max(2, min(64, -(-2 * cache // size) + 1))


def cublas(m, n, k, cache):
    """Seconds of an f16 product."""
    x = torch.randn((m, k), dtype=torch.float16, device="cuda")
    weights = [
        torch.randn((n, k), dtype=torch.float16, device="cuda")
        for _ in range(copies_of(2 * n * k, cache))
    ]
    return seconds([lambda w=w: torch.nn.functional.linear(x, w) for w in weights])


def cublas_int8(m, n, k, cache):
    """Seconds of a product of bytes to i32; cuBLAS takes 17 rows of x and more."""
    m = max(m, 32)
    x = torch.randint(-128, 128, (m, k), dtype=torch.int8, device="cuda")
    weights = [
        torch.randint(-128, 128, (n, k), dtype=torch.int8, device="cuda")
        for _ in range(copies_of(n * k, cache))
    ]
    return seconds([lambda w=w: torch._int_mm(x, w.t()) for w in weights])


def triton_int4(m, n, k, cache):
    """Seconds with the best of a few tiles; the result is checked first."""
    x = torch.randn((m, k), dtype=torch.float16, device="cuda")
    out = torch.empty((m, n), dtype=torch.float16, device="cuda")
    weights = [TritonInt4(n, k, "cuda") for _ in range(copies_of(n * k // 2, cache))]
    best = None
    tiles = [(1, 8, 4), (1, 16, 4), (1, 32, 4)] if m == 1 else [(16, 32, 4), (16, 64, 4)]
    if m >= 64:
        tiles = [(64, 64, 4), (64, 128, 8), (128, 128, 8)]
    for tile in tiles:
        weights[0].multiply(x, out, *tile)
        wanted = torch.nn.functional.linear(x, weights[0].dequantize())
        if not torch.allclose(out, wanted, rtol=2e-2, atol=2e-2 * wanted.abs().max().item()):
            raise RuntimeError("the Triton kernel computes something else")
        taken = seconds([lambda w=w: w.multiply(x, out, *tile) for w in weights])  # noqa: B023
        best = min(best or taken, taken)
    return best


MEASURES = {"cublas": cublas, "cublas_int8": cublas_int8, "triton": triton_int4}
