"""Chains whose truth is known: prices of the engine's own formulas, without or with noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend import cpu
from upm_gpu.calibrate.chain.moments import chain_model
from upm_gpu.calibrate.chain.quotes import Chain, make_chain

TRUTH: dict[str, tuple[float, ...]] = {
    "heston": (0.3, 4.0, 0.4, 1.8, -0.45), "merton": (0.45, 3.0, -0.08, 0.12), "bates": (0.3, 4.0, 0.35, 1.5, -0.4, 2.0, -0.1, 0.12)}
YEARS = (0.03, 0.08, 0.2, 0.5, 1.1)
DEVIATIONS = np.linspace(-2.5, 2.0, 10)


def model_volatility(name: str, parameters: Any, k: NDArray[np.float64], years: NDArray[np.float64]) -> NDArray[np.float64]:
    """Black volatilities of the engine's own prices, k = ln(F / K)."""
    columns = {"forward": np.ones(len(k)), "strike": np.exp(-k), "time_to_expiry": years, "sign": np.where(k <= 0.0, 1.0, -1.0)}
    columns |= {n: np.full(len(k), float(v)) for n, v in zip(chain_model(name).parameters, parameters, strict=True)}
    return np.asarray(cpu.values("merton_price" if name == "merton" else "heston_price", columns)["implied_volatility"])


def chain_of(name: str, parameters: Any, noise: float = 0.0, seed: int = 0, years: tuple[float, ...] = YEARS, deviations: NDArray[np.float64] = DEVIATIONS) -> Chain:
    """A chain of the law, with normal errors of `noise` volatility."""
    t = np.repeat(np.array(years), len(deviations))
    level = model_volatility(name, parameters, np.zeros(len(years)), np.array(years))
    x = np.tile(deviations, len(years)) * np.repeat(level * np.sqrt(np.array(years)), len(deviations))
    sigma = model_volatility(name, parameters, -x, t) + noise * np.random.default_rng(seed).standard_normal(len(t))
    return make_chain("X", None, [f"{y:g}" for y in t], t, np.full(len(t), 100.0), 100.0 * np.exp(x), sigma, np.full(len(t), np.nan), reach=20.0, least_days=0.0)
