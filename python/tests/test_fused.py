"""Learned calibration of models with fused operators: blocks, results, files, what the compiler makes of them."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

import ganq

try:
    import onnx
    import torch
    from models import CONTEXT, FUSED, VOCABULARY

    from ganq._learn.calibrate import choose_keys
    from ganq._learn.graph import Graph
    from ganq._learn.learn import Config, Runner, perplexity
    from ganq._learn.store import read_tensors
except ImportError as error:
    pytest.skip(f"learned calibration cannot be tested: {error}", allow_module_level=True)

torch.set_num_threads(1)
IMPORTED = Path(__file__).resolve().parents[3] / "shared" / "data" / "onnx_import"


@pytest.fixture(scope="module", params=FUSED)
def fused(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "m.onnx"
    onnx.save(FUSED[request.param](), path)
    return path


@pytest.fixture(scope="module")
def tokens():
    return np.random.default_rng(3).integers(0, VOCABULARY, (8, 16))


def run_onnx_runtime(path, graph, ids):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feeds = graph.inputs_for(torch.from_numpy(ids))
    kinds = {port.name: port.type for port in session.get_inputs()}
    feeds = {
        name: value.numpy().astype(np.float16) if kinds[name] == "tensor(float16)" else value.numpy()
        for name, value in feeds.items()
        if name in kinds
    }
    return session.run([graph.logits], feeds)[0]


def compute(graph, ids):
    runner = Runner(graph, ids, len(ids), torch.device("cpu"))
    with torch.no_grad():
        (logits,) = runner.compute(0, graph.needed([graph.logits], runner.known), {}, [graph.logits])
    return logits.numpy()


def test_results_are_onnx_runtimes(fused, tokens):
    graph = Graph(fused)
    np.testing.assert_allclose(
        compute(graph, tokens[:2]), run_onnx_runtime(fused, graph, tokens[:2]), 1e-3, 1e-4
    )


def test_blocks_are_layers_with_their_attention(fused):
    graph = Graph(fused)
    blocks = graph.blocks(choose_keys(graph))
    assert graph.heads == {"lm_head.weight"} and len(blocks) == 2
    for i, block in enumerate(blocks):
        assert {product.key.split(".")[1] for product in block.products} == {str(i)}
        assert block.down.key == f"layers.{i}.mlp.{'fc2' if len(block.products) == 4 else 'down_proj'}.weight"
        assert len(block.attentions) == 1
    # The probabilities of each query are of the keys up to its own.
    runner = Runner(graph, np.arange(10).reshape(2, 5), 2, torch.device("cpu"))
    nodes = graph.needed(blocks[1].attentions, runner.known)
    with torch.no_grad():
        (map,) = runner.compute(0, nodes, {}, blocks[1].attentions)
    assert map.shape == (2, 4, 5, 5)
    assert torch.allclose(map.sum(-1), torch.ones(2, 4, 5)) and not map.triu(1).any()
    assert (map.tril() > 0).sum() == 2 * 4 * 15


def test_a_layer_without_products_to_learn_is_a_block_no_more(fused):
    graph = Graph(fused)
    keys = {key for key in choose_keys(graph) if "mlp" in key}
    blocks = graph.blocks(keys)
    assert [{product.key.split(".")[1] for product in block.products} for block in blocks] == [{"0"}, {"1"}]


def config_of(summary):
    fields = Config.__dataclass_fields__
    return Config(**{"batch": 1, **{name: summary[name] for name in fields if name in summary}})


def test_an_epoch_improves_the_loss_and_the_compiler_takes_the_result(fused, tokens, tmp_path):
    output = tmp_path / "c.safetensors"
    summary = ganq.calibrate(fused, output, tokens, bits=3, activation_bits=8, epochs=1)
    assert len(summary["loss"]) == 2 and all(after < before for before, after in summary["loss"])
    graph = Graph(fused)
    learned = read_tensors(output)
    assert set(learned) == choose_keys(graph)
    want = perplexity(graph, tokens, config_of(summary), learned, choose_keys(graph))
    if not fused.parent.name.startswith(("group-query", "packed")):
        return
    try:
        ganq.compile(
            fused, tmp_path / "m.ganq", scheme=summary["scheme"], solver="learned", calibration=output
        )
        model = ganq.load(tmp_path / "m.ganq")
    except ganq.GanqError as error:
        if not re.match(r"expected (ganq-compile|libganq_runtime.so) in", str(error)):
            raise
        pytest.skip(str(error))
    assert model.perplexity(tokens) == pytest.approx(want, rel=1e-3)


class Stop(Exception):
    pass


def test_a_resumed_run_equals_a_whole_one(tokens, tmp_path_factory, tmp_path):
    fused = tmp_path_factory.mktemp("model") / "m.onnx"
    onnx.save(FUSED["group-query"](), fused)
    options = dict(bits=2, levels=5, activation_bits=8, epochs=1, batch=3)
    ganq.calibrate(fused, tmp_path / "whole", tokens, **options)

    def stop(block, *_):
        if block == 1:
            raise Stop

    with pytest.raises(Stop):
        ganq.calibrate(fused, tmp_path / "resumed", tokens, progress=stop, **options)
    assert ganq.calibrate(fused, tmp_path / "resumed", tokens, **options)["resumed_blocks"] == 1
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["resumed", "whole"]


def test_rows_longer_than_the_model_takes(fused, tmp_path):
    tokens = np.zeros((1, CONTEXT + 1), int)
    with pytest.raises(
        ganq.GanqError, match=f"expected rows of at most {CONTEXT} tokens, but got {CONTEXT + 1}"
    ):
        ganq.calibrate(fused, tmp_path / "c", tokens)
    assert not any(tmp_path.iterdir())


# Files of real producers

CAUSAL_MASK = np.tril(np.ones((1, 1, 64, 64), np.float32))
PRODUCERS = {
    "genai_tiny-random-gpt2-fp16-cuda_past.onnx": {},
    "genai_tiny-random-gpt2-fp32_past.onnx": {},
    "genai_tiny_gqa.onnx": {},
    "genai_tiny_random_llama_fp16/model.onnx": {},
    "ort_bert_toy_optimized.onnx": {},
    "ort_gpt2_megatron.onnx": {"attention_mask": CAUSAL_MASK},
}


@pytest.mark.parametrize("name", PRODUCERS)
def test_models_of_producers(name, tmp_path):
    path, inputs = IMPORTED / name, PRODUCERS[name]
    if not path.exists():
        pytest.skip(f"{path} is missing")
    graph = Graph(path, inputs)
    ids = np.random.default_rng(0).integers(0, graph.vocabulary, (2, 7))
    want, got = run_onnx_runtime(path, graph, ids), compute(graph, ids)
    # Some compute in f16.
    assert np.abs(got - want).max() < (2e-2 if want.dtype == np.float16 else 1e-3) * np.abs(want).max()
    options = dict(bits=3, activation_bits=8, epochs=1, inputs=inputs)
    summary = ganq.calibrate(path, tmp_path / "c", ids, **options)
    assert summary["quantized"] == len(choose_keys(graph))
