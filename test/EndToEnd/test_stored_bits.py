"""Bits per weight are those of the file's own bytes, whatever a scheme stores."""

import json

import pytest
from conftest import run_tool
from test_integer_products import layer


def stored(path):
    """Bytes of each tensor, from the header of the safetensors file."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    metadata = header.pop("__metadata__")
    sizes = {name: entry["data_offsets"][1] - entry["data_offsets"][0] for name, entry in header.items()}
    return sizes, json.loads(metadata["ganq.manifest"])


@pytest.mark.parametrize(
    "scheme, parts",
    [
        ("lut<bits = 3, entry = i8, outliers = 50, full_rows = 2>", 6),
        ("lut<bits = 3, group = 64, rows = 8, entry = f8E4M3FN>", 3),
        ("uniform<bits = 4, group = 64, activation = 8, smooth = true, shift = true>", 7),
        ("uniform<bits = 4, smooth = true>", 4),
        ("pot<bits = 3, group = 32>", 2),
        ("nf<bits = 4, group = 64>", 2),
    ],
)
def test_bits_are_those_of_the_file(scheme, parts, tmp_path):
    output = tmp_path / "m.ganq"
    run_tool("ganq-compile", layer(tmp_path / "m.onnx"), "-o", output, f"--scheme={scheme}", "--quantize-head")
    sizes, manifest = stored(output)
    weights = [w for w in manifest["weights"] if w["scheme"] != "none"]
    assert weights
    for weight in weights:
        own = {name: size for name, size in sizes.items() if name.startswith(weight["name"] + ".")}
        assert len(own) == parts and set(weight["tensors"]) == set(own)
        assert weight["bytes"] == sum(own.values())
    elements = sum(w["shape"][0] * w["shape"][1] for w in weights)
    assert manifest["bits_per_weight"] == pytest.approx(8 * sum(w["bytes"] for w in weights) / elements)
