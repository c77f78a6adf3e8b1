"""What the end-to-end tests share: the built tools, the data, a compile cache."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("GANQ_HOME") or ROOT / "build" / "release")
DATA = ROOT.parent / "shared" / "data"
DEMO = ROOT / "models" / "demo"
TIMEOUT = 600


def run_tool(name, *arguments, check=True, **options):
    """Runs a tool of the build; with `check`, a failure fails the test."""
    program = HOME / "bin" / name
    if not program.is_file():
        pytest.skip(f"{name} is not built in {HOME}")
    result = subprocess.run(
        [program, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=TIMEOUT,
        **options,
    )
    if check and result.returncode != 0:
        pytest.fail(
            f"{name} {' '.join(map(str, arguments))}\nexit status {result.returncode}\n{result.stderr[-4000:]}"
        )
    return result


def data_file(name):
    """A file of the data folder; skips the test where there is none."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the data folder has no {name}")
    return path


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """compiled(model, *options) -> the path of the `.ganq` file, compiled once per session."""
    directory, known = tmp_path_factory.mktemp("compiled"), {}

    def compile_model(model, *options):
        key = hashlib.sha256(repr((str(model), options)).encode()).hexdigest()[:16]
        if key not in known:
            output = directory / f"{key}.ganq"
            known[key] = (run_tool("ganq-compile", model, "-o", output, *options, check=False), output)
        result, output = known[key]
        if result.returncode != 0:
            pytest.fail(f"ganq-compile {model} {' '.join(map(str, options))}\n{result.stderr[-4000:]}")
        return output

    return compile_model


def perplexity(model, tokens):
    """The perplexity that ganq-run prints."""
    return json.loads(run_tool("ganq-run", model, "--perplexity", f"--tokens={tokens}", "--json").stdout)[
        "perplexity"
    ]


def reference_perplexity(model, tokens):
    """The same figure from ONNX Runtime on the ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    past = {}
    for port in session.get_inputs()[1:]:
        shape = [0 if size == "past" else size for size in port.shape]
        past[port.name] = lambda rows, shape=shape: np.zeros(
            [rows if s == "batch" else s for s in shape], np.float32
        )
    tokens, total = np.load(tokens).astype(np.int64), 0.0
    for begin in range(0, len(tokens), 16):
        rows = tokens[begin : begin + 16]
        inputs = {"input_ids": rows[:, :-1], **{name: make(len(rows)) for name, make in past.items()}}
        logits = session.run(["logits"], inputs)[0].astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        chosen = np.take_along_axis(logits, rows[:, 1:, None], -1)[..., 0]
        total += (np.log(np.exp(logits).sum(-1)) - chosen).sum()
    return float(np.exp(total / tokens[:, 1:].size))


@pytest.fixture(scope="session")
def demo_tokens(tmp_path_factory):
    """(calibration, held-out) token files of the demo model."""
    import sys

    directory = tmp_path_factory.mktemp("tokens")
    subprocess.run(
        [
            sys.executable,
            ROOT / "scripts" / "make_tokens.py",
            DEMO / "tokenizer.json",
            directory,
            "--rows=32",
        ],
        check=True,
        capture_output=True,
    )
    return directory / "calibration.npy", directory / "heldout.npy"
