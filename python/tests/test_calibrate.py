"""Learned calibration: graphs, rounding, learning, files, the command."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ganq
from ganq import _tools
from ganq.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT.parent / "shared" / "data" / "models"


def test_the_package_does_not_import_torch():
    code = "import sys, ganq, ganq.__main__; sys.exit('torch' in sys.modules or 'onnx' in sys.modules)"
    environment = dict(os.environ, PYTHONPATH=str(ROOT / "python"))
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ganq._learn.calibrate", None)
    with pytest.raises(ganq.GanqError, match=r"pip install 'ganq\[learn\]'"):
        ganq.calibrate("m.onnx", "m.safetensors", np.zeros((1, 4), int))


@pytest.mark.parametrize("tokens", [np.zeros(4, int), np.zeros((2, 2)), np.zeros((0, 4), int), "none.npy"])
def test_bad_tokens(tokens):
    with pytest.raises(ganq.GanqError, match="2-D array of token ids|none.npy"):
        ganq.calibrate("m.onnx", "m.safetensors", tokens)


try:
    import onnx
    import torch
    from onnx import TensorProto, helper, numpy_helper
    from tiny import HIDDEN, VOCABULARY, WIDTH, Stop, read, write_model

    from ganq._learn import quantize
    from ganq._learn import plan as plan_module
    from ganq._learn.calibrate import choose_keys
    from ganq._learn.graph import Graph
    from ganq._learn.learn import BlockLearner, Config, Runner, perplexity
    from ganq._learn.store import read_tensors
except ImportError as error:
    pytest.skip(f"learned calibration cannot be tested: {error}", allow_module_level=True)

torch.set_num_threads(1)


def config_of(summary):
    names = Config.__dataclass_fields__
    return Config(**{"batch": 1, **{name: summary[name] for name in names if name in summary}})


# Graphs


def check_against_onnx_runtime(path):
    onnxruntime = pytest.importorskip("onnxruntime")
    graph = Graph(path)
    ids = np.random.default_rng(0).integers(0, graph.vocabulary, (2, 9))
    runner = Runner(graph, ids, 2, torch.device("cpu"))
    with torch.no_grad():
        (logits,) = runner.compute(0, graph.needed([graph.logits], runner.known), {}, [graph.logits])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feeds = {name: value.numpy() for name, value in graph.inputs_for(torch.from_numpy(ids)).items()}
    assert np.abs(session.run([graph.logits], feeds)[0] - logits.numpy()).max() < 1e-4


def test_the_tiny_model_agrees_with_onnx_runtime(tiny):
    check_against_onnx_runtime(tiny)


ALL_MODELS = [ROOT / "models" / "demo" / "model.onnx", *sorted(MODELS.glob("*.onnx"))]


@pytest.mark.parametrize("path", ALL_MODELS, ids=lambda path: path.name)
def test_models_agree_with_onnx_runtime(path):
    check_against_onnx_runtime(path)


@pytest.mark.parametrize("path", ALL_MODELS, ids=lambda path: path.name)
def test_blocks_hold_the_layers(path):
    graph = Graph(path)
    keys = choose_keys(graph)
    blocks = graph.blocks(keys)
    for i, block in enumerate(blocks):
        assert len(block.products) in (6, 7) and len(block.attentions) == 1
        assert all(product.key.startswith(f"layers.{i}.") for product in block.products)
        assert block.down.key in (f"layers.{i}.mlp.down_proj.weight", f"layers.{i}.mlp.fc2.weight")
    assert [x.output for x in blocks[:-1]] == [x.input for x in blocks[1:]]
    assert sum(len(block.products) for block in blocks) == len(keys)


@pytest.mark.parametrize("path", ALL_MODELS, ids=lambda path: path.name)
def test_keys_are_the_compilers(path, tmp_path):
    try:
        _tools.run_program("ganq-compile", [path, "--compile-to=raise", "-o", tmp_path / "m.mlir"])
    except ganq.GanqError as error:
        if "expected ganq-compile in" not in str(error):
            raise
        pytest.skip(str(error))
    text = (tmp_path / "m.mlir").read_text()
    names = {
        match[1]: match[0] for match in re.findall(r'ganq.parameter "([^"]+)".*?onnx.node = "([^"]+)"', text)
    }
    products = Graph(path).products
    assert products and all(names[product.weight] == product.key for product in products)


def test_a_tiny_models_blocks(tiny):
    graph = Graph(tiny)
    assert graph.heads == {"head.weight"} and graph.vocabulary == VOCABULARY
    keys = choose_keys(graph)
    blocks = graph.blocks(keys)
    assert [(x.input, x.output) for x in blocks] == [
        ("/embedding_output", "/0/out_output"),
        ("/0/out_output", "/1/out_output"),
    ]
    assert [product.key for product in blocks[1].products] == [f"1.{x}.weight" for x in "qkvo"] + [
        "1.gate.weight",
        "1.up.weight",
        "1.down.weight",
    ]
    assert blocks[0].attentions == ["/0/softmax_output"] and blocks[0].down.key == "0.down.weight"
    # A block may be left with few products, or without attention that counts.
    (block,) = graph.blocks({"1.down.weight"})
    assert (block.output, len(block.products)) == ("/1/out_output", 1)


def test_unknown_operators_are_named(tmp_path):
    with pytest.raises(ganq.GanqError, match="com.example.Strange .*node 'the_Strange'"):
        Graph(write_model(tmp_path / "m.onnx", ["Strange"]))


# Rounding


def test_rounding_is_the_compilers():
    random = np.random.default_rng(2)
    w = random.normal(size=(5, 10)).astype(np.float32)
    w[1] = 0
    w[2] = np.abs(w[2])
    for group, levels in [(0, 4), (4, 5), (3, 16)]:
        low, high = (x.numpy() for x in quantize.bounds(torch.from_numpy(w), group))
        low, high = low * np.float32(0.8), high * np.float32(0.9)
        got = quantize.round_weight(
            torch.from_numpy(w), torch.from_numpy(low), torch.from_numpy(high), levels, group
        )
        scale = ((high.astype(np.float64) - low) / (levels - 1)).astype(np.float32).astype(np.float16)
        scale = np.where(scale > 0, scale, 1).astype(np.float32)
        zero = np.clip(np.rint(-low / scale), 0, levels - 1)
        column = np.arange(10) // (group or 10)
        scale, zero = scale[:, column], zero[:, column]
        want = (np.clip(np.rint(w * (np.float32(1) / scale)) + zero, 0, levels - 1) - zero) * scale
        assert np.array_equal(got.numpy(), want)
        assert all(len(np.unique(row)) <= levels for row in got.numpy()[:, : group or 10])


def test_rows_are_rounded_one_by_one():
    x = torch.randn(3, 4, 16) * torch.tensor([0.01, 1.0, 100.0]).reshape(3, 1, 1)
    x[0, 0] = 0
    error = (quantize.round_rows(x, 8) - x).abs().amax(-1)
    step = (x.amax(-1).clamp(min=0) - x.amin(-1).clamp(max=0)) / 255
    assert (error <= step * 1.001).all()


def test_gradients_pass_through_rounding():
    w = torch.randn(4, 8, requires_grad=True)
    low, high = (x.detach() * 0.5 for x in quantize.bounds(w, 0))
    low.requires_grad_(), high.requires_grad_()
    quantize.round_weight(w, low, high, 4, 0).sum().backward()
    inside = (w > low) & (w < high)
    assert w.grad[inside].eq(1).any() and w.grad[~inside].eq(0).any()
    assert low.grad.abs().sum() > 0 and high.grad.abs().sum() > 0


# Learning


def test_learning_improves_the_loss_and_the_file_holds_it(tiny, tokens, tmp_path):
    output = tmp_path / "c.safetensors"
    summary = ganq.calibrate(tiny, output, tokens, bits=2, levels=5, activation_bits=8, group=16, epochs=6)
    assert [last < first for first, last in summary["loss"]] == [True, True]
    tensors, metadata = read(output)
    assert metadata["ganq.calibration"] == "1" and len(metadata["ganq.model"]) == 64
    assert json.loads(metadata["ganq.learned"])["levels"] == 5 and "ganq.progress" not in metadata
    assert {name.rsplit(".", 1)[0] for name in tensors} == choose_keys(Graph(tiny))
    assert all(value.dtype == np.float32 for value in tensors.values())
    shapes = {name: list(value.shape) for name, value in tensors.items() if name.startswith("0.down.")}
    assert shapes == {
        "0.down.weight.input_scale": [HIDDEN],
        "0.down.weight.clip_low": [WIDTH, 3],
        "0.down.weight.clip_high": [WIDTH, 3],
        "0.down.weight.weight_delta": [WIDTH, HIDDEN],
        "0.down.weight.format": [3],
    }
    assert tensors["0.down.weight.format"].tolist() == [5, 16, 8]
    scheme = "uniform<bits = 3, levels = 5, group = 16, activation = 8, smooth = true>"
    assert summary["scheme"] == metadata["ganq.scheme"] == scheme
    scale = tensors["0.q.weight.input_scale"]
    assert np.array_equal(scale, tensors["0.k.weight.input_scale"]) and (scale > 0).all()
    assert np.array_equal(scale, scale.astype(np.float16))
    assert not np.array_equal(scale, tensors["1.q.weight.input_scale"])
    assert list(tmp_path.iterdir()) == [output]


def test_the_papers_recipe_compensates_the_last_products(tiny, tokens, tmp_path):
    summary = ganq.calibrate(tiny, tmp_path / "c", tokens, bits=2, levels=5, weights=False, epochs=9)
    assert all(last < first for first, last in summary["loss"])
    tensors, _ = read(tmp_path / "c")
    assert tensors["1.down.weight.compensation_left"].shape == (WIDTH,)
    assert tensors["1.down.weight.compensation_right"].shape == (HIDDEN,)
    assert tensors["1.down.weight.compensation_left"].any()
    assert not any("weight_delta" in name or "input_" in name for name in tensors)
    assert {name.split(".")[1] for name in tensors if "compensation" in name} == {"down"}


def test_offsets_are_learned_when_asked_for(tokens, tmp_path):
    path = write_model(tmp_path / "m.onnx", bias=True)
    summary = ganq.calibrate(path, tmp_path / "c", tokens, activation_bits=4, epochs=2, shift=True)
    tensors, _ = read(tmp_path / "c")
    assert summary["shift"] and tensors["0.down.weight.input_shift"].shape == (HIDDEN,)
    summary = ganq.calibrate(
        path, tmp_path / "c", tokens, activation_bits=4, epochs=1, shift=False, smooth=False
    )
    assert not any("input_" in name for name in read(tmp_path / "c")[0])


def test_a_plan_says_what_is_needed(tiny, tokens, tmp_path):
    output, options = tmp_path / "c", dict(bits=3, activation_bits=8, dry_run=True)
    plan = ganq.calibrate(tiny, output, tokens, **options)
    assert not any(tmp_path.iterdir()) and plan["blocks"] == 2 and "loss" not in plan
    count = sum(product.n * product.k for product in Graph(tiny).products if product.key != "head.weight")
    assert plan["needs"]["disk"] == 8 * count and plan["needs"]["device"] == 0
    # Twice the rows need twice the streams: four of f32; longer ones need more for a batch.
    more = ganq.calibrate(tiny, output, np.tile(tokens, (2, 1)), **options)
    assert more["needs"]["memory"] - plan["needs"]["memory"] >= 4 * 4 * tokens.size * WIDTH
    longer = ganq.calibrate(tiny, output, np.tile(tokens, 2), **options)
    assert longer["needs"]["memory"] > more["needs"]["memory"]


def test_what_does_not_fit_is_refused_before_it_starts(tiny, tokens, tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "_free_memory", lambda: 1 << 20)
    with pytest.raises(
        ganq.GanqError, match=r"expected \d.* GiB of memory, but got 0.00 GiB free; use fewer"
    ):
        ganq.calibrate(tiny, tmp_path / "c", tokens)
    assert not any(tmp_path.iterdir())


def test_the_plan_bounds_what_learning_takes(tokens, tmp_path):
    """Saved tensors and parameters of a block with real data are those of the plan."""
    graph = Graph(write_model(tmp_path / "m.onnx"))
    blocks = graph.blocks(choose_keys(graph))
    config = Config(4, 0, 8, True, False, False, True, None, 2, 0, (0.0,) * 4, 0.01)
    found = []
    for device in ("cpu", "meta"):
        runner = Runner(graph, tokens[:2], 2, torch.device(device))
        with torch.no_grad():
            nodes = graph.needed([blocks[0].input], runner.known)
            (x,) = runner.compute(0, nodes, {}, [blocks[0].input])
        assert x.device.type == device
        found.append(
            plan_module._learning_bytes(
                BlockLearner(graph, runner, blocks[0], [x], [x], [0], config, {}, False)
            )
        )
    assert found[1] == pytest.approx(found[0], rel=0.05) and found[0] > 16 * 7 * 32 * 32


def test_rows_longer_than_the_context_are_refused(tmp_path):
    model, output = MODELS / "nanosort_gpt2.opset17.onnx", tmp_path / "m.safetensors"
    if not model.exists():
        pytest.skip(f"needs {model}")
    assert ganq.calibrate(model, output, np.zeros((8, 11), int), dry_run=True)["tokens"] == 88
    for length in 12, 25:
        with pytest.raises(ganq.GanqError, match=f"^expected rows of at most 11 tokens, but got {length}$"):
            ganq.calibrate(model, output, np.zeros((8, length), int))
    assert not any(tmp_path.iterdir())


def test_a_missing_device_is_named(tiny, tokens, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ganq.GanqError, match="cannot use the device 'cuda': "):
        ganq.calibrate(tiny, tmp_path / "c", tokens, device="cuda")
    with pytest.raises(ganq.GanqError, match="expected a device that holds values, but got 'meta'"):
        ganq.calibrate(tiny, tmp_path / "c", tokens, device="meta")


def test_weights_that_are_not_finite_are_named(tokens, tmp_path):
    path = write_model(tmp_path / "m.onnx")
    model = onnx.load(path)
    tensor = next(x for x in model.graph.initializer if x.name == "0/after.scale")
    value = numpy_helper.to_array(tensor).copy()
    value[3] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    onnx.save(model, path)
    with pytest.raises(ganq.GanqError, match=r"finite weights in '0/after.scale' .*, but got nan at \[3\]"):
        ganq.calibrate(path, tmp_path / "c", tokens)
    assert list(tmp_path.iterdir()) == [path]


def test_outputs_that_cannot_be_written(tiny, tokens, tmp_path):
    with pytest.raises(ganq.GanqError, match="expected a file for the output .*, but got a folder"):
        ganq.calibrate(tiny, tmp_path, tokens)
    with pytest.raises(ganq.GanqError, match="expected an output besides the model"):
        ganq.calibrate(tiny, tiny, tokens)


def test_the_runs_of_others_are_left_alone(tiny, tokens, tmp_path):
    output, options = tmp_path / "c", dict(bits=3, epochs=1)

    def stop(block, *_):
        if block == 1:
            # A second run on the same output while the first is at work.
            with pytest.raises(ganq.GanqError, match="of no other run, but one is at work there"):
                ganq.calibrate(tiny, output, tokens, **options)
            raise Stop

    with pytest.raises(Stop):
        ganq.calibrate(tiny, output, tokens, progress=stop, **options)
    (tmp_path / "c.partial" / "notes.txt").write_text("mine")
    summary = ganq.calibrate(tiny, output, tokens[:, :6], **options)
    assert summary["resumed_blocks"] == 0 and summary["other_run"] == ["tokens"]
    assert os.listdir(tmp_path / "c.partial") == ["notes.txt"]


def test_inputs_can_be_given(tiny, tokens, tmp_path, capsys):
    model = onnx.load(tiny)
    model.graph.input.append(helper.make_tensor_value_info("bias", TensorProto.FLOAT, [1, 1, WIDTH]))
    for node in model.graph.node:
        node.input[:] = ["biased" if name == "/embedding_output" else name for name in node.input]
    model.graph.node.insert(1, helper.make_node("Add", ["/embedding_output", "bias"], ["biased"], "biased"))
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    with pytest.raises(ganq.GanqError, match="'bias' of rank 3 .*--input bias=FILE.npy"):
        ganq.calibrate(path, tmp_path / "c", tokens)
    options = dict(bits=3, epochs=1, batch=4)
    zero = ganq.calibrate(path, tmp_path / "c", tokens, inputs={"bias": np.zeros((1, 1, WIDTH))}, **options)
    assert zero["loss"] == ganq.calibrate(tiny, tmp_path / "d", tokens, **options)["loss"]
    random = np.random.default_rng(0).normal(size=(6, 1, WIDTH))
    rows = ganq.calibrate(path, tmp_path / "c", tokens, inputs={"bias": random}, **options)
    assert rows["loss"] != zero["loss"]
    with pytest.raises(ganq.GanqError, match=r"with 1 or 6 rows, .* but got \[2, 1, 32\]"):
        ganq.calibrate(path, tmp_path / "c", tokens, inputs={"bias": random[:2]})
    with pytest.raises(ganq.GanqError, match="input named 'x', but"):
        ganq.calibrate(tiny, tmp_path / "c", tokens, inputs={"x": random})
    np.save(tmp_path / "ids.npy", tokens)
    arguments = ["calibrate", str(path), f"--tokens={tmp_path / 'ids.npy'}", "-o", str(tmp_path / "e")]
    assert main([*arguments, "--input", "bias"]) == 1
    assert capsys.readouterr().err == "error: expected --input NAME=FILE.npy, but got 'bias'\n"
    assert main([*arguments, "--input", f"bias={tmp_path / 'none.npy'}"]) == 1
    assert "cannot read the input 'bias'" in capsys.readouterr().err
    np.save(tmp_path / "bias.npy", random)
    assert main([*arguments, "--input", f"bias={tmp_path / 'bias.npy'}", "--dry-run"]) == 0
    assert capsys.readouterr() == ("uniform<bits = 4>\n", "")


def test_branches_are_taken(tiny, tokens, tmp_path):
    """A condition on sizes decides when the graph is read; the branches read values from outside."""
    model = onnx.load(tiny)
    out = "/0/out_output"
    taken = helper.make_graph(
        [
            helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.float32(1))),
            helper.make_node("Mul", [out, "k"], ["y"], "scale"),
        ],
        "then",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("com.example.Strange", [out], ["y"], "strange")],
        "else",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    for node in model.graph.node:
        node.input[:] = ["chosen" if name == out else name for name in node.input]
    place = next(i for i, node in enumerate(model.graph.node) if out in node.output) + 1
    model.graph.node.insert(0, helper.make_node("Shape", ["ids"], ["/shape_of_ids"]))
    rank = helper.make_node("Size", ["/shape_of_ids"], ["rank"])
    model.graph.initializer.append(numpy_helper.from_array(np.int64(2), "two"))
    model.graph.node.insert(1, rank)
    model.graph.node.insert(2, helper.make_node("Equal", ["rank", "two"], ["flat"]))
    made = helper.make_node("If", ["flat"], ["chosen"], "the_if", then_branch=taken, else_branch=other)
    model.graph.node.insert(place + 3, made)
    onnx.save(model, tmp_path / "m.onnx")
    graph, plain = Graph(tmp_path / "m.onnx"), Graph(tiny)
    assert perplexity(graph, tokens) == perplexity(plain, tokens)
    assert [len(b.products) for b in graph.blocks(choose_keys(graph))] == [7, 7]
    # One that depends on the tokens' number is refused.
    model.graph.initializer.append(numpy_helper.from_array(np.int64(10), "ten"))
    size = helper.make_node("Size", ["ids"], ["tokens"])
    model.graph.node.insert(2, size)
    model.graph.node.insert(3, helper.make_node("Less", ["tokens", "ten"], ["few"]))
    next(node for node in model.graph.node if node.op_type == "If").input[0] = "few"
    onnx.save(model, tmp_path / "n.onnx")
    with pytest.raises(ganq.GanqError, match="same for all sizes of the inputs, but got another at .*the_if"):
        Graph(tmp_path / "n.onnx")


def test_weights_in_other_files(tiny, tokens, tmp_path):
    options = dict(bits=3, epochs=1)
    model = onnx.load(tiny)
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    ganq.calibrate(tmp_path / "m.onnx", tmp_path / "c", tokens, **options)
    ganq.calibrate(tiny, tmp_path / "d", tokens, **options)
    c, d = read(tmp_path / "c")[0], read(tmp_path / "d")[0]
    assert c.keys() == d.keys() and all(np.array_equal(value, d[name]) for name, value in c.items())
    data = tmp_path / "m.data"
    content = data.read_bytes()
    data.write_bytes(content[:5000])
    with pytest.raises(ganq.GanqError, match="to lie within .*m.data of 5000 bytes"):
        ganq.calibrate(tmp_path / "m.onnx", tmp_path / "c", tokens, **options)
    data.rename(tmp_path / "elsewhere")
    with pytest.raises(ganq.GanqError, match="cannot read external data"):
        ganq.calibrate(tmp_path / "m.onnx", tmp_path / "c", tokens, **options)
    (tmp_path / "elsewhere").write_bytes(content)
    data.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ganq.GanqError, match="a file of the model's folder, but got 'm.data'"):
        ganq.calibrate(tmp_path / "m.onnx", tmp_path / "c", tokens, **options)


@pytest.mark.parametrize(
    "options,message",
    [
        (dict(bits=0), "1 to 8 bits"),
        (dict(bits=2, levels=6), "2 to 5 levels with 2 bits, but got 6"),
        (dict(activation_bits=9), "activation bits"),
        (dict(group=-1), "group"),
        (dict(epochs=0), "epoch"),
        (dict(batch=0), "batch"),
        (dict(shift=True), "shift"),
        (dict(exclude="("), "regular expression"),
        (dict(exclude="nothing"), "matches none of 15"),
        (dict(device="abacus"), "abacus"),
    ],
)
def test_bad_options(tiny, tokens, tmp_path, options, message):
    with pytest.raises(ganq.GanqError, match=message):
        ganq.calibrate(tiny, tmp_path / "c", tokens, **options)
    assert list(tmp_path.iterdir()) == []


def test_bad_files(tiny, tokens, tmp_path):
    with pytest.raises(ganq.GanqError, match="none.onnx"):
        ganq.calibrate(tmp_path / "none.onnx", tmp_path / "c", tokens)
    (tmp_path / "bad.onnx").write_bytes(b"\xff" * 100)
    with pytest.raises(ganq.GanqError, match="bad.onnx"):
        ganq.calibrate(tmp_path / "bad.onnx", tmp_path / "c", tokens)
    with pytest.raises(ganq.GanqError, match="folder"):
        ganq.calibrate(tiny, tmp_path / "none" / "c", tokens)
    with pytest.raises(
        ganq.GanqError, match=f"token ids from 0 to {VOCABULARY - 1}, but got .* to {VOCABULARY}"
    ):
        ganq.calibrate(tiny, tmp_path / "c", np.array([[0, VOCABULARY]]))


def test_the_command(tiny, tokens, tmp_path, capsys):
    np.save(tmp_path / "ids.npy", tokens)
    output = tmp_path / "c.safetensors"
    arguments = ["calibrate", str(tiny), f"--tokens={tmp_path / 'ids.npy'}", "-o", str(output), "--epochs=1"]
    assert main([*arguments, "--bits=3", "--no-smooth", "--exclude=down"]) == 0
    assert capsys.readouterr() == ("uniform<bits = 3>\n", "")
    assert len(read(output)[0]) == 12 * 4
    assert (
        main([*arguments, "--json", "--bits=2", "--levels=5", "--activation-bits=8", "--quantize-head"]) == 0
    )
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert (summary["blocks"], summary["quantized"], summary["levels"], printed.err) == (2, 15, 5, "")
    assert main([*arguments, "--bits=9"]) == 1
    assert capsys.readouterr().err == "error: expected 1 to 8 bits, but got 9\n"


@pytest.mark.parametrize(
    "options",
    [
        dict(bits=3, group=16),
        dict(bits=2, levels=5, activation_bits=8),
        dict(activation_bits=4, weights=False),
        dict(activation_bits=8, shift=True),
        dict(bits=3, smooth=True),
    ],
)
def test_the_compiled_model_is_the_learned_one(tokens, tmp_path, options):
    path = write_model(tmp_path / "m.onnx", bias=True)
    summary = ganq.calibrate(path, tmp_path / "c", tokens, epochs=2, **options)
    graph, config = Graph(path), config_of(summary)
    want = perplexity(graph, tokens, config, read_tensors(tmp_path / "c"), choose_keys(graph))
    arguments = dict(calibration=tmp_path / "c", solver="learned", scheme=summary["scheme"])
    try:
        ganq.compile(path, tmp_path / "m.ganq", **arguments)
        model = ganq.load(tmp_path / "m.ganq")
    except ganq.GanqError as error:
        if not re.match(r"expected (ganq-compile|libganq_runtime.so) in", str(error)):
            raise
        pytest.skip(str(error))
    assert model.perplexity(tokens) == pytest.approx(want, rel=1e-3)
    assert abs(want / perplexity(graph, tokens) - 1) > 1e-3
    with pytest.raises(ganq.GanqError, match="scheme that was learned"):
        ganq.compile(path, tmp_path / "m.ganq", **{**arguments, "scheme": scheme_with(summary, "bits", 6)})


def scheme_with(summary, field, value):
    return re.sub(rf"{field} = \d+(, levels = \d+)?", f"{field} = {value}", summary["scheme"])


# A trained model


@pytest.mark.parametrize(
    "bits,levels,activation_bits,share", [(2, 5, 8, 0.6), (3, 8, 8, 0.75), (4, 16, 4, 0.98)]
)
def test_learning_beats_plain_rounding(tmp_path, bits, levels, activation_bits, share):
    """A few steps already bring held-out perplexity to less than `share` of plain rounding's."""
    path = MODELS / "stories260k.opset17.onnx"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    rows = np.load(MODELS / "stories260k.calib.npy")[:8, :128]
    held_out = np.load(MODELS / "stories260k.eval.npy")[:16]
    options = dict(bits=bits, levels=levels, activation_bits=activation_bits, epochs=4, device="cpu")
    summary = ganq.calibrate(path, tmp_path / "c", rows, **options)
    graph, config, learned = Graph(path), config_of(summary), read_tensors(tmp_path / "c")
    keys = choose_keys(graph)
    before = perplexity(graph, held_out, config, {}, keys)
    after = perplexity(graph, held_out, config, learned, keys)
    print(f"{levels} levels, A{activation_bits}: {before:.3f} to {after:.3f}")
    assert perplexity(graph, held_out) < after < share * before
