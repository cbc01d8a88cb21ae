"""The device interface on CuPy. The only file of the package that imports CuPy."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from upm_gpu.backend.cuda.compiler import architecture_for, compile_kernels, nvrtc
from upm_gpu.backend.cuda.interface import OutOfDeviceMemory
from upm_gpu.errors import DeviceError

PLAIN_SHARED_MEMORY = 48 * 1024
"""bytes a block may ask for without a kernel attribute"""


def available(ordinal: int = 0) -> tuple[bool, str, str]:
    """Whether `ordinal` can run the kernels, a reason code where not, and words. Compiles nothing.

    Codes: UPM-DV-001 no CuPy, 002 no NVRTC, 003 no driver, 004 no device, 005 driver older than the runtime, 007 device unknown
    to the compiler, 008 the driver failed.
    """
    try:
        cupy = _cupy()
        runtime = cupy.cuda.runtime
        driver, needed = runtime.driverGetVersion(), runtime.runtimeGetVersion()
        if driver == 0:
            return False, "UPM-DV-003", "no NVIDIA driver is loaded."
        if driver // 1000 < needed // 1000:
            return False, "UPM-DV-005", (f"the driver serves CUDA {_version(driver)}, CuPy needs {_version(needed)}. "
                                         f"Update the driver or install the extra cuda{driver // 1000}.")
        count = _device_count(runtime)
        if count <= ordinal:
            return False, "UPM-DV-004", f"{count} CUDA devices, number {ordinal} was asked for."
        nvrtc()
        found = runtime.getDeviceProperties(ordinal)
        architecture_for(10 * found["major"] + found["minor"])
    except DeviceError as error:
        return False, error.code, error.message
    return True, "", f"{found['name'].decode()}, {found['totalGlobalMem'] / 2**30:.0f} GiB, CUDA driver {_version(driver)}, runtime {_version(needed)}"


def _cupy() -> Any:
    if importlib.util.find_spec("cupy") is None:
        raise DeviceError("UPM-DV-001", "CuPy is not installed. Install the extra cuda12 or cuda13.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns where no toolkit is installed; ours needs none
            import cupy
    except ImportError as error:
        raise DeviceError("UPM-DV-001", f"CuPy does not load: {str(error).strip().splitlines()[0]}. Install the extra cuda12 or cuda13 that matches the driver.") from None
    return cupy


def _device_count(runtime: Any) -> int:
    try:
        return int(runtime.getDeviceCount())
    except runtime.CUDARuntimeError as error:
        if error.status == 100:  # cudaErrorNoDevice
            return 0
        raise DeviceError("UPM-DV-005" if error.status in (35, 803) else "UPM-DV-008", f"the driver answers: {error}.") from None


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


class CupyDevice:
    """One CUDA device with its own memory pool and compiled kernels; `interface.Device`.

    Work is queued on the device's default stream, so launches, uploads and downloads keep their order.
    """

    def __init__(self, ordinal: int = 0) -> None:
        runs, code, text = available(ordinal)
        if not runs:
            raise DeviceError(code, f"device cuda cannot run here: {text}")
        self._cupy = _cupy()
        self._device = self._cupy.cuda.Device(ordinal)
        found = self._cupy.cuda.runtime.getDeviceProperties(ordinal)
        self.name = found["name"].decode()
        self.architecture = architecture_for(10 * found["major"] + found["minor"])
        self._shared = int(found["sharedMemPerBlockOptin"])
        self._pool = self._cupy.cuda.MemoryPool()
        self._kernels: dict[tuple[str, str], Any] = {}
        with self._on_device():
            self._modules = {module: self._cupy.RawModule(path=str(path)) for module, path in compile_kernels(self.architecture).items()}

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        cuda = self._cupy.cuda
        try:
            with self._device, cuda.using_allocator(self._pool.malloc):
                yield
        except cuda.memory.OutOfMemoryError as error:
            raise OutOfDeviceMemory(str(error)) from None
        except (cuda.runtime.CUDARuntimeError, cuda.driver.CUDADriverError) as error:
            if "MemoryAllocation" in str(error) or "OUT_OF_MEMORY" in str(error):
                raise OutOfDeviceMemory(str(error)) from None
            raise DeviceError("UPM-DV-008", f"{self.name} failed: {error}. Run again; if it persists, run `upm doctor` or use --device cpu.") from None

    def allocate(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> Any:
        with self._on_device():
            return self._cupy.empty(shape, dtype)

    def upload(self, values: NDArray, into: Any = None) -> Any:
        values = np.ascontiguousarray(values)
        with self._on_device():
            array = self._cupy.empty(values.shape, values.dtype) if into is None else into
            array.set(values)
            return array

    def download(self, array: Any) -> NDArray:
        with self._on_device():
            return array.get()

    def launch(self, module: str, kernel: str, grid: tuple[int, int, int], block: tuple[int, int, int], arguments: tuple[Any, ...],
               shared: int = 0) -> None:
        with self._on_device():
            function = self._kernels.get((module, kernel))
            if function is None:
                function = self._kernels[module, kernel] = self._modules[module].get_function(kernel)
            if shared > PLAIN_SHARED_MEMORY and function.max_dynamic_shared_size_bytes < shared:
                function.max_dynamic_shared_size_bytes = shared
            function(grid, block, arguments, shared_mem=shared)

    def event(self) -> Any:
        with self._on_device():
            mark = self._cupy.cuda.Event()
            mark.record()
            return mark

    def seconds(self, first: Any, last: Any) -> float:
        with self._on_device():
            last.synchronize()
            return self._cupy.cuda.get_elapsed_time(first, last) / 1e3

    def free_memory(self) -> int:
        with self._on_device():
            return int(self._device.mem_info[0]) + int(self._pool.free_bytes())

    def shared_memory(self) -> int:
        return self._shared

    def trim(self) -> None:
        with self._on_device():
            self._pool.free_all_blocks()
