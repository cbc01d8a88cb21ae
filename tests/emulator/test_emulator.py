"""The emulator: does it run kernels as a device would, and does it catch what it must?"""

from __future__ import annotations

import numpy as np
import pytest

from . import build as emulation
from .device import EmulatedDevice

pytestmark = pytest.mark.skipif(emulation.unavailable() is not None, reason=str(emulation.unavailable()))

SMALL = """
#include "platform.cuh"
UPM_GLOBAL UPM_LAUNCH_BOUNDS(64, 1) warp_sums(const double* x, double* sums, unsigned* ballots) {
  double v = x[blockIdx.x * blockDim.x + threadIdx.x];
  const unsigned bits = __ballot_sync(~0u, v > 0.5);
  for (unsigned by = 16; by; by /= 2) v = v + __shfl_down_sync(~0u, v, by);
  if (threadIdx.x % 32 == 0) {
    sums[(blockIdx.x * blockDim.x + threadIdx.x) / 32] = v;
    ballots[(blockIdx.x * blockDim.x + threadIdx.x) / 32] = bits;
  }
}
UPM_GLOBAL UPM_LAUNCH_BOUNDS(64, 1) reverse(double* x) {
  UPM_SHARED double fixed[64];
  UPM_DYNAMIC_SHARED(double, asked);
  const unsigned i = threadIdx.x;
  fixed[i] = x[i];
  asked[i] = 2.0 * x[i];
  __syncthreads();
  x[i] = fixed[63 - i] + asked[63 - i];
}
UPM_GLOBAL UPM_LAUNCH_BOUNDS(64, 1) leaves_early(double* x) {
  if (threadIdx.x == 3) return;
  __syncthreads();
  x[threadIdx.x] = 1.0;
}
UPM_GLOBAL UPM_LAUNCH_BOUNDS(64, 1) reads_poison(double* x) {
  UPM_DYNAMIC_SHARED(double, asked);
  x[threadIdx.x] = asked[threadIdx.x];
  asked[threadIdx.x] = 1.0;
}
UPM_GLOBAL UPM_LAUNCH_BOUNDS(64, 1) order_of_arrival(int* order, int* next) {
  order[atomicAdd(next, 1)] = (int)threadIdx.x;
}
"""


def small_device(seed: int = 1) -> EmulatedDevice:
    return EmulatedDevice(emulation.build(("small",), emulation.kernel_texts() | {"small.cu": SMALL}), seed)


def test_shuffles_and_ballots() -> None:
    device, rng = small_device(), np.random.default_rng(5)
    x = rng.random(128)
    sums, ballots = device.allocate(4, np.float64), device.allocate(4, np.uint32)
    device.launch("small", "warp_sums", (2, 1, 1), (64, 1, 1), (device.upload(x), sums, ballots))
    tree = x.reshape(4, 32)
    for by in (16, 8, 4, 2, 1):
        tree = tree[:, :by] + tree[:, by : 2 * by]
    np.testing.assert_array_equal(device.download(sums), tree[:, 0])
    expected = (x.reshape(4, 32) > 0.5) @ (2 ** np.arange(32, dtype=np.int64))
    np.testing.assert_array_equal(device.download(ballots), expected.astype(np.uint32))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_static_and_dynamic_shared_memory(seed: int) -> None:
    device = small_device(seed)
    x = device.upload(np.arange(64.0))
    device.launch("small", "reverse", (1, 1, 1), (64, 1, 1), (x,), shared=64 * 8)
    np.testing.assert_array_equal(device.download(x), 3.0 * np.arange(63.0, -1.0, -1.0))


def test_shared_memory_is_poisoned_before_each_block() -> None:
    device = small_device()
    x = device.allocate(64, np.float64)
    device.launch("small", "reads_poison", (2, 1, 1), (64, 1, 1), (x,), shared=64 * 8)
    assert np.isnan(device.download(x)).all()


def test_the_seed_changes_the_order_of_threads() -> None:
    orders = []
    for seed in (1, 2, 2):
        device = small_device(seed)
        order = device.allocate(64, np.int32)
        device.launch("small", "order_of_arrival", (1, 1, 1), (64, 1, 1), (order, device.upload(np.zeros(1, np.int32))))
        orders.append(device.download(order).tolist())
    assert sorted(orders[0]) == list(range(64))
    assert orders[0] != orders[1] == orders[2]


def test_what_a_device_refuses_or_hangs_on_is_an_error() -> None:
    device = small_device()
    x = device.allocate(64, np.float64)
    with pytest.raises(RuntimeError, match="1 threads returned, 63 wait for the block"):
        device.launch("small", "leaves_early", (1, 1, 1), (64, 1, 1), (x,))
    with pytest.raises(RuntimeError, match="no kernel"):
        device.launch("small", "absent", (1, 1, 1), (64, 1, 1), (x,))
    with pytest.raises(RuntimeError, match="takes 1 arguments, not 2"):
        device.launch("small", "reverse", (1, 1, 1), (64, 1, 1), (x, x), shared=512)
    with pytest.raises(RuntimeError, match=r"argument 0: 4 bytes \(scalar\) given, 8 \(array\) declared"):
        device.launch("small", "reverse", (1, 1, 1), (64, 1, 1), (np.int32(1),), shared=512)
    with pytest.raises(RuntimeError, match="65 threads a block, bound 64"):
        device.launch("small", "reverse", (1, 1, 1), (65, 1, 1), (x,), shared=512)
    with pytest.raises(RuntimeError, match="grid"):
        device.launch("small", "reverse", (1, 70000, 1), (64, 1, 1), (x,), shared=512)
    with pytest.raises(RuntimeError, match="wrote past the end of argument 0"):
        device.launch("small", "reverse", (1, 1, 1), (64, 1, 1), (device.upload(np.arange(60.0)),), shared=512)
    with pytest.raises(TypeError, match="neither a device array nor"):
        device.launch("small", "reverse", (1, 1, 1), (64, 1, 1), (1.0,), shared=512)


def test_a_float_atomic_does_not_compile() -> None:
    text = '#include "platform.cuh"\nUPM_GLOBAL UPM_LAUNCH_BOUNDS(64, 1) adds(double* x) { atomicAdd(x, 1.0); }\n'
    with pytest.raises(RuntimeError, match="deleted function"):
        emulation.build(("adds",), emulation.kernel_texts() | {"adds.cu": text})
