"""Learned calibration of a model; PyTorch is imported only when it runs."""

import argparse
import json
import os
import sys

import numpy as np

from ._tools import GanqError


def load_tokens(tokens):
    """Token ids int64 [rows, length] of an array or a .npy file."""
    if isinstance(tokens, (str, os.PathLike)):
        try:
            tokens = np.load(tokens, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise GanqError(f"cannot read token ids from {os.fspath(tokens)}: {error}") from None
    tokens = np.asarray(tokens)
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or 0 in tokens.shape:
        raise GanqError(
            f"expected tokens to be a 2-D array of token ids, but got {list(tokens.shape)} of {tokens.dtype}"
        )
    return tokens.astype(np.int64)


def calibrate(
    model,
    output,
    tokens,
    *,
    bits=4,
    levels=None,
    group=0,
    activation_bits=0,
    smooth=None,
    shift=False,
    compensation=None,
    weights=True,
    epochs=None,
    batch=1,
    seed=0,
    attention=0.01,
    learning_rates=(5e-3, 1e-2, 1e-2, 1e-2),
    exclude=None,
    quantize_head=False,
    inputs=None,
    device=None,
    dry_run=False,
    progress=None,
    on_note=None,
):
    """Learns how to round the weights of the ONNX file `model`, block by block, and writes `output`.

    The output, a calibration.safetensors, is for `ganq.compile(..., scheme=summary["scheme"],
    solver="learned", calibration=output)`.

    tokens: token ids, a 2-D integer array or the path of a `.npy` file.
    bits, levels: levels of a weight (default: 2^bits; 5 with bits=2 is ABQ-LLM's W2*).
    group: weights of a row that share a scale (0: the row).
    activation_bits: bits of the rounded inputs of products, 1 to 8; 0 keeps them in floating point.
    smooth: learn a scale for each input channel (default: if inputs are rounded).
    shift: learn an offset of each input channel as well.
    compensation: add a learned rank-1 term to the last product of the first 3 and the last 4 blocks
    (default: up to 5 levels, unless weights are learned).
    weights: learn a change of each weight too, which is most of the gain at 2 and 3 bits; without it this
    is ABQ-LLM's own recipe, and the output is small.
    epochs: passes over the tokens for each block (default: chosen, with half the learning rates if that is
    better, by trials that learn from 7/8 of the rows; the rest judges them).
    batch: rows of tokens of one step. seed: of their order.
    attention: weight of the loss of attention maps.
    learning_rates: of input scales and shifts, clipping, compensation, and weights (in units of their
    root mean square); they fall to 0 along half a cosine.
    exclude: regular expression of the keys of weights to leave alone.
    quantize_head: learn the output head as well.
    inputs: {name: array or path of a .npy file} of the model's inputs that are no tokens, masks [batch,
    length] (taken as ones), positions, segments (0) or caches (empty); with one row, or one for each row of
    tokens.
    device: "cpu", "cuda" or another of PyTorch's names (default: "cuda" where there is one).
    dry_run: return what is known before learning starts.
    progress: called with (block, blocks, epoch, epochs, loss).
    on_note: called with lines of text: what the run needs, what trials found.

    Returns a summary as a dict; its "scheme" is the compiler's name of the scheme, "needs" the bytes of
    memory, of the device's memory and of the disk, "loss" each block's loss before and after, "trials"
    the divergence that each led to, "chosen" the epochs and the factor of the learning rates. A run that was stopped
    goes on after its last complete block when it is started again with the same arguments; until it is
    complete, its tensors are in the folder `<output>.partial`.
    Raises GanqError for what cannot be read, computed or written.
    """
    options = dict(locals())
    model, output, tokens = options.pop("model"), options.pop("output"), load_tokens(options.pop("tokens"))
    try:
        from ._learn.calibrate import calibrate_model
    except ImportError as error:
        raise GanqError(
            "expected PyTorch, onnx and safetensors for learned calibration, but got: "
            f"{error}; install them with pip install 'ganq[learn]'"
        ) from None
    return calibrate_model(os.fspath(model), os.fspath(output), tokens, **options)


class _Terminal:
    """Shows progress on one line of a terminal, and nothing elsewhere."""

    def __init__(self, stream):
        self.stream = stream if stream.isatty() else None

    def note(self, text):
        if self.stream:
            print(f"\r{text:<60}", file=self.stream, flush=True)

    def __call__(self, block, blocks, epoch, epochs, loss):
        if self.stream:
            text = f"block {block + 1}/{blocks}  epoch {epoch + 1}/{epochs}  loss {loss:.5g}"
            print(f"\r{text:<60}", end="", file=self.stream, flush=True)

    def close(self):
        if self.stream:
            print(f"\r{'':<60}\r", end="", file=self.stream, flush=True)


def _split_input(text):
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise GanqError(f"expected --input NAME=FILE.npy, but got '{text}'")
    return name, path


def _run(args):
    options = vars(args).copy()
    as_json = options.pop("json")
    del options["command"], options["run"]
    terminal = _Terminal(sys.stderr)
    try:
        inputs = dict(_split_input(text) for text in options.pop("input"))
        model, output = options.pop("model"), options.pop("output")
        summary = calibrate(model, output, inputs=inputs, progress=terminal, on_note=terminal.note, **options)
    finally:
        terminal.close()
    print(json.dumps(summary, indent=2) if as_json else summary["scheme"])


def add_command(commands):
    """Adds `calibrate` to the subcommands of `ganq`."""
    command = commands.add_parser(
        "calibrate",
        help="learn how to round a model's weights (needs ganq[learn]); prints the scheme for --scheme",
    )
    command.add_argument("model", help="an .onnx file")
    command.add_argument(
        "-o", "--output", required=True, help="a .safetensors file for ganq-compile --calibration"
    )
    command.add_argument("--tokens", required=True, help="a .npy file of integers [rows, length]")
    command.add_argument("--bits", type=int, default=4, help="bits of a weight (4)")
    command.add_argument("--levels", type=int, help="levels of a weight (2^bits)")
    command.add_argument("--group", type=int, default=0, help="columns per scale (0: whole rows)")
    command.add_argument(
        "--activation-bits", type=int, default=0, help="bits of the inputs of products (0: floating point)"
    )
    for name, what in [
        ("smooth", "scales of input channels (if inputs are rounded)"),
        ("shift", "offsets of input channels (no)"),
        ("compensation", "rank-1 terms of the first and last blocks (up to 5 levels without --weights)"),
        ("weights", "changes of the weights (yes)"),
    ]:
        command.add_argument(
            f"--{name}",
            action=argparse.BooleanOptionalAction,
            default={"weights": True, "shift": False}.get(name),
            help=f"learn {what}",
        )
    command.add_argument(
        "--epochs",
        type=int,
        help="passes over the tokens per block (chosen by trials on rows that are held out)",
    )
    command.add_argument("--batch", type=int, default=1, help="rows of tokens per step (1)")
    command.add_argument("--seed", type=int, default=0, help="of the order of the rows (0)")
    command.add_argument("--attention", type=float, default=0.01, help="weight of the attention loss (0.01)")
    command.add_argument("--exclude", help="weights to leave alone (regular expression)")
    command.add_argument("--quantize-head", action="store_true", help="learn the output head too")
    command.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=FILE.npy",
        help="an input of the model that is no tokens, mask, positions or cache",
    )
    command.add_argument("--device", help="cpu, cuda, ... (cuda where there is one)")
    command.add_argument("--dry-run", action="store_true", help="find out what it needs, and stop")
    command.add_argument("--json", action="store_true", help="print a summary as JSON")
    command.set_defaults(run=_run)
