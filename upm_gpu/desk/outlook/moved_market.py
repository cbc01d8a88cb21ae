"""The market at a date of one path: what a snapshot taken there would read.

Prices move by the states of their asset and of the currency it is quoted in; forwards keep what they are over the index, a perpetual takes its basis; zero curves are today's curve from that date on, moved by
their factors; the funding of a day is one more close. A volatility belongs to its expiry: the moved smile at total variance w(k) of today, T years away and T' then, is

  w'(k) = T' / T e^(2 s) (w(k') + c k'),   k' = k / l (sticky moneyness and delta),  k' = k + ln(F' / F) (sticky strike),

s the shift, c the change of skew and ln l the stretch of the expiry, which raw SVI holds exactly: as `formula/families.py` reprices, a quote's residual to its slice kept. Points added to a volatility leave the family: the
slice is fitted to the moved smile, and the residual takes what it misses at a quote.

Verified: tests/statistics/test_tomorrow.py, equity of a fresh run in this market against the path's own P&L, for every dynamics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from upm_gpu.domain.instrument import Future, Instrument, Option, Perpetual, Spot, expiry_of, paid_in
from upm_gpu.formula.families import MONEYNESS_LIMIT, VOLATILITY_CAP, VOLATILITY_FLOOR
from upm_gpu.market.levels import daily_funding, discount_factor, quote_price
from upm_gpu.market.marks import check_marks
from upm_gpu.market.snapshot import SECONDS_PER_DAY, MarketSnapshot, Quotes, days_between
from upm_gpu.market.surface import Surface, SviSlice, implied_volatility, slice_at, total_variance
from upm_gpu.model.heston import HestonParameters, variance_line
from upm_gpu.model.jumps import YEAR_DAYS
from upm_gpu.plan import Plan
from upm_gpu.pricing.states import SLOPE_FROM, SLOPE_TO, expiry_label
from upm_gpu.pricing.two_assets import options_read

FITTED = 101
"""points of a smile that a slice is fitted to"""


@dataclass(frozen=True)
class Moves:
    """States of one date by name: numbers, or arrays over scenarios."""

    market: MarketSnapshot
    """today's"""
    states: Mapping[str, Any]

    def level(self, asset: str) -> Any:
        """Log-change of an asset's level in the currency its spot is quoted in."""
        return next((self.states[n] for n in (f"log_level[{asset}]", f"log_fx[{asset}]") if n in self.states), 0.0)

    def exchange(self, currency: str) -> Any:
        """Log-change of a currency's rate to the reporting one."""
        if currency == self.market.reporting_currency:
            return 0.0
        return next((self.states[n] for n in (f"log_fx[{currency}]", f"log_level[{currency}]") if n in self.states), 0.0)

    def level_in(self, asset: str, currency: str) -> Any:
        """Log-change of an asset's level in a currency."""
        own = self.market.spot_currency.get(asset, self.market.reporting_currency)
        return self.level(asset) if own == currency else self.level(asset) + self.exchange(own) - self.exchange(currency)

    def value(self, asset: str) -> Any:
        """Log-change of an asset's value in the reporting currency."""
        return self.level_in(asset, self.market.reporting_currency)


@dataclass(frozen=True)
class Smile:
    """A slice of today and the quotes that stand on it."""

    underlying: str
    slice: SviSlice
    days: float
    """to its expiry, today"""
    quotes: NDArray[np.int64]
    """(q,) rows of the snapshot"""
    moneyness: NDArray[np.float64]
    """(q,) ln(strike / forward)"""
    residual: NDArray[np.float64]
    """(q,) quote less slice; 0 where the quote is not trusted"""


@dataclass(frozen=True, eq=False)
class Today:
    """What is read of today's market once for all paths."""

    smiles: tuple[Smile, ...]
    """of every quoted expiry, and of those that options held have where each follows the level alone; ascending by underlying and expiry"""
    forwards: dict[tuple[str, datetime | None], float]
    currency: dict[str, str]
    """that forwards of an underlying are quoted in"""
    ends: dict[str, tuple[float, ...]]
    """days to what is paid in each currency"""


def today_of(plan: Plan) -> Today:
    """Today's market of a plan."""
    market = plan.market
    forwards, currency = dict(market.forwards), dict[str, str]()
    for i in plan.instruments:
        if isinstance(i, Spot):
            continue
        currency.setdefault(i.underlying, i.quote_currency)
        expiry = (i.future_expiry if isinstance(i, Option) else None) or expiry_of(i)
        if expiry is not None:  # the carry to an expiry that nobody quotes stays what it is
            forwards.setdefault((i.underlying, expiry), quote_price(market, i))
    ends = {c: tuple(sorted({days_between(market.valuation_time, i.expiry) for i in plan.instruments if isinstance(i, Future | Option) and c in (i.quote_currency, paid_in(i))})) for c in _currencies(plan.instruments)}
    return Today(tuple(_smiles(plan, forwards)), forwards, currency, ends)


def _smiles(plan: Plan, forwards: dict[tuple[str, datetime | None], float]) -> list[Smile]:
    q, sound = plan.market.quotes, ~check_marks(plan.market).quarantined
    rows: dict[tuple[str, datetime], list[int]] = {}
    for n, key in enumerate(zip(q.underlying.tolist(), q.expiry, strict=True)):
        rows.setdefault(key, []).append(n)
    found = []
    for u, surface in sorted(plan.surfaces.items()):
        expiries = {s.expiry for s in surface.slices}
        if not any(name.startswith(f"volatility_stretch[{u},") for name in plan.compiled.state_names):  # else each slice has states of its own, and others none
            expiries |= {e for name, e in rows if name == u and e > plan.market.valuation_time} | {i.expiry for i in options_read(plan.instruments) if i.underlying == u}
        for expiry in sorted(expiries):
            forward = forwards.get((u, expiry), 0.0)
            at = np.array(rows.get((u, expiry), ()) if forward else (), np.int64)
            svi = slice_at(surface, expiry)
            k = np.log(q.strike[at] / forward) if len(at) else np.zeros(0)
            residual = np.where(sound[at], q.implied_volatility[at] - implied_volatility(svi, k), 0.0)
            found.append(Smile(u, svi, days_between(plan.market.valuation_time, expiry), at, k, residual))
    return found


def moved_market(plan: Plan, today: Today, states: Mapping[str, float], elapsed: float) -> tuple[MarketSnapshot, dict[str, Surface]]:
    """The snapshot and the surfaces `elapsed` calendar days on, at `states` by name."""
    market, moves = plan.market, Moves(plan.market, states)
    when = market.valuation_time + timedelta(seconds=elapsed * SECONDS_PER_DAY)

    def forward(u: str, e: datetime | None, f: float) -> float:
        basis = states.get(f"log_basis[{u}]", 0.0) if e is None and plan.dynamics.basis else 0.0
        return float(f * np.exp(moves.level_in(u, today.currency.get(u, market.spot_currency.get(u, market.reporting_currency))) + basis))

    quotes, slices = _smiles_then(plan, today, moves, elapsed, when)
    then = replace(market, valuation_time=when, spots={a: float(p * np.exp(moves.value(a))) for a, p in market.spots.items()}, quotes=quotes, rates=_rates(plan, today, states, elapsed),
                   forwards={(u, e): forward(u, e, f) for (u, e), f in today.forwards.items() if e is None or e > when}, carried_forwards=frozenset(k for k in market.carried_forwards if k[1] > when),
                   dividends={u: tuple(d for d in paid if d.ex_date > when) for u, paid in market.dividends.items()}, history=_history(plan, states, when), hashes={}, warnings=())
    return then, {u: replace(s, valuation_time=when, slices=tuple(slices[u]), broken=()) for u, s in plan.surfaces.items() if slices.get(u)}


def _smiles_then(plan: Plan, today: Today, moves: Moves, elapsed: float, when: datetime) -> tuple[Quotes, dict[str, list[SviSlice]]]:
    q, slices = plan.market.quotes, dict[str, list[SviSlice]]()
    kept, moved = [np.zeros(0, np.int64)], [np.zeros(0)]
    for smile in today.smiles:
        if smile.slice.expiry <= when:
            continue
        forward_move = float(moves.level_in(smile.underlying, today.currency.get(smile.underlying, plan.market.spot_currency.get(smile.underlying, plan.market.reporting_currency))))
        k = smile.moneyness - forward_move  # of the quotes, at the moved forward
        shift = _shift(plan, smile, moves.states)
        svi = _at_strikes(_tilted(smile, moves.states), smile, forward_move, plan)
        if plan.dynamics.additive:
            base = implied_volatility(svi, k) + smile.residual
            volatility = base + shift
            svi = _fitted(svi, shift)
        else:
            volatility = (implied_volatility(svi, k) + smile.residual) * np.exp(shift)
            svi = replace(svi, a=svi.a * float(np.exp(2.0 * shift)), b=svi.b * float(np.exp(2.0 * shift)))
        kept.append(smile.quotes)
        moved.append(np.clip(volatility, VOLATILITY_FLOOR, VOLATILITY_CAP))
        ratio = (smile.days - elapsed) / smile.days
        slices.setdefault(smile.underlying, []).append(replace(svi, expiry_years=svi.expiry_years * ratio, a=svi.a * ratio, b=svi.b * ratio))
    rows, values = np.concatenate(kept), np.concatenate(moved)
    order = np.argsort(rows, kind="stable")
    rows, unknown = rows[order], np.full(len(rows), np.nan)
    return Quotes(q.underlying[rows], tuple(q.expiry[n] for n in rows.tolist()), q.strike[rows], values[order], unknown, unknown, unknown, q.mark_type[rows], q.open_interest[rows], q.volume[rows]), slices


def _shift(plan: Plan, smile: Smile, states: Mapping[str, float]) -> float:
    """Of the expiry's log-volatility, or of its points."""
    own, common = f"volatility_shift[{smile.underlying},{expiry_label(smile.slice.expiry)}]", f"volatility_shift[{smile.underlying}]"
    if own in states:
        return float(states[own])
    if isinstance(plan.model, HestonParameters) and smile.underlying in plan.model.underlyings:  # an expiry that nobody holds
        base, slope = variance_line(plan.model, plan.model.underlyings.index(smile.underlying), smile.days / YEAR_DAYS)
        return float(0.5 * np.log(base + slope * states[f"variance[{smile.underlying}]"]))
    return float(states.get(common, 0.0)) * plan.dynamics.loading(smile.days)


def _tilted(smile: Smile, states: Mapping[str, float]) -> SviSlice:
    """Tilted by the change of skew, then drawn out."""
    svi, place = smile.slice, f"{smile.underlying},{expiry_label(smile.slice.expiry)}"
    c = 2.0 * float(np.sqrt(total_variance(svi, 0.0))) * float(states.get(f"volatility_skew[{place}]", 0.0))
    if c != 0.0 and svi.b > 0.0:
        svi = replace(svi, a=svi.a + c * svi.m, rho=svi.rho + c / svi.b)
    length = float(np.exp(states.get(f"volatility_stretch[{place}]", 0.0)))
    return svi if length == 1.0 else replace(svi, b=svi.b / length, m=svi.m * length, s=svi.s * length)


def _at_strikes(svi: SviSlice, smile: Smile, forward_move: float, plan: Plan) -> SviSlice:
    """Under sticky strike a volatility stays at its strike: the slice in moneyness to the moved forward."""
    return svi if plan.dynamics.sticky_moneyness else replace(svi, m=svi.m - forward_move)


def _fitted(svi: SviSlice, points: float) -> SviSlice:
    """A slice through the volatilities of another with points added."""
    from upm_gpu.market.svi_fit import fit_curve

    if points == 0.0:
        return svi
    width = min(5.0 * float(np.sqrt(total_variance(svi, 0.0))), MONEYNESS_LIMIT)
    k = np.linspace(-width, width, FITTED)
    volatility = np.clip(implied_volatility(svi, k) + points, VOLATILITY_FLOOR, VOLATILITY_CAP)
    scale = float((volatility[FITTED // 2] / implied_volatility(svi, 0.0)) ** 2)
    a, b, rho, m, s = fit_curve(svi.expiry_years, k, volatility, np.ones(FITTED), np.array([svi.a * scale, svi.b * scale, svi.rho, svi.m, svi.s]))
    return replace(svi, a=a, b=b, rho=rho, m=m, s=s)


def _rates(plan: Plan, today: Today, states: Mapping[str, float], elapsed: float) -> dict[str, tuple[tuple[float, float], ...]]:
    """z'(t) t = z(t + h) (t + h) - z(h) h, and what its factors add; given at every expiry that is priced."""
    market, found = plan.market, {}
    moved = {name.partition("[")[2].rstrip("]") for name in states if name.startswith(("rate_level[", "rate_slope["))}
    for c in sorted({*market.rates, *moved}):
        level, slope = states.get(f"rate_level[{c}]", 0.0), states.get(f"rate_slope[{c}]", 0.0)
        nodes = sorted(t for t in {*(tenor - elapsed for tenor, _ in market.rates.get(c, ())), *(end - elapsed for end in today.ends.get(c, ())), SLOPE_FROM, SLOPE_TO} if t > 0.0)
        past = np.log(discount_factor(market, c, elapsed))
        found[c] = tuple((t, float(365.0 / t * (past - np.log(discount_factor(market, c, t + elapsed))) + level + slope * np.clip((t - SLOPE_FROM) / (SLOPE_TO - SLOPE_FROM), 0.0, 1.0))) for t in nodes)
    return found


def _currencies(instruments: tuple[Instrument, ...]) -> set[str]:
    return {c for i in instruments if isinstance(i, Future | Option | Perpetual) for c in (i.quote_currency, paid_in(i))}


def _history(plan: Plan, states: Mapping[str, float], when: datetime) -> pd.DataFrame:
    """With the funding of the day, where it moves."""
    rows = []
    for name, x in states.items():
        if plan.dynamics.funding != "zero" and name.startswith("funding_rate["):
            u = name.partition("[")[2].rstrip("]")
            before = daily_funding(plan.market, u)
            rows.append((pd.Timestamp(when), f"{u}.FUNDING", (plan.dynamics.funding_rate if before is None else before) + x))
    history = plan.market.history
    if not rows:
        return history
    more = pd.DataFrame(rows, columns=["timestamp", "asset", "close"]).astype({"timestamp": history["timestamp"].dtype, "close": history["close"].dtype})
    return pd.concat([history, more[history.columns]], ignore_index=True).sort_values(["asset", "timestamp"], kind="stable", ignore_index=True)
