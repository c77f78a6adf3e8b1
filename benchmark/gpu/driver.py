"""A device through the functions of its driver: NVIDIA's, or the emulator's."""

import ctypes
import os
import re
from ctypes import byref, c_char_p, c_float, c_int, c_uint, c_uint64, c_void_p

import numpy as np

# Field, symbol and parameters, in the order of ganq/driver_abi.h: P a pointer,
# I 32 bits, Q 64 bits.
FUNCTIONS = """
driver_version cuDriverGetVersion P
init cuInit I
error_name cuGetErrorName IP
error_string cuGetErrorString IP
device_count cuDeviceGetCount P
device_get cuDeviceGet PI
device_name cuDeviceGetName PII
device_attribute cuDeviceGetAttribute PII
context_retain cuDevicePrimaryCtxRetain PI
context_release cuDevicePrimaryCtxRelease_v2 I
context_push cuCtxPushCurrent_v2 P
context_pop cuCtxPopCurrent_v2 P
module_load cuModuleLoadData PP
module_unload cuModuleUnload P
module_function cuModuleGetFunction PPP
function_set cuFuncSetAttribute PII
memory_info cuMemGetInfo_v2 PP
memory_allocate cuMemAlloc_v2 PQ
memory_free cuMemFree_v2 Q
host_allocate cuMemAllocHost_v2 PQ
host_free cuMemFreeHost P
copy_to_device cuMemcpyHtoDAsync_v2 QPQP
copy_to_host cuMemcpyDtoHAsync_v2 PQQP
copy_within cuMemcpyDtoDAsync_v2 QQQP
fill cuMemsetD8Async QIQP
stream_create cuStreamCreate PI
stream_destroy cuStreamDestroy_v2 P
stream_synchronize cuStreamSynchronize P
event_create cuEventCreate PI
event_destroy cuEventDestroy_v2 P
event_record cuEventRecord PP
event_elapsed cuEventElapsedTime PPP
launch cuLaunchKernel PIIIIIIIPPP
capture_begin cuStreamBeginCapture_v2 PI
capture_end cuStreamEndCapture PP
graph_instantiate cuGraphInstantiateWithFlags PPQ
graph_launch cuGraphLaunch PP
graph_exec_destroy cuGraphExecDestroy P
graph_destroy cuGraphDestroy P
"""
ABI = 1
TYPES = {"P": c_void_p, "I": c_uint, "Q": c_uint64}
CACHE_BYTES, MAJOR, MINOR = 38, 75, 76  # CUdevice_attribute
DYNAMIC_SHARED = 8  # CUfunction_attribute
NON_BLOCKING, CAPTURE_THREAD_LOCAL = 1, 1


class NoDevice(Exception):
    """There is nothing to run on."""


class DriverError(Exception):
    pass


class Device:
    """The first device, its primary context current, with a stream of its own.

    `emulator` is the path of libganq_emulator.so, or None for NVIDIA's driver.
    """

    def __init__(self, emulator=None):
        self.emulated = emulator is not None
        listed = [line.split() for line in FUNCTIONS.strip().splitlines()]
        self.functions = {}
        try:
            library = ctypes.CDLL(emulator or "libcuda.so.1", ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise NoDevice(f"there is no driver: {error}") from None
        if self.emulated:
            library.ganq_emulator_driver.restype = c_void_p
            table = library.ganq_emulator_driver(c_uint(ABI))
            if not table:
                raise NoDevice(f"{emulator} is of another version")
            addresses = (c_void_p * len(listed)).from_address(table)
        for n, (field, symbol, parameters) in enumerate(listed):
            types = [TYPES[each] for each in parameters]
            if self.emulated:
                function = ctypes.CFUNCTYPE(c_int, *types)(addresses[n])
            else:
                function = getattr(library, symbol)
                function.restype, function.argtypes = c_int, types
            self.functions[field] = function
        number = c_int()
        try:
            self("init", 0)
            self("device_count", byref(number))
        except DriverError as error:
            raise NoDevice(str(error)) from None
        if number.value == 0:
            raise NoDevice("the driver has no device")
        self("device_get", byref(number), 0)
        self.number = number.value
        context = c_void_p()
        self("context_retain", byref(context), self.number)
        self("context_push", context)
        name = ctypes.create_string_buffer(256)
        self("device_name", name, 256, self.number)
        self.name = name.value.decode()
        self.stream = c_void_p()
        self("stream_create", byref(self.stream), NON_BLOCKING)

    def __call__(self, field, *arguments):
        result = self.functions[field](*arguments)
        if result != 0:
            text = c_char_p()
            self.functions["error_string"](result, byref(text))
            message = text.value.decode() if text.value else f"error {result}"
            raise DriverError(f"{field} failed: {message}")

    def attribute(self, number):
        value = c_int()
        self("device_attribute", byref(value), number, self.number)
        return value.value

    def chip(self, chips):
        """Of `chips`, the one whose code this device executes."""
        if self.emulated:
            wanted = ["emulator"]
        else:
            major, minor = self.attribute(MAJOR), self.attribute(MINOR)
            # Code with features of one chip runs on that alone, other code on
            # later chips of the same generation too.
            wanted = [f"sm_{major}{minor}a"]
            wanted += [f"sm_{major}{each}" for each in range(minor, -1, -1)]
        for each in wanted:
            if each in chips:
                return each
        raise NoDevice(f"{self.name} needs one of {', '.join(wanted)}, but there are {', '.join(chips)}")

    def load(self, path):
        module = c_void_p()
        if self.emulated:
            self.library = ctypes.CDLL(os.path.abspath(path))
            image = ctypes.addressof(c_void_p.in_dll(self.library, "ganq_simt_module"))
        else:
            with open(path, "rb") as file:
                self.image = ctypes.create_string_buffer(file.read())
            image = ctypes.addressof(self.image)
        self("module_load", byref(module), image)
        return module

    def function(self, module, name, shared):
        function = c_void_p()
        self("module_function", byref(function), module, name.encode())
        if shared > 48 << 10:
            self("function_set", function, DYNAMIC_SHARED, shared)
        return function

    def free_bytes(self):
        available, total = c_uint64(), c_uint64()
        self("memory_info", byref(available), byref(total))
        return available.value

    def allocate(self, size):
        address = c_uint64()
        self("memory_allocate", byref(address), size)
        return address.value

    def free(self, address):
        self("memory_free", address)

    def upload(self, array):
        """The address of a copy of the array."""
        array = np.ascontiguousarray(array)
        address = self.allocate(array.nbytes)
        self("copy_to_device", address, array.ctypes.data, array.nbytes, self.stream)
        self.synchronize()
        return address

    def download(self, address, array):
        self("copy_to_host", array.ctypes.data, address, array.nbytes, self.stream)
        self.synchronize()
        return array

    def synchronize(self):
        self("stream_synchronize", self.stream)

    def launch(self, function, grid, threads, shared, arguments):
        """Arguments are addresses and 32-bit integers."""
        values = (c_uint64 * len(arguments))(*arguments)
        start = ctypes.addressof(values)
        pointers = (c_void_p * len(arguments))(*(start + 8 * n for n in range(len(arguments))))
        self("launch", function, *grid, threads, 1, 1, shared, self.stream, pointers, None)

    def seconds(self, launches, repeats=5):
        """Seconds of one of the launches (functions without arguments), the median of
        several passes over all of them as one graph."""
        graph, executable = c_void_p(), c_void_p()
        self("capture_begin", self.stream, CAPTURE_THREAD_LOCAL)
        try:
            for each in launches:
                each()
        finally:
            self("capture_end", self.stream, byref(graph))
        self("graph_instantiate", byref(executable), graph, 0)
        events = [c_void_p() for _ in range(repeats + 1)]
        for event in events:
            self("event_create", byref(event), 0)
        self("graph_launch", executable, self.stream)
        for n, event in enumerate(events):
            if n:
                self("graph_launch", executable, self.stream)
            self("event_record", event, self.stream)
        self.synchronize()
        times = []
        for first, last in zip(events, events[1:]):
            milliseconds = c_float()
            self("event_elapsed", byref(milliseconds), first, last)
            times.append(milliseconds.value / 1e3 / len(launches))
        for event in events:
            self("event_destroy", event)
        self("graph_exec_destroy", executable)
        self("graph_destroy", graph)
        return float(np.median(times))


def header_fields(text):
    """The fields of ganq/driver_abi.h with their symbols, in its order."""
    return re.findall(r"F\((\w+), (cu\w+),", text)
