"""The node tests of ONNX (Debian: libonnx-testdata), compiled and run.

Each of them is imported; each that expected_failures.txt does not list is also
compiled without knowing its inputs' values, run, and compared. One that is listed
and passes is a failure, too: then take it off the list. After a change,
GANQ_UPDATE_EXPECTED=1 writes the list anew, with the reasons.
"""

import json
import os
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("GANQ_HOME") or ROOT / "build" / "release")
CASES = Path("/usr/share/libonnx-testdata/data/node")
LIST = Path(__file__).with_name("expected_failures.txt")
NAMES = sorted(path.name for path in CASES.iterdir()) if CASES.is_dir() else []
EXPECTED = {line.split()[0] for line in LIST.read_text().splitlines() if line and line[0] != "#"}


class Failed(Exception):
    """What a case failed at, and how."""


def run_tool(stage, name, *arguments):
    try:
        result = subprocess.run(
            [HOME / "bin" / name, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
        )
    except subprocess.TimeoutExpired:
        raise Failed(stage, "took longer than 120 s") from None
    if result.returncode < 0 or "Stack dump" in result.stderr:
        raise Failed("crash", f"{name} ended with {result.returncode} {result.stderr[:300]}")
    if result.returncode != 0:
        lines = [line for line in result.stderr.splitlines() if "error" in line]
        raise Failed(stage, (lines or result.stderr.splitlines() or ["no message"])[0])
    return result.stdout


def read_tensor(path):
    """The array of a TensorProto, of an element type that .npy files can hold."""
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(path.read_bytes())
        array = numpy_helper.to_array(tensor)
    except Exception as error:  # sequences and optionals parse as anything
        raise Failed("data", f"{path.name} is no tensor: {error}") from None
    if array.dtype.kind not in "biuf":
        raise Failed("data", f"{path.name} has elements of type {array.dtype}")
    return array


def files(folder, kind):
    paths = folder.glob(f"{kind}_*.pb")
    return sorted(paths, key=lambda path: int(path.stem.split("_")[1]))


def check(name, directory):
    """Raises Failed if the case does not pass."""
    model = CASES / name / "model.onnx"
    run_tool("import", "ganq-translate", "--import-onnx", model, "-o", directory / "m.mlir")
    run_tool("compile", "ganq-compile", model, "-o", directory / "m.ganq", "--scheme=none")
    compared = 0
    for data_set in sorted((CASES / name).glob("test_data_set_*")):
        graph = onnx.load(model).graph
        ports = [port.name for port in graph.input]
        arguments = []
        for port, path in zip(ports, files(data_set, "input")):
            np.save(directory / f"{len(arguments)}.npy", read_tensor(path))
            arguments.append(f"{port}={directory / f'{len(arguments)}.npy'}")
        wanted = [read_tensor(path) for path in files(data_set, "output")]
        printed = run_tool(
            "run",
            "ganq-run",
            directory / "m.ganq",
            "--inputs=" + ",".join(arguments),
            f"--outputs={directory / 'out'}",
            "--json",
        )
        results = {output["name"]: output["file"] for output in json.loads(printed)["outputs"]}
        for port, want in zip(graph.output, wanted):
            got = np.load(results[port.name])
            if got.shape != want.shape or got.dtype != want.dtype:
                raise Failed(
                    "compare",
                    f"expected {want.dtype}{list(want.shape)}, but got {got.dtype}{list(got.shape)}",
                )
            tolerance = 1e-2 if want.dtype == np.float16 else 1e-3
            if not np.allclose(got, want, rtol=tolerance, atol=1e-5, equal_nan=True):
                raise Failed("compare", "values differ")
            compared += 1
    if not compared:
        raise Failed("data", "nothing to compare")


def attempt(name):
    with tempfile.TemporaryDirectory() as directory:
        try:
            check(name, Path(directory))
        except Failed as failure:
            stage, message = failure.args
            return (
                stage,
                re.sub(r"\s+", " ", str(message).replace(directory, "").replace(str(CASES), ""))[:140],
            )
    return None


@pytest.fixture(scope="session")
def outcomes():
    """{case: None or (stage, message)}."""
    for program in ("ganq-translate", "ganq-compile", "ganq-run"):
        if not (HOME / "bin" / program).is_file():
            pytest.skip(f"{program} is not built in {HOME}")
    os.environ["GANQ_THREADS"] = "1"
    with ThreadPoolExecutor(int(os.environ.get("GANQ_JOBS") or os.cpu_count())) as pool:
        results = dict(zip(NAMES, pool.map(attempt, NAMES)))
    if os.environ.get("GANQ_UPDATE_EXPECTED"):
        head = [line for line in LIST.read_text().splitlines() if line.startswith("#")]
        LIST.write_text(
            "\n".join(
                head + [f"{name} {stage}" for name, (stage, _) in ((n, r) for n, r in results.items() if r)]
            )
            + "\n"
        )
    return results


@pytest.mark.skipif(not NAMES, reason="libonnx-testdata is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_node(name, outcomes):
    failure = outcomes[name]
    assert not failure or failure[0] != "crash", failure[1]
    assert not failure or failure[0] != "import", failure[1]
    if name in EXPECTED:
        assert failure, "this case passes now: take it off expected_failures.txt"
    else:
        assert not failure, f"{failure[0]}: {failure[1]}"


def test_the_list_names_cases():
    if NAMES:
        assert EXPECTED <= set(NAMES)


def test_enough_cases_pass():
    """At least two of five."""
    if NAMES:
        assert len(EXPECTED) <= 0.6 * len(NAMES)
