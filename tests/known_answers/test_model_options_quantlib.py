"""Heston and Bates against QuantLib's analytic engines on random parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from upm_gpu.backend import cpu

ql = pytest.importorskip("QuantLib")
pytestmark = pytest.mark.skipif(not cpu.available()[0], reason=cpu.available()[2])
COUNT = 60
TODAY = ql.Date(2, 1, 2026)
DAYS = ql.Actual365Fixed()


def draws() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)
    years = np.round(np.exp(rng.uniform(np.log(7.0), np.log(3650.0), COUNT))) / 365.0
    v0, theta = rng.uniform(0.01, 0.3, COUNT), rng.uniform(0.01, 0.3, COUNT)
    return {"spot": np.full(COUNT, 100.0), "time_to_expiry": years, "strike": 100.0 * np.exp(rng.uniform(-1.5, 1.5, COUNT) * np.sqrt(theta * years)),
            "rate": rng.uniform(-0.01, 0.08, COUNT), "dividend_yield": rng.uniform(0.0, 0.05, COUNT), "sign": rng.choice([-1.0, 1.0], COUNT), "initial_variance": v0,
            "mean_reversion": rng.uniform(0.3, 5.0, COUNT), "long_run_variance": theta, "vol_of_vol": rng.uniform(0.1, 1.2, COUNT), "correlation": rng.uniform(-0.9, 0.9, COUNT),
            "jump_intensity": rng.uniform(0.1, 2.0, COUNT), "jump_mean": rng.uniform(-0.2, 0.1, COUNT), "jump_volatility": rng.uniform(0.05, 0.2, COUNT)}


def market(c: dict[str, np.ndarray], i: int) -> tuple[Any, Any, Any, Any]:
    """Rate curve, dividend curve, spot and the option of case i."""
    ql.Settings.instance().evaluationDate = TODAY
    rate, dividend = (ql.YieldTermStructureHandle(ql.FlatForward(TODAY, float(c[name][i]), DAYS)) for name in ("rate", "dividend_yield"))
    payoff = ql.PlainVanillaPayoff(ql.Option.Call if c["sign"][i] > 0.0 else ql.Option.Put, float(c["strike"][i]))
    return rate, dividend, ql.QuoteHandle(ql.SimpleQuote(float(c["spot"][i]))), ql.VanillaOption(payoff, ql.EuropeanExercise(TODAY + round(365.0 * c["time_to_expiry"][i])))


@pytest.mark.parametrize("model", ["heston", "bates"])
def test_stochastic_variance(model: str) -> None:
    c = draws()
    if model == "heston":
        c["jump_intensity"] = np.zeros(COUNT)
    got = cpu.values("heston_price", c)
    assert not got["status"].any()
    for i in range(COUNT):
        rate, dividend, spot, option = market(c, i)
        variance = [float(c[name][i]) for name in ("initial_variance", "mean_reversion", "long_run_variance", "vol_of_vol", "correlation")]
        if model == "heston":
            engine = ql.AnalyticHestonEngine(ql.HestonModel(ql.HestonProcess(rate, dividend, spot, *variance)), 1e-12, 10_000)
        else:
            jumps = [float(c[name][i]) for name in ("jump_intensity", "jump_mean", "jump_volatility")]
            engine = ql.BatesEngine(ql.BatesModel(ql.BatesProcess(rate, dividend, spot, *variance, *jumps)), 1e-12, 10_000)
        option.setPricingEngine(engine)
        assert got["price"][i] == pytest.approx(option.NPV(), abs=1e-7), i
