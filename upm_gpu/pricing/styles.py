"""Contract styles: when early exercise can be worth anything, and which options have a volatility beyond the surface. Verified by `tests/end_to_end/test_contract_terms.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.instrument import Option
from upm_gpu.errors import InputError

Beyond = tuple[str, float, float]
"""(instrument id, volatility, ln(K / F))"""


def early_exercise(option: Option) -> bool:
    """Whether the right to exercise early can be worth anything. Not on a future with a premium that is itself settled daily: the option's price is then a martingale without
    discounting and its payoff a convex function of one, so that waiting is never worse. Raises InputError UPM-PR-002 for a style that is not priced."""
    if option.exercise != "american" or (option.premium == "futures" and option.future_expiry is not None):
        return False
    if option.settlement == "inverse":
        raise InputError("UPM-PR-002", f"{option.instrument_id}: American exercise of an inverse option is not priced. Remove the instrument or its positions.")
    return True


def beyond_surface(options: Sequence[Option], log_moneyness: NDArray[np.float64], volatility: NDArray[np.float64], quoted: NDArray[np.float64]) -> list[Beyond]:
    """Options struck where no surface reaches and no quote stands, or whose volatility today is outside the limits scenarios are held to; arrays (n,)."""
    from upm_gpu.formula.families import VOLATILITY_CAP, VOLATILITY_FLOOR
    from upm_gpu.market.surface import MAX_LOG_MONEYNESS

    far = (np.abs(log_moneyness) > MAX_LOG_MONEYNESS) & ~np.isfinite(quoted)
    return [(options[i].instrument_id, float(volatility[i]), float(log_moneyness[i]))
            for i in np.flatnonzero(far | (volatility < VOLATILITY_FLOOR) | (volatility > VOLATILITY_CAP)).tolist()]


def beyond_warning(found: Sequence[Beyond]) -> str:
    """One line about all of them, the furthest by name."""
    from upm_gpu.formula.families import VOLATILITY_CAP, VOLATILITY_FLOOR
    from upm_gpu.market.surface import MAX_LOG_MONEYNESS

    name, volatility, k = max(found, key=lambda b: (abs(b[2]), b[0]))
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return (f"UPM-PR-008 {name}{more}: the volatility {volatility:.4g} at ln(K / F) = {k:.3g} lies beyond the surface, which is held at |ln(K / F)| = {MAX_LOG_MONEYNESS:g} "
            f"and between {VOLATILITY_FLOOR:g} and {VOLATILITY_CAP:g}. Check the strike and its quotes.")
