"""Marks of linear chains are prices in the quote currency: right ones keep their quotes, wrong ones lose them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr
from small_book import GAUSSIAN, INSTRUMENTS, methodology, read, write

from upm_gpu.plan import make_plan
from upm_gpu.scenario.spec import ScenarioSpec

YEARS = (22.0 - 1.0 / 24.0) / 365.0


def call(strike: float, volatility: float) -> float:
    stdev = volatility * np.sqrt(YEARS)
    d = np.log(2005.0 / strike) / stdev + stdev / 2.0
    return float(2005.0 * ndtr(d) - strike * ndtr(d - stdev))


def planned(folder, mark: dict[float, float], inverse: bool = False, rate: float = 0.0):
    rows = "".join(f"ETH,2026-02-27T08:00:00Z,{k:g},0.75,{m},call\n" for k, m in mark.items())
    market = {"implied_vols.csv": "underlying,expiry,strike,implied_volatility,mark,option_type\n" + rows, "rates.csv": f"currency,tenor_days,zero_rate\nUSD,30,{rate}\n"}
    write(folder, "account_id,instrument_id,quantity\nA,ETH-C20L,1\n", market=market)
    if inverse:
        (folder / "book" / "instruments.csv").write_text(INSTRUMENTS + "ETH-INV,option,ETH,inverse,USD,1,2026-02-27T08:00:00Z,2000,put,european\n")
    book, snapshot = read(folder)
    return make_plan(book, snapshot, ScenarioSpec(count=4096), methodology(), GAUSSIAN)


STRIKES = (1600.0, 1800.0, 2000.0, 2200.0, 2400.0)


def test_a_linear_chain_in_its_own_currency_is_sound(tmp_path):
    report = planned(tmp_path, {k: call(k, 0.75) for k in STRIKES}).compile_report
    assert not report.quarantined and report.model_minus_mark["count"] == 5
    assert report.model_minus_mark["largest_absolute"] < 1e-12


def test_marks_are_discounted_as_the_options_are(tmp_path):
    factor = np.exp(-0.3 * YEARS)
    assert planned(tmp_path, {k: factor * call(k, 0.75) for k in STRIKES}, rate=0.3).compile_report.model_minus_mark["largest_absolute"] < 1e-12


def test_a_mark_that_its_volatility_misses_is_still_quarantined(tmp_path):
    marks = {k: call(k, 0.75) for k in STRIKES} | {2000.0: call(2000.0, 0.75) + 0.006 * 2005.0}
    (found,) = planned(tmp_path, marks).compile_report.quarantined
    assert found["strike"] == 2000.0 and found["model_minus_mark"] == pytest.approx(-0.006)


def test_one_inverse_option_makes_the_marks_coins(tmp_path):
    assert not planned(tmp_path, {k: call(k, 0.75) / 2005.0 for k in STRIKES}, inverse=True).compile_report.quarantined
