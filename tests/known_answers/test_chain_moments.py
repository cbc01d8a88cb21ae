"""The moment functions of fits against the pricing twins' own, their derivatives against differences, and the rule's prices against the engine's."""

from __future__ import annotations

import numpy as np
import pytest
from chain_cases import TRUTH, chain_of, model_volatility

from upm_gpu.backend import cpu
from upm_gpu.calibrate.chain.moments import chain_model, log_moments
from upm_gpu.calibrate.chain.objective import inverted, make_batch
from upm_gpu.calibrate.chain.rule import chain_prices
from upm_gpu.formula.heston_price import log_heston_moment
from upm_gpu.formula.merton_price import log_jump_moment
from upm_gpu.formula.out_of_the_money import black_out_of_the_money

S = 0.5 + 1j * np.array([0.0, 0.3, 2.0, 9.0, 40.0])


@pytest.mark.parametrize("years", [0.01, 0.4, 3.0])
@pytest.mark.parametrize("name", ["heston", "merton", "bates"])
def test_moments_are_those_of_the_pricing_twins(name, years):
    p = TRUTH[name]
    jumps = log_jump_moment(S, years, *p[-3:]) if name != "heston" else 0.0
    plain = 0.5 * p[0] ** 2 * years * (S * S - S) if name == "merton" else log_heston_moment(S, years, *p[:5])
    found, _ = log_moments(name, np.array(p)[:, None], S, years)
    np.testing.assert_allclose(found, plain + jumps, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("years", [0.01, 0.4, 3.0])
@pytest.mark.parametrize("name", ["heston", "merton", "bates"])
def test_derivatives_are_those_of_differences(name, years):
    p = np.array(TRUTH[name])
    _, by = log_moments(name, p[:, None], S, years)
    for i in range(len(p)):
        h = np.zeros((len(p), 1))
        h[i] = 1e-5 * max(abs(p[i]), 0.1)
        up, down = log_moments(name, p[:, None] + h, S, years)[0], log_moments(name, p[:, None] - h, S, years)[0]
        np.testing.assert_allclose(by[i], (up - down) / (2.0 * h[i, 0]), rtol=2e-6, atol=2e-8 * float(np.max(np.abs(by[i]))))
    assert log_moments(name, p[:, None], S, years, slopes=False)[1] == []


@pytest.mark.parametrize("name", ["heston", "merton", "bates"])
def test_prices_of_the_rule_are_the_engines(name):
    chain = chain_of(name, TRUTH[name])
    batch = make_batch([chain])
    price, slopes = chain_prices(batch.rule(160), name, np.array(TRUTH[name])[None, None])
    k = chain.log_moneyness
    columns = {"forward": np.ones(len(k)), "strike": np.exp(-k), "time_to_expiry": chain.years[chain.expiry], "sign": np.where(k <= 0.0, 1.0, -1.0)}
    columns |= {n: np.full(len(k), v) for n, v in zip(chain_model(name).parameters, TRUTH[name], strict=True)}
    engine = cpu.values("merton_price" if name == "merton" else "heston_price", columns)["price"]
    order = np.nonzero(batch.present[0])
    assert float(np.max(np.abs(price[0, 0][order] - engine))) < 1e-11
    assert slopes is not None
    for i, n in enumerate(chain_model(name).parameters):
        h = 1e-4 * max(abs(TRUTH[name][i]), 0.1)
        sides = [cpu.values("merton_price" if name == "merton" else "heston_price", columns | {n: np.full(len(k), TRUTH[name][i] + d)})["price"] for d in (h, -h)]
        np.testing.assert_allclose(slopes[0, 0][order][:, i], (sides[0] - sides[1]) / (2.0 * h), rtol=1e-5, atol=1e-8)


def test_fine_rules_agree_where_moments_fall_slowly():
    """A day to expiry, vol of vol forty times the volatility's root: the tail of the moment function is the law's, not Black's."""
    truth = (0.25, 20.0, 0.3, 12.0, -0.3)
    chain = chain_of("heston", truth, years=(1.5 / 365.0, 0.02), deviations=np.linspace(-4.0, 4.0, 9))
    batch = make_batch([chain])
    prices = [chain_prices(batch.rule(points), "heston", np.array(truth)[None, None], slopes=False)[0][0, 0][np.nonzero(batch.present[0])] for points in (160, 320)]
    assert float(np.max(np.abs(prices[1] - chain.price) / chain.deviation[chain.expiry])) < 1e-8
    assert float(np.max(np.abs(prices[0] - prices[1]) / chain.deviation[chain.expiry])) < 1e-6


def test_volatilities_are_inverted():
    m, s = np.meshgrid(np.linspace(0.0, 2.0, 9), np.array([0.02, 0.1, 0.6, 2.0]))
    value = black_out_of_the_money(m, s)
    seen = value > 1e-250
    found = inverted(m[seen], value[seen], np.full(int(seen.sum()), 0.3))
    np.testing.assert_allclose(found, s[seen], rtol=1e-9)
    assert np.all(np.isfinite(model_volatility("heston", TRUTH["heston"], np.array([0.1]), np.array([0.5]))))
