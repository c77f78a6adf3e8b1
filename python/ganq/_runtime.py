"""The runtime's C interface (runtime/include/ganq/runtime.h) through ctypes."""

import ctypes
import json
import math
import os
from ctypes import POINTER, byref, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint64, c_void_p
from functools import lru_cache

import numpy as np

from ._tools import GanqError, find_runtime

# ganq_dtype by number; numpy has no name for the others.
_DTYPES = {
    0: np.bool_,
    1: np.uint8,
    2: np.int8,
    3: np.uint16,
    4: np.int16,
    5: np.uint32,
    6: np.int32,
    7: np.uint64,
    8: np.int64,
    9: np.float16,
    11: np.float32,
    12: np.float64,
}
_NUMBERS = {np.dtype(dtype): number for number, dtype in _DTYPES.items()}


class _Tensor(ctypes.Structure):
    """ganq_tensor."""

    _fields_ = [
        ("name", c_char_p),
        ("dtype", c_int32),
        ("rank", c_int32),
        ("shape", POINTER(c_int64)),
        ("data", c_void_p),
    ]


# Function: (result type, argument types).
_SIGNATURES = {
    "ganq_version": (c_char_p, []),
    "ganq_error_message": (c_char_p, []),
    "ganq_model_open": (c_int32, [c_char_p, POINTER(c_void_p)]),
    "ganq_model_close": (None, [c_void_p]),
    "ganq_model_manifest": (c_char_p, [c_void_p]),
    "ganq_model_run": (c_int32, [c_void_p, POINTER(_Tensor), c_size_t, POINTER(c_void_p)]),
    "ganq_model_evaluate": (
        c_int32,
        [c_void_p, POINTER(c_int64), c_int64, c_int64, POINTER(c_double), POINTER(c_int64)],
    ),
    "ganq_results_count": (c_size_t, [c_void_p]),
    "ganq_results_get": (c_int32, [c_void_p, c_size_t, POINTER(_Tensor)]),
    "ganq_results_free": (None, [c_void_p]),
    "ganq_session_create": (c_int32, [c_void_p, POINTER(c_void_p)]),
    "ganq_session_destroy": (None, [c_void_p]),
    "ganq_session_feed": (c_int32, [c_void_p, POINTER(c_int64), c_int64]),
    "ganq_session_logits": (c_int32, [c_void_p, POINTER(POINTER(c_float)), POINTER(c_int64)]),
    "ganq_session_length": (c_int64, [c_void_p]),
    "ganq_session_max_context": (c_int64, [c_void_p]),
    "ganq_session_sample": (c_int32, [c_void_p, c_double, POINTER(c_int64)]),
    "ganq_session_seed": (None, [c_void_p, c_uint64]),
}


@lru_cache(maxsize=None)
def _library():
    path = find_runtime()
    try:
        library = ctypes.CDLL(path)
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise GanqError(f"cannot use the runtime {path}: {error}") from None
    return library


def _check(status):
    if status != 0:
        raise GanqError(_library().ganq_error_message().decode(errors="replace"))


def _pointer(array):
    return array.ctypes.data_as(POINTER(c_int64))


class RuntimeModel:
    """A compiled model that is loaded; see ganq_model_open."""

    def __init__(self, path):
        self._library = _library()
        self._handle = c_void_p()
        _check(self._library.ganq_model_open(os.fsencode(path), byref(self._handle)))
        self.manifest = json.loads(self._library.ganq_model_manifest(self._handle).decode())

    def __del__(self):
        if getattr(self, "_handle", None):
            self._library.ganq_model_close(self._handle)
            self._handle = None

    def run(self, inputs):
        """Runs the entry `main`: {name: array} -> {name: array}."""
        tensors = (_Tensor * len(inputs))()
        alive = []
        for tensor, (name, value) in zip(tensors, inputs.items()):
            value = np.asarray(value)
            if value.dtype not in _NUMBERS:
                raise GanqError(f"expected a tensor of numbers for input '{name}', but got {value.dtype}")
            shape = (c_int64 * value.ndim)(*value.shape)
            value = np.ascontiguousarray(value)
            alive += [value, shape]
            tensor.name, tensor.dtype, tensor.rank = (name.encode(), _NUMBERS[value.dtype], len(shape))
            tensor.shape, tensor.data = ctypes.cast(shape, POINTER(c_int64)), value.ctypes.data
        results = c_void_p()
        _check(self._library.ganq_model_run(self._handle, tensors, len(inputs), byref(results)))
        try:
            return dict(self._result(results, i) for i in range(self._library.ganq_results_count(results)))
        finally:
            self._library.ganq_results_free(results)

    def _result(self, results, index):
        tensor = _Tensor()
        _check(self._library.ganq_results_get(results, index, byref(tensor)))
        name = tensor.name.decode()
        if tensor.dtype not in _DTYPES:
            raise GanqError(
                f"output '{name}' has an element type that numpy lacks (ganq_dtype {tensor.dtype})"
            )
        dtype, shape = np.dtype(_DTYPES[tensor.dtype]), [tensor.shape[i] for i in range(tensor.rank)]
        data = ctypes.string_at(tensor.data, math.prod(shape) * dtype.itemsize)
        return name, np.frombuffer(data, dtype).reshape(shape).copy()

    def evaluate(self, tokens):
        """(summed negative log-likelihood, number of targets) of int [rows, columns] tokens."""
        tokens = np.ascontiguousarray(tokens, dtype=np.int64)
        loss, targets = c_double(), c_int64()
        _check(
            self._library.ganq_model_evaluate(
                self._handle, _pointer(tokens), *tokens.shape, byref(loss), byref(targets)
            )
        )
        return loss.value, targets.value


class Session:
    """One sequence of tokens and the model's memory of it."""

    def __init__(self, model, seed=0):
        self._library = _library()
        self._model = model
        self._handle = c_void_p()
        _check(self._library.ganq_session_create(model._handle, byref(self._handle)))
        self._library.ganq_session_seed(self._handle, seed % 2**64)

    def __del__(self):
        if getattr(self, "_handle", None):
            self._library.ganq_session_destroy(self._handle)
            self._handle = None

    def feed(self, tokens):
        """Appends token ids."""
        tokens = np.ascontiguousarray(tokens, dtype=np.int64)
        _check(self._library.ganq_session_feed(self._handle, _pointer(tokens), tokens.size))

    def logits(self):
        """The last token's logits, f32 [vocabulary]."""
        data, count = POINTER(c_float)(), c_int64()
        _check(self._library.ganq_session_logits(self._handle, byref(data), byref(count)))
        return np.ctypeslib.as_array(data, (count.value,)).copy()

    def sample(self, temperature):
        """The next token: the most probable at temperature 0, else a draw."""
        token = c_int64()
        _check(self._library.ganq_session_sample(self._handle, temperature, byref(token)))
        return token.value

    @property
    def length(self):
        return self._library.ganq_session_length(self._handle)

    @property
    def max_context(self):
        return self._library.ganq_session_max_context(self._handle)
