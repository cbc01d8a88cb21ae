"""GARCH(1,1) and GJR-GARCH(1,1): recursion, log-likelihood, maximum likelihood, forecast.

  h_t = omega + (alpha + gamma [e_(t-1) < 0]) e_(t-1)^2 + beta h_(t-1),   e_t = r_t - mu,

h_1 and the presample e^2 equal to the mean of the squared residuals (C. Fiorentini, G. Calzolari, L. Panattoni, "Analytic
derivatives and the computation of GARCH estimates", J. Applied Econometrics 11, 1996); gamma enters the presample by half.
T. Bollerslev, J. Econometrics 31 (1986); L. Glosten, R. Jagannathan, D. Runkle, J. Finance 48 (1993). EWMA is omega 0,
alpha 1 - lambda, beta lambda. Forecast: E h_(T+k) = L + p^(k-1) (h_(T+1) - L), p = alpha + gamma / 2 + beta, L = omega / (1 - p).

Verified by `tests/known_answers/test_garch.py`: the benchmark estimates of 1,974 mark-pound returns, log-likelihoods, paths, forecasts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import CalibrationError

Recursion = Literal["ewma", "garch", "gjr"]
MIN_RETURNS = 250
"""a year of days: below it alpha and beta are not told apart"""
MOST_PERSISTENT = 0.9999


@dataclass(frozen=True)
class Garch:
    """Coefficients of one series; variances in squared units of the returns."""

    omega: float
    alpha: float
    beta: float
    gamma: float = 0.0
    mu: float = 0.0
    log_likelihood: float = float("nan")

    @property
    def persistence(self) -> float:
        """alpha + gamma / 2 + beta."""
        return self.alpha + 0.5 * self.gamma + self.beta

    @property
    def long_run_variance(self) -> float:
        """omega / (1 - persistence); infinite where there is none (EWMA)."""
        return self.omega / (1.0 - self.persistence) if self.persistence < 1.0 else float("inf")


def ewma(decay: float) -> Garch:
    """The exponentially weighted recursion, RiskMetrics (1996)."""
    return Garch(0.0, 1.0 - decay, decay)


def check(model: Garch, name: str, kind: Recursion = "garch") -> None:
    """Refuse coefficients whose variance can be negative or has no long-run level (EWMA: persistence 1 is its nature)."""
    values = (model.omega, model.alpha, model.alpha + model.gamma, model.beta)
    if not all(np.isfinite(values)) or min(values) < 0.0:
        raise CalibrationError("UPM-CA-120", f"GARCH of {name}: omega {model.omega:g}, alpha {model.alpha:g}, gamma {model.gamma:g}, beta {model.beta:g}: a variance could "
                               "become negative. omega, alpha, alpha + gamma and beta must be at least 0.")
    if kind == "ewma":
        if abs(model.persistence - 1.0) > 1e-12:
            raise CalibrationError("UPM-CA-121", f"EWMA of {name}: alpha + beta = {model.persistence:g} is not 1. Use alpha = 1 - lambda and beta = lambda.")
    elif model.persistence >= 1.0:
        raise CalibrationError("UPM-CA-121", f"GARCH of {name}: alpha + gamma / 2 + beta = {model.persistence:g}, so there is no long-run variance. "
                               "It must be below 1; use the ewma filter where volatility has no level to return to.")


def variances(returns: NDArray[np.float64], model: Garch, first: float | None = None) -> NDArray[np.float64]:
    """(T + 1,) h_1 to h_(T+1), the last one the forecast for the step after the returns; `first` gives h_1 instead of the benchmark's rule."""
    from scipy.linalg import solve_banded

    e = returns - model.mu
    square = e * e
    news = model.omega + (model.alpha + model.gamma * (e < 0.0)) * square
    start = first
    if start is None:
        mean = float(np.mean(square))
        start = model.omega + (model.alpha + 0.5 * model.gamma + model.beta) * mean
        if model.omega == 0.0:
            start = mean
    right = np.concatenate([[start], news])
    bands = np.ones((2, len(right)))
    bands[1] = -model.beta
    return solve_banded((1, 0), bands, right)


def log_likelihood(returns: NDArray[np.float64], model: Garch) -> float:
    """Gaussian."""
    h = variances(returns, model)[:-1]
    e = returns - model.mu
    return float(-0.5 * np.sum(np.log(2.0 * np.pi) + np.log(h) + e * e / h))


def forecast(model: Garch, next_variance: float, steps: int) -> NDArray[np.float64]:
    """(steps,) expected variance of step 1 (known today), 2, ..."""
    k = np.arange(steps)
    if model.persistence >= 1.0:
        return np.full(steps, next_variance) + model.omega * k
    return model.long_run_variance + model.persistence**k * (next_variance - model.long_run_variance)


def fit(returns: NDArray[np.float64], kind: Recursion, name: str = "the series", mean: Literal["zero", "constant"] = "zero",
        loss: Callable[[NDArray[np.float64]], float] | None = None) -> Garch:
    """Quasi-maximum likelihood; `loss` (of standardised residuals, the log-density's negative mean) replaces the Gaussian one.

    Raises `CalibrationError`: UPM-CA-122 below 250 returns, 123 without any change, 124 where the search does not end.
    """
    from scipy.optimize import minimize

    if kind == "ewma":
        raise CalibrationError("UPM-CA-125", "EWMA has nothing to fit: its decay is given.")
    if len(returns) < MIN_RETURNS:
        raise CalibrationError("UPM-CA-122", f"GARCH of {name}: {len(returns)} returns, at least {MIN_RETURNS} are needed. Lengthen the history or use the ewma filter.")
    variance = float(np.mean((returns - (np.mean(returns) if mean == "constant" else 0.0)) ** 2))
    if not variance > 0.0:
        raise CalibrationError("UPM-CA-123", f"GARCH of {name}: no return differs from 0. A constant series says nothing about risk; correct it or leave the factor out.")
    scaled = returns / np.sqrt(variance)

    def model(x: NDArray[np.float64]) -> Garch:
        # Logarithms and logits: every x is a stationary model.
        persistence = MOST_PERSISTENT / (1.0 + np.exp(-x[1]))
        share = 1.0 / (1.0 + np.exp(-x[2]))  # of persistence that is news
        gjr = 1.0 / (1.0 + np.exp(-x[4])) if kind == "gjr" else 0.0  # of the news that comes from falls: alpha (1 - s), gamma 2 s
        news = persistence * share
        return Garch(float(np.exp(x[0]) * (1.0 - persistence)), float(news * (1.0 - gjr)), float(persistence - news), float(2.0 * news * gjr),
                     float(x[3]) if mean == "constant" else 0.0)

    def objective(x: NDArray[np.float64]) -> float:
        m = model(x)
        h = variances(scaled, m)[:-1]
        if not np.all(np.isfinite(h)) or np.min(h) <= 1e-12:
            return 1e6
        z = (scaled - m.mu) / np.sqrt(h)
        return float(0.5 * np.mean(np.log(h)) + (0.5 * np.mean(z * z) if loss is None else loss(z)))

    best = None
    for persistence, share in ((0.95, 0.1), (0.985, 0.05), (0.8, 0.2)):
        x = np.array([0.0, np.log(persistence / (MOST_PERSISTENT - persistence)), np.log(share / (1.0 - share)), float(np.mean(scaled)), -2.0])
        free = [0, 1, 2] + ([3] if mean == "constant" else []) + ([4] if kind == "gjr" else [])

        def part(y: NDArray[np.float64], x: NDArray[np.float64] = x, free: list[int] = free) -> float:
            full = x.copy()
            full[free] = np.clip(y, -30.0, 30.0)
            return objective(full)

        found = minimize(part, x[free], method="BFGS", options={"gtol": 1e-8, "maxiter": 300})
        if best is None or found.fun < best[0]:
            full = x.copy()
            full[free] = np.clip(found.x, -30.0, 30.0)
            best = (float(found.fun), full)
    assert best is not None
    if not np.isfinite(best[0]) or best[0] >= 1e5:
        raise CalibrationError("UPM-CA-124", f"GARCH of {name}: the likelihood has no maximum. Look for errors in the series, or use the ewma filter.")
    m = model(best[1])
    m = replace(m, omega=m.omega * variance, mu=m.mu * float(np.sqrt(variance)))
    return replace(m, log_likelihood=log_likelihood(returns, m))
