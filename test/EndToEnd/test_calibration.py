"""Calibration: in stages or at once, from tokens or from a file, whole or in two runs."""

import json
import re
import resource
import subprocess
import time

import numpy as np
import pytest

from conftest import DEMO, HOME, data_file, perplexity, run_tool

MODES = ["sequential", "one-shot"]


@pytest.fixture(scope="module")
def sorting_tokens(tmp_path_factory):
    """Six digits and the same digits sorted."""
    digits = np.random.default_rng(0).integers(0, 3, (512, 6))
    path = tmp_path_factory.mktemp("sorting") / "tokens.npy"
    np.save(path, np.concatenate([digits, np.sort(digits, -1)[:, :5]], -1).astype(np.int32))
    return path


def quantize(model, output, calibration, *options, **keywords):
    return run_tool(
        "ganq-compile",
        model,
        "-o",
        output,
        "--scheme=lut",
        f"--calibration={calibration}",
        *options,
        **keywords,
    )


def edited(model, path, edit):
    """A copy of a model after edit({name: array of an initializer})."""
    import onnx
    from onnx import numpy_helper

    proto = onnx.load(str(model))
    arrays = {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in proto.graph.initializer}
    edit(arrays)
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))
    onnx.save(proto, str(path))
    return path


def test_stages_beat_one_shot(compiled):
    model, tokens = data_file("models/slm4096_gpt2.opset17.past.onnx"), data_file("models/slm4096_gpt2.eval.npy")
    options = ["--scheme=lut", "--bits=2"]
    options.append(f"--calibration={data_file('models/slm4096_gpt2.calib.npy')}")
    sequential, once = (
        perplexity(compiled(model, *options, f"--calibration-mode={mode}"), tokens) for mode in MODES
    )
    # K-means alone gives 2.22.
    assert sequential < once < 2.2


def test_equal_stages_are_compiled_once(tmp_path, demo_tokens):
    """Layers of four stages, and one before them: nothing is quantized there; at
    the end, attention does not hand on its sum."""
    result = quantize(DEMO / "model.onnx", tmp_path / "m.ganq", demo_tokens[0], "--verbose")
    assert re.search(r"\b11 pieces of code for 16 stages", result.stderr), result.stderr


def test_models_without_step_functions(tmp_path, sorting_tokens):
    """The same calibration through @main with its sizes bound."""
    model, errors = data_file("models/nanosort_gpt2.opset17.onnx"), []
    for options in ([], ["--bind=batch=1", "--bind=seq=11"]):
        result = quantize(model, tmp_path / "m.ganq", sorting_tokens, "--bits=3", "--json", *options)
        errors.append([weight["relative_error"] for weight in json.loads(result.stdout)["weights"]])
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)
    result = quantize(model, tmp_path / "m.ganq", sorting_tokens, "--bind=seq=7", check=False)
    assert result.returncode == 1
    assert "rows of tokens that fit the model's input tensor<?x7xi64>" in result.stderr


@pytest.mark.parametrize("mode", MODES)
def test_a_killed_run_goes_on(mode, tmp_path, sorting_tokens):
    model, output = data_file("models/nanosort_gpt2.opset17.onnx"), tmp_path / "m.ganq"
    options = ["--bits=3", f"--calibration-mode={mode}"]
    quantize(model, tmp_path / "whole.ganq", sorting_tokens, *options)
    command = [HOME / "bin" / "ganq-compile", model, "-o", output, "--scheme=lut", *options]
    process = subprocess.Popen([*command, f"--calibration={sorting_tokens}"])
    work = tmp_path / "m.ganq.work"
    while process.poll() is None and not (work / "weight1.safetensors").exists():
        time.sleep(0.005)
    process.kill()
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in work.glob("weight?.safetensors")}
    assert done
    (work / "activations-0a1b2c").touch()
    quantize(model, output, sorting_tokens, *options, "--keep-work")
    assert mode != "sequential" or not list(work.glob("activations*"))
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert output.read_bytes() == (tmp_path / "whole.ganq").read_bytes()


def test_a_calibration_file_replaces_tokens(tmp_path, sorting_tokens):
    from safetensors.numpy import load_file, save_file

    model, output = data_file("models/nanosort_gpt2.opset17.onnx"), tmp_path / "m.ganq"
    quantize(model, output, sorting_tokens, "--bits=3", "--calibration-mode=one-shot", "--keep-work")
    statistics = tmp_path / "m.ganq.work" / "calibration.safetensors"
    again = tmp_path / "again.ganq"
    quantize(model, again, statistics, "--bits=3")
    assert again.read_bytes() == output.read_bytes()

    header = json.loads(statistics.read_bytes()[8:].split(b"}}")[0] + b"}}")
    metadata, tensors = header["__metadata__"], load_file(statistics)
    key = "layers.0.self_attn.q_proj.weight"
    gram, rows = tensors[f"{key}.gram"], tensors[f"{key}.sample"]
    assert rows.shape == (512, 48) and gram.shape == (48, 48)
    assert np.allclose(np.diag(gram), (rows**2).mean(0), rtol=0.2)

    def fails(change, message, model=model):
        changed, about = dict(tensors), dict(metadata)
        change(changed, about)
        save_file(changed, tmp_path / "changed.safetensors", about)
        result = quantize(model, tmp_path / "no.ganq", tmp_path / "changed.safetensors", check=False)
        assert result.returncode == 1 and message in result.stderr, result.stderr
        assert not (tmp_path / "no.ganq").exists()

    fails(lambda t, m: m.pop("ganq.calibration"), "expected a calibration file")
    fails(lambda t, m: m.update({"ganq.model": "0" * 64}), f"with SHA-256 {metadata['ganq.model']}, but it is one of 000")
    fails(lambda t, m: t.pop(f"{key}.gram") is t.pop(f"{key}.sample"), f"statistics of the weight '{key}'")
    fails(lambda t, m: t.update({f"{key}.gram": gram[:40, :40].copy()}), "to be F64 [48, 48], but got F64 [40, 40]")
    fails(lambda t, m: t.pop(f"{key}.gram"), f"statistics of the weight '{key}' ('{key}.gram')")
    changed = {name: value for name, value in tensors.items() if not name.startswith(key)}
    save_file(changed, tmp_path / "changed.safetensors", metadata)
    quantize(model, tmp_path / "rtn.ganq", tmp_path / "changed.safetensors", "--solver=kmeans")
    skewed = gram.copy()
    skewed[3, 1] *= 1.01
    fails(lambda t, m: t.update({f"{key}.gram": skewed}), f"'{key}.gram' to be symmetric, but got")
    skewed[3, 1] = gram[1, 3] * (1 + 1e-9)
    save_file(tensors | {f"{key}.gram": skewed}, tmp_path / "changed.safetensors", metadata)
    quantize(model, tmp_path / "rounded.ganq", tmp_path / "changed.safetensors")
    # All tensors are checked before the first weight is solved.
    last = max(name for name in tensors if name.endswith("fc1.weight.gram"))
    save_file(tensors | {last: gram[:1].copy()}, tmp_path / "changed.safetensors", metadata)
    result = quantize(model, tmp_path / "no.ganq", tmp_path / "changed.safetensors", "--keep-work", check=False)
    assert f"'{last}' to be F64" in result.stderr and not list(tmp_path.glob("no.ganq.work/weight*"))
    fails(lambda t, m: t.update({f"{key}.sample": rows * np.nan}), f"expected finite values in tensor '{key}.sample'")
    fails(lambda t, m: m.update({"ganq.same_input": "[1]"}), "a JSON object of strings")


def test_fp16_models(tmp_path):
    """Both modes see the same inputs in f32; nothing before the first layer is quantized."""
    model = data_file("onnx_import/genai_tiny_random_llama_fp16/model.onnx")
    np.save(tmp_path / "ids.npy", np.random.default_rng(0).integers(0, 100, (8, 24)).astype(np.int32))
    errors = []
    for mode in MODES:
        options = ["--bits=3", f"--calibration-mode={mode}", "--json"]
        result = quantize(model, tmp_path / "m.ganq", tmp_path / "ids.npy", *options)
        errors.append([weight["relative_error"] for weight in json.loads(result.stdout)["weights"][:3]])
    assert errors[0] == pytest.approx(errors[1], rel=0.1) and 0 < min(errors[0]) < 0.2


@pytest.mark.parametrize("mode", MODES)
def test_activations_that_are_not_finite(mode, tmp_path, sorting_tokens):
    def explode(arrays):
        for name in arrays:
            if name == "layers.1.self_attn.o_proj.bias":
                arrays[name][:] = np.inf

    model = edited(data_file("models/nanosort_gpt2.opset17.onnx"), tmp_path / "m.onnx", explode)
    options = [f"--calibration-mode={mode}"]
    result = quantize(model, tmp_path / "m.ganq", sorting_tokens, *options, check=False)
    assert result.returncode == 1
    assert "input of weight 'layers.1.mlp.fc1.weight': expected finite" in result.stderr, result.stderr


def test_too_few_tokens_are_reported(tmp_path, sorting_tokens):
    np.save(tmp_path / "few.npy", np.load(sorting_tokens)[:2])
    model = data_file("models/nanosort_gpt2.opset17.onnx")
    result = quantize(model, tmp_path / "m.ganq", tmp_path / "few.npy", "--json")
    notes = [weight["note"] for weight in json.loads(result.stdout)["weights"]]
    assert all("22 calibration tokens" in note and "singular Gram matrix" in note for note in notes)


def test_no_room_for_activations(tmp_path):
    model, tokens = data_file("models/stories260k.opset17.onnx"), data_file("models/stories260k.calib.npy")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    result = quantize(model, tmp_path / "m.ganq", tokens, check=False, preexec_fn=limit)
    assert result.returncode == 1
    assert "MiB of activations in" in result.stderr, result.stderr


@pytest.mark.parametrize("option", ["--alpha=1.5", "--alpha=-1", "--calibration-mode=twice"])
def test_bad_options(option, tmp_path, sorting_tokens):
    model = data_file("models/nanosort_gpt2.opset17.onnx")
    result = quantize(model, tmp_path / "m.ganq", sorting_tokens, option, check=False)
    assert result.returncode == 1 and f"expected {option.split('=')[0]} to be" in result.stderr
