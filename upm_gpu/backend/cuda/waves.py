"""A wave of scenarios through the kernels: states, unit P&L, row P&L."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.cuda.derived import derive_wave, upload_derived
from upm_gpu.backend.cuda.heston import draw_heston, upload_heston
from upm_gpu.backend.cuda.interface import Device, blocks_for
from upm_gpu.backend.cuda.jumps import DeviceJumps, draw_jumps, upload_jumps
from upm_gpu.backend.cuda.memory import Prepared, Wave
from upm_gpu.backend.cuda.regimes import DeviceRegimes, draw_regimes, upload_regimes
from upm_gpu.backend.cuda.sampled import DeviceSampled, draw_sampled_leg, turn_wave, upload_sampled
from upm_gpu.backend.cuda.volatility_waves import (
    draw_garch,
    draw_resample,
    upload_garch,
    upload_persistence,
    upload_resample,
)
from upm_gpu.scenario.derived import Derived
from upm_gpu.scenario.sets import Explicit, Heston, SampledWalk, ScenarioSet, SmoothTable, Walk

WALK_THREADS = 128
UNIT_THREADS = 128
FACTORS_A_THREAD = 4
ROW_BLOCK = (32, 8, 1)
SCENARIOS_A_THREAD = 4
TILE_THREADS = 512
TILE_SCENARIOS = 8


@dataclass(frozen=True)
class DeviceWalk:
    """A walk in device memory; the marginal tables in one array."""

    regimes: DeviceRegimes
    scale: Any
    max_log_move: Any
    marginal: Any
    table_low: Any
    table_inverse_width: Any
    table_cells: Any
    table_begin: Any
    table_coefficients: Any
    mixing: Any
    term_stream: Any
    term_step: Any
    term_weight: Any
    centre: Any
    persistence: tuple[Any, ...]
    """(K,) of a whole step, then of the part of a step each date ends in"""
    jumps: DeviceJumps | None
    clipped: Any
    """(K,) uint64, counts up"""


def device_source(prepared: Prepared, scenarios: ScenarioSet) -> Any:
    """The arrays of a scenario set uploaded, once while it stays the same; None for given states."""
    if scenarios.kind not in UPLOADS:
        return None
    known = prepared.sources.get("scenarios")
    if known is not None and isinstance(known[0], Derived) and known[0].base is scenarios:
        return known[1].base
    if known is None or known[0] is not scenarios:
        known = prepared.sources["scenarios"] = scenarios, UPLOADS[scenarios.kind](prepared.device, scenarios)
    return known[1]


def _upload_walk(device: Device, walk: Walk) -> DeviceWalk:
    tables = walk.tables or (SmoothTable(0.0, 0.0, np.zeros((1, 8))),)
    cells = np.array([len(t.coefficients) for t in tables], np.int32)
    return DeviceWalk(
        upload_regimes(device, walk.cholesky, walk.regimes), device.upload(walk.scale.astype(np.float64)), device.upload(walk.max_log_move.astype(np.float64)),
        device.upload(walk.marginal.astype(np.int32)), device.upload(np.array([t.low for t in tables], np.float64)),
        device.upload(np.array([t.inverse_width for t in tables], np.float64)), device.upload(cells),
        device.upload((np.cumsum(cells) - cells).astype(np.int32)), device.upload(np.concatenate([t.coefficients for t in tables]).astype(np.float64)),
        device.upload(walk.mixing.coefficients.astype(np.float64) if walk.mixing else np.zeros((1, 8))), device.upload(walk.term_stream.astype(np.uint32)),
        device.upload(walk.term_step.astype(np.uint32)), device.upload(walk.term_weight.astype(np.float64)), device.upload(walk.centre.astype(np.float64)),
        upload_persistence(device, walk), upload_jumps(device, walk.jumps),
        device.upload(np.zeros(len(walk.state_names), np.uint64)))


def draw(prepared: Prepared, scenarios: ScenarioSet, wave: Wave, first: int, count: int, listed: NDArray[np.uint32] | None = None) -> None:
    """States of `count` scenarios from `first`, or of the `count` scenarios `listed`, into `wave.states`."""
    DRAWS[scenarios.kind](prepared, scenarios, wave, first, count, listed)


def _draw_explicit(prepared: Prepared, scenarios: Explicit, wave: Wave, first: int, count: int, listed: NDArray[np.uint32] | None) -> None:
    states = np.zeros((*scenarios.values.shape[:2], wave.stride))
    states[:, :, :count] = scenarios.values[:, :, first : first + count] if listed is None else scenarios.values[:, :, listed]
    prepared.device.upload(states, wave.states)


def _draw_heston(prepared: Prepared, heston: Heston, wave: Wave, first: int, count: int, listed: NDArray[np.uint32] | None) -> None:
    draw_heston(prepared.device, device_source(prepared, heston), heston, wave, first, count, listed)


def _draw_walk(prepared: Prepared, walk: Walk, wave: Wave, first: int, count: int, listed: NDArray[np.uint32] | None) -> None:
    _draw_legs(prepared, walk, device_source(prepared, walk), wave, first, count, listed)


def _draw_sampled_walk(prepared: Prepared, sampled: SampledWalk, wave: Wave, first: int, count: int, listed: NDArray[np.uint32] | None) -> None:
    source = device_source(prepared, sampled)
    if isinstance(sampled.walk, Heston):
        return draw_heston(prepared.device, source.walk, sampled.walk, wave, first, count, listed, source)
    _draw_legs(prepared, sampled.walk, source.walk, wave, first, count, listed, source, sampled)


def _draw_derived(prepared: Prepared, derived: Derived, wave: Wave, first: int, count: int, listed: NDArray[np.uint32] | None) -> None:
    source = device_source(prepared, derived)
    draw(prepared, derived.base, replace(wave, states=wave.base), first, count, listed)
    derive_wave(prepared.device, source, derived, wave, first, count, listed)


def _draw_legs(prepared: Prepared, walk: Walk, source: DeviceWalk, wave: Wave, first: int, count: int, listed: NDArray[np.uint32] | None,
               sampled: DeviceSampled | None = None, sampling: SampledWalk | None = None) -> None:
    device = prepared.device
    factors = len(walk.state_names)
    block, tiles = (WALK_THREADS, 1, 1), blocks_for(count, WALK_THREADS)
    if listed is not None:
        device.upload(np.resize(listed.astype(np.uint32), wave.stride), wave.listed)
    which = (np.uint32(first), wave.listed, np.int32(listed is not None))
    size = (np.int32(count), np.int64(wave.stride))
    roots = draw_regimes(device, source.regimes, walk.seed, which, size, tiles)
    if sampled is not None and sampling is not None:
        turn_wave(device, sampled, sampling, which, size[0], tiles)
    dense = sampling is not None and sampling.dense
    device.launch("walk", "start_walk", (tiles, factors, 1), block, (*size, wave.running))

    def draw_leg(number: int) -> None:
        terms = (np.int32(walk.leg_first_term[number]), np.int32(walk.leg_first_term[number + 1]))
        device.launch("walk", "draw_normals", (tiles, factors, 1), block,
                      (np.uint64(walk.seed), *which, *size, *terms, source.term_stream, source.term_step, source.term_weight, wave.normal))
        if walk.mixing is not None:
            device.launch("walk", "draw_stretch", (tiles, 1, 1), block,
                          (np.uint64(walk.seed), *which, *size[:1], np.uint32(walk.leg_step[number]), np.uint32(walk.mixing_stream), np.float64(walk.mixing.low),
                           np.float64(walk.mixing.inverse_width), np.int32(len(walk.mixing.coefficients)), source.mixing, wave.stretch))

    def leg(number: int, date: int) -> None:
        draw_leg(number) if sampled is None else draw_sampled_leg(device, sampled, walk, wave, which, size, number, tiles)
        jumps = draw_jumps(device, source.jumps, walk, wave, (np.uint64(walk.seed), *which, *size), number, tiles)
        device.launch("walk", "move_leg", (tiles, blocks_for(factors, FACTORS_A_THREAD), 1), block,
                      (np.int32(factors), *size, *roots, np.int32(dense), source.scale, source.max_log_move, source.marginal, source.table_low, source.table_inverse_width,
                       source.table_cells, source.table_begin, source.table_coefficients, np.int32(walk.mixing is not None), wave.stretch,
                       np.float64(walk.leg_root[number]), wave.normal, *jumps, source.persistence[date + 1], wave.running, np.int32(date), source.centre, wave.states, source.clipped))

    whole = 0
    for date in range(len(walk.dates)):
        while whole < walk.date_whole[date]:
            leg(whole, -1)
            whole += 1
        if walk.date_leg[date] >= 0:
            leg(int(walk.date_leg[date]), date)
        else:
            device.launch("walk", "read_date", (tiles, factors, 1), block, (np.int32(factors), *size, wave.running, np.int32(date), source.centre, wave.states))


def take_clipped(prepared: Prepared, scenarios: ScenarioSet) -> NDArray[np.int64]:
    """(K,) draws that met max_log_move since the last call."""
    known = prepared.sources.get("scenarios")
    if known is None or known[0] is not scenarios:
        return np.zeros(len(scenarios.state_names), np.int64)
    del prepared.sources["scenarios"]
    source = known[1]
    if not isinstance(scenarios, Derived):
        return prepared.device.download(source.clipped).astype(np.int64)
    counts = prepared.device.download(source.events).astype(np.int64)
    if source.base is not None:
        counts[: len(scenarios.base.state_names)] = prepared.device.download(source.base.clipped).astype(np.int64)
    return counts


UPLOADS: dict[str, Callable[[Device, Any], Any]] = {
    "walk": _upload_walk,
    "heston": upload_heston,
    "resample": upload_resample,
    "garch": upload_garch,
    "sampled_walk": lambda device, sampled: upload_sampled(device, sampled, UPLOADS[sampled.walk.kind](device, sampled.walk)),
    "derived": lambda device, derived: upload_derived(device, derived, UPLOADS[derived.base.kind](device, derived.base) if derived.base.kind in UPLOADS else None),
}
"""by kind of set: its arrays on the device, with `clipped` (K,) uint64 among them"""
DRAWS: dict[str, Callable[..., None]] = {
    "explicit": _draw_explicit,
    "walk": _draw_walk,
    "heston": _draw_heston,
    "resample": draw_resample,
    "garch": draw_garch,
    "sampled_walk": _draw_sampled_walk,
    "derived": _draw_derived,
}
"""by kind of set: (prepared, scenarios, wave, first, count, listed) -> None"""


def price(prepared: Prepared, wave: Wave, factors: int, horizon: int, count: int) -> None:
    """Unit P&L of every column into `wave.unit`."""
    device, compiled, program = prepared.device, prepared.compiled, prepared.programs[horizon]
    size = (np.int32(factors), np.int32(count), np.int64(wave.stride))
    block, tiles = (UNIT_THREADS, 1, 1), blocks_for(count, UNIT_THREADS)
    if compiled.linear:
        device.launch("unit_pnl", f"linear_pnl_{prepared.suffix}", (tiles, compiled.linear, 1), block,
                      (wave.states, *size, program.linear_state, program.linear_date, program.linear_form, wave.unit))
    if program.slice_count:
        device.launch("unit_pnl", f"option_pnl_{prepared.suffix}", (program.slice_count, tiles, 1), block,
                      (wave.states, *size, program.group_integers, program.group_reals, program.slices, np.int32(compiled.linear), np.int64(compiled.terms.shape[1]),
                       prepared.terms, prepared.device_value0, program.table_axes, program.table_nodes, program.table_values, wave.unit))


def sum_rows(prepared: Prepared, wave: Wave, count: int, tiles: bool = False) -> None:
    """Row P&L into `wave.pnl` from `wave.unit`.

    `tiles`: with the columns of eight scenarios in shared memory, where they fit (`tiles_fit`); the same bits. Off until it has been
    measured on a device: `benchmarks/gpu.py` times both.
    """
    rows = prepared.rows.count
    if not rows:
        return
    csr = (prepared.row_first, prepared.row_column, prepared.row_quantity, np.int32(rows), wave.pnl)
    if tiles:
        prepared.device.launch("row_tail", "row_sums_tile", (blocks_for(count, TILE_SCENARIOS), 1, 1), (TILE_THREADS, 1, 1),
                               (wave.unit, np.int64(wave.stride), np.int32(prepared.compiled.columns), *csr), shared=_tile_bytes(prepared))
    else:
        grid = (blocks_for(rows, ROW_BLOCK[1]), blocks_for(count, ROW_BLOCK[0] * SCENARIOS_A_THREAD), 1)
        prepared.device.launch("row_tail", f"row_sums_{prepared.suffix}", grid, ROW_BLOCK, (wave.unit, np.int64(wave.stride), np.int32(count), *csr))


def tiles_fit(prepared: Prepared) -> bool:
    """Whether the float32 unit P&L of eight scenarios fits into the shared memory of a block."""
    return prepared.precision == "mixed" and _tile_bytes(prepared) <= prepared.device.shared_memory()


def _tile_bytes(prepared: Prepared) -> int:
    return prepared.compiled.columns * TILE_SCENARIOS * 4
