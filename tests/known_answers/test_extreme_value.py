"""Generalised Pareto tails: exact laws, SciPy's fit, the reported error against the spread over samples, dependence, rows without a tail."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from upm_gpu.errors import CapacityError
from upm_gpu.risk.extreme_value import beyond_threshold, fit_excesses, law_of, moments, with_extreme_values
from upm_gpu.risk.tail import TailEstimate, finish, tail_depth
from upm_gpu.risk.tail_state import TailState


def state(loss: np.ndarray, deepest: float = 0.94) -> TailState:
    """The worst scenarios of losses (R, S)."""
    count = loss.shape[1]
    worst = np.argsort(-loss, axis=1, kind="stable")[:, :tail_depth(count, deepest)]
    sums = np.stack([-loss.sum(1), (loss * loss).sum(1)], 1)[None, None]
    return TailState(-np.take_along_axis(loss, worst, 1)[None], worst[None].astype(np.uint32), np.arange(1), sums, np.zeros(1, np.int64), 0, count)


def estimate(tail: TailState, share: float, level: float = 0.99, dependence: str = "independent") -> TailEstimate:
    return with_extreme_values(finish(tail, [level], dependence)[level], tail, share, dependence)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("xi", [-0.3, 0.0, 0.2, 0.4])
def test_the_measures_of_a_law_are_its_own(xi):
    """VaR and ES beyond the threshold against SciPy's quantile and an integral of it."""
    beta, ratio = 1.7, 5.0
    law = stats.genpareto(xi, scale=beta)
    var, es = beyond_threshold(np.array(xi), np.array(beta), ratio)
    assert var == pytest.approx(law.isf(1.0 / ratio), rel=1e-12)
    assert es == pytest.approx(law.expect(lb=float(law.isf(1.0 / ratio))) * ratio, rel=1e-8)


@pytest.mark.parametrize("xi", [-0.5, 1e-9, 0.25, 0.45])
def test_the_moments_give_the_law_back(xi):
    """Of the quantiles at the plotting positions, hence near to the law; and exactly, of its own moments."""
    p = (np.arange(20_000, 0, -1) - 0.35) / 20_000
    a0, a1 = moments(stats.genpareto(xi, scale=3.0).ppf(p))
    assert law_of(a0, a1) == pytest.approx((xi, 3.0), rel=0.02, abs=0.01)
    assert law_of(np.array(3.0 / (1.0 - xi)), np.array(1.5 / (2.0 - xi))) == pytest.approx((xi, 3.0), rel=1e-12, abs=1e-12)


def test_the_fit_is_near_the_most_likely_law():
    """SciPy's maximum likelihood on the same excesses: within three of its own standard errors, (1 + xi) / sqrt(n)."""
    loss = np.random.default_rng(5).standard_t(4, (1, 40_000))
    fit = fit_excesses(state(loss), 0.05)
    excess = np.sort(loss[0])[::-1][: fit.excesses] - fit.threshold[0, 0]
    xi, _, beta = stats.genpareto.fit(excess, floc=0.0)
    assert fit.index[0, 0] == pytest.approx(xi, abs=3.0 * (1.0 + xi) / np.sqrt(fit.excesses))
    assert fit.scale[0, 0] == pytest.approx(beta, rel=0.1)


def exact(law: str) -> float:
    """Expected shortfall at 99 %."""
    if law == "t4":
        q = stats.t.ppf(0.99, 4)
        return float(stats.t.pdf(q, 4) * (4.0 + q * q) / 3.0 / 0.01)
    return float(np.log(100.0) + 1.0)


@pytest.mark.parametrize(("law", "share"), [("t4", 0.05), ("exponential", 0.05), ("exponential", 0.025)])
def test_the_reported_error_is_the_spread_over_samples(law, share):
    """300 samples of 10,000: mean within four standard errors and half a standard error of bias, spread within 15 % (its own error is 4 %)."""
    rng = np.random.default_rng(11)
    draw = (lambda: rng.standard_t(4, (300, 10_000))) if law == "t4" else (lambda: rng.exponential(size=(300, 10_000)))
    e = estimate(state(draw()), share)
    es, error = e.expected_shortfall[0], e.expected_shortfall_standard_error[0]
    assert np.mean(es) == pytest.approx(exact(law), abs=4.0 * np.mean(error) / np.sqrt(300.0) + 0.05 * np.mean(error))
    assert np.std(es) / np.mean(error) == pytest.approx(1.0, abs=0.15)
    assert np.std(e.value_at_risk[0]) / np.mean(e.value_at_risk_standard_error[0]) == pytest.approx(1.0, abs=0.15)


def test_the_law_reaches_beyond_the_sample():
    """2,000 scenarios at 99.99 %: the plain figure is the worst loss, two below the truth ln(10,000) + 1 on average; the law has no such bias."""
    tail = state(np.random.default_rng(12).exponential(size=(800, 2_000)))
    plain = finish(tail, [0.9999])[0.9999].expected_shortfall[0]
    e = estimate(tail, 0.05, 0.9999)
    truth = np.log(10_000.0) + 1.0
    assert np.mean(plain) < truth - 1.9
    assert np.median(e.expected_shortfall[0]) == pytest.approx(truth, abs=0.4)


def test_pairs_are_taken_as_pairs():
    """Each loss twice: the mean of pairs knows half as much, its error is larger by the square root of two."""
    loss = np.random.default_rng(13).exponential(size=(3, 8_000))
    twice = state(np.repeat(loss, 2, axis=1))
    one, pairs = (estimate(twice, 0.05, dependence=d).expected_shortfall_standard_error for d in ("independent", "pairs"))
    assert pairs == pytest.approx(one * np.sqrt(2.0), rel=0.01)


def test_a_row_without_a_tail_keeps_its_plain_measures():
    """No P&L at all, a loss that ends in an atom, and beside them a row that is fitted."""
    rng = np.random.default_rng(14)
    loss = np.stack([np.zeros(5_000), np.where(rng.random(5_000) < 0.2, 7.0, -1.0), rng.exponential(size=5_000)])
    tail = state(loss)
    plain = finish(tail, [0.99])[0.99]
    found, fit = with_extreme_values(plain, tail, 0.05)
    assert fit.fitted[0].tolist() == [False, False, True]
    assert np.array_equal(found.expected_shortfall[0, :2], [0.0, 7.0])
    assert found.expected_shortfall[0, 2] != plain.expected_shortfall[0, 2]


def test_too_few_excesses_or_too_shallow_a_state():
    tail = state(np.random.default_rng(15).exponential(size=(2, 900)))
    assert not with_extreme_values(finish(tail, [0.99])[0.99], tail, 0.05)[1].fitted.any()
    with pytest.raises(CapacityError, match="UPM-CP-081"):
        fit_excesses(tail, 0.2)
