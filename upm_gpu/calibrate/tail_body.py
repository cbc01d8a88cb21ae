"""Kernel body and generalised-Pareto tails of residuals by maximum likelihood of the excesses; the law is `model/semi_parametric.py`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from upm_gpu.errors import CalibrationError
from upm_gpu.model.innovations import PANELS, Innovation, joined_table, joins_of, quantile, scores
from upm_gpu.model.semi_parametric import Body, invert, kernel
from upm_gpu.model.tables import SCORE_LIMIT
from upm_gpu.rng.normal import normal_quantile

LARGEST_TAIL_INDEX = 0.45
"""a generalised-Pareto tail of index 1/2 or more has no variance to standardise to"""


def fit_body(residuals: NDArray[np.float64], name: str, share: float = 0.1) -> tuple[Innovation, tuple[str, ...]]:
    """A semi-parametric law of residuals (T,), and warnings. The bandwidth is Silverman's rule of the robust spread."""
    from scipy.optimize import minimize

    if len(residuals) * share < 20:
        raise CalibrationError("UPM-CA-129", f"the empirical marginal of {name}: {len(residuals)} residuals leave fewer than 20 in a tail of {share:g}. "
                               "Lengthen the history, or use marginal student_t.")
    x = np.sort(residuals)
    spread = min(float(np.std(x)), float(np.subtract(*np.quantile(x, [0.75, 0.25]))) / 1.349)
    body = Body(x, 0.9 * spread * len(x) ** -0.2, share, (float(x[0]) - 9.0, float(x[-1]) + 9.0), (1.0, 1.0), (0.0, 0.0))
    grid = np.linspace(x[0], x[-1], 4001)
    cdf = kernel(body, grid)[0]
    threshold = float(np.interp(share, cdf, grid)), float(np.interp(1.0 - share, cdf, grid))
    for _ in range(4):  # Newton: the tails begin exactly where the kernel leaves their share
        c, f = kernel(body, np.array(threshold))
        threshold = float(threshold[0] - (c[0] - share) / f[0]), float(threshold[1] - (c[1] - 1.0 + share) / f[1])
    scale, index, warnings = [], [], []
    for side, excess in enumerate((threshold[0] - x[x < threshold[0]], x[x > threshold[1]] - threshold[1])):
        mean = float(np.mean(excess))

        def loss(v: NDArray[np.float64], e: NDArray[np.float64] = excess) -> float:
            beta, xi = float(np.exp(v[0])), float(LARGEST_TAIL_INDEX * np.tanh(v[1]))
            inner = 1.0 + xi * e / beta
            if np.min(inner) <= 1e-9:
                return 1e6
            return float(np.log(beta) + (np.mean(e) / beta if abs(xi) < 1e-9 else (1.0 + 1.0 / xi) * np.mean(np.log(inner))))

        found = minimize(loss, np.array([np.log(mean), 0.2]), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10, "maxiter": 2000})
        scale.append(float(np.exp(found.x[0])))
        index.append(float(LARGEST_TAIL_INDEX * np.tanh(found.x[1])))
        if index[-1] > LARGEST_TAIL_INDEX - 0.01:
            warnings.append(f"UPM-CA-130 {'upper' if side else 'lower'} tail of {name}: its index is held at {LARGEST_TAIL_INDEX}, above which there is no variance")
    raw = Body(x, body.bandwidth, share, threshold, (scale[0], scale[1]), (index[0], index[1]))
    edge = float(normal_quantile(share))
    raw = replace(raw, table=joined_table(lambda q: invert(raw, special.ndtr(q).ravel()).reshape(q.shape), edge, -edge, [], 1e-7, 64, 128))
    # Mean and variance of kernel body and tails in closed form are awkward; the normal score is integrated instead.
    q, w = scores(np.array([-SCORE_LIMIT]), np.array([SCORE_LIMIT]), joins_of(Innovation("empirical", body=raw)), PANELS)
    g = quantile(Innovation("empirical", body=raw), special.ndtr(-np.abs(q)), q > 0.0)[0]
    mean = float(np.sum(w * g))
    deviation = float(np.sqrt(np.sum(w * (g - mean) ** 2)))
    return Innovation("empirical", body=replace(raw, mean=mean, deviation=deviation)), tuple(warnings)
