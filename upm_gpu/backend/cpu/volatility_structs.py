"""Resampled windows and GARCH walks as the C structs of libupm_host."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from upm_gpu.backend.cpu.library import Keep, ScenariosStruct, TableStruct
from upm_gpu.backend.cpu.regime_structs import lend_regimes
from upm_gpu.model.garch_twin import common_factors, loadings
from upm_gpu.scenario.sets import SmoothTable, Walk
from upm_gpu.scenario.volatility_sets import GarchWalk, Resample

LANES = 8
"""doubles of the widest vector: what a date's residuals are padded to"""
_POINTER, _I64 = ctypes.c_void_p, ctypes.c_int64


class ResampleStruct(ctypes.Structure):
    """UpmResample."""

    _fields_ = (("rows", _I64), ("stream", ctypes.c_uint32), ("reserved", ctypes.c_uint32), ("clipped", _POINTER))


class GarchStruct(ctypes.Structure):
    """UpmGarch."""

    _fields_ = (
        ("rows", _I64), ("common", _I64), ("groups", _I64), ("centrings", _I64), ("residual", _POINTER), ("loading", _POINTER),
        ("group", _POINTER), ("mixing", ctypes.POINTER(TableStruct)), ("odd", _POINTER), ("omega", _POINTER), ("alpha", _POINTER), ("falling", _POINTER),
        ("beta", _POINTER), ("variance", _POINTER), ("top", _POINTER), ("centring", ctypes.POINTER(TableStruct)), ("centring_of", _POINTER),
        ("residual_stride", _I64),
    )


def resample_struct(scenarios: Resample, keep: Keep) -> ScenariosStruct:
    """UpmScenarios of a Resample, kind 10."""
    dates, states, rows = scenarios.values.shape
    model = ResampleStruct(rows=rows, stream=scenarios.stream_word, clipped=keep(scenarios.clipped, np.int32, (states, rows)))
    keep.arrays.append(model)
    return ScenariosStruct(kind=10, states=states, dates=dates, count=scenarios.count, seed=scenarios.seed, values=keep(scenarios.values, np.float64, (dates, states, rows)),
                           model=ctypes.addressof(model))


def garch_struct(walk: GarchWalk, keep: Keep) -> ScenariosStruct:
    """UpmScenarios of a GarchWalk, kind 11."""
    size, dates, legs, terms = len(walk.state_names), len(walk.dates), len(walk.leg_step), len(walk.term_step)
    tables = _tables(walk.tables, keep)
    reals = {key: keep(getattr(walk, key), np.float64, (size,)) for key in ("omega", "alpha", "beta", "variance", "top")}
    model = GarchStruct(groups=len(walk.mixing), centrings=len(walk.centring), group=keep(walk.group, np.int32, (size,)), mixing=_tables(walk.mixing, keep),
                        odd=keep(walk.odd, np.int32, (len(walk.tables),)), falling=keep(walk.alpha + walk.gamma, np.float64, (size,)),
                        centring=_tables(walk.centring, keep), centring_of=keep(walk.centring_of, np.int32, (legs, size)), **reals)
    struct = ScenariosStruct(
        kind=11, states=size, dates=dates, count=walk.count, seed=walk.seed, max_log_move=keep(walk.max_log_move, np.float64, (size,)),
        marginal=keep(walk.marginal, np.int32, (size,)), tables=tables, table_count=len(walk.tables), mixing_stream=walk.mixing_stream, legs=legs, terms=terms,
        leg_step=keep(walk.leg_step, np.uint32, (legs,)), leg_root=keep(walk.leg_root, np.float64, (legs,)),
        leg_first_term=keep(walk.leg_first_term, np.int32, (legs + 1,)), term_stream=keep(walk.term_stream, np.uint32, (terms,)),
        term_step=keep(walk.term_step, np.uint32, (terms,)), term_weight=keep(walk.term_weight, np.float64, (terms,)),
        date_whole=keep(walk.date_whole, np.int32, (dates,)), date_leg=keep(walk.date_leg, np.int32, (dates,)), centre=keep(walk.drift, np.float64, (dates, size)))
    if walk.residuals is not None:
        model.rows, model.residual_stride = walk.residuals.shape[1], -(-size // LANES) * LANES
        by_date = np.zeros((model.rows, model.residual_stride))
        by_date[:, :size] = walk.residuals.T
        model.residual = keep(by_date, np.float64, by_date.shape)
    elif walk.loading is not None:
        model.common = common_factors(walk)
        own = loadings(walk) if walk.regimes is None else walk.regimes.root[0]
        model.loading = keep(own, np.float64, (size, model.common + 1))
    else:
        struct.cholesky = keep(walk.cholesky, np.float64, (size, size))
    keep.arrays.append(model)
    struct.model = ctypes.addressof(model)
    struct.scratch = 5 * size + model.common + model.groups
    lend_regimes(struct, walk.regimes, keep)
    lend_persistence(struct, walk, keep)
    return struct


def lend_persistence(struct: ScenariosStruct, walk: Walk | GarchWalk, keep: Keep) -> None:
    """Hang the reversion of a walk's states on its struct; without it the pointers stay null."""
    if walk.persistence is not None:
        size, dates = len(walk.state_names), len(walk.dates)
        struct.persistence = keep(walk.persistence, np.float64, (size,))
        struct.date_persistence = keep(walk.date_persistence, np.float64, (dates, size))


def _tables(tables: Sequence[SmoothTable], keep: Keep) -> ctypes.Array[TableStruct]:
    structs = (TableStruct * max(len(tables), 1))()
    for struct, t in zip(structs, tables, strict=False):
        struct.low, struct.inverse_width, struct.cells = t.low, t.inverse_width, len(t.coefficients)
        struct.coefficients = keep(t.coefficients, np.float64, (len(t.coefficients), 8))
    keep.arrays.append(structs)
    return structs
