"""Mean reversion of a state towards today's value: x <- phi x + move over a base step, phi^f x + move over a part f of one.

phi = 2^(-step / half-life); half-life 0 stands for none (phi = 1, the random walk, to the bit). The move of a part is that of the walk,
sqrt(f) times a step's, so a whole step and a step cut in two end in different places of the same order; what a date reads
does not depend on other dates. Verified: tests/statistics/test_reversion_law.py (variance, half-life, martingale), tests/parity.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import CalibrationError
from upm_gpu.model.legs import Legs


def persistence_of(half_life_days: NDArray[np.float64] | None, names: Sequence[str], step_days: float) -> NDArray[np.float64] | None:
    """(K,) phi of a base step, or None where no state reverts. Raises `CalibrationError` UPM-CA-165 for what is no half-life.

    >>> persistence_of(np.array([0.0, 4.0]), ("log_level[BTC]", "volatility_skew[BTC]"), 2.0).tolist()
    [1.0, 0.7071067811865476]
    """
    if half_life_days is None:
        return None
    half_life = np.asarray(half_life_days, np.float64)
    if half_life.shape != (len(names),):
        raise CalibrationError("UPM-CA-059", f"half_life_days has shape {half_life.shape}, {len(names)} states need ({len(names)},). Give one value per state, in the order of the states.")
    for name, days in zip(names, half_life, strict=True):
        if not 0.0 <= days < np.inf:
            raise CalibrationError("UPM-CA-165", f"half-life {days} days of {name} is not a finite number of at least 0. Give days above 0, or 0 for a state that does not revert.")
    if not np.any(half_life):
        return None
    with np.errstate(divide="ignore"):
        return np.where(half_life > 0.0, np.exp2(-step_days / np.where(half_life > 0.0, half_life, 1.0)), 1.0)


def date_persistence(persistence: NDArray[np.float64] | None, legs: Legs) -> NDArray[np.float64] | None:
    """(D, K) phi^f of the part of a step each date ends in."""
    return None if persistence is None else np.power(persistence[None, :], legs.part[:, None])


def weights(persistence: float, whole: int, part: float) -> NDArray[np.float64]:
    """(whole,) what is left at a date of the move of each whole step before it: phi^(whole - 1 - j + part)."""
    return np.power(persistence, np.arange(whole - 1, -1, -1) + part)


def reverted_days(persistence: NDArray[np.float64] | None, legs: Legs, dates: NDArray[np.float64], step_days: float, size: int) -> NDArray[np.float64]:
    """(D, K) days by which a drift of one a day has moved a state at each date; the days themselves where it does not revert."""
    days = np.repeat(np.asarray(dates, np.float64)[:, None], size, axis=1)
    for k in np.flatnonzero(persistence != 1.0) if persistence is not None else ():
        days[:, k] = [step_days * (float(weights(float(persistence[k]), int(n), float(f)).sum()) + float(f)) for n, f in zip(legs.date_whole, legs.part, strict=True)]  # type: ignore[index]
    return days


def steady_prices(half_life_days: NDArray[np.float64] | None, names: Sequence[str], step_days: float) -> NDArray[np.float64] | None:
    """`persistence_of`; refuses a log-price that reverts where the model centres each step by itself. Raises `CalibrationError` UPM-CA-166."""
    from upm_gpu.model.gbm import is_price

    found = persistence_of(half_life_days, names, step_days)
    for name, phi in zip(names, found if found is not None else (), strict=False):
        if phi != 1.0 and is_price(name):
            raise CalibrationError("UPM-CA-166", f"{name}: a log-price reverts under model gbm only, where its centring is known. Use half-life 0 for it, or model gbm.")
    return found
