"""Making a library of value tables (`table_library.py`): one entry for all requests of the same terms and time, wide enough for the markets to come.

Ranges: the box of the scenarios (`tables.box_of`), widened by moves of level and volatility and down to the time left some days on; u = r T and v = q T over moves of both rates
and those days. The number of anchors in u and v is doubled until sampled prices half-way between them are within half of `tables.TOLERANCE`; what is not by the most anchors has no entry and is named: an early
exercise boundary that comes from infinity inside the range (a yield near 0) bends too sharply for a polynomial.

Verified by `tests/properties/test_table_library.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import CapacityError
from upm_gpu.pricing.compiled import Compiled, TableRequest
from upm_gpu.pricing.table_library import ANY_YIELD, FUTURE, Entry, at_rates, scaled, weights
from upm_gpu.pricing.tables import (
    FIRST_STEPS,
    HALVINGS,
    HALVINGS_AT_A_BARRIER,
    TOLERANCE,
    Box,
    box_of,
    direct_values,
    fill,
    sampled_errors,
    state_ranges,
)
from upm_gpu.scenario.sets import ScenarioSet

ANCHORS = (3, 5, 9)
"""of u and of v: each takes in the points of the one before"""
SAMPLED = 256
"""prices looked at to choose them"""
MOST_ANCHOR_NODES = 8_000_000
"""of an entry: 64 MB"""
LEAST_SHARE = 0.25
"""of the time left: an entry does not reach nearer to the expiry"""


@dataclass(frozen=True)
class Margins:
    """How far the markets may move that a library serves."""

    days: float = 5.0
    """later"""
    rate: float = 0.005
    """of interest, a year, either way"""
    dividend: float = 0.0025
    """of the yield, a year, either way; a yield of 0 stays"""
    level: float = 0.1
    """of ln(S / K), either way"""
    volatility: float = 0.3
    """of ln sigma, either way"""


@dataclass(frozen=True)
class _Wanted:
    """A request with the ranges it is wanted over."""

    request: TableRequest
    terms: str
    kind: str
    years: float
    u: tuple[float, float]
    v: tuple[float, float]
    box: Box
    """of (x, ln s)"""


def make_entries(compiled: Compiled, sets: Sequence[ScenarioSet], margins: Margins, backend: ModuleType, threads: int = 0) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Entries for every request of a compiled book that can have one, and the names of those left out with the reason."""
    found = [state_ranges(scenarios, backend, threads) for scenarios in sets]
    ranges = np.min([low for low, _ in found], axis=0), np.max([high for _, high in found], axis=0)
    wanted: list[_Wanted] = []
    left_out: dict[str, None] = {}
    for program in compiled.programs:
        for request in program.table_requests:
            if not isinstance(request, TableRequest):
                left_out[f"{request.name}: tables of a model hang on its parameters, which are fitted again"] = None
            elif request.alive:
                one = _wanted(request, box_of(compiled, program, request, ranges), margins)
                if one is None:
                    left_out[f"{request.name}: {request.operation} has times of its own beside that to expiry"] = None
                else:
                    wanted.append(one)
    entries = []
    for one in _joined_by_time(wanted, margins):
        entry = _entry(one, backend)
        if isinstance(entry, str):
            left_out[f"{one.request.name}: {entry}"] = None
        else:
            entries.append(entry)
    return tuple(entries), tuple(left_out)


def _wanted(request: TableRequest, box: Box, margins: Margins) -> _Wanted | None:
    asked = scaled(request)
    if asked is None:
        return None
    inputs = dict(request.inputs)
    rate, paid = float(inputs["rate"]), float(inputs["dividend_yield"])  # type: ignore[arg-type]
    least = max(asked.years - margins.days / 365.0, LEAST_SHARE * asked.years)

    def over(now: float, move: float) -> tuple[float, float]:
        low, high = (max(now - move, 0.0) if now >= 0.0 else now - move), (min(now + move, 0.0) if now < 0.0 else now + move)
        return min(low * least, low * asked.years), max(high * least, high * asked.years)

    (a, b), (c, d) = box
    x = a + asked.log_basis - margins.level, b + asked.log_basis + margins.level
    y = c + 0.5 * math.log(least) - margins.volatility, d + 0.5 * math.log(asked.years) + margins.volatility
    return _Wanted(request, asked.terms, asked.kind, asked.years, over(rate, margins.rate), over(paid, margins.dividend) if asked.kind == ANY_YIELD else (0.0, 0.0), (x, y))


def _joined_by_time(wanted: list[_Wanted], margins: Margins) -> list[_Wanted]:
    """Those of the same terms whose times lie within the days of the margins become one: other horizons, hours and underlyings of an expiry."""
    found: list[_Wanted] = []
    for one in sorted(wanted, key=lambda w: -w.years):
        near = [i for i, other in enumerate(found) if (other.terms, other.kind) == (one.terms, one.kind) and other.years - one.years <= margins.days / 365.0 + 1e-9]
        if near:
            found[near[0]] = _joined(found[near[0]], one)
        else:
            found.append(one)
    return found


def _joined(one: _Wanted, other: _Wanted) -> _Wanted:
    def hull(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
        return min(a[0], b[0]), max(a[1], b[1])

    return _Wanted(one.request, one.terms, one.kind, one.years, hull(one.u, other.u), hull(one.v, other.v), (hull(one.box[0], other.box[0]), hull(one.box[1], other.box[1])))


def _entry(one: _Wanted, backend: ModuleType) -> Entry | str:
    """The entry, or why there is none."""
    middle = 0.5 * (one.u[0] + one.u[1]), 0.5 * (one.v[0] + one.v[1])
    steps, alike = list(FIRST_STEPS), _at(one, *middle)
    halvings = HALVINGS if np.isinf(alike.inside).all() else HALVINGS_AT_A_BARRIER
    table, errors = None, (math.inf, math.inf)
    for halving in range(halvings + 1):
        try:
            table = fill(alike, one.box, (steps[0], steps[1]), backend, table)
        except CapacityError:
            return "its ranges need too many nodes; ask for less"
        errors = sampled_errors(table, alike, backend)
        if max(errors) <= TOLERANCE or halving == halvings:
            break
        for axis in (0, 1):
            if errors[axis] > 0.5 * TOLERANCE:
                steps[axis] *= 0.5
    assert table is not None
    u, wrong_u = _anchors(one, 0, middle, backend)
    v, wrong_v = _anchors(one, 1, middle, backend) if one.kind == ANY_YIELD else ((), 0.0)
    if max(wrong_u, wrong_v) > TOLERANCE:
        return f"no polynomial of degree {ANCHORS[-1] - 1} follows its price over the range of rates (error {max(wrong_u, wrong_v):.1e} of strike); ask for less"
    if len(u) * max(len(v), 1) * table.values.size > MOST_ANCHOR_NODES:
        return "its ranges need too many nodes; ask for less"
    values = np.array([[fill(_at(one, a, b), one.box, (steps[0], steps[1]), backend).values for b in v or (0.0,)] for a in u])
    return Entry(one.request.name, one.terms, one.kind, u, v, table.low, table.inverse_step, alike.inside, max(*errors, wrong_u, wrong_v), values)


def _at(one: _Wanted, u: float, v: float) -> TableRequest:
    """The request at time 1 and rates (u, v); where the kind says what v is, it is that."""
    return at_rates(one.request, u, u if one.kind == FUTURE else v)


def _anchors(one: _Wanted, axis: int, middle: tuple[float, float], backend: ModuleType) -> tuple[tuple[float, ...], float]:
    """Anchors along u or v, the other in its middle, and the largest error half-way between them."""
    low, high = (one.u, one.v)[axis]
    if high - low < 1e-12:
        return (low,), 0.0
    steps = np.arange(1, SAMPLED + 1)[:, None] * np.array([0.7548776662466927, 0.5698402909980532]) % 1.0
    begin, end = (np.array(edge) for edge in zip(*one.box, strict=True))
    x, y = (begin + (end - begin) * steps[np.argsort(steps[:, 1], kind="stable")]).T

    def price(at: float) -> NDArray[np.float64]:
        return direct_values(_at(one, *((at, middle[1]) if axis == 0 else (middle[0], at))), x, np.exp(y), backend)

    known: dict[float, NDArray[np.float64]] = {}
    for count in ANCHORS:
        place = tuple(float(0.5 * (low + high) - 0.5 * (high - low) * math.cos(math.pi * k / (count - 1))) for k in range(count))
        for at in place:
            if at not in known:
                known[at] = price(at)
        worst = 0.0
        for a, b in pairwise(place):
            half = 0.5 * (a + b)
            worst = max(worst, float(np.max(np.abs(weights(place, half) @ np.array([known[p] for p in place]) - price(half)))))
        if worst <= 0.5 * TOLERANCE:
            break
    return place, worst


__all__ = ["Margins", "make_entries"]
