"""Forward-start options in a book: a strike of `moneyness` times the level at a later time.

Until the start the strike moves with the forward, so the option is worth the forward times a number: Black's value at unmoved levels, in units that move. From the start on, which is a
path date, it is a plain option whose levels are told in units of the level then. Both are the group of a European option that reads two made states (`formula/families.py` knows nothing of it):

    held = log-level at the start, 0 before it;  forward state = level - held from the start on, 0 before;  scale state = held from the start on, level before it, beside the currency's.

Its variance is that between start and expiry at the strike's moneyness: the total variance of the expiry less that of the start, by the surface.

Verified by `tests/end_to_end/test_forward_start_book.py`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np

from upm_gpu.domain.instrument import Exotic, Option
from upm_gpu.errors import MarketDataError
from upm_gpu.formula.families import svi_total_variance
from upm_gpu.market.levels import quote_price
from upm_gpu.market.snapshot import MarketSnapshot, days_between, years_between
from upm_gpu.market.surface import Surface, SviSlice, slice_at
from upm_gpu.pricing.states import States, expiry_label
from upm_gpu.scenario.derived import linear_combination, running_fixings


def starts_later(option: object) -> bool:
    """Whether it is a forward start."""
    return isinstance(option, Exotic) and option.product == "forward_start"


def strike_today(option: Exotic, market: MarketSnapshot) -> float:
    """Moneyness times today's forward of the start, in the quote currency."""
    plain = Option(option.instrument_id, option.underlying, option.settlement, option.quote_currency, 1.0, option.fixings[0], option.strike, option.option_type)
    return option.moneyness * quote_price(market, plain)


def slice_between(option: Exotic, surface: Surface, log_moneyness: float) -> SviSlice:
    """The smile from start to expiry: that of the expiry, its total variance less the start's at ln(K / F). Raises MarketDataError UPM-MD-055 where none is left."""
    smile, start = slice_at(surface, option.expiry), slice_at(surface, option.fixings[0])
    whole, before = (float(svi_total_variance(log_moneyness, s.a, s.b, s.rho, s.m, s.s)) for s in (smile, start))
    if not before < whole:
        raise MarketDataError("UPM-MD-055", f"{option.instrument_id}: the surface of {option.underlying} has a total variance of {before:.6g} at its start {option.fixings[0].isoformat()} and of "
                              f"{whole:.6g} at its expiry: none is left between them. Check the quotes of the two expiries.")
    share = 1.0 - before / whole
    return replace(smile, expiry_years=years_between(option.fixings[0], option.expiry), a=share * smile.a, b=share * smile.b)


def start_states(option: Exotic, valuation: datetime, level: str, scale: str, states: States) -> tuple[str, str]:
    """Names of the states that stand for the forward's and the currency's."""
    start = days_between(valuation, option.fixings[0])
    running = (states.dates >= start).astype(float)
    at = f"{option.underlying},{expiry_label(option.fixings[0])}"
    weights = {level: running}
    moving = {level: 1.0 - running, **({scale: np.ones(len(states.dates))} if scale else {})}
    if running.any():
        held = states.made(f"start_level[{at},{option.quote_currency}]", lambda name: running_fixings(name, states.dates, level, "log_sum", {start}))
        weights[held], moving[held] = -running, running
    forward = states.made(f"level_since_start[{at},{option.quote_currency}]", lambda name: linear_combination(name, weights, len(states.dates)))
    return forward, states.made(f"start_value[{at},{option.quote_currency},{scale}]", lambda name: linear_combination(name, moving, len(states.dates)))


__all__ = ["slice_between", "start_states", "starts_later", "strike_today"]
