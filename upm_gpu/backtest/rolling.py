"""The walk through the years: every valuation day a law from its past, a margin for every portfolio, and the loss that came.

For each group of assets and model: estimate or bring up to date (`forecast.py`), draw on a backend of the engine, value the portfolios on every scenario
(`portfolios.py`), take VaR and ES of the losses with their standard error, set the realised loss against them. Groups and models are walked one after another,
so memory is one day's scenarios; a day costs milliseconds. Measures as in `risk/measures.py`, of the tail alone.
Verified by tests/known_answers/test_rolling.py and tests/properties/test_rolling_laws.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backtest.config import BacktestConfig
from upm_gpu.backtest.forecast import Law, estimate, scenarios_of, spec_of
from upm_gpu.backtest.past import Past, group_past, windows
from upm_gpu.backtest.portfolios import Holdings, make_holdings, profit
from upm_gpu.risk.measures import tail_size

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("date", "portfolio", "kind", "group", "model", "level", "loss", "value_at_risk", "expected_shortfall", "expected_shortfall_standard_error", "margin", "hit_value_at_risk", "hit_margin", "pit")
"""of the table: loss and measures per unit of gross notional, positive; hits true where the loss is above; pit the forecast probability of a P&L at or below the one that came"""


@dataclass(frozen=True)
class Walked:
    """What a walk made."""

    table: pd.DataFrame
    """COLUMNS, in order of group, model, date, portfolio, level"""
    proxies: tuple[str, ...]
    """portfolios whose volatility is realised, not an index"""
    estimates: int
    warnings: tuple[str, ...]


def walk(config: BacktestConfig, history: pd.DataFrame, choice: Any, progress: Callable[[int, int, str], None] | None = None) -> Walked:
    """Back-test every group under every model. `progress` is told (days done, days in all, what). Raises InputError UPM-BT-012 and `CalibrationError` before or at the day that cannot be."""
    import pandas as pd

    tasks, proxies, warnings = [], list[str](), list[str]()
    for group in config.groups:
        held = make_holdings(group, config.portfolios)
        if not held.names:
            warnings.append(f"UPM-BT-013 group {group.name} has no portfolio and is not walked.")
            continue
        for entry in config.models:
            past = group_past(history, group, entry.ewma_lambda, config.history.clock)
            tasks.append((past, held, entry, windows(past, config.windows)))
        proxies += [n for n, s in zip(held.names[len(held.weights):], held.straddles, strict=True) if f"volatility_shift[{group.volatility[s.volatility]}]" in past.proxies and n not in proxies]
    total, done, estimates = sum(len(w) for *_, w in tasks), 0, 0
    frames = []
    for past, held, entry, places in tasks:
        spec = spec_of(entry, config.scenarios, config.windows.horizon_days, config.history.clock)
        law: Law | None = None
        rows = []
        for begin, end in places:
            time = float(past.time[begin])
            if law is None or time - law.time >= entry.recalibrate_days - 1e-9:
                law = estimate(past, time, spec)
                estimates += 1
            drawn = _states(choice, scenarios_of(law, past, time, spec))
            rows.append(_day(past, held, drawn, int(begin), int(end), config))
            done += 1
            if progress is not None:
                progress(done, total, f"{past.group.name}, {entry.name}")
        frames.append(_frame(past, held, entry.name, places, rows, config))
    table = pd.concat(frames, ignore_index=True)
    return Walked(table, tuple(proxies), estimates, tuple(warnings))


def _states(choice: Any, drawn: Any) -> NDArray[np.float64]:
    """(K, S) states at the horizon."""
    from upm_gpu.pricing.compiled import empty

    with choice.module.prepare(*empty(drawn.state_names, drawn.dates), "double", choice.threads) as prepared:
        result: NDArray[np.float64] = np.asarray(choice.module.states(prepared, drawn, 0, drawn.count))[-1]
    return result


def _day(past: Past, held: Holdings, drawn: NDArray[np.float64], begin: int, end: int, config: BacktestConfig) -> NDArray[np.float64]:
    """(P, 2 + 3 levels): loss, pit, then VaR, ES and its standard error of every level. The loss is NaN where a volatility is missing at either end."""
    prices, horizon = len(past.group.assets), float(config.windows.horizon_days)
    today = np.exp(past.value[begin, prices:])
    came = past.value[end] - past.value[begin]
    made = profit(held, drawn[:prices], drawn[prices:], today, horizon)
    real = profit(held, came[:prices, None], came[prices:, None], today, horizon)[:, 0]
    loss = -made
    columns = [-real, np.array([np.count_nonzero(row <= r) for row, r in zip(made, real, strict=True)]) / made.shape[1]]
    for level in config.margin.levels:
        columns += tail(loss, level)
    return np.stack(columns, axis=1)


def tail(loss: NDArray[np.float64], level: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """VaR, ES and the standard error of ES, each (P,), of losses (P, S): `risk/measures.py` from the worst alone.

    SE(ES)^2 = variance of max(L - VaR, 0) over S (1 - level)^2.

    >>> [x.tolist() for x in tail(np.array([[1.0, 2.0, 3.0, 4.0]]), 0.5)][:2]
    [[2.0], [3.5]]
    """
    count = loss.shape[1]
    k = tail_size(count, level)
    whole = int(np.floor(k))
    kept = min(whole + 1, count)
    worst = np.stack([-np.sort(-np.partition(row, count - kept)[count - kept:]) for row in loss])  # a row at a time stays in the cache
    at = min(whole, count - 1)
    var = worst[:, at]
    beyond = np.maximum(worst - var[:, None], 0.0)
    shortfall = var + np.sum(beyond, axis=1) / k  # the mean of the tail, and never a rounding below VaR where all of it is one loss
    mean = np.sum(beyond, axis=1) / count
    variance = np.maximum(np.sum(beyond * beyond, axis=1) / count - mean * mean, 0.0)
    return var, shortfall, np.sqrt(variance / count) / (1.0 - level)


def _frame(past: Past, held: Holdings, model: str, places: NDArray[np.int64], rows: list[NDArray[np.float64]], config: BacktestConfig) -> pd.DataFrame:
    import pandas as pd

    values = np.stack(rows)  # (W, P, 2 + 3 levels)
    days, portfolios, levels = len(places), len(held.names), config.margin.levels
    # a close at 24:00 belongs to the day that ends then: half a second back
    dates = np.array([str(np.datetime64(round(t * 86_400.0) - 1, "s"))[:10] for t in past.clock.instant(past.time[places[:, 0]])], dtype=object)
    parts = []
    for n, level in enumerate(levels):
        var, shortfall, error = (values[:, :, 2 + 3 * n + i].ravel() for i in range(3))
        loss, margin = values[:, :, 0].ravel(), np.maximum(config.margin.multiplier * shortfall, 0.0)
        parts.append(pd.DataFrame({
            "date": np.repeat(dates, portfolios), "portfolio": np.tile(np.array(held.names, dtype=object), days), "kind": np.tile(np.array(held.kinds, dtype=object), days),
            "group": past.group.name, "model": model, "level": level, "loss": loss, "value_at_risk": var, "expected_shortfall": shortfall,
            "expected_shortfall_standard_error": error, "margin": margin, "hit_value_at_risk": loss > var, "hit_margin": loss > margin, "pit": values[:, :, 1].ravel()}, columns=list(COLUMNS)))
    table = parts[0] if len(parts) == 1 else pd.concat(parts).sort_index(kind="stable")
    return table[np.isfinite(table["loss"].to_numpy()) & np.isfinite(table["expected_shortfall"].to_numpy())]
