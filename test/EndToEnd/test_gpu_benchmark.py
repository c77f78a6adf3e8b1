"""benchmark/gpu up to the launch: packing, launches in the emulator, references, tables."""

import importlib.machinery
import importlib.util
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import HOME, ROOT

GPU = ROOT / "benchmark" / "gpu"
KERNELS = (
    r"^(lut3/gem[vm]-(1|16)|uniform4-g128/gemm-16|pot3-g128/gemv-1|"
    r"w4a4/(dp4a-1|btc-16)|quantize8/bytes)$"
)
MODULES = ("baselines", "driver", "models", "problems", "report")


def load(path):
    loader = importlib.machinery.SourceFileLoader("gpu_" + os.path.basename(path), str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu") / "kernels"
    tool = [sys.executable, GPU / "package", folder, "--home", HOME]
    if not (HOME / "bin" / "gpu-build").is_file():
        pytest.skip("gpu-build is not built")
    subprocess.run([*tool, "--chips", "emulator", "--only", KERNELS, "--models"], check=True)
    return folder


@pytest.fixture
def program(package, monkeypatch):
    """The program of the package; its modules have names that benchmark/cpu uses too."""
    saved = {name: sys.modules.pop(name, None) for name in MODULES}
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield load(package / "run")
    for name in MODULES:
        sys.modules.pop(name, None)
        if saved[name]:
            sys.modules[name] = saved[name]


def test_checks_in_the_emulator_and_prints_times(package, program, capsys, tmp_path):
    times = iter(range(1, 1000))
    status = program.main(
        [
            "--package", str(package), "--emulator", str(HOME / "lib" / "libganq_emulator.so"),
            "--rows", "1,16", "--decode", "96x300", "--prefill", "96x300",
            "--copy-bytes", "65536", "--json", str(tmp_path / "result.json"),
        ],
        timer=lambda launches: next(times) * 1e-6,
        measures={
            "cublas": lambda m, n, k, cache: 6e-6,
            "cublas_int8": lambda m, n, k, cache: 12e-6,
        },
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert status == 0, printed
    result = json.loads((tmp_path / "result.json").read_text())
    # Three shapes of each product, and one that makes codes.
    assert result["checked"] == 3 * 6 + 1
    assert [(each["name"], each["m"]) for each in result["products"]] == [
        ("lut3/gemv-1", 1), ("pot3-g128/gemv-1", 1), ("w4a4/dp4a-1", 1), ("w4a4/btc-16", 1),
        ("lut3/gemm-16", 16), ("uniform4-g128/gemm-16", 16), ("w4a4/btc-16", 16),
    ]  # fmt: skip
    # 96 rows, three granules of 128 columns at 3 bits, and 8 entries a row.
    lut = result["products"][0]
    assert lut["bytes"] == 96 * (3 * 48 + 16) and lut["seconds"] == 1e-6
    fraction = f"{lut['bytes'] / 1e-6 / result['copy']:.0%}"
    assert re.search(rf"lut3/gemv-1 +4\.27 +1\.0 +{fraction} +6\.00 +not measured", printed)
    # 2 x 16 x 96 x 300 operations in 6 us.
    assert re.search(r"uniform4-g128/gemm-16 +6\.0 +0\.2 +1\.00 +2\.00 +not measured", printed)
    assert "96 x 300" in printed and "decode of 4 bits >= 3x cuBLAS f16" in printed


def test_reports_wrong_results(package, program, capsys, tmp_path):
    description = json.loads((package / "kernels.json").read_text())
    places = next(e for e in description["kernels"] if e["name"] == "lut3/gemv-1")["layout"]["places"]
    places[0], places[5] = places[5], places[0]
    (tmp_path / "kernels.json").write_text(json.dumps(description))
    (tmp_path / "emulator.so").symlink_to(package / "emulator.so")
    emulator = ["--emulator", str(HOME / "lib" / "libganq_emulator.so")]
    arguments = ["--package", str(tmp_path), *emulator, "--check-only", "--only", "lut3/gemv"]
    assert program.main(arguments) == 1
    assert re.search(r"WRONG: lut3/gemv-1 \(1, 64, 64\): \d+ of 64 results differ", capsys.readouterr().out)


def test_says_where_there_is_no_gpu(package, program, capsys, monkeypatch):
    def nothing(emulator):
        raise program.NoDevice("the driver has no device")

    monkeypatch.setattr(program, "Device", nothing)
    assert program.main(["--package", str(package)]) == 2
    with pytest.raises(SystemExit):
        program.main(["--package", str(package), "--allow-no-gpu", "--json", str(package / "none" / "f.json")])
    assert "expected --json to be a file that can be written" in capsys.readouterr().err
    assert program.main(["--package", str(package), "--allow-no-gpu"]) == 0
    printed = capsys.readouterr().out
    assert "No GPU: the driver has no device. Nothing is measured." in printed
    assert re.search(r"Copy bandwidth: not measured", printed)
    assert "8192 x 28672" in printed and "2048 x 11008 x 4096" in printed
    assert not re.search(r"reached|MISSED", printed)


def test_asks_the_driver_for_what_the_runtime_does(program):
    driver = sys.modules["driver"]
    header = (ROOT / "runtime" / "include" / "ganq" / "driver_abi.h").read_text()
    required = header.split("GANQ_DRIVER_OPTIONAL_FUNCTIONS")[0]
    listed = [tuple(line.split()[:2]) for line in driver.FUNCTIONS.split("\n") if line]
    assert listed == driver.header_fields(required)
    version = re.search(r"GANQ_DRIVER_ABI_VERSION (\d+)u", header).group(1)
    assert driver.ABI == int(version)


def test_all_kernels_have_names_of_their_own():
    listed = [each.split(":")[0] for each in load(GPU / "package").kernels()]
    assert len(listed) == len(set(listed)) > 80


STUB = """#!{python}
import json, sys
if "-o" in sys.argv:
    open(sys.argv[sys.argv.index("-o") + 1], "w").write(" ".join(sys.argv[1:]))
elif any(each.startswith("--generate") for each in sys.argv) and "--benchmark" not in sys.argv:
    made = open(sys.argv[1]).read()
    print(json.dumps({{"tokens": [5, 6, 7] if "=lut" in made or "--target" not in made else {other}}}))
else:
    print(json.dumps({{"decode_tokens_per_second": 123.0, "prefill_tokens_per_second": 4567.0,
                      "bandwidth_fraction": 0.5}}))
"""


@pytest.mark.parametrize("other, status", [([5, 9, 7], 0), ([9, 6, 7], 1)])
def test_compares_tokens_of_models(package, program, other, status, tmp_path, capsys):
    """With stand-ins for the tools: packing, the comparison and the table."""
    folder, tools = tmp_path / "kernels", tmp_path / "home" / "bin"
    tools.mkdir(parents=True)
    for name in ("ganq-compile", "ganq-run"):
        (tools / name).write_text(STUB.format(python=sys.executable, other=other))
        (tools / name).chmod(0o755)
    headers = tmp_path / "system" / "nlohmann"
    headers.mkdir(parents=True)
    (headers / "json.hpp").touch()
    (tmp_path / "home" / "CMakeCache.txt").write_text(f"GANQ_NLOHMANN_JSON:PATH={headers.parent}\n")
    models = sys.modules["models"]
    models.pack(str(folder), str(tools), ["tiny.onnx"], "sm_80,sm_90a", str(ROOT))
    assert "--target=cuda --chips=sm_80,sm_90a" in (folder / "models" / "tiny-lut4.ganq").read_text()
    assert (folder / "runtime" / "CMakeLists.txt").is_file()
    assert (folder / "include" / "nlohmann" / "json.hpp").is_file()
    for name in ("kernels.json", "emulator.so"):
        (folder / name).symlink_to(package / name)
    emulator = ["--emulator", str(HOME / "lib" / "libganq_emulator.so"), "--check-only", "--only=quantize"]
    arguments = ["--package", str(folder), *emulator, "--ganq-run", str(tools / "ganq-run")]
    assert program.main(arguments) == status
    printed = capsys.readouterr().out
    assert re.search(r"tiny-lut4 +3 of 3 +123 +50\.0% +4567", printed)
    assert re.search(rf"tiny-pot3 +{1 - status} of 3", printed)
    assert ("WRONG: tiny-pot3: the first token" in printed) == bool(status)


TRITON = """
import sys
sys.path.insert(0, sys.argv[1])
import baselines
if baselines.torch is None or baselines.triton is None:
    sys.exit(77)
torch = baselines.torch
for m in (1, 20):
    weight = baselines.TritonInt4(40, 256, "cpu")
    x, out = torch.randn(m, 256).half(), torch.empty(m, 40).half()
    weight.multiply(x, out)
    wanted = x.float() @ weight.dequantize().float().t()
    assert (out.float() - wanted).abs().max() < 1e-2, m
"""


def test_triton_kernel_multiplies():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    if os.path.isdir("/usr/local/cuda/lib64"):
        environment["LD_LIBRARY_PATH"] = "/usr/local/cuda/lib64"
    result = subprocess.run(
        [sys.executable, "-c", TRITON, str(GPU)], env=environment, capture_output=True, text=True
    )
    if result.returncode == 77:
        pytest.skip("PyTorch or Triton is missing")
    assert result.returncode == 0, result.stderr[-2000:]


def test_unpacks_what_the_layout_says(program):
    """Two bits of one slot, each in a word of its own."""
    problems = sys.modules["problems"]
    kernel = {
        "family": "lut", "bits": 2,
        "layout": {
            "units": 2, "columns": [[c % 8 // 2, c // 8 * 2 + c % 2] for c in range(128)],
            "places": [[[0, index], [1, index]] for index in range(32)],
        },
    }  # fmt: skip
    weight = problems.Weight(kernel, 40, 200, np.random.default_rng(0))
    assert weight.operands["codes"].size == 2 * 2 * 64 * 16
    words = weight.operands["codes"].view(np.uint32).reshape(2, 2, 64, 4)
    # Column 130 + 8: granule 1, slot 1, number 2 in there, so words 2 and 3.
    row = words[1, :, 33].reshape(-1)
    assert weight.codes([33])[0, 138] == (row[2] >> 2 & 1) + 2 * (row[3] >> 2 & 1)
