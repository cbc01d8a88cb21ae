"""The likelihood of a GARCH(1,1) or GJR-GARCH(1,1) of one series, under a normal, Student-t or Hansen's skewed t law.

  log L = sum_t log f(z_t) - 1/2 log h_t,   z_t = (r_t - mu) / sqrt(h_t),   h_t of `model/recursion.py`,

f of mean 0 and variance 1; a Gaussian f is quasi-maximum likelihood whatever the law. Verified by `tests/known_answers/test_garch_estimate.py`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.model.innovations import hansen
from upm_gpu.model.recursion import Garch, variances

Kind = Literal["garch", "gjr"]
Mean = Literal["zero", "constant"]
Distribution = Literal["normal", "student_t", "skewed_t"]
KINDS: tuple[str, ...] = ("garch", "gjr")
MEANS: tuple[str, ...] = ("zero", "constant")
DISTRIBUTIONS: tuple[str, ...] = ("normal", "student_t", "skewed_t")
ERRORS: tuple[str, ...] = ("robust", "hessian")
KEYS = ("mu", "omega", "alpha", "beta", "gamma", "nu", "skewness")
"""in the order of the parameter file"""
LEAST_DEGREES, MOST_DEGREES = 2.05, 500.0
"""at 2 there is no variance to scale to; beyond 500 a t law is a normal one to four digits of every quantile in use"""


def log_density(z: NDArray[np.float64], distribution: Distribution, nu: float, skewness: float) -> NDArray[np.float64]:
    """Logarithm of the density of a law of mean 0 and variance 1 at z."""
    from scipy.special import gammaln

    if distribution == "normal":
        return -0.5 * (np.log(2.0 * np.pi) + z * z)
    if distribution == "student_t" or skewness == 0.0:
        constant = float(gammaln(0.5 * (nu + 1.0)) - gammaln(0.5 * nu) - 0.5 * np.log(np.pi * (nu - 2.0)))
        return constant - 0.5 * (nu + 1.0) * np.log1p(z * z / (nu - 2.0))
    a, b, c = hansen(nu, skewness)
    s = (b * z + a) / np.where(z < -a / b, 1.0 - skewness, 1.0 + skewness)
    return np.log(b * c) - 0.5 * (nu + 1.0) * np.log1p(s * s / (nu - 2.0))


def contributions(returns: NDArray[np.float64], model: Garch, distribution: Distribution = "normal", nu: float = float("inf"),
                  skewness: float = 0.0) -> NDArray[np.float64]:
    """(T,) log-likelihood of every return given those before it; NaN where a variance is not positive."""
    h = variances(returns, model)[:-1]
    if not np.min(h) > 0.0:
        return np.full(len(returns), np.nan)
    return log_density((returns - model.mu) / np.sqrt(h), distribution, nu, skewness) - 0.5 * np.log(h)
