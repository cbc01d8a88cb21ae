"""A planted stretch of high volatility is found; measures and errors against brute force and against the law."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from upm_gpu.calibrate.series import Series
from upm_gpu.errors import CalibrationError
from upm_gpu.fits.stressed_window import find_stressed

CALM, WILD, AT, WINDOW = 0.01, 0.03, 400, 100


def prices(seed: int, assets: int = 2, days: int = 900) -> dict[str, Series]:
    """Correlated prices whose daily volatility is WILD for WINDOW days from AT on, CALM else."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(days)
    size = np.where((np.arange(days) >= AT) & (np.arange(days) < AT + WINDOW), WILD, CALM)
    moves = [size * (0.8 * common + 0.6 * rng.standard_normal(days)) for _ in range(assets)]
    return {name: Series(np.arange(days + 1.0), np.concatenate([[0.0], np.cumsum(x)])) for name, x in zip("AB", moves, strict=False)}


def test_measures_are_those_of_a_loop():
    series, values = prices(1), {"A": 2.0, "B": -0.5}
    for horizon in (1, 10):
        pnl = sum(v * np.expm1(series[a].value[horizon:] - series[a].value[:-horizon]) for a, v in values.items())
        for measure in ("expected_shortfall", "value_at_risk", "volatility"):
            found = find_stressed(series, values, WINDOW, measure, 0.95, horizon)
            expected = []
            for i in range(len(pnl) - WINDOW + 1):
                worst = np.sort(-pnl[i : i + WINDOW])[::-1]
                expected.append({"expected_shortfall": worst[:5].mean(), "value_at_risk": worst[5], "volatility": np.sqrt(np.mean(worst**2))}[measure])
            np.testing.assert_allclose(found.measure, expected, rtol=1e-12)
            assert found.stressed.measure == pytest.approx(max(expected)) and found.today.measure == pytest.approx(expected[-1])
            assert found.runner_up is not None and (found.runner_up.last <= found.stressed.first or found.runner_up.first >= found.stressed.last)
            assert found.stressed.last - found.stressed.first == WINDOW + horizon - 1


def covers(seed: int, stretch: float = 1.0) -> bool:
    """Does the interval of the window found hold the volatility of the planted days? Its losses are the planted ones where it is found whole."""
    found = find_stressed(prices(seed), {"A": 0.5, "B": 0.5}, WINDOW, "volatility").stressed
    truth = WILD * np.sqrt(0.64 + 0.18)
    return abs(found.measure - truth) <= 1.96 * stretch * found.error


def test_the_planted_window_is_found():
    off = [abs(find_stressed(prices(s), {"A": 1.0, "B": 1.0}, WINDOW, "volatility").stressed.first - AT) for s in range(8)]
    assert np.median(off) <= 3 and max(off) <= 25
    off = [abs(find_stressed(prices(s), {"A": 1.0, "B": 1.0}, WINDOW, "expected_shortfall", 0.95).stressed.first - AT) for s in range(8)]
    assert np.median(off) <= 20 and max(off) < WINDOW
    level = 0.95
    measured = np.mean([find_stressed(prices(s), {"A": 1.0}, WINDOW, "expected_shortfall", level).stressed.measure for s in range(8)])
    assert measured == pytest.approx(WILD * norm.pdf(norm.ppf(level)) / (1.0 - level), rel=0.1)


def test_ties_go_to_the_wilder_window():
    """One crash inside many windows: of those that hold it the one with the most other losses."""
    x = np.zeros(300)
    x[150], x[160:170] = -0.5, -0.02
    found = find_stressed({"A": Series(np.arange(301.0), np.concatenate([[0.0], np.cumsum(x)]))}, {"A": 1.0}, 40, "expected_shortfall", 0.975)
    assert found.stressed.first <= 150 and found.stressed.last >= 170


def test_gaps_bounds_and_refusals():
    series = prices(2, 1)
    cut = np.concatenate([np.arange(450), np.arange(460, 901)])
    gap = {"A": Series(series["A"].time[cut], series["A"].value[cut])}
    found = find_stressed(gap, {"A": 1.0}, WINDOW, "volatility")
    assert np.any(np.isnan(found.measure)) and not (found.stressed.first < 450 and found.stressed.last > 460)
    late = {"A": Series(np.arange(301.0), series["A"].value[200:501])}
    assert find_stressed(late, {"A": 1.0}, WINDOW, "volatility").bound == "upper"
    for code, arguments in (("UPM-CA-235", {"measure": "range"}), ("UPM-CA-235", {"level": 99.0}), ("UPM-CA-235", {"window": 5}), ("UPM-CA-235", {"values": {"C": 1.0}}), ("UPM-CA-235", {"values": {"A": 0.0}}),
                            ("UPM-CA-236", {"window": 2000}), ("UPM-CA-236", {"window": 50, "level": 0.99})):
        with pytest.raises(CalibrationError, match=code):
            find_stressed(series, **({"values": {"A": 1.0}, "window": WINDOW} | arguments))


def test_cover_of_a_few_seeds():
    share = float(np.mean([covers(s) for s in range(30)]))
    assert share >= 0.8 and float(np.mean([covers(s, 0.4) for s in range(30)])) < 0.8, share


@pytest.mark.slow
def test_intervals_of_five_hundred_seeds():
    share = float(np.mean([covers(10_000 + s) for s in range(500)]))
    assert 0.91 <= share <= 0.98, share
