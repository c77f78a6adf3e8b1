"""Finding and running the programs, with programs made up for the test."""

import os
import stat

import numpy as np
import pytest

import ganq
from ganq import _tools
from ganq.__main__ import main


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A GANQ_HOME whose ganq-compile writes its arguments to the output, or fails on bits=7."""
    program = tmp_path / "bin" / "ganq-compile"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        'for a in "$@"; do case "$a" in --bits=7) echo "error: expected 1 to 4 bits, but got 7" >&2; exit 1;; '
        '--calibration=*) cp "${a#--calibration=}" "$3.npy";; esac; done\n'
        'printf "%s\\n" "$@" > "$3"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("GANQ_HOME", str(tmp_path))
    return tmp_path


def test_programs_are_found_in_home_first(home):
    assert _tools.find_program("ganq-compile") == str(home / "bin" / "ganq-compile")


def test_programs_are_found_on_the_path(home, monkeypatch):
    monkeypatch.setenv("GANQ_HOME", str(home / "empty"))
    monkeypatch.setenv("PATH", str(home / "bin"))
    assert _tools.find_program("ganq-compile") == str(home / "bin" / "ganq-compile")


def test_missing_programs_are_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("GANQ_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ganq.GanqError, match="expected ganq-compile in .*GANQ_HOME"):
        ganq.compile("m.onnx", "m.ganq")
    with pytest.raises(ganq.GanqError, match="expected libganq_runtime.so"):
        _tools.find_runtime()


def test_compile_passes_its_arguments_on(home, tmp_path):
    output = tmp_path / "m.ganq"
    assert (
        ganq.compile(
            "m.onnx",
            output,
            bits=3,
            group=64,
            exclude="head",
            bind={"batch": 1},
            cpu="host",
            quantize_head=True,
            options=["--target=cpu"],
        )
        == output
    )
    assert output.read_text().split() == [
        "m.onnx",
        "-o",
        str(output),
        "--scheme=lut",
        "--bits=3",
        "--group=64",
        "--exclude=head",
        "--quantize-head",
        "--cpu=host",
        "--bind",
        "batch=1",
        "--target=cpu",
    ]


def test_compile_takes_calibration_as_an_array(home, tmp_path):
    tokens = np.arange(12).reshape(3, 4)
    ganq.compile("m.onnx", tmp_path / "m.ganq", calibration=tokens)
    saved = np.load(tmp_path / "m.ganq.npy")
    assert saved.dtype == np.int64 and np.array_equal(saved, tokens)
    for wrong in [tokens / 2, tokens[0], [["a"]], [[]]]:
        with pytest.raises(ganq.GanqError, match="2-D array of token ids"):
            ganq.compile("m.onnx", tmp_path / "m.ganq", calibration=wrong)


def test_compile_without_quantization_needs_no_bits(home, tmp_path):
    ganq.compile("m.onnx", tmp_path / "m.ganq", scheme="none")
    assert (tmp_path / "m.ganq").read_text().split()[3:] == ["--scheme=none"]


def test_compile_leaves_the_choice_to_budget_and_rules(home, tmp_path):
    output, tokens = tmp_path / "m.ganq", tmp_path / "ids.npy"
    tokens.write_text("")
    ganq.compile("m.onnx", output, budget=3.5, calibration=tokens)
    assert output.read_text().split()[3:] == ["--budget=3.5", f"--calibration={tokens}"]
    ganq.compile("m.onnx", output, rules="rules.yaml", calibration=tokens)
    assert output.read_text().split()[3:] == ["--rules=rules.yaml", f"--calibration={tokens}"]
    ganq.compile("m.onnx", output, scheme="none", rules="rules.yaml", calibration=tokens)
    assert output.read_text().split()[3:] == [
        "--scheme=none",
        "--rules=rules.yaml",
        f"--calibration={tokens}",
    ]
    ganq.compile("m.onnx", output, scheme="pot", group=64, budget=3, calibration=tokens)
    assert output.read_text().split()[3:] == [
        "--scheme=pot",
        "--group=64",
        "--budget=3",
        f"--calibration={tokens}",
    ]


def test_compile_raises_with_the_compilers_message(home, tmp_path):
    with pytest.raises(ganq.GanqError, match="expected 1 to 4 bits, but got 7"):
        ganq.compile("m.onnx", tmp_path / "m.ganq", bits=7)


def test_the_command_reports_errors(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GANQ_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    assert main(["compile", "m.onnx"]) == 1
    assert capsys.readouterr().err.startswith("error: expected ganq-compile in")
    (tmp_path / "bad.npy").write_text("no array")
    assert main(["perplexity", "m.ganq", str(tmp_path / "bad.npy")]) == 1
    assert "bad.npy" in capsys.readouterr().err


def test_the_command_becomes_the_compiler(home, tmp_path):
    pid = os.fork()
    if pid == 0:
        main(["compile", "m.onnx", "-o", str(tmp_path / "m.ganq"), "--scheme=none"])
        os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (tmp_path / "m.ganq").read_text().split() == [
        "m.onnx",
        "-o",
        str(tmp_path / "m.ganq"),
        "--scheme=none",
    ]
