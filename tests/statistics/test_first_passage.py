"""The chance of liquidation: first passage of equity through maintenance against the closed form with the correction for dates, and its laws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from small_book import GAUSSIAN, methodology, read, write

from upm_gpu import desk
from upm_gpu.backend.select import choose
from upm_gpu.desk.outlook.passage import first_passage
from upm_gpu.desk.outlook.paths import paths_of
from upm_gpu.errors import InputError
from upm_gpu.scenario.spec import ScenarioSpec

BETA = 0.5825971579
"""-zeta(1/2) / sqrt(2 pi)"""
SCENARIOS = 20_000


def resident_of(folder, positions: str, collateral: str, spec: ScenarioSpec):
    head = "account_id,instrument_id,quantity,netting_set,entry_price\n"
    book, market = read(write(folder, head + positions, "account_id,asset,quantity\n" + collateral))
    return desk.keep(book, market, spec, methodology(), choose("cpu"), model=GAUSSIAN)


def barrier_probability(log_barrier: float, volatility: float, days: float, dates: int) -> float:
    """P(min over dates of x <= b), x a Brownian motion with drift -sigma^2 / 2 a day: the continuous one with b moved away by beta sigma sqrt(dt)."""
    b = log_barrier - BETA * volatility * np.sqrt(days / dates)
    mu, s = -0.5 * volatility**2, volatility * np.sqrt(days)
    return float(norm.cdf((b - mu * days) / s) + np.exp(2.0 * mu * b / volatility**2) * norm.cdf((b + mu * days) / s))


@pytest.mark.parametrize(("dates", "cash"), [(4, 6_000.0), (16, 6_000.0), (24, 5_500.0), (16, 7_500.0)])
def test_closed_form_with_the_correction_for_dates(tmp_path, dates, cash):
    """Long one linear perpetual of BTC: equity = cash + 70,000 (e^x - 1), maintenance constant, so the barrier of x is a constant."""
    resident = resident_of(tmp_path, "A,BTC-LINEAR,1,,\n", f"A,USD,{cash}\n", ScenarioSpec(count=SCENARIOS, seed=11, horizons=(2.0,)))
    paths = paths_of(resident, 1.0, dates)
    maintenance = 2_500.0
    paths = replace(paths, figures={**paths.figures, "maintenance_margin": np.array([maintenance])})
    found = first_passage(resident, paths)
    exact = barrier_probability(np.log1p(-(cash - maintenance) / 70_000.0), 0.03, 1.0, dates)
    # four standard errors; the correction itself is good to o(1/sqrt(m)): 0.4 % of the probability at 16 dates, 2 % at 4
    assert abs(found.probability[0, -1] - exact) < 4.0 * found.standard_error[0, -1] + exact * (0.02 if dates == 4 else 0.004)
    plain = barrier_probability(np.log1p(-(cash - maintenance) / 70_000.0) + BETA * 0.03 * np.sqrt(1.0 / dates), 0.03, 1.0, dates)
    assert abs(found.probability[0, -1] - plain) > 4.0 * found.standard_error[0, -1]  # without the correction it would not hold
    assert found.standard_error[0, -1] == pytest.approx(np.sqrt(found.probability[0, -1] * (1.0 - found.probability[0, -1]) / SCENARIOS), rel=1e-4)
    assert np.all(np.diff(found.probability[0]) >= 0.0)


def test_standard_error_is_the_spread_over_seeds(tmp_path):
    shares, errors = [], []
    for seed in range(24):
        resident = resident_of(tmp_path / str(seed), "A,BTC-LINEAR,1,,\n", "A,USD,6000\n", ScenarioSpec(count=4_096, seed=seed, horizons=(2.0,), variance_reduction="antithetic" if seed % 2 else "none"))
        paths = paths_of(resident, 1.0, 4)
        found = first_passage(resident, replace(paths, figures={**paths.figures, "maintenance_margin": np.array([4_000.0])}))
        shares.append(found.probability[0, -1])
        errors.append(found.standard_error[0, -1])
    for part in (slice(0, None, 2), slice(1, None, 2)):  # twelve seeds know a deviation to 21 %: four of those
        assert 0.4 < np.std(shares[part], ddof=1) / np.mean(errors[part]) < 1.85


def test_accounts_that_cannot_break_that_are_broken_and_that_are_bankrupt(tmp_path):
    resident = resident_of(tmp_path, "A,BTC-C70,2,,\nB,BTC-LINEAR,1,,\nC,BTC-LINEAR,1,,\nD,BTC-LINEAR,-0.01,,\n", "B,USD,1000\nC,USD,-500\nD,USD,100000\nE,USD,5\nE,BTC,1\n",
                           ScenarioSpec(count=5_000, seed=3, horizons=(2.0,)))
    found = first_passage(resident, paths_of(resident, 1.0, 6))
    at = {a: n for n, a in enumerate(found.accounts)}
    assert found.broken[at["B"]] and found.probability[at["B"], -1] == 1.0 and found.standard_error[at["B"], -1] == 0.0
    assert found.broken[at["C"]] and found.bankrupt[at["C"]] == 1.0
    assert 0.0 < found.bankrupt[at["B"]] < 1.0
    assert found.probability[at["D"], -1] == 0.0 and found.at_most[at["D"]] == pytest.approx(1.0 - 0.05 ** (1.0 / 5_000), rel=1e-6)
    assert np.isnan(found.deficit[at["D"]])
    assert found.probability[at["E"], -1] == 0.0  # coins alone owe nothing


def test_the_dates_asked_for_change_nothing_at_those_there_were(tmp_path):
    resident = resident_of(tmp_path, "A,BTC-LINEAR,1,,\nB,BTC-P60,-3,,\n", "A,USD,9000\nB,USD,20000\n", ScenarioSpec(count=4_096, seed=3, horizons=(2.0,)))
    few, many = first_passage(resident, paths_of(resident, 1.0, 2)), first_passage(resident, paths_of(resident, 1.0, 8))
    assert np.all(many.probability[:, 3] >= few.probability[:, 0]) and np.all(many.probability[:, 7] >= few.probability[:, 1])
    alone = first_passage(resident, paths_of(resident, 1.0, 8, ["B"]))
    assert np.array_equal(alone.probability[0], many.probability[1])
    one = first_passage(resident, paths_of(resident, 1.0, 1))
    assert np.all(one.probability[:, 0] <= few.probability[:, 1])


def test_what_is_refused(tmp_path):
    resident = resident_of(tmp_path, "A,BTC-LINEAR,1,,\n", "A,USD,9000\nZ,USD,0\n", ScenarioSpec(count=4_096, seed=3, horizons=(2.0,)))
    for days, steps in ((0.0, 4), (31.0, 4), (1.0, 0), (1.0, 257)):
        with pytest.raises(InputError, match="UPM-IN-180"):
            paths_of(resident, days, steps)
    with pytest.raises(InputError, match="UPM-IN-180"):
        paths_of(resident, 1.0, 4, scenarios=5_000)
    with pytest.raises(InputError, match="UPM-IN-141"):
        paths_of(resident, 1.0, 4, ["Q"])
