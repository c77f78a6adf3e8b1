"""The package on the demo model, compiled without quantization."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ganq
from ganq import _tools
from ganq.__main__ import main

DEMO = Path(__file__).resolve().parents[2] / "models" / "demo"
PROMPT = "Once upon a time, there was a"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    try:
        _tools.find_program("ganq-compile")
        _tools.find_runtime()
    except ganq.GanqError as error:
        pytest.skip(str(error))
    directory = tmp_path_factory.mktemp("demo")
    shutil.copy(DEMO / "tokenizer.json", directory)
    return ganq.compile(DEMO / "model.onnx", directory / "demo.ganq", scheme="none")


@pytest.fixture(scope="module")
def model(path):
    return ganq.load(path)


def onnx_logits(ids):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(DEMO / "model.onnx"), providers=["CPUExecutionProvider"])
    return session.run(None, {"input_ids": np.array(ids, np.int64)})[0]


def test_greedy_text_is_that_of_onnx_runtime(model):
    text = model.generate(PROMPT, max_tokens=12)
    ids = model.encode(PROMPT)
    for _ in range(12):
        ids.append(int(onnx_logits([ids])[0, -1].argmax()))
    assert model.tokenizer.decode(ids) == model.tokenizer.decode(model.encode(PROMPT)) + text
    assert len(text.split()) > 4


def test_the_emulator_gives_the_same_text(model, tmp_path, path):
    shutil.copy(DEMO / "tokenizer.json", tmp_path)
    emulated = ganq.compile(DEMO / "model.onnx", tmp_path / "m.ganq", scheme="none", target="emulator")
    assert ganq.load(emulated).generate(PROMPT, max_tokens=8) == model.generate(PROMPT, max_tokens=8)
    with pytest.raises(ganq.GanqError, match="expected the chip to be one of .*, but got `sm_1`"):
        ganq.compile(DEMO / "model.onnx", tmp_path / "n.ganq", target="cuda", chips=["sm_80", "sm_1"])


def test_pieces_make_the_text(model):
    pieces = []
    text = model.generate(PROMPT, max_tokens=40, temperature=1.0, seed=3, stream=pieces.append)
    assert "".join(pieces) == text and len(pieces) > 10


def test_draws_depend_on_the_seed(model):
    draw = lambda seed: model.generate(PROMPT, max_tokens=30, temperature=1.0, seed=seed)
    assert draw(1) == draw(1) != draw(2)


def test_a_story_ends_at_the_separator(model):
    text = model.generate(PROMPT, max_tokens=500, temperature=0.7, seed=1)
    assert "<|story|>" not in text
    assert len(model.encode(PROMPT + text)) < 500


def test_ids_give_ids(model):
    ids = model.encode(PROMPT)
    assert model.generate(ids, max_tokens=5) == list(model.tokens(ids, 5))


def test_logits_and_run_agree_with_onnx_runtime(model):
    ids = np.arange(24).reshape(2, 12)
    want = onnx_logits(ids)
    assert np.abs(model.run({"input_ids": ids})["logits"] - want).max() < 2e-4
    assert np.abs(model.logits(ids[1]) - want[1, -1]).max() < 2e-4


def test_perplexity(model):
    ids = np.random.default_rng(0).integers(0, 1024, (3, 20))
    logits = onnx_logits(ids)[:, :-1].astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    loss = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, ids[:, 1:, None], -1)[..., 0]
    assert model.perplexity(ids) == pytest.approx(np.exp(loss.mean()), rel=1e-4)


def test_inspect(model, path):
    report = model.inspect()
    assert report["file_bytes"] == path.stat().st_size
    assert report["state"]["vocabulary"] == 1024


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda m: m.perplexity(np.zeros(4, int)), "2-D"),
        (lambda m: m.perplexity(np.full((1, 4), 1024)), "1024"),
        (lambda m: m.generate([]), "at least one token"),
        (lambda m: m.generate([-1]), "-1"),
        (lambda m: m.logits([[1, 2], [3, 4]]), "at least one token"),
        (lambda m: m.logits([1.5, 2.5]), "at least one token"),
        (lambda m: m.generate([0], temperature=float("nan")), "temperature"),
        (lambda m: m.generate(list(range(600))), "600"),
        (lambda m: m.run({"input_ids": np.zeros((1, 4), np.float32)}), "input_ids"),
        (lambda m: m.run({"tokens": np.zeros((1, 4), np.int64)}), "tokens"),
        (lambda m: m.run({"input_ids": np.array(["a"])}), "numbers"),
    ],
)
def test_bad_values(model, call, message):
    with pytest.raises(ganq.GanqError, match=message):
        call(model)


def test_bad_files(model, tmp_path):
    with pytest.raises(ganq.GanqError, match="none.ganq"):
        ganq.load(tmp_path / "none.ganq")
    (tmp_path / "bad.ganq").write_bytes(b"no model at all")
    with pytest.raises(ganq.GanqError, match="bad.ganq"):
        ganq.load(tmp_path / "bad.ganq")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ganq.GanqError, match="tokenizer.json"):
        ganq.load(tmp_path / "bad.ganq")


def test_text_needs_a_tokenizer(path):
    with pytest.raises(ganq.GanqError, match="expected a tokenizer.json"):
        ganq.load(path, tokenizer=False).generate("Hello")


def test_text_that_is_no_unicode(model):
    with pytest.raises(ganq.GanqError, match="UTF-8"):
        model.generate("Once\udcff")


def test_an_output_that_cannot_be_written(path):
    environment = dict(os.environ, PYTHONPATH=str(DEMO.parents[1] / "python"))
    command = [sys.executable, "-m", "ganq", "inspect", str(path)]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed, open("/dev/full", "wb") as full:
        for output, message in [(closed, ""), (full, "error: [Errno 28] No space left on device\n")]:
            result = subprocess.run(
                command, stdout=output, stderr=subprocess.PIPE, text=True, env=environment
            )
            assert (result.returncode, result.stderr) == (1, message)


def test_models_do_not_share_code(path):
    first = ganq.load(path)
    expected = first.generate(PROMPT, max_tokens=4)
    for _ in range(3):
        other = ganq.load(path)
        assert other.generate(PROMPT, max_tokens=4) == expected
        del other
        assert first.generate(PROMPT, max_tokens=4) == expected


def test_the_command(model, path, tmp_path, capsys):
    assert main(["generate", str(path), PROMPT, "-n", "12"]) == 0
    assert capsys.readouterr().out == PROMPT + model.generate(PROMPT, max_tokens=12) + "\n"
    ids = np.arange(20).reshape(1, 20)
    np.save(tmp_path / "ids.npy", ids)
    assert main(["perplexity", str(path), str(tmp_path / "ids.npy")]) == 0
    assert float(capsys.readouterr().out) == pytest.approx(model.perplexity(ids), rel=1e-6)
    assert main(["inspect", str(path)]) == 0
    assert '"vocabulary": 1024' in capsys.readouterr().out
    assert main(["generate", str(path), PROMPT, "-n", "0"]) == 0
    assert capsys.readouterr().out == PROMPT + "\n"
    for wrong in [["generate", str(tmp_path / "none.ganq"), "x"], ["generate", str(path), "x", "-t", "nan"]]:
        assert main(wrong) == 1
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.startswith("error: ")
