"""The device interface on the emulator: NumPy arrays as device memory, kernels run on the CPU."""

from __future__ import annotations

import ctypes
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.backend.cuda.interface import OutOfDeviceMemory

from .build import build

GUARD = 256
"""Poisoned bytes behind every array: a write there is found without a sanitizer."""

ALIGNMENT = 256
"""of every allocation, as on a device"""


class EmulatedDevice:
    """`upm_gpu.backend.cuda.interface.Device` without a device.

    Fresh memory is poisoned (every bit set: NaN, -1), launches are checked against the declared arguments, and allocations
    beyond `memory` bytes are refused. `record` writes every launch to a case file for `driver.cpp`.
    """

    def __init__(self, library: Path | None = None, seed: int = 1, memory: int = 1 << 30, record: Path | None = None) -> None:
        self.name = "emulated CUDA device"
        self.seed = seed
        self.memory = memory
        self.refusals = 0
        self.launches: list[str] = []
        self._live: dict[int, int] = {}
        self._record = record
        self._cases: list[bytes] = []
        self._numbers: dict[int, int] = {}
        self._kept: list[np.ndarray] = []
        self._written: set[int] = set()
        self._library = ctypes.CDLL(str(library if library is not None else build()))
        self._launch = self._library.emulator_launch
        self._launch.restype = ctypes.c_char_p

    def allocate(self, shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
        dtype = np.dtype(dtype)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if size > self.free_memory():
            self.refusals += 1
            raise OutOfDeviceMemory(f"{size} bytes")
        memory = np.full(size + GUARD + ALIGNMENT, 0xFF, np.uint8)
        memory = memory[-memory.ctypes.data % ALIGNMENT :][: size + GUARD]
        array = memory[:size].view(dtype).reshape(shape).view(_DeviceArray)
        array.guard = memory[size:]
        token = id(array)
        self._live[token] = size
        array.forget = (self._live, token)
        return array

    def upload(self, values: np.ndarray, into: np.ndarray | None = None) -> np.ndarray:
        values = np.ascontiguousarray(values)
        if into is not None and (into.shape != values.shape or into.dtype != values.dtype):
            raise TypeError(f"{values.dtype} {values.shape} into {into.dtype} {into.shape}")
        array = self.allocate(values.shape, values.dtype) if into is None else into
        array[...] = values
        self._written.add(id(array))
        return array

    def download(self, array: np.ndarray) -> np.ndarray:
        return np.array(array, subok=False)

    def launch(self, module: str, kernel: str, grid: tuple[int, int, int], block: tuple[int, int, int], arguments: tuple[Any, ...],
               shared: int = 0) -> None:
        count = len(arguments)
        held, addresses, sizes, kinds = [], (ctypes.c_void_p * count)(), (ctypes.c_size_t * count)(), (ctypes.c_ubyte * count)()
        for i, argument in enumerate(arguments):
            if isinstance(argument, _DeviceArray):
                value = np.array(argument.ctypes.data, np.uint64)
                kinds[i] = 1
            elif isinstance(argument, np.generic):
                value = np.asarray(argument)
            else:
                raise TypeError(f"{kernel} argument {i} is a {type(argument).__name__}, neither a device array nor a NumPy scalar")
            held.append(value)
            addresses[i], sizes[i] = value.ctypes.data, value.nbytes
        if self._record is not None:
            self._write(kernel, grid, block, arguments, shared)
        self.launches.append(kernel)
        message = self._launch(kernel.encode(), (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block), addresses, sizes, kinds,
                               ctypes.c_size_t(count), ctypes.c_size_t(shared), ctypes.c_uint64(self.seed))
        if message:
            raise RuntimeError(message.decode())
        for i, argument in enumerate(arguments):
            if isinstance(argument, _DeviceArray) and argument.guard is not None and not (argument.guard == 0xFF).all():
                raise RuntimeError(f"{kernel} wrote past the end of argument {i}")

    def event(self) -> float:
        return time.perf_counter()

    def seconds(self, first: float, last: float) -> float:
        return last - first

    def free_memory(self) -> int:
        return self.memory - sum(self._live.values())

    def shared_memory(self) -> int:
        return 227 * 1024

    def trim(self) -> None:
        pass

    def _write(self, kernel: str, grid: tuple[int, int, int], block: tuple[int, int, int], arguments: tuple[Any, ...], shared: int) -> None:
        case = struct.pack("<Q", len(kernel)) + kernel.encode() + struct.pack("<6I3Q", *grid, *block, shared, self.seed, len(arguments))
        for argument in arguments:
            if isinstance(argument, np.generic):
                case += struct.pack("<2Q", 0, argument.nbytes) + argument.tobytes()
            elif id(argument) in self._numbers:
                written = id(argument) in self._written
                case += struct.pack("<2Q", 3 if written else 2, self._numbers[id(argument)])
                case += struct.pack("<Q", argument.nbytes) + argument.tobytes() if written else b""
            else:
                number = self._numbers[id(argument)] = len(self._numbers)
                self._kept.append(argument)  # so that no later array takes its identity
                case += struct.pack("<3Q", 1, number, argument.nbytes) + argument.tobytes()
            self._written.discard(id(argument))
        self._cases.append(case)
        assert self._record is not None
        self._record.write_bytes(struct.pack("<Q", len(self._cases)) + b"".join(self._cases))


class _DeviceArray(np.ndarray):
    """An array that counts as device memory while it lives."""

    guard: np.ndarray | None = None
    forget: tuple[dict[int, int], int] | None = None

    def __del__(self) -> None:
        if self.forget is not None:
            live, token = self.forget
            live.pop(token, None)
