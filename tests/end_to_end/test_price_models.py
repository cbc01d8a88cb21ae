"""`upm price` on Merton, Heston and Bates: results by their columns, and a code for whatever a row can have wrong."""

from __future__ import annotations

import csv
import io

import pytest

from upm_gpu.price_cases import price_cases

TERMS = {"product": "european", "option_type": "put", "forward": 100, "strike": 95, "time_to_expiry": 0.5, "rate": 0.02}
JUMPS = {"jump_intensity": 0.8, "jump_mean": -0.1, "jump_volatility": 0.15}
VARIANCE = {"initial_variance": 0.04, "mean_reversion": 2.0, "long_run_variance": 0.05, "vol_of_vol": 0.4, "correlation": -0.6}
ROWS = {"merton": {**TERMS, "model": "merton", "volatility": 0.2, **JUMPS}, "heston": {**TERMS, "model": "heston", **VARIANCE},
        "bates": {**TERMS, "model": "bates", **VARIANCE, **JUMPS}}


def priced(folder, *rows: dict[str, object], device: str = "reference") -> list[dict[str, str]]:
    header = list(dict.fromkeys(column for row in rows for column in row))
    path = folder / "cases.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows(rows)
    return list(csv.DictReader(io.StringIO(price_cases(path, device))))


def test_results(tmp_path):
    """Price, Greeks and Black's volatility of each model; coins where the option is paid in them."""
    rows = [row | {"settlement": s} for row in ROWS.values() for s in ("linear", "inverse")]
    found = priced(tmp_path, *rows)
    assert [f["method"] for f in found] == ["merton_series", "merton_series_inverse", "heston_contour", "heston_contour_inverse", "bates_contour", "bates_contour_inverse"]
    for row, result in zip(rows, found, strict=True):
        assert not result["error"]
        for name in ("price", "delta", "gamma", "vega", "theta", "rho", "implied_volatility"):
            assert float(result[name]) != 0.0 or (name == "rho" and row["settlement"] == "inverse")
        assert bool(result["price_coin"]) == bool(result["delta_coin"]) == (row["settlement"] == "inverse")
        black = {**TERMS, "model": "black_scholes", "volatility": result["implied_volatility"], "settlement": row["settlement"]}
        assert float(priced(tmp_path, black)[0]["price"]) == pytest.approx(float(result["price"]), rel=1e-9)


def test_a_variance_that_can_reach_zero_is_flagged(tmp_path):
    (result,) = priced(tmp_path, ROWS["heston"] | {"vol_of_vol": 0.9})
    assert result["method"] == "heston_contour_feller_violated" and not result["error"]


@pytest.mark.parametrize(("model", "changed", "code"), [
    ("heston", {"market_price": 5, "volatility": ""}, "UPM-PR-025"), ("merton", {"market_price": 5, "volatility": ""}, "UPM-PR-025"),
    ("merton", {"volatility": ""}, "UPM-PR-016"), ("heston", {"vol_of_vol": ""}, "UPM-PR-016"), ("bates", {"jump_mean": ""}, "UPM-PR-016"),
    ("bates", {"jump_intensity": -1}, "UPM-PR-018"), ("heston", {"initial_variance": -0.1}, "UPM-PR-018"), ("heston", {"correlation": 1.5}, "UPM-PR-035"),
    ("heston", {"dividends": "0.2:1"}, "UPM-PR-012"), ("heston", {"spot": 100}, "UPM-PR-017"), ("merton", {"jump_mean": 80}, "UPM-PR-051"),
    ("bates", {"jump_intensity": 1e6}, "UPM-PR-051"), ("heston", {"product": "american"}, "UPM-PR-011")])
def test_what_a_row_can_have_wrong(tmp_path, model, changed, code):
    good, bad = priced(tmp_path, ROWS[model], ROWS[model] | changed)
    assert not good["error"] and bad["error"] == code and not bad["price"]
