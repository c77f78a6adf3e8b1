"""The command line of quantization: scheme texts, rules, budget, report, evaluation."""

import json
import os
import resource
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from conftest import DEMO, HOME, data_file, perplexity, run_tool
from test_bad_input import linear_model, refuse

MODEL = DEMO / "model.onnx"
FIRST_LAYER = r"--exclude=layers\.[1-9]"


@pytest.mark.parametrize(
    "options, parts",
    [
        (["--scheme=magic"], ["--scheme", "lut, uniform, pot or nf", "`magic`"]),
        (["--scheme=pot", "--levels=5"], ["--levels", "the scheme pot", "mantissa"]),
        (["--scheme=lut<bits = 3, rows = 8>", "--bits=4"], ["--bits", "the text of an attribute"]),
        (["--scheme=lut", "--bits=x"], ["--bits", "an integer", "`x`"]),
        (["--scheme=lut<bits = 3, group = 7>"], ["--scheme", "group to be 0"]),
        (["--scheme=lut", "--outliers=0.9"], ["--outliers", "between 0 and 0.5"]),
        (["--scheme=nf", "--solver=kmeans"], ["--solver", "gptq", "`kmeans`"]),
        (["--rules=none.yaml"], ["none.yaml"]),
        (["--budget=3"], ["--budget", "--calibration=ids.npy"]),
        (["--budget=-1"], ["--budget to be a positive number of bits", "`-1`"]),
        (["--budget=nan"], ["--budget to be a number", "`nan`"]),
        (["--alpha=half"], ["--alpha to be a number", "`half`"]),
        (["--prefill-chunk=1.5"], ["--prefill-chunk to be an integer", "`1.5`"]),
        (["--scheme=uniform", "--report=m.txt"], ["--report", ".html or .json"]),
        (["--scheme=uniform", "--evaluate=none.npy"], ["none.npy"]),
    ],
)
def test_bad_options(tmp_path, options, parts):
    message = refuse(tmp_path, MODEL, *options)
    for part in parts:
        assert part in message


@pytest.mark.parametrize("option", ["--rules=", "--calibration=", "--budget=5 --calibration="])
def test_pipes_and_devices(tmp_path, option):
    os.mkfifo(tmp_path / "pipe")
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    for path in [tmp_path / "pipe", "/dev/zero"]:
        options = (option + str(path)).split()
        message = refuse(tmp_path, MODEL, "--scheme=lut", *options, preexec_fn=limit)
        assert "to be a regular file, but got a pipe or device" in message


@pytest.mark.parametrize(
    "options, parts",
    [
        (["--exclude=."], [" excluded by `.`"]),
        (["--rules=keep.yaml"], [" kept by the rules or the output head (--quantize-head"]),
    ],
)
def test_nothing_to_quantize(tmp_path, monkeypatch, options, parts):
    (tmp_path / "keep.yaml").write_text("- {match: ., keep: true}\n")
    monkeypatch.chdir(tmp_path)
    message = refuse(tmp_path, MODEL, "--scheme=lut", *options)
    for part in ["weights to quantize, but of its matrix products", *parts]:
        assert part in message


def test_only_tiny_weights(tmp_path):
    model = linear_model(tmp_path / "m.onnx")
    assert "1 is of computed or tiny weights" in refuse(tmp_path, model, "--scheme=lut")


@pytest.mark.parametrize(
    "text, parts",
    [
        ("- {match: layers, bits: 3}\n- {match: nothing, bits: 3}\n", [":2:", "`nothing`", "matches none"]),
        ("- match: layers\n  colour: 3\n", [":2:", "`colour`"]),
        ("- {match: layers, scheme: magic}\n", [":1:", "`magic`"]),
        ("- {match: layers, solver: gptq}\n", ["rules.yaml", "improved, literal, kmeans", "`gptq`"]),
        ("- {bits: 3}\n", [":1:", "`match`"]),
        ("{{{\n", ["rules.yaml:1:"]),
        ("- {match: layers, bits: 3}\n---\n- {match: layers, bits: 4}\n", [":3:", "one YAML document"]),
        ('- {match: layers, bits: 3}\n- {match: "a\\x4", bits: 3}\n', [":2:", "an escape", "`\\x4`"]),
        ('- match: "layers\n\n    \\uD800"\n', [":3:", "an escape", "`\\uD800`"]),
        ("", ["a list of rules"]),
    ],
)
def test_bad_rules(tmp_path, text, parts):
    rules = tmp_path / "rules.yaml"
    rules.write_text(text)
    message = refuse(tmp_path, MODEL, "--scheme=lut", f"--rules={rules}")
    for part in parts:
        assert part in message


def test_rules_choose_schemes(tmp_path):
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "- {match: 'layers\\.0\\.', keep: true}\n"
        "- {match: down_proj, scheme: 'uniform<bits = 8, group = 64>'}\n"
        "- {match: 'up_proj|gate_proj', bits: 3, solver: kmeans}\n"
    )
    output = tmp_path / "m.ganq"
    result = run_tool(
        "ganq-compile", MODEL, "-o", output, "--scheme=lut", "--solver=kmeans", f"--rules={rules}", check=False
    )
    assert result.returncode != 0 and "uniform8g64" in result.stderr  # has no kmeans
    run_tool("ganq-compile", MODEL, "-o", output, "--scheme=lut", "--bits=4", f"--rules={rules}")
    manifest = json.loads(run_tool("ganq-run", output, "--inspect", "--json").stdout)["manifest"]
    for weight in manifest["weights"]:
        name = weight["name"]
        if "layers.0." in name or "layers" not in name:
            assert weight["scheme"] == "none"
        elif "down_proj" in name:
            assert weight["scheme"] == "uniform8g64"
        else:
            assert weight["scheme"] == ("lut3" if "up_proj" in name or "gate_proj" in name else "lut4")


def test_a_changed_rules_file_starts_afresh(tmp_path):
    """The work folder belongs to the rules' text, not to their path."""
    rules, output = tmp_path / "rules.json", tmp_path / "m.ganq"
    seen = []
    for bits in (8, 2):
        rules.write_text(json.dumps([{"match": "layers", "scheme": "uniform", "bits": bits}]))
        run_tool("ganq-compile", MODEL, "-o", output, f"--rules={rules}", "--keep-work")
        manifest = json.loads(run_tool("ganq-run", output, "--inspect", "--json").stdout)["manifest"]
        seen.append({w["scheme"] for w in manifest["weights"] if "layers" in w["name"]})
    assert seen == [{"uniform8"}, {"uniform2"}]


@pytest.fixture(scope="module")
def few_tokens(tmp_path_factory):
    """Calibration tokens that a test has time for, and others to judge on."""
    directory = tmp_path_factory.mktemp("few")
    for name, rows in (("calib", 6), ("eval", 16)):
        np.save(directory / f"{name}.npy", np.load(data_file(f"models/stories260k.{name}.npy"))[:rows])
    return directory / "calib.npy", directory / "eval.npy"


def test_budget_is_better_than_uniform_at_its_size(tmp_path, compiled, few_tokens):
    calibration, evaluation = few_tokens
    model = data_file("models/stories260k.opset17.past.onnx")
    shared = (f"--calibration={calibration}", "--calibration-mode=one-shot")
    uniform = compiled(model, "--scheme=lut", "--bits=3", *shared)
    bits = json.loads(run_tool("ganq-run", uniform, "--inspect", "--json").stdout)["manifest"]["bits_per_weight"]
    output = tmp_path / "m.ganq"
    summary = json.loads(
        run_tool(
            "ganq-compile",
            *(model, "-o", output, "--json", f"--budget={bits + 1e-6}", *shared),
            "--candidates=lut<bits = 2>;lut<bits = 3>;lut<bits = 4>",
        ).stdout
    )
    assert summary["bits_per_weight"] <= bits + 1e-6
    assert summary["budget"]["bits_per_weight"] == pytest.approx(summary["bits_per_weight"])
    assert len({weight["scheme"] for weight in summary["weights"]}) > 1
    assert perplexity(output, evaluation) < perplexity(uniform, evaluation)


def test_budget_with_sequential_calibration(tmp_path, few_tokens):
    """The search is one-shot, then the chosen schemes are solved in sequence."""
    summary = json.loads(
        run_tool(
            "ganq-compile",
            *(data_file("models/stories260k.opset17.past.onnx"), "-o", tmp_path / "m.ganq", "--json"),
            *("--budget=3.6", f"--calibration={few_tokens[0]}", "--calibration-mode=sequential"),
            *("--candidates=uniform<bits = 2>;uniform<bits = 4>", FIRST_LAYER),
        ).stdout
    )
    assert summary["bits_per_weight"] <= 3.6
    weights, judged = ({w["name"]: w for w in part} for part in (summary["weights"], summary["budget"]["weights"]))
    assert len(weights) == 7 and len({w["scheme"] for w in weights.values()}) == 2
    solved_again = []
    for name, weight in weights.items():
        candidates = {c["scheme"]: c for c in judged[name]["candidates"]}
        assert all(candidate["divergence"] > 0 for candidate in candidates.values())
        chosen = candidates[judged[name]["chosen"]]
        assert weight["bytes"] == chosen["bytes"]
        solved_again.append(weight["relative_error"] != chosen["relative_error"])
    assert any(solved_again)


def test_budget_chooses_the_bits(tmp_path, demo_tokens):
    calibration = f"--calibration={demo_tokens[0]}"
    message = refuse(tmp_path, MODEL, "--budget=3", "--scheme=lut", "--bits=3", calibration)
    assert "expected --budget without --bits" in message
    message = refuse(tmp_path, MODEL, "--budget=3", "--solver=rtn", calibration)
    assert "that every candidate of --budget has, but `rtn` is none of" in message and "(improved, " in message


def test_a_budget_that_nothing_fits(tmp_path, few_tokens):
    message = refuse_keeping_work(
        tmp_path,
        "--budget=1",
        f"--calibration={few_tokens[0]}",
        "--candidates=uniform<bits = 2>;uniform<bits = 3>",
        FIRST_LAYER,
    )
    assert "expected --budget to be at least" in message
    # Nothing has been solved for it.
    assert not (tmp_path / "m.ganq.work").exists()


def refuse_keeping_work(tmp_path, *options):
    model = data_file("models/stories260k.opset17.past.onnx")
    result = run_tool("ganq-compile", model, "-o", tmp_path / "m.ganq", *options, check=False)
    assert result.returncode == 1 and not (tmp_path / "m.ganq").exists()
    return result.stderr


class Page(HTMLParser):
    """Counts elements, and finds references to other files."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.links = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.links += [value for name, value in attributes if name in ("src", "href")]


@pytest.mark.parametrize("ids, part", [([[1, 5000]], "from 0 to 1023"), (np.ones((1, 514)), "at most 513 tokens")])
def test_evaluation_is_checked_first(tmp_path, ids, part):
    """Before weights are solved: no work folder is left behind."""
    np.save(tmp_path / "e.npy", np.asarray(ids, np.int32))
    assert part in refuse(tmp_path, MODEL, "--scheme=uniform", f"--evaluate={tmp_path / 'e.npy'}")


def test_an_evaluation_that_fails_takes_the_output_back(tmp_path):
    model = linear_model(tmp_path / "m.onnx")
    np.save(tmp_path / "e.npy", np.ones((1, 8), np.int32))
    result = run_tool("ganq-compile", model, "-o", tmp_path / "m.ganq", f"--evaluate={tmp_path / 'e.npy'}", check=False)
    assert result.returncode == 1 and f"--evaluate='{tmp_path / 'e.npy'}'" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.npy", "m.onnx"]


@pytest.mark.parametrize("name", ["x" * 300 + ".json", "device.json", "model.json", "m.json"])
def test_reports_that_cannot_be_written(tmp_path, name):
    """Found before there is any work."""
    model = linear_model(tmp_path / "model.json")
    (tmp_path / "device.json").symlink_to("/dev/null")
    result = run_tool("ganq-compile", model, "-o", tmp_path / "m.json", f"--report={tmp_path / name}", check=False)
    assert result.returncode == 1 and name in result.stderr and " report" in result.stderr.replace("--", " ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["device.json", "model.json"]


def test_an_output_without_a_name():
    result = run_tool("ganq-compile", MODEL, "-o", "", check=False)
    assert result.returncode == 1 and "expected the output to be a file" in result.stderr


def test_a_summary_that_cannot_be_written(tmp_path):
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [HOME / "bin" / "ganq-compile", linear_model(tmp_path / "m.onnx"), "-o", tmp_path / "m.ganq", "--json"],
            stdout=full, stderr=subprocess.PIPE, text=True,
        )
    assert result.returncode == 1 and "error: cannot write to stdout" in result.stderr
    assert "LLVM" not in result.stderr


def test_report(tmp_path, demo_tokens):
    output = tmp_path / "m.ganq"
    summary = json.loads(
        run_tool(
            "ganq-compile",
            *(MODEL, "-o", output, "--scheme=uniform", "--bits=3", "--group=64", "--solver=rtn", "--json"),
            *(f"--evaluate={demo_tokens[1]}", f"--report={tmp_path / 'r.html'}", f"--report={tmp_path / 'r.json'}"),
        ).stdout
    )
    report = json.loads((tmp_path / "r.json").read_text())
    manifest = json.loads(run_tool("ganq-run", output, "--inspect", "--json").stdout)["manifest"]
    quantized = {w["name"]: w["bytes"] for w in manifest["weights"] if w["scheme"] != "none"}
    assert {w["name"]: w["bytes"] for w in report["weights"]} == quantized
    assert report["evaluation"] == summary["evaluation"]
    assert report["evaluation"]["perplexity"] == pytest.approx(perplexity(output, demo_tokens[1]))
    assert report["evaluation"]["reference_perplexity"] < report["evaluation"]["perplexity"]
    assert [row["rank"] for row in report["rows"]] == ["Worst", "Median", "Best"]
    text = (tmp_path / "r.html").read_text()
    page = Page(text)
    assert all(name in text for name in quantized)
    assert page.seen["svg"] == 5 and page.seen["tr"] == len(quantized) + 1
    assert not page.links and "script" not in page.seen
