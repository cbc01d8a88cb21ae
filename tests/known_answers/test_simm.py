"""ISDA SIMM: published results of a netting set to 1e-9, and every other class by hand from the formulae of the methodology."""

from __future__ import annotations

import json
from itertools import product
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from simm_rows import COLUMNS, margins, measure

REFERENCE = json.loads((Path(__file__).parent / "reference" / "simm.json").read_text())
QUANTILE_99 = 2.3263478740408408
LAMBDA = 2.5758293035489004**2 - 1.0


@pytest.mark.parametrize(("case", "side"), list(product(REFERENCE["cases"], ("Call", "Post"))), ids=lambda v: v if isinstance(v, str) else f"{v['version']}-{v['days']}d")
def test_published_netting_set(tmp_path, case, side):
    (made,) = margins(tmp_path, REFERENCE["crif"], case["version"], case["days"], side.lower(), tuple(REFERENCE["crif_columns"]))
    (risk,) = made.product_classes[0].risk_classes
    expected = {key.split("/")[2]: value for key, value in case["expected"].items() if key.startswith(f"{side}/InterestRate/")}
    for name in ("Delta", "Vega", "Curvature"):
        assert risk.measures[name.lower()].margin == pytest.approx(expected.get(name, 0.0), rel=1e-9, abs=1e-9)
    assert made.margin == pytest.approx(expected["All"], rel=1e-9) == pytest.approx(case["expected"][f"{side}/All/All"], rel=1e-9)


UNITS = json.loads((Path(__file__).parent / "reference" / "simm_2_4_units.json").read_text())


@pytest.mark.parametrize(("group", "case"), [(g, c) for g in ("cases", "cases_with_multipliers") for c in UNITS[g]])
def test_published_unit_tests_of_every_class(tmp_path, group, case):
    """Weights, correlations, concentration, vega, curvature, residual buckets and multipliers of every risk class, in whole USD."""
    rows = []
    for part in UNITS[group][case]["rows"]:
        name, _, number = part.partition(".")
        rows += [UNITS["groups"][name][int(number) - 1]] if number else UNITS["groups"][name]
    if group == "cases_with_multipliers":
        rows = rows + [["", "Param_ProductClassMultiplier", product, "", "", "", factor] for product, factor in UNITS["multipliers"].items()]
    (made,) = margins(tmp_path, [tuple(r) for r in rows], UNITS["version"], UNITS["days"], columns=tuple(UNITS["columns"]))
    assert made.margin == pytest.approx(UNITS[group][case]["margin"], rel=0.0, abs=0.5)


def test_two_currencies_with_concentration_inflation_and_basis(tmp_path):
    """EUR is crowded (CR 1.5: 742.5 millions a basis point over 330), JPY is not; gamma 0.32 is scaled by g = 1 / 1.5."""
    rows = [("Risk_IRCurve", "EUR", "1", "5y", "OIS", 7.0e8), ("Risk_Inflation", "EUR", "", "", "", 4.25e7), ("Risk_XCcyBasis", "EUR", "", "", "", 1.0e6),
            ("Risk_IRCurve", "JPY", "2", "2y", "Libor6m", -1.0e5), ("Risk_IRCurve", "JPY", "2", "10y", "OIS", 2.0e5)]
    e = np.array([7.0e8 * 60 * 1.5, 4.25e7 * 61 * 1.5, 1.0e6 * 21])
    k_eur = sqrt(e @ np.array([[1, 0.24, 0.04], [0.24, 1, 0.04], [0.04, 0.04, 1]]) @ e)
    j = np.array([-1.0e5 * 15, 2.0e5 * 23])
    k_jpy = sqrt(j @ j + 2 * 0.80 * 0.993 * j[0] * j[1])
    s = [min(e.sum(), k_eur), min(j.sum(), k_jpy)]
    expected = sqrt(k_eur**2 + k_jpy**2 + 2 * 0.32 / 1.5 * s[0] * s[1])
    assert measure(tmp_path, rows, "delta") == pytest.approx(expected, rel=1e-12)


def test_inflation_volatility_is_one_factor_beside_rate_volatility(tmp_path):
    """Its expiries are added: 300 - 500 of vega; of curvature after the decay of each."""
    rows = [("Risk_IRVol", "USD", "", "1y", "", 2000.0), ("Risk_InflationVol", "USD", "", "1y", "", -500.0), ("Risk_InflationVol", "USD", "", "5y", "", 300.0)]
    w = 0.23 * np.array([2000.0, -200.0])
    rho = np.array([[1, 0.24], [0.24, 1]])
    assert measure(tmp_path, rows, "vega") == pytest.approx(sqrt(w @ rho @ w), rel=1e-12)
    c = 0.5 * np.array([2000.0 * 14 / 365, -500.0 * 14 / 365 + 300.0 * 14 / 1825])
    assert measure(tmp_path, rows, "curvature") == pytest.approx((c.sum() + (LAMBDA * (1 + min(0.0, c.sum() / np.abs(c).sum()))) * sqrt(c @ rho**2 @ c)) / 0.47**2, rel=1e-12)


def test_credit_names_tenors_residual_and_base_correlation(tmp_path):
    """Bucket 2: one name at two tenors (0.93, both crowded by the net of the name: CR 2) and another name (0.46, f = 1 / 2)."""
    rows = [("Risk_CreditQ", "ALPHA", "2", "1y", "", 0.60e6), ("Risk_CreditQ", "ALPHA", "2", "5y", "", 0.08e6), ("Risk_CreditQ", "BETA", "2", "5y", "", -0.05e6),
            ("Risk_CreditQ", "GAMMA", "7", "5y", "", 0.1e6), ("Risk_CreditQ", "DELTA", "Residual", "5y", "", 0.01e6)]
    w = np.array([0.60e6 * 90 * 2, 0.08e6 * 90 * 2, -0.05e6 * 90])
    rho = np.array([[1, 0.93, 0.23], [0.93, 1, 0.23], [0.23, 0.23, 1]])
    k2, k7, residual = sqrt(w @ rho @ w), 0.1e6 * 185, 0.01e6 * 343
    expected = sqrt(k2**2 + k7**2 + 2 * 0.39 * min(w.sum(), k2) * k7) + residual
    assert measure(tmp_path, rows, "delta") == pytest.approx(expected, rel=1e-12)
    bases = [("Risk_BaseCorr", "CDX IG", "", "", "", 1000.0), ("Risk_BaseCorr", "iTraxx Main", "", "", "", -400.0)]
    assert measure(tmp_path, bases, "base_correlation") == pytest.approx(10 * sqrt(1000.0**2 + 400.0**2 - 2 * 0.29 * 1000.0 * 400.0), rel=1e-12)
    (made,) = margins(tmp_path, rows + bases)
    assert made.margin == pytest.approx(expected + measure(tmp_path, bases, "base_correlation"), rel=1e-12)


def test_credit_volatility_keeps_expiries_apart(tmp_path):
    rows = [("Risk_CreditVolNonQ", "EU.IG", "1", "1y", "CMBX", 3000.0), ("Risk_CreditVolNonQ", "US.IG", "1", "5y", "CMBX", -2000.0)]
    w = 0.76 * np.array([3000.0, -2000.0])
    assert measure(tmp_path, rows, "vega") == pytest.approx(sqrt(w @ w + 2 * 0.83 * w[0] * w[1]), rel=1e-12)


def test_equity_delta_vega_curvature(tmp_path):
    """Bucket 5 (crowded: 48 millions over 12, CR 2), index 11, residual; vega nets expiries by name and carries sigma and the volatility ratio."""
    rows = [("Risk_Equity", "ALPHA", "5", "", "", 48.0e6), ("Risk_Equity", "BETA", "5", "", "", -6.0e6), ("Risk_Equity", "INDEX", "11", "", "", 10.0e6),
            ("Risk_Equity", "ODD", "residual", "", "", 0.2e6), ("Risk_Equity", "EVEN", "Residual", "", "", 0.1e6)]
    w = np.array([48.0e6 * 26 * 2, -6.0e6 * 26])
    k5, k11 = sqrt(w @ w + 2 * 0.25 * 0.5 * w[0] * w[1]), 10.0e6 * 19
    expected = sqrt(k5**2 + k11**2 + 2 * 0.32 * min(w.sum(), k5) * k11) + 50 * sqrt(0.2e6**2 + 0.1e6**2)
    assert measure(tmp_path, rows, "delta") == pytest.approx(expected, rel=1e-12)
    vols = [("Risk_EquityVol", "ALPHA", "5", "1m", "", -900.0), ("Risk_EquityVol", "ALPHA", "5", "1y", "", 500.0), ("Risk_EquityVol", "BETA", "5", "3m", "", -100.0)]
    sigma = 26 * sqrt(365 / 14) / QUANTILE_99
    v = 0.45 * 0.60 * sigma * np.array([-400.0, -100.0])
    assert measure(tmp_path, vols, "vega") == pytest.approx(sqrt(v @ v + 2 * 0.25 * v[0] * v[1]), rel=1e-12)
    c = 0.5 * sigma * np.array([-900.0 * 14 / (365 / 12) + 500.0 * 14 / 365, -100.0 * 14 / (365 / 4)])
    assert c.sum() < 0 and measure(tmp_path, vols, "curvature") == 0.0
    kc = sqrt(c @ c + 2 * 0.25**2 * c[0] * c[1])
    assert measure(tmp_path, vols, "curvature", side="post") == pytest.approx(-c.sum() + LAMBDA * kc, rel=1e-12)
    mixed = [vols[0], ("Risk_EquityVol", "BETA", "5", "3m", "", 1400.0)]
    c = 0.5 * sigma * np.array([-900.0 * 14 / (365 / 12), 1400.0 * 14 / (365 / 4)])
    theta = min(0.0, c.sum() / np.abs(c).sum())
    kc = sqrt(c @ c + 2 * 0.25**2 * c[0] * c[1])
    assert -0.5 < theta < 0.0 and measure(tmp_path, mixed, "curvature") == pytest.approx(c.sum() + (LAMBDA * (1 + theta) - theta) * kc, rel=1e-12)


def test_volatility_indices_have_no_curvature(tmp_path):
    (made,) = margins(tmp_path, [("Risk_EquityVol", "VIX", "12", "1m", "", 100.0)])
    assert set(made.product_classes[0].risk_classes[0].measures) == {"vega"}
    assert made.margin == pytest.approx(0.96 * 0.60 * 19 * sqrt(365 / 14) / QUANTILE_99 * 100.0, rel=1e-12)


def test_commodity_buckets_with_a_negative_correlation(tmp_path):
    rows = [("Risk_Commodity", "Coal", "1", "", "", 1.0e5), ("Risk_Commodity", "Freight", "10", "", "", 2.0e5), ("Risk_Commodity", "Power", "7", "", "", 3.0e5),
            ("Risk_Commodity", "Metal", "12", "", "", 1.0e5), ("Risk_Commodity", "Metal B", "12", "", "", 2.0e5)]
    w12 = np.array([1.0e5, 2.0e5]) * 21
    k = np.array([1.0e5 * 48, 3.0e5 * 60, 2.0e5 * 63, sqrt(w12 @ w12 + 2 * 0.53 * w12[0] * w12[1])])
    gamma = np.array([[1, 0.49, 0.14, 0.02], [0.49, 1, 0.17, -0.08], [0.14, 0.17, 1, 0.09], [0.02, -0.08, 0.09, 1]])
    s = np.minimum(k, [k[0], k[1], k[2], w12.sum()])
    assert measure(tmp_path, rows, "delta") == pytest.approx(sqrt(k @ k + s @ (gamma - np.eye(4)) @ s), rel=1e-12)


def test_foreign_exchange_by_volatility_group_and_category(tmp_path):
    """EUR regular, BRL and TRY high (0.5 between them for a regular calculation currency is -0.05), USD itself is not risk; 1.6 x 880 millions of BRL crowd."""
    rows = [("Risk_FX", "EUR", "", "", "", 2.0e6), ("Risk_FX", "USD", "", "", "", 9.0e9), ("Risk_FX", "BRL", "", "", "", 880.0e6 * 2.25), ("Risk_FX", "TRY", "", "", "", 1.0e6)]
    w = np.array([880.0e6 * 2.25 * 14.7 * 1.5, 2.0e6 * 7.4, 1.0e6 * 14.7])
    f = 1 / 1.5
    rho = np.array([[1, 0.25 * f, -0.05 * f], [0.25 * f, 1, 0.25], [-0.05 * f, 0.25, 1]])
    assert measure(tmp_path, rows, "delta") == pytest.approx(sqrt(w @ rho @ w), rel=1e-12)
    seen_from_brl = [("Risk_FX", "EUR", "", "", "", 2.0e6), ("Risk_FX", "TRY", "", "", "", 1.0e6), ("Risk_FX", "BRL", "", "", "", 5.0e6)]
    w = np.array([2.0e6 * 14.7, 1.0e6 * 21.4])
    assert measure(tmp_path, seen_from_brl, "delta", currency="BRL") == pytest.approx(sqrt(w @ w + 2 * 0.72 * w[0] * w[1]), rel=1e-12)


def test_foreign_exchange_volatility_of_a_pair_has_no_direction(tmp_path):
    rows = [("Risk_FXVol", "EURUSD", "", "1y", "", 500.0), ("Risk_FXVol", "USDEUR", "", "2y", "", 300.0), ("Risk_FXVol", "USD/TRY", "", "1y", "", 200.0)]
    scale = sqrt(365 / 14) / QUANTILE_99
    v = 0.48 * 0.57 * scale * np.array([800.0 * 7.4, 200.0 * 14.7])
    assert measure(tmp_path, rows, "vega") == pytest.approx(sqrt(v @ v + v[0] * v[1]), rel=1e-12)


def test_product_classes_add_and_risk_classes_correlate(tmp_path):
    """psi 0.07 between rates and equity inside a product class; nothing between product classes; a multiplier and add-ons by hand."""
    columns = ("PortfolioID", "ProductClass", *COLUMNS)
    rows = [("P", "Equity", "Risk_IRCurve", "USD", "1", "10y", "OIS", 1000.0), ("P", "Equity", "Risk_Equity", "ALPHA", "5", "", "", 3000.0),
            ("P", "RatesFX", "Risk_IRCurve", "USD", "1", "10y", "OIS", -1000.0), ("P", "", "Param_ProductClassMultiplier", "RatesFX", "", "", "", 1.5),
            ("P", "", "Param_AddOnFixedAmount", "", "", "", "", 250.0), ("P", "", "Param_AddOnNotionalFactor", "FlexiCall", "", "", "", 5.0),
            ("P", "", "Notional", "FlexiCall", "", "", "", -4000.0), ("P", "", "Notional", "FlexiCall", "", "", "", 1000.0),
            ("Q", "Equity", "Risk_Equity", "ALPHA", "5", "", "", 1.0)]
    first, second = margins(tmp_path, rows, columns=columns)
    rates, equity = 60_000.0, 78_000.0
    assert first.margin == pytest.approx(sqrt(rates**2 + equity**2 + 2 * 0.07 * rates * equity) + 1.5 * rates + 250.0 + 0.05 * 5000.0, rel=1e-12)
    assert (second.portfolio, second.margin) == ("Q", pytest.approx(26.0, rel=1e-12))
