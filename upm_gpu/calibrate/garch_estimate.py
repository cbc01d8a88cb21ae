"""GARCH(1,1) and GJR-GARCH(1,1) of one series by maximum likelihood of all parameters together, with standard errors.

r_t = mu + e_t, e_t = sqrt(h_t) z_t, h_t of `model/recursion.py` (benchmark start: h_1 and the presample e^2 the mean of the squared
residuals), z_t of mean 0 and variance 1: normal, Student t (nu), or Hansen's skewed t (nu, skewness). All laws in one likelihood,

  log L = sum_t log f(z_t) - 1/2 log h_t,   Gaussian f: quasi-maximum likelihood whatever the law.

The search runs over logarithms and logits in which every point is a stationary model: alpha = news (1 - s), alpha + gamma = news (1 + s),
|s| < 1, so that gamma may have either sign and no variance is negative. Newton steps in the parameters themselves end it; the remaining
gain in log L that they promise, g' (-H)^-1 g / 2, is the measure of convergence, without a scale.

Standard errors, both from central differences of log f: `hessian` (-H)^-1, and `robust` (-H)^-1 (sum s_t s_t') (-H)^-1 of T. Bollerslev, J. Wooldridge,
Econometric Reviews 11 (1992), consistent where the law is not the one assumed. A parameter at a bound has none and is held while the others are measured.

Verified by `tests/known_answers/test_garch_estimate.py`: the mark-pound benchmark with both published errors, log-likelihoods and fits of the library arch,
coefficients of simulated series.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.garch_fit import MIN_RETURNS
from upm_gpu.calibrate.garch_likelihood import (
    DISTRIBUTIONS,
    KEYS,
    KINDS,
    LEAST_DEGREES,
    MEANS,
    MOST_DEGREES,
    Distribution,
    Kind,
    Mean,
)
from upm_gpu.calibrate.garch_search import CONVERGED, MOST_PERSISTENT, MOST_SKEWED, Search, newton, standard_errors
from upm_gpu.errors import CalibrationError
from upm_gpu.model.recursion import Garch, variances


@dataclass(frozen=True)
class Estimate:
    """What the likelihood of one series says, in the unit of its returns."""

    kind: Kind
    mean: Mean
    distribution: Distribution
    model: Garch
    nu: float
    """infinite for normal"""
    skewness: float
    observations: int
    next_variance: float
    """of the step after the last return"""
    robust: dict[str, float] = field(default_factory=dict)
    """standard errors of the estimated parameters; NaN at a bound"""
    hessian: dict[str, float] = field(default_factory=dict)
    bounds: tuple[str, ...] = ()
    """what was met: alpha, alpha + gamma, beta, persistence, nu, skewness"""
    warnings: tuple[str, ...] = ()

    def value(self, key: str) -> float:
        """The parameter of a name of `KEYS`."""
        return float(getattr(self if key in ("nu", "skewness") else self.model, key))


def estimate(returns: NDArray[np.float64], kind: Kind, mean: Mean = "zero", distribution: Distribution = "normal", name: str = "the series") -> Estimate:
    """Fit a series (T,). Raises `CalibrationError` UPM-CA-122 (too few), 123 (constant), 124 (no maximum), 180 (not converged), 181 (an unknown choice)."""
    for what, value, known in (("model", kind, KINDS), ("mean", mean, MEANS), ("distribution", distribution, DISTRIBUTIONS)):
        if value not in known:
            raise CalibrationError("UPM-CA-181", f"{what} {value!r} of the GARCH fit is not known. Use one of {', '.join(known)}.")
    if len(returns) < MIN_RETURNS:
        raise CalibrationError("UPM-CA-122", f"GARCH of {name}: {len(returns)} returns, at least {MIN_RETURNS} are needed. Lengthen the history or use the ewma filter.")
    scale = float(np.sqrt(np.mean((returns - (np.mean(returns) if mean == "constant" else 0.0)) ** 2)))
    # a rounding of the mean is no change
    if not scale > 1e-12 * float(np.max(np.abs(returns), initial=0.0)):
        raise CalibrationError("UPM-CA-123", f"GARCH of {name}: no return differs from the others. A constant series says nothing about risk; correct it or leave it out.")
    scaled = returns / scale
    search = Search(scaled, kind, mean, distribution)
    start = search.best(name)
    search.met = search.bounds(start)
    theta, gain = newton(search, search.natural(start))
    bounds, free = search.met, search.free
    held = [k for k in search.keys if k not in free]
    if not gain <= CONVERGED:
        raise CalibrationError("UPM-CA-180", f"GARCH of {name}: the search ended where the log-likelihood could still rise by {gain:.3g} (at most {CONVERGED:g} is taken for converged). "
                               "Look for errors in the series, take a longer one, or a simpler model, mean or distribution.")
    warnings = [f"UPM-CA-182 GARCH of {name}: {_BOUND_TEXT[b]}" for b in bounds]
    robust, hessian = standard_errors(search, theta, free)
    if not all(np.isfinite(v) for v in robust):
        warnings.append(f"UPM-CA-183 GARCH of {name}: the likelihood is flat in some direction at its maximum, so there are no standard errors. Take a longer series or a simpler model.")
    unit = {"mu": scale, "omega": scale * scale}
    model, nu, skewness = search.model(theta)
    total = float(np.sum(search.terms(theta))) - len(returns) * float(np.log(scale))
    made = Garch(model.omega * scale * scale, model.alpha, model.beta, model.gamma, model.mu * scale, total)
    robust_of, hessian_of = ({k: float(v) * unit.get(k, 1.0) for k, v in zip(free, values, strict=True)} | dict.fromkeys(held, float("nan")) for values in (robust, hessian))
    return Estimate(kind, mean, distribution, made, nu, skewness, len(returns), float(variances(returns, made)[-1]),
                    {k: robust_of[k] for k in KEYS if k in robust_of}, {k: hessian_of[k] for k in KEYS if k in hessian_of}, bounds, tuple(warnings))


_BOUND_TEXT = {
    "alpha": "alpha is at its bound 0: rises and falls of this size leave no trace in the variance (and beta is then hardly known)",
    "alpha + gamma": "alpha + gamma is at its bound 0: falls leave no trace in the variance",
    "beta": "beta is at its bound 0",
    "persistence": f"alpha + gamma / 2 + beta is at its bound {MOST_PERSISTENT}: the likelihood rises towards 1, where there is no long-run variance. The file is usable for a few days ahead; "
                   "the ewma filter says the same with less",
    "nu": f"nu is at a bound ({LEAST_DEGREES:g} or {MOST_DEGREES:g}): take distribution normal where it is the upper one, look for wrong closes where it is the lower",
    "skewness": f"skewness is at its bound {MOST_SKEWED:g}: look for wrong closes",
}
