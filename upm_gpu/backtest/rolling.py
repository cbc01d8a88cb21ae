"""The walk through the years: every valuation day a law from its past, a margin for every portfolio, and the loss that came.

For each group of assets and model: estimate or bring up to date (`forecast.py`), draw on a backend of the engine, value the portfolios on every scenario
(`portfolios.py`), take VaR and ES of the losses with their standard error, set the realised loss against them. Groups and models are walked one after another,
so memory is one day's scenarios; a day costs milliseconds. The days between two estimates need nothing of those before, which makes pieces that can be kept. Measures as in `risk/measures.py`, of the tail alone.
Verified by tests/known_answers/test_rolling.py and tests/properties/test_rolling_laws.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backtest.config import BacktestConfig, ModelEntry
from upm_gpu.backtest.forecast import Law, estimate, scenarios_of, spec_of
from upm_gpu.backtest.linear_margin import initial_margins
from upm_gpu.backtest.past import Past, group_past, windows
from upm_gpu.backtest.portfolios import Holdings, make_holdings, profit
from upm_gpu.backtest.ranked_laws import LAW, RANKS, kept_of, lowest, quantiles
from upm_gpu.risk.measures import tail_size

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("date", "portfolio", "kind", "group", "model", "level", "loss", "value_at_risk", "expected_shortfall", "expected_shortfall_standard_error", "margin", "hit_value_at_risk", "hit_margin", "pit")
"""of the table: loss and measures per unit of gross notional, positive; hits true where the loss is above; pit the forecast probability of a P&L at or below the one that came"""


PIECE_DAYS = 120
"""days of a piece at least: some seconds of work; it begins where a law is estimated"""


@dataclass(frozen=True)
class Walked:
    """What a walk made."""

    table: pd.DataFrame
    """COLUMNS, then law_00 ... (the P&L at the ranks of `ranked_laws.py`), in order of group, model, date, portfolio, level"""
    proxies: tuple[str, ...]
    """portfolios whose volatility is realised, not an index"""
    estimates: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Walk:
    """One group under one model."""

    past: Past
    held: Holdings
    entry: ModelEntry
    places: NDArray[np.int64]
    """(W, 2) of every window"""
    estimates: tuple[int, ...]
    """windows at which a law is estimated"""
    methodology: Any = None
    """whose initial margin is asked every day; None: none"""

    @property
    def pieces(self) -> list[tuple[int, int]]:
        """[first, last) windows of every piece; a function of the windows alone."""
        starts = [0]
        for e in self.estimates:
            if e - starts[-1] >= PIECE_DAYS:
                starts.append(e)
        return list(zip(starts, [*starts[1:], len(self.places)], strict=True))


def walks(config: BacktestConfig, history: pd.DataFrame) -> tuple[list[Walk], tuple[str, ...], tuple[str, ...]]:
    """Every group under every model, portfolios without a volatility index, and warnings. Raises what cannot be walked, InputError UPM-BT-012 and `CalibrationError`."""
    from upm_gpu.margin.methodology import load_methodology

    found, proxies, warnings = [], list[str](), list[str]()
    for group in config.groups:
        held = make_holdings(group, config.portfolios)
        if not held.names:
            warnings.append(f"UPM-BT-013 group {group.name} has no portfolio and is not walked.")
            continue
        for entry in config.models:
            past = group_past(history, group, entry.ewma_lambda, config.history.clock)
            places = windows(past, config.windows)
            methodology = load_methodology(entry.methodology) if entry.methodology else None
            found.append(Walk(past, held, entry, places, _estimates(past.time[places[:, 0]], entry.recalibrate_days), methodology))
        proxies += [n for n, s in zip(held.names[len(held.weights):], held.straddles, strict=True) if f"volatility_shift[{group.volatility[s.volatility]}]" in past.proxies and n not in proxies]
    return found, tuple(proxies), tuple(warnings)


def _estimates(time: NDArray[np.float64], every: int) -> tuple[int, ...]:
    """Windows at which so many days have passed since the last estimate."""
    found = [0]
    for n, t in enumerate(time):
        if t - time[found[-1]] >= every - 1e-9:
            found.append(n)
    return tuple(found)


def piece(walk: Walk, first: int, last: int, config: BacktestConfig, choice: Any) -> NDArray[np.float64]:
    """(W, P, columns_of) of windows [first, last), of which the first estimates: loss, pit, then VaR, ES and its standard error of every level, the law, and the methodology's initial margin."""
    past = walk.past
    spec = spec_of(walk.entry, config.scenarios, config.windows.horizon_days, config.history.clock)
    law: Law | None = None
    rows = []
    for n in range(first, last):
        begin, end = walk.places[n]
        time = float(past.time[begin])
        if law is None or n in walk.estimates:
            law = estimate(past, time, spec)
        day = _day(past, walk.held, _states(choice, scenarios_of(law, past, time, spec)), int(begin), int(end), config)
        if walk.methodology is not None:
            day[:, -1] = initial_margins(past, walk.held, law, int(begin), spec, walk.methodology, choice, config.money.currency, config.money.notional)
        rows.append(day)
    return np.stack(rows)


def columns_of(config: BacktestConfig) -> int:
    """Numbers of a portfolio and day."""
    return 3 + 3 * len(config.margin.levels) + len(RANKS)


def walk(config: BacktestConfig, history: pd.DataFrame, choice: Any) -> Walked:
    """Back-test every group under every model, in memory. Raises InputError UPM-BT-012 and `CalibrationError` before or at the day that cannot be."""
    found, proxies, warnings = walks(config, history)
    made = [[piece(w, first, last, config, choice) for first, last in w.pieces] for w in found]
    return gathered(config, found, made, proxies, warnings)


def gathered(config: BacktestConfig, found: Sequence[Walk], made: Sequence[Sequence[NDArray[np.float64]]], proxies: tuple[str, ...], warnings: tuple[str, ...]) -> Walked:
    """The table of all pieces."""
    import pandas as pd

    table = pd.concat([_frame(w, np.concatenate(values), config) for w, values in zip(found, made, strict=True)], ignore_index=True)
    return Walked(table, proxies, sum(len(w.estimates) for w in found), warnings)


def _states(choice: Any, drawn: Any) -> NDArray[np.float64]:
    """(K, S) states at the horizon."""
    from upm_gpu.pricing.compiled import empty

    with choice.module.prepare(*empty(drawn.state_names, drawn.dates), "double", choice.threads) as prepared:
        result: NDArray[np.float64] = np.asarray(choice.module.states(prepared, drawn, 0, drawn.count))[-1]
    return result


def _day(past: Past, held: Holdings, drawn: NDArray[np.float64], begin: int, end: int, config: BacktestConfig) -> NDArray[np.float64]:
    """(P, columns_of) of one day, without an initial margin. The loss is NaN where a volatility is missing at either end."""
    prices, horizon = len(past.group.assets), float(config.windows.horizon_days)
    today = np.exp(past.value[begin, prices:])
    came = past.value[end] - past.value[begin]
    made = profit(held, drawn[:prices], drawn[prices:], today, horizon)
    real = profit(held, came[:prices, None], came[prices:, None], today, horizon)[:, 0]
    columns = [-real, np.array([np.count_nonzero(row <= r) for row, r in zip(made, real, strict=True)]) / made.shape[1]]
    worst = lowest(made, kept_of(made.shape[1], config.margin.levels))
    for level in config.margin.levels:
        columns += _tail(-worst, made.shape[1], level)
    return np.concatenate([np.stack(columns, axis=1), quantiles(worst, made.shape[1]), np.full((len(made), 1), np.nan)], axis=1)


def tail(loss: NDArray[np.float64], level: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """VaR, ES and the standard error of ES, each (P,), of losses (P, S): `risk/measures.py` from the worst alone.

    SE(ES)^2 = variance of max(L - VaR, 0) over S (1 - level)^2.

    >>> [x.tolist() for x in tail(np.array([[1.0, 2.0, 3.0, 4.0]]), 0.5)][:2]
    [[2.0], [3.5]]
    """
    return _tail(-lowest(-loss, kept_of(loss.shape[1], (level,))), loss.shape[1], level)


def _tail(worst: NDArray[np.float64], count: int, level: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of the largest losses, descending, of laws of `count` scenarios."""
    k = tail_size(count, level)
    whole = int(np.floor(k))
    kept = min(whole + 1, count)
    var = worst[:, min(whole, count - 1)]
    beyond = np.maximum(worst[:, :kept] - var[:, None], 0.0)
    shortfall = var + np.sum(beyond, axis=1) / k  # the mean of the tail, and never a rounding below VaR where all of it is one loss
    mean = np.sum(beyond, axis=1) / count
    variance = np.maximum(np.sum(beyond * beyond, axis=1) / count - mean * mean, 0.0)
    return var, shortfall, np.sqrt(variance / count) / (1.0 - level)


def _frame(walk: Walk, values: NDArray[np.float64], config: BacktestConfig) -> pd.DataFrame:
    import pandas as pd

    past, held, places = walk.past, walk.held, walk.places
    days, portfolios, levels = len(places), len(held.names), config.margin.levels
    law = values[:, :, 2 + 3 * len(levels):-1].reshape(days * portfolios, len(RANKS)).astype(np.float32)
    # a close at 24:00 belongs to the day that ends then: half a second back
    dates = np.array([str(np.datetime64(round(t * 86_400.0) - 1, "s"))[:10] for t in past.clock.instant(past.time[places[:, 0]])], dtype=object)
    parts = []
    for n, level in enumerate(levels):
        var, shortfall, error = (values[:, :, 2 + 3 * n + i].ravel() for i in range(3))
        loss, margin = values[:, :, 0].ravel(), np.maximum(config.margin.multiplier * shortfall, 0.0)
        parts.append(pd.DataFrame({
            "date": np.repeat(dates, portfolios), "portfolio": np.tile(np.array(held.names, dtype=object), days), "kind": np.tile(np.array(held.kinds, dtype=object), days),
            "group": past.group.name, "model": walk.entry.name, "level": level, "loss": loss, "value_at_risk": var, "expected_shortfall": shortfall,
            "expected_shortfall_standard_error": error, "margin": margin, "hit_value_at_risk": loss > var, "hit_margin": loss > margin, "pit": values[:, :, 1].ravel(),
            **{name: law[:, k] for k, name in enumerate(LAW)}}, columns=[*COLUMNS, *LAW]))
        if any(m.methodology for m in config.models):
            parts[-1].insert(len(COLUMNS), "initial_margin", values[:, :, -1].ravel())
    table = parts[0] if len(parts) == 1 else pd.concat(parts).sort_index(kind="stable")
    return table[np.isfinite(table["loss"].to_numpy()) & np.isfinite(table["expected_shortfall"].to_numpy())]
