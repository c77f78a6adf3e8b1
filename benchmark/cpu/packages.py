"""Python packages that only this benchmark needs."""

import importlib
import subprocess
import sys


def need(module, package):
    """Imports a module; installs its package into this environment if it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError:
        print(f"== installing {package}", file=sys.stderr, flush=True)
        subprocess.check_call(
            [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", package]
        )
        importlib.invalidate_caches()
        return importlib.import_module(module)
