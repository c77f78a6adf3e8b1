#!/usr/bin/env python3
"""Compiles a random-weight LLaMA of 1.1 B parameters to 4-bit LUT and times it.

One run prints: compile time, peak memory of the compiler beside twice the fp16
size of the largest block plus 1 GiB, decode tokens/s, the bytes of weights that
a token reads, the machine's read bandwidth, and their ratio. The codes come
from the data-free solver (k-means of each row): the weights are random.

    build/venv/bin/python benchmark/decode_1b.py
    build/venv/bin/python benchmark/decode_1b.py --layers=4    # a quick look
"""

import argparse
import json
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def peak_of(command):
    """Runs a command; returns its seconds and peak resident bytes."""
    start = time.time()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command[0]} failed")
    return time.time() - start, usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "release"))
    parser.add_argument("--work", default=os.path.join(ROOT, "build", "bench"))
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--scheme", default="lut")
    parser.add_argument("--bits", type=int, default=4)
    args = parser.parse_args()
    tools = os.path.join(args.build, "bin")
    os.makedirs(args.work, exist_ok=True)
    model = os.path.join(args.work, f"llama-{args.layers}.onnx")
    if not os.path.exists(model):
        subprocess.check_call(
            [
                sys.executable, os.path.join(ROOT, "benchmark", "make_llama.py"),
                model, f"--layers={args.layers}",
            ]
        )
    compiled = os.path.join(args.work, f"llama-{args.layers}-{args.scheme}{args.bits}.ganq")
    seconds, peak = peak_of(
        [
            os.path.join(tools, "ganq-compile"), model, "-o", compiled,
            f"--scheme={args.scheme}", f"--bits={args.bits}",
            "--solver=kmeans" if args.scheme == "lut" else "--solver=rtn",
        ]
    )
    result = json.loads(
        subprocess.check_output(
            [os.path.join(tools, "ganq-run"), compiled, "--benchmark", "--json"]
        )
    )
    block = (2048 * 2048 * 2 + 2 * 256 * 2048 + 3 * 2048 * 5632) * 2
    print(f"model: {args.layers} layers, {args.scheme} {args.bits} bits")
    print(f"compile time:        {seconds:8.1f} s")
    print(f"compile peak memory: {peak / 2**20:8.0f} MiB "
          f"(aim: under {(2 * block + 2**30) / 2**20:.0f} MiB)")
    for key, value in result.items():
        print(f"{key}: {value}")


if __name__ == "__main__":
    main()
