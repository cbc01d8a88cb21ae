"""The reference backend: NumPy and SciPy in float64, slow and plain; what the kernels are held to.

Every operation is written the way one would explain it; the order of floating operations follows the contract, so
that sums agree with the other backends to the bit wherever their unit P&L does.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.contract import NO_SCENARIO, Precision, TailState, merge
from upm_gpu.backend.reference.kept import changed_tails as changed_tails
from upm_gpu.backend.reference.kept import keep_row as keep_row
from upm_gpu.backend.reference.kept import keep_unit as keep_unit
from upm_gpu.backend.reference.kept import kept_sums as kept_sums
from upm_gpu.formula import families
from upm_gpu.formula.pair import pair_payoff
from upm_gpu.pricing.compiled import (
    GROUP_INTEGERS,
    GROUP_REALS,
    TERM_REALS,
    Compiled,
    Family,
    Program,
    Rows,
    ValueTable,
    require_tables,
)
from upm_gpu.scenario.sets import BLOCK, ScenarioSet

name = "reference"
TILE = 64
LANES = 8


@dataclass(frozen=True)
class Prepared:
    """A book on the reference backend; holds nothing but the arrays."""

    compiled: Compiled
    rows: Rows
    precision: Precision
    value0: NDArray[np.float64]
    groups: tuple[tuple[dict[str, Any], ...], ...]
    """(H)(G) group integers and reals by name; `second` is the group of the second asset itself, or None"""

    @property
    def stored(self) -> type:
        """Type of a stored unit P&L."""
        return np.float32 if self.precision == "mixed" else np.float64

    def __enter__(self) -> Prepared:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None


def available() -> tuple[bool, str, str]:
    """Whether it runs here: always."""
    return True, "", "NumPy and SciPy in float64; slow, for checks"


def _groups(program: Program) -> tuple[dict[str, Any], ...]:
    found: list[dict[str, Any]] = [
        {**{k: int(v) for k, v in zip(GROUP_INTEGERS, i, strict=True)}, **{k: float(v) for k, v in zip(GROUP_REALS, r, strict=True)}}
        for i, r in zip(program.group_integers, program.group_reals, strict=True)
    ]
    return tuple({**g, "second": found[g["second"]] if g["second"] >= 0 else None} for g in found)


def _price(group: dict, terms: dict[str, NDArray], states: NDArray[np.float64], today: bool, tables: tuple[ValueTable, ...] = ()) -> NDArray[np.float64]:
    """(count, S) unit values of one group; `today` prices a European at zero states with its whole time to expiry."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if group["second"] is not None:
            return _price_two(group, terms, states, today)
        if group["family"] == Family.QUANTO or (today and group["quanto_drift"] != 0.0):
            return _price_quanto(group, terms, states, today)
        if today or group["family"] == Family.EUROPEAN:
            zero = np.zeros(1)
            level, forward, volatility, skew, stretch = (
                zero if today or group[name] < 0 else states[group["date"], group[name]]
                for name in ("level_state", "forward_state", "volatility_state", "skew_state", "stretch_state"))
            scale = None if today or group["scale_state"] < 0 else states[group["date"], group["scale_state"]]
            years, discount = ("expiry_years", "discount0") if today else ("remaining_years", "discount")
            table = None if today or group["table"] < 0 else tables[group["table"]]
            value = families.european(level, forward, volatility, terms["strike"], terms["log_moneyness"], terms["volatility"], terms["residual"], terms["sign"],
                                      group, years=group[years], discount=group[discount], scale=scale, skew=skew, stretch=stretch, table=table)
            return value + terms["correction"] if today else value
        if group["family"] == Family.MODEL_VOLATILITY:
            level, forward, volatility = (states[group["date"], group[name]] for name in ("level_state", "forward_state", "volatility_state"))
            scale = None if group["scale_state"] < 0 else states[group["date"], group["scale_state"]]
            return families.model_option(level, forward, volatility * group["volatility_loading"], terms["strike"], terms["log_moneyness"], terms["residual"], terms["sign"], group,
                                         tables[group["table"]], scale=scale)
        path = np.zeros(1) if group["path_state"] < 0 else states[group["date"] if group["settle_date"] < 0 else group["settle_date"], group["path_state"]]
        if group["family"] == Family.FIXED_AVERAGE:
            return families.fixed_average(path, terms["strike"], terms["sign"], group, None if group["scale_state"] < 0 else states[group["date"], group["scale_state"]])
        if group["family"] in (Family.EXOTIC, Family.AVERAGE):
            forward, volatility, skew, stretch = (np.zeros(1) if group[name] < 0 else states[group["date"], group[name]] for name in ("forward_state", "volatility_state", "skew_state", "stretch_state"))
            scale = None if group["scale_state"] < 0 else states[group["date"], group["scale_state"]]
            if group["inverse"]:  # coins: S / F
                scale = states[group["date"], group["level_state"]] - forward + np.log(group["spot0"] / group["forward0"])
            table = None if group["table"] < 0 else tables[group["table"]]
            priced = families.exotic if group["family"] == Family.EXOTIC else families.average
            return priced(forward, volatility, path, terms["strike"], terms["log_moneyness"], terms["volatility"], terms["residual"], terms["sign"], group,
                                   scale=scale, skew=skew, stretch=stretch, table=table)
        level = states[group["date"], group["level_state"]]
        at_expiry = states[group["settle_date"], group["forward_state"]]
        if group["family"] == Family.SETTLED_OPTION:
            scale = None if group["scale_state"] < 0 else states[group["date"], group["scale_state"]]
            return families.settled_option(level, at_expiry, terms["strike"], terms["sign"], group, scale)
        if group["family"] == Family.SETTLED_EXOTIC:
            scale = None if group["scale_state"] < 0 else states[group["date"], group["scale_state"]]
            if group["inverse"]:
                scale = level - at_expiry
            return families.settled_exotic(at_expiry, path, terms["strike"], terms["sign"], group, scale)
        return families.inverse_future(level, at_expiry, terms["strike"], group)


def _price_quanto(group: dict, terms: dict[str, NDArray], states: NDArray[np.float64], today: bool) -> NDArray[np.float64]:
    """(count, S) unit values of options paid in another currency at a fixed rate."""
    forward, volatility, skew, stretch = (np.zeros(1) if today or group[name] < 0 else states[group["date"], group[name]] for name in ("forward_state", "volatility_state", "skew_state", "stretch_state"))
    scale = None if today or group["scale_state"] < 0 else states[group["date"], group["scale_state"]]
    years, discount = ("expiry_years", "discount0") if today else ("remaining_years", "discount")
    return families.quanto(forward, volatility, terms["strike"], terms["log_moneyness"], terms["volatility"], terms["residual"], terms["sign"], group, years=group[years], discount=group[discount],
                           scale=scale, skew=skew, stretch=stretch)


def _price_two(group: dict, terms: dict[str, NDArray], states: NDArray[np.float64], today: bool) -> NDArray[np.float64]:
    """(count, S) unit values of options on two assets."""
    second = group["second"]
    scale = None if today or group["scale_state"] < 0 else states[group["date"], group["scale_state"]]
    if not today and group["family"] == Family.SETTLED_TWO_ASSET:
        level, other = (g["spot0"] * np.exp(states[group["settle_date"], g["forward_state"]]) for g in (group, second))
        paid = pair_payoff(level, other, terms["strike"], terms["sign"], group["payoff"])
        return paid if scale is None else paid * np.exp(scale)
    seen: list[Any] = []
    for g, row in ((group, terms), (second, {k: second[f"leg_{n}"] for k, n in (("log_moneyness", "moneyness"), ("volatility", "volatility"), ("residual", "residual"))})):
        forward, volatility, skew, stretch = (np.zeros(1) if today or g[name] < 0 else states[g["date"], g[name]]
                                              for name in ("forward_state", "volatility_state", "skew_state", "stretch_state"))
        seen += [forward, families.european_volatility(forward, volatility, row["log_moneyness"], row["volatility"], row["residual"], g, skew=skew, stretch=stretch)]
    years, discount = ("expiry_years", "discount0") if today else ("remaining_years", "discount")
    return families.two_asset(seen[0], seen[1], seen[2], seen[3], terms["strike"], terms["sign"], group, second, years=group[years], discount=group[discount], scale=scale)


def prepare(compiled: Compiled, rows: Rows, precision: Precision, threads: int = 0) -> Prepared:
    """Value every option today; `threads` is accepted and ignored."""
    for program in compiled.programs:
        require_tables(program)
    groups = tuple(_groups(p) for p in compiled.programs)
    value0 = np.zeros(compiled.terms.shape[1])
    for group in groups[0]:
        if group["family"] != Family.INVERSE_FUTURE:
            terms = _terms(compiled, group)
            value0[_span(compiled, group)] = _price(group, terms, np.zeros((0, 0, 0)), today=True)[:, 0]
    return Prepared(compiled, rows, precision, value0, groups)


def _span(compiled: Compiled, group: dict) -> slice:
    first = int(group["first"]) - compiled.linear
    return slice(first, first + int(group["count"]))


def _terms(compiled: Compiled, group: dict) -> dict[str, NDArray]:
    block = compiled.terms[:, _span(compiled, group)]
    return {key: block[i][:, None] for i, key in enumerate(TERM_REALS)}


def states(prepared: Prepared, scenarios: ScenarioSet, first: int, last: int) -> NDArray[np.float64]:
    """(D, K, S) of the range."""
    return _states(scenarios, first, last)[0]


def _states(scenarios: ScenarioSet, first: int, last: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    from upm_gpu.model.registry import reference_states

    return reference_states(scenarios, first, last)


def _unit_pnl(prepared: Prepared, drawn: NDArray[np.float64], horizon: int) -> NDArray:
    compiled, program = prepared.compiled, prepared.compiled.programs[horizon]
    pnl: NDArray = np.empty((compiled.columns, drawn.shape[2]), prepared.stored)
    with np.errstate(over="ignore", invalid="ignore"):
        for column, (state, date) in enumerate(zip(program.linear_state, program.linear_date, strict=True)):
            given = program.linear_form is not None and bool(program.linear_form[column])
            pnl[column] = drawn[date, state] if given else np.exp(drawn[date, state]) - 1.0
        for group in prepared.groups[horizon]:
            span = _span(compiled, group)
            value = _price(group, _terms(compiled, group), drawn, False, program.tables)
            pnl[group["first"] : group["first"] + group["count"]] = value - prepared.value0[span, None]
    return pnl


def unit_pnl(prepared: Prepared, scenarios: ScenarioSet, first: int, last: int, horizon: int) -> NDArray:
    """(C, S) in the stored type."""
    return _unit_pnl(prepared, _states(scenarios, first, last)[0], horizon)


def _row_pnl(rows: Rows, unit: NDArray) -> NDArray[np.float64]:
    """(R, S): columns ascending, multiply then add, one accumulator."""
    result = np.zeros((rows.count, unit.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        for row in range(rows.count):
            total = result[row]
            for entry in range(rows.first[row], rows.first[row + 1]):
                total += rows.quantity[entry] * unit[rows.column[entry]].astype(np.float64)
    return result


def row_pnl(prepared: Prepared, scenarios: ScenarioSet, first: int, last: int, horizon: int) -> NDArray[np.float64]:
    """(R, S)."""
    return _row_pnl(prepared.rows, unit_pnl(prepared, scenarios, first, last, horizon))


def block_sum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over the last axis (at most one block of 4,096) in the shape the contract fixes: lanes, tiles of 64, block."""
    length = values.shape[-1]
    padded = np.zeros((*values.shape[:-1], -(-length // TILE) * TILE))
    padded[..., :length] = values
    tiles = padded.reshape(*values.shape[:-1], -1, TILE // LANES, LANES)
    with np.errstate(over="ignore", invalid="ignore"):
        lanes = _in_order(tiles, -2)
        return _in_order(_in_order(lanes, -1), -1)


def _in_order(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Plain left-to-right sum from 0.0 (np.sum would pair)."""
    moved = np.moveaxis(values, axis, 0)
    total = np.zeros(moved.shape[1:])
    for part in moved:
        total = total + part
    return total


def row_tail(prepared: Prepared, scenarios: ScenarioSet, first: int, last: int, depth: int,
             threshold: NDArray[np.float64] | None = None) -> TailState:
    """The worst `depth` scenarios of every row and horizon in the range, block by block; `threshold` is not needed here."""
    state: TailState | None = None
    for start in range(first, last, BLOCK):
        part = _block_tail(prepared, scenarios, start, min(start + BLOCK, last), depth)
        state = part if state is None else merge(state, part)
    assert state is not None
    return state


def _block_tail(prepared: Prepared, scenarios: ScenarioSet, first: int, last: int, depth: int) -> TailState:
    drawn, clipped = _states(scenarios, first, last)
    horizons, rows = len(prepared.compiled.programs), prepared.rows.count
    pnl = np.full((horizons, rows, depth), np.inf)
    ids = np.full((horizons, rows, depth), NO_SCENARIO, np.uint32)
    sums = np.zeros((1, horizons, rows, 2))
    not_finite = 0
    for h in range(horizons):
        values = _row_pnl(prepared.rows, _unit_pnl(prepared, drawn, h))
        not_finite += int(np.count_nonzero(~np.isfinite(values)))
        keep = min(depth, values.shape[1])
        order = np.argsort(values, axis=1, kind="stable")[:, :keep]
        pnl[h, :, :keep] = np.take_along_axis(values, order, 1)
        ids[h, :, :keep] = order + first
        with np.errstate(over="ignore", invalid="ignore"):
            sums[0, h, :, 0] = block_sum(values)
            sums[0, h, :, 1] = block_sum(values * values)
    return TailState(pnl, ids, np.array([first // BLOCK], np.int64), sums, clipped, not_finite, last - first)


def attribution(prepared: Prepared, scenarios: ScenarioSet, horizon: int, tail_first: NDArray[np.int64],
                tail_scenario: NDArray[np.uint32], tail_weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P,) quantity x weighted sum of the unit P&L over the row's tail scenarios, in ascending scenario order."""
    rows = prepared.rows
    total = np.zeros(len(rows.column))
    row_of = np.repeat(np.arange(rows.count), np.diff(tail_first))
    order = np.argsort(tail_scenario, kind="stable")
    position = 0
    for start in range(0, scenarios.count, BLOCK):
        stop = min(start + BLOCK, scenarios.count)
        end = position + int(np.searchsorted(tail_scenario[order[position:]], stop))
        if end > position:
            unit = unit_pnl(prepared, scenarios, start, stop, horizon)
            for entry in order[position:end]:
                span = slice(rows.first[row_of[entry]], rows.first[row_of[entry] + 1])
                total[span] += tail_weight[entry] * unit[rows.column[span], tail_scenario[entry] - start].astype(np.float64)
        position = end
    return rows.quantity * total


def values(operation: str, columns: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """An operation of `formula/operations.py` by its plain formula or slower method."""
    from upm_gpu.formula.operations import operation_named

    return operation_named(operation).twin(columns)
