"""The market that came: read and compiled before anything is computed, compared with the scenarios when they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from upm_gpu import exhibits
from upm_gpu.domain.instrument import Exotic, Option, Spot
from upm_gpu.engine import Outcome
from upm_gpu.errors import MarketDataError, UpmError
from upm_gpu.margin.result import model_values
from upm_gpu.margin.units import sum_by
from upm_gpu.market.levels import exchange_rate, spot_price
from upm_gpu.market.observations import Observations, load_observations
from upm_gpu.market.reader import load_market
from upm_gpu.market.settlements import load_settlements
from upm_gpu.market.snapshot import MarketSnapshot, days_between
from upm_gpu.market.surface import fit_surfaces
from upm_gpu.plan import Plan
from upm_gpu.pricing.aftermath import Became, Span, became
from upm_gpu.pricing.compiled import Compiled
from upm_gpu.pricing.two_assets import options_read
from upm_gpu.risk.dependence import dependence_of
from upm_gpu.risk.tail import finish

NAMED = 5
"""instruments left out that are named"""
FAR = 0.25
"""a horizon further from the time that passed than this part of it is named as no match"""


@dataclass(frozen=True)
class NextMarket:
    """A later snapshot and what is needed to value the book in it."""

    market: MarketSnapshot
    settlements: dict[tuple[str, object], tuple[float, bool]]
    alive: tuple[Option, ...]
    compiled: Compiled | None
    """the options alive then, at their own model values; None where there are none"""
    elapsed: float
    """days since the run's valuation time"""
    became: Mapping[str, Became] = field(default_factory=dict)
    """of every exotic option"""


def load_next(plan: Plan, folder: Path) -> NextMarket:
    """Read a later market and everything the book needs in it; raises what is missing, so that no run ends on it."""
    try:
        later = load_market(folder, plan.market.reporting_currency)
        return next_market(plan, later, load_settlements(folder), load_observations(folder, later.valuation_time))
    except UpmError as error:
        raise type(error)(error.code, f"the next market (market.next_path): {error.message}") from None


def next_market(plan: Plan, later: MarketSnapshot, settlements: dict[tuple[str, object], tuple[float, bool]], observed: Observations, surfaces: dict | None = None) -> NextMarket:
    """A later snapshot as the book needs it, `surfaces` of its quotes fitted where they are not given; raises what is missing."""
    later = replace(later, linear_marks=plan.market.linear_marks, surface_family=plan.market.surface_family)
    elapsed = days_between(plan.market.valuation_time, later.valuation_time)
    if elapsed <= 0.0:
        raise MarketDataError("UPM-MD-131", f"its valuation time {later.valuation_time.isoformat()} is not after {plan.market.valuation_time.isoformat()}. "
                              "Give a later snapshot, or leave market.next_path blank.")
    for instrument in plan.instruments:
        spot_price(later, instrument.underlying, instrument.instrument_id)
        if not isinstance(instrument, Spot):
            exchange_rate(later, instrument)
    for option in options_read(plan.instruments):
        spot_price(later, option.underlying, option.instrument_id)
    held = _what_became(plan, later, settlements, observed)
    plain = [i for i in plan.instruments if isinstance(i, Option) and i.instrument_id not in held and days_between(later.valuation_time, i.expiry) > 0.0]
    alive = tuple(sorted([*plain, *(part for b in held.values() for part in b.parts)], key=lambda i: i.instrument_id))
    needed = {i.underlying for i in options_read(alive)}
    fitted = fit_surfaces(later, needed) if surfaces is None else {u: s for u, s in surfaces.items() if u in needed}
    compiled = exhibits.compile_today(alive, later, fitted, plan.compiled.drawn_names, plan.dynamics) if alive else None
    return NextMarket(later, settlements, alive, compiled, elapsed, held)


def _what_became(plan: Plan, later: MarketSnapshot, settlements: dict[tuple[str, object], tuple[float, bool]], observed: Observations) -> dict[str, Became]:
    """Every exotic option at the later market's time, and every one that is paid in another currency at a fixed rate."""
    found = {}
    for option in plan.instruments:
        if isinstance(option, Option) and option.quanto is not None:
            found[option.instrument_id] = Became(unknown="its value there, paid in another currency at a fixed rate")
        if not isinstance(option, Exotic) or option.quanto is not None:
            continue
        rate = exchange_rate(later, option)

        def level(underlying: str, rate: float = rate, who: str = option.instrument_id) -> float:
            return spot_price(later, underlying, who) / rate

        def settlement(underlying: str, at: Callable[[str], float] = level, expiry: datetime = option.expiry) -> tuple[float, bool]:
            return settlements.get((underlying, expiry), (at(underlying), True))

        held = became(option, Span(plan.market.valuation_time, later.valuation_time, observed, level, settlement))
        if option.settlement == "inverse" and held.cash:  # paid in coins at the index of the expiry
            held = replace(held, cash=held.cash / settlement(option.underlying)[0] * level(option.underlying))
        found[option.instrument_id] = held
    return found


def _left_out(later: NextMarket, units: int, blank: int) -> str:
    """What is to be said of options whose path is not known."""
    missing = {name: b.unknown for name, b in later.became.items() if b.unknown}
    if not missing:
        return ""
    named = "; ".join(f"{name}: {what}" for name, what in list(missing.items())[:NAMED])
    return (f"; UPM-PR-087 {len(missing)} instruments are left out, since what became of them is not known ({named}{'; and more' if len(missing) > NAMED else ''}); a path is known from observations.csv; "
            f"the loss of {blank} of {units} units, which hold them, is blank and not counted")


def realised(outcome: Outcome, later: NextMarket) -> tuple[pd.DataFrame, str]:
    """VaR and ES at the horizon nearest to the next snapshot beside the loss that came, per unit; and one line about it."""
    plan = outcome.plan
    h = int(np.argmin([abs(d - later.elapsed) for d in plan.horizons]))
    today = model_values(plan.compiled, plan.instruments, outcome.value0)
    pnl, proxy = exhibits.realised_pnl(plan.instruments, today, plan.market, later.market, later.settlements, _values(outcome, later), later.became)
    lines = plan.units.lines
    loss = -sum_by(lines.unit, lines.quantity * pnl[lines.instrument], len(plan.units.names))
    sound = -sum_by(lines.unit, lines.quantity * np.where(proxy, 0.0, pnl)[lines.instrument], len(plan.units.names))
    estimate = finish(outcome.tail, [plan.core.level], dependence_of(plan.scenarios), outcome.weights)[plan.core.level]
    table = pd.DataFrame({"account_id": list(plan.units.names), "horizon_days": plan.horizons[h], "value_at_risk": estimate.value_at_risk[h],
                          "expected_shortfall": estimate.expected_shortfall[h], "realised_loss": loss, "realised_loss_without_proxy": sound})
    beyond_var, beyond_es = int((loss > estimate.value_at_risk[h]).sum()), int((loss > estimate.expected_shortfall[h]).sum())
    known = int(np.isfinite(loss).sum())
    note = (f"realised: {later.market.valuation_time.isoformat()} is {later.elapsed:.3f} days on; {beyond_var} of {known} units lost more than their "
            f"value-at-risk, {beyond_es} more than their expected shortfall at {plan.horizons[h]:g} days; {int(proxy.sum())} instruments settled at a proxy price")
    note += _left_out(later, len(table), len(table) - known)
    if abs(plan.horizons[h] - later.elapsed) > FAR * later.elapsed:
        note += f"; no horizon is near: add {later.elapsed:.3f}d to model.horizons before comparing"
    return table, note


def _values(outcome: Outcome, later: NextMarket) -> dict[str, float]:
    """Model value at the next snapshot of one unit of every option still alive then."""
    if later.compiled is None:
        return {}
    rows, still = exhibits.select_rows(outcome.plan.rows, []), exhibits.explicit_moves(later.compiled.drawn_names, [{}])
    compiled = exhibits.cover(outcome.choice.module, later.compiled, (still,), 1)
    with outcome.choice.module.prepare(compiled, rows, "double", 1) as prepared:
        return model_values(compiled, later.alive, np.array(prepared.value0))
