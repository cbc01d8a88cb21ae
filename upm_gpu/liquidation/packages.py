"""Packages: positions of a unit that hedge each other and are closed together, and what an underlying is hedged with.

Combos are split into legs and netted when a book is read, so a package is found again from what is held: all options of a unit on one underlying that expire together, with the dated
future of that expiry. A vertical, straddle, butterfly, conversion or box is closed leg with leg, in proportion, and is never left half open. Futures that stand alone, perpetuals, spot and
collateral are packages of one. An underlying is hedged with the linear instrument of it that is held most, by delta: perpetuals, as a rule.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.instrument import Instrument, Option, expiry_of
from upm_gpu.liquidation.holdings import Holdings
from upm_gpu.liquidation.world import Ground, Slopes
from upm_gpu.margin.units import COLLATERAL_PREFIX, sum_by


def grouped(held: list[int], instruments: tuple[Instrument, ...]) -> list[tuple[str, list[int]]]:
    """Packages of the instruments a unit holds: (name, instruments), by name."""
    kinds: dict[str, list[int]] = defaultdict(list)
    together = {(instruments[n].underlying, expiry_of(instruments[n])) for n in held if isinstance(instruments[n], Option)}
    for n in sorted(held):
        expiry = expiry_of(instruments[n])
        joint = expiry is not None and (instruments[n].underlying, expiry) in together
        kinds[f"{instruments[n].underlying} {expiry:%Y-%m-%dT%H:%MZ}" if joint else instruments[n].instrument_id].append(n)
    return [(name, kinds[name]) for name in sorted(kinds)]


def hedges_of(ground: Ground, holdings: Holdings, slopes: Slopes) -> NDArray[np.int64]:
    """(U,) instrument that an underlying's delta is hedged with; -1 where it has no linear one. Collateral and spot are none: they cannot be sold short."""
    instruments = ground.plan.instruments
    size = sum_by(holdings.instrument, np.abs(holdings.quantity()), len(instruments)) * np.abs(slopes.delta)
    found = np.full(len(ground.underlyings), -1, np.int64)
    for k in range(len(ground.underlyings)):
        own = [n for n in np.flatnonzero((ground.of_instrument == k) & ~ground.is_option).tolist()
               if not instruments[n].instrument_id.startswith(COLLATERAL_PREFIX) and type(instruments[n]).__name__ != "Spot" and slopes.delta[n] != 0.0]
        if own:
            found[k] = max(own, key=lambda n: (size[n], -n))
    return found
