"""What was learned, on disk: a file for each block until the output is complete."""

import hashlib
import json
import os
import shutil

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .._tools import GanqError


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
    """The folder `<output>.partial`; becomes the file `output`."""

    def __init__(self, output, metadata, identity):
        """identity: JSON of all that decides the result; a folder of another one is started afresh."""
        self.output, self.folder, self.metadata = output, output + ".partial", metadata
        self.identity = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self.blocks, self.losses = {}, []  # key: the block that learned it
        self._resume()

    def _path(self, block):
        return os.path.join(self.folder, f"{block}.safetensors")

    def _resume(self):
        while True:
            try:
                with safe_open(self._path(len(self.losses)), "pt") as file:
                    metadata = file.metadata() or {}
                    if metadata.get("identity") != self.identity:
                        return
                    self.blocks.update((_split(name)[0], len(self.losses)) for name in file.keys())
                    self.losses.append(json.loads(metadata["loss"]))
            except (OSError, SafetensorError):
                return

    def get(self, keys):
        """What earlier blocks learned of the weights `keys`."""
        tensors = {}
        for block in {self.blocks[key] for key in keys if key in self.blocks}:
            tensors.update(read_tensors(self._path(block), keys))
        return tensors

    def add(self, learned, losses):
        """Writes the next block: {key: {suffix: tensor}}, losses of its first and last epoch."""
        block = len(self.losses)
        flat = {
            # A scale that several weights share is stored with each of them.
            f"{key}.{suffix}": value.detach().to("cpu", torch.float32).contiguous().clone()
            for key, tensors in learned.items()
            for suffix, value in tensors.items()
        }
        data = save(flat, {"identity": self.identity, "loss": json.dumps(losses)})
        try:
            os.makedirs(self.folder, exist_ok=True)
            if not block:  # of another run
                for name in os.listdir(self.folder):
                    os.remove(os.path.join(self.folder, name))
            new = self._path("new")
            with open(new, "wb") as file:
                file.write(data)
            os.replace(new, self._path(block))
        except OSError as error:
            raise GanqError(f"cannot write {self.folder}: {error}") from None
        self.blocks.update((key, block) for key in learned)
        self.losses.append(losses)

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
            shutil.rmtree(self.folder)
        except OSError as error:
            raise GanqError(f"cannot write {self.output}: {error}") from None
