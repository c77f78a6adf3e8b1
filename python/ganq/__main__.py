"""The `ganq` command."""

import argparse
import json
import os
import sys

import numpy as np

from . import GanqError, __version__, load
from ._calibrate import add_command as add_calibrate
from ._tools import find_program


def _generate(args):
    model = load(args.model, args.tokenizer)
    waiting = [args.prompt]  # until the first piece: errors come before any text

    def show(piece):
        print(*waiting, piece, sep="", end="", flush=True)
        waiting.clear()

    model.generate(
        args.prompt,
        max_tokens=args.max_tokens,
        temperature=args.temperature,
        seed=args.seed,
        stream=show,
    )
    print(*waiting)


def _perplexity(args):
    try:
        tokens = np.load(args.tokens, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise GanqError(f"cannot read token ids from {args.tokens}: {error}") from None
    print(f"{load(args.model, tokenizer=False).perplexity(tokens):.6f}")


def _inspect(args):
    json.dump(load(args.model, tokenizer=False).inspect(), sys.stdout, indent=2)
    print()


def _compile(arguments):
    """Becomes ganq-compile, whose terminal, signals and status are then its own."""
    os.execv(find_program("ganq-compile"), ["ganq-compile", *arguments])


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="ganq", description="Compiles and runs quantized language models.")
    parser.add_argument("--version", action="version", version=f"ganq {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("generate", help="continue a text")
    command.add_argument("model", help="a .ganq file")
    command.add_argument("prompt", help="the text to continue")
    command.add_argument("-n", "--max-tokens", type=int, default=64, help="at most so many tokens (64)")
    command.add_argument(
        "-t", "--temperature", type=float, default=0.0, help="0: the most probable token (0)"
    )
    command.add_argument("-s", "--seed", type=int, default=0, help="of the draws (0)")
    command.add_argument("--tokenizer", help="a tokenizer.json (default: the one beside the model)")
    command.set_defaults(run=_generate)

    command = commands.add_parser("perplexity", help="judge a model on token ids")
    command.add_argument("model", help="a .ganq file")
    command.add_argument("tokens", help="a .npy file of integers [rows, length]")
    command.set_defaults(run=_perplexity)

    command = commands.add_parser("inspect", help="print the manifest as JSON")
    command.add_argument("model", help="a .ganq file")
    command.set_defaults(run=_inspect)

    add_calibrate(commands)
    commands.add_parser("compile", help="the program ganq-compile, with all its options", add_help=False)
    try:
        if arguments[:1] == ["compile"]:
            _compile(arguments[1:])
        args = parser.parse_args(arguments)
        args.run(args)
        sys.stdout.flush()
    except GanqError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        # Most likely the standard output's; what it still holds is to go nowhere at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not isinstance(error, BrokenPipeError):
            print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
