"""The formula headers of `kernels/`, built by g++ for one instruction set and called through ctypes."""

from __future__ import annotations

import ctypes
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
KERNELS = HERE.parents[1] / "kernels"
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror",
         "-Wno-unused-function")
ISAS = {
    "plain": ((), ()),
    "avx2": (("-mavx2", "-mfma"), ("avx2", "fma")),
    "avx512": (("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mprefer-vector-width=512"),
               ("avx512f", "avx512dq", "avx512bw", "avx512vl")),
}
"""name -> (compiler flags, what the processor must have)"""


def processor_flags() -> frozenset[str]:
    """Instruction sets of this processor; empty where the system does not say."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return frozenset()
    for line in info.read_text().splitlines():
        if line.startswith("flags"):
            return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def offered() -> tuple[str, ...]:
    """The instruction sets that this processor runs, widest last."""
    flags = processor_flags()
    return tuple(isa for isa, (_, needed) in ISAS.items() if flags.issuperset(needed))


def build(isa: str, folder: Path, *extra: str) -> subprocess.CompletedProcess[str]:
    """Compile the harness for one instruction set into `folder`."""
    command = ["g++", *FLAGS, *ISAS[isa][0], *extra, f"-I{KERNELS}", str(HERE / "harness.cpp"), "-o", str(folder / f"formula_{isa}.so")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result


@dataclass(frozen=True)
class Kernels:
    """Array functions over one build of the harness."""

    isa: str
    library: ctypes.CDLL

    @classmethod
    def load(cls, isa: str, folder: Path) -> Kernels:
        build(isa, folder)
        library = ctypes.CDLL(str(folder / f"formula_{isa}.so"))
        library.european_inputs.restype = library.european_outputs.restype = ctypes.c_int64
        return cls(isa, library)

    def _call(self, name: str, count: int, *arguments: object) -> None:
        converted = [a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else a for a in arguments]
        getattr(self.library, name)(ctypes.c_int64(count), *converted)

    def apply(self, name: str, *columns: object) -> NDArray[np.float64]:
        """An elementwise function of broadcast float64 columns."""
        arrays = [np.ascontiguousarray(c) for c in np.broadcast_arrays(*(np.atleast_1d(np.asarray(c, float)) for c in columns))]
        out = np.empty(arrays[0].shape)
        self._call(name, out.size, *arrays, out)
        return out

    def sine_cosine(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        sine, cosine = np.empty_like(x), np.empty_like(x)
        self._call("sine_cosine", x.size, x, sine, cosine)
        return sine, cosine

    def european(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """(inputs, cases) -> (outputs, cases)."""
        assert columns.shape[0] == self.library.european_inputs()
        out = np.empty((self.library.european_outputs(), columns.shape[1]))
        self._call("european", columns.shape[1], np.ascontiguousarray(columns), out)
        return out

    def american(self, columns: NDArray[np.float64], share: bool = True) -> NDArray[np.float64]:
        """(inputs, cases) -> (outputs, cases) in the order of `formula/american.py`."""
        out = np.empty((10, columns.shape[1]))
        self._call("american", columns.shape[1], np.ascontiguousarray(columns), out, ctypes.c_int32(share))
        return out

    def philox(self, counter: NDArray[np.uint32], key: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """(n, 4), (n, 2) -> (n, 4)."""
        out = np.empty_like(counter)
        self._call("philox", len(counter), np.ascontiguousarray(counter), np.ascontiguousarray(key), out)
        return out

    def uniform(self, low: int, high: int) -> float:
        out = np.empty(1)
        self._call("uniforms", 1, ctypes.c_uint32(low), ctypes.c_uint32(high), out)
        return float(out[0])

    def normals(self, seed: int, first: int, factor: int, step: int, stream: int, count: int) -> NDArray[np.float64]:
        out = np.empty(count)
        self._call("normals", count, ctypes.c_uint64(seed), *(ctypes.c_uint32(w) for w in (first, factor, step, stream)), out)
        return out

    def table(self, name: str, t: NDArray[np.float64], low: float, inverse_width: float, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.empty_like(t)
        self._call(name, t.size, t, ctypes.c_double(low), ctypes.c_double(inverse_width), ctypes.c_int32(len(coefficients)),
                   np.ascontiguousarray(coefficients), out)
        return out
