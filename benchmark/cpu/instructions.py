#!/usr/bin/env python3
"""Instructions per weight of each decode kernel, against a committed budget.

Times differ from run to run, counts do not. A product of one row of x with a
16x1024 weight is run once per scheme: AVX2 code (x86-64-v3) under callgrind,
AVX-512 code, which callgrind does not know, by the processor's single-step
trap, for x86-64-v4 and for this processor. Counts of this processor are kept
under its name and compared where that is the same.

    build/venv/bin/python benchmark/cpu/instructions.py             compare
    build/venv/bin/python benchmark/cpu/instructions.py --update    write instructions.json
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

import kernels

HERE = os.path.dirname(os.path.abspath(__file__))
BUDGET = os.path.join(HERE, "instructions.json")
UPDATE = "build/venv/bin/python benchmark/cpu/instructions.py --update"
SHAPE = (1, 16, 1024)
WORSE, BETTER = 1.03, 0.90


def callgrind(tools, folder, description):
    """Counts of each kernel's entry with all that it calls."""
    output = os.path.join(folder, "callgrind.out")
    run = subprocess.run(
        [
            "valgrind", "--tool=callgrind", "--compress-strings=no", "--compress-pos=no",
            f"--callgrind-out-file={output}", os.path.join(tools, "kernel-run"), folder, "once",
        ],
        capture_output=True,
        text=True,
    )  # fmt: skip
    if run.returncode:
        sys.exit(f"expected valgrind to run the kernels, but got:\n{run.stderr}")
    counts, function = {}, None
    with open(output) as file:
        for line in file:
            if line.startswith("fn="):
                function = line[3:].strip()
            elif line[0].isdigit() and function:
                # A position and a count; behind `calls=`, that of the callee.
                counts[function] = counts.get(function, 0) + int(line.split()[1])
    return {each["name"]: counts[each["entry"]] for each in description["kernels"]}


def runs_avx512():
    with open("/proc/cpuinfo") as file:
        flags = next((line for line in file if line.startswith("flags")), "").split()
    return all(f"avx512{part}" in flags for part in ("f", "bw", "cd", "dq", "vl"))


def measure(tools, only=None):
    """{processor: {kernel: instructions per weight}} of what can be counted here."""
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        for cpu in ("x86-64-v3", "x86-64-v4", "host"):
            if only and cpu not in only or cpu == "x86-64-v4" and not runs_avx512():
                continue
            if cpu == "x86-64-v3" and not shutil.which("valgrind"):
                continue
            path = os.path.join(folder, cpu)
            listed = [(name, *SHAPE, text) for name, _, text in kernels.schemes()]
            description = kernels.build(tools, path, cpu, listed)
            if cpu == "x86-64-v3":
                counts = callgrind(tools, path, description)
            else:
                counts = kernels.run(tools, path, "step")
            weights = SHAPE[1] * SHAPE[2]
            result[description["processor"]] = {
                name: round(count / weights, 4) for name, count in counts.items()
            }
    return result


def compare(measured, budget):
    """What is wrong with the counts of the processors that the budget knows."""
    for processor in sorted(measured.keys() & budget.keys()):
        got, allowed = measured[processor], budget[processor]
        for name in sorted(got.keys() | allowed.keys()):
            where = f"{name} for {processor}"
            if name not in allowed or name not in got:
                yield f"{where}: expected the same kernels in the budget; run {UPDATE}"
            elif got[name] > WORSE * allowed[name]:
                yield (
                    f"{where}: expected at most {allowed[name]} instructions per weight, "
                    f"but got {got[name]}; if that is meant, run {UPDATE}"
                )
            elif got[name] < BETTER * allowed[name]:
                yield (
                    f"{where}: {got[name]} instructions per weight are well below the "
                    f"budget's {allowed[name]}; keep that by running {UPDATE}"
                )


def load():
    with open(BUDGET) as file:
        return json.load(file)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = os.path.dirname(os.path.dirname(HERE))
    parser.add_argument("--update", action="store_true", help="make what is counted the budget")
    parser.add_argument("--build", default=os.path.join(root, "build", "release"),
                        help="build tree of ganq (build/release)")  # fmt: skip
    args = parser.parse_args()
    measured = measure(os.path.join(args.build, "bin"))
    budget = load() if os.path.exists(BUDGET) else {}
    for processor, counts in measured.items():
        print(processor)
        for name, count in counts.items():
            print(f"  {name:16}{count:8.4f}{budget.get(processor, {}).get(name, ''):>10}")
    if args.update:
        with open(BUDGET + ".tmp", "w") as file:
            json.dump({**budget, **measured}, file, indent=1)
            file.write("\n")
        os.replace(BUDGET + ".tmp", BUDGET)
        return 0
    problems = list(compare(measured, budget))
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
