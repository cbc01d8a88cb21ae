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

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.chain.engines import At, EngineName, Task, engine_of
from upm_gpu.calibrate.chain.moments import DIFFUSION, ChainModel, chain_model
from upm_gpu.calibrate.chain.objective import Batch, Objective, Weights, make_batch, weights_of
from upm_gpu.calibrate.chain.quotes import Chain
from upm_gpu.calibrate.chain.unknowns import box, coordinates, parameters_of, values_of
from upm_gpu.rng.sobol import sobol

STARTS = 64
SURVIVORS = 3
JUMP_SEEDS = ((0.02, -0.1, 0.1), (0.4, -0.15, 0.25), (3.0, -0.05, 0.1), (20.0, -0.01, 0.04))
"""intensity, mean and deviation that Heston's best is given; the first is hardly any jump at all"""
COARSE, FINE = 64, 160
"""points of the rules of the search and of the fit"""
RULE_TOLERANCE = 1e-7
"""standard deviations at the money: prices that move by more when the points are doubled are fitted with the doubled rule"""
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
    engine: EngineName = "compiled"
    """compiled, or jax: derivatives made automatically, on the device that JAX sees"""


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
    """Fit every chain; `starts` (C, P) or (P,) are parameters of a last fit, which then stand for the global phase. `threads` 0: as many as suit the engine; figures do not depend on it.

    Raises `CalibrationError` UPM-CA-230 where JAX is asked for and not installed."""
    from concurrent.futures import ThreadPoolExecutor

    engine = engine_of(options.engine)
    model = chain_model(options.model)
    given = None if starts is None else np.broadcast_to(np.asarray(starts, np.float64), (len(chains), len(model.parameters)))
    many = engine.together()
    parts = [slice(first, first + many) for first in range(0, len(chains), many)]
    shape = engine.shape(chains)

    def fit(part: slice) -> list[ChainFit]:
        return _fit_batch(engine, make_batch(chains[part], shape), model, options, None if given is None else given[part])

    with ThreadPoolExecutor(min(threads or engine.threads(), max(len(parts), 1))) as pool:
        return [f for found in pool.map(fit, parts) for f in found]


def _fit_batch(engine: Any, batch: Batch, model: ChainModel, options: FitOptions, given: NDArray[np.float64] | None) -> list[ChainFit]:
    task = Task(model, options.objective, options.feller, options.most)
    weight = weights_of(batch, options.objective, options.weights)
    runner_up = np.full(len(batch.chains), np.nan)
    if given is None:
        z, runner_up = _searched(engine, batch, weight, task, options.starts)
    else:
        z = coordinates(model, np.clip(given, model.lower, model.upper), options.feller)[:, None]
    rule = engine.rule(batch, FINE)
    found = engine.polish(batch, rule, weight, task, z)
    z, cost, converged, iterations = (v[:, 0].copy() for v in (found.z, found.cost, found.converged, found.iterations))
    at = engine.at(batch, rule, weight, task, z)
    finer = engine.prices(batch, engine.rule(batch, 2 * FINE), task, values_of(model, z, options.feller)[:, None])[:, 0]
    moved = np.max(np.where(batch.present, np.abs(at.price - finer), 0.0) / batch.deviation[..., None], axis=(1, 2))
    points = [At(*(v[c] for v in (at.price, at.volatility, at.residual, at.jacobian))) for c in range(len(z))]
    again = np.flatnonzero(moved > RULE_TOLERANCE)
    if len(again):
        part = batch.rows(again)
        rule = engine.rule(part, 2 * FINE)
        more = engine.polish(part, rule, weight[again], task, z[again][:, None])
        z[again], cost[again], converged[again] = more.z[:, 0], more.cost[:, 0], more.converged[:, 0]
        iterations[again] += more.iterations[:, 0]
        at = engine.at(part, rule, weight[again], task, z[again])
        for i, c in enumerate(again):
            points[c] = At(*(v[i] for v in (at.price, at.volatility, at.residual, at.jacobian)))
    low, high = box(model, options.feller)
    return [_finished(chain, batch.present[c], weight[c], model, options, z[c], low, high, float(cost[c]), bool(converged[c]), int(iterations[c]), float(runner_up[c]), points[c])
            for c, chain in enumerate(batch.chains)]


def _searched(engine: Any, batch: Batch, weight: NDArray[np.float64], task: Task, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unknowns (C, 1, P) of the best start after a coarse fit, and the cost of the next one over its.

    Bates starts from Heston's best too, with rare and large, middling, and frequent and small jumps: it is never worse than the model it contains.
    """
    model, rule, starts = task.model, engine.rule(batch, COARSE), _starts(batch, task, count)
    worth = engine.worth(batch, rule, weight, task, starts)
    best = np.argsort(np.where(np.isfinite(worth), worth, np.inf), axis=1, kind="stable")[:, :SURVIVORS]
    chosen = np.take_along_axis(starts, best[..., None], axis=1)
    if model.name == "bates":
        inner = chain_model("heston")
        heston = values_of(inner, _searched(engine, batch, weight, replace(task, model=inner), count)[0], task.feller)
        nested = np.concatenate([np.repeat(heston, len(JUMP_SEEDS), axis=1), np.broadcast_to(np.array(JUMP_SEEDS), (len(heston), len(JUMP_SEEDS), 3))], axis=-1)
        chosen = np.concatenate([chosen, nested], axis=1)
    found = engine.polish(batch, rule, weight, task, coordinates(model, chosen, task.feller), linear=True, tolerance=1e-5)
    order = np.argsort(found.cost, axis=1, kind="stable")
    ranked = np.take_along_axis(found.cost, order, 1)
    return np.take_along_axis(found.z, order[:, :1, None], axis=1), ranked[:, 1] / np.maximum(ranked[:, 0], 1e-300)


def _starts(batch: Batch, task: Task, count: int) -> NDArray[np.float64]:
    """(C, STARTS, P): where a fit may begin, about the volatilities at the money of the first and last expiry."""
    model = task.model
    u = (sobol(count, len(model.parameters)) + 0.5 / count) % 1.0
    last = np.array([len(c.years) - 1 for c in batch.chains])
    variance = (batch.deviation**2 / batch.years)
    near, far = variance[:, 0, None], variance[np.arange(len(last)), last, None]
    range_of: dict[str, tuple[Any, Any]] = {"initial_variance": (0.4 * near, 1.8 * near), "mean_reversion": (0.3, 25.0), "long_run_variance": (0.4 * far, 2.5 * far), "vol_of_vol": (0.1, 6.0), "correlation": (-0.9, 0.5),
                "volatility": (0.4 * np.sqrt(near), 1.1 * np.sqrt(near)), "jump_intensity": (0.2, 30.0), "jump_mean": (-0.2, 0.08), "jump_volatility": (0.02, 0.3)}
    columns = []
    for i, name in enumerate(model.parameters):
        lower, upper = range_of[name]
        columns.append(lower * (upper / lower) ** u[None, :, i] if model.logarithmic[i] or name == "vol_of_vol" else lower + (upper - lower) * u[None, :, i])
    p = np.clip(np.stack(np.broadcast_arrays(*columns, np.zeros((len(batch.chains), count)))[:-1], axis=-1), model.lower, model.upper)
    if task.feller:
        p[..., 3] = np.minimum(p[..., 3], 0.9 * np.sqrt(2.0 * p[..., 1] * p[..., 2]))
    return np.asarray(p)


def _finished(chain: Chain, present: NDArray[np.bool_], weight: NDArray[np.float64], model: ChainModel, options: FitOptions, z: NDArray[np.float64], low: NDArray[np.float64],
              high: NDArray[np.float64], cost: float, converged: bool, iterations: int, runner_up: float, at: At) -> ChainFit:
    """`at` has no axis of chains."""
    p, by = parameters_of(model, z, options.feller)
    j, error = at.jacobian[present.ravel()], at.residual[present.ravel()]
    margin = 1e-9 * (high - low)
    bounds = tuple("lower" if z[i] <= low[i] + margin[i] else "upper" if z[i] >= high[i] - margin[i] else "" for i in range(len(z)))
    free = np.array([not b for b in bounds])
    if options.feller and bounds[DIFFUSION.index("vol_of_vol")] == "upper":
        bounds = tuple("feller" if n == "vol_of_vol" else b for n, b in zip(model.parameters, bounds, strict=True))
    covariance, clustered, condition, weakest = _known(j, error, chain.expiry, free, by, model)
    order = np.nonzero(present)
    return ChainFit(chain, model, options, p, _roots(covariance), _roots(clustered), covariance, bounds, condition, weakest, at.volatility[order], at.price[order], weight[order], cost, converged,
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
