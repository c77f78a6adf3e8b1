"""Trains the demo model on stories of the project's own grammar.

Needs PyTorch besides the packages of scripts/setup.sh. Usage:

    python train_demo_model.py --minutes 35 --threads 2 --work build/demo \
        --output models/demo

Writes model.onnx and tokenizer.json into --output; --work keeps the encoded
training tokens and a checkpoint, from which an interrupted run goes on.
"""

import argparse
import json
import math
import os
import time

import numpy as np
import torch
from torch.nn import functional as F

from demo_model import Config, DemoModel, export_onnx
from make_tokens import SEPARATOR, encode_stories
from story_corpus import stories

# Streams of the grammar: the ones of make_tokens.py differ from it.
TRAIN_STREAM = 1


def train_tokenizer(path, vocab_size):
    """Byte-level byte-pair encoding; id 0, the separator, begins every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[SEPARATOR],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(stories(TRAIN_STREAM, 20000), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=SEPARATOR + " $A", special_tokens=[(SEPARATOR, 0)]
    )
    tokenizer.save(path)


def learning_rate(fraction, peak):
    """Linear warm-up over the first 2 % and a cosine down to a twentieth."""
    if fraction < 0.02:
        return peak * (fraction + 0.0005) / 0.0205
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0))))


def perplexity(model, rows):
    """exp of the mean cross-entropy; a row's targets are its tokens 1..end."""
    total = 0.0
    with torch.no_grad():
        for begin in range(0, len(rows), 8):
            x = torch.from_numpy(rows[begin : begin + 8].astype(np.int64))
            logits = model(x[:, :-1])
            total += F.cross_entropy(
                logits.reshape(-1, logits.shape[-1]), x[:, 1:].reshape(-1), reduction="sum"
            ).item()
    return math.exp(total / (rows.shape[0] * (rows.shape[1] - 1)))


def train(args, config, tokens, judge):
    """Trains for args.minutes of wall time, going on from the checkpoint."""
    torch.manual_seed(args.seed)
    model = DemoModel(config)
    decay = [p for p in model.parameters() if p.dim() == 2]
    plain = [p for p in model.parameters() if p.dim() != 2]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
        lr=args.peak,
        betas=(0.9, 0.98),
        foreach=True,
    )
    checkpoint = os.path.join(args.work, "checkpoint.pt")
    step, spent = 0, 0.0
    if os.path.exists(checkpoint):
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["spent"]
    budget = args.minutes * 60
    random = np.random.default_rng(args.seed + step)
    begin, saved, told = time.time() - spent, time.time(), 0.0
    while spent < budget:
        rate = learning_rate(spent / budget, args.peak)
        for group in optimizer.param_groups:
            group["lr"] = rate
        starts = random.integers(0, len(tokens) - args.length - 1, args.batch)
        batch = np.stack([tokens[s : s + args.length + 1] for s in starts]).astype(np.int64)
        x = torch.from_numpy(batch)
        logits = model(x[:, :-1])
        loss = F.cross_entropy(logits.reshape(-1, config.vocab_size), x[:, 1:].reshape(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        spent = time.time() - begin
        if spent - told > 20:
            told = spent
            print(f"{spent:6.0f} s  step {step}  loss {loss.item():.4f}  rate {rate:.5f}", flush=True)
        if time.time() - saved > 120 or spent >= budget:
            saved = time.time()
            torch.save(
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                    "spent": spent,
                },
                checkpoint + ".new",
            )
            os.replace(checkpoint + ".new", checkpoint)
            print(f"        held-out perplexity {perplexity(model, judge):.4f}", flush=True)
    return model


def strip_paths(path):
    """Removes the exporter's stack traces: they name places on this machine."""
    import onnx

    proto = onnx.load(path)
    for node in list(proto.graph.node) + [n for f in proto.functions for n in f.node]:
        kept = [p for p in node.metadata_props if p.key != "pkg.torch.onnx.stack_trace"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(proto, path)


def check_export(model, path):
    """Compares the file under ONNX Runtime with the PyTorch model."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    for shape in [(1, 1), (1, 9), (3, model.config.context)]:
        ids = random.integers(0, model.config.vocab_size, shape)
        got = session.run(None, {"input_ids": ids})[0]
        want = model(torch.from_numpy(ids)).detach().numpy()
        error = float(np.abs(got - want).max())
        print(f"ONNX Runtime against PyTorch, shape {shape}: {error:.2e}")
        if error > 1e-4:
            raise SystemExit(f"expected the export to agree with PyTorch, but got an error of {error}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=35, help="wall time of training")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--stories", type=int, default=100000)
    parser.add_argument("--batch", type=int, default=8, help="rows of a step")
    parser.add_argument("--length", type=int, default=512, help="tokens of a row")
    parser.add_argument("--peak", type=float, default=4e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", default="build/demo")
    parser.add_argument("--output", default="models/demo")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    os.makedirs(args.work, exist_ok=True)
    os.makedirs(args.output, exist_ok=True)
    config = Config()
    tokenizer_path = os.path.join(args.output, "tokenizer.json")
    if not os.path.exists(tokenizer_path):
        train_tokenizer(tokenizer_path, config.vocab_size)
    cache = os.path.join(args.work, "train.npy")
    if not os.path.exists(cache):
        np.save(cache, encode_stories(tokenizer_path, TRAIN_STREAM, args.stories))
    tokens = np.load(cache)
    judge = encode_stories(tokenizer_path, "judge", 200)[: 16 * 256].reshape(16, 256)
    print(f"{len(tokens)} training tokens", flush=True)

    model = train(args, config, tokens, judge)
    model.eval()
    path = os.path.join(args.output, "model.onnx")
    export_onnx(model, path)
    strip_paths(path)
    check_export(model, path)
    with open(os.path.join(args.output, "config.json"), "w") as file:
        json.dump(config.as_dict() | {"bos_token_id": 0}, file, indent=2)
        file.write("\n")


if __name__ == "__main__":
    main()
