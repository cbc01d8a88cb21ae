"""The formula headers compile for the device, without one: NVRTC makes cubins from the text alone."""

from __future__ import annotations

import pytest
from formula_harness import KERNELS

nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="no cuda-bindings")

HEADERS = ("platform.cuh", "elementary.cuh", "philox.cuh", "normal.cuh", "table.cuh", "black.cuh", "implied.cuh", "european.cuh", "american_nodes.cuh",
           "american.cuh")
SOURCE = """
#include "american.cuh"
#include "european.cuh"
#include "black.cuh"
#include "philox.cuh"
#include "table.cuh"

UPM_GLOBAL UPM_LAUNCH_BOUNDS(128, 1) formulas(unsigned long long seed, const double* UPM_RESTRICT cases, double* UPM_RESTRICT out, int n) {
  UPM_DYNAMIC_SHARED(double, row);
  UPM_SHARED double one;
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (threadIdx.x == 0) one = upm::expm1(cases[0]);
  __syncthreads();
  if (i >= n) return;
  const double z = upm::normal_quantile(upm::second_uniform(upm::philox4x32((upm::u32)i, 0, 0, 1, (upm::u32)seed, (upm::u32)(seed >> 32))));
  row[threadIdx.x] = upm::odd_smooth_table(z, 0.0, one, 4, cases) + upm::normal_log_cdf(z);
  upm::european_values(cases + i, n, out + i, n);
  out[i] += row[threadIdx.x] + upm::black_undiscounted(upm::exp(z), 1.0, z, 0.3, -1.0);
}
"""


def checked(result: tuple, program: object | None = None) -> object:
    status, *rest = result
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        log = ""
        if program is not None:
            log = b" " * nvrtc.nvrtcGetProgramLogSize(program)[1]
            nvrtc.nvrtcGetProgramLog(program, log)
            log = log.decode()
        raise AssertionError(f"{status}: {log}")
    return rest[0] if rest else None


def compiled(architecture: int, kind: str) -> bytes:
    """Cubin or PTX of SOURCE; every header is in memory under the name that its #include has."""
    texts = [(KERNELS / name).read_bytes() for name in HEADERS]
    program = checked(nvrtc.nvrtcCreateProgram(SOURCE.encode(), b"formulas.cu", len(HEADERS), texts, [n.encode() for n in HEADERS]))
    prefix = "sm" if kind == "CUBIN" else "compute"
    options = [f"--gpu-architecture={prefix}_{architecture}", "--std=c++17", "--fmad=false"]
    checked(nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options]), program)
    assert nvrtc.nvrtcGetProgramLogSize(program)[1] <= 1, "the compiler warned"
    size = checked(getattr(nvrtc, f"nvrtcGet{kind}Size")(program))
    out = b" " * size
    checked(getattr(nvrtc, f"nvrtcGet{kind}")(program, out))
    nvrtc.nvrtcDestroyProgram(program)
    return out


def supported() -> set[int]:
    return set(checked(nvrtc.nvrtcGetSupportedArchs()))


@pytest.mark.parametrize("architecture", [80, 90, 100, 120])
def test_cubin(architecture: int) -> None:
    if architecture not in supported():
        pytest.skip(f"this NVRTC does not know sm_{architecture}")
    cubin = compiled(architecture, "CUBIN")
    assert cubin.startswith(b"\x7fELF") and b"formulas" in cubin


def test_device_arithmetic_is_the_host_s() -> None:
    """What equal bits rest on: IEEE division and square root, no approximate instruction, no flush to zero, no hidden library call."""
    ptx = compiled(90, "PTX").decode()
    assert "fma.rn.f64" in ptx and "sqrt.rn.f64" in ptx and "div.rn.f64" in ptx
    for wrong in (".approx", ".ftz", "call.uni", ".f32"):
        assert wrong not in ptx, wrong
