"""The variance recursions GARCH(1,1), GJR-GARCH(1,1) and EWMA: coefficients, what is refused, the path of a series, the forecast.

  h_t = omega + (alpha + gamma [e_(t-1) < 0]) e_(t-1)^2 + beta h_(t-1),   e_t = r_t - mu,

h_1 and the presample e^2 equal to the mean of the squared residuals (C. Fiorentini, G. Calzolari, L. Panattoni, "Analytic
derivatives and the computation of GARCH estimates", J. Applied Econometrics 11, 1996); gamma enters the presample by half.
T. Bollerslev, J. Econometrics 31 (1986); L. Glosten, R. Jagannathan, D. Runkle, J. Finance 48 (1993). EWMA is omega 0,
alpha 1 - lambda, beta lambda. Forecast: E h_(T+k) = L + p^(k-1) (h_(T+1) - L), p = alpha + gamma / 2 + beta, L = omega / (1 - p).

Verified by `tests/known_answers/test_garch.py`: published paths, last variances and forecasts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import CalibrationError

Recursion = Literal["ewma", "garch", "gjr"]


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
    path: NDArray[np.float64] = solve_banded((1, 0), bands, right)
    return path


def forecast(model: Garch, next_variance: float, steps: int) -> NDArray[np.float64]:
    """(steps,) expected variance of step 1 (known today), 2, ..."""
    k = np.arange(steps, dtype=np.float64)
    if model.persistence >= 1.0:
        return np.full(steps, next_variance) + model.omega * k
    return model.long_run_variance + model.persistence**k * (next_variance - model.long_run_variance)
