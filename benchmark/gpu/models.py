"""Whole models: compiled where the kernels are packed, run where the GPU is."""

import json
import os
import shutil
import subprocess

import numpy as np

OPTIONS = {
    "lut4": ("--scheme=lut", "--solver=kmeans"),
    "uniform4": ("--scheme=uniform", "--solver=rtn"),
    "pot3": ("--scheme=pot", "--bits=3", "--solver=rtn"),
    "w4a8": ("--scheme=uniform", "--activation-bits=8", "--solver=rtn"),
}
PROMPT = [(37 * i + 11) % 54 for i in range(19)]
TOKENS = 32


class Failure(Exception):
    pass


def execute(*command):
    """What a program prints."""
    result = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if result.returncode:
        raise Failure(f"{os.path.basename(command[0])}: {result.stderr.strip()[-2000:]}")
    return result.stdout


def generate(program, model, prompt, count):
    return json.loads(execute(program, model, f"--generate={count}", f"--tokens={prompt}", "--json"))["tokens"]


def pack(folder, tools, models, chips, root):
    """Compiles each model with each of OPTIONS for the chips, and notes what it says on the
    CPU; copies what the runtime is built of."""
    target = ["--target=emulator"] if chips == "emulator" else ["--target=cuda", f"--chips={chips}"]
    compiler, player = os.path.join(tools, "ganq-compile"), os.path.join(tools, "ganq-run")
    places = os.path.join(folder, "models")
    os.makedirs(places, exist_ok=True)
    np.save(os.path.join(places, "prompt.npy"), np.array(PROMPT))
    listed = []
    for model in models:
        # A folder's model is known by the folder's name.
        stem = os.path.basename(model).removesuffix(".onnx")
        stem = os.path.basename(os.path.dirname(os.path.abspath(model))) if stem == "model" else stem
        for scheme, options in OPTIONS.items():
            name = f"{stem}-{scheme}"
            place, cpu = (os.path.join(places, name + end) for end in (".ganq", ".cpu.ganq"))
            execute(compiler, model, "-o", place, *options, *target)
            execute(compiler, model, "-o", cpu, *options)
            tokens = generate(player, cpu, os.path.join(places, "prompt.npy"), TOKENS)
            os.remove(cpu)
            listed.append({"name": name, "tokens": tokens})
    with open(os.path.join(places, "models.json"), "w") as file:
        json.dump(listed, file, indent=1)
    runtime = os.path.join(folder, "runtime")
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(os.path.join(root, "runtime"), runtime, ignore=skipped, dirs_exist_ok=True)
    with open(os.path.join(os.path.dirname(tools), "CMakeCache.txt")) as file:
        entries = dict(line.rstrip().split("=", 1) for line in file if "=" in line)
    found = next(value for key, value in entries.items() if key.startswith("GANQ_NLOHMANN_JSON:"))
    headers = os.path.join(folder, "include", "nlohmann")
    shutil.copytree(os.path.join(found, "nlohmann"), headers, dirs_exist_ok=True)


def build_runtime(package):
    """ganq-run, built of the package's sources with CMake and a C++ compiler."""
    build = os.path.join(package, "build")
    header = os.path.join(os.path.abspath(package), "include")
    execute("cmake", "-S", os.path.join(package, "runtime"), "-B", build, "-DCMAKE_BUILD_TYPE=Release",
            f"-DGANQ_NLOHMANN_JSON={header}")  # fmt: skip
    execute("cmake", "--build", build, "--parallel", "--target", "ganq-run")
    return os.path.join(build, "bin", "ganq-run")


def same_tokens(got, wanted):
    """How many tokens are equal before the first that is not."""
    return next((i for i, pair in enumerate(zip(got, wanted)) if pair[0] != pair[1]), len(wanted))


def measure(package, program):
    """For each model its name, how many tokens are those of the CPU, tokens per second and
    the fraction of the copy bandwidth."""
    places = os.path.join(package, "models")
    with open(os.path.join(places, "models.json")) as file:
        listed = json.load(file)
    for each in listed:
        model = os.path.join(places, each["name"] + ".ganq")
        got = generate(program, model, os.path.join(places, "prompt.npy"), len(each["tokens"]))
        speed = json.loads(
            execute(program, model, "--benchmark", "--generate=32", "--prompt-length=16", "--json")
        )
        yield {
            "name": each["name"],
            "tokens": len(each["tokens"]),
            "same": same_tokens(got, each["tokens"]),
            "decode": speed["decode_tokens_per_second"],
            "prefill": speed["prefill_tokens_per_second"],
            "fraction": speed["bandwidth_fraction"],
        }
