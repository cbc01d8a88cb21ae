"""SSVI: the surface that made the quotes is found again, its conditions against worked cases, no arbitrage whatever is quoted, and the road from the configuration."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upm_gpu.config import load_config, scenario_spec
from upm_gpu.market.arbitrage import surface_violations
from upm_gpu.market.ssvi import Ssvi, conditions, curvature, fit_ssvi, variance
from upm_gpu.market.surface import density_sign, fit_slices, implied_volatility, total_variance

NOW = datetime(2026, 2, 5, 9, tzinfo=UTC)
YEARS = np.array([0.02, 0.1, 0.25, 0.5, 1.0, 2.0])


def quotes(ssvi: Ssvi, count=31):
    k = [np.linspace(-4.0, 3.0, count) * np.sqrt(theta) for theta in ssvi.theta]
    return k, [np.sqrt(variance(ssvi, x)[i] / YEARS[i]) for i, x in enumerate(k)], [np.ones(count) for _ in k]


def test_variance_by_hand():
    # phi k = 0.3, rho = -0.5: (0.3 - 0.5)^2 + 0.75 = 0.79.
    ssvi = Ssvi("power_law", -0.5, (0.6, 0.5), np.array([0.04]))
    assert curvature("power_law", ssvi.theta, ssvi.shape)[0] == pytest.approx(3.0)
    assert variance(ssvi, np.array([0.1]))[0, 0] == pytest.approx(0.02 * (1.0 - 0.15 + np.sqrt(0.79)), rel=1e-14)
    # At the money total variance is theta; the slices are the same curve as raw SVI.
    assert variance(ssvi, np.array([0.0]))[0, 0] == pytest.approx(0.04, rel=1e-14)
    a, b, rho, m, s = ssvi.slices()[0]
    assert a + b * (rho * (0.1 - m) + np.hypot(0.1 - m, s)) == pytest.approx(variance(ssvi, np.array([0.1]))[0, 0], rel=1e-14)


def test_heston_curve_keeps_its_digits():
    # (1 - (1 - e^-x) / x) / x at x = 1 is e^-1; at 1e-3 both branches agree with the series 1/2 - x/6 + x^2/24 - x^3/120.
    assert curvature("heston", np.array([0.5]), (2.0,))[0] == pytest.approx(np.exp(-1.0), rel=1e-14)
    near, far = curvature("heston", np.array([0.999999e-3, 1.000001e-3]), (1.0,))
    assert near == pytest.approx(far + 2e-9 / 6.0, abs=1e-12)


@pytest.mark.parametrize("made", [Ssvi("power_law", -0.65, (1.1, 0.42), 0.05 * YEARS), Ssvi("power_law", 0.2, (0.5, 0.5), 0.3 * YEARS), Ssvi("heston", -0.4, (2.5,), 0.04 * YEARS**0.9)])
def test_known_surface_is_recovered(made):
    found = fit_ssvi(YEARS, *quotes(made), made.phi)
    assert found.rho == pytest.approx(made.rho, abs=2e-4)
    assert found.shape == pytest.approx(made.shape, rel=2e-3)
    assert found.theta == pytest.approx(made.theta, rel=1e-4)
    assert conditions(found) == []


def test_conditions_name_what_is_broken():
    # phi = 30 / sqrt(theta): theta phi^2 = 900; theta phi = 30 sqrt(theta) passes 4 / 1.3 at theta = 0.0105.
    broken = conditions(Ssvi("power_law", -0.3, (30.0, 0.5), np.array([0.01, 0.04])))
    assert [(b["condition"], b["expiry"]) for b in broken] == [("theta phi (1 + |rho|) < 4", 1), ("theta phi^2 (1 + |rho|) <= 4", 0), ("theta phi^2 (1 + |rho|) <= 4", 1)]
    assert broken[1]["value"] == pytest.approx(900.0 * 1.3)
    # theta falls
    assert [b["condition"] for b in conditions(Ssvi("heston", -0.3, (2.0,), np.array([0.04, 0.03])))] == ["total variance at the money rises"]
    # theta phi = theta^(1 - gamma) falls for gamma > 1
    assert {b["condition"] for b in conditions(Ssvi("power_law", -0.3, (0.01, 1.2), np.array([0.04, 0.09])))} == {"d(theta phi) / d theta >= 0"}
    # rising faster than the bound: gamma = -20, rho = 0.6: (1 + 0.8) / 0.36 = 5 < 21
    assert {b["condition"] for b in conditions(Ssvi("power_law", 0.6, (0.01, -20.0), np.array([0.04])))} == {"d(theta phi) / d theta over phi"}


def test_the_bound_of_heston_curves_is_where_butterflies_begin():
    # Remark 4.4: lambda = (1 + |rho|) / 4 makes theta phi (1 + |rho|) tend to 4 as theta grows.
    rho = -0.7
    theta = np.array([1e3])
    assert conditions(Ssvi("heston", rho, ((1.0 + abs(rho)) / 4.0,), theta)) == []
    assert [b["condition"] for b in conditions(Ssvi("heston", rho, (0.99 * (1.0 + abs(rho)) / 4.0,), theta))] == ["theta phi (1 + |rho|) < 4"]


@st.composite
def quoted(draw):
    rows = []
    for d in sorted(draw(st.lists(st.floats(0.5, 700.0), min_size=1, max_size=5, unique_by=lambda d: round(d, 2)))):
        n, level = draw(st.integers(1, 10)), draw(st.floats(0.1, 2.0))
        k = np.array(draw(st.lists(st.floats(-4.0, 4.0), min_size=n, max_size=n))) * level * np.sqrt(d / 365.0)
        rows.append((d, np.round(k, 9), np.clip(level * np.array(draw(st.lists(st.floats(0.5, 2.0), min_size=n, max_size=n))), 0.1, 3.0)))
    return rows


@pytest.mark.parametrize("family", ["ssvi_power_law", "ssvi_heston"])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(rows=quoted())
def test_whatever_is_quoted_the_surface_is_free_of_arbitrage(family, rows):
    surface = fit_slices("X", NOW, [NOW + timedelta(days=d) for d, _, _ in rows], [d / 365.0 for d, _, _ in rows], [k for _, k, _ in rows], [v for _, _, v in rows],
                         [np.ones(len(k)) for _, k, _ in rows], family)
    grid, before = np.linspace(-2.999, 2.999, 4001), np.zeros(4001)
    assert surface.broken == () and [v for v in surface_violations(surface) if v["violation"] == "butterfly"] == []
    for svi in surface.slices:
        w = total_variance(svi, grid)
        assert np.all(w >= before * (1.0 - 1e-13))
        assert np.min(density_sign(svi, grid)) >= -1e-9
        before = w


def test_the_configuration_chooses_the_family(tmp_path):
    file = tmp_path / "run.toml"
    for text, family in (('surface = "svi"', "svi"), ('surface = "ssvi"', "ssvi_power_law"), ('surface = "ssvi"\nssvi_curve = "heston"', "ssvi_heston")):
        file.write_text(f"schema_version = 1\n[market]\n{text}\n")
        assert scenario_spec(load_config(file)).surface == family


def test_a_fitted_surface_is_one_smile():
    made = Ssvi("power_law", -0.65, (1.1, 0.42), 0.05 * YEARS)
    k, volatility, weight = quotes(made)
    surface = fit_slices("X", NOW, [NOW + timedelta(days=365.0 * t) for t in YEARS], list(YEARS), k, volatility, weight, "ssvi_power_law")
    assert len({s.rho for s in surface.slices}) == 1
    assert max(np.max(np.abs(implied_volatility(s, x) - v)) for s, x, v in zip(surface.slices, k, volatility, strict=True)) < 5e-5
