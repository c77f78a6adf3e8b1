#!/usr/bin/env python3
"""Perplexity of every scheme and solver on a real model, beside stored bits.

Compiles the model once per row of the table and judges all on the same tokens:

    build/venv/bin/python benchmark/accuracy.py                 # stories260k
    build/venv/bin/python benchmark/accuracy.py --model=slm4096_gpt2 --bits 4 3 2

The models lie beside the checkout in ../shared/data/models (--data).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "release"))
    parser.add_argument(
        "--data", default=os.path.join(ROOT, "..", "shared", "data", "models")
    )
    parser.add_argument("--model", default="stories260k")
    parser.add_argument("--opset", default="opset17")
    parser.add_argument("--bits", type=int, nargs="*", default=[4, 3])
    args = parser.parse_args()
    base = os.path.join(args.data, args.model)
    model = f"{base}.{args.opset}.onnx"
    if not os.path.exists(model):
        sys.exit(f"expected a model at {model}")
    rows = [("fp32", ["--scheme=none"])]
    for bits in args.bits:
        for solver in ("improved", "literal", "kmeans"):
            rows.append((f"lut{bits} {solver}", [
                "--scheme=lut", f"--bits={bits}", f"--solver={solver}",
                f"--calibration={base}.calib.npy"]))
        rows.append((f"uniform{bits}", ["--scheme=uniform", f"--bits={bits}"]))
    print(f"{'':16} {'perplexity':>10} {'bits/weight':>11} {'compile s':>9}")
    with tempfile.TemporaryDirectory() as folder:
        output = os.path.join(folder, "model.ganq")
        for name, options in rows:
            start = time.time()
            subprocess.check_call(
                [os.path.join(args.build, "bin", "ganq-compile"), model, "-o", output]
                + options
            )
            seconds = time.time() - start
            result = json.loads(subprocess.check_output([
                os.path.join(args.build, "bin", "ganq-run"), output, "--perplexity",
                f"--tokens={base}.eval.npy", "--json"]))
            print(f"{name:16} {result['perplexity']:10.4f} "
                  f"{result['bits_per_weight']:11.2f} {seconds:9.1f}", flush=True)


if __name__ == "__main__":
    main()
