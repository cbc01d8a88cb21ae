"""Static arbitrage is found where it was planted and nowhere else; g against published and computed values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from upm_gpu.formula.black import black_undiscounted
from upm_gpu.market.arbitrage import quote_violations, surface_violations
from upm_gpu.market.snapshot import MarketSnapshot, Quotes
from upm_gpu.market.surface import (
    SliceDiagnostics,
    Surface,
    SviSlice,
    density_sign,
    fit_slices,
    slice_at,
    total_variance,
)

NOW = datetime(2026, 2, 5, 9, tzinfo=UTC)
K = np.array([-0.6, -0.3, -0.15, -0.05, 0.0, 0.05, 0.15, 0.3, 0.6])
# Raw parameters a, b, rho, m, s; g on K and its least value: evaluated from the definition and confirmed by numerical derivatives of w.
G = {
    "small vertex": ((0.01, 0.1, 0.3, 0.0, 0.002), [0.33154382972520224, 0.39751715093885254, 0.4934800267802417, 0.6686526541845321, 25.977884926470587, 0.3899859761777043,
                                                    0.3040780114524866, 0.2751986785535677, 0.26098437973007144]),
    "flat wings": ((0.02, 0.1, 0.0, 0.0, 0.3), [0.47012076200911945, 0.7276460514518098, 0.988426852584459, 1.1423601286006113, 1.1666666666666667, 1.1423601286006113, 0.988426852584459,
                                                0.7276460514518098, 0.47012076200911945]),
    "equity": ((0.04, 0.4, -0.4, 0.05, 0.1), [0.14728074210838937, 0.15410101990537592, 0.3237732029571278, 1.0722895179308811, 2.114259398256931, 3.0209, 1.4437108516341568,
                                              0.49379642787540334, 0.29160758660753416]),
}
# A. Vogt's example in J. Gatheral, A. Jacquier (2014): innocent parameters, a negative density.
VOGT = SviSlice(NOW + timedelta(days=365), 1.0, -0.041, 0.1331, 0.306, 0.3586, 0.4153)


def surface(*slices, violations=None):
    fits = tuple(SliceDiagnostics(s.expiry, 1, 0.0, 0.0, (violations or [0.0] * len(slices))[i], 0.0, 1.0) for i, s in enumerate(slices))
    return Surface("X", NOW, slices, fits)


@pytest.mark.parametrize("name", G)
def test_density_sign_of_known_slices(name):
    (a, b, rho, m, s), expected = G[name]
    assert density_sign(SviSlice(NOW, 1.0, a, b, rho, m, s), K) == pytest.approx(expected, abs=1e-8)


def test_vogts_slice_has_a_butterfly():
    row, = surface_violations(surface(VOGT))
    # Least g of the published slice, on a grid of our own.
    assert row["worst"] == pytest.approx(-0.03286354386432558, abs=1e-5)
    assert row["violation"] == "butterfly" and row["from_log_moneyness"] < row["worst_at"] < row["to_log_moneyness"]
    assert surface_violations(surface(SviSlice(NOW, 1.0, 0.04, 0.1, -0.3, 0.0, 0.3))) == []


def test_lifted_slices_are_listed():
    plain = SviSlice(NOW + timedelta(days=365), 1.0, 0.04, 0.1, -0.3, 0.0, 0.3)
    row, = surface_violations(surface(plain, plain, violations=[0.0, 1e-3]))
    assert (row["violation"], row["worst"]) == ("calendar, lifted", 1e-3)


def test_interpolation_keeps_total_variance_between_its_neighbours():
    """Between expiries w is the line in T at fixed moneyness, so it rises from the one to the other at every moneyness near the money."""
    years, k = [0.1, 0.5], np.linspace(-0.4, 0.4, 33)
    smile = fit_slices("X", NOW, [NOW + timedelta(days=365 * t) for t in years], years, [k, k], [0.4 + 0.3 * k * k - 0.1 * k, 0.5 + 0.1 * k * k - 0.05 * k], [np.ones(33)] * 2)
    w = [total_variance(smile.slices[0], k)]
    for t in (0.15, 0.2, 0.3, 0.4, 0.49):
        between = slice_at(smile, NOW + timedelta(days=365 * t))
        share = (t - 0.1) / 0.4
        by_hand = (1.0 - share) * total_variance(smile.slices[0], k) + share * total_variance(smile.slices[1], k)
        assert np.sqrt(total_variance(between, k) / t) == pytest.approx(np.sqrt(by_hand / t), abs=2e-3)
        w.append(total_variance(between, k))
    assert np.all(np.diff([*w, total_variance(smile.slices[1], k)], axis=0) > 0.0)


STRIKES = np.array([80.0, 90.0, 100.0, 115.0, 120.0])
SPREAD = 0.03


def market(volatilities, *, linear=False):
    """Two expiries on a forward of 100 in coins (or money), a fixed spread about the mid."""
    expiries, rows = [NOW + timedelta(days=30), NOW + timedelta(days=90)], []
    for e, sigma in zip(expiries, volatilities, strict=True):
        sign = np.where(STRIKES < 100.0, -1.0, 1.0)
        mid = black_undiscounted(np.full(5, 100.0), STRIKES, np.log(100.0 / STRIKES), sigma * np.sqrt((e - NOW).days / 365.0), sign) / (1.0 if linear else 100.0)
        rows += [(e, k, v, p, s) for k, v, p, s in zip(STRIKES, sigma, mid, sign, strict=True)]
    mid = np.array([r[3] for r in rows])
    half = SPREAD / 2.0 * (100.0 if linear else 1.0)
    blank = np.full(len(rows), np.nan)
    q = Quotes(np.array(["X"] * len(rows), object), tuple(r[0] for r in rows), np.array([r[1] for r in rows]), np.array([r[2] for r in rows]), mid - half, mid + half,
               mid, np.array(["call" if r[4] > 0 else "put" for r in rows], object), blank, blank)
    return MarketSnapshot(NOW, "USD", {"USD": 1.0, "X": 100.0}, {("X", e): 100.0 for e in expiries}, q, {}, None, linear_marks={"X": ""} if linear else {})  # type: ignore[arg-type]


FLAT = np.full(5, 0.6)


def test_clean_quotes_hold_none():
    assert quote_violations(market([FLAT, FLAT]), "X") == []
    assert quote_violations(market([FLAT, FLAT], linear=True), "X") == []


def test_a_dear_body_is_a_butterfly():
    bumped = FLAT + np.array([0.0, 0.0, 0.18, 0.0, 0.0])
    first, total = quote_violations(market([bumped, FLAT]), "X")
    assert (first["butterfly"], first["vertical"], first["calendar"], total["butterfly"]) == (1, 0, 0, 1)
    # The chord at 100 by hand: 0.6 of the call at 90 and 0.4 of that at 115.
    call = black_undiscounted(np.full(3, 100.0), np.array([90.0, 100.0, 115.0]), np.log(100.0 / np.array([90.0, 100.0, 115.0])), bumped[1:4] * np.sqrt(30 / 365), 1.0)
    assert first["worst_butterfly"] == pytest.approx((call[1] - 0.6 * call[0] - 0.4 * call[2]) / 100.0, rel=1e-12)
    # Inside a spread of 3 %, beyond it where the bump is larger.
    assert first["butterfly_beyond_spread"] == 0
    assert quote_violations(market([FLAT + np.array([0.0, 0.0, 0.6, 0.0, 0.0]), FLAT + 1.0]), "X")[0]["butterfly_beyond_spread"] == 1


def test_a_call_dearer_than_one_of_a_lower_strike_is_a_vertical():
    first = quote_violations(market([FLAT + np.array([0.0, 0.0, 0.0, 0.0, 0.9]), FLAT + 1.0]), "X")[0]
    assert first["vertical"] == 1 and first["vertical_beyond_spread"] == 1


def test_falling_total_variance_is_a_calendar():
    # 0.6^2 30 = 10.8; 0.34^2 90 = 10.4.
    found = quote_violations(market([FLAT, np.full(5, 0.34)], linear=True), "X")
    assert [(r["expiry"][:10], r["calendar"]) for r in found] == [("2026-05-06", 5), ("all", 5)]
    assert found[0]["worst_calendar"] == pytest.approx(0.6 / np.sqrt(3.0) - 0.34, rel=1e-9)
