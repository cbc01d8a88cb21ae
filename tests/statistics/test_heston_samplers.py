"""Samplers under Heston and Bates: the martingale holds, and what each takes off the variance of a price.

Null: E[exp X] = 1 at every date; statistic: its mean over scramblings, pairs or blocks over their standard error; alpha 6e-5 (4 errors). Sobol's error of the mean is that of 16
scramblings of 1,024 points: a bias of 1e-3 in a step's martingale correction shows (measured by planting one, last test).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from upm_gpu.backend import cpu
from upm_gpu.model.heston import HestonParameters
from upm_gpu.model.jumps import JumpParameters
from upm_gpu.pricing.compiled import empty
from upm_gpu.scenario.spec import ScenarioSpec

DATES, COUNT = np.array([1.0, 10.0]), 1 << 14
SPECS = {"plain": ScenarioSpec(), "owen": ScenarioSpec(sampler="sobol"), "components": ScenarioSpec(sampler="sobol", sobol_order="principal_components"),
         "antithetic": ScenarioSpec(variance_reduction="antithetic"), "matched": ScenarioSpec(variance_reduction="moment_matching")}


def parameters(jumps: bool = False) -> HestonParameters:
    clocks = JumpParameters(20.0, -0.05, 0.1, np.ones(2), np.zeros(2), np.zeros(2), np.zeros(2)) if jumps else None
    return HestonParameters(("BTC", "ETH"), np.array([0.4, 0.6]), np.array([3.0, 2.0]), np.array([0.5, 0.6]), np.array([1.2, 2.0]), np.array([-0.5, -0.3]),
                            np.array([[1.0, 0.8], [0.8, 1.0]]), clocks, substeps=2, measure="pricing")


def levels(kind: str, jumps: bool = False, model: HestonParameters | None = None) -> np.ndarray:
    """(D, U, S)."""
    scenarios = (model or parameters(jumps)).scenarios(DATES, replace(SPECS[kind], count=COUNT, seed=11))
    with cpu.prepare(*empty(scenarios.state_names, DATES), "double", 1) as prepared:
        return np.array(cpu.states(prepared, scenarios, 0, COUNT))[:, 0:4:2]


def mean_and_error(values: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean over scenarios and its standard error between the groups that a sampler makes independent."""
    if kind in ("owen", "components"):
        group = values.reshape(*values.shape[:-1], COUNT // 16, 16).mean(axis=-2)
    else:
        size = {"plain": 1, "antithetic": 2, "matched": 4096}[kind]
        group = values.reshape(*values.shape[:-1], COUNT // size, size).mean(axis=-1)
    return group.mean(axis=-1), group.std(axis=-1, ddof=1) / np.sqrt(group.shape[-1])


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("jumps", [False, True])
def test_prices_are_martingales(kind: str, jumps: bool) -> None:
    mean, error = mean_and_error(np.exp(levels(kind, jumps)), kind)
    # four blocks give a t of three degrees of freedom: the plain error bounds theirs
    error = np.maximum(error, mean_and_error(np.exp(levels("plain", jumps)), "plain")[1] / 4.0) if kind == "matched" else error
    assert np.all(np.abs(mean - 1.0) < (6.0 if kind != "plain" else 4.0) * error + 1e-12)


def test_samplers_divide_the_variance_of_a_put() -> None:
    """A put 5 % out of the money on the sum of both prices at ten days; twenty substeps, 80 dimensions. Jumps stay plain and keep part of the variance."""
    def ratio(kind: str, jumps: bool) -> float:
        def put(x: np.ndarray) -> np.ndarray:
            return np.maximum(1.9 - np.exp(x[1]).sum(axis=0), 0.0)

        return float((mean_and_error(put(levels("plain", jumps)), "plain")[1] / mean_and_error(put(levels(kind, jumps)), kind)[1]) ** 2)

    found = {kind: ratio(kind, False) for kind in ("owen", "components", "antithetic")}
    assert found["owen"] > 5.0 and found["components"] > 5.0 and found["antithetic"] > 1.2, found
    assert ratio("owen", True) > 1.5


def test_a_planted_bias_is_seen() -> None:
    """The martingale test on prices that drift by 1e-3 over ten days fails."""
    model = replace(parameters(), drift=np.full(2, 1e-4))
    mean, error = mean_and_error(np.exp(levels("owen", model=model)), "owen")
    assert np.any(np.abs(mean - 1.0) > 6.0 * error)
