"""American options on a stock that pays cash dividends, repriced in every scenario.

`upm price` values such an option by finite differences (`kernels/cash_dividends.cuh`); in a run the same operation fills the option's value table. Forward and spot of an underlying
move by one factor (F / S stays what it is today), so a dividend keeps its share of the stock's price in a scenario: today's value is that of the cash amounts, and per unit of strike the value
depends on ln(F / K) and the option's own volatility, one table an expiry and side, as without dividends.

Dividends whose ex date lies inside the margin period: the forward, which never held them, moves as always; a share held keeps what it was paid; the option is repriced on the stock less
the dividend. Exercise before the horizon is left out, here as everywhere.

Rate and yield are flat to the expiry: the rate today's discount factor gives, the yield such that spot, rate and dividends give today's forward. A forward that lies above what the dividends
allow at no yield takes it from the dividends, all in one proportion.

Verified by tests/end_to_end/test_cash_dividends_book.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from upm_gpu.domain.instrument import Option
from upm_gpu.errors import InputError
from upm_gpu.market.carry import dividends_before
from upm_gpu.market.snapshot import DAYS_PER_YEAR, MarketSnapshot, days_between
from upm_gpu.pricing.compiled import TableRequest

Paid = tuple[tuple[float, float], ...]
"""(years to the ex date, amount over today's spot), ascending"""


def cash_dividends_of(market: MarketSnapshot, option: Option) -> Paid:
    """Dividends that an option on the stock itself meets before its expiry; none for an option on a future."""
    if option.future_expiry is not None:
        return ()
    code = market.spot_currency.get(option.underlying, market.reporting_currency)
    spot = market.spots[option.underlying] / market.spots.get(code, 1.0)
    return tuple((days_between(market.valuation_time, d.ex_date) / DAYS_PER_YEAR, d.amount / spot) for d in dividends_before(market, option.underlying, option.expiry))


def fitted(forward_over_spot: float, rate: float, years: float, paid: Paid) -> tuple[float, Paid]:
    """Yield q and dividends with exp((r - q) T) (1 - sum d_i exp(-(r - q) t_i)) = F / S: the dividends given where q >= 0 fits, else q = 0 and all dividends in one proportion.

    >>> q, paid = fitted(1.0, 0.05, 1.0, ((0.5, 0.02),))
    >>> round(math.exp(0.05 - q) * (1.0 - 0.02 * math.exp(-(0.05 - q) / 2)), 12), q > 0.0
    (1.0, True)
    """
    from scipy.optimize import brentq

    def gap(q: float) -> float:
        c = rate - q
        return math.exp(c * years) * (1.0 - sum(d * math.exp(-c * t) for t, d in paid)) - forward_over_spot

    worth = sum(d * math.exp(-rate * t) for t, d in paid)
    if gap(0.0) >= 0.0:
        return float(brentq(gap, 0.0, LARGEST_YIELD, xtol=1e-14)), paid
    share = (1.0 - forward_over_spot * math.exp(-rate * years)) / worth
    return 0.0, tuple((t, d * share) for t, d in paid)


LARGEST_YIELD = 50.0
"""a year: beyond it no forward is a forward"""


def dividend_request(group: int, option: Option, reals: dict[str, float], alive: bool, horizon: float, paid: Paid) -> TableRequest:
    """The table of a group of American options with dividends to come. Raises InputError UPM-PR-088 where early exercise may have two boundaries, or the forward needs dividends below 0."""
    years, left, after = reals["expiry_years"], reals["remaining_years"], horizon / DAYS_PER_YEAR
    rate = -math.log(reals["discount0"]) / years
    if rate < 0.0:
        raise InputError("UPM-PR-088", f"{option.instrument_id}: American exercise with cash dividends and a negative rate ({rate:.4g}) may have two exercise boundaries: not priced. "
                         "Leave the dividends of its underlying out, or remove the instrument and its positions.")
    over = reals["spot0"] / reals["forward0"]
    dividend_yield, paid = fitted(1.0 / over, rate, years, paid)
    if paid and paid[0][1] < 0.0:
        raise InputError("UPM-PR-088", f"{option.instrument_id}: its forward {reals['forward0']:g} lies above the spot {reals['spot0']:g} grown at the rate {rate:.4g}, so that no dividend is left before "
                         "its expiry. Correct forward, rate or dividends of the market.")
    gone = sum(d for t, d in paid if t <= after)
    sign = 1.0 if option.option_type == "call" else -1.0
    inputs = (("rate", rate), ("dividend_yield", dividend_yield), ("sign", sign), ("american", 1.0))
    later = tuple((t - after, d / (1.0 - gone)) for t, d in paid if t > after)
    return TableRequest(option.instrument_id, group, "cash_dividends", alive, sign, over * (1.0 - gone), (*inputs, ("time_to_expiry", left), *_columns(later)), left, reals["discount"],
                        (*inputs, ("time_to_expiry", years), *_columns(paid)), years, reals["discount0"], spot_over_forward_today=over)


def _columns(paid: Sequence[tuple[float, float]]) -> tuple[tuple[str, tuple[float, ...]], ...]:
    return ("dividend_time", tuple(t for t, _ in paid)), ("dividend_share", tuple(d for _, d in paid))


__all__ = ["Paid", "cash_dividends_of", "dividend_request", "fitted"]
