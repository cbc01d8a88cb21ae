"""95 % intervals of fitted parameters by profiling: what Gauss and Newton's standard errors cannot say where quotes are few.

For parameter i, S_i(x) is the least sum of squares with that parameter held at x and all others free. The interval holds every x with S_i(x) <= S (1 + t^2 / (n - p)), t the quantile of Student's law with n - p degrees of
freedom (D. M. Bates, D. G. Watts, "Nonlinear Regression Analysis and Its Applications", 1988, 6.1). It does not depend on the units of the parameters, bends with the sum of squares, and ends at the box where the quotes put
no end to it: such an end is open and named. Near an optimum on its bound it is one-sided. Ends are sought outward from the optimum in one unknown, all ends of all parameters together, by Levenberg-Marquardt with the unknown
held, each from the last solution inside; what one search finds inside extends the others, so that a second basin of the sum counts for all. Where a held fit falls below the optimum, that was none, and the better point is returned.

Errors of quotes are taken as independent, as in the standard errors. Verified: tests/statistics/test_chain_recovery.py (coverage over seeds, also where standard errors cover too little).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.chain import compiled_engine as engine
from upm_gpu.calibrate.chain.engines import Task
from upm_gpu.calibrate.chain.fit import FINE, ChainFit
from upm_gpu.calibrate.chain.objective import make_batch
from upm_gpu.calibrate.chain.unknowns import box, coordinates, values_of

LEVEL = 0.95
TURNS = 24
"""held fits an end; a well-behaved one takes three or four"""
NEAR = 0.01
"""of t: an end known to a hundredth of the half width"""
CHALLENGES, SEEDS = 2, 4
"""how often ends that have settled are tried once more from points of other searches, and from how many"""
WIDEST = 4.0
"""a step outward is at most so many times the last one"""
LOWER = 1e-6
"""share of the sum of squares by which a held fit must fall below the optimum to be taken for a better one"""


@dataclass(frozen=True)
class Intervals:
    """Of P parameters, in their order."""

    ends: NDArray[np.float64]
    """(P, 2)"""
    open: NDArray[np.bool_]
    """(P, 2) the quotes put no end here: the box does"""
    better: NDArray[np.float64] | None
    """(P,) parameters of a lower sum of squares than the fit's, where a held fit came upon them"""


def profile_intervals(fit: ChainFit, level: float = LEVEL) -> Intervals:
    """The intervals of a fit; NaN where the sum of squares is rounding (an exact chain tells its parameters exactly)."""
    from scipy.special import stdtrit

    model, feller = fit.model, fit.options.feller
    size, count = len(fit.parameters), len(fit.chain.strike)
    freedom = count - size
    task = Task(model, fit.options.objective, feller, fit.options.most)
    batch = make_batch([fit.chain])
    weight = np.zeros_like(batch.k)
    weight[batch.present] = fit.weight
    rule = engine.rule(batch, FINE)
    low, high = box(model, feller)
    best = np.clip(coordinates(model, fit.parameters, feller), low, high)
    if freedom < 1 or not fit.cost > 0.0:
        return Intervals(np.full((size, 2), np.nan), np.zeros((size, 2), bool), None)
    t = float(stdtrit(freedom, 0.5 + 0.5 * level))
    # one problem an end: (2 P,) the unknown held, the way outward
    which, way = np.repeat(np.arange(size), 2), np.tile([-1.0, 1.0], size)
    limit = np.where(way < 0.0, low[which], high[which])
    slopes = engine.at(batch, rule, weight, task, best[None]).jacobian[0]
    spread = np.sqrt(2.0 * fit.cost / freedom) * np.sqrt(np.maximum(np.diagonal(np.linalg.pinv(slopes.T @ slopes)), 0.0))
    room = np.abs(limit - best[which])
    step = np.minimum(np.where(spread > 0.0, t * spread, 0.1 * (high - low))[which], room)
    inner, outer = np.zeros(2 * size), np.full(2 * size, np.inf)
    tau_in, tau_out = np.zeros(2 * size), np.full(2 * size, np.inf)
    z, ended = np.repeat(best[None], 2 * size, axis=0), room <= 0.0
    better, least = None, fit.cost
    challenges = CHALLENGES
    for _ in range(TURNS):
        at = np.flatnonzero(~ended)
        challenged = not len(at)
        if challenged:
            # a little further out from where other searches ended: another basin may reach where this one does not
            if not challenges or not np.any(inner < room):
                break
            challenges -= 1
            seeds = _far_apart((z - best) / np.where(spread > 0.0, np.minimum(spread, high - low), high - low))
            at = np.repeat(np.flatnonzero(inner < room), len(seeds))
            origin = z[np.tile(seeds, len(at) // len(seeds))]
            further_out = np.minimum((1.0 + 2.0 * NEAR) * step[at], room[at])
        else:
            origin, further_out = z[at], step[at]
        held = np.clip(best[which[at]] + way[at] * further_out, low[which[at]], high[which[at]])
        start, lows, highs = origin.copy(), np.tile(low, (len(at), 1)), np.tile(high, (len(at), 1))
        rows = np.arange(len(at))
        for part in (start, lows, highs):
            part[rows, which[at]] = held
        found = engine.polish(batch, rule, weight, task, start[None], tolerance=1e-6, limits=(lows[None], highs[None]))
        cost = found.cost[0]
        lowest = int(np.argmin(cost))
        if cost[lowest] < least * (1.0 - LOWER):
            better, least = values_of(model, found.z[0, lowest], feller), float(cost[lowest])
        tau = np.sqrt(np.maximum(cost / fit.cost - 1.0, 0.0) * freedom)
        inside = tau <= t
        if not challenged:
            z[at] = np.where(inside[:, None], found.z[0], z[at])
            inner[at], tau_in[at] = np.where(inside, step[at], inner[at]), np.where(inside, tau, tau_in[at])
            outer[at], tau_out[at] = np.where(inside, outer[at], step[at]), np.where(inside, tau_out[at], tau)
            ended[at] = (np.abs(tau / t - 1.0) < NEAR) | (inside & (step[at] >= room[at]))
        kept = found.z[0][inside]
        if len(kept):
            # a point that one parameter's search finds inside is inside for all
            reach = way[:, None] * (kept[:, which].T - best[which][:, None])
            most = np.argmax(reach, axis=1)
            reach = np.take_along_axis(reach, most[:, None], 1)[:, 0]
            further = reach > np.where(ended, step, inner) * (1.0 + NEAR) + 1e-9
            inner, tau_in, z = np.where(further, reach, inner), np.where(further, tau[inside][most], tau_in), np.where(further[:, None], kept[most], z)
            passed = further & (outer <= inner)
            outer, tau_out = np.where(passed, np.inf, outer), np.where(passed, np.inf, tau_out)
            ended &= ~(further & (inner < room))
            step = np.where(further, inner, step)
        tried = np.maximum(tau_in, 1e-3 * t)
        step = _next(step, np.where(np.isfinite(outer), t, tried), t, inner, outer, tau_in, tau_out, room, ended)
    ends = np.repeat(best[:, None], 2, axis=1)
    ends[which, (way > 0.0).astype(int)] = best[which] + way * np.where(room > 0.0, step, 0.0)
    unbounded = np.zeros((size, 2), bool)
    unbounded[which, (way > 0.0).astype(int)] = (room <= 0.0) | ((inner >= room) & ~np.isfinite(outer))
    return Intervals(_of_parameters(fit, ends, best), unbounded, better)


def _far_apart(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """`SEEDS` of the rows, each the farthest from those before."""
    chosen = [int(np.argmax(np.sum(points**2, axis=1)))]
    while len(chosen) < min(SEEDS, len(points)):
        away = np.min(np.sum((points[:, None] - points[chosen]) ** 2, axis=2), axis=1)
        chosen.append(int(np.argmax(away)))
    return np.array(chosen)


def _next(step: NDArray, tau: NDArray, t: float, inner: NDArray, outer: NDArray, tau_in: NDArray, tau_out: NDArray, room: NDArray, ended: NDArray) -> NDArray[np.float64]:
    """Where each end is sought next: between what is inside and what is outside, in proportion to tau, or further out."""
    with np.errstate(divide="ignore", invalid="ignore"):
        further = np.minimum(np.maximum(step, inner) * np.clip(1.05 * t / tau, 1.2, WIDEST), room)
        share = np.clip((t - tau_in) / (tau_out - tau_in), 0.1, 0.9)
        between = inner + share * (outer - inner)
    return np.where(ended, step, np.where(np.isfinite(outer), between, further))


def _of_parameters(fit: ChainFit, ends: NDArray[np.float64], best: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, 2) ends of unknowns as parameters; those of an unknown that ties others are read at the optimum of the others."""
    found = np.empty_like(ends)
    for i in range(len(best)):
        for side in range(2):
            z = best.copy()
            z[i] = ends[i, side]
            found[i, side] = values_of(fit.model, z, fit.options.feller)[i]
    return found
