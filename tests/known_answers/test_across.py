"""Perfect and zero correlation across underlyings: matrices by hand, each underlying's own law kept, the same random numbers, refusals by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_book import GAUSSIAN, STUDENT

from upm_gpu.errors import CalibrationError
from upm_gpu.model.across import across, across_correlation
from upm_gpu.model.gbm import reference_states
from upm_gpu.model.regimes import Regime, correlation_of, under_regimes
from upm_gpu.scenario.sets import Explicit
from upm_gpu.scenario.spec import ScenarioSpec

FACTORS = ("log_level[A]", "log_level[B]", "volatility_shift[A]", "volatility_shift[B]", "log_basis[A]", "log_basis[B]")
C = np.array([[1.0, 0.5, -0.6, -0.1, 0.2, 0.0], [0.5, 1.0, -0.2, 0.8, 0.1, 0.3], [-0.6, -0.2, 1.0, 0.3, 0.1, 0.0],
              [-0.1, 0.8, 0.3, 1.0, 0.0, 0.1], [0.2, 0.1, 0.1, 0.0, 1.0, 0.4], [0.0, 0.3, 0.0, 0.1, 0.4, 1.0]])
DATES = np.array([1.0, 2.0])


def test_perfect_by_hand():
    """Price and price 1; price A and volatility B the correlation of B's own; volatility and volatility -0.6 x 0.8 + 0.8 x 0.6; a basis follows its own price alone."""
    made = across_correlation(C, FACTORS, "perfect")
    assert made[0, 1] == pytest.approx(1.0)
    assert made[0, 3] == pytest.approx(0.8) and made[1, 2] == pytest.approx(-0.6)
    assert made[2, 3] == pytest.approx(0.0)
    assert made[0, 5] == pytest.approx(0.3)  # basis B moves with price B, which is price A
    assert np.linalg.eigvalsh(made)[0] > -1e-12
    for own in ([0, 2, 4], [1, 3, 5]):
        np.testing.assert_array_equal(made[np.ix_(own, own)], C[np.ix_(own, own)])


def test_an_inverse_asset_falls_when_the_other_rises():
    made = across_correlation(C, FACTORS, "perfect", ["B"])
    assert made[0, 1] == pytest.approx(-1.0) and made[0, 3] == pytest.approx(-0.8)
    np.testing.assert_array_equal(made[np.ix_([1, 3, 5], [1, 3, 5])], C[np.ix_([1, 3, 5], [1, 3, 5])])


def test_zero_by_hand():
    made = across_correlation(C, FACTORS, "zero")
    block = np.array([[1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1]] * 3, bool)
    np.testing.assert_array_equal(made, np.where(block, C, 0.0))


@pytest.mark.parametrize("law", [GAUSSIAN, STUDENT], ids=["gaussian", "student_t"])
def test_the_same_numbers_move_prices_as_one(law):
    """The first underlying keeps its path to the bit, and its volatility's law; the other's price is a monotone function of it; zero keeps the first as well."""
    drawn = law.scenarios(DATES, ScenarioSpec(count=20_000, seed=3))
    plain, one, none = (reference_states(s, 0, 20_000)[0][-1] for s in (drawn, across(drawn, "perfect"), across(drawn, "zero")))
    np.testing.assert_array_equal(one[0], plain[0])
    np.testing.assert_array_equal(none[0], plain[0])
    if law is GAUSSIAN:
        assert np.corrcoef(one[0], one[1])[0, 1] == pytest.approx(1.0, abs=1e-12)
    assert np.corrcoef(one[0], one[1])[0, 1] > 0.99  # marginals of other degrees of freedom bend it a little
    assert np.corrcoef(one[1], one[3])[0, 1] == pytest.approx(np.corrcoef(plain[1], plain[3])[0, 1], abs=0.03)
    assert abs(np.corrcoef(none[0], none[1])[0, 1]) < 0.03 < abs(np.corrcoef(plain[0], plain[1])[0, 1])
    for k in range(4):
        assert np.std(one[k]) == pytest.approx(np.std(plain[k]), rel=0.05) and np.std(none[k]) == pytest.approx(np.std(plain[k]), rel=0.05)


@pytest.mark.parametrize(("sampler", "reduction"), [("sobol", "none"), ("philox", "antithetic"), ("philox", "moment_matching")])
def test_every_sampler_takes_it(sampler, reduction):
    from upm_gpu.model.registry import reference_states as twin

    drawn = GAUSSIAN.scenarios(DATES, ScenarioSpec(count=8192, seed=3, sampler=sampler, variance_reduction=reduction))
    one, none = (twin(across(drawn, which), 0, 8192)[0][-1] for which in ("perfect", "zero"))
    assert np.corrcoef(one[0], one[1])[0, 1] == pytest.approx(1.0, abs=1e-9)
    assert abs(np.corrcoef(none[0], none[1])[0, 1]) < 0.05


def test_regimes_give_way():
    drawn = GAUSSIAN.scenarios(DATES, ScenarioSpec(count=4096, seed=3))
    crisis, _ = under_regimes(drawn, (Regime("crisis", 0.3, 1.0, "one"),))
    assert across(crisis, "zero").regimes is None
    np.testing.assert_array_equal(correlation_of(across(crisis, "zero")), correlation_of(across(drawn, "zero")))


def test_garch_with_common_factors_takes_it():
    from upm_gpu.model.garch import Dynamics, GarchParameters
    from upm_gpu.model.garch_twin import garch_states
    from upm_gpu.model.innovations import Innovation
    from upm_gpu.model.recursion import Garch

    variance = GAUSSIAN.daily_volatility**2
    dynamics = Dynamics(("garch",) * 4, tuple(Garch(float(v), 0.0, 0.0) for v in variance), variance, np.full(4, 1.5))
    made = GarchParameters(GAUSSIAN.state_names, dynamics, (Innovation(),) * 4, None, np.array([[0.9], [0.8], [-0.3], [-0.3]]), None, ())
    drawn = made.scenarios(DATES, ScenarioSpec(count=8192, seed=3, model="garch"))
    one, none = (garch_states(across(drawn, which), 0, 8192)[0][-1] for which in ("perfect", "zero"))
    assert np.corrcoef(one[0], one[1])[0, 1] == pytest.approx(1.0, abs=1e-9)
    assert np.corrcoef(one[0], one[2])[0, 1] == pytest.approx(-0.27, abs=0.04)
    assert abs(np.corrcoef(none[0], none[1])[0, 1]) < 0.05


def test_states_that_are_given_have_no_correlation():
    with pytest.raises(CalibrationError, match=r"UPM-CA-139.*perfect correlation.*Use gbm"):
        across(Explicit(("log_level[A]",), DATES, np.zeros((2, 1, 3))), "perfect")
    drawn = replace(GAUSSIAN, correlation=np.eye(4)).scenarios(DATES, ScenarioSpec(count=4096, seed=3))
    np.testing.assert_array_equal(correlation_of(across(drawn, "zero")), np.eye(4))
