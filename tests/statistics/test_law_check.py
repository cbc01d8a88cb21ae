"""Is the comparison of a simulated one-day law with its history right, and what does it say of the models of the house on real coins?

Bands are block-bootstrap ones of 95 %: of independent statistics one in twenty would fall outside. A model fitted to the very days it is compared with
does better; here the number outside is held exactly, so that a change of a model, a fit or a filter shows.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from upm_gpu.calibrate.law_check import MARGINAL, block_bootstrap, check_law, compare, hill_index, joint_statistics
from upm_gpu.errors import CalibrationError
from upm_gpu.scenario.spec import ScenarioSpec

CLOSES = Path(__file__).parent / "data" / "coin_closes.csv.gz"
SIX = ("BTC", "ETH", "LTC", "BNB", "XRP", "ADA")
FHS = ScenarioSpec(model="filtered_historical", filter="gjr", copula="gaussian", count=100_000)
GARCH = ScenarioSpec(model="garch", filter="gjr", marginal="empirical", degrees_of_freedom=0.0, copula_degrees_of_freedom=0.0, count=100_000)
PLAIN = ScenarioSpec(estimator="ledoit_wolf", count=100_000)


@cache
def coins() -> pd.DataFrame:
    wide = pd.read_csv(CLOSES)
    long = wide.melt(id_vars="date", var_name="asset", value_name="close").dropna()
    stamp = (pd.to_datetime(long["date"], utc=True) + pd.Timedelta(days=1)).astype("datetime64[ns, UTC]")
    return pd.DataFrame({"timestamp": stamp, "asset": long["asset"], "close": long["close"]}).reset_index(drop=True)


def check(spec: ScenarioSpec, names=SIX, view="today"):
    history = coins()
    return check_law(history, [f"log_level[{n}]" for n in names], history["timestamp"].max().to_pydatetime(), spec, view, repeats=300)


def test_bands_of_independent_days_are_those_of_theory():
    """Normal days: the standard deviation's band is 2 x 1.96 sigma / sqrt(2 N), the median-free 5 % quantile's 2 x 1.96 sqrt(p q / N) / f. Joint: 0.05^2."""
    x = np.random.default_rng(3).standard_normal((4000, 2))
    found = compare(x, np.random.default_rng(4).standard_normal((200_000, 2)), ("A", "B"), repeats=1000)
    assert (found.high - found.low)[0] == pytest.approx(2.0 * 1.96 / np.sqrt(8000.0), rel=0.12)
    density = np.exp(-0.5 * 1.6449**2) / np.sqrt(2.0 * np.pi)
    assert (found.high - found.low)[3] == pytest.approx(2.0 * 1.96 * np.sqrt(0.0475 / 4000.0) / density, rel=0.4)  # spacings of one sample
    assert found.joint_low.max() < 0.0025 < found.joint_high.min()
    assert found.outside()[0].sum() <= 3  # of 18, one in twenty by chance
    assert not found.outside()[1].any()


def test_blocks_keep_the_days_together():
    """The mean of days that come in runs of 30 has thirty times the variance of independent ones; single rows (block 1) do not see it."""
    x = np.repeat(np.random.default_rng(1).standard_normal(200), 30)[:, None]
    mean = [np.std(block_bootstrap(x, lambda s: np.mean(s, axis=0), 400, block)) for block in (1, 90)]
    assert mean[0] == pytest.approx(1.0 / np.sqrt(6000.0), rel=0.15)
    assert mean[1] > 4.0 * mean[0]


def test_hill_index_of_a_pareto_law():
    u = (np.arange(100_000) + 0.5) / 100_000
    assert hill_index((u**-0.3)[:, None])[0] == pytest.approx(0.3, rel=0.01)


def test_joint_share_of_equal_and_opposite_columns():
    x = np.random.default_rng(2).standard_normal(10_000)
    found = joint_statistics(np.stack([x, x, -x], axis=1), [(0, 1), (0, 2)])
    assert found == pytest.approx(np.array([[0.05, 0.0], [0.05, 0.0]]), abs=1e-4)


@pytest.mark.parametrize(("planted", "statistic"), [("thin", "quantile 0.1 %"), ("thin", "Hill index below"), ("wide", "standard deviation"), ("moved", "quantile 5 %")])
def test_wrong_laws_are_found_out(planted, statistic):
    rng = np.random.default_rng(8)
    days = rng.standard_t(5.0, (2500, 2)) * np.sqrt(0.6)
    right = rng.standard_t(5.0, (100_000, 2)) * np.sqrt(0.6)
    wrong = {"thin": rng.standard_normal((100_000, 2)), "wide": 1.3 * right, "moved": right - 0.2}[planted]
    assert compare(days, right, ("A", "B"), 300).outside()[0].sum() == 0
    assert compare(days, wrong, ("A", "B"), 300).outside()[0][MARGINAL.index(statistic)].all()


def test_wrong_dependence_is_found_out():
    rng = np.random.default_rng(8)
    z = rng.standard_normal((102_500, 2))
    z[:, 1] = 0.8 * z[:, 0] + 0.6 * z[:, 1]
    assert not compare(z[:2500], z[2500:], ("A", "B"), 300).outside()[1].any()
    alone = np.stack([z[2500:, 0], rng.permutation(z[2500:, 1])], axis=1)
    assert compare(z[:2500], alone, ("A", "B"), 300).outside()[1].all()


@pytest.mark.slow
@pytest.mark.parametrize("names", [SIX, ("BTC", "ETH", "SOL")], ids=["six", "sol"])
def test_filtered_historical_simulation_reproduces_the_coins(names):
    """Every standard deviation, quantile, Hill index and joint exceedance inside its band: 54 + 30 and 27 + 6 of them."""
    found = check(FHS, names)
    assert [a.sum() for a in found.outside()] == [0, 0], [r for r in found.table() if not r["inside"]]


def test_so_does_the_ewma_filter_with_the_size_of_its_residuals():
    """Planted: their variance (1.25) left out of tomorrow's puts the ordinary quantiles and the deviations outside."""
    found = check(replace(FHS, filter="ewma", ewma_lambda=0.94))
    assert [a.sum() for a in found.outside()] == [0, 0]
    small = compare(found.days, found.draws / 1.12, found.factors, 300)
    assert small.outside()[0].sum() >= 10


def test_the_plain_walk_does_not():
    """t(4) marginals of one shape for all, one t copula, constant volatility: 99.9 % quantiles too far out, falls together too rare."""
    found = check(PLAIN)
    marginal, joint = found.outside()
    assert marginal.sum() >= 4
    assert joint.sum() >= 20
    assert (found.joint_simulated[0] < found.joint_history[0]).all() and (found.joint_simulated[1] > found.joint_history[1]).all()


@pytest.mark.slow
def test_past_days_at_their_own_volatility_are_wilder_than_the_history_never_tamer():
    """Unconditional view of FHS: dependence holds; a few extremes lie outside, on the far side: large residuals came on quiet days, the model draws them on any."""
    found = check(FHS, view="unconditional")
    marginal, joint = found.outside()
    assert not joint.any()
    assert marginal.sum() <= 10
    assert (np.abs(found.simulated) > np.abs(found.history))[marginal].all()


@pytest.mark.slow
def test_empirical_marginals_reproduce_the_coins_and_a_symmetric_copula_does_not():
    found = check(GARCH)
    marginal, joint = found.outside()
    assert not marginal.any()
    assert joint.sum() >= 20
    assert (found.joint_simulated[0] < found.joint_history[0]).all() and (found.joint_simulated[1] > found.joint_history[1]).all()


def test_what_has_no_one_day_law_to_compare_is_refused():
    history = coins()
    end = history["timestamp"].max().to_pydatetime()
    for factors, spec in ((["volatility_shift[BTC]"], FHS), (["log_level[BTC]"], replace(FHS, base_step_days=0.5))):
        with pytest.raises(CalibrationError, match="UPM-CA-188"):
            check_law(history, factors, end, spec)
