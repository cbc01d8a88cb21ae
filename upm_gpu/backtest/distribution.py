"""Is the whole forecast law right? Probability integral transforms: uniform and independent where it is.

u_t is the forecast probability of a P&L at or below the one that came. Uniformity by Kolmogorov's distance; Berkowitz's likelihood ratio looks at the normal
scores z_t = Phi^-1(u_t): an autoregression z_t - mu = rho (z_(t-1) - mu) + e against mu = 0, rho = 0, variance 1 (chi-square, 3 degrees).
J. Berkowitz, "Testing density forecasts, with applications to risk management", Journal of Business and Economic Statistics 19 (2001); F. Diebold, T. Gunther, A. Tay,
International Economic Review 39 (1998). Verified by `tests/known_answers/test_backtests.py` against SciPy and an optimiser.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from upm_gpu.backtest.coverage import LikelihoodRatio
from upm_gpu.errors import InputError


def _probabilities(values: ArrayLike, least: int) -> np.ndarray:
    u = np.asarray(values, np.float64)
    if u.ndim != 1 or len(u) < least or not np.all((u >= 0.0) & (u <= 1.0)):
        raise InputError("UPM-BT-007", f"probability transforms must be one sequence of at least {least} numbers from 0 to 1.")
    return u


def pit_uniformity(probabilities: ArrayLike) -> LikelihoodRatio:
    """Kolmogorov's distance from the uniform law and its p-value (exact, by SciPy)."""
    from scipy import stats

    found = stats.kstest(_probabilities(probabilities, 5), "uniform")
    return LikelihoodRatio(float(found.statistic), float(found.pvalue))


def berkowitz(probabilities: ArrayLike) -> LikelihoodRatio:
    """Likelihood ratio of a normal autoregression of the scores, conditional on the first day.

    Its maximum is least squares: closed. A probability of 0 or 1 (a law of finitely many scenarios has them) becomes half the share of one day.
    """
    from scipy.special import chdtrc, ndtri

    u = _probabilities(probabilities, 10)
    edge = 0.5 / len(u)
    z = ndtri(np.where(u == 0.0, edge, np.where(u == 1.0, 1.0 - edge, u)))
    x, y = z[:-1], z[1:]
    spread = np.mean((x - x.mean()) ** 2)
    rho = float(np.mean((x - x.mean()) * (y - y.mean())) / spread) if spread > 0.0 else 0.0
    rest = y - y.mean() - rho * (x - x.mean())
    variance = float(np.mean(rest * rest))
    free = -0.5 * len(y) * (np.log(variance) + 1.0)
    bound = -0.5 * float(np.sum(y * y))
    statistic = max(0.0, 2.0 * (free - bound))
    return LikelihoodRatio(statistic, float(chdtrc(3, statistic)))
