"""GARCH(1,1) and GJR-GARCH(1,1) by maximum likelihood; the recursion is `model/recursion.py`.

Verified by `tests/known_answers/test_garch.py`: the benchmark estimates of 1,974 mark-pound returns (Fiorentini, Calzolari, Panattoni,
1996), log-likelihoods at given coefficients, coefficients of simulated series.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import CalibrationError
from upm_gpu.model.recursion import Garch, Recursion, variances

MIN_RETURNS = 250
"""a year of days: below it alpha and beta are not told apart"""
MOST_PERSISTENT = 0.9999


def log_likelihood(returns: NDArray[np.float64], model: Garch) -> float:
    """Gaussian."""
    h = variances(returns, model)[:-1]
    e = returns - model.mu
    return float(-0.5 * np.sum(np.log(2.0 * np.pi) + np.log(h) + e * e / h))


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
