"""Compiles a model by the ganq-compile program."""

import os
import tempfile

import numpy as np

from ._tools import GanqError, run_program


def compile(
    model,
    output,
    *,
    scheme=None,
    bits=None,
    group=None,
    rules=None,
    budget=None,
    calibration=None,
    solver=None,
    exclude=None,
    quantize_head=False,
    target=None,
    chips=None,
    cpu=None,
    kv_cache=None,
    bind=None,
    options=(),
    quiet=True,
):
    """Compiles the ONNX file `model` to `output` and returns `output`.

    scheme: "lut", "uniform", "pot" or "nf", "none" (keep the model's own
        precision), or the text of an attribute, as "lut<bits = 3, rows = 8>".
        Default: "none" with `rules`, the compiler's choice with `budget`, else
        "lut".
    bits: bits of a quantized weight (default: 4, or what `budget` chooses).
    group: weights of a row that share a scale or table (default: the row;
        64 with "nf").
    rules: path of a YAML or JSON file with the schemes of some weights.
    budget: bits per weight on average, within which the compiler chooses the
        scheme of each weight; needs token ids as `calibration`.
    calibration: token ids, a 2-D integer array or the path of a `.npy` file; or
        the path of a calibration.safetensors.
    solver: how codes are chosen, one of the scheme's solvers (default: its first).
    exclude: regular expression of the names of weights to leave alone.
    quantize_head: quantize the output head as well.
    target: "cpu" (default), "cuda" or "emulator".
    chips: for "cuda", as ["sm_80", "sm_90a"] (default: all that are known).
    cpu: "host", "x86-64-v3", "x86-64-v3-vnni" (with AVX-VNNI) or "x86-64-v4".
    kv_cache: how keys and values of a sequence are kept: "f32", "f16" or "i8"
        (default: "model", the model's own type).
    bind: sizes of named dimensions, as {"batch": 1}.
    options: more arguments for ganq-compile, as strings.
    quiet: keep its progress from the terminal.

    Raises GanqError with the compiler's message; there is then no output file.
    """
    arguments = [os.fspath(model), "-o", os.fspath(output)]
    if scheme is None and rules is None and budget is None:
        scheme = "lut"
    if scheme is not None:
        arguments.append(f"--scheme={scheme}")
    if bits is not None:
        arguments.append(f"--bits={bits}")
    if group is not None:
        arguments.append(f"--group={group}")
    if rules is not None:
        arguments.append(f"--rules={os.fspath(rules)}")
    if budget is not None:
        arguments.append(f"--budget={budget}")
    if solver is not None:
        arguments.append(f"--solver={solver}")
    if exclude is not None:
        arguments.append(f"--exclude={exclude}")
    if quantize_head:
        arguments.append("--quantize-head")
    if target is not None:
        arguments.append(f"--target={target}")
    if chips is not None:
        arguments.append(f"--chips={','.join(chips)}")
    if cpu is not None:
        arguments.append(f"--cpu={cpu}")
    if kv_cache is not None:
        arguments.append(f"--kv-cache={kv_cache}")
    for name, value in (bind or {}).items():
        arguments += ["--bind", f"{name}={int(value)}"]
    arguments += options
    if calibration is None:
        run_program("ganq-compile", arguments, quiet)
    elif isinstance(calibration, (str, os.PathLike)):
        run_program("ganq-compile", [*arguments, f"--calibration={os.fspath(calibration)}"], quiet)
    else:
        tokens = np.asarray(calibration)
        if tokens.ndim != 2 or tokens.dtype.kind not in "iu":
            raise GanqError(
                "expected calibration to be a 2-D array of token ids, but got "
                f"{tokens.ndim} dimensions of {tokens.dtype}"
            )
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "calibration.npy")
            np.save(path, np.ascontiguousarray(tokens, dtype=np.int64))
            run_program("ganq-compile", [*arguments, f"--calibration={path}"], quiet)
    return output
