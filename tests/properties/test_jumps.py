"""Adding dates, scenarios or a silent clock to a model with jumps or stochastic variance leaves every other figure's bytes alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from upm_gpu.errors import CalibrationError
from upm_gpu.model.heston import HestonParameters
from upm_gpu.model.jumps import JumpParameters, binomial_thresholds, poisson_thresholds
from upm_gpu.model.merton import MertonParameters
from upm_gpu.model.registry import reference_states
from upm_gpu.scenario.spec import ScenarioSpec

JUMPS = JumpParameters(400.0, -0.05, 0.05, np.array([1.0, 1.3]), np.array([0.0, 200.0]), np.array([0.0, 0.01]), np.array([0.0, 0.03]))
MERTON = MertonParameters(("log_level[A]", "log_level[B]"), np.array([0.03, 0.04]), np.array([[1.0, 0.5], [0.5, 1.0]]), JUMPS)
BATES = HestonParameters(("A", "B"), np.array([0.4, 0.5]), np.array([3.0, 2.0]), np.array([0.5, 0.5]), np.array([1.0, 2.0]), np.array([-0.5, 0.2]),
                         np.array([[1.0, 0.5], [0.5, 1.0]]), JUMPS, substeps=4)
DATES = np.array([0.2, 0.5, 1.0, 1.9])
MORE = np.unique(np.concatenate([DATES, np.linspace(0.03, 2.0, 40)]))


@pytest.mark.parametrize("model", [MERTON, BATES], ids=["merton", "bates"])
def test_more_dates_move_no_figure(model) -> None:
    spec = ScenarioSpec(count=300, seed=5)
    few, _ = reference_states(model.scenarios(DATES, spec), 0, 300)
    many, _ = reference_states(model.scenarios(MORE, spec), 0, 300)
    np.testing.assert_array_equal(many[np.searchsorted(MORE, DATES)], few)


@pytest.mark.parametrize("model", [MERTON, BATES], ids=["merton", "bates"])
def test_a_range_draws_what_the_whole_draws(model) -> None:
    scenarios = model.scenarios(DATES, ScenarioSpec(count=300, seed=5))
    np.testing.assert_array_equal(reference_states(scenarios, 120, 160)[0], reference_states(scenarios, 0, 300)[0][:, :, 120:160])


def test_an_underlying_more_moves_no_figure() -> None:
    def third(values: np.ndarray) -> np.ndarray:
        return np.append(values, values[1])

    more = HestonParameters(("A", "B", "C"), third(BATES.initial_variance), third(BATES.mean_reversion), third(BATES.long_variance), third(BATES.volatility_of_variance),
                            third(BATES.rho), np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.1], [0.2, 0.1, 1.0]]),
                            replace(JUMPS, systemic_loading=third(JUMPS.systemic_loading), own_intensity=third(JUMPS.own_intensity), own_mean=third(JUMPS.own_mean),
                                    own_deviation=third(JUMPS.own_deviation)), substeps=4)
    spec = ScenarioSpec(count=300, seed=5)
    np.testing.assert_array_equal(reference_states(more.scenarios(DATES, spec), 0, 300)[0][:, :4], reference_states(BATES.scenarios(DATES, spec), 0, 300)[0])


def test_thresholds_are_distribution_functions() -> None:
    table = poisson_thresholds(np.array([0.001, 0.7, 15.0]))
    assert np.all(np.diff(table, axis=1) >= 0.0) and table[2, -1] < 2.0 and table[0, -1] == 2.0
    assert table[1, 0] == pytest.approx(np.exp(-0.7), rel=1e-15)
    rows = binomial_thresholds(0.3, 5)
    assert np.all(rows[0] == 2.0) and rows[1, 0] == pytest.approx(0.7, rel=1e-15) and rows[5, 4] == pytest.approx(1.0 - 0.3**5, rel=1e-15)
    with pytest.raises(CalibrationError, match="UPM-CA-076"):
        poisson_thresholds(np.array([40.0]))
