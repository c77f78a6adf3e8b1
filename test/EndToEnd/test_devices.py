"""Models for GPUs: in the emulator against the CPU, and as machine code."""

import json
import os
import re
import shutil
import struct

import numpy as np
import pytest
from conftest import DEMO, data_file, run_tool
from test_block_quantized import to_nbits
from test_generate import generate

onnx = pytest.importorskip("onnx")

CHIPS = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_90a", "sm_100", "sm_120"]
ROUNDED = ("--scheme=uniform", "--solver=rtn", "--activation-bits=8")
CASES = [
    ("demo", ("--scheme=lut", "--solver=kmeans")),
    ("stories260k", ROUNDED),
    ("slm4096_gpt2", ("--scheme=uniform", "--solver=rtn", "--group=32", "--kv-cache=f16")),
    ("slm4096_gpt2", ("--scheme=pot", "--bits=3", "--solver=rtn")),
    ("slm4096_gpt2", (*ROUNDED, "--bits=2", "--strategy=btc")),
    ("slm4096_gpt2", ("--scheme=uniform<bits = 4, activation = 8, smooth = true, shift = true>", "--solver=rtn")),
]


def path(name):
    return DEMO / "model.onnx" if name == "demo" else data_file(f"models/{name}.opset17.onnx")


@pytest.fixture
def ptxas():
    """Skips the test where no CUDA toolkit is found."""
    folders = [os.environ.get(name, "") for name in ("CUDA_ROOT", "CUDA_HOME", "CUDA_PATH")]
    places = [os.path.join(folder, "bin") for folder in (*folders, "/usr/local/cuda") if folder]
    if not shutil.which("ptxas", path=os.pathsep.join([os.environ["PATH"], *places])):
        pytest.skip("there is no ptxas")


def manifest(model):
    return json.loads(run_tool("ganq-run", model, "--inspect", "--json").stdout)["manifest"]


def tensors(model):
    return pytest.importorskip("safetensors.numpy").load_file(model)


@pytest.mark.parametrize("name, options", CASES)
def test_the_emulator_decodes_what_the_cpu_does(name, options, compiled, tmp_path):
    """A prompt of a whole chunk and a part, and 32 tokens more."""
    cpu = compiled(path(name), "--prefill-chunk=1", *(option for option in options if "strategy" not in option))
    device = compiled(path(name), "--prefill-chunk=12", *options, "--target=emulator")
    prompt = [(37 * i + 11) % 54 for i in range(19)]
    assert generate(device, prompt, 32, tmp_path) == generate(cpu, prompt, 32, tmp_path)


def test_weights_that_a_model_brings_quantized(tmp_path):
    """Scales of f32 become f16."""
    model = onnx.load(path("demo"))
    to_nbits(model, 32)
    onnx.save(model, tmp_path / "m.onnx")
    tokens = []
    for options in ["--prefill-chunk=1"], ["--prefill-chunk=12", "--target=emulator"]:
        run_tool("ganq-compile", tmp_path / "m.onnx", "-o", tmp_path / "m.ganq", *options)
        tokens.append(generate(tmp_path / "m.ganq", range(5, 20), 16, tmp_path))
    assert products(tmp_path / "m.ganq") >= {"gemv_uniform4g32_f16_m1_f32", "gemm_uniform4g32_f16_m16_f32"}
    assert tokens[0] == tokens[1]


def kernels(model):
    return {launch["kernel"] for entry in manifest(model)["entries"].values() for launch in entry["launches"]}


def products(model):
    """Kernels of quantized products, of one or of several weights in a launch."""
    return {re.sub(r"_x\d$", "", name) for name in kernels(model) if name.startswith(("gemv", "gemm"))}


def test_strategies(compiled):
    """Few rows of x and many have kernels that read one copy of the weight."""
    floats = compiled(path("demo"), "--prefill-chunk=12", *CASES[0][1], "--target=emulator")
    assert products(floats) == {"gemv_lut4_f16_m1_f32", "gemm_lut4_f16_m16_f32"}
    codes = {name for name in tensors(floats) if name.endswith("codes")}
    assert codes and all(name.endswith(".gpu_codes") for name in codes)
    two = ("--prefill-chunk=12", *ROUNDED, "--bits=2", "--target=emulator")
    dots = products(compiled(path("demo"), *two))
    assert dots == {"gemv_uniform2a8_dp4a_f16_m1_f32", "gemm_uniform2a8_int8_f16_m16_f32"}
    planes = products(compiled(path("demo"), *two, "--strategy=btc"))
    assert planes == {"gemm_uniform2a8_btc_f16_m16_f32"}


def test_manifest_counts_what_is_stored(compiled):
    device = compiled(path("demo"), "--prefill-chunk=12", *CASES[0][1], "--target=emulator")
    described, stored = manifest(device), tensors(device)
    assert described["target"]["arch"] == "emulator" and "avx2" in described["target"]["features"]
    for step, last in ("prefill", ["logits"]), ("prompt", ["best"]), ("decode", ["best"]):
        assert described["entries"][step]["launches"][-1]["args"][-1] == last, step
    bits = elements = 0
    for weight in described["weights"]:
        size = sum(stored[name].nbytes for name in weight["tensors"])
        assert weight["bytes"] == size
        if weight["scheme"] != "none":
            bits += 8 * size
            elements += np.prod(weight["shape"])
    assert described["bits_per_weight"] == pytest.approx(bits / elements)


def test_machine_code_for_all_chips(compiled, ptxas):
    options = ("--prefill-chunk=12", *CASES[0][1], "--target=cuda")
    model = compiled(path("demo"), *options)
    code, target = bytes(tensors(model)["__code__"]), manifest(model)["target"]
    assert [chip["chip"] for chip in target["chips"]] == CHIPS
    for chip in target["chips"]:
        cubin = code[chip["offset"] : chip["offset"] + chip["bytes"]]
        assert cubin[:4] == b"\x7fELF"
        assert struct.unpack_from("<H", cubin, 18)[0] == 190
        # ptxas replaces what a chip does not have by calls of such routines.
        assert b"__cuda_sm_" not in cubin
        assert all(b".text." + name.encode() + b"\0" in cubin for name in kernels(model))


def test_the_same_kernels_each_time(compiled, tmp_path):
    """And a summary of what is stored: zero points and sums have other types than on CPUs."""
    options, output = ("--prefill-chunk=12", *ROUNDED, "--bits=2", "--target=emulator"), tmp_path / "again.ganq"
    summary = json.loads(run_tool("ganq-compile", path("demo"), "-o", output, *options, "--json").stdout)
    assert output.read_bytes() == compiled(path("demo"), *options).read_bytes()
    described = manifest(output)
    assert summary["bits_per_weight"] == described["bits_per_weight"]
    sizes = {weight["name"]: weight["bytes"] for weight in described["weights"]}
    assert all(weight["bytes"] == sizes[weight["name"]] for weight in summary["weights"])


def test_the_same_machine_code_each_time(compiled, ptxas, tmp_path):
    options = ("--prefill-chunk=1", *CASES[0][1], "--target=cuda", "--chips=sm_90a")
    run_tool("ganq-compile", path("demo"), "-o", tmp_path / "again.ganq", *options)
    assert (tmp_path / "again.ganq").read_bytes() == compiled(path("demo"), *options).read_bytes()


def test_phases(tmp_path):
    output = tmp_path / "m.mlir"
    run_tool("ganq-compile", path("demo"), "-o", output, *CASES[0][1], "--target=cuda", "--compile-to=llvm")
    text = output.read_text()
    assert "gpu.launch_func" in text and "nvvm.kernel" in text
    assert "ganq.packed_matmul" not in text and "@main" not in text


def layer(path):
    helper = onnx.helper
    weight = np.random.default_rng(3).normal(size=(64, 32)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "layer",
        [helper.make_tensor_value_info("x", 1, ["rows", 64])],
        [helper.make_tensor_value_info("y", 1, ["rows", 32])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def refuse(tmp_path, model, *options, **environment):
    """The message of a run that ends before work begins."""
    output = tmp_path / "m.ganq"
    result = run_tool("ganq-compile", model, "-o", output, *options, check=False, **environment)
    assert result.returncode == 1
    assert not output.exists() and not (tmp_path / "m.ganq.work").exists()
    return result.stderr


@pytest.mark.parametrize(
    "options, message",
    [
        (["--target=cuda", "--chips=sm_75"], "--chips: expected the chip to be one of sm_80,"),
        (["--target=cuda", "--chips=sm_80,"], "--chips: expected the chip to be one of sm_80,"),
        (["--target=cuda", "--chips=sm_80,sm_80"], "expected --chips to name each chip once"),
        (["--chips=sm_80"], "expected --chips with --target=cuda or --target=emulator only"),
        (["--target=cuda", "--strategy=btc"], "--strategy: expected a chip with instructions for strategy `btc`"),
        (["--strategy=mma"], "expected --strategy to be auto, int8 or btc, but got `mma`"),
        (["--target=emulator", "--kv-cache=i8"], "expected --kv-cache to be model, f32 or f16"),
        (["--target=emulator", "--strategy=int8", "--scheme=nf"], "--strategy has no effect without --activation-bits"),
        (["--target=emulator", "--scheme=nf"], "weight 'layers.0.attention.q_proj.weight': expected a scheme"),
        (
            ["--target=emulator", "--scheme=lut", "--group=32"],
            "weight 'layers.0.attention.q_proj.weight': expected one table per row for the GPU kernels",
        ),
        (["--target=emulator", "--scheme=lut", "--outliers=0.005"], "leave out outliers"),
    ],
)
def test_what_devices_cannot_do_is_said_at_once(options, message, tmp_path):
    assert message in refuse(tmp_path, path("demo"), *options)


def test_evaluation_is_for_cpus(demo_tokens, tmp_path):
    options = ("--target=emulator", f"--evaluate={demo_tokens[1]}")
    assert "expected --evaluate with --target=cpu" in refuse(tmp_path, path("demo"), *options)


def test_candidates_of_a_budget_have_kernels(demo_tokens, tmp_path):
    options = (f"--calibration={demo_tokens[0]}", "--budget=4", "--candidates=lut<bits = 3>;nf<bits = 4, group = 64>")
    message = refuse(tmp_path, path("demo"), "--target=emulator", *options)
    assert "--candidates: expected a scheme of the kind lut, uniform or pot" in message


def test_model_without_steps(tmp_path):
    model = layer(tmp_path / "layer.onnx")
    message = refuse(tmp_path, model, "--target=emulator")
    assert "expected a language model with a cache for --target=emulator" in message
    assert "no step functions: " in message


def test_an_assembler_that_fails_is_found_first(tmp_path):
    assembler = tmp_path / "bin" / "ptxas"
    assembler.parent.mkdir()
    assembler.write_text("#!/bin/sh\necho unknown option >&2\nexit 1\n")
    assembler.chmod(0o755)
    environment = {**os.environ, "PATH": f"{assembler.parent}:{os.environ['PATH']}"}
    message = refuse(tmp_path, path("demo"), *CASES[0][1], "--target=cuda", env=environment)
    assert "cannot assemble kernels for sm_80" in message and "unknown option" in message
