"""Least squares over a chain: every block of unknowns has equations of its own and equations shared with the next block alone.

The Jacobian is block-bidiagonal, so its triangular factor is banded and an orthogonal sweep from block to block finds it in time linear in the
number of blocks: the rows of block i and its links are reduced, what is left on block i + 1 is carried into its rows. Householder reflections
throughout, no normal equations: penalties and weak priors lie ten orders of magnitude apart.

The step is that of J. More, "The Levenberg-Marquardt algorithm: implementation and theory", Lecture Notes in Mathematics 630, 1978, every unknown in units
of the largest length its column ever had: the damping that brings the step's length within a tenth of the trust radius, found by his safeguarded Newton iteration. Verified:
tests/known_answers/test_chain_solver.py (the dense solver of MINPACK).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FIRST_RADIUS = 100.0
"""first trust radius over the length of the start"""
NEAR_RADIUS = 0.1
"""relative miss of the trust radius that a step may have"""
DAMPING_ROUNDS = 10
ORTHOGONAL = 1e-8
"""cosine between the residual and every column of the Jacobian at which nothing is left to gain"""
WORTH = 1e-4
"""share of the promised fall below which a step is not taken"""

Blocks = Sequence[NDArray[np.float64]]
"""of each block, (rows, 2 p + 1): derivatives by its own p unknowns, by the next block's (0 in its own equations), and the residual"""


@dataclass(frozen=True)
class _Factor:
    """R x = z with R (n, n) upper and banded: the least-squares problem |J x - r|, reduced."""

    band: NDArray[np.float64]
    """(2 p, n), LAPACK's upper band storage"""
    right: NDArray[np.float64]
    reduced: NDArray[np.float64]
    """(blocks, p, 2 p + 1) the rows of R with their right-hand sides"""
    lengths: NDArray[np.float64]

    def solve(self, z: NDArray[np.float64], transposed: bool = False) -> NDArray[np.float64]:
        """R^-1 z or R^-T z; infinite where R is singular."""
        from scipy.linalg.lapack import dtbtrs

        x, info = dtbtrs(self.band, z[:, None], uplo="U", trans="T" if transposed else "N")
        return x[:, 0] if info == 0 else np.full(len(z), np.inf)


def _reduce(blocks: Blocks) -> _Factor:
    """The sweep."""
    p = (blocks[0].shape[1] - 1) // 2
    n = len(blocks)
    reduced = np.zeros((n, p, 2 * p + 1))
    carried = np.zeros((0, 2 * p + 1))
    for i, block in enumerate(blocks):
        r = np.asarray(np.linalg.qr(np.concatenate([carried, block]), mode="r"))
        reduced[i, : min(p, len(r))] = r[:p]
        carried = np.zeros((p, 2 * p + 1))
        below = r[p : 2 * p]
        carried[: len(below), :p] = below[:, p : 2 * p]
        carried[: len(below), -1] = below[:, -1]
    reduced[-1, :, p : 2 * p] = 0.0
    band = np.zeros((2 * p, n * p))
    for row in range(p):
        for column in range(row, 2 * p):
            at = column + p * np.arange(n)
            inside = at < n * p
            band[2 * p - 1 - (column - row), at[inside]] = reduced[inside, row, column]
    lengths = np.zeros(n * p)
    for i, block in enumerate(blocks):
        square = np.einsum("rc,rc->c", block[:, : 2 * p], block[:, : 2 * p])
        lengths[p * i : p * (i + 2)] += square[: min(2 * p, n * p - p * i)]
    return _Factor(band, reduced[:, :, -1].ravel(), reduced, np.sqrt(lengths))


def _damped(factor: _Factor, scale: NDArray[np.float64], damping: float) -> _Factor:
    """The factor of the problem with sqrt(damping) D x = 0 added."""
    n, p, width = factor.reduced.shape
    ridge = np.zeros((n, p, width))
    at = np.arange(p)
    ridge[:, at, at] = np.sqrt(damping) * scale.reshape(n, p)
    return _reduce([np.concatenate(pair) for pair in zip(factor.reduced, ridge, strict=True)])


def _step(factor: _Factor, gradient: NDArray[np.float64], scale: NDArray[np.float64], radius: float, damping: float) -> tuple[NDArray[np.float64], float]:
    """(x, damping) with x least squares of |J x - r|^2 + damping |D x|^2 and |D x| at most the radius, or within a tenth of it."""
    x = factor.solve(factor.right)
    length = float(np.linalg.norm(scale * x))
    if length - radius <= NEAR_RADIUS * radius:
        return x, 0.0
    lower = 0.0
    miss = length - radius
    if np.isfinite(length):
        lower = miss / radius / float(np.sum(factor.solve(scale * scale * x / length, transposed=True) ** 2))
    size = float(np.linalg.norm(gradient / scale))
    upper = size / radius or np.finfo(float).tiny / min(radius, 0.1)
    damping = min(max(damping, lower), upper)
    if damping == 0.0:
        damping = size / length if np.isfinite(length) else 0.001 * upper
    for _ in range(DAMPING_ROUNDS):
        damping = damping or max(np.finfo(float).tiny, 0.001 * upper)
        damped = _damped(factor, scale, damping)
        x = damped.solve(damped.right)
        length, before = float(np.linalg.norm(scale * x)), miss
        miss = length - radius
        if abs(miss) <= NEAR_RADIUS * radius or (lower == 0.0 and miss <= before < 0.0):
            break
        newton = miss / radius / float(np.sum(damped.solve(scale * scale * x / length, transposed=True) ** 2))
        if miss > 0.0:
            lower = max(lower, damping)
        elif miss < 0.0:
            upper = min(upper, damping)
        used, damping = damping, max(lower, damping + newton)
    else:
        damping = used
    return x, damping


def chain_least_squares(equations: Callable[[NDArray[np.float64]], Blocks], start: NDArray[np.float64], evaluations: int, xtol: float, ftol: float) -> NDArray[np.float64]:
    """x that minimises the sum of squares of the last columns of `equations(x)`, from `start`.

    `start` (n p,) holds the unknowns block by block. Ends where the residual is orthogonal to every column, where the fall of the sum, promised and found, is below `ftol` of it, where the trust radius is below `xtol` of |x|, or after `evaluations`.
    """
    x = start
    blocks = equations(x)
    cost = _norm(blocks)
    used, damping, radius, scale = 1, 0.0, 0.0, np.ones(len(x))
    first = True
    while True:
        factor = _reduce(blocks)
        gradient = _gradient(blocks, len(x))
        live = factor.lengths > 0.0
        if cost == 0.0 or np.max(np.abs(gradient[live]) / factor.lengths[live], initial=0.0) <= ORTHOGONAL * cost:
            return x
        scale = np.maximum(scale, factor.lengths) if radius else np.where(live, factor.lengths, 1.0)
        radius = radius or FIRST_RADIUS * float(np.linalg.norm(scale * x)) or FIRST_RADIUS
        while True:
            step, damping = _step(factor, gradient, scale, radius, damping)
            length = float(np.linalg.norm(scale * step))
            if first:
                radius = min(radius, length)
            tried = x - step
            there = equations(tried)
            used += 1
            after = _norm(there)
            fall = 1.0 - (after / cost) ** 2 if 0.1 * after < cost else -1.0
            linear, ridge = (_length_under(factor, step) / cost) ** 2, damping * (length / cost) ** 2
            promised, slope = linear + 2.0 * ridge, -(linear + ridge)
            ratio = fall / promised if promised else 0.0
            if ratio <= 0.25:
                shrink = 0.5 if fall >= 0.0 else 0.5 * slope / (slope + 0.5 * fall)
                if 0.1 * after >= cost or shrink < 0.1:
                    shrink = 0.1
                radius, damping = shrink * min(radius, length / 0.1), damping / shrink
            elif damping == 0.0 or ratio >= 0.75:
                radius, damping = length / 0.5, 0.5 * damping
            taken = ratio >= WORTH
            if taken:
                x, blocks, cost, first = tried, there, after, False
            if (abs(fall) <= ftol and promised <= ftol and ratio <= 2.0) or radius <= xtol * float(np.linalg.norm(scale * x)) or used >= evaluations:
                return x
            if taken:
                break


def _norm(blocks: Blocks) -> float:
    return float(np.linalg.norm(np.concatenate([b[:, -1] for b in blocks])))


def _gradient(blocks: Blocks, n: int) -> NDArray[np.float64]:
    p = (blocks[0].shape[1] - 1) // 2
    total = np.zeros(n + p)
    for i, block in enumerate(blocks):
        total[p * i : p * (i + 2)] += block[:, -1] @ block[:, : 2 * p]
    return total[:n]


def _length_under(factor: _Factor, x: NDArray[np.float64]) -> float:
    """|J x| = |R x|."""
    n, p, _ = factor.reduced.shape
    own = x.reshape(n, p)
    following = np.concatenate([own[1:], np.zeros((1, p))])
    both = np.concatenate([own, following], axis=1)
    return float(np.linalg.norm(np.einsum("irc,ic->ir", factor.reduced[:, :, : 2 * p], both)))
