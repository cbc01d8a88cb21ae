"""Levenberg-Marquardt inside a box as one `lax.while_loop`: the rules of `chain/solver.py` for a single problem, made for many by `jax.vmap`.

Derivatives of the residuals are those of `jax.jacfwd`: unknowns are few, residuals many. Verified: tests/parity/test_chain_engines.py (against `chain/solver.py`, which SciPy's bounded least squares verify).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from upm_gpu.calibrate.chain.solver import ENDED, FIRST_DAMPING, MOST_DAMPING


class Ended(NamedTuple):
    """Of one problem."""

    z: Any
    cost: Any
    converged: Any
    iterations: Any


class _State(NamedTuple):
    x: Any
    trial: Any
    """what the next turn of the loop looks at; the start in the first"""
    promised: Any
    """what the model of the sum says the trial takes off it"""
    gradient: Any
    square: Any
    now: Any
    scale: Any
    damping: Any
    growth: Any
    turns: Any
    alive: Any
    converged: Any


def solve_one(jax: Any, residual: Callable[[Any], Any], start: Any, lower: Any, upper: Any, most: int, tolerance: float, least: Any) -> Ended:
    """As `chain/solver.solve`, of unknowns (P,); `residual` maps them to (M,). The text stands once in the loop, which looks at the start in its first turn: half the time to compile."""
    xp = jax.numpy
    slopes = jax.jacfwd(lambda z: (residual(z),) * 2, has_aux=True)

    def turn(s: _State) -> _State:
        first = s.turns == 0
        j, r = slopes(s.trial)
        then, g, a = 0.5 * xp.sum(r * r), j.T @ r, j.T @ j
        taken = first | (xp.isfinite(then) & (then < s.now))
        gain = xp.nan_to_num((s.now - then) / s.promised, nan=0.0, posinf=0.0, neginf=0.0)
        fall = xp.maximum(1.0 / 3.0, 1.0 - (2.0 * xp.clip(gain, 0.0, 1.0) - 1.0) ** 3)
        damping = xp.where(first, FIRST_DAMPING, s.damping * xp.where(taken, fall, s.growth))
        x, gradient, square, now = xp.where(taken, s.trial, s.x), xp.where(taken, g, s.gradient), xp.where(taken, a, s.square), xp.where(taken, then, s.now)
        scale = xp.maximum(s.scale, xp.diagonal(a))
        held = ((x <= lower) & (gradient > 0.0)) | ((x >= upper) & (gradient < 0.0))
        whole, damped = jax.vmap(lambda d: _step(xp, square, gradient, d, held))(xp.stack([1e-12 * scale, damping * scale]))
        # what the undamped step over the free unknowns would take off the sum
        hoped = -0.5 * xp.where(held, 0.0, gradient) @ whole
        done = (hoped <= tolerance * now) | (now <= xp.maximum(least, 1e-300))
        out = done | (damping > MOST_DAMPING) | ~xp.isfinite(now) | (s.turns >= most)
        trial = xp.clip(x + damped, lower, upper)
        moved = trial - x
        promised = -gradient @ moved - 0.5 * moved @ (square @ moved)
        return _State(x, trial, promised, gradient, square, now, scale, damping, xp.where(taken, 2.0, 2.0 * s.growth), s.turns + 1, ~out, (done | (hoped <= ENDED * now)) & xp.isfinite(now))

    z = xp.clip(start, lower, upper)
    size = z.shape[0]
    begun = _State(z, z, xp.asarray(1.0), xp.zeros(size), xp.zeros((size, size)), xp.asarray(xp.inf), xp.full(size, 1e-300), xp.asarray(FIRST_DAMPING), xp.asarray(2.0), xp.asarray(0),
                   xp.asarray(True), xp.asarray(False))
    last = jax.lax.while_loop(lambda s: s.alive, turn, begun)
    return Ended(last.x, last.now, last.converged, last.turns - 1)


def _step(xp: Any, square: Any, gradient: Any, damping: Any, held: Any) -> Any:
    """The damped step over the unknowns that are not held, in units of the damped diagonal."""
    free, one = ~held, xp.eye(square.shape[-1])
    matrix = square * (free[:, None] & free[None, :]) + one * xp.where(held, 1.0, damping)
    unit = 1.0 / xp.sqrt(xp.diagonal(matrix))
    scaled = matrix * unit[:, None] * unit[None, :]
    scaled = xp.where(xp.all(xp.isfinite(scaled)), scaled, one) + 1e-15 * one
    return xp.linalg.solve(scaled, xp.where(held | ~xp.isfinite(gradient), 0.0, -gradient) * unit) * unit
