"""The parts of benchmark/cpu, on small models."""

import importlib.machinery
import importlib.util
import os
import sys

import numpy as np
import pytest
from conftest import HOME

CPU = os.path.join(os.path.dirname(__file__), os.pardir, os.pardir, "benchmark", "cpu")
sys.path.insert(0, os.path.abspath(CPU))
import instructions  # noqa: E402
import kernels  # noqa: E402
import onnx_runtime  # noqa: E402
import report  # noqa: E402

SHAPE = {
    "hidden": 256,
    "intermediate": 512,
    "layers": 2,
    "heads": 8,
    "kv_heads": 4,
    "vocabulary": 1000,
    "context": 64,
}


def load_run():
    loader = importlib.machinery.SourceFileLoader("cpu_run", os.path.join(CPU, "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("cpu_run", loader))
    loader.exec_module(module)
    return module


def test_times_products(tmp_path):
    schemes = [each for each in kernels.schemes() if each[0] in ("lut4", "w4a8-g128")]
    listed = [(name, m, 64, 256, text) for name, _, text in schemes for m in (1, 8)]
    # A tile that is asked for.
    tile = f"panels rows={12 if instructions.runs_avx512() else 6} served=256 columns=256"
    listed.append(("lut4", 8, 64, 256, f"{schemes[0][2]}:{tile}"))
    tools = str(HOME / "bin")
    kernels.build(tools, str(tmp_path), "host", listed)
    result = kernels.run(tools, str(tmp_path), "time", 1, 64)
    assert [(each["name"], each["m"]) for each in result["kernels"]] == [(e[0], e[1]) for e in listed]
    for each in result["kernels"]:
        # lut4: a table of 32 bytes per row; w4a8-g128: 2 + 1 + 2 bytes per group.
        assert each["bits_per_weight"] == (5 if each["name"] == "lut4" else 4 + 40 / 128)
        assert 0 < each["bytes_per_second"] < 1e12
        assert 0 < each["predicted_seconds_1"] < 1e-3
    assert result["kernels"][0]["tile"] == "registers rows=1"
    assert result["kernels"][-1]["tile"] == tile
    assert result["read_bytes_per_second"] > 1e8
    counts = kernels.run(tools, str(tmp_path), "step")
    assert all(0.02 < count / (64 * 256) < 20 for count in counts.values())


def test_aims_compare_with_formats_of_as_many_bits():
    ours = {
        "name": "lut3",
        "decode": 30.0,
        "prefill": {"256": 100.0},
        "bits_per_weight": 3.1,
        "weight_bytes": 4e8,
        "file_bytes": 6e8,
        "compile_seconds": 70.0,
    }
    rival = {"prefill": {"256": 50.0}, "file_bytes": 5e8}
    result = {
        "read_bytes_per_second": 2e10,
        "weights": 1e9,
        "ganq": [ours],
        "llama.cpp": [
            {"name": "Q2_K", "decode": 29.0, "bits_per_weight": 2.6, **rival},
            {"name": "Q3_K", "decode": 20.0, "bits_per_weight": 3.4, **rival},
        ],
    }
    rows = {row[0]: row[1:] for row in report.aims(result)}
    assert rows["lut3 decode of bandwidth"] == ("60%", "70%", "NO")
    assert rows["decode, 3 bits: lut3 to llama.cpp Q3_K"] == ("1.50x", "2.00x", "NO")
    assert rows["prefill 256, 3 bits: lut3 to llama.cpp Q3_K"] == ("2.00x", "1.50x", "yes")
    assert rows["compile time of lut3, the slowest"] == ("70 s", "<= 60 s", "NO")
    assert "llama.cpp Q2_K" in report.text(result)


def test_options_of_a_scheme():
    options = load_run().compile_options
    assert options("w3a8-g128") == [
        "--scheme=uniform", "--bits=3", "--quantize-head", "--solver=rtn", "--group=128",
        "--activation-bits=8",
    ]  # fmt: skip
    assert options("lut3a8")[2:] == [
        "--quantize-head", "--solver=kmeans", "--activation-bits=8", "--entry=i8",
    ]  # fmt: skip
    assert options("lut2") == ["--scheme=lut", "--bits=2", "--quantize-head", "--solver=kmeans"]


def test_onnx_runtime_decodes_with_a_cache(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxruntime.quantization.matmul_nbits_quantizer")
    base, path = str(tmp_path / "m.onnx"), str(tmp_path / "m4.onnx")
    bits = onnx_runtime.make_model(base, SHAPE, 32)
    assert bits == 5  # codes, and an f32 per block
    onnx_runtime.set_accuracy_level(base, path, 4)
    speeds = onnx_runtime.bench(path, 1, 2, [8])
    assert speeds["decode"] > 0 and speeds["prefill"]["8"] > 0

    # A prompt at once and token by token.
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    empty = {
        each.name: np.zeros((1, each.shape[1], 0, each.shape[3]), np.float32)
        for each in session.get_inputs()
        if each.name != "input_ids"
    }
    ids = np.arange(6, dtype=np.int64)[None]
    whole = session.run(["logits"], {"input_ids": ids, **empty})[0][0, -1]
    past = empty
    for i in range(6):
        outputs = dict(zip(names, session.run(names, {"input_ids": ids[:, i : i + 1], **past})))
        past = {n.replace("present", "past"): v for n, v in outputs.items() if n != "logits"}
    single = outputs["logits"][0, -1]
    # Level 4 rounds activations to 8 bits, by blocks.
    assert np.abs(single - whole).max() < 0.1 * np.abs(whole).max()
