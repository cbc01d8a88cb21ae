"""The market after a move at once: levels, forwards, quoted volatilities and surfaces, as the engine itself moves them.

A state x of the model changes; then

    spot' = spot exp(level),  forward' = forward exp(level), of a perpetual exp(level + basis),
    volatility'(K) = that of the pricing program in the same scenario (`formula/families.py`, european_volatility),

so that today's value in the market after the move is today's value before it plus the P&L of the move. A surface that only shifts and slides stays raw SVI:
a and b take exp(2 shift), and m falls by the move of the forward where strikes are sticky; any other move is fitted again. Prices quoted beside volatilities
(bid, ask, mark) belong to the market before and are blank. History and clock stay: the law that scenarios are drawn from is told separately.

Verified by tests/properties/test_shocked_market.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from upm_gpu import exhibits
from upm_gpu.errors import InputError
from upm_gpu.market.snapshot import MarketSnapshot, Quotes, days_between
from upm_gpu.market.surface import Surface, fit_surfaces, slice_at
from upm_gpu.pricing.compiled import empty
from upm_gpu.pricing.states import expiry_label
from upm_gpu.pricing.two_assets import options_read
from upm_gpu.scenario.derived import derive

if TYPE_CHECKING:
    from upm_gpu.plan import Plan

KINDS = ("log_level", "log_fx", "volatility_shift", "volatility_skew", "volatility_slope", "log_basis")
"""kinds of states that a market can be moved by"""


def shocked_market(plan: Plan, moves: Mapping[str, float], backend: Any) -> tuple[MarketSnapshot, dict[str, Surface]]:
    """Market and surfaces after the states of `moves` changed by so much. Raises InputError UPM-ST-010 for a state that no market quotes."""
    for name, size in moves.items():
        if size != 0.0 and name.partition("[")[0] not in KINDS:
            raise InputError("UPM-ST-010", f"a move of {name} by {size:g}: margin after a move knows prices, volatilities and bases. Leave remargin out for this campaign, or the state out of the move.")
    today = exhibits.compile_today(plan.instruments, plan.market, plan.surfaces, plan.compiled.drawn_names, plan.dynamics)
    given = derive(exhibits.explicit_moves(today.drawn_names, [dict(moves)]), today.operations)
    with backend.prepare(*empty(given.state_names, given.dates), "double", 1) as prepared:
        values = np.asarray(backend.states(prepared, given, 0, 1))[0, :, 0]
    state = dict(zip(given.state_names, (float(v) for v in values), strict=True))
    market = plan.market

    def level(asset: str) -> float:
        return state.get(f"log_level[{asset}]", state.get(f"log_fx[{asset}]", 0.0))

    def in_reporting(asset: str) -> float:
        own = market.spot_currency.get(asset, market.reporting_currency)
        return level(asset) + (level(own) if own != market.reporting_currency else 0.0)

    spots = {a: p if a == market.reporting_currency else p * float(np.exp(in_reporting(a))) for a, p in market.spots.items()}
    basis = {u: state.get(f"log_basis[{u}]", 0.0) if plan.dynamics.basis else 0.0 for u in (*market.spots, *(u for u, _ in market.forwards))}
    forwards = {(u, e): f * float(np.exp(level(u) + (basis[u] if e is None else 0.0))) for (u, e), f in market.forwards.items()}
    for u, size in basis.items():  # a perpetual that nobody quotes stands at its index until a basis opens
        if size and (u, None) not in forwards:
            forwards[u, None] = spots[u] * float(np.exp(size))
    quotes = _with_strikes_held(plan)
    blank = np.full(len(quotes.strike), np.nan)
    quotes = replace(quotes, implied_volatility=_volatilities(plan, quotes, state, level), pairs=None, bid=blank, ask=blank, mark=blank)
    moved = replace(market, spots=spots, forwards=forwards, quotes=quotes)
    if plan.dynamics.additive or any(s.startswith(("volatility_skew[", "volatility_stretch[")) for s in state):
        return moved, fit_surfaces(moved, plan.surfaces)
    return moved, {u: _moved(surface, plan, state, level(u)) for u, surface in plan.surfaces.items()}


def _shift(plan: Plan, state: Mapping[str, float], underlying: str, label: str, days: float) -> tuple[float, float]:
    """The volatility state of an expiry and its loading: its own, which acts in full, else the underlying's."""
    own = f"volatility_shift[{underlying},{label}]"
    if own in state:
        return state[own], 1.0
    return state.get(f"volatility_shift[{underlying}]", 0.0), plan.dynamics.loading(days)


def _with_strikes_held(plan: Plan) -> Quotes:
    """The quotes of a market, with a line at the surface for every strike that the book holds and nobody quotes: a surface fitted again would miss it by its fit."""
    from upm_gpu.market.surface import implied_volatility

    quotes, market = plan.market.quotes, plan.market
    known = {(u, e, float(k)) for u, e, k in zip(quotes.underlying, quotes.expiry, quotes.strike, strict=True)}
    held = {(i.underlying, i.expiry, float(i.strike)) for i in options_read(plan.instruments) if i.strike > 0.0}
    more = sorted(k for k in held - known if k[0] in plan.surfaces and (k[0], k[1]) in market.forwards and k[1] > market.valuation_time)
    if not more:
        return quotes
    sigma = [float(implied_volatility(slice_at(plan.surfaces[u], e), np.log(k / market.forwards[u, e]))) for u, e, k in more]
    underlying, expiry = np.r_[quotes.underlying, np.array([u for u, _, _ in more], object)], (*quotes.expiry, *(e for _, e, _ in more))
    strike = np.r_[quotes.strike, [k for *_, k in more]]
    order = sorted(range(len(strike)), key=lambda q: (underlying[q], expiry[q], strike[q]))
    blank = np.full(len(more), np.nan)
    return replace(quotes, underlying=underlying[order], expiry=tuple(expiry[q] for q in order), strike=strike[order], implied_volatility=np.r_[quotes.implied_volatility, sigma][order],
                   mark_type=np.r_[quotes.mark_type, np.full(len(more), "", object)][order],
                   **{name: np.r_[getattr(quotes, name), blank][order] for name in ("bid", "ask", "mark", "open_interest", "volume")})


def _volatilities(plan: Plan, quotes: Quotes, state: Mapping[str, float], level: Any) -> np.ndarray:
    """(Q,) quoted volatilities after the move."""
    from upm_gpu.formula.families import european_volatility, svi_total_variance

    market = plan.market
    found = np.array(quotes.implied_volatility, np.float64)
    rows: dict[tuple[str, Any], list[int]] = {}
    for q, (u, e) in enumerate(zip(quotes.underlying, quotes.expiry, strict=True)):
        rows.setdefault((u, e), []).append(q)
    for (u, e), at in rows.items():
        days, forward = days_between(market.valuation_time, e), market.forwards.get((u, e))
        if u not in plan.surfaces or forward is None or days <= 0.0:
            continue
        smile, years = slice_at(plan.surfaces[u], e), days / 365.0
        k = np.log(quotes.strike[at] / forward)
        fitted = np.sqrt(svi_total_variance(k, smile.a, smile.b, smile.rho, smile.m, smile.s) / years)
        shift, loading = _shift(plan, state, u, expiry_label(e), days)
        skew, stretch = (state.get(f"volatility_{kind}[{u},{expiry_label(e)}]") for kind in ("skew", "stretch"))
        group = {"svi_a": smile.a, "svi_b": smile.b, "svi_rho": smile.rho, "svi_m": smile.m, "svi_s": smile.s, "expiry_years": years, "skew_state": -1 if skew is None else 0,
                 "svi_tilt": 2.0 * float(np.sqrt(svi_total_variance(0.0, smile.a, smile.b, smile.rho, smile.m, smile.s))), "volatility_loading": loading,
                 "sticky_moneyness": int(plan.dynamics.sticky_moneyness), "additive_volatility": int(plan.dynamics.additive)}
        found[at] = european_volatility(level(u), shift, k, found[at], found[at] - fitted, group, skew=skew or 0.0, stretch=stretch or 0.0)
    return found


def _moved(surface: Surface, plan: Plan, state: Mapping[str, float], level: float) -> Surface:
    """A surface that only shifts, and slides where strikes are sticky."""
    slices = []
    for s in surface.slices:
        shift, loading = _shift(plan, state, surface.underlying, expiry_label(s.expiry), s.expiry_years * 365.0)
        factor = float(np.exp(2.0 * shift * loading))
        slices.append(replace(s, a=s.a * factor, b=s.b * factor, m=s.m - (0.0 if plan.dynamics.sticky_moneyness else level)))
    return replace(surface, slices=tuple(slices))
