"""Laws of a standardised innovation (mean 0, variance 1) as smooth tables, and their centring given today's volatility.

* gaussian, student_t (scaled to unit variance);
* skewed_t: B. Hansen, "Autoregressive conditional density estimation", International Economic Review 35 (1994), degrees of freedom
  eta > 2 and skewness -1 < lambda < 1, negative for a longer lower tail;
* empirical (semi-parametric): a Gaussian kernel in the body, generalised-Pareto tails beyond the `tail_share` quantiles
  (A. McNeil, R. Frey, J. Empirical Finance 7, 2000), moved and scaled to mean 0 and variance 1.

A law is a map from the latent variable of a copula, y, to the innovation: g = Q(F(y)). Symmetric laws are tabulated on one side
over asinh |y|; the others over sign(y) asinh |y| with cell edges where the density is not smooth. Centring of X = root clip(sigma g,
-M, M): c(sigma) = -log E[exp X] for prices, -E[X] for volatilities, a table over sigma, by Gauss-Legendre on the normal score.

Verified by `tests/properties/test_innovations.py`: quantiles against the integrated density, moments, centring against quadrature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import special

from upm_gpu.errors import CalibrationError
from upm_gpu.model.semi_parametric import Body, body_quantile
from upm_gpu.model.tables import (
    LATENT_LIMIT,
    SCORE_LIMIT,
    check_degrees_of_freedom,
    evaluate_table,
    half_log_mixing,
    interpolate,
    unit_scale,
)
from upm_gpu.rng.normal import normal_quantile, student_t_quantile
from upm_gpu.scenario.sets import SmoothTable

PANELS, NODES = 24, 12


@dataclass(frozen=True)
class Innovation:
    """A law of mean 0 and variance 1."""

    law: str = "gaussian"
    degrees_of_freedom: float = float("inf")
    skewness: float = 0.0
    body: Body | None = field(default=None, compare=False)

    @property
    def symmetric(self) -> bool:
        return self.law in ("gaussian", "student_t") or (self.law == "skewed_t" and self.skewness == 0.0)


def check_innovation(law: Innovation, name: str) -> None:
    """Refuse a law without variance, a skewness outside (-1, 1), and unknown names."""
    if law.law not in ("gaussian", "student_t", "skewed_t", "empirical"):
        raise CalibrationError("UPM-CA-126", f"marginal {law.law!r} of {name}: known are gaussian, student_t, skewed_t and empirical.")
    if law.law in ("student_t", "skewed_t"):
        check_degrees_of_freedom(law.degrees_of_freedom, f"marginal of {name}")
    if law.law == "skewed_t" and not -1.0 < law.skewness < 1.0:
        raise CalibrationError("UPM-CA-127", f"skewness {law.skewness:g} of {name}: the skewed t law needs a number between -1 and 1.")
    if law.law == "empirical" and law.body is None:
        raise CalibrationError("UPM-CA-128", f"the empirical marginal of {name} has no observations. Calibrate it from a history.")


def hansen(eta: float, skewness: float) -> tuple[float, float, float]:
    """a, b, c of the skewed t density b c (1 + ((b y + a) / (1 -+ lambda))^2 / (eta - 2))^(-(eta + 1) / 2), join at y = -a / b."""
    c = float(np.exp(special.gammaln(0.5 * (eta + 1.0)) - special.gammaln(0.5 * eta)) / np.sqrt(np.pi * (eta - 2.0)))
    a = 4.0 * skewness * c * (eta - 2.0) / (eta - 1.0)
    return a, float(np.sqrt(1.0 + 3.0 * skewness * skewness - a * a)), c


def quantile(law: Innovation, tail: NDArray[np.float64], upper: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The innovation below which (or, where `upper`, above which) the probability `tail` <= 1/2 lies; full precision in both tails."""
    if law.law == "gaussian":
        return np.where(upper, -normal_quantile(tail), normal_quantile(tail))
    if law.law == "student_t":
        low = student_t_quantile(tail, law.degrees_of_freedom) * unit_scale(law.degrees_of_freedom)
        return np.where(upper, -low, low)
    if law.law == "skewed_t":
        return _skewed_quantile(law, tail, upper)
    assert law.body is not None
    return body_quantile(law.body, tail, upper)


def _skewed_quantile(law: Innovation, tail: NDArray[np.float64], upper: NDArray[np.bool_]) -> NDArray[np.float64]:
    eta, skewness = law.degrees_of_freedom, law.skewness
    a, b, _ = hansen(eta, skewness)
    scale = unit_scale(eta)
    # left of the join the law is (1 - lambda) times a t of twice the density there, right of it (1 + lambda) times
    below = np.where(upper, 1.0 - tail, tail) < 0.5 * (1.0 - skewness)
    left = student_t_quantile(np.clip(np.where(upper, 1.0 - tail, tail) / (1.0 - skewness), 0.0, 0.5), eta)
    right = -student_t_quantile(np.clip(np.where(upper, tail, 1.0 - tail) / (1.0 + skewness), 0.0, 0.5), eta)
    return (np.where(below, (1.0 - skewness) * left, (1.0 + skewness) * right) * scale - a) / b


def score_map(law: Innovation, q: NDArray[np.float64]) -> NDArray[np.float64]:
    """The innovation at the normal score q."""
    return quantile(law, special.ndtr(-np.abs(q)), q > 0.0)


def joins_of(law: Innovation) -> list[float]:
    """Normal scores at which the law is not smooth, ascending."""
    if law.law == "skewed_t" and law.skewness != 0.0:
        return [float(normal_quantile(0.5 * (1.0 - law.skewness)))]
    if law.law == "empirical" and law.body is not None:
        return [float(normal_quantile(law.body.share)), -float(normal_quantile(law.body.share))]
    return []


def law_table(law: Innovation, copula_degrees_of_freedom: float = float("inf")) -> tuple[SmoothTable, bool] | None:
    """(table, whether odd) of the law under a Gaussian (infinite) or t copula; None where the law is the copula's own Gaussian."""
    nu = copula_degrees_of_freedom
    reach = LATENT_LIMIT * (float(np.exp(half_log_mixing(np.array([SCORE_LIMIT]), nu))[0]) if np.isfinite(nu) else 1.0)

    def tail_of(y: NDArray[np.float64]) -> NDArray[np.float64]:
        size = np.abs(y)
        return 0.5 * special.betainc(0.5 * nu, 0.5, nu / (nu + size * size)) if np.isfinite(nu) else special.ndtr(-size)

    if law.symmetric:
        from upm_gpu.model.tables import marginal_table, smooth_table

        own = law.degrees_of_freedom if law.law != "gaussian" else float("inf")
        if own == nu:
            if not np.isfinite(nu):
                return None
            scale = unit_scale(nu)
            return smooth_table(lambda w: scale * np.sinh(w), 0.0, float(np.arcsinh(reach))), True
        return marginal_table(own, nu), True
    top = float(np.arcsinh(reach))
    joins = []
    for q in joins_of(law):
        tail = special.ndtr(-abs(q))
        y = student_t_quantile(tail, nu) if np.isfinite(nu) else normal_quantile(tail)
        joins.append(float(np.copysign(np.arcsinh(abs(float(y))), q)))

    def g(w: NDArray[np.float64]) -> NDArray[np.float64]:
        y = np.sinh(w)
        tail = tail_of(y)
        return quantile(law, np.maximum(tail, 1e-300), y > 0.0)

    return joined_table(g, -top, top, joins, 1e-12 if law.law == "skewed_t" else 1e-7), False


def joined_table(function: Callable[[NDArray[np.float64]], NDArray[np.float64]], low: float, high: float, joins: list[float], tolerance: float,
                 first: int = 128, most: int = 4096) -> SmoothTable:
    """Interpolation on cells whose edges meet the joins (at most two), as many as keep the error below tolerance x max(1, |value|).

    Where `most` cells do not reach the tolerance the last table is returned: callers state the error they measured.
    """
    cells = first
    while True:
        width = (high - low) / cells
        if len(joins) == 2 and joins[1] - joins[0] > width:
            width = (joins[1] - joins[0]) / np.ceil((joins[1] - joins[0]) / width)
        start = joins[0] - np.ceil((joins[0] - low) / width) * width if joins else low
        count = int(np.ceil((high - start) / width - 1e-9))
        table = interpolate(function, start, start + count * width, count)
        between = start + (np.arange(count)[:, None] + np.array([0.03, 0.37, 0.71, 0.97])) * width
        exact = function(between)
        error = np.max(np.abs(evaluate_table(table, between) - exact) / np.maximum(1.0, np.abs(exact)))
        if error <= tolerance or 2 * cells > most:
            return table
        cells *= 2


def scores(low: NDArray[np.float64], high: NDArray[np.float64], joins: list[float], panels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights (rows, n) of E[f(score)] on [low, high], split at the joins."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    edges = [low, *(np.clip(j, low, high) for j in joins), high]
    parts = []
    for a, b in pairwise(edges):
        half = 0.5 * (b - a)[:, None, None] / panels
        q = a[:, None, None] + half * (2.0 * np.arange(panels)[None, :, None] + 1.0 + nodes)
        parts.append((q.reshape(len(low), -1), (half * weights * np.exp(-0.5 * q * q) / np.sqrt(2.0 * np.pi)).reshape(len(low), -1)))
    return np.concatenate([q for q, _ in parts], axis=1), np.concatenate([w for _, w in parts], axis=1)


def centring_table(law: Innovation, root: float, cap: float, price: bool) -> SmoothTable | None:
    """c over sigma in [0, cap] of X = root clip(sigma g, -cap, cap); None where it is zero (symmetric, not a price)."""
    if not price and law.symmetric:
        return None
    if law.law == "gaussian":
        # -root^2 sigma^2 / 2 as one cell: u = sigma - 1/2 with low 0 and width 1
        half = -0.5 * root * root
        return SmoothTable(0.0, 1.0, np.array([[0.25 * half, half, half, 0.0, 0.0, 0.0, 0.0, 0.0]]))
    joins = joins_of(law)
    law_scores = joined_table(lambda q: score_map(law, q), -SCORE_LIMIT, SCORE_LIMIT, joins, 1e-12 if law.law != "empirical" else 1e-7)

    def c(sigma: NDArray[np.float64]) -> NDArray[np.float64]:
        s = np.maximum(sigma.ravel(), 1e-300)
        # scores at which sigma g meets the cap, by bisection
        edge = []
        for sign in (-1.0, 1.0):
            low, high = np.full(s.size, -SCORE_LIMIT), np.full(s.size, SCORE_LIMIT)
            for _ in range(52):
                middle = 0.5 * (low + high)
                right = s * evaluate_table(law_scores, middle) > sign * cap
                low, high = np.where(right, low, middle), np.where(right, middle, high)
            edge.append(0.5 * (low + high))
        total = np.empty(s.size)
        for start in range(0, s.size, 256):
            part = slice(start, start + 256)
            q, w = scores(edge[0][part], edge[1][part], joins, PANELS)
            x = root * s[part, None] * evaluate_table(law_scores, q)
            far = root * cap
            if price:
                total[part] = np.sum(w * np.expm1(x), axis=1) + special.ndtr(edge[0][part]) * np.expm1(-far) + special.ndtr(-edge[1][part]) * np.expm1(far)
            else:
                total[part] = np.sum(w * x, axis=1) + far * (special.ndtr(-edge[1][part]) - special.ndtr(edge[0][part]))
        return (-np.log1p(total) if price else -total).reshape(sigma.shape)

    return joined_table(c, 0.0, cap, [], 1e-7 if law.law == "empirical" else 1e-12, 64, 128 if law.law == "empirical" else 512)


def discrete_centring_table(residuals: NDArray[np.float64], weights: NDArray[np.float64], cap: float, price: bool) -> SmoothTable:
    """The same for X = sum of weights_m clip(sigma e_m, -cap, cap), e_m independent draws of `residuals` (N,).

    `weights` are root times those of the leg's terms. The exact discrete mean has a kink wherever sigma e meets the cap, which
    polynomials cannot follow: below those volatilities the error is 1e-12, between them about 1e-6 (tested).
    """

    def c(sigma: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.zeros(sigma.size)
        flat = sigma.ravel()
        for start in range(0, flat.size, 64):
            moves = np.clip(flat[start : start + 64, None] * residuals, -cap, cap)
            for w in weights:
                out[start : start + 64] -= np.log1p(np.mean(np.expm1(w * moves), axis=1)) if price else w * np.mean(moves, axis=1)
        return out.reshape(sigma.shape)

    return joined_table(c, 0.0, cap, [], 1e-9, 64, 256 if len(weights) == 1 else 64)
