"""SSVI surfaces of many chains at once under JAX: the least squares of `market/ssvi.py`, differentiated automatically.

The same unknowns, robust loss, prior and bounds as `fit_ssvi`, whose residuals have closed derivatives by the curve and differences by the unknowns; here Levenberg-Marquardt runs over all chains in one call (`jax.vmap`), padded
with quotes of weight zero and with expiries that only the prior holds. Verified: tests/parity/test_ssvi_engines.py (`fit_ssvi`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.automatic.levenberg import solve_one
from upm_gpu.calibrate.automatic.library import jax_library
from upm_gpu.market.ssvi import EVALUATIONS, PRIOR, Phi, Ssvi, curvature, slice_variance, ssvi_start, surface_of
from upm_gpu.market.svi_fit import ROBUST_SCALE

Quotes = tuple[NDArray[np.float64], Sequence[NDArray[np.float64]], Sequence[NDArray[np.float64]], Sequence[NDArray[np.float64]]]
"""years (E,), and by expiry ln(K / F), volatilities and weights: the arguments of `fit_ssvi`"""
TOLERANCE = 1e-12
"""share of the loss that another step may still promise"""


def fit_ssvi_surfaces(chains: Sequence[Quotes], phi: Phi = "power_law") -> list[Ssvi]:
    """The surface nearest to each chain's quotes, free of arbitrage, as `fit_ssvi`. Raises `CalibrationError` UPM-CA-230 where JAX is not installed."""
    jax = jax_library()
    expiries, quotes = max(len(c[0]) for c in chains), max(len(k) for c in chains for k in c[1])
    shape = 1 if phi == "heston" else 2
    count = len(chains)
    k, volatility, share = np.zeros((count, expiries, quotes)), np.full((count, expiries, quotes), 0.5), np.zeros((count, expiries, quotes))
    years, start, last = np.ones((count, expiries)), np.zeros((count, expiries + 1 + shape)), np.zeros(count, np.int64)
    for c, (own_years, *rows) in enumerate(chains):
        begun = ssvi_start(own_years, rows[0], rows[1], phi)
        last[c], years[c, : len(own_years)] = len(own_years) - 1, own_years
        # an expiry that is none grows by a hundredth: the prior holds it there
        start[c] = np.concatenate([begun[: last[c] + 1], np.full(expiries - last[c] - 1, np.log(0.01) + begun[0]), begun[last[c] + 1 :]])
        for e, (own_k, own_volatility, weight) in enumerate(zip(*rows, strict=True)):
            k[c, e, : len(own_k)], volatility[c, e, : len(own_k)], share[c, e, : len(own_k)] = own_k, own_volatility, weight / np.sqrt(np.sum(weight * weight))
    with jax.enable_x64(True):
        found = np.asarray(_program(phi, expiries)(k, volatility, share, years, last, start))
    made = []
    for c, (own_years, *_) in enumerate(chains):
        x = np.concatenate([found[c, : len(own_years)], found[c, expiries:]])
        rho, curve, theta = surface_of(x, phi, len(own_years), len(own_years) - 1)
        made.append(Ssvi(phi, float(rho), tuple(float(v) for v in curve), theta))
    return made


@lru_cache(maxsize=16)
def _program(phi: Phi, expiries: int) -> Any:
    """The compiled fit of many chains of at most so many expiries."""
    jax = jax_library()
    xp = jax.numpy

    def one(k: Any, volatility: Any, share: Any, years: Any, last: Any, start: Any) -> Any:
        def residual(x: Any) -> Any:
            rho, shape, theta = surface_of(x, phi, expiries, last, xp)
            total = slice_variance(theta[:, None], curvature(phi, theta, shape, xp)[:, None], rho, k, xp)
            r = (xp.sqrt(total / years[:, None]) / volatility - 1.0) / ROBUST_SCALE
            # the root of the robust loss 2 (sqrt(1 + r^2) - 1)
            robust = share * r * xp.sqrt(2.0 / (xp.sqrt(1.0 + r * r) + 1.0))
            return xp.concatenate([robust.ravel(), PRIOR * (x - start)])

        edge = xp.full(start.shape, xp.inf)
        return solve_one(jax, residual, start, -edge, edge, EVALUATIONS, TOLERANCE, 0.0).z

    return jax.jit(jax.vmap(one))
