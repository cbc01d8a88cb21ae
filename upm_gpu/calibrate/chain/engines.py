"""What an engine of chain fits is asked and answers. An engine is a module, chosen by an argument: `compiled_engine`, or `automatic.chain_engine` under JAX.

An engine has `together()`, `threads()`, `shape(chains)`, `rule(batch, points)`, `prices`, `worth`, `at` and `polish`; the two are held to each other by tests/parity/test_chain_engines.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.chain.moments import ChainModel
from upm_gpu.calibrate.chain.objective import Batch, Objective

EngineName = Literal["compiled", "jax"]
ENGINES: tuple[EngineName, ...] = ("compiled", "jax")
EXACT = 1e-8
"""relative errors of quotes below which a fit is exact"""


@dataclass(frozen=True)
class Task:
    """What is fitted, whatever the engine."""

    model: ChainModel
    objective: Objective
    feller: bool
    most: int
    """steps of Levenberg-Marquardt"""


@dataclass(frozen=True)
class Polished:
    """C chains with J starts each."""

    z: NDArray[np.float64]
    """(C, J, P)"""
    cost: NDArray[np.float64]
    """(C, J) half the sum of squares"""
    converged: NDArray[np.bool_]
    iterations: NDArray[np.int64]


@dataclass(frozen=True)
class At:
    """One point of each of C chains."""

    price: NDArray[np.float64]
    volatility: NDArray[np.float64]
    """(C, E, Q)"""
    residual: NDArray[np.float64]
    """(C, E Q)"""
    jacobian: NDArray[np.float64]
    """(C, E Q, P) by the unknowns"""


def engine_of(name: str) -> Any:
    """The module. Raises `CalibrationError` UPM-CA-230 where JAX is asked for and not installed."""
    if name == "jax":
        from upm_gpu.calibrate.automatic import chain_engine
        from upm_gpu.calibrate.automatic.library import jax_library

        jax_library()
        return chain_engine
    from upm_gpu.calibrate.chain import compiled_engine

    return compiled_engine


def engine_words(name: str) -> str:
    """The engine with its version and device, as provenance keeps it. Raises as `engine_of`."""
    if name != "jax":
        return name
    from upm_gpu.calibrate.automatic.library import device_name, jax_library

    jax = jax_library()
    return f"jax {jax.__version__} on {device_name(jax)}"


def least_cost(batch: Batch, weight: NDArray[np.float64], task: Task) -> NDArray[np.float64]:
    """(C,) half a sum of squares that is rounding of the quotes."""
    target = batch.price if task.objective == "price" else batch.volatility
    return np.asarray(EXACT * EXACT * np.sum((weight * target) ** 2, axis=(1, 2)))
