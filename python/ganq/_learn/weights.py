"""The constants of a model, read from its files when they are asked for."""

import hashlib
import os
import stat
from collections.abc import Mapping

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from .._tools import GanqError

# TensorProto.DataType of elements that share a byte: their bits.
_SMALL = {21: 4, 22: 4, 23: 4, 25: 2, 26: 2}


def _is_float(dtype):
    return dtype.kind == "f" or "float" in dtype.name


def to_tensor(array):
    """A tensor of an array; floating point as f32, integers of less than 8 bits as int32."""
    array = np.asarray(array)
    if _is_float(array.dtype):
        return torch.from_numpy(array.astype(np.float32))
    if array.dtype.name.startswith(("int2", "int4", "uint2", "uint4")):
        array = array.astype(np.int32)
    return torch.from_numpy(np.array(array))


class Weights(Mapping):
    """{name: tensor} of TensorProtos. Only what is asked for is read, and nothing is kept."""

    def __init__(self, path):
        self._model, self._folder = path, os.path.dirname(os.path.abspath(path))
        self._protos = {}

    def add(self, name, proto):
        self._protos[name] = proto

    def __iter__(self):
        return iter(self._protos)

    def __len__(self):
        return len(self._protos)

    def __contains__(self, name):
        return name in self._protos

    def shape(self, name):
        return tuple(self._protos[name].dims)

    def is_float(self, name):
        return _is_float(onnx.helper.tensor_dtype_to_np_dtype(self._protos[name].data_type))

    def bytes(self, name):
        """What the elements take in a file."""
        proto = self._protos[name]
        count = int(np.prod(proto.dims, dtype=np.int64))
        if proto.data_type in _SMALL:
            return -(-count * _SMALL[proto.data_type] // 8)
        if proto.data_type == onnx.TensorProto.STRING:
            return 0
        return count * onnx.helper.tensor_dtype_to_np_dtype(proto.data_type).itemsize

    def _place(self, proto):
        """(path, offset, length) of external data; only plain files of the model's folder count."""
        entries = {entry.key: entry.value for entry in proto.external_data}
        location, what = entries.get("location", ""), f"external data of '{proto.name}' in {self._model}"
        path = os.path.normpath(os.path.join(self._folder, location))
        real = os.path.realpath(path)
        inside = os.path.join(os.path.realpath(self._folder), "")
        if not location or os.path.isabs(location) or not real.startswith(inside) or os.path.islink(path):
            raise GanqError(f"expected {what} to be a file of the model's folder, but got '{location}'")
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                raise GanqError(f"expected {what} to be a plain file, but got '{location}'")
            offset = int(entries.get("offset", 0))
            length = int(entries.get("length", self.bytes(proto.name)))
        except OSError as error:
            raise GanqError(f"cannot read {what} from {path}: {error.strerror or error}") from None
        except ValueError:
            raise GanqError(f"expected {what} to have integers as offset and length") from None
        if offset < 0 or length < 0 or offset + length > status.st_size:
            raise GanqError(
                f"expected {what} to lie within {path} of {status.st_size} bytes, "
                f"but got {length} bytes at {offset}"
            )
        return path, offset, length

    def array(self, name):
        proto = self._protos[name]
        try:
            if proto.data_location == onnx.TensorProto.EXTERNAL:
                path, offset, length = self._place(proto)
                filled = onnx.TensorProto(name=proto.name, data_type=proto.data_type, dims=proto.dims)
                with open(path, "rb") as file:
                    file.seek(offset)
                    filled.raw_data = file.read(length)
                proto = filled
            return numpy_helper.to_array(proto)
        except GanqError:
            raise
        except Exception as error:  # onnx's errors share no base class
            raise GanqError(f"cannot read '{name}' of {self._model}: {str(error)[:200]}") from None

    def __getitem__(self, name):
        return to_tensor(self.array(name))

    def digest(self):
        """SHA-256 of the files beside the model that hold weights; "" without any."""
        external = [p for p in self._protos.values() if p.data_location == onnx.TensorProto.EXTERNAL]
        paths = sorted({self._place(proto)[0] for proto in external})
        digest = hashlib.sha256()
        for path in paths:
            with open(path, "rb") as file:
                while chunk := file.read(1 << 22):
                    digest.update(chunk)
        return digest.hexdigest() if paths else ""
