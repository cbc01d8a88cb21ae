"""What has become of an exotic option by a later snapshot: money, and what is still held of it.

A payment that depends on the last price alone is always known. One that depends on the path is known where the later market's observations give what it needs (`market/observations.py`), and
where the levels of the two snapshots settle it: a barrier that the later level is beyond has been hit; a fixing that is still to come has not been made. A barrier that both levels
leave open is not known.

Verified by `tests/end_to_end/test_exotics_at_the_next_market.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from upm_gpu.domain.instrument import TWO_ASSETS, Exotic, Option
from upm_gpu.market.observations import Observations

Settlement = Callable[[str], "tuple[float, bool]"]
"""of an underlying at the option's expiry: its price in the quote currency and whether that is a proxy"""


@dataclass(frozen=True)
class Became:
    """One unit of an option at a later time."""

    parts: tuple[Option, ...] = ()
    """what is held of it, one of each"""
    cash: float = 0.0
    """what was paid or is due, in the quote currency"""
    proxy: bool = False
    """whether that rests on a proxy settlement price"""
    unknown: str = ""
    """what is missing to know; then nothing else is said"""


@dataclass(frozen=True)
class Span:
    """The time between two snapshots, and what is known of it."""

    first: datetime
    last: datetime
    observed: Observations
    level: Callable[[str], float]
    """of an underlying at `last`, in the option's quote currency"""
    settlement: Settlement


def became(option: Exotic, span: Span) -> Became:
    """The option at the end of the span."""
    if option.product == "asian":
        return _average(option, span)
    if option.product == "forward_start":
        return _forward_start(option, span)
    if option.barrier or option.upper_barrier:
        return _barriers(option, span)
    if option.expiry > span.last:
        return Became((option,))
    price, proxy = span.settlement(option.underlying)
    sign = _sign(option)
    if option.product in TWO_ASSETS:
        other, also = span.settlement(option.underlying_2)
        reached = {"spread": price - other, "maximum_of_two": max(price, other), "minimum_of_two": min(price, other)}[option.product]
        return Became(cash=max(sign * (reached - option.strike), 0.0), proxy=proxy or also)
    inside = sign * (price - option.strike) > 0.0
    return Became(cash=_payout(option, price) if inside else 0.0, proxy=proxy)


def _sign(option: Option) -> float:
    return 1.0 if option.option_type == "call" else -1.0


def _payout(option: Exotic, price: float) -> float:
    return option.payout if option.payout_type == "cash" else option.payout * price


def _plain(option: Exotic) -> Option:
    """The option without its further terms."""
    return Option(option.instrument_id, option.underlying, option.settlement, option.quote_currency, option.contract_size, option.expiry, option.strike, option.option_type,
                  premium=option.premium)


def _as_plain(option: Option, span: Span) -> Became:
    """A plain option at the end of the span: held, or paid at its expiry."""
    if option.expiry > span.last:
        return Became((option,))
    price, proxy = span.settlement(option.underlying)
    return Became(cash=max(_sign(option) * (price - option.strike), 0.0), proxy=proxy)


def _average(option: Exotic, span: Span) -> Became:
    """With its fixings of the span among those so far."""
    made = [t for t in option.fixings if t <= span.last]
    levels = [span.observed.fixing.get((option.underlying, t)) for t in made]
    if None in levels:
        return Became(unknown=f"the fixing at {made[levels.index(None)].isoformat()}")
    fixed = [level for level in levels if level is not None]
    past, count = option.fixings_so_far, option.fixings_so_far + len(fixed)
    if option.asian_average == "geometric":
        average = math.exp((past * math.log(option.average_so_far or 1.0) + sum(map(math.log, fixed))) / count) if count else 0.0
    else:
        average = (past * option.average_so_far + sum(fixed)) / count if count else 0.0
    if option.expiry > span.last:
        return Became((replace(option, fixings=option.fixings[len(made):], fixings_so_far=count, average_so_far=average),))
    return Became(cash=max(_sign(option) * (average - option.strike), 0.0))


def _forward_start(option: Exotic, span: Span) -> Became:
    """Once it has started, a plain option struck at its moneyness times the level then."""
    start = option.fixings[0]
    if start > span.last:
        return Became((option,))
    level = span.observed.fixing.get((option.underlying, start))
    if level is None:
        return Became(unknown=f"the level at its start {start.isoformat()}")
    return _as_plain(replace(_plain(option), strike=option.moneyness * level), span)


def _barriers(option: Exotic, span: Span) -> Became:
    """Hit, not hit, or not known."""
    up = option.barrier_type.startswith("up")
    sides = [(option.barrier, up)] if option.barrier else [(option.lower_barrier, False), (option.upper_barrier, True)]
    verdicts = [_hit(option, barrier, above, span) for barrier, above in sides]
    if True in verdicts:
        return _after_the_hit(option, span)
    if None in verdicts:
        barrier, above = sides[verdicts.index(None)]
        return Became(unknown=f"whether {option.underlying} was {'at or above' if above else 'at or below'} {barrier:g}")
    if option.expiry > span.last:
        return Became((replace(option, fixings=tuple(t for t in option.fixings if t > span.last)),))
    price, proxy = span.settlement(option.underlying)
    if option.product in ("one_touch", "no_touch"):
        return Became(cash=_payout(option, price), proxy=proxy and option.payout_type != "cash") if option.product == "no_touch" else Became()
    return Became(cash=option.rebate) if option.barrier_type.endswith("in") else _as_plain(_plain(option), span)


def _hit(option: Exotic, barrier: float, above: bool, span: Span) -> bool | None:
    """Whether one barrier was hit while the option lived; None where nothing says so."""
    end = min(option.expiry, span.last)
    alive = option.expiry > span.last
    beyond = (lambda price: price >= barrier) if above else (lambda price: price <= barrier)
    extremes = span.observed.high if above else span.observed.low
    of_this = {until: price for (u, until), price in extremes.items() if u == option.underlying and until > span.first}
    if alive and not option.fixings and beyond(span.level(option.underlying)):
        return True
    if any(until >= end and not beyond(price) for until, price in of_this.items()):
        return False
    looked = [t for t in option.fixings if t <= end]
    seen = [span.observed.fixing.get((option.underlying, t)) for t in looked]
    if any(price is not None and beyond(price) for price in seen):
        return True
    if option.fixings:
        return None if None in seen else False
    if any(until <= end and beyond(price) for until, price in of_this.items()):
        return True
    if alive:
        return None
    price, proxy = span.settlement(option.underlying)
    return True if beyond(price) and not proxy else None


def _after_the_hit(option: Exotic, span: Span) -> Became:
    if option.product == "no_touch":
        return Became()
    if option.product != "one_touch":
        return Became(cash=option.rebate) if option.barrier_type.endswith("out") else _as_plain(_plain(option), span)
    if option.payout_time == "hit":
        return Became(cash=option.payout)
    if option.expiry <= span.last:
        price, proxy = span.settlement(option.underlying)
        return Became(cash=_payout(option, price), proxy=proxy and option.payout_type != "cash")
    # paid at expiry on either side of any strike: a digital call and a digital put
    sure = replace(option, product="digital", barrier=0.0, barrier_type="", payout_time="", fixings=())
    return Became((replace(sure, instrument_id=f"{option.instrument_id} above", option_type="call"), replace(sure, instrument_id=f"{option.instrument_id} below", option_type="put")))


__all__ = ["Became", "Span", "became"]
