"""What the orchestration asks of a device: memory, launches, events. Two implementations: `device.py` (CuPy), and the emulator of the tests."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import DTypeLike, NDArray


class OutOfDeviceMemory(Exception):
    """An allocation was refused. Callers halve their work and try again; it never reaches a user."""


class Device(Protocol):
    """One device, passed explicitly. Arrays are opaque: C-contiguous, on the device."""

    name: str

    def allocate(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> Any:
        """An array of undefined content; raises OutOfDeviceMemory."""
        ...

    def upload(self, values: NDArray, into: Any = None) -> Any:
        """A copy on the device, in the array `into` where given, else in a new one; raises OutOfDeviceMemory."""
        ...

    def download(self, array: Any) -> NDArray:
        """A copy on the host, after all launches so far."""
        ...

    def launch(self, module: str, kernel: str, grid: tuple[int, int, int], block: tuple[int, int, int], arguments: tuple[Any, ...],
               shared: int = 0) -> None:
        """Queue a kernel of `kernels/<module>.cu`. Arguments: device arrays and NumPy scalars of exactly the declared types."""
        ...

    def event(self) -> Any:
        """A mark in the queue."""
        ...

    def seconds(self, first: Any, last: Any) -> float:
        """Device time between two marks; waits for the second."""
        ...

    def free_memory(self) -> int:
        """Bytes that can still be allocated."""
        ...

    def shared_memory(self) -> int:
        """Most bytes of shared memory a block can ask for."""
        ...

    def trim(self) -> None:
        """Give back memory that no array uses."""
        ...


def blocks_for(work: int, block: int) -> int:
    """Blocks that cover `work` threads."""
    return -(-int(work) // block)

