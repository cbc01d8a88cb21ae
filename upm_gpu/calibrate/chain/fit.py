"""Heston, Merton or Bates fitted to option chains: a global phase of many starts, Levenberg-Marquardt, standard errors and what cannot be told.

1. `STARTS` points of a Sobol sequence in the part of the box that the quotes suggest (variances about those of the first and last expiry) are priced; the best few, and a given last fit, go on.
2. Levenberg-Marquardt (`solver.py`) with a coarse rule and errors of price over vega; the best goes on.
3. The same with a fine rule and the errors asked for, from there. Prices of the solution are compared with a rule of twice the points, and fitted once more with that one where it matters.

Chains share each call, as many as fit the cache. Unknowns are logarithms of positive parameters; under Feller's condition vol of vol is eta sqrt(2 kappa theta) with eta in (0, 1].

Standard errors: s^2 (J'J)^-1 with s^2 = r'r / (n - p), and a sandwich that takes errors as correlated within an expiry, (J'J)^-1 (sum over expiries of J_e' r_e r_e' J_e) (J'J)^-1 times
E / (E - 1) (n - 1) / (n - p) (Liang and Zeger 1986): misfit of a smile is no noise. A parameter on its bound has none. Condition number: that of J with columns of length one. Verified: tests/statistics/test_chain_recovery.py,
tests/known_answers/test_chain_fits.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.chain.moments import DIFFUSION, ChainModel, chain_model
from upm_gpu.calibrate.chain.objective import (
    Batch,
    Objective,
    Weights,
    make_batch,
    residuals,
    volatility_of,
    weights_of,
)
from upm_gpu.calibrate.chain.quotes import Chain
from upm_gpu.calibrate.chain.rule import Rule, chain_prices
from upm_gpu.calibrate.chain.solver import solve
from upm_gpu.rng.sobol import sobol

STARTS = 64
SURVIVORS = 3
JUMP_SEEDS = ((0.02, -0.1, 0.1), (0.4, -0.15, 0.25), (3.0, -0.05, 0.1), (20.0, -0.01, 0.04))
"""intensity, mean and deviation that Heston's best is given; the first is hardly any jump at all"""
COARSE, FINE = 64, 160
"""points of the rules of the search and of the fit"""
RULE_TOLERANCE = 1e-7
"""standard deviations at the money: prices that move by more when the points are doubled are fitted with the doubled rule"""
EXACT = 1e-8
"""relative errors of quotes below which a fit is exact"""
TOGETHER = 8
"""chains of a call: about as many as keep their matrices in the cache of a core"""
ILL = 1e3
"""condition number from which a direction is named: it is known a thousand times worse than the best one"""


@dataclass(frozen=True)
class FitOptions:
    """How a chain is fitted."""

    model: str = "heston"
    objective: Objective = "volatility"
    weights: Weights = "vega"
    feller: bool = False
    """hold 2 kappa theta >= xi^2"""
    most: int = 100
    """steps of Levenberg-Marquardt"""
    starts: int = STARTS


@dataclass(frozen=True)
class ChainFit:
    """One chain's parameters, in the order of `ChainModel.parameters`, with what is known of them."""

    chain: Chain
    model: ChainModel
    options: FitOptions
    parameters: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    """(P,) NaN where there is none"""
    clustered_errors: NDArray[np.float64]
    """(P,) errors correlated within an expiry; NaN where there is none"""
    covariance: NDArray[np.float64]
    """(P, P) of the standard errors"""
    bounds: tuple[str, ...]
    """'lower' or 'upper' where a parameter sits on its bound, 'feller' where the condition holds it, else ''"""
    condition: float
    weakest: tuple[str, ...]
    """parameters of the direction known worst, where the condition number is beyond ILL"""
    volatility: NDArray[np.float64]
    """(Q,) of the model"""
    price: NDArray[np.float64]
    """(Q,) of the model, over the forward"""
    weight: NDArray[np.float64]
    """(Q,)"""
    cost: float
    """half the weighted sum of squares"""
    converged: bool
    iterations: int
    runner_up: float
    """cost of the next start that ended elsewhere, over the best in the coarse search; NaN where there was none"""

    @property
    def residual(self) -> NDArray[np.float64]:
        """(Q,) volatility of the model less the quoted."""
        return np.asarray(self.volatility - self.chain.volatility)

    def value(self, name: str) -> float:
        return float(self.parameters[self.model.parameters.index(name)])


def fit_chains(chains: Sequence[Chain], options: FitOptions, starts: NDArray[np.float64] | None = None, threads: int = 0) -> list[ChainFit]:
    """Fit every chain; `starts` (C, P) or (P,) are parameters of a last fit, which then stand for the global phase. `threads` 0: one a core; figures do not depend on it."""
    from concurrent.futures import ThreadPoolExecutor

    model = chain_model(options.model)
    given = None if starts is None else np.broadcast_to(np.asarray(starts, np.float64), (len(chains), len(model.parameters)))
    parts = [slice(first, first + TOGETHER) for first in range(0, len(chains), TOGETHER)]

    def fit(part: slice) -> list[ChainFit]:
        return _fit_batch(make_batch(chains[part]), model, options, None if given is None else given[part])

    with ThreadPoolExecutor(min(threads or os.cpu_count() or 1, max(len(parts), 1))) as pool:
        return [f for found in pool.map(fit, parts) for f in found]


def coordinates(model: ChainModel, p: NDArray[np.float64], feller: bool) -> NDArray[np.float64]:
    """Unknowns (..., P) of parameters."""
    z = np.where(model.logarithmic, np.log(np.where(model.logarithmic, p, 1.0)), p)
    if feller:
        z[..., 3] = p[..., 3] / np.sqrt(2.0 * p[..., 1] * p[..., 2])
    return z


def parameters_of(model: ChainModel, z: NDArray[np.float64], feller: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Parameters (..., P) of unknowns, and their derivatives (..., P, P) by them."""
    p = np.where(model.logarithmic, np.exp(np.where(model.logarithmic, z, 0.0)), z)
    by = np.zeros((*z.shape, z.shape[-1]))
    at = np.arange(z.shape[-1])
    by[..., at, at] = np.where(model.logarithmic, p, 1.0)
    if feller:
        limit = np.sqrt(2.0 * p[..., 1] * p[..., 2])
        p[..., 3] = z[..., 3] * limit
        by[..., 3, 3], by[..., 3, 1], by[..., 3, 2] = limit, 0.5 * p[..., 3], 0.5 * p[..., 3]
    return p, by


def box(model: ChainModel, feller: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bounds of the unknowns."""
    low, high = (np.where(model.logarithmic, np.log(np.where(model.logarithmic, b, 1.0)), b) for b in (model.lower, model.upper))
    if feller:
        low[3], high[3] = 1e-3, 1.0
    return low, high


def _fit_batch(batch: Batch, model: ChainModel, options: FitOptions, given: NDArray[np.float64] | None) -> list[ChainFit]:
    low, high = box(model, options.feller)
    weight = weights_of(batch, options.objective, options.weights)
    runner_up = np.full(len(batch.chains), np.nan)
    if given is None:
        z, runner_up = _searched(batch, weight, model, options)
    else:
        z = coordinates(model, np.clip(given, model.lower, model.upper), options.feller)[:, None]
    rule = batch.rule(FINE)
    z, cost, converged, iterations = _polish(batch, rule, weight, model, options, z, low, high)
    p, _ = parameters_of(model, z, options.feller)
    price, _ = chain_prices(rule, model.name, p, slopes=False)
    finer, _ = chain_prices(batch.rule(2 * FINE), model.name, p, slopes=False)
    moved = np.max(np.where(batch.present[:, None], np.abs(price - finer), 0.0) / batch.deviation[:, None, :, None], axis=(1, 2, 3))
    again = np.flatnonzero(moved > RULE_TOLERANCE)
    if len(again):
        part = batch.rows(again)
        z[again], cost[again], converged[again], more = _polish(part, part.rule(2 * FINE), weight[again], model, options, z[again], low, high)
        iterations[again] += more
    return [_finished(batch.rows([c]), weight[c], model, options, z[c, 0], low, high, float(cost[c, 0]), bool(converged[c, 0]), int(iterations[c, 0]), float(runner_up[c]),
                      2 * FINE if c in again else FINE) for c in range(len(batch.chains))]


def _searched(batch: Batch, weight: NDArray[np.float64], model: ChainModel, options: FitOptions) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unknowns (C, 1, P) of the best start after a coarse fit, and the cost of the next one over its.

    Bates starts from Heston's best too, with rare and large, middling, and frequent and small jumps: it is never worse than the model it contains.
    """
    low, high = box(model, options.feller)
    rule, starts = batch.rule(COARSE), _starts(batch, model, options)
    worth = np.sum(residuals(batch, weight, options.objective, chain_prices(rule, model.name, starts, slopes=False)[0], None, linear=True)[0] ** 2, axis=-1)
    best = np.argsort(np.where(np.isfinite(worth), worth, np.inf), axis=1, kind="stable")[:, :SURVIVORS]
    chosen = np.take_along_axis(starts, best[..., None], axis=1)
    if model.name == "bates":
        inner = chain_model("heston")
        heston, _ = parameters_of(inner, _searched(batch, weight, inner, replace(options, model="heston"))[0], options.feller)
        nested = np.concatenate([np.repeat(heston, len(JUMP_SEEDS), axis=1), np.broadcast_to(np.array(JUMP_SEEDS), (len(heston), len(JUMP_SEEDS), 3))], axis=-1)
        chosen = np.concatenate([chosen, nested], axis=1)
    z, cost, _, _ = _polish(batch, rule, weight, model, options, coordinates(model, chosen, options.feller), low, high, linear=True, tolerance=1e-5)
    order = np.argsort(cost, axis=1, kind="stable")
    ranked = np.take_along_axis(cost, order, 1)
    return np.take_along_axis(z, order[:, :1, None], axis=1), ranked[:, 1] / np.maximum(ranked[:, 0], 1e-300)


def _starts(batch: Batch, model: ChainModel, options: FitOptions) -> NDArray[np.float64]:
    """(C, STARTS, P): where a fit may begin, about the volatilities at the money of the first and last expiry."""
    u = (sobol(options.starts, len(model.parameters)) + 0.5 / options.starts) % 1.0
    last = np.array([len(c.years) - 1 for c in batch.chains])
    variance = (batch.deviation**2 / batch.years)
    near, far = variance[:, 0, None], variance[np.arange(len(last)), last, None]
    range_of: dict[str, tuple[Any, Any]] = {"initial_variance": (0.4 * near, 1.8 * near), "mean_reversion": (0.3, 25.0), "long_run_variance": (0.4 * far, 2.5 * far), "vol_of_vol": (0.1, 6.0), "correlation": (-0.9, 0.5),
                "volatility": (0.4 * np.sqrt(near), 1.1 * np.sqrt(near)), "jump_intensity": (0.2, 30.0), "jump_mean": (-0.2, 0.08), "jump_volatility": (0.02, 0.3)}
    columns = []
    for i, name in enumerate(model.parameters):
        lower, upper = range_of[name]
        columns.append(lower * (upper / lower) ** u[None, :, i] if model.logarithmic[i] or name == "vol_of_vol" else lower + (upper - lower) * u[None, :, i])
    p = np.clip(np.stack(np.broadcast_arrays(*columns, np.zeros((len(batch.chains), options.starts)))[:-1], axis=-1), model.lower, model.upper)
    if options.feller:
        p[..., 3] = np.minimum(p[..., 3], 0.9 * np.sqrt(2.0 * p[..., 1] * p[..., 2]))
    return np.asarray(p)


def _polish(batch: Batch, rule: Rule, weight: NDArray[np.float64], model: ChainModel, options: FitOptions, z: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64],
            linear: bool = False, tolerance: float = 1e-12) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Levenberg-Marquardt from unknowns (C, J, P); every start is a problem of its own."""
    chains, sets, size = z.shape
    held: dict[bytes, tuple[Batch, Rule, NDArray[np.float64]]] = {}

    def evaluate(alive: NDArray[np.int64], at: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        key = alive.tobytes()
        if key not in held:
            held.clear()
            rows = alive // sets
            held[key] = (batch, rule, weight) if len(rows) == chains and np.array_equal(rows, np.arange(chains)) else (batch.rows(rows), rule.rows(rows), weight[rows])
        part, own, w = held[key]
        p, by = parameters_of(model, at, options.feller)
        price, slopes = chain_prices(own, model.name, p[:, None])
        r, j = residuals(part, w, options.objective, price, slopes, linear)
        return r[:, 0], np.matmul(j[:, 0], by)  # type: ignore[index]

    target = batch.price if options.objective == "price" else batch.volatility
    least = EXACT * EXACT * np.repeat(np.sum((weight * target) ** 2, axis=(1, 2)), sets)
    found = solve(evaluate, z.reshape(-1, size), low, high, options.most, tolerance, least)
    return found.z.reshape(z.shape), found.cost.reshape(chains, sets), found.converged.reshape(chains, sets), found.iterations.reshape(chains, sets)


def _finished(batch: Batch, weight: NDArray[np.float64], model: ChainModel, options: FitOptions, z: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], cost: float,
              converged: bool, iterations: int, runner_up: float, points: int) -> ChainFit:
    chain = batch.chains[0]
    p, by = parameters_of(model, z, options.feller)
    price, slopes = chain_prices(batch.rule(points), model.name, p[None, None])
    r, jacobian = residuals(batch, weight[None], options.objective, price, slopes)
    present = batch.present[0]
    j = np.matmul(jacobian[0, 0], by)[present.ravel()]  # type: ignore[index]
    error = r[0, 0][present.ravel()]
    margin = 1e-9 * (high - low)
    bounds = tuple("lower" if z[i] <= low[i] + margin[i] else "upper" if z[i] >= high[i] - margin[i] else "" for i in range(len(z)))
    free = np.array([not b for b in bounds])
    if options.feller and bounds[DIFFUSION.index("vol_of_vol")] == "upper":
        bounds = tuple("feller" if n == "vol_of_vol" else b for n, b in zip(model.parameters, bounds, strict=True))
    covariance, clustered, condition, weakest = _known(j, error, chain.expiry, free, by, model)
    sigma, _ = volatility_of(batch, price)
    order = np.nonzero(present)
    return ChainFit(chain, model, options, p, _roots(covariance), _roots(clustered), covariance, bounds, condition, weakest, sigma[0, 0][order], price[0, 0][order], weight[order], cost, converged,
                    iterations, runner_up)


def _known(j: NDArray[np.float64], error: NDArray[np.float64], expiry: NDArray[np.int64], free: NDArray[np.bool_], by: NDArray[np.float64],
           model: ChainModel) -> tuple[NDArray[np.float64], NDArray[np.float64], float, tuple[str, ...]]:
    """Covariances (P, P) of the parameters, plain and clustered by expiry, the condition number and the parameters of the weakest direction."""
    size, count = len(free), int(np.count_nonzero(free))
    nothing = np.full((size, size), np.nan)
    length = np.linalg.norm(j[:, free], axis=0)
    if not count or not np.all(length > 0.0) or len(error) <= count:
        return nothing, nothing, np.inf, tuple(n for n, f in zip(model.parameters, free, strict=True) if f)
    unit = j[:, free] / length
    _, values, turned = np.linalg.svd(unit, full_matrices=False)
    condition = float(values[0] / values[-1]) if values[-1] > 0.0 else np.inf
    names = [n for n, f in zip(model.parameters, free, strict=True) if f]
    weakest = tuple(n for n, x in zip(names, turned[-1], strict=True) if abs(x) > 0.3) if condition > ILL else ()
    if not np.isfinite(condition) or condition > 1e12:
        return nothing, nothing, condition, weakest
    inverse = (turned.T / values**2) @ turned / np.outer(length, length)
    n = len(error)
    freedom = n - count
    lift = by[:, free]
    plain = lift @ inverse @ lift.T * float(error @ error) / freedom
    groups = np.unique(expiry)
    score = np.stack([j[expiry == e][:, free].T @ error[expiry == e] for e in groups])
    clustered = nothing
    if len(groups) > 1:
        clustered = lift @ inverse @ score.T @ score @ inverse @ lift.T * len(groups) / (len(groups) - 1) * (n - 1) / freedom
    return plain, clustered, condition, weakest


def _roots(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard errors; NaN where the variance is 0: the parameter is held by its bound."""
    variance = np.diag(covariance)
    return np.asarray(np.sqrt(np.where(variance > 0.0, variance, np.nan)))
