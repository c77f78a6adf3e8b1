#!/usr/bin/env python3
"""Time and memory of the table solvers on one layer, beside plain NumPy.

    build/venv/bin/python benchmark/solver_time.py              # 4096 x 4096, 4 bits
    build/venv/bin/python benchmark/solver_time.py --rows=512 --columns=1024

The layer is synthetic: heavy-tailed weights, inputs correlated and with a few
large channels. Halved CPU seconds are what two free cores take. NumPy runs the
paper's algorithm on --numpy-rows by --numpy-columns of such a layer; its time is
scaled by rows * columns^2, the order of each of its steps.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def make_layer(folder, rows, columns, seed=0):
    random = np.random.default_rng(seed)
    weights = 0.02 * random.standard_t(5, (rows, columns)).astype(np.float32)
    tokens = 2 * columns
    inputs = random.standard_normal((tokens, columns), dtype=np.float32)
    common = random.standard_normal((tokens, 16), dtype=np.float32)
    inputs += common @ random.standard_normal((16, columns), dtype=np.float32) / 4
    inputs[:, ::97] *= 8
    gram = (inputs.T @ inputs).astype(np.float64) / tokens
    weights.tofile(os.path.join(folder, "w.f32"))
    gram.tofile(os.path.join(folder, "h.f64"))
    return weights, gram


def solve_library(program, folder, rows, columns, bits, method):
    command = [program, folder, str(rows), str(columns), str(bits), method]
    return json.loads(subprocess.check_output(command))


def solve_numpy(weights, gram, bits, iterations=10):
    """Algorithm 1 of arXiv 2501.12956 with the index of its equation 20."""
    rows, columns = weights.shape
    levels = 2**bits
    damped = (gram + 0.01 * np.trace(gram) / columns * np.eye(columns)).astype(np.float32)
    factor = np.linalg.cholesky(damped.astype(np.float64)).astype(np.float32)
    low, high = weights.min(1), weights.max(1)
    tables = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, levels, dtype=np.float32)
    weighted = weights @ damped
    codes = np.empty(weights.shape, np.int64)
    for _ in range(iterations):
        error = np.zeros_like(weights)
        for j in reversed(range(columns)):
            value = weights[:, j] + error[:, j + 1 :] @ factor[j + 1 :, j] / factor[j, j]
            codes[:, j] = np.abs(value[:, None] - tables).argmin(1)
            error[:, j] = weights[:, j] - np.take_along_axis(tables, codes[:, j : j + 1], 1)[:, 0]
        for i in range(rows):
            one_hot = np.zeros((columns, levels), np.float32)
            one_hot[np.arange(columns), codes[i]] = 1
            normal = one_hot.T @ (damped @ one_hot)
            tables[i] = weighted[i] @ one_hot @ np.linalg.pinv(normal.astype(np.float64))
    error = (np.take_along_axis(tables, codes, 1) - weights).astype(np.float64)
    return np.sqrt(np.sum(error @ gram * error) / np.sum(weights @ gram * weights))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--program",
        default=os.path.join(ROOT, "build", "release", "bin", "solver-time"))
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--methods", nargs="*", default=["literal", "improved", "kmeans"])
    parser.add_argument("--numpy-rows", type=int, default=256)
    parser.add_argument("--numpy-columns", type=int, default=1024)
    args = parser.parse_args()
    print(f"{'':28} {'prepare s':>9} {'solve s':>8} {'CPU s':>7} {'peak MiB':>8} {'rel. error':>10}")

    def show(name, result):
        print(f"{name:28} {result['prepare_s']:9.1f} {result['solve_s']:8.1f} "
              f"{result['cpu_s']:7.1f} {result['peak_mib']:8} {result['relative_error']:10.5f}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        make_layer(folder, args.rows, args.columns)
        shape = f"{args.rows}x{args.columns}"
        for method in args.methods:
            show(f"{shape} {method}", solve_library(
                args.program, folder, args.rows, args.columns, args.bits, method))
        weights, gram = make_layer(folder, args.numpy_rows, args.numpy_columns)
        shape = f"{args.numpy_rows}x{args.numpy_columns}"
        small = solve_library(args.program, folder, args.numpy_rows,
                              args.numpy_columns, args.bits, "literal")
        show(f"{shape} literal", small)
        start = time.time()
        error = solve_numpy(weights, gram, args.bits)
        seconds = time.time() - start
        factor = args.rows * args.columns**2 / (args.numpy_rows * args.numpy_columns**2)
        print(f"{shape + ' NumPy literal':28} {'':9} {seconds:8.1f} {'':7} {'':8} {error:10.5f}")
        print(f"NumPy at {args.rows}x{args.columns}: about {seconds * factor:.0f} s "
              f"({factor:.0f} times the operations)")


if __name__ == "__main__":
    main()
