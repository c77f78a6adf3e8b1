"""What was learned, on disk: a file for each block until the output is complete."""

import contextlib
import json
import os
import re
import shutil

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .._tools import GanqError

try:
    import fcntl
except ImportError:  # elsewhere than on POSIX systems two runs are not told apart
    fcntl = None


def _split(name):
    return name.rsplit(".", 1)


def read_tensors(path, keys=None):
    """{key: {suffix: tensor}} of a calibration.safetensors, or of those `keys` of it."""
    tensors = {}
    with safe_open(path, "pt") as file:
        for name in file.keys():
            key, suffix = _split(name)
            if keys is None or key in keys:
                tensors.setdefault(key, {})[suffix] = file.get_tensor(name)
    return tensors


class Store:
    """The folder `<output>.partial`; becomes the file `output`. To be used in a `with`."""

    def __init__(self, output, metadata, identity):
        """identity: {what: JSON} of all that decides the result; a folder of another run is started afresh."""
        self.output, self.folder, self.metadata = output, output + ".partial", metadata
        self.identity = json.loads(json.dumps(identity))
        self.blocks, self.losses = {}, []  # key: the block that learned it
        self.trials = {}
        self.other_run = []  # in what an earlier run in the folder differs

    def __enter__(self):
        try:
            os.makedirs(self.folder, exist_ok=True)
            self.lock = open(os.path.join(self.folder, "lock"), "wb")
        except OSError as error:
            raise GanqError(f"cannot write {self.folder}: {error}") from None
        try:
            if fcntl:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.lock.close()
            raise GanqError(
                f"expected {self.folder} to be of no other run, but one is at work there"
            ) from None
        self._resume()
        return self

    def __exit__(self, *_):
        self.lock.close()
        if not self.losses and not self.trials:
            self._remove(r"new\.safetensors|lock")

    def _remove(self, names):
        """Removes the files with such names, and the folder unless it holds something else."""
        with contextlib.suppress(OSError):
            for name in os.listdir(self.folder):
                if re.fullmatch(names, name):
                    os.remove(os.path.join(self.folder, name))
            os.rmdir(self.folder)

    def _path(self, block):
        return os.path.join(self.folder, f"{block}.safetensors")

    def _differs(self, metadata):
        """Whether a file is of another run."""
        found = json.loads(metadata["identity"])
        names = {*found, *self.identity}
        differing = sorted(name for name in names if found.get(name) != self.identity.get(name))
        if differing and not self.losses and not self.trials:
            self.other_run = differing
        return bool(differing)

    def _resume(self):
        with contextlib.suppress(OSError, KeyError, ValueError, AttributeError, TypeError):
            with open(os.path.join(self.folder, "trials.json")) as file:
                entry = json.load(file)
            if not self._differs(entry):
                self.trials = {name: float(value) for name, value in entry["trials"].items()}
        while True:
            try:
                with safe_open(self._path(len(self.losses)), "pt") as file:
                    metadata = file.metadata() or {}
                    if self._differs(metadata):
                        return
                    self.blocks.update((_split(name)[0], len(self.losses)) for name in file.keys())
                    self.losses.append(json.loads(metadata["loss"]))
            except (OSError, SafetensorError, KeyError, ValueError, AttributeError, TypeError):
                return

    def get(self, keys):
        """What earlier blocks learned of the weights `keys`."""
        tensors = {}
        for block in {self.blocks[key] for key in keys if key in self.blocks}:
            tensors.update(read_tensors(self._path(block), keys))
        return tensors

    def _write(self, path, data):
        try:
            new = self._path("new")
            with open(new, "wb") as file:
                file.write(data)
            os.replace(new, path)
        except OSError as error:
            raise GanqError(f"cannot write {self.folder}: {error}") from None

    def add(self, learned, losses):
        """Writes the next block: {key: {suffix: tensor}}, its loss before and after."""
        block = len(self.losses)
        flat = {
            # A scale that several weights share is stored with each of them.
            f"{key}.{suffix}": value.detach().to("cpu", torch.float32).contiguous().clone()
            for key, tensors in learned.items()
            for suffix, value in tensors.items()
        }
        for name, value in flat.items():
            if not torch.isfinite(value).all():
                raise GanqError(f"expected to learn finite values, but got others in '{name}'")
        data = save(flat, {"identity": json.dumps(self.identity), "loss": json.dumps(losses)})
        self._write(self._path(block), data)
        self.blocks.update((key, block) for key in learned)
        self.losses.append(losses)

    def add_trial(self, name, value):
        """Keeps what a trial found."""
        self.trials[name] = value
        entry = {"identity": json.dumps(self.identity), "trials": self.trials}
        self._write(os.path.join(self.folder, "trials.json"), json.dumps(entry).encode())

    def finish(self):
        """Joins the blocks' files into the output, and removes them."""
        header, parts, end = {"__metadata__": self.metadata}, [], 0
        new = self._path("new")
        try:
            for block in range(len(self.losses)):
                with open(self._path(block), "rb") as file:
                    size = int.from_bytes(file.read(8), "little")
                    entries = json.loads(file.read(size))
                entries.pop("__metadata__", None)
                start = end
                for name, entry in entries.items():
                    first, last = (start + offset for offset in entry["data_offsets"])
                    header[name] = {**entry, "data_offsets": [first, last]}
                    end = max(end, last)
                parts.append(8 + size)
            text = json.dumps(header).encode()
            text += b" " * (-len(text) % 8)
            with open(new, "wb") as output:
                output.write(len(text).to_bytes(8, "little") + text)
                for block, offset in enumerate(parts):
                    with open(self._path(block), "rb") as file:
                        file.seek(offset)
                        shutil.copyfileobj(file, output, 1 << 20)
            os.replace(new, self.output)
        except OSError as error:
            raise GanqError(f"cannot write {self.output}: {error}") from None
        self.drop()

    def drop(self):
        """Removes all that was learned, by trials too."""
        with contextlib.suppress(OSError):
            for name in os.listdir(self.folder):
                if re.fullmatch(r"[0-9]+x[0-9.]+\.partial", name):
                    shutil.rmtree(os.path.join(self.folder, name))
        self._remove(r"([0-9]+|new)\.safetensors|trials\.json|lock")
