"""Value tables: what a costly price adds to Black's value, read from a table in every scenario.

An American option is worth Black's value of the European one plus a premium for early exercise. The premium is homogeneous in forward and strike, so per unit of strike
it depends on m = ln(F / K) and the option's own volatility alone: one table serves every strike of an expiry. It is laid out on a fixed lattice in
(m, ln sigma) and read by the cubic through four nodes a side (`formula/value_table.py`).

A table covers every scenario of the set it is made for: the range of the states is taken over all of them, the range of the volatility over the smile inside that
range, each rounded outward to the lattice. So nothing is extrapolated, and a table is a pure function of terms, market and specification: a run that is resumed or cut into
other chunks reads the same one. Steps are halved until the largest error at the centres of sampled cells is below `TOLERANCE`.

Verified by `tests/properties/test_value_tables.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import CapacityError, InputError
from upm_gpu.formula.black import black_undiscounted
from upm_gpu.formula.families import VOLATILITY_CAP, VOLATILITY_FLOOR, european_volatility
from upm_gpu.formula.operations import operation_named
from upm_gpu.formula.value_table import table_values
from upm_gpu.pricing import model_tables
from upm_gpu.pricing.averages import places
from upm_gpu.pricing.compiled import (
    GROUP_INTEGERS,
    GROUP_REALS,
    TERM_REALS,
    Compiled,
    Family,
    ModelRequest,
    Program,
    TableRequest,
    ValueTable,
    empty,
)
from upm_gpu.pricing.exotics import inside_range
from upm_gpu.scenario.sets import BLOCK, ScenarioSet

TOLERANCE = 1e-5
"""per unit of strike: a hundredth of the width of a quote, and far below the error of any expected shortfall"""
FIRST_STEPS = (1.0 / 32.0, 1.0 / 8.0)
"""of m and of ln sigma"""
HALVINGS = 4
HALVINGS_AT_A_BARRIER = 6
"""near a barrier a value turns within a standard deviation of what is left of its life"""
MOST_NODES = 1_000_000
SAMPLED_CELLS = 400
COSTLY = {"cash_dividends": 24}
"""operations of milliseconds a price, and the cells of their tables that are looked at; they are priced on half their grid (`price_only` 2)"""
SHARE_OF_RANGE = 33
"""points at which the smile is looked up across the range of a state"""
CHUNK = 4 * BLOCK

NOTHING = ValueTable((0.0, 0.0), (1.0, 1.0), np.zeros((4, 4)))
"""the table of a group that reads none"""

Ranges = tuple[NDArray[np.float64], NDArray[np.float64]]
"""(D, K) least and largest value of each state over all scenarios"""

Box = tuple[tuple[float, float], tuple[float, float]]
"""ranges of m and of ln sigma"""


class Shelf(Protocol):
    """Where tables are kept between a run that was stopped and the one that goes on (`run/kept_tables.py`)."""

    def take(self, key: str) -> tuple[ValueTable, float] | None:
        """The table kept under a key and its largest error."""

    def keep(self, key: str, table: ValueTable, error: float) -> None:
        """Keep a table that was just made."""


class Library(Protocol):
    """Where tables of another market are taken from (`pricing/table_library.py`)."""

    @property
    def sha256(self) -> str:
        """Of its file."""

    def table_for(self, request: TableRequest, box: Box, backend: ModuleType) -> tuple[ValueTable, float] | None:
        """A table for a request over a box and its largest error; None where it has none that is good enough."""


@dataclass(frozen=True)
class TableReport:
    """One table as built: for the manifest and the report."""

    operation: str
    name: str
    """of the first instrument it serves"""
    horizon: float
    nodes: tuple[int, int]
    error: float
    """largest error found at sampled cell centres, per unit of strike"""
    reused: bool = False
    """taken from a library"""


def with_tables(compiled: Compiled, sets: Sequence[ScenarioSet], backend: ModuleType, threads: int = 0, shelf: Shelf | None = None,
                costly_tolerance: float | None = None, library: Library | None = None) -> tuple[Compiled, tuple[TableReport, ...]]:
    """The compiled book with tables that cover every scenario of `sets`, and the corrections of today's values; itself where it asks for none. Tables that a `shelf` holds are not
    made again; what a `library` covers is taken from it. Tables of `COSTLY` operations are made to `costly_tolerance` where it is given.

    Raises InputError UPM-PR-081 where a price of a node cannot be had, CapacityError UPM-CP-070 where a table would grow beyond reason.
    """
    if not any(p.table_requests for p in compiled.programs):
        return compiled, ()
    found = [state_ranges(scenarios, backend, threads) for scenarios in sets]
    ranges = np.min([low for low, _ in found], axis=0), np.max([high for _, high in found], axis=0)
    terms = compiled.terms.copy()
    programs, reports = [], []
    for program in compiled.programs:
        tables = []
        for request in program.table_requests:
            if isinstance(request, ModelRequest):
                table, error = _model_table(compiled, program, request, ranges, terms, backend, shelf)
                tables.append(table)
                reports.append(TableReport(request.operation, request.name, program.horizon, (table.values.shape[0], table.values.shape[1]), error))
                continue
            tolerance = costly_tolerance if request.operation in COSTLY else None
            table, error, reused = _made(request, box_of(compiled, program, request, ranges), backend, shelf, tolerance, library) if request.alive else (NOTHING, 0.0, False)
            tables.append(table)
            if request.alive:
                reports.append(TableReport(request.operation, request.name, program.horizon, (table.values.shape[0], table.values.shape[1]), error, reused))
            _correct_today(compiled, program, request, terms, backend)
        programs.append(replace(program, tables=tuple(tables)))
    return replace(compiled, terms=terms, programs=tuple(programs)), tuple(reports)


def european_only(compiled: Compiled) -> Compiled:
    """The same book with nothing read from tables: every option as if it were European, at its quoted volatility."""
    at, family = GROUP_INTEGERS.index("table"), GROUP_INTEGERS.index("family")

    def plain(program: Program) -> Program:
        integers = program.group_integers.copy()
        integers[:, at] = -1
        integers[integers[:, family] == Family.MODEL_VOLATILITY, family] = Family.EUROPEAN
        return replace(program, group_integers=integers, table_requests=(), tables=())

    return replace(compiled, programs=tuple(map(plain, compiled.programs)))


def state_ranges(scenarios: ScenarioSet, backend: ModuleType, threads: int) -> Ranges:
    """Least and largest value of each state at each date, over every scenario of the set."""
    low = np.full((len(scenarios.dates), len(scenarios.state_names)), np.inf)
    high = -low
    with backend.prepare(*empty(scenarios.state_names, scenarios.dates), "double", threads) as prepared:
        for first in range(0, scenarios.count, CHUNK):
            drawn = backend.states(prepared, scenarios, first, min(first + CHUNK, scenarios.count))
            low, high = np.minimum(low, drawn.min(axis=2)), np.maximum(high, drawn.max(axis=2))
    return low, high


def direct_values(request: TableRequest, log_moneyness: NDArray[np.float64], sigma: NDArray[np.float64], backend: ModuleType) -> NDArray[np.float64]:
    """What the request's product is worth above Black's value, per unit of strike, at points (n,) of (ln(F / K), sigma)."""
    if np.isfinite(request.inside).any():
        log_moneyness = inside_range(request, log_moneyness) + request.shift * sigma
    forward = np.exp(log_moneyness)
    found = backend.values(request.operation, operation_inputs(request.operation, request.inputs, forward * request.spot_over_forward, sigma, price_only=True))
    bad = np.flatnonzero((found["status"] != 0.0) | ~np.isfinite(found["price"]))
    if bad.size:
        i = int(bad[0])
        raise InputError("UPM-PR-081", f"{request.name}: no {request.operation} price at forward / strike {forward[i]:.6g} and volatility {sigma[i]:.6g} (status {found['status'][i]:g}). "
                         "Check the rates and the volatilities of its expiry, or leave the instrument out.")
    return request.unit * found["price"] - european_share(request, forward, log_moneyness, sigma)


def european_share(request: TableRequest, forward: NDArray[np.float64], log_moneyness: NDArray[np.float64], sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    """What of the request's value per unit of strike is Black's, at points (n,) of F / K, its logarithm and sigma."""
    found: NDArray[np.float64] = request.base * (
        request.discount * black_undiscounted(forward * request.growth, 1.0, log_moneyness + np.log(request.growth), sigma * np.sqrt(request.years), request.sign))
    return found


def operation_inputs(operation: str, inputs: Sequence[tuple[str, float | tuple[float, ...]]], spot: NDArray[np.float64], sigma: NDArray[np.float64], price_only: bool) -> dict[str, NDArray[np.float64]]:
    """Columns of an operation at unit strike for points (n,) of spot / K and volatility."""
    columns = {name: np.tile(np.asarray(value)[:, None], spot.shape) if isinstance(value, tuple) else np.full(spot.shape, value) for name, value in inputs}
    if "dividend_share" in columns:  # of the spot, which keeps its dividends in proportion (`dividends.py`)
        columns["dividend_amount"] = columns.pop("dividend_share") * spot
    columns |= {"spot": spot, "strike": np.ones_like(spot), "volatility": sigma}
    return columns | ({"price_only": np.full_like(spot, 2.0 if operation in COSTLY else 1.0)} if price_only and "price_only" in operation_named(operation).inputs else {})


def spot_over_forward_today(request: TableRequest) -> float:
    """Of the stock with all its dividends to come."""
    return request.spot_over_forward if request.spot_over_forward_today is None else request.spot_over_forward_today


def box_of(compiled: Compiled, program: Program, request: TableRequest, ranges: Ranges) -> Box:
    """Ranges of m and of ln sigma that the columns of a group can meet, rounded outward to the lattice: a market that moves a little asks for the same table."""
    group = group_of(program, request.group)
    low, high = (r[int(group["date"])] for r in ranges)
    span = slice(int(group["first"]) - compiled.linear, int(group["first"]) - compiled.linear + int(group["count"]))
    terms = {key: compiled.terms[i, span] for i, key in enumerate(TERM_REALS)}

    def across(state: str, points: int, axis: int) -> NDArray[np.float64]:
        k = int(group[state])
        values = np.zeros(1) if k < 0 else np.linspace(low[k], high[k], points)
        return values.reshape([-1 if a == axis else 1 for a in range(5)])

    move = across("forward_state", SHARE_OF_RANGE, 1)
    m = -terms["log_moneyness"]
    row = {k: terms[k].reshape(-1, 1, 1, 1, 1) for k in ("log_moneyness", "volatility", "residual")}
    sigma = european_volatility(move, across("volatility_state", SHARE_OF_RANGE, 2), **row, group=group, skew=across("skew_state", 5, 3), stretch=across("stretch_state", 5, 4))
    move = move.ravel()
    reach = float(m.min() + move[0]), float(m.max() + move[-1])
    reach = reach[0] - abs(request.shift) * float(sigma.max()), reach[1] + abs(request.shift) * float(sigma.max())
    if group["family"] == Family.AVERAGE:
        path = int(group["path_state"])
        reach = places(group, reach, (float(low[path]), float(high[path])), float(sigma.max()) * float(np.sqrt(request.years)))
    met = reach, (np.log(sigma.min()), np.log(sigma.max()))
    (a, b), (c, d) = ((float(np.floor(low / step) * step), float(np.ceil(high / step) * step)) for (low, high), step in zip(met, FIRST_STEPS, strict=True))
    return (a, b), (c, d)


def group_of(program: Program, g: int) -> dict[str, float]:
    """Integers and reals of a group by name."""
    return {**dict(zip(GROUP_INTEGERS, program.group_integers[g].tolist(), strict=True)), **dict(zip(GROUP_REALS, program.group_reals[g].tolist(), strict=True))}


def table_key(request: TableRequest, box: Box, tolerance: float | None = None) -> str:
    """SHA-256 of all that a table is a function of: what is priced, the corners of its box and how it is refined."""
    asked = {k: v for k, v in asdict(request).items() if k not in ("name", "group", "finer") and not k.endswith("_today")}
    how = [tolerance or tolerance_of(request), FIRST_STEPS, HALVINGS, HALVINGS_AT_A_BARRIER, MOST_NODES, COSTLY.get(request.operation, SAMPLED_CELLS)]
    return hashlib.sha256(json.dumps([asked, box, how], sort_keys=True).encode("ascii")).hexdigest()


def tolerance_of(request: TableRequest) -> float:
    """What its table may err by, per unit of strike."""
    return TOLERANCE * 0.1**request.finer


def _made(request: TableRequest, box: Box, backend: ModuleType, shelf: Shelf | None, tolerance: float | None = None, library: Library | None = None) -> tuple[ValueTable, float, bool]:
    """The table from the shelf, else from the library or made, and put there; and whether it is the library's."""
    own = table_key(request, box, tolerance)
    if library is None or request.finer:  # a library's tables are no finer than others
        return *_shelved(own, lambda: _build(request, box, backend, tolerance), shelf), False
    key = hashlib.sha256(f"{own} {library.sha256}".encode("ascii")).hexdigest()  # a table of another place is another table
    found = shelf.take(key) if shelf is not None else None
    if found is None and (found := library.table_for(request, box, backend)) is not None and shelf is not None:
        shelf.keep(key, *found)
    return (*found, True) if found is not None else (*_shelved(own, lambda: _build(request, box, backend, tolerance), shelf), False)


def _model_table(compiled: Compiled, program: Program, request: ModelRequest, ranges: Ranges, terms: NDArray[np.float64], backend: ModuleType, shelf: Shelf | None) -> tuple[ValueTable, float]:
    """The model's volatilities of a group, and the ratios of its quotes to them into `terms`."""
    group = group_of(program, request.group)
    own = terms[:, int(group["first"]) - compiled.linear : int(group["first"]) - compiled.linear + int(group["count"])]
    model_tables.set_ratios(request, own, backend)
    low, high = (r[int(group["date"])] for r in ranges)
    box = model_tables.box_of(request, group, own[TERM_REALS.index("log_moneyness")], low, high)
    return _shelved(model_tables.table_key(request, box), lambda: model_tables.build(request, box, backend), shelf)


def _shelved(key: str, build: Callable[[], tuple[ValueTable, float]], shelf: Shelf | None) -> tuple[ValueTable, float]:
    """The table kept under a key, else built and kept."""
    found = shelf.take(key) if shelf is not None else None
    if found is None:
        found = build()
        if shelf is not None:
            shelf.keep(key, *found)
    return found


def _build(request: TableRequest, box: Sequence[tuple[float, float]], backend: ModuleType, tolerance: float | None = None) -> tuple[ValueTable, float]:
    steps, wanted = [step * 0.5**request.finer for step in FIRST_STEPS], tolerance or tolerance_of(request)
    halvings = HALVINGS if np.isinf(request.inside).all() else HALVINGS_AT_A_BARRIER
    coarser: ValueTable | None = None
    for halving in range(halvings + 1):
        table = fill(request, box, (steps[0], steps[1]), backend, coarser)
        errors = sampled_errors(table, request, backend)
        if max(errors) <= wanted or halving == halvings or (request.finer and 4 * table.values.size > MOST_NODES):
            break
        coarser = table
        for axis in (0, 1):
            if errors[axis] > 0.5 * wanted:
                steps[axis] *= 0.5
    return table, max(errors)


def fill(request: TableRequest, box: Sequence[tuple[float, float]], steps: tuple[float, float], backend: ModuleType, coarser: ValueTable | None = None) -> ValueTable:
    """The table of given steps; nodes that a coarser one has are taken from it: positions on the lattice are exact, others are taken where they are the same number."""
    low, axes, spacing = [], [], []
    for (least, most), step, (begin, end) in zip(box, steps, (request.inside, (-np.inf, np.inf)), strict=True):
        if np.isfinite(begin) and np.isfinite(end):  # a node on each barrier
            count = max(int(np.ceil((end - begin) / step)), 3)
            low.append(float(begin))
            spacing.append(float((end - begin) / count))
            axes.append(begin + spacing[-1] * np.arange(count + 1))
            continue
        spacing.append(step)
        if np.isfinite(begin) or np.isfinite(end):  # the last node is the barrier, so that no cubic reaches over it
            count = max(int(np.ceil((end - least if np.isfinite(end) else most - begin) / step)) + 1, 3)
            low.append(float(end - count * step if np.isfinite(end) else begin))
            axes.append(low[-1] + step * np.arange(count + 1))
            continue
        first, last = int(np.floor(least / step)) - 1, int(np.ceil(most / step)) + 1  # a node beyond either end, so that no cubic is one-sided
        low.append(first * step)
        axes.append(step * np.arange(first, max(last, first + 3) + 1))
    if len(axes[0]) * len(axes[1]) > MOST_NODES:
        raise CapacityError("UPM-CP-070", f"{request.name}: a table of {len(axes[0])} x {len(axes[1])} nodes for log-moneyness {box[0]} and log-volatility {box[1]}. Check the model's parameters: its scenarios reach too far.")
    y, m = np.meshgrid(axes[1], axes[0], indexing="ij")  # one volatility after the other: prices that share it share an exercise boundary
    values, known = np.zeros(m.shape), np.zeros(m.shape, bool)
    if coarser is not None:
        had = [coarser.low[a] + np.arange(coarser.values.shape[a]) / coarser.inverse_step[a] for a in (0, 1)]
        here = tuple(np.flatnonzero(np.isin(axes[a], had[a])) for a in (1, 0))
        there = tuple(np.flatnonzero(np.isin(had[a], axes[a])) for a in (0, 1))
        values[np.ix_(*here)] = coarser.values[np.ix_(*there)].T
        known[np.ix_(*here)] = True
    values[~known] = direct_values(request, m[~known], np.exp(y[~known]), backend)
    return ValueTable((low[0], low[1]), (1.0 / spacing[0], 1.0 / spacing[1]), np.ascontiguousarray(values.T))


def sampled_errors(table: ValueTable, request: TableRequest, backend: ModuleType) -> tuple[float, float]:
    """Largest error half-way between nodes along m and along ln sigma, over cells spread evenly over the table."""
    shape = table.values.shape
    skip = 1 if np.isinf(request.inside).all() else 0  # the cell at a barrier is read too
    cells = (shape[0] - 1 - 2 * skip) * (shape[1] - 3)
    at = np.unique(np.linspace(0, cells - 1, min(cells, COSTLY.get(request.operation, SAMPLED_CELLS))).astype(np.int64))
    i, j = skip + at // (shape[1] - 3), 1 + at % (shape[1] - 3)
    worst = []
    for along in (0.5, 0.0), (0.0, 0.5):
        m = table.low[0] + (i + along[0]) / table.inverse_step[0]
        y = table.low[1] + (j + along[1]) / table.inverse_step[1]
        direct = direct_values(request, m, np.exp(y), backend)
        worst.append(float(np.max(np.abs(table_values(table.low, table.inverse_step, table.values, m, y) - direct))))
    return worst[0], worst[1]


def _correct_today(compiled: Compiled, program: Program, request: TableRequest, terms: NDArray[np.float64], backend: ModuleType) -> None:
    """Today's correction of every column of the group, direct."""
    group = group_of(program, request.group)
    span = slice(int(group["first"]) - compiled.linear, int(group["first"]) - compiled.linear + int(group["count"]))
    row: Mapping[str, NDArray[np.float64]] = {key: compiled.terms[i, span] for i, key in enumerate(TERM_REALS)}
    today = replace(request, inputs=request.inputs_today, years=request.years_today, discount=request.discount_today, base=1.0, growth=1.0, shift=0.0, spot_over_forward=spot_over_forward_today(request))
    sigma = np.clip(row["volatility"], VOLATILITY_FLOOR, VOLATILITY_CAP)
    terms[TERM_REALS.index("correction"), span] = row["strike"] * direct_values(today, -row["log_moneyness"], sigma, backend) / request.unit
