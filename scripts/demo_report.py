"""Prints text of the quantized demo model and what quantization cost and saved."""

import argparse
import json
import os
import subprocess
from pathlib import Path

MODELS = [("fp32", "fp32"), ("4-bit LUT", "lut4"), ("4-bit uniform", "uniform4")]
PROMPTS = ["Once upon a time, there was a brave fox named", "One day, Tom went to the market."]


def run_json(program, *arguments):
    result = subprocess.run(
        [program, *map(str, arguments), "--json"], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(result.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--build", type=Path, required=True)
    args = parser.parse_args()
    os.environ["GANQ_HOME"] = str(args.build)
    import ganq

    model = ganq.load(args.work / "lut4.ganq")
    print("\nThe 4-bit LUT model writes:\n")
    for seed, prompt in enumerate(PROMPTS):
        print(f"[{prompt}]", end="", flush=True)
        model.generate(
            prompt,
            max_tokens=200,
            temperature=0.6,
            seed=seed,
            stream=lambda piece: print(piece, end="", flush=True),
        )
        print("\n")

    run = args.build / "bin" / "ganq-run"
    listed = run_json(run, args.work / "lut4.ganq", "--inspect")["manifest"]["weights"]
    quantized = {weight["name"] for weight in listed if weight["scheme"] != "none"}
    print(f"{'model':<14} {'perplexity':>10} {'bits/weight':>11} {'weights':>12} {'file':>12} {'decode':>13}")
    for title, name in MODELS:
        path = args.work / f"{name}.ganq"
        judged = run_json(run, path, "--perplexity", f"--tokens={args.work / 'heldout.npy'}")
        weights = run_json(run, path, "--inspect")["manifest"]["weights"]
        size = sum(weight["bytes"] for weight in weights if weight["name"] in quantized)
        speed = run_json(run, path, "--benchmark")
        bits = judged["bits_per_weight"]
        print(
            f"{title:<14} {judged['perplexity']:>10.4f} {bits if bits else 32:>11.2f} "
            f"{size:>10} B {path.stat().st_size:>10} B "
            f"{decode_rate(speed):>8.0f} tok/s",
            flush=True,
        )
    print(
        f"\nPerplexity on the same {judged['tokens']} held-out tokens. `weights` are those that are\n"
        "quantized (the linear layers of the blocks); `file` also has embedding, head and native code."
    )


def decode_rate(speed):
    """Tokens per second of one sequence."""
    return speed["decode_tokens_per_second"]


if __name__ == "__main__":
    main()
