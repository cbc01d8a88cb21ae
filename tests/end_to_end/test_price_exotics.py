"""`upm price` on exotics: every product by its columns, and a code for whatever a row can have wrong."""

from __future__ import annotations

import csv
import io

import pytest

from upm_gpu.errors import UpmError
from upm_gpu.price_cases import price_cases
from upm_gpu.pricing.cases import RESULTS

MARKET = {"spot": 100, "strike": 100, "time_to_expiry": 1, "rate": 0.05, "dividend_yield": 0.02, "volatility": 0.2}
PRODUCTS = {
    "digital": {"option_type": "call", "payout_type": "cash", "payout": 10},
    "barrier": {"option_type": "put", "barrier": 90, "barrier_type": "down_in", "rebate": 3, "monitoring": "continuous"},
    "double_barrier": {"option_type": "call", "lower_barrier": 80, "upper_barrier": 130, "barrier_type": "knock_out", "rebate": 1},
    "digital_barrier": {"option_type": "put", "barrier": 110, "barrier_type": "up_out", "payout_type": "asset"},
    "one_touch": {"barrier": 110, "barrier_type": "up", "payout_type": "cash", "payout": 15, "payout_time": "hit"},
    "no_touch": {"barrier": 90, "barrier_type": "down", "payout_type": "cash", "payout": 15},
    "asian": {"option_type": "call", "asian_average": "arithmetic", "monitoring": "discrete", "fixings": "0.25;0.5;1.0", "average_so_far": 101, "fixings_so_far": 2},
    "forward_start": {"option_type": "call", "moneyness": 1.1, "start_time": 0.25},
    "spread": {"option_type": "call", "spot_2": 95, "dividend_yield_2": 0.01, "volatility_2": 0.3, "correlation": 0.4},
    "maximum_of_two": {"option_type": "call", "spot_2": 95, "dividend_yield_2": 0.01, "volatility_2": 0.3, "correlation": 0.4},
    "minimum_of_two": {"option_type": "put", "spot_2": 95, "dividend_yield_2": 0.01, "volatility_2": 0.3, "correlation": 0.4},
}


def row_of(product: str, **changed: object) -> dict[str, object]:
    """A good row of the product with some cells changed; None blanks a cell."""
    return {"product": product, **MARKET, **PRODUCTS[product], **changed}


def priced(folder, *rows: dict[str, object], device: str = "cpu") -> list[dict[str, str]]:
    header = list(dict.fromkeys(column for row in rows for column in row))
    path = folder / "cases.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows(rows)
    try:
        return list(csv.DictReader(io.StringIO(price_cases(path, device))))
    except UpmError as error:
        if error.code != "UPM-DV-010":
            raise
        pytest.skip(str(error))


def test_every_product_has_a_price_its_greeks_and_a_method(tmp_path):
    """On the engine as on the reference."""
    rows = [row_of(product) for product in PRODUCTS]
    engine, twin = priced(tmp_path, *rows), priced(tmp_path, *rows, device="reference")
    for one, other in zip(engine, twin, strict=True):
        assert one["error"] == other["error"] == "" and one["method"] == other["method"] != ""
        for name in RESULTS[:7]:
            assert float(one[name]) == pytest.approx(float(other[name]), rel=1e-3, abs=1e-4), (one["product"], name)
        assert float(one["price"]) == pytest.approx(float(other["price"]), abs=1e-4)


@pytest.mark.parametrize(("product", "changed", "code"), [
    ("digital", {"payout_type": "coins"}, "UPM-PR-031"), ("digital", {"payout": -1}, "UPM-PR-018"), ("digital", {"volatility": 0}, "UPM-PR-018"),
    ("digital", {"volatility": None, "market_price": 3}, "UPM-PR-025"), ("digital", {"option_type": None}, "UPM-PR-013"),
    ("barrier", {"barrier_type": "sideways"}, "UPM-PR-030"), ("barrier", {"barrier": None}, "UPM-PR-016"), ("barrier", {"barrier": 0}, "UPM-PR-018"),
    ("barrier", {"monitoring": "weekly"}, "UPM-PR-032"), ("barrier", {"monitoring": "discrete"}, "UPM-PR-032"), ("barrier", {"monitoring": "discrete", "fixings": "0.1;1"}, "UPM-PR-032"),
    ("barrier", {"monitoring": "discrete", "fixings": "10", "spot": 80}, "UPM-PR-037"), ("barrier", {"rebate": -1}, "UPM-PR-018"), ("barrier", {"model": "heston"}, "UPM-PR-011"),
    ("barrier", {"time_to_expiry": -0.1}, "UPM-PR-018"), ("barrier", {"strike": 0}, "UPM-PR-018"), ("barrier", {"forward": 100}, "UPM-PR-017"),
    ("double_barrier", {"lower_barrier": 130, "upper_barrier": 80}, "UPM-PR-036"), ("double_barrier", {"barrier_type": "up_out"}, "UPM-PR-030"),
    ("double_barrier", {"monitoring": "discrete"}, "UPM-PR-032"), ("double_barrier", {"rate": -0.1, "dividend_yield": -0.12}, "UPM-PR-038"),
    ("digital_barrier", {"barrier_type": "knock_in"}, "UPM-PR-030"), ("one_touch", {"payout_time": None}, "UPM-PR-031"), ("one_touch", {"barrier_type": "up_in"}, "UPM-PR-030"),
    ("no_touch", {"payout_time": "hit"}, "UPM-PR-031"),
    ("asian", {"asian_average": None}, "UPM-PR-040"), ("asian", {"fixings": None}, "UPM-PR-032"), ("asian", {"fixings": "0"}, "UPM-PR-032"), ("asian", {"fixings": "5000"}, "UPM-PR-032"),
    ("asian", {"fixings": "0.5;soon"}, "UPM-PR-032"), ("asian", {"fixings": "0.5;1.5"}, "UPM-PR-033"), ("asian", {"fixings": "-0.1;0.5"}, "UPM-PR-034"),
    ("asian", {"average_so_far": None}, "UPM-PR-034"), ("asian", {"fixings_so_far": 1.5}, "UPM-PR-032"), ("asian", {"monitoring": "continuous"}, "UPM-PR-032"),
    ("asian", {"fixings": "0.000001;0.0000011;1.0", "fixings_so_far": None}, "UPM-PR-041"),
    ("forward_start", {"start_time": 1.5}, "UPM-PR-039"), ("forward_start", {"moneyness": 0}, "UPM-PR-018"), ("forward_start", {"start_time": None}, "UPM-PR-016"),
    ("spread", {"correlation": 1.01}, "UPM-PR-035"), ("spread", {"spot_2": None}, "UPM-PR-016"), ("maximum_of_two", {"volatility_2": 0}, "UPM-PR-018"),
    ("minimum_of_two", {"strike": 0}, "UPM-PR-018"), ("minimum_of_two", {"spot": None, "forward": 100}, "UPM-PR-017"),
])
def test_a_bad_row_has_its_code(product, changed, code, tmp_path, capsys):
    """And costs itself only."""
    good, bad = priced(tmp_path, row_of(product), row_of(product, **changed))
    assert bad["error"] == code and bad["price"] == "" and good["error"] == "" and good["price"] != ""
    assert f"{code} line 3" in capsys.readouterr().err


def test_what_is_hit_and_what_is_known(tmp_path):
    """A barrier that is met is said in the method; a fixing count is its equally spaced times; a spread may have any strike; one fixing may be known alone."""
    hit, count, times, spread, known, linear = priced(
        tmp_path, row_of("barrier", spot=85), row_of("asian", fixings="4"), row_of("asian", fixings="0.25;0.5;0.75;1"), row_of("spread", strike=-5),
        row_of("asian", average_so_far=110, fixings_so_far=9, fixings="0.0"), row_of("asian", average_so_far=300, fixings_so_far=9, fixings="1"))
    assert hit["method"] == "reiner_rubinstein_already_hit" and float(hit["price"]) > 14.0
    assert count["price"] == times["price"] and spread["error"] == ""
    assert float(known["price"]) == pytest.approx(0.951229424500714 * (0.9 * 110 + 0.1 * 100 - 100), rel=1e-12)
    assert float(linear["gamma"]) == 0.0 and float(linear["delta"]) == pytest.approx(0.1 * 0.9801986733067553, rel=1e-12)
