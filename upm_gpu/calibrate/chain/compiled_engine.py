"""The engine of fits that runs everywhere: closed derivatives (`moments.py`), prices as one matrix product (`rule.py`), Levenberg-Marquardt in a box (`solver.py`), in NumPy.

`automatic/chain_engine.py` has the same functions under JAX; `fit.py` takes either module. Verified: tests/known_answers/test_chain_fits.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.chain.engines import At, Polished, Task, least_cost
from upm_gpu.calibrate.chain.objective import Batch, residuals, volatility_of
from upm_gpu.calibrate.chain.quotes import Chain
from upm_gpu.calibrate.chain.rule import Rule, chain_prices
from upm_gpu.calibrate.chain.solver import solve
from upm_gpu.calibrate.chain.unknowns import box, parameters_of

TOGETHER = 8
"""chains of a call: about as many as keep their matrices in the cache of a core"""


def together() -> int:
    """Chains of a call."""
    return TOGETHER


def shape(chains: Sequence[Chain]) -> tuple[int, int]:
    """Expiries and quotes that every call is padded to at least."""
    return 0, 0


def threads() -> int:
    """Calls at once."""
    return os.cpu_count() or 1


def rule(batch: Batch, points: int) -> Rule:
    """The rule of a batch."""
    return batch.rule(points)


def prices(batch: Batch, rule: Rule, task: Task, p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Out-of-the-money prices over the forward (C, J, E, Q) of parameters (C, J, P)."""
    return chain_prices(rule, task.model.name, p, slopes=False)[0]


def worth(batch: Batch, rule: Rule, weight: NDArray[np.float64], task: Task, p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of squares (C, J), errors of price over vega."""
    return np.asarray(np.sum(residuals(batch, weight, task.objective, prices(batch, rule, task, p), None, linear=True)[0] ** 2, axis=-1))


def at(batch: Batch, rule: Rule, weight: NDArray[np.float64], task: Task, z: NDArray[np.float64]) -> At:
    """What a solution (C, P) is worth."""
    p, by = parameters_of(task.model, z, task.feller)
    price, slopes = chain_prices(rule, task.model.name, p[:, None])
    r, j = residuals(batch, weight, task.objective, price, slopes)
    return At(price[:, 0], volatility_of(batch, price)[0][:, 0], r[:, 0], np.matmul(j[:, 0], by))  # type: ignore[index]


def polish(batch: Batch, rule: Rule, weight: NDArray[np.float64], task: Task, z: NDArray[np.float64], linear: bool = False, tolerance: float = 1e-12,
           limits: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None) -> Polished:
    """Levenberg-Marquardt from unknowns (C, J, P); every start is a problem of its own, with bounds of its own where `limits` (C, J, P) are given."""
    chains, sets, size = z.shape
    low, high = box(task.model, task.feller) if limits is None else (b.reshape(-1, size) for b in limits)
    held: dict[bytes, tuple[Batch, Rule, NDArray[np.float64]]] = {}

    def evaluate(alive: NDArray[np.int64], here: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        key = alive.tobytes()
        if key not in held:
            held.clear()
            rows = alive // sets
            held[key] = (batch, rule, weight) if len(rows) == chains and np.array_equal(rows, np.arange(chains)) else (batch.rows(rows), rule.rows(rows), weight[rows])
        part, own, w = held[key]
        p, by = parameters_of(task.model, here, task.feller)
        price, slopes = chain_prices(own, task.model.name, p[:, None])
        r, j = residuals(part, w, task.objective, price, slopes, linear)
        return r[:, 0], np.matmul(j[:, 0], by)  # type: ignore[index]

    found = solve(evaluate, z.reshape(-1, size), low, high, task.most, tolerance, np.repeat(least_cost(batch, weight, task), sets))
    return Polished(found.z.reshape(z.shape), found.cost.reshape(chains, sets), found.converged.reshape(chains, sets), found.iterations.reshape(chains, sets))
