"""A day of a back-test over chains: today's book margined as `upm run` margins it, and what it lost by the next day's chain.

The market of a day is its chain and the history up to it; the horizon of value-at-risk and expected shortfall is the time to the next chain (`next_market.realised`
compares the same two). Options alive then are valued at the next chain, those that expired pay at the delivery price or, without one, at the next chain's index (proxy).
The margin of the back-test is multiplier x ES at that horizon, core only; what the methodology asks in all, over its own margin period, stands beside it.
Verified by tests/end_to_end/test_chain_backtest.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backtest.chain_books import board_of, book_of, portfolios
from upm_gpu.backtest.chain_config import ChainConfig, ChainModel, run_of
from upm_gpu.backtest.forecast import day_seed
from upm_gpu.backtest.ranked_laws import LAW, kept_of, lowest, quantiles
from upm_gpu.market.observations import Observations
from upm_gpu.market.snapshot import MarketSnapshot, days_between

if TYPE_CHECKING:
    import pyarrow as pa

    from upm_gpu.engine import Outcome

EPOCH_DAY = datetime(1970, 1, 1).date().toordinal()
SAME = 1e-6
"""relative: scenario P&L is kept in float32, so a loss this near to a measure is that measure (an option that lapses loses its premium, which is the worst of its law)"""


@dataclass(frozen=True)
class ChainDay:
    """One valuation day and the chain after it."""

    market: MarketSnapshot
    """with its history"""
    surfaces: dict[str, Any]
    later: MarketSnapshot
    later_surfaces: dict[str, Any]
    settlements: dict[tuple[str, object], tuple[float, bool]]

    @property
    def elapsed(self) -> float:
        """Days to the next chain."""
        return days_between(self.market.valuation_time, self.later.valuation_time)


def margined(day: ChainDay, config: ChainConfig, entry: ChainModel, methodology: Any, choice: Any) -> pa.Table:
    """One row a portfolio: what it lost and what was forecast, per unit of its gross notional.

    Columns: portfolio, kind, group, notional, loss, proxy (loss of what was settled at a proxy price), value_at_risk, expected_shortfall, expected_shortfall_standard_error,
    initial_margin, pit, and law_00 ... the P&L at `RANKS`.
    """
    import pyarrow as pa

    from upm_gpu.config import scenario_spec
    from upm_gpu.engine import compute_outcome
    from upm_gpu.margin.units import gross_notional
    from upm_gpu.next_market import next_market, realised
    from upm_gpu.passes import in_memory
    from upm_gpu.plan import make_plan
    from upm_gpu.risk.dependence import dependence_of
    from upm_gpu.risk.tail import finish

    ordinal = day.market.valuation_time.date().toordinal() - EPOCH_DAY
    boards = [board_of(day.market, u) for u in config.chains.underlyings]
    held = {p.name: p for p in portfolios(boards, config.portfolios, ordinal)}
    spec = scenario_spec(run_of(config, entry, day.elapsed))
    spec = replace(spec, seed=day_seed(config.scenarios.seed, float(ordinal)))
    outcome = compute_outcome(make_plan(book_of(boards, list(held.values())), day.market, spec, methodology, surfaces=day.surfaces), choice, 0, in_memory(None))
    plan = outcome.plan
    seen, _ = realised(outcome, next_market(plan, day.later, day.settlements, Observations(), day.later_surfaces))
    h = int(np.argmin([abs(d - day.elapsed) for d in plan.horizons]))
    estimate = finish(outcome.tail, [plan.core.level], dependence_of(plan.scenarios))[plan.core.level]
    pnl = _scenarios(outcome, h)
    size = gross_notional(plan.units, plan.instruments, plan.market)
    loss = seen["realised_loss"].to_numpy(np.float64)
    proxy = loss - seen["realised_loss_without_proxy"].to_numpy(np.float64)
    for measure in (estimate.value_at_risk[h], estimate.expected_shortfall[h]):
        loss = np.where(np.abs(loss - measure) <= SAME * np.abs(measure), measure, loss)
    names = list(plan.units.names)
    initial = outcome.result.table.set_index("account_id").loc[names, "initial_margin"].to_numpy(np.float64)
    law = quantiles(lowest(pnl, kept_of(pnl.shape[1])), pnl.shape[1]) / size[:, None]
    columns: dict[str, Any] = {
        "portfolio": names, "kind": [held[n].kind for n in names], "group": [held[n].group for n in names], "notional": size, "loss": loss / size,
        "proxy": proxy / size, "value_at_risk": estimate.value_at_risk[h] / size, "expected_shortfall": estimate.expected_shortfall[h] / size,
        "expected_shortfall_standard_error": estimate.expected_shortfall_standard_error[h] / size, "initial_margin": initial / size,
        "pit": np.count_nonzero(pnl <= (-loss + SAME * np.abs(loss))[:, None], axis=1) / pnl.shape[1]}
    return pa.table(columns | {name: law[:, k].astype(np.float32) for k, name in enumerate(LAW)})


def _scenarios(outcome: Outcome, horizon: int) -> NDArray[np.float64]:
    """(U, S) P&L of every unit at a horizon."""
    plan, choice = outcome.plan, outcome.choice
    with choice.module.prepare(plan.compiled, plan.rows, choice.precision, choice.threads) as prepared:
        return np.asarray(choice.module.row_pnl(prepared, plan.scenarios, 0, plan.spec.count, horizon), np.float64)
