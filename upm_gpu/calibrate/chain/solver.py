"""Levenberg-Marquardt inside a box for many small least-squares problems at once.

A problem has P unknowns z in [lower, upper] and M residuals. Each step solves (J'J + mu D) step = -J'r over the unknowns that are free: one that sits on a bound with the gradient pointing out is held there (an
active set that is made anew in every step), and a step that would leave the box is cut off at it, unknown by unknown. D is the largest diagonal of J'J seen (More 1978: invariant to the unknowns' units); mu follows
Nielsen (1999, "Damping parameter in Marquardt's method"): it falls by up to three after a good step and rises by 2, 4, 8, ... after bad ones. A step is taken only if the sum of squares falls.

All problems step together, those that have ended leave the batch: one call of the model serves hundreds of chains. Verified: tests/known_answers/test_chain_solver_box.py (against SciPy's bounded least squares).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FIRST_DAMPING = 1e-3
MOST_DAMPING = 1e16
"""a step is then rounding"""
ENDED = 1e-6
"""share of the sum of squares that an undamped step may still promise at an optimum: a thousandth of a standard error for a hundred residuals"""
Evaluate = Callable[[NDArray[np.int64], NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""problems (B,) and their unknowns (B, P) to residuals (B, M) and Jacobians (B, M, P)"""


@dataclass(frozen=True)
class Solution:
    """B problems."""

    z: NDArray[np.float64]
    """(B, P)"""
    cost: NDArray[np.float64]
    """(B,) half the sum of squares"""
    converged: NDArray[np.bool_]
    iterations: NDArray[np.int64]


def solve(evaluate: Evaluate, start: NDArray[np.float64], lower: NDArray[np.float64], upper: NDArray[np.float64], most: int = 100, tolerance: float = 1e-10,
          least: NDArray[np.float64] | float = 0.0) -> Solution:
    """`start` (B, P), bounds (P,) or (B, P); equal bounds hold an unknown. A problem ends where an undamped step over its free unknowns promises less than `tolerance` of the sum of squares, or no step lowers
    the sum any more, or half the sum is below `least` (B,), which is rounding; it has converged where that promise is below `ENDED` or the sum is rounding. One whose residuals are not finite at the start has not."""
    z = np.clip(np.asarray(start, np.float64), lower, upper)
    size = len(z)
    lower, upper = np.broadcast_to(lower, z.shape), np.broadcast_to(upper, z.shape)
    cost, iterations, ended = np.full(size, np.inf), np.zeros(size, np.int64), np.zeros(size, bool)
    alive = np.arange(size)
    residual, jacobian = evaluate(alive, z)
    now, damping, growth = _cost(residual), np.full(size, FIRST_DAMPING), np.full(size, 2.0)
    gradient, square = _normal(residual, jacobian)
    scale = np.maximum(np.diagonal(square, axis1=1, axis2=2), 1e-300)
    rounding: NDArray[np.float64] = np.broadcast_to(np.maximum(np.asarray(least, np.float64), 1e-300), (size,))
    x = z.copy()
    for _ in range(most):
        held = ((x <= lower) & (gradient > 0.0)) | ((x >= upper) & (gradient < 0.0))
        hoped = _promise(square, gradient, scale, held)
        done = (hoped <= tolerance * now) | (now <= rounding)
        out = done | (damping > MOST_DAMPING) | ~np.isfinite(now)
        if np.any(out):
            z[alive[out]], cost[alive[out]] = x[out], now[out]
            ended[alive[out]] = (done | (hoped <= ENDED * now))[out] & np.isfinite(now[out])
            stay = ~out
            alive, held, rounding, lower, upper = alive[stay], held[stay], rounding[stay], lower[stay], upper[stay]
            x, gradient, square, now, scale, damping, growth = (v[stay] for v in (x, gradient, square, now, scale, damping, growth))
        if not len(alive):
            return Solution(z, cost, ended, iterations)
        trial = np.clip(x + _step(square, gradient, damping[:, None] * scale, held), lower, upper)
        moved = trial - x
        promised = -np.einsum("bp,bp->b", gradient, moved) - 0.5 * np.einsum("bp,bpq,bq->b", moved, square, moved)
        residual, jacobian = evaluate(alive, trial)
        then = _cost(residual)
        taken = np.isfinite(then) & (then < now)
        with np.errstate(invalid="ignore", divide="ignore"):
            gain = np.nan_to_num((now - then) / promised, nan=0.0, posinf=0.0, neginf=0.0)
        g, a = _normal(residual, jacobian)
        x = np.where(taken[:, None], trial, x)
        gradient, square = np.where(taken[:, None], g, gradient), np.where(taken[:, None, None], a, square)
        now = np.where(taken, then, now)
        scale = np.maximum(scale, np.diagonal(square, axis1=1, axis2=2))
        damping = np.where(taken, damping * np.maximum(1.0 / 3.0, 1.0 - (2.0 * np.clip(gain, 0.0, 1.0) - 1.0) ** 3), damping * growth)
        growth = np.where(taken, 2.0, 2.0 * growth)
        iterations[alive] += 1
    z[alive], cost[alive] = x, now
    held = ((x <= lower) & (gradient > 0.0)) | ((x >= upper) & (gradient < 0.0))
    ended[alive] = _promise(square, gradient, scale, held) <= ENDED * now
    return Solution(z, cost, ended, iterations)


def _cost(residual: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * np.einsum("bm,bm->b", residual, residual))


def _normal(residual: NDArray[np.float64], jacobian: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gradients (B, P) and J'J (B, P, P)."""
    turned = jacobian.transpose(0, 2, 1)
    return np.matmul(turned, residual[..., None])[..., 0], np.matmul(turned, jacobian)


def _promise(square: NDArray[np.float64], gradient: NDArray[np.float64], scale: NDArray[np.float64], held: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(B,) what the undamped step over the free unknowns would take off the sum."""
    return np.asarray(-0.5 * np.einsum("bp,bp->b", np.where(held, 0.0, gradient), _step(square, gradient, 1e-12 * scale, held)))


def _step(square: NDArray[np.float64], gradient: NDArray[np.float64], damping: NDArray[np.float64], held: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The damped step over the unknowns that are not held, in units of the damped diagonal so that it is solved well."""
    size = square.shape[-1]
    free = ~held
    matrix = square * (free[:, :, None] & free[:, None, :])
    at = np.arange(size)
    matrix[:, at, at] += np.where(held, 1.0, damping)
    unit = 1.0 / np.sqrt(matrix[:, at, at])
    scaled = matrix * unit[:, :, None] * unit[:, None, :]
    scaled[~np.all(np.isfinite(scaled), axis=(1, 2))] = np.eye(size)
    right = np.where(held | ~np.isfinite(gradient), 0.0, -gradient) * unit
    scaled[:, at, at] += 1e-15
    return np.asarray(np.linalg.solve(scaled, right[..., None])[..., 0] * unit)
