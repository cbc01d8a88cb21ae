"""As much of CuPy as `upm_gpu/backend/cuda/device.py` uses, on the emulator: so that file runs without a device too."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from .device import EmulatedDevice


class FakeRuntimeError(RuntimeError):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class FakeMemoryError(MemoryError):
    pass


class FakeArray:
    """A device array: no NumPy behaviour but `set` and `get`."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def set(self, values: np.ndarray) -> None:
        assert values.dtype == self.array.dtype and values.shape == self.array.shape
        self.array[...] = values

    def get(self) -> np.ndarray:
        return np.array(self.array, subok=False)


class FakeFunction:
    def __init__(self, device: EmulatedDevice, module: str, name: str) -> None:
        self.device, self.module, self.name = device, module, name
        self.max_dynamic_shared_size_bytes = 48 * 1024

    def __call__(self, grid: tuple, block: tuple, arguments: tuple, *, shared_mem: int = 0) -> None:
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise FakeRuntimeError(1, "CUDA_ERROR_INVALID_VALUE: invalid argument")
        values = tuple(a.array if isinstance(a, FakeArray) else a for a in arguments)
        self.device.launch(self.module, self.name, grid, block, values, shared_mem)


def fake_cupy(library: Path, driver: int = 13000, runtime: int = 13000, devices: int = 1, count_error: int = 0, memory: int = 1 << 30) -> Any:
    """A module that can stand in `sys.modules` for `cupy`."""
    device = EmulatedDevice(library, memory=memory)

    def device_count() -> int:
        if count_error:
            raise FakeRuntimeError(count_error, f"cudaError {count_error}")
        return devices

    def empty(shape: Any, dtype: Any) -> FakeArray:
        try:
            return FakeArray(device.allocate(shape, dtype))
        except Exception as error:
            raise FakeMemoryError(str(error)) from None

    class FakeDevice:
        mem_info = property(lambda self: (device.free_memory(), memory))

        def __init__(self, ordinal: int) -> None:
            self.ordinal = ordinal

        def __enter__(self) -> FakeDevice:
            return self

        def __exit__(self, *_: Any) -> None:
            return None

    @contextmanager
    def using_allocator(allocator: Any):
        yield

    class RawModule:
        def __init__(self, path: str) -> None:
            assert Path(path).read_bytes().startswith(b"\x7fELF"), "not a cubin"
            self.module = Path(path).name.split("-")[0]

        def get_function(self, name: str) -> FakeFunction:
            return FakeFunction(device, self.module, name)

    properties = {"name": b"Fake H200", "major": 9, "minor": 0, "totalGlobalMem": 1 << 37, "sharedMemPerBlockOptin": 227 * 1024}
    module = ModuleType("cupy")
    module.empty, module.RawModule = empty, RawModule
    module.cuda = SimpleNamespace(
        Device=FakeDevice, using_allocator=using_allocator,
        MemoryPool=lambda: SimpleNamespace(malloc=None, free_bytes=lambda: 0, free_all_blocks=lambda: None),
        Event=lambda: SimpleNamespace(record=lambda: None, synchronize=lambda: None), get_elapsed_time=lambda a, b: 2.0,
        memory=SimpleNamespace(OutOfMemoryError=FakeMemoryError), driver=SimpleNamespace(CUDADriverError=FakeRuntimeError),
        runtime=SimpleNamespace(CUDARuntimeError=FakeRuntimeError, driverGetVersion=lambda: driver, runtimeGetVersion=lambda: runtime,
                                getDeviceCount=device_count, getDeviceProperties=lambda ordinal: properties))
    module.__spec__ = SimpleNamespace(name="cupy")
    return module
