"""`--compile-to=PHASE` writes IR that ganq-opt reads back, and says nothing more."""

import pytest
from conftest import DEMO, run_tool

PHASES = {
    "input": "onnx.MatMul",
    "raise": "ganq.attention",
    "assign": "#ganq.lut<bits = 3>",
    "materialize": "ganq.packed_matmul",
    "linalg": "linalg.generic",
    "buffer": "memref<",
    "llvm": "llvm.func @ganq_decode",
}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("suffix", ["mlir", "mlirbc"])
def test_phase_reads_back(tmp_path, phase, suffix):
    written = tmp_path / f"{phase}.{suffix}"
    result = run_tool(
        "ganq-compile",
        DEMO / "model.onnx",
        "-o",
        written,
        f"--compile-to={phase}",
        "--scheme=lut",
        "--bits=3",
    )
    assert "error" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [written.name]
    text = run_tool("ganq-opt", written, "--mlir-elide-elementsattrs-if-larger=8").stdout
    assert PHASES[phase] in text


def test_later_passes_run_on_what_was_written(tmp_path):
    written = tmp_path / "raise.mlir"
    run_tool("ganq-compile", DEMO / "model.onnx", "-o", written, "--compile-to=raise")
    text = run_tool(
        "ganq-opt",
        written,
        "--ganq-assign-schemes=scheme=uniform bits=4",
        "--ganq-materialize-schemes",
        "--convert-onnx-to-linalg",
        "--mlir-elide-elementsattrs-if-larger=8",
    ).stdout
    assert "ganq.packed_matmul" in text and '"onnx.' not in text
