"""The products that are timed and counted, and the tools that do it."""

import json
import os
import subprocess

# Families of schemes by bits; {bits} stands for 2, 3 and 4.
FAMILIES = {
    "lut": "lut<bits = {bits}>",
    "lut{bits}a8": "lut<bits = {bits}, entry = i8, activation = 8>",
    "uniform": "uniform<bits = {bits}>",
    "uniform-g128": "uniform<bits = {bits}, group = 128>",
    "w{bits}a8": "uniform<bits = {bits}, activation = 8>",
    "w{bits}a8-g128": "uniform<bits = {bits}, group = 128, activation = 8>",
    "pot-g64": "pot<bits = {bits}, group = 64>",
}
BITS = (4, 3, 2)


def schemes():
    """(name, bits, attribute) of each scheme."""
    for bits in BITS:
        for family, text in FAMILIES.items():
            name = family.format(bits=bits)
            if name == family:
                head, dash, tail = family.partition("-")
                name = f"{head}{bits}{dash}{tail}"
            yield name, bits, text.format(bits=bits)


def build(tools, folder, cpu, kernels):
    """Compiles (name, m, n, k, attribute) into a folder; returns its description."""
    subprocess.check_call(
        [
            os.path.join(tools, "kernel-build"), cpu, folder,
            *(f"{name}:{m}x{n}x{k}:{attribute}" for name, m, n, k, attribute in kernels),
        ]
    )  # fmt: skip
    with open(os.path.join(folder, "kernels.json")) as file:
        return json.load(file)


def run(tools, folder, mode, *arguments, prefix=()):
    """kernel-run's JSON."""
    output = subprocess.check_output(
        [*prefix, os.path.join(tools, "kernel-run"), folder, mode, *map(str, arguments)]
    )
    return json.loads(output)
