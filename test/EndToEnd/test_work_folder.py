"""What a work folder holds is checked before it is used again."""

import json

import numpy as np
import pytest
from conftest import data_file, run_tool

SORTING = "models/nanosort_gpt2.opset17.onnx"
SORTING_STEPS = "models/nanosort_gpt2.opset17.past.onnx"


@pytest.fixture
def sorting_rows(tmp_path):
    rows = np.random.default_rng(3).integers(0, 3, (24, 11)).astype(np.uint16)
    np.save(tmp_path / "rows.npy", rows)
    return tmp_path / "rows.npy"


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 16
    path.write_bytes(data)


def test_damaged_files_are_made_again(tmp_path, sorting_rows):
    output, work = tmp_path / "m.ganq", tmp_path / "m.ganq.work"
    command = ["ganq-compile", data_file(SORTING), "-o", output, "--scheme=uniform", "--keep-work"]
    command += [f"--calibration={sorting_rows}", "--calibration-mode=one-shot", "--verbose"]
    run_tool(*command)
    whole = output.read_bytes()
    # A byte of the codes, of the statistics, and of what a file says of itself.
    flip(work / "weight0.safetensors", -1)
    flip(work / "calibration.safetensors", -1)
    text = (work / "weight1.safetensors").read_bytes()
    flip(work / "weight1.safetensors", text.index(b'"error":"') + 9)
    times = {path: path.stat().st_mtime_ns for path in work.glob("*.safetensors")}
    result = run_tool(*command)
    assert output.read_bytes() == whole
    assert result.stderr.count("is damaged: solving the weight again") == 2
    changed = {path.name for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert changed == {"weight0.safetensors", "weight1.safetensors", "calibration.safetensors"}


def test_trials_of_a_budget_are_kept(tmp_path, sorting_rows):
    command = ["ganq-compile", data_file(SORTING_STEPS), "-o", tmp_path / "m.ganq", "--keep-work", "--verbose", "--json"]
    command += ["--budget=4.5", f"--calibration={sorting_rows}", "--calibration-mode=one-shot"]
    command += ["--candidates=uniform<bits = 2>;uniform<bits = 4>"]
    first = run_tool(*command)
    assert "18 trials on" in first.stderr
    trials = tmp_path / "m.ganq.work" / "trials"
    flip(trials, 36)
    # A run that was stopped within a line.
    with open(trials, "ab") as file:
        file.write(trials.read_bytes()[1:60])
    second = run_tool(*command)
    assert "17 trials of an earlier run" in second.stderr and "1 trials on" in second.stderr
    assert json.loads(first.stdout)["budget"] == json.loads(second.stdout)["budget"]
