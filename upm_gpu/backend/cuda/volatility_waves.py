"""Resampled windows and GARCH walks on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.cuda.interface import Device, blocks_for
from upm_gpu.backend.cuda.memory import Prepared, Wave
from upm_gpu.backend.cuda.regimes import DeviceRegimes, draw_regimes, upload_regimes
from upm_gpu.model.garch_twin import common_factors, loadings
from upm_gpu.rng.streams import COMMON
from upm_gpu.scenario.sets import SmoothTable, Walk
from upm_gpu.scenario.volatility_sets import GarchWalk, Resample

THREADS = 128
FACTORS_A_THREAD = 4


@dataclass(frozen=True)
class DeviceResample:
    """Rows in device memory."""

    values: Any
    row_clipped: Any
    clipped: Any
    """(K,) uint64, counts up"""


@dataclass(frozen=True)
class DeviceGarch:
    """A GARCH walk in device memory; marginal, mixing and centring tables in one array, in this order."""

    arrays: dict[str, Any]
    tables: tuple[Any, ...]
    """low, inverse width, cells, first row, coefficients"""
    centring: tuple[Any, ...]
    """(G) of (K,) table numbers or -1"""
    regimes: DeviceRegimes | None
    mixing: int
    """number of the first mixing table"""
    clipped: Any
    persistence: tuple[Any, ...]
    workspace: dict[str, Any] = field(default_factory=dict)


def upload_resample(device: Device, scenarios: Resample) -> DeviceResample:
    """Values and clip counts of the rows."""
    return DeviceResample(device.upload(scenarios.values.astype(np.float64)), device.upload(scenarios.clipped.astype(np.int32)),
                          device.upload(np.zeros(len(scenarios.state_names), np.uint64)))


def draw_resample(prepared: Prepared, scenarios: Resample, wave: Wave, first: int, count: int, listed: NDArray[np.uint32] | None) -> None:
    """States of a wave."""
    from upm_gpu.backend.cuda.waves import device_source

    source: DeviceResample = device_source(prepared, scenarios)
    dates, factors, rows = scenarios.values.shape
    prepared.device.launch("resample", "resample_states", (blocks_for(count, THREADS), factors, 1), (THREADS, 1, 1),
                           (np.uint64(scenarios.seed), *_which(prepared, wave, first, listed), np.int32(count), np.int64(wave.stride), np.uint32(scenarios.stream_word),
                            np.int32(dates), np.int32(factors), np.int64(rows), source.values, source.row_clipped, wave.states, source.clipped))


def upload_garch(device: Device, walk: GarchWalk) -> DeviceGarch:
    """Every array of the walk."""
    tables: Sequence[SmoothTable] = (*walk.tables, *walk.mixing, *walk.centring) or (SmoothTable(0.0, 0.0, np.zeros((1, 8))),)
    cells = np.array([len(t.coefficients) for t in tables], np.int32)
    reals = {key: getattr(walk, key) for key in ("omega", "alpha", "beta", "variance", "top", "max_log_move", "term_weight", "drift")}
    reals |= {"falling": walk.alpha + walk.gamma}
    reals |= {key: one if (one := getattr(walk, key)) is not None else np.zeros(1) for key in ("residuals",)}
    arrays = {key: device.upload(np.ascontiguousarray(x, np.float64)) for key, x in reals.items()}
    arrays |= {key: device.upload(np.ascontiguousarray(getattr(walk, key), np.uint32)) for key in ("term_stream", "term_step")}
    arrays |= {key: device.upload(np.ascontiguousarray(x if len(x) else np.zeros(1), np.int32)) for key, x in
               (("group", walk.group), ("marginal", walk.marginal), ("odd", walk.odd))}
    before = len(walk.tables) + len(walk.mixing)
    return DeviceGarch(
        arrays, (device.upload(np.array([t.low for t in tables], np.float64)), device.upload(np.array([t.inverse_width for t in tables], np.float64)), device.upload(cells),
                 device.upload((np.cumsum(cells) - cells).astype(np.int32)), device.upload(np.concatenate([t.coefficients for t in tables]).astype(np.float64))),
        tuple(device.upload(np.where(row >= 0, row + before, -1).astype(np.int32)) for row in walk.centring_of),
        None if walk.residuals is not None else upload_regimes(device, loadings(walk), walk.regimes), len(walk.tables),
        device.upload(np.zeros(len(walk.state_names), np.uint64)), upload_persistence(device, walk))


def upload_persistence(device: Device, walk: Walk | GarchWalk) -> tuple[Any, ...]:
    """(K,) arrays: what a whole step leaves of a state, then what the part of a step before each date does."""
    one = np.ones(len(walk.state_names))
    if walk.persistence is None or walk.date_persistence is None:
        return (device.upload(one),) * (len(walk.dates) + 1)
    return tuple(device.upload(np.ascontiguousarray(row, np.float64)) for row in (walk.persistence, *walk.date_persistence))


def draw_garch(prepared: Prepared, walk: GarchWalk, wave: Wave, first: int, count: int, listed: NDArray[np.uint32] | None) -> None:
    """States of a wave, leg by leg."""
    from upm_gpu.backend.cuda.waves import device_source

    source: DeviceGarch = device_source(prepared, walk)
    device, a, factors = prepared.device, source.arrays, len(walk.state_names)
    common = common_factors(walk)
    if source.workspace.get("stride") != wave.stride:
        source.workspace.clear()
        source.workspace.update(stride=wave.stride, variance=device.allocate((factors, wave.stride), np.float64),
                                common=device.allocate((max(common, 1), wave.stride), np.float64),
                                stretch=device.allocate((max(len(walk.mixing), 1), wave.stride), np.float64))
    variance, common_normal, stretch = (source.workspace[key] for key in ("variance", "common", "stretch"))
    block, tiles = (THREADS, 1, 1), blocks_for(count, THREADS)
    seed, which, size = np.uint64(walk.seed), _which(prepared, wave, first, listed), (np.int32(count), np.int64(wave.stride))
    device.launch("garch", "start_garch", (tiles, factors, 1), block, (*size, a["variance"], wave.running, variance))
    roots = () if source.regimes is None else draw_regimes(device, source.regimes, walk.seed, which, size, tiles)
    recursion = tuple(a[key] for key in ("omega", "alpha", "falling", "beta", "top"))

    def leg(number: int, date: int) -> None:
        terms = (np.int32(walk.leg_first_term[number]), np.int32(walk.leg_first_term[number + 1]), a["term_stream"], a["term_step"], a["term_weight"])
        end = (np.float64(walk.leg_root[number]), source.centring[number], *recursion, source.persistence[date + 1], wave.running, variance, np.int32(date), a["drift"], wave.states, source.clipped)
        if walk.residuals is not None:
            device.launch("garch", "garch_resampled_leg", (tiles, factors, 1), block,
                          (seed, *which, np.int32(factors), *size, np.int64(walk.residuals.shape[1]), a["residuals"], *terms, a["max_log_move"], *source.tables, *end))
            return
        device.launch("garch", "garch_normals", (tiles, factors, 1), block, (seed, *which, *size, *terms, np.uint32(0), wave.normal))
        if common:
            device.launch("garch", "garch_normals", (tiles, common, 1), block, (seed, *which, *size, *terms, np.uint32(COMMON), common_normal))
        if walk.mixing:
            device.launch("garch", "garch_stretch", (tiles, len(walk.mixing), 1), block,
                          (seed, *which, *size, np.uint32(walk.leg_step[number]), np.uint32(walk.mixing_stream), np.int32(source.mixing), *source.tables, stretch))
        device.launch("garch", "garch_drawn_leg", (tiles, blocks_for(factors, FACTORS_A_THREAD), 1), block,
                      (np.int32(factors), *size, np.int32(common), *roots, np.int32(len(walk.mixing)), a["group"], a["max_log_move"],
                       a["marginal"], a["odd"], *source.tables, wave.normal, common_normal, stretch, *end))

    whole = 0
    for date in range(len(walk.dates)):
        while whole < walk.date_whole[date]:
            leg(whole, -1)
            whole += 1
        if walk.date_leg[date] >= 0:
            leg(int(walk.date_leg[date]), date)
        else:
            device.launch("garch", "garch_date", (tiles, factors, 1), block, (np.int32(factors), *size, wave.running, np.int32(date), a["drift"], wave.states))


def _which(prepared: Prepared, wave: Wave, first: int, listed: NDArray[np.uint32] | None) -> tuple[Any, ...]:
    if listed is not None:
        prepared.device.upload(np.resize(listed.astype(np.uint32), wave.stride), wave.listed)
    return np.uint32(first), wave.listed, np.int32(listed is not None)
