"""Forwards against spots and rates: the carry that is left over by hand, what is flagged, and where a reader of the market sees it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from upm_gpu.market.consistency import carry_warnings, implied_carry
from upm_gpu.market.reader import load_market
from upm_gpu.market.snapshot import MarketSnapshot

NOW = datetime(2026, 2, 5, 9, tzinfo=UTC)
YEAR = NOW + timedelta(days=365)


def market(forward, expiry=YEAR, spot_currency=None):
    return MarketSnapshot(NOW, "USD", {"USD": 1.0, "EUR": 1.25, "X": 100.0}, {("X", expiry): forward, ("X", None): 150.0}, None, {"USD": ((365.0, 0.05),), "EUR": ((365.0, 0.02),)}, None,  # type: ignore[arg-type]
                          spot_currency=spot_currency or {})


def test_what_rates_do_not_explain_is_the_carry():
    row, = implied_carry(market(100.0 * np.exp(0.05 - 0.013)))
    assert row["implied_carry"] == pytest.approx(0.013, rel=1e-9)
    assert row["forward_without_carry"] == pytest.approx(100.0 * np.exp(0.05))
    assert not row["flagged"] and carry_warnings([row]) == []


def test_a_spot_in_another_currency_is_compared_there():
    # 100 USD are 80 EUR at 1.25; the forward is in EUR and grows by EUR rates.
    row, = implied_carry(market(80.0 * np.exp(0.02), spot_currency={"X": "EUR"}))
    assert row["spot"] == pytest.approx(80.0) and row["implied_carry"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("forward", "expiry", "flagged"), [(100.0 * np.exp(0.05 + 0.30), YEAR, False), (100.0 * np.exp(0.05 + 0.32), YEAR, True), (100.0 * np.exp(0.05 - 0.32), YEAR, True),
                                                            (100.9, NOW + timedelta(hours=1), False), (101.2, NOW + timedelta(hours=1), True)])
def test_far_forwards_are_flagged(forward, expiry, flagged):
    assert implied_carry(market(forward, expiry))[0]["flagged"] == flagged


def test_the_warning_names_the_worst():
    rows = implied_carry(market(200.0))
    warning, = carry_warnings(rows)
    assert warning.startswith("UPM-MD-144 forwards: 1 of X ") and "200" in warning and "105.127" in warning


def test_reading_a_market_warns_and_the_sample_is_clean(tmp_path):
    assert not [w for w in load_market("sample:crypto").warnings if "MD-144" in w]
    (tmp_path / "spots.csv").write_text("asset,price,currency,timestamp\nX,100,USD,2026-02-05T09:00:00Z\n")
    (tmp_path / "forwards.csv").write_text("underlying,expiry,forward\nX,2026-03-05T09:00:00Z,1\n")
    assert any(w.startswith("UPM-MD-144") for w in load_market(tmp_path).warnings)
