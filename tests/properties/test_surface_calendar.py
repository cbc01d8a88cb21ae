"""No calendar arbitrage whatever is quoted: total variance never falls in time, at any moneyness."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from upm_gpu.market.surface import fit_slices, slice_at, total_variance

NOW = datetime(2026, 2, 5, 9, tzinfo=UTC)
# Off the grid the lift is measured on, so that its bound between grid points is tested too.
MONEYNESS = np.unique(np.concatenate([np.linspace(-3.0, 3.0, 20011), np.linspace(-0.05, 0.05, 4001)]))


@st.composite
def quoted(draw):
    """One to six expiries from half a day to a year, one to twelve quotes each, any volatility from 10 % to 300 %."""
    days = sorted(draw(st.lists(st.floats(0.5, 365.0), min_size=1, max_size=6, unique_by=lambda d: round(d, 2))))
    slices = []
    for d in days:
        level = draw(st.floats(0.1, 3.0))
        n = draw(st.integers(1, 12))
        k = np.array(draw(st.lists(st.floats(-4.0, 4.0), min_size=n, max_size=n))) * level * np.sqrt(d / 365.0)
        sigma = np.clip(level * np.array(draw(st.lists(st.floats(0.5, 2.0), min_size=n, max_size=n))), 0.1, 3.0)
        slices.append((d, k, sigma))
    return slices


@settings(max_examples=25, deadline=None, derandomize=True)
@given(quoted())
def test_total_variance_never_falls_in_time(slices):
    surface = fit_slices("X", NOW, [NOW + timedelta(days=d) for d, _, _ in slices], [d / 365.0 for d, _, _ in slices],
                         [k for _, k, _ in slices], [v for _, _, v in slices], [np.ones(len(k)) for _, k, _ in slices])
    before = np.zeros(len(MONEYNESS))
    for svi in surface.slices:
        w = total_variance(svi, MONEYNESS)
        # One rounding of the sum is all that may be missing.
        assert np.all(w >= before * (1.0 - 1e-14))
        assert np.all(np.isfinite(w)) and np.all(w > 1e-12)
        before = w
    inside = slice_at(surface, NOW + timedelta(days=(slices[0][0] + slices[-1][0]) / 2.0))
    assert np.all(np.isfinite(total_variance(inside, MONEYNESS)))
