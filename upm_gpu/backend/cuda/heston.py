"""The Heston and Bates models on a device: launches of `kernels/heston.cu`, with the normals of walk.cu and the jumps of jumps.cu."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.cuda.interface import Device, blocks_for
from upm_gpu.backend.cuda.jumps import DeviceJumps, draw_jumps, upload_jumps
from upm_gpu.backend.cuda.memory import Wave
from upm_gpu.backend.cuda.regimes import DeviceRegimes, draw_regimes, upload_regimes
from upm_gpu.backend.cuda.sampled import DeviceSampled, draw_sampled_leg
from upm_gpu.backend.cuda.step_copula import DeviceStepCopula, draw_change, forget_step, upload_copula
from upm_gpu.scenario.sets import Heston

THREADS = 128


@dataclass(frozen=True)
class DeviceHeston:
    """`Heston` in device memory."""

    regimes: DeviceRegimes
    rho: Any
    constants: Any
    variance0: Any
    shifts: tuple[Any, Any, Any]
    term_stream: Any
    term_step: Any
    term_weight: Any
    centre: Any
    jumps: DeviceJumps | None
    copula: DeviceStepCopula | None
    clipped: Any


def upload_heston(device: Device, h: Heston) -> DeviceHeston:
    """The arrays on the device."""
    def up(values: NDArray[Any], dtype: Any) -> Any:
        return device.upload(np.ascontiguousarray(values, dtype) if values.size else np.zeros(1, dtype))

    return DeviceHeston(
        upload_regimes(device, h.cholesky, h.regimes), up(h.rho, np.float64), up(h.constants, np.float64), up(h.variance0, np.float64),
        (up(h.shift_underlying, np.int32), up(h.shift_base, np.float64), up(h.shift_slope, np.float64)), up(h.term_stream, np.uint32),
        up(h.term_step, np.uint32), up(h.term_weight, np.float64), up(h.centre, np.float64), upload_jumps(device, h.jumps), upload_copula(device, h),
        device.upload(np.zeros(len(h.state_names), np.uint64)))


def draw_heston(device: Device, source: DeviceHeston, h: Heston, wave: Wave, first: int, count: int, listed: NDArray[np.uint32] | None,
                sampled: DeviceSampled | None = None) -> None:
    """Queue the states of a wave; its normals plain or `sampled`."""
    underlyings, factors = len(h.variance0), len(h.state_names)
    block, tiles = (THREADS, 1, 1), blocks_for(count, THREADS)
    if listed is not None:
        device.upload(np.resize(listed.astype(np.uint32), wave.stride), wave.listed)
    which = (np.uint32(first), wave.listed, np.int32(listed is not None))
    size = (np.int32(count), np.int64(wave.stride))
    shape = (np.int32(underlyings), np.int32(factors), *size)
    roots = draw_regimes(device, source.regimes, h.seed, which, size, tiles)
    forget_step(source.copula)
    device.launch("heston", "start_heston", (tiles, underlyings, 1), block, (*size, source.variance0, wave.running))

    def leg(number: int, date: int) -> None:
        copula = draw_change(device, source.copula, h, wave, which, size, roots, number, tiles)
        if sampled is not None:
            draw_sampled_leg(device, sampled, h, wave, which, size, number, tiles)
        else:
            terms = (np.int32(h.leg_first_term[number]), np.int32(h.leg_first_term[number + 1]))
            device.launch("walk", "draw_normals", (tiles, 2 * underlyings, 1), block,
                          (np.uint64(h.seed), *which, *size, *terms, source.term_stream, source.term_step, source.term_weight, wave.normal))
        jumps = draw_jumps(device, source.jumps, h, wave, (np.uint64(h.seed), *which, *size), number, tiles)
        device.launch("heston", "heston_leg", (tiles, underlyings, 1), block,
                      (*shape, *roots, *copula, source.rho, source.constants, np.int32(h.leg_class[number]), wave.normal, *jumps, wave.running, np.int32(date),
                       source.centre, wave.states))

    whole = 0
    for date in range(len(h.dates)):
        while whole < h.date_whole[date]:
            leg(whole, -1)
            whole += 1
        if h.date_leg[date] >= 0:
            leg(int(h.date_leg[date]), date)
        else:
            device.launch("heston", "read_heston", (tiles, underlyings, 1), block, (*shape, wave.running, np.int32(date), source.centre, wave.states))
        if factors > 2 * underlyings:
            device.launch("heston", "shift_heston", (tiles, factors - 2 * underlyings, 1), block, (*shape, *source.shifts, np.int32(date), wave.states))
