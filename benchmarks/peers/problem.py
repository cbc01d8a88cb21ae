"""The work of a shape as plain arrays, the way somebody without this package would hold it.

Peers draw their own normals from their own generator; everything else is the same work: states, volatilities clipped, European prices, unit
P&L against today's price, sums over a sparse portfolio, lower-quantile VaR and fractional-weight ES at 99 %.
Only what every shape has: sticky strike, Gaussian factors, one step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend import reference
from upm_gpu.pricing.compiled import GROUP_INTEGERS, GROUP_REALS, TERM_REALS, Compiled, Family, Rows
from upm_gpu.scenario.sets import Walk

LEVEL = 0.99
PHASES = ("simulate", "price", "aggregate", "tail")


@dataclass(frozen=True)
class Problem:
    """Axes: K state, L linear column, G group (one underlying and expiry: what its options share), O option (columns L..L+O), R row."""

    loadings: NDArray[np.float64]
    """(K, K) states = loadings @ normals + centre"""
    centre: NDArray[np.float64]
    """(K,)"""
    linear_state: NDArray[np.intp]
    level_state: NDArray[np.intp]
    """(G,)"""
    volatility_state: NDArray[np.intp]
    """(G,)"""
    loading: NDArray[np.float64]
    """(G,) of the volatility state"""
    forward: NDArray[np.float64]
    """(G,) today; options of one underlying move together, S / F is constant and sits in `unit`"""
    group: NDArray[np.intp]
    """(O,)"""
    strike: NDArray[np.float64]
    """(O,) and so on"""
    log_moneyness: NDArray[np.float64]
    """ln(F / K)"""
    volatility: NDArray[np.float64]
    root_years: NDArray[np.float64]
    sign: NDArray[np.float64]
    unit: NDArray[np.float64]
    """(O,) reporting currency for one unit of Black-76"""
    price0: NDArray[np.float64]
    """(O,) today's value, `unit` included"""
    first: NDArray[np.int64]
    column: NDArray[np.int32]
    quantity: NDArray[np.float64]
    count: int

    @property
    def columns(self) -> int:
        return len(self.linear_state) + len(self.strike)

    @property
    def rows(self) -> int:
        return len(self.first) - 1

    @property
    def tail(self) -> int:
        """How many worst scenarios the estimates need: floor(k) + 1."""
        return tail_count(self.count)


def tail_count(count: int) -> int:
    return int(np.floor(count * (1.0 - LEVEL) * (1.0 + 1e-9))) + 1


def problem_of(compiled: Compiled, rows: Rows, walk: Walk) -> Problem:
    """Plain arrays of a synthetic shape; refuses what the peers do not price."""
    (program,) = compiled.programs
    whole = {k: program.group_integers[:, i].astype(np.intp) for i, k in enumerate(GROUP_INTEGERS)}
    real = {k: program.group_reals[:, i] for i, k in enumerate(GROUP_REALS)}
    terms = dict(zip(TERM_REALS, compiled.terms, strict=True))
    simple = np.all(whole["family"] == Family.EUROPEAN) and not np.any(whole["sticky_moneyness"] | whole["additive_volatility"])
    if not simple or walk.mixing is not None or len(walk.leg_step) != 1 or not np.array_equal(whole["level_state"], whole["forward_state"]):
        raise ValueError("peers price sticky-strike Europeans under one Gaussian step only")
    with reference.prepare(compiled, rows, "double") as today:
        price0 = today.value0
    group = np.repeat(np.arange(len(whole["count"])), whole["count"])
    unit = real["discount"] * np.where(whole["inverse"] > 0, real["spot0"] / real["forward0"], 1.0)
    return Problem(
        loadings=walk.scale[:, None] * walk.cholesky, centre=walk.centre[0], linear_state=program.linear_state.astype(np.intp),
        level_state=whole["level_state"], volatility_state=whole["volatility_state"], loading=real["volatility_loading"], forward=real["forward0"], group=group,
        strike=terms["strike"], log_moneyness=np.log(real["forward0"][group] / terms["strike"]), volatility=terms["volatility"],
        root_years=np.sqrt(real["remaining_years"])[group], sign=terms["sign"], unit=unit[group], price0=price0,
        first=rows.first, column=rows.column, quantity=rows.quantity, count=walk.count,
    )


@dataclass
class Phases:
    """Seconds by phase."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    since: float = field(default_factory=time.perf_counter)

    def to(self, phase: str) -> None:
        """The time since the last call belongs to `phase`."""
        now = time.perf_counter()
        self.seconds[phase] += now - self.since
        self.since = now


@dataclass(frozen=True)
class Estimate:
    expected_shortfall: NDArray[np.float64]
    value_at_risk: NDArray[np.float64]
    phases: dict[str, float]


class Pipeline(Protocol):
    """Prepared (tables built, code compiled where the first call does not). `states` (K, S) replaces the peer's own draws: the check."""

    def __call__(self, seed: int, states: NDArray[np.float64] | None = None) -> Estimate: ...


Prepare = Callable[[Problem, str, int], Pipeline]


def chunks(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Half-open ranges."""
    for first in range(0, count, size):
        yield first, min(first + size, count)


def estimate_of(worst: Any, count: int, phases: Phases) -> Estimate:
    """ES and VaR from the `tail_count` worst P&L values a row (R, k + 1), any order."""
    worst = np.sort(np.asarray(worst), axis=1)
    k = count * (1.0 - LEVEL)
    whole = tail_count(count) - 1
    total = worst[:, :whole].sum(axis=1, dtype=np.float64) + (k - whole) * worst[:, whole]
    phases.to("tail")
    return Estimate(-total / k, -worst[:, whole].astype(np.float64), phases.seconds)
