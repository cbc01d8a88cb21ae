"""Surfaces: a known SVI surface is recovered, interpolation by hand, extrapolation, diagnostics and refusals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from upm_gpu.errors import MarketDataError
from upm_gpu.market.snapshot import MarketSnapshot, Quotes
from upm_gpu.market.surface import (
    SviSlice,
    at_the_money_skew,
    at_the_money_volatility,
    fit_slices,
    fit_surface,
    fit_surfaces,
    implied_volatility,
    slice_at,
    total_variance,
)

NOW = datetime(2026, 2, 5, 9, tzinfo=UTC)


def known(days: float) -> SviSlice:
    """A plain family without calendar arbitrage: everything but rho grows with time."""
    t = days / 365.0
    return SviSlice(NOW + timedelta(days=days), t, 0.05 * t, 0.12 * np.sqrt(t), -0.3, 0.02, 0.1 + 0.2 * np.sqrt(t))


def fitted(all_days: list[float]):
    slices = [known(d) for d in all_days]
    k = [np.linspace(-4.0, 4.0, 41) * float(np.sqrt(total_variance(s, 0.0))) for s in slices]
    return fit_slices("BTC", NOW, [s.expiry for s in slices], [s.expiry_years for s in slices], k,
                      [implied_volatility(s, x) for s, x in zip(slices, k, strict=True)], [np.ones(41) for _ in k])


def test_total_variance_by_hand():
    s = SviSlice(NOW, 1.0, 0.04, 0.4, -0.5, 0.1, 0.3)
    # a + b (rho (k - m) + sqrt((k - m)^2 + s^2)) at k = 0.5: k - m = 0.4, the root is 0.5.
    assert total_variance(s, 0.5) == pytest.approx(0.04 + 0.4 * (-0.2 + 0.5), rel=1e-15)
    assert total_variance(s, 7.0) == total_variance(s, 3.0)
    assert total_variance(s, -7.0) == total_variance(s, -3.0)
    assert total_variance(SviSlice(NOW, 1.0, -1.0, 0.1, 0.0, 0.0, 0.1), 0.0) == 1e-12


def test_known_surface_is_recovered():
    surface = fitted([1.0, 7.0, 30.0, 180.0])
    for found, days in zip(surface.slices, [1.0, 7.0, 30.0, 180.0], strict=True):
        width = 4.0 * float(np.sqrt(total_variance(known(days), 0.0)))
        k = np.linspace(-width, width, 201)
        # The weak prior moves a perfect fit by parts of a basis point of volatility.
        assert np.max(np.abs(implied_volatility(found, k) - implied_volatility(known(days), k))) < 3e-4
    assert surface.diagnostics["lift"] == 0.0
    assert surface.diagnostics["max_error"] < 3e-4


def test_conflicting_slices_share_the_conflict_and_end_without_arbitrage():
    # The later slice quotes less total variance at every strike: impossible to fit both.
    k = np.linspace(-0.3, 0.3, 21)
    surface = fit_slices("BTC", NOW, [NOW + timedelta(days=d) for d in (30, 40)], [30 / 365, 40 / 365], [k, k],
                         [np.full(21, 0.8), np.full(21, 0.6)], [np.ones(21), np.ones(21)])
    first, second = (float(implied_volatility(s, 0.0)) for s in surface.slices)
    grid = np.linspace(-3.0, 3.0, 4001)
    assert np.min(total_variance(surface.slices[1], grid) - total_variance(surface.slices[0], grid)) >= 0.0
    assert first < 0.79 and second > 0.61


def test_interpolation_is_linear_in_total_variance():
    surface = fitted([10.0, 30.0])
    middle = slice_at(surface, NOW + timedelta(days=15))
    k = np.linspace(-0.25, 0.25, 11)
    by_hand = 0.75 * total_variance(surface.slices[0], k) + 0.25 * total_variance(surface.slices[1], k)
    assert np.max(np.abs(implied_volatility(middle, k) - np.sqrt(by_hand / (15 / 365)))) <= middle.fit_error + 1e-12
    assert middle.fit_error < 5e-4
    assert slice_at(surface, surface.slices[1].expiry) == surface.slices[1]


@pytest.mark.parametrize("days", [2.5, 90.0])
def test_volatility_is_flat_outside_the_quotes(days):
    surface = fitted([10.0, 30.0])
    end = surface.slices[0 if days < 10 else -1]
    k = np.linspace(-2.0, 2.0, 9)
    assert implied_volatility(slice_at(surface, NOW + timedelta(days=days)), k) == pytest.approx(implied_volatility(end, k), rel=1e-13)


def test_at_the_money_volatility_by_hand():
    surface = fitted([20.0, 50.0])
    w = [float(total_variance(s, 0.0)) for s in surface.slices]
    assert at_the_money_volatility(surface, 30.0) == pytest.approx(np.sqrt((2 / 3 * w[0] + 1 / 3 * w[1]) / (30 / 365)), rel=1e-12)
    assert at_the_money_volatility(surface, 5.0) == pytest.approx(np.sqrt(w[0] / (20 / 365)), rel=1e-12)


def test_at_the_money_skew_is_the_slope_of_volatility():
    surface = fitted([30.0, 60.0])
    h = 1e-5
    slope = (implied_volatility(surface.slices[0], h) - implied_volatility(surface.slices[0], -h)) / (2 * h)
    assert at_the_money_skew(surface, 30.0) == pytest.approx(float(slope), rel=1e-6)


def snapshot(strikes: list[float], volatilities: list[float], expiry: datetime) -> MarketSnapshot:
    n = len(strikes)
    blank = np.full(n, np.nan)
    quotes = Quotes(np.array(["BTC"] * n, object), (expiry,) * n, np.array(strikes), np.array(volatilities), blank, blank, blank,
                    np.array([""] * n, object), blank, blank)
    return MarketSnapshot(NOW, "USD", {"USD": 1.0, "BTC": 100.0}, {("BTC", expiry): 100.0}, quotes, {}, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("strikes", [[100.0], [90.0, 110.0], [80.0, 100.0, 120.0]])
def test_few_quotes_still_give_a_slice_through_them(strikes):
    market = snapshot(strikes, [0.7] * len(strikes), NOW + timedelta(days=10))
    surface = fit_surface(market, "BTC")
    assert surface.diagnostics["max_error"] < 0.01
    assert fit_surfaces(market, ["BTC", "ETH"]).keys() == {"BTC"}


def test_kept_quotes_alone_are_fitted():
    market = snapshot([80.0, 90.0, 100.0, 110.0, 120.0], [0.5, 0.5, 3.0, 0.5, 0.5], NOW + timedelta(days=10))
    surface = fit_surface(market, "BTC", keep=market.quotes.implied_volatility < 1.0)
    assert float(implied_volatility(surface.slices[0], 0.0)) == pytest.approx(0.5, abs=0.005)


def test_a_surface_of_quarantined_quotes_alone_says_so():
    market = snapshot([90.0, 100.0], [0.5, 0.6], NOW + timedelta(days=10))
    with pytest.raises(MarketDataError, match=r"UPM-MD-120 .*among 0, 2 more being quarantined: .*in coins"):
        fit_surface(market, "BTC", keep=np.zeros(2, bool))


def test_no_usable_quote_is_refused():
    with pytest.raises(MarketDataError, match=r"UPM-MD-120 .*BTC"):
        fit_surface(snapshot([100.0], [0.7], NOW - timedelta(days=1)), "BTC")
    with pytest.raises(MarketDataError, match=r"UPM-MD-121 .*BTC"):
        slice_at(fitted([10.0, 30.0]), NOW)
