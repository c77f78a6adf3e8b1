"""Caches of keys and values in other precisions than the model's."""

import json

import numpy as np
import pytest

from conftest import DEMO, data_file, perplexity, run_tool
from test_generate import generate

MODELS = ("stories260k", "slm4096_gpt2")


def caches(model):
    manifest = json.loads(run_tool("ganq-run", model, "--inspect", "--json").stdout)["manifest"]
    return {(cache["dtype"], *cache["shape"]) for cache in manifest["state"]["caches"]}


@pytest.mark.parametrize("name", MODELS)
def test_precision(name, compiled, tmp_path):
    model, tokens = data_file(f"models/{name}.opset17.onnx"), data_file(f"models/{name}.eval.npy")
    np.save(tmp_path / "rows.npy", np.load(tokens)[:12])
    usual, half, byte = (
        compiled(model, "--scheme=none", f"--kv-cache={kind}") for kind in ("model", "f16", "i8")
    )
    ((dtype, *shape),) = caches(usual)
    assert dtype == "F32"
    assert caches(half) == {("F16", *shape)}
    # The scale of a row lies behind its codes.
    assert caches(byte) == {("I8", *shape[:3], shape[3] + 4)}

    want = perplexity(usual, tmp_path / "rows.npy")
    assert perplexity(half, tmp_path / "rows.npy") == pytest.approx(want, rel=1e-4)
    assert perplexity(byte, tmp_path / "rows.npy") == pytest.approx(want, rel=1e-2)
    prompt = np.load(tokens)[1, :37].tolist()
    assert generate(half, prompt, 60, tmp_path) == generate(usual, prompt, 60, tmp_path)


def test_every_chunking_gives_the_same_tokens(compiled, tmp_path):
    """A prompt by chunks of 64 tokens, of 5, and one by one."""
    prompt = list(range(1, 72))
    runs = [
        generate(compiled(DEMO / "model.onnx", "--scheme=none", "--kv-cache=i8", *chunk), prompt, 20, tmp_path)
        for chunk in ((), ("--prefill-chunk=5",), ("--prefill-chunk=1",))
    ]
    assert runs[0] == runs[1] == runs[2]


def test_unknown_kind(tmp_path):
    result = run_tool("ganq-compile", DEMO / "model.onnx", "-o", tmp_path / "m.ganq", "--kv-cache=i4", check=False)
    assert result.returncode == 1
    assert "expected --kv-cache to be model, f32, f16 or i8, but got `i4`" in result.stderr


def test_calibration_sees_what_is_not_rounded(compiled, tmp_path):
    """Stages have no caches; all else is as without --kv-cache."""
    model = data_file("models/stories260k.opset17.onnx")
    for kind, rows in (("calib", 24), ("eval", 12)):
        np.save(tmp_path / f"{kind}.npy", np.load(data_file(f"models/stories260k.{kind}.npy"))[:rows])
    options = ("--scheme=lut", "--bits=4", "--solver=kmeans", f"--calibration={tmp_path / 'calib.npy'}")
    errors = []
    for kind in ("model", "i8"):
        quantized = compiled(model, *options, f"--kv-cache={kind}")
        errors.append(perplexity(quantized, tmp_path / "eval.npy"))
    assert errors[1] == pytest.approx(errors[0], rel=1e-2)
