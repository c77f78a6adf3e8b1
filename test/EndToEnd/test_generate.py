"""Greedy decoding with the cache against recomputing the whole sequence."""

import json

import numpy as np
import pytest

from conftest import DEMO, data_file, run_tool

SCHEMES = {
    "none": ("--scheme=none",),
    "lut": ("--scheme=lut", "--bits=4"),
    "uniform": ("--scheme=uniform", "--bits=4"),
    "none-v3": ("--scheme=none", "--cpu=x86-64-v3"),
    "lut-v3": ("--scheme=lut", "--bits=4", "--cpu=x86-64-v3"),
}
MODELS = ("stories260k", "slm4096_gpt2", "demo")
CASES = [(name, scheme) for name in MODELS for scheme in SCHEMES if name == "demo" or "v3" not in scheme]


def recompute(model, prompt, count, directory):
    """Greedy ids by one run of the whole graph for each token."""
    ids = list(prompt)
    for _ in range(count):
        np.save(directory / "ids.npy", np.array([ids], dtype=np.int64))
        run_tool(
            "ganq-run", model, f"--inputs=input_ids={directory / 'ids.npy'}", f"--outputs={directory / 'out'}"
        )
        ids.append(int(np.load(directory / "out" / "logits.npy")[0, -1].argmax()))
    return ids[len(prompt) :]


def generate(model, prompt, count, directory, *options):
    np.save(directory / "prompt.npy", np.array(prompt, dtype=np.int64))
    result = run_tool(
        "ganq-run", model, f"--generate={count}", f"--tokens={directory / 'prompt.npy'}", "--json", *options
    )
    return json.loads(result.stdout)["tokens"]


@pytest.mark.parametrize("name,scheme", CASES)
def test_cache_equals_recomputation(name, scheme, compiled, demo_tokens, tmp_path):
    if name == "demo":
        model, calibration = DEMO / "model.onnx", demo_tokens[0]
    else:
        model, calibration = data_file(f"models/{name}.opset17.onnx"), data_file(f"models/{name}.calib.npy")
    options = SCHEMES[scheme] + ((f"--calibration={calibration}",) if scheme.startswith("lut") else ())
    ganq = compiled(model, *options)
    tokens = np.load(calibration)
    # One token alone, shorter than a prefill call of 64 tokens, just one, and more.
    for length in (1, 5, 63, 64, 65, 101):
        prompt = tokens[3, :length].tolist()
        assert len(prompt) == length
        assert generate(ganq, prompt, 20, tmp_path) == recompute(ganq, prompt, 20, tmp_path)


def test_draws_depend_on_the_seed_only(compiled, tmp_path):
    model = compiled(DEMO / "model.onnx", "--scheme=none")
    draw = lambda seed: generate(model, [0], 30, tmp_path, "--temperature=1", f"--seed={seed}")
    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_two_cpu_levels_agree(compiled, tmp_path):
    model = DEMO / "model.onnx"
    np.save(tmp_path / "ids.npy", np.arange(40, dtype=np.int64)[None])
    logits = []
    for cpu in ("host", "x86-64-v3"):
        ganq = compiled(model, "--scheme=none", f"--cpu={cpu}")
        run_tool("ganq-run", ganq, f"--inputs={tmp_path / 'ids.npy'}", f"--outputs={tmp_path / cpu}")
        logits.append(np.load(tmp_path / cpu / "logits.npy"))
    assert np.abs(logits[0] - logits[1]).max() < 1e-3
