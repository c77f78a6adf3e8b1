"""Finds ganq's programs and its runtime library, and runs the programs."""

import os
import shutil
import subprocess
from pathlib import Path


class GanqError(RuntimeError):
    """What a ganq program or the runtime says went wrong."""


def _homes():
    """Directories with bin/ and lib/, the preferred one first."""
    if os.environ.get("GANQ_HOME"):
        yield Path(os.environ["GANQ_HOME"])
    else:
        # An editable install lies in the checkout, beside its build tree.
        yield Path(__file__).resolve().parents[2] / "build" / "release"


def _explain(name):
    where = ", ".join(str(home) for home in _homes())
    return GanqError(
        f"expected {name} in {where} or on the PATH, but got nothing; "
        "build ganq with scripts/setup.sh and ninja, or set GANQ_HOME to its build directory"
    )


def find_program(name):
    """The path of a program such as `ganq-compile`."""
    for home in _homes():
        path = home / "bin" / name
        if path.is_file():
            return str(path)
    path = shutil.which(name)
    if path:
        return path
    raise _explain(name)


def find_runtime():
    """The path of libganq_runtime.so."""
    name = "libganq_runtime.so"
    homes = list(_homes())
    program = shutil.which("ganq-run")
    if program:
        homes.append(Path(program).resolve().parents[1])
    for home in homes:
        for folder in ("lib", "runtime", "."):
            path = home / folder / name
            if path.is_file():
                return str(path)
    raise _explain(name)


def run_program(name, arguments, quiet=True):
    """Runs a program to its end; raises GanqError with its message.

    `quiet` keeps its output from the terminal. Returns its standard output.
    """
    command = [find_program(name), *map(str, arguments)]
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        errors="replace",
    )
    if result.returncode != 0:
        message = (result.stderr or "").strip()
        if not message:
            message = f"{name} ended with exit status {result.returncode}"
        raise GanqError(message)
    return result.stdout
