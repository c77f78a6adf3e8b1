"""ganq-compile as a process: options, equal bytes, killed and parallel runs."""

import json
import math
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from conftest import DEMO, HOME, data_file, perplexity, run_tool

MODEL = DEMO / "model.onnx"


def weights(model):
    """{key: scheme} of a compiled model."""
    report = json.loads(run_tool("ganq-run", model, "--inspect", "--json").stdout)
    return {weight["name"]: weight["scheme"] for weight in report["manifest"]["weights"]}


@pytest.mark.parametrize("cpu", ["x86-64-v3", "x86-64-v3-vnni"])
def test_the_cpu_is_shown_as_it_was_named(cpu, tmp_path):
    model = data_file("models/nanosort_gpt2.opset17.onnx")
    run_tool("ganq-compile", model, "-o", tmp_path / "m.ganq", f"--cpu={cpu}", "--scheme=uniform", "--solver=rtn")
    assert f"x86_64, {cpu}\n" in run_tool("ganq-run", tmp_path / "m.ganq", "--inspect").stdout


@pytest.fixture(scope="session")
def sorting(tmp_path_factory):
    """Rows of the smallest model: six digits and the first five of them sorted."""
    digits = np.random.default_rng(1).integers(0, 3, (64, 6))
    path = tmp_path_factory.mktemp("sorting") / "rows.npy"
    np.save(path, np.concatenate([digits, np.sort(digits, -1)[:, :5]], -1).astype(np.int32))
    return path


@pytest.mark.parametrize("scheme", ["lut", "uniform"])
@pytest.mark.parametrize("bits", range(1, 9))
def test_every_code_width_runs(scheme, bits, sorting, tmp_path):
    model = data_file("models/nanosort_gpt2.opset17.onnx")
    calibration = (f"--calibration={sorting}",) if scheme == "lut" else ()
    output = tmp_path / "m.ganq"
    run_tool("ganq-compile", model, "-o", output, f"--scheme={scheme}", f"--bits={bits}", *calibration)
    result = run_tool("ganq-run", output, "--perplexity", f"--tokens={sorting}", "--json")
    report = json.loads(result.stdout)
    assert math.isfinite(report["perplexity"]) and report["bits_per_weight"] >= bits
    assert os.listdir(tmp_path) == ["m.ganq"]
    if bits == 8:
        session = pytest.importorskip("onnxruntime").InferenceSession(str(model))
        want = session.run(["logits"], {"input_ids": np.load(sorting).astype(np.int64)})[0]
        np.save(tmp_path / "ids.npy", np.load(sorting).astype(np.int64))
        run_tool("ganq-run", output, f"--inputs={tmp_path / 'ids.npy'}", f"--outputs={tmp_path}")
        got = np.load(tmp_path / "logits.npy")
        assert np.abs(got - want).max() < 0.02 * np.abs(want).max()


def test_the_head_is_quantized_on_request(compiled, demo_tokens):
    options = ("--scheme=uniform", "--bits=4")
    plain, head = compiled(MODEL, *options), compiled(MODEL, *options, "--quantize-head")
    assert weights(plain)["lm_head.weight"] == "none"
    assert set(weights(head).values()) == {"uniform4"}
    assert perplexity(plain, demo_tokens[1]) < perplexity(head, demo_tokens[1]) < 2


def test_excluded_weights_keep_their_precision(compiled, demo_tokens):
    plain = compiled(MODEL, "--scheme=uniform", "--bits=2")
    spared = compiled(MODEL, "--scheme=uniform", "--bits=2", "--exclude=layers\\.[01]\\.|down_proj")
    for key, scheme in weights(spared).items():
        kept = key == "lm_head.weight" or "layers.0" in key or "layers.1" in key or "down_proj" in key
        assert scheme == ("none" if kept else "uniform2")
    assert perplexity(spared, demo_tokens[1]) < perplexity(plain, demo_tokens[1])


def test_groups_lower_the_perplexity(compiled, demo_tokens):
    rows = compiled(MODEL, "--scheme=uniform", "--bits=2")
    groups = compiled(MODEL, "--scheme=uniform", "--bits=2", "--group=64")
    assert set(weights(groups).values()) == {"uniform2g64", "none"}
    assert perplexity(groups, demo_tokens[1]) < perplexity(rows, demo_tokens[1])


def test_the_version_is_that_of_the_runtime():
    version = run_tool("ganq-run", "--version").stdout.split()[1]
    assert run_tool("ganq-compile", "--version").stdout.startswith(f"ganq-compile {version} (LLVM ")


@pytest.mark.parametrize("option", ["--bits=4", "--group=64", "--exclude=x", "--quantize-head"])
def test_options_of_a_scheme_that_is_not_given(option, tmp_path):
    result = run_tool("ganq-compile", MODEL, "-o", tmp_path / "m.mlir", option, "--compile-to=input")
    name = option.split("=")[0]
    assert f"warning: {name} has no effect without --scheme" in result.stderr


def start(output, calibration):
    """A quantization in a process of its own, seen into its work folder."""
    program = HOME / "bin" / "ganq-compile"
    options = ["--scheme=lut", "--bits=4", f"--calibration={calibration}"]
    return subprocess.Popen(
        [program, MODEL, "-o", output, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_a_killed_run_goes_on_and_gives_the_same_bytes(compiled, demo_tokens, tmp_path):
    options = ("--scheme=lut", "--bits=4", f"--calibration={demo_tokens[0]}")
    undisturbed = compiled(MODEL, *options).read_bytes()
    output = tmp_path / "m.ganq"
    work = tmp_path / "m.ganq.work"
    process = start(output, demo_tokens[0])
    try:
        end = time.monotonic() + 120
        while not (work / "weight2.safetensors").exists():
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.005)
        process.send_signal(signal.SIGSTOP)
        second = run_tool("ganq-compile", MODEL, "-o", output, *options, check=False)
        assert second.returncode == 1 and "another run" in second.stderr
    finally:
        process.kill()
        process.wait()
    assert not output.exists()
    done = {path: path.stat().st_mtime_ns for path in work.glob("weight?.safetensors")}
    assert len(done) >= 3
    run_tool("ganq-compile", MODEL, "-o", output, *options, "--keep-work")
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert output.read_bytes() == undisturbed
    # Work of other options is not taken for this one's.
    run_tool("ganq-compile", MODEL, "-o", output, "--scheme=uniform", "--bits=4")
    assert set(weights(output).values()) == {"uniform4", "none"}
    assert os.listdir(tmp_path) == ["m.ganq"]


def test_files_of_other_weights_are_not_taken(compiled, tmp_path):
    """A file counts as a solution only by the key and the scheme in it."""
    options = ("--scheme=uniform", "--bits=4")
    undisturbed = compiled(MODEL, *options).read_bytes()
    output, work = tmp_path / "m.ganq", tmp_path / "m.ganq.work"
    run_tool("ganq-compile", MODEL, "-o", output, *options, "--keep-work")
    other = tmp_path / "other.ganq"
    run_tool("ganq-compile", MODEL, "-o", other, "--scheme=uniform", "--bits=3", "--keep-work")
    (tmp_path / "other.ganq.work" / "weight0.safetensors").replace(work / "weight0.safetensors")
    (work / "weight1.safetensors").rename(work / "weight2.safetensors")
    run_tool("ganq-compile", MODEL, "-o", output, *options)
    assert output.read_bytes() == undisturbed


def test_another_build_starts_afresh(tmp_path):
    """The same program with other bytes, as another build of it is."""
    tools = tmp_path / "build" / "bin"
    tools.mkdir(parents=True)
    program = tools / "ganq-compile"
    shutil.copy(HOME / "bin" / "ganq-compile", program)
    options = [MODEL, "-o", tmp_path / "m.ganq", "--scheme=uniform", "--keep-work", "--verbose"]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(HOME / "lib")}

    def run():
        result = subprocess.run([program, *options], capture_output=True, text=True, env=environment)
        assert result.returncode == 0, result.stderr
        return result.stderr

    run()
    assert "going on" in run()
    with program.open("ab") as file:
        file.write(b"x")
    assert "starting again" in run()


@pytest.mark.parametrize("options", [("--scheme=none",), ("--scheme=uniform", "--bits=4")])
def test_the_same_command_gives_the_same_bytes(options, compiled, tmp_path):
    run_tool("ganq-compile", MODEL, "-o", tmp_path / "m.ganq", *options)
    assert (tmp_path / "m.ganq").read_bytes() == compiled(MODEL, *options).read_bytes()
