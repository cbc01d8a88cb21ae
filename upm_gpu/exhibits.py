"""Exhibits: what a report shows beside the margin table, computed by the same backends on the same arrays.

Histograms of the P&L, stress tables, heat maps over price and volatility, Greeks, and the loss that really came. Each is a plain
table that the run folder keeps; the report draws nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from upm_gpu.domain.instrument import Exotic, Future, Instrument, Option, Perpetual, Spot, expiry_of
from upm_gpu.margin.result import repeated
from upm_gpu.margin.units import Units, sum_by
from upm_gpu.market.levels import exchange_rate, quote_price, spot_price
from upm_gpu.market.snapshot import MarketSnapshot, days_between
from upm_gpu.pricing.aftermath import Became
from upm_gpu.pricing.compile import compile_book
from upm_gpu.pricing.compiled import GROUP_INTEGERS, GROUP_REALS, TERM_REALS, Compiled, ModelRequest, Rows
from upm_gpu.pricing.dynamics import Dynamics
from upm_gpu.pricing.forward_starts import starts_later
from upm_gpu.pricing.tables import Shelf, operation_inputs, spot_over_forward_today, with_tables
from upm_gpu.risk.tail_state import TailState
from upm_gpu.scenario.derived import derive
from upm_gpu.scenario.sets import BLOCK, Explicit, ScenarioSet
from upm_gpu.two_asset_greeks import second_asset_lines, two_asset_greeks

HISTOGRAM_BINS = 80
HISTOGRAM_RANGE = 16_384
"""scenarios a call: keeps (rows, S) small"""
MOVED_BY = {"log_level": "price", "volatility_shift": "volatility", "variance": "volatility"}
"""what a stress moves of a state, by its kind; a state of another kind stays"""
SHOWN_TOLERANCE = 5e-5
"""per unit of strike, of tables that only heat maps and the shown stresses read, where a price takes a millisecond: their least move of a price is 5e-2; figures of margin are read to `tables.TOLERANCE`"""
HOUSE = ""
"""account id of the row that holds every account's lines"""


def select_rows(rows: Rows, chosen: Sequence[int]) -> Rows:
    """The rows `chosen`, in that order."""
    spans = [slice(int(rows.first[r]), int(rows.first[r + 1])) for r in chosen]
    first = np.zeros(len(spans) + 1, np.int64)
    np.cumsum([s.stop - s.start for s in spans], out=first[1:])
    empty = np.zeros(0)
    return Rows(first, np.concatenate([rows.column[s] for s in spans] or [empty.astype(np.int32)]),
                np.concatenate([rows.quantity[s] for s in spans] or [empty]))


def with_house(rows: Rows, chosen: Rows, columns: int) -> Rows:
    """`chosen` plus one last row: the sum of all rows."""
    total = sum_by(rows.column, rows.quantity, columns)
    held = np.flatnonzero(np.bincount(rows.column, minlength=columns)).astype(np.int32)
    return Rows(np.r_[chosen.first, chosen.first[-1] + len(held)], np.r_[chosen.column, held].astype(np.int32), np.r_[chosen.quantity, total[held]])


def histograms(backend: ModuleType, compiled: Compiled, rows: Rows, names: Sequence[str], scenarios: ScenarioSet, precision: str,
               threads: int, horizons: Sequence[int], depth: int, weights: NDArray[np.float64] | None = None) -> tuple[pd.DataFrame, TailState]:
    """Counts of P&L in equal bins between the 0.01 % and 99.99 % quantiles of each row, and the tail of the last row (the house).

    The outer bins take what lies beyond. Columns: account_id, horizon_days, bin_left, bin_right, count. Counts of one (account, horizon)
    sum to the scenario count. With `weights` (S,) quantiles and counts are weighted, and the tail holds every scenario.
    """
    share = None if weights is None else weights * (len(weights) / np.sum(weights))
    parts, house = [], []
    with backend.prepare(compiled, rows, precision, threads) as prepared:
        for h in horizons:
            ranges = [(f, min(f + HISTOGRAM_RANGE, scenarios.count)) for f in range(0, scenarios.count, HISTOGRAM_RANGE)]
            pnl = np.concatenate([backend.row_pnl(prepared, scenarios, f, t, h) for f, t in ranges], axis=1)
            house.append(_tail_of(pnl[-1], depth if weights is None else scenarios.count))
            for name, values in zip(names, pnl, strict=True):
                low, high = np.quantile(values, [1e-4, 1.0 - 1e-4]) if share is None else _weighted_quantiles(values, share)
                if not high > low:
                    low, high = low - 0.5, high + 0.5
                edges = np.linspace(low, high, HISTOGRAM_BINS + 1)
                count, _ = np.histogram(np.clip(values, low, high), edges, weights=share)
                parts.append(pd.DataFrame({"account_id": name, "horizon_days": compiled.horizons[h], "bin_left": edges[:-1],
                                           "bin_right": edges[1:], "count": count}))
    return pd.concat(parts, ignore_index=True), _stack(house, scenarios.count)


def _weighted_quantiles(values: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """The 0.01 % and 99.99 % quantiles of weighted values."""
    order = np.argsort(values, kind="stable")
    seen = np.cumsum(share[order])
    at = np.minimum(np.searchsorted(seen, seen[-1] * np.array([1e-4, 1.0 - 1e-4])), len(values) - 1)
    return values[order][at]


def _tail_of(pnl: NDArray[np.float64], depth: int) -> tuple[NDArray[np.float64], NDArray[np.uint32], NDArray[np.float64]]:
    """Worst P&L with its scenarios, and the block sums of one row."""
    order = np.argsort(pnl, kind="stable")[:depth]
    blocks = [pnl[f: f + BLOCK] for f in range(0, len(pnl), BLOCK)]
    return pnl[order], order.astype(np.uint32), np.array([[float(b.sum()), float((b * b).sum())] for b in blocks])


def _stack(parts: list, count: int) -> TailState:
    """One row's tails at every horizon as a TailState."""
    pnl, scenario, sums = (np.stack(x) for x in zip(*parts, strict=True))
    return TailState(pnl[:, None], scenario[:, None], np.arange(sums.shape[1], dtype=np.int64), sums.transpose(1, 0, 2)[:, :, None], np.zeros(0, np.int64), 0, count)


def compile_today(instruments: Sequence[Instrument], market: MarketSnapshot, surfaces: dict, state_names: Sequence[str], dynamics: Dynamics) -> Compiled:
    """Arrays for instantaneous moves: one horizon, at the valuation time."""
    return compile_book(instruments, market, surfaces, state_names, np.array([0.0]), (0.0,), dynamics)[0]


def explicit_moves(state_names: Sequence[str], moves: Sequence[dict[str, float]], names: Sequence[str] = ()) -> Explicit:
    """One scenario a dict of state -> log-change; states not named stay."""
    values = np.zeros((1, len(state_names), len(moves)))
    index = {n: i for i, n in enumerate(state_names)}
    for s, move in enumerate(moves):
        for state, size in move.items():
            values[0, index[state], s] = size
    return Explicit(tuple(state_names), np.array([0.0]), values, tuple(names))


def row_values(backend: ModuleType, compiled: Compiled, rows: Rows, given: Explicit, threads: int) -> NDArray[np.float64]:
    """(R, S) P&L of given scenarios, in float64 throughout; they have the states a model draws."""
    scenarios = derive(given, compiled.operations)
    with backend.prepare(compiled, rows, "double", threads) as prepared:
        parts = [backend.row_pnl(prepared, scenarios, f, min(f + BLOCK, scenarios.count), 0) for f in range(0, scenarios.count, BLOCK)]
    return np.concatenate(parts, axis=1)


PRICE_MOVES = (-0.40, -0.30, -0.20, -0.15, -0.10, -0.05, 0.0, 0.05, 0.10, 0.15, 0.20, 0.30, 0.40)
VOLATILITY_MOVES = (-0.40, -0.25, -0.10, 0.0, 0.10, 0.25, 0.50, 0.75, 1.00)


def heat_maps(backend: ModuleType, compiled: Compiled, rows: Rows, names: Sequence[str], underlyings: Sequence[str], threads: int) -> pd.DataFrame:
    """P&L of each row when one underlying (or all, "all") moves at once in price and volatility.

    Columns: account_id, underlying, price_move, volatility_move (relative), pnl.
    """
    parts = []
    price, volatility = (grid.ravel() for grid in np.meshgrid(PRICE_MOVES, VOLATILITY_MOVES, indexing="ij"))
    for which in ("all", *underlyings) if len(underlyings) > 1 else tuple(underlyings):
        pnl = row_values(backend, compiled, rows, grid_moves(compiled, underlyings if which == "all" else (which,)), threads)
        for name, values in zip(names, pnl, strict=True):
            parts.append(pd.DataFrame({"account_id": name, "underlying": which, "price_move": price, "volatility_move": volatility, "pnl": values}))
    return pd.concat(parts, ignore_index=True)


def grid_moves(compiled: Compiled, moved: Sequence[str]) -> Explicit:
    """The scenarios of a heat map: every price move with every volatility move, of the underlyings `moved`."""
    moves = []
    for price in PRICE_MOVES:
        for volatility in VOLATILITY_MOVES:
            move = {f"log_level[{u}]": float(np.log1p(price)) for u in moved}
            moves.append(move | {f"volatility_shift[{u}]": float(np.log1p(volatility)) for u in moved if f"volatility_shift[{u}]" in compiled.state_names})
    return explicit_moves(compiled.drawn_names, moves)


def stress_moves(compiled: Compiled, stresses: Sequence[dict]) -> Explicit:
    """Named deterministic moves of all underlyings (configs/scenario/*.toml), a scenario each."""
    return explicit_moves(compiled.drawn_names, [state_moves(compiled.drawn_names, stress["moves"]) for stress in stresses])


def state_moves(states: Sequence[str], moves: dict[str, dict[str, float]]) -> dict[str, float]:
    """Change of every state under relative moves of price and volatility by asset, "*" every asset not named."""
    found = {}
    for state in states:
        kind, _, of = state.rstrip("]").partition("[")
        size = moves.get(of.partition(",")[0], moves.get("*", {}))  # of an asset or of one of its expiries
        moved = MOVED_BY.get(kind)
        found[state] = float(np.log1p(size.get(moved, 0.0))) if moved else 0.0
    return found


def stress_table(backend: ModuleType, compiled: Compiled, rows: Rows, names: Sequence[str], stresses: Sequence[dict], threads: int) -> pd.DataFrame:
    """P&L of every row under named moves. Columns: account_id, scenario, pnl."""
    pnl = row_values(backend, compiled, rows, stress_moves(compiled, stresses), threads)
    count = len(stresses)
    return pd.DataFrame({"account_id": np.repeat(np.array(names, object), count), "scenario": np.tile([s["name"] for s in stresses], len(names)),
                         "pnl": pnl.ravel()})


def greeks(backend: ModuleType, instruments: Sequence[Instrument], compiled: Compiled, units: Units, accounts: Sequence[str],
           market: MarketSnapshot) -> pd.DataFrame:
    """Greeks a line: account_id, underlying, instrument_id, quantity, delta, gamma, vega, theta, in the reporting currency (`unit_greeks` has their units)."""
    lines, each = units.lines, unit_greeks(backend, instruments, compiled, market)
    i, q = lines.instrument, lines.quantity
    table = pd.DataFrame({
        "account_id": repeated(accounts, lines.account), "underlying": repeated([n.underlying for n in instruments], i),
        "instrument_id": repeated([n.instrument_id for n in instruments], i), "quantity": q,
        **{name: q * values[i] for name, values in each.items()}})
    return second_asset_lines(table, backend, instruments, compiled, i, q)


def unit_greeks(backend: ModuleType, instruments: Sequence[Instrument], compiled: Compiled, market: MarketSnapshot) -> dict[str, NDArray[np.float64]]:
    """delta, gamma, vega, theta (N,) of one unit of every instrument, in the reporting currency.

    delta: P&L for +100 % of the underlying at the present slope (currency delta), gamma: change of that delta for +1 %, vega: P&L for
    +1 volatility point, theta: P&L for one day. Inverse options: the coin value moves with the index too (premium-adjusted
    delta plus the value itself), so that the slope is that of the value in the reporting currency.
    """
    count = len(instruments)
    delta, gamma, vega, theta = (np.zeros(count) for _ in range(4))
    options = {n: i for n, i in enumerate(instruments) if isinstance(i, Option)}
    if options:
        at = list(options)
        columns, drift = _greek_columns(compiled, at)
        result = backend.values("european", columns)
        _exercise(backend, compiled, at, columns, result)
        for n, own in two_asset_greeks(backend, compiled).items():
            for name in own:
                result[name][at.index(n)] = own[name]
        spot = np.array([market.spots[i.underlying] for i in options.values()])
        inverse = np.array([i.settlement == "inverse" for i in options.values()])
        forward = columns["forward"]
        fall = result["delta"] * forward * drift  # of a quanto's value, as its forward is F exp(-drift sigma T)
        result["vega"] = result["vega"] - fall * columns["time_to_expiry"]
        result["theta"] = result["theta"] + fall * columns["volatility"]
        # S V(F) / F with F = F_0 S / S_0: slope in ln S is V_F S for inverse (the coin value itself cancels), F V_F for linear
        scale = np.where(inverse, spot / forward, 1.0)
        delta[at] = scale * result["delta"] * forward
        gamma[at] = scale * result["gamma"] * forward**2 * 0.01
        vega[at] = scale * result["vega"] * 0.01
        theta[at] = scale * result["theta"] / 365.0
        for place, (n, option) in enumerate(options.items()):
            if isinstance(option, Exotic) and starts_later(option):  # worth the forward times a number until it starts, and no older meanwhile
                whole = days_between(market.valuation_time, option.expiry) / 365.0
                delta[n], gamma[n] = result["price"][place], 0.0
                theta[n] = columns["rate"][place] * columns["time_to_expiry"][place] / whole * result["price"][place] / 365.0
    for n, instrument in enumerate(instruments):
        if not isinstance(instrument, Option):
            delta[n] = _slope(instrument, market)
    return {"delta": delta, "gamma": gamma, "vega": vega, "theta": theta}


def _exercise(backend: ModuleType, compiled: Compiled, options: Sequence[int], columns: dict[str, NDArray[np.float64]], result: dict[str, NDArray[np.float64]]) -> None:
    """Greeks of the options that may be exercised early, in place of their European ones; delta and gamma in the forward, which moves as the spot does."""
    program = compiled.programs[0]
    column = compiled.instrument_column[list(options)]
    for request in program.table_requests:
        if isinstance(request, ModelRequest):  # today's value is Black's at the quote
            continue
        first, count = program.group_integers[request.group, 1:3]
        own = np.flatnonzero((column >= first) & (column < first + count))
        strike = columns["strike"][own]  # at unit strike: all amounts of a request are in units of it
        over = spot_over_forward_today(request)
        found = backend.values(request.operation, operation_inputs(request.operation, request.inputs_today, columns["forward"][own] / strike * over, columns["volatility"][own], False))
        for name, power, of_strike in (("delta", 1, 0), ("gamma", 2, -1), ("vega", 0, 1), ("theta", 0, 1)):
            result[name][own] = request.unit * found[name] * over**power * strike**of_strike


def cover(backend: ModuleType, compiled: Compiled, sets: Sequence[Explicit], threads: int, costly_tolerance: float | None = None, shelf: Shelf | None = None) -> Compiled:
    """`compiled` with value tables that reach over all given scenarios, kept on a `shelf`; those of costly operations to `costly_tolerance` of strike where it is given."""
    return with_tables(compiled, [derive(given, compiled.operations) for given in sets], backend, threads, shelf, costly_tolerance)[0]


def _slope(instrument: Spot | Future | Perpetual, market: MarketSnapshot) -> float:
    """d value / d ln S of one unit: S_0, F_0 in the reporting currency, or S_0 / F_0 for (1/F_0 - 1/F) S coins."""
    spot = spot_price(market, instrument.underlying, instrument.instrument_id)
    if isinstance(instrument, Spot):
        return spot
    price = quote_price(market, instrument)
    return price * exchange_rate(market, instrument) if instrument.settlement == "linear" else spot / price


def _greek_columns(compiled: Compiled, options: Sequence[int]) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
    """Inputs of `values`: Black-76 on the forward, linear, one case an option; the rate gives the compiled discount factor. And (n,) what a quanto's forward falls by a unit of volatility and year."""
    program = compiled.programs[0]
    column = compiled.instrument_column[list(options)]
    held = np.flatnonzero(program.group_integers[:, GROUP_INTEGERS.index("count")])
    group = held[np.searchsorted(program.group_integers[held, 1], column, side="right") - 1]
    reals = {k: program.group_reals[group, GROUP_REALS.index(k)] for k in GROUP_REALS}
    terms = {k: compiled.terms[TERM_REALS.index(k), column - compiled.linear] for k in TERM_REALS}
    forward = reals["forward0"] * np.exp(-reals["quanto_drift"] * terms["volatility"] * reals["expiry_years"])
    return {"sign": terms["sign"], "forward": forward, "strike": terms["strike"], "time_to_expiry": reals["expiry_years"],
            "rate": -np.log(reals["discount0"]) / reals["expiry_years"], "volatility": terms["volatility"]}, reals["quanto_drift"]


def realised_pnl(instruments: Sequence[Instrument], today: dict[str, float], market: MarketSnapshot, later: MarketSnapshot,
                 settlements: dict[tuple[str, object], tuple[float, bool]], values_later: dict[str, float], became: Mapping[str, Became] | None = None) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(N,) P&L of one unit between two snapshots in the reporting currency, and which rest on a proxy settlement price.

    `today` and `values_later` are model values of one unit of each option alive then. An option that expired in between pays at its
    settlement price (`settlements[(underlying, expiry)] = (price, is_proxy)`), coins are valued at the later index; without a
    settlement price the later index is used and marked proxy. What an exotic option has become says `became`; NaN where that is not known.
    """
    pnl, proxy = np.zeros(len(instruments)), np.zeros(len(instruments), bool)
    for n, instrument in enumerate(instruments):
        underlying = instrument.underlying
        spot0, spot1 = market.spots[underlying], later.spots[underlying]
        expired = isinstance(instrument, Option | Future) and days_between(later.valuation_time, instrument.expiry) <= 0.0
        if isinstance(instrument, Spot):
            pnl[n] = spot1 - spot0
            continue
        rate1 = exchange_rate(later, instrument)
        price, is_proxy = settlements.get((underlying, expiry_of(instrument)), (spot1 / rate1, True)) if expired else (np.nan, False)
        if expired and isinstance(instrument, Option) and instrument.future_expiry is not None:
            price, is_proxy = quote_price(later, instrument), True
        proxy[n] = expired and is_proxy
        if became and instrument.instrument_id in became:
            held = became[instrument.instrument_id]
            after = np.nan if held.unknown else sum(values_later[part.instrument_id] for part in held.parts) + held.cash * rate1
            pnl[n], proxy[n] = after - today[instrument.instrument_id], held.proxy
        elif isinstance(instrument, Option):
            if expired:
                payoff = max((price - instrument.strike) * (1.0 if instrument.option_type == "call" else -1.0), 0.0)
                after = payoff / price * spot1 if instrument.settlement == "inverse" else payoff * rate1
            else:
                after = values_later[instrument.instrument_id]
            pnl[n] = after - today[instrument.instrument_id]
        else:
            before, after = quote_price(market, instrument), price if expired else quote_price(later, instrument)
            pnl[n] = (after - before) * rate1 if instrument.settlement == "linear" else (1.0 / before - 1.0 / after) * spot1
    return pnl, proxy


__all__ = ["HOUSE", "compile_today", "explicit_moves", "greeks", "heat_maps", "histograms", "realised_pnl", "row_values",
           "select_rows", "state_moves", "stress_table", "unit_greeks", "with_house"]
