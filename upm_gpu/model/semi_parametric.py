"""The semi-parametric law of residuals: a Gaussian kernel in the body, generalised-Pareto tails, moved and scaled to mean 0 and variance 1.

A. McNeil, R. Frey, "Estimation of tail-related risk measures for heteroscedastic financial time series", J. Empirical Finance 7 (2000).
Fitted by `calibrate/tail_body.py`; verified by `tests/properties/test_innovations.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from upm_gpu.model.tables import evaluate_table
from upm_gpu.rng.normal import normal_quantile
from upm_gpu.scenario.sets import SmoothTable


@dataclass(frozen=True)
class Body:
    """Sorted observations, bandwidth, and the two tails of a semi-parametric law, before standardising."""

    sample: NDArray[np.float64]
    bandwidth: float
    share: float
    """probability of each tail"""
    threshold: tuple[float, float]
    scale: tuple[float, float]
    index: tuple[float, float]
    """xi of the lower and the upper tail"""
    mean: float = 0.0
    deviation: float = 1.0
    table: SmoothTable | None = None
    """the body, before standardising, over the normal score; None while it is being fitted"""


def body_quantile(body: Body, tail: NDArray[np.float64], upper: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Standardised quantiles of the law at the tail probabilities `tail`, counted from above where `upper`."""
    shape = np.broadcast_shapes(tail.shape, upper.shape)
    p, up = np.broadcast_to(tail, shape).ravel(), np.broadcast_to(upper, shape).ravel()
    out = np.empty(p.size)
    for side in (0, 1):
        far = (p < body.share) & (up == bool(side))
        xi, beta = body.index[side], body.scale[side]
        excess = beta * (-np.log(p[far] / body.share) if abs(xi) < 1e-9 else np.expm1(-xi * np.log(p[far] / body.share)) / xi)
        out[far] = body.threshold[side] + (excess if side else -excess)
    inside = p >= body.share
    target = np.where(up, 1.0 - p, p)[inside]
    x = invert(body, target) if body.table is None else evaluate_table(body.table, normal_quantile(target))
    out[inside] = np.clip(x, body.threshold[0], body.threshold[1])
    return ((out - body.mean) / body.deviation).reshape(shape)


def invert(body: Body, target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the kernel estimate reaches `target`: Newton inside a shrinking bracket."""
    low, high = np.full(target.size, body.threshold[0]), np.full(target.size, body.threshold[1])
    x = np.interp(target, np.linspace(0.0, 1.0, len(body.sample)), body.sample)
    for _ in range(20):
        x = np.where((x > low) & (x < high), x, 0.5 * (low + high))
        cdf, density = kernel(body, x)
        low, high = np.where(cdf < target, x, low), np.where(cdf < target, high, x)
        step = (cdf - target) / density
        x = x - step
        if np.max(np.abs(step), initial=0.0) < 1e-11:
            break
    return x


def kernel(body: Body, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distribution function and density of the kernel estimate."""
    cdf, density = np.empty(x.size), np.empty(x.size)
    for start in range(0, x.size, 512):  # a few MB at a time
        z = (x[start : start + 512, None] - body.sample) / body.bandwidth
        cdf[start : start + 512] = np.mean(special.ndtr(z), axis=1)
        density[start : start + 512] = np.mean(np.exp(-0.5 * z * z), axis=1) / (body.bandwidth * np.sqrt(2.0 * np.pi))
    return cdf, density
