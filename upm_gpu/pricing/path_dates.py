"""The dates of a path that a book needs: its horizons, expiries and fixings, and the option expiries that models make volatilities for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from upm_gpu.domain.instrument import Exotic, Future, Instrument, Option
from upm_gpu.errors import InputError
from upm_gpu.market.snapshot import MarketSnapshot, days_between
from upm_gpu.pricing.states import expiry_label
from upm_gpu.pricing.two_assets import options_read

MOST_FIXING_DATES = 512
"""states of a tile of scenarios stay within tens of megabytes"""


def path_dates(instruments: Iterable[Instrument], market: MarketSnapshot, horizons: Sequence[float], extra: Sequence[float] = ()) -> np.ndarray:
    """(D,) ascending days since valuation: horizons, further dates asked for, every expiry and every fixing inside the longest horizon. Raises InputError for too many fixings."""
    longest, held = max(horizons), list(instruments)
    days = {days_between(market.valuation_time, i.expiry) for i in held if isinstance(i, Future | Option)}
    fixings = {days_between(market.valuation_time, t) for i in held if isinstance(i, Exotic) for t in i.fixings}
    inside = [d for d in fixings if 0.0 < d <= longest]
    if len(inside) > MOST_FIXING_DATES:
        named = next(i.instrument_id for i in held if isinstance(i, Exotic) and i.fixings)
        raise InputError("UPM-PR-085", f"{named} and others of the book: {len(inside)} times of fixings lie inside the longest horizon of {longest:g} days, each a path date; at most {MOST_FIXING_DATES} "
                         "are simulated. Remove instruments with many fixings and their positions, or use a nearer horizon.")
    return np.array(sorted({*horizons, *extra, *inside, *(d for d in days if 0.0 < d <= longest)}))


def option_expiries(instruments: Iterable[Instrument], market: MarketSnapshot) -> tuple[tuple[str, str, float], ...]:
    """(underlying, label, days since valuation) of every option expiry to come, ordered: what a model with volatilities by expiry makes states for."""
    found = {(i.underlying, i.expiry) for i in options_read(instruments) if i.expiry > market.valuation_time}
    return tuple((u, expiry_label(e), days_between(market.valuation_time, e)) for u, e in sorted(found))


__all__ = ["MOST_FIXING_DATES", "option_expiries", "path_dates"]
