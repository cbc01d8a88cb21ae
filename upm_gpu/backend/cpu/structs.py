"""Compiled books and scenario sets as the C structs of libupm_host."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from upm_gpu.backend.cpu.derived_structs import derived_struct
from upm_gpu.backend.cpu.library import (
    BookStruct,
    HestonStruct,
    JumpsStruct,
    Keep,
    ProgramStruct,
    ScenariosStruct,
    TableStruct,
    ValueTableStruct,
)
from upm_gpu.backend.cpu.regime_structs import lend_regimes
from upm_gpu.backend.cpu.sampled_structs import sampled_walk_struct
from upm_gpu.backend.cpu.volatility_structs import garch_struct, lend_persistence, resample_struct
from upm_gpu.pricing.compiled import GROUP_INTEGERS, GROUP_REALS, TERM_REALS, Compiled, Rows, require_tables
from upm_gpu.scenario.sets import Explicit, Heston, Jumps, ScenarioSet, SmoothTable, Walk


def book_struct(compiled: Compiled, rows: Rows, float32: bool) -> tuple[BookStruct, Keep]:
    """UpmBook of a compiled book and its rows."""
    keep = Keep()
    programs = (ProgramStruct * len(compiled.programs))()
    for struct, program in zip(programs, compiled.programs, strict=True):
        groups = len(program.group_integers)
        struct.groups = groups
        struct.linear_state = keep(program.linear_state, np.int32, (compiled.linear,))
        struct.linear_date = keep(program.linear_date, np.int32, (compiled.linear,))
        struct.linear_form = keep(np.zeros(compiled.linear) if program.linear_form is None else program.linear_form, np.int32, (compiled.linear,))
        struct.group_integers = keep(program.group_integers, np.int32, (groups, len(GROUP_INTEGERS)))
        struct.group_reals = keep(program.group_reals, np.float64, (groups, len(GROUP_REALS)))
        require_tables(program)
        tables = (ValueTableStruct * max(len(program.tables), 1))()
        for lent, table in zip(tables, program.tables, strict=False):
            lent.low, lent.inverse_step, lent.nodes = table.low, table.inverse_step, table.values.shape
            lent.value = keep(table.values, np.float64, table.values.shape)
        keep.arrays.append(tables)
        struct.tables, struct.table = len(program.tables), ctypes.addressof(tables)
    keep.arrays.append(programs)
    entries = len(rows.column)
    book = BookStruct(
        columns=compiled.columns, linear=compiled.linear, dates=len(compiled.dates), states=len(compiled.state_names),
        horizons=len(compiled.programs), rows=rows.count, entries=entries,
        terms=keep(compiled.terms, np.float64, (len(TERM_REALS), compiled.columns - compiled.linear)), programs=programs,
        row_first=keep(rows.first, np.int64, (rows.count + 1,)), row_column=keep(rows.column, np.int32, (entries,)),
        row_quantity=keep(rows.quantity, np.float64, (entries,)), store_float32=int(float32),
    )
    return book, keep


def _table(table: SmoothTable, keep: Keep) -> TableStruct:
    cells = len(table.coefficients)
    return TableStruct(low=table.low, inverse_width=table.inverse_width, cells=cells, coefficients=keep(table.coefficients, np.float64, (cells, 8)))


def scenarios_struct(scenarios: ScenarioSet) -> tuple[ScenariosStruct, Keep]:
    """UpmScenarios of a scenario set, by its kind."""
    keep = Keep()
    return STRUCTS[scenarios.kind](scenarios, keep), keep


def _explicit(scenarios: Explicit, keep: Keep) -> ScenariosStruct:
    dates, states, count = scenarios.values.shape
    return ScenariosStruct(kind=0, states=states, dates=dates, count=count, values=keep(scenarios.values, np.float64, (dates, states, count)))


def _walk(walk: Walk, keep: Keep) -> ScenariosStruct:
    size, dates, legs, terms = len(walk.state_names), len(walk.dates), len(walk.leg_step), len(walk.term_step)
    tables = (TableStruct * max(len(walk.tables), 1))(*[_table(t, keep) for t in walk.tables])
    keep.arrays.append(tables)
    struct = ScenariosStruct(
        kind=1, has_mixing=int(walk.mixing is not None), states=size, dates=dates, count=walk.count, scratch=3 * size + walk.jump_clocks, seed=walk.seed,
        cholesky=keep(walk.cholesky, np.float64, (size, size)), scale=keep(walk.scale, np.float64, (size,)),
        max_log_move=keep(walk.max_log_move, np.float64, (size,)), marginal=keep(walk.marginal, np.int32, (size,)), tables=tables,
        table_count=len(walk.tables), mixing_stream=walk.mixing_stream, legs=legs, terms=terms, leg_step=keep(walk.leg_step, np.uint32, (legs,)),
        leg_root=keep(walk.leg_root, np.float64, (legs,)), leg_first_term=keep(walk.leg_first_term, np.int32, (legs + 1,)),
        term_stream=keep(walk.term_stream, np.uint32, (terms,)), term_step=keep(walk.term_step, np.uint32, (terms,)),
        term_weight=keep(walk.term_weight, np.float64, (terms,)), date_whole=keep(walk.date_whole, np.int32, (dates,)),
        date_leg=keep(walk.date_leg, np.int32, (dates,)), centre=keep(walk.centre, np.float64, (dates, size)),
    )
    if walk.mixing is not None:
        struct.mixing = _table(walk.mixing, keep)
    lend_persistence(struct, walk, keep)
    _lend_jumps(struct, walk.jumps, size, legs, keep)
    lend_regimes(struct, walk.regimes, keep)
    return struct


def _heston(heston: Heston, keep: Keep) -> ScenariosStruct:
    size, states, dates = len(heston.variance0), len(heston.state_names), len(heston.dates)
    legs, terms, shifts, classes = len(heston.leg_step), len(heston.term_step), len(heston.shift_underlying), len(heston.constants)
    model = HestonStruct(
        underlyings=size, classes=classes, shifts=shifts, variance0=keep(heston.variance0, np.float64, (size,)), rho=keep(heston.rho, np.float64, (size,)),
        constants=keep(heston.constants, np.float64, (classes, size, 7)), leg_class=keep(heston.leg_class, np.int32, (legs,)),
        shift_underlying=keep(heston.shift_underlying, np.int32, (shifts,)), shift_base=keep(heston.shift_base, np.float64, (shifts,)),
        shift_slope=keep(heston.shift_slope, np.float64, (shifts,)))
    keep.arrays.append(model)
    struct = ScenariosStruct(
        kind=2, states=states, dates=dates, count=heston.count, scratch=3 * size + 2 * states + heston.jump_clocks, seed=heston.seed,
        model=ctypes.addressof(model), cholesky=keep(heston.cholesky, np.float64, (size, size)), legs=legs, terms=terms,
        leg_step=keep(heston.leg_step, np.uint32, (legs,)), leg_first_term=keep(heston.leg_first_term, np.int32, (legs + 1,)),
        term_stream=keep(heston.term_stream, np.uint32, (terms,)), term_step=keep(heston.term_step, np.uint32, (terms,)),
        term_weight=keep(heston.term_weight, np.float64, (terms,)), date_whole=keep(heston.date_whole, np.int32, (dates,)),
        date_leg=keep(heston.date_leg, np.int32, (dates,)), centre=keep(heston.centre, np.float64, (dates, size)))
    if heston.copula is not None:
        c = heston.copula
        model.copula_substeps, model.copula_stream, model.copula_marginal = c.substeps, c.stream, _table(c.marginal, keep)
        model.copula_weight = keep(c.leg_weight, np.float64, (legs,))
        struct.has_mixing, struct.mixing, struct.mixing_stream = 1, _table(c.mixing, keep), c.mixing_stream
        struct.scratch += size
    _lend_jumps(struct, heston.jumps, states, legs, keep)
    lend_regimes(struct, heston.regimes, keep)
    return struct


def _lend_jumps(struct: ScenariosStruct, jumps: Jumps | None, states: int, legs: int, keep: Keep) -> None:
    """Hang the clocks of a set on its struct."""
    if jumps is None:
        return
    (clocks, most), splits, entries, tables = jumps.threshold.shape, len(jumps.split_side), len(jumps.entry_clock), len(jumps.split_threshold)
    clock = JumpsStruct(
        clocks=clocks, most=most, splits=splits, tables=tables, stream=jumps.stream, address=keep(jumps.address, np.uint32, (clocks,)),
        mean=keep(jumps.mean, np.float64, (clocks,)), deviation=keep(jumps.deviation, np.float64, (clocks,)),
        threshold=keep(jumps.threshold, np.float64, (clocks, most)), leg_first_split=keep(jumps.leg_first_split, np.int32, (legs + 1,)),
        split_stream=keep(jumps.split_stream, np.uint32, (splits,)), split_step=keep(jumps.split_step, np.uint32, (splits,)),
        split_side=keep(jumps.split_side, np.int32, (splits,)), split_table=keep(jumps.split_table, np.int32, (splits,)),
        split_threshold=keep(jumps.split_threshold, np.float64, (tables, most + 1, most)), first_entry=keep(jumps.first_entry, np.int32, (states + 1,)),
        entry_clock=keep(jumps.entry_clock, np.int32, (entries,)), entry_loading=keep(jumps.entry_loading, np.float64, (entries,)))
    keep.arrays.append(clock)
    struct.jumps = ctypes.pointer(clock)


STRUCTS: dict[str, Callable[[Any, Keep], ScenariosStruct]] = {
    "explicit": _explicit,
    "walk": _walk,
    "heston": _heston,
    "resample": resample_struct,
    "garch": garch_struct,
    "sampled_walk": lambda sampled, keep: sampled_walk_struct(sampled, STRUCTS[sampled.walk.kind](sampled.walk, keep), keep),
    "derived": lambda derived, keep: derived_struct(derived, STRUCTS[derived.base.kind](derived.base, keep), keep),
}
"""by the kind of a scenario set; numbers are those of kernels/models.def"""
