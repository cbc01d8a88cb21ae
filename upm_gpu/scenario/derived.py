"""States made from drawn states: one stage between the draw and the prices.

A base set (any kind) makes states (D, K, S). A `Derived` set keeps them and appends E more, made by a short table of operations:

    state_names = base names, then the names of the operations' outputs in order.

An operation reads states of any place before its own outputs, at its own path date or an earlier one, and owns its outputs. It draws nothing, so the
random numbers of the base, and every figure that reads base states alone, are the same with and without it. What an operation has to
report (a state that had to be projected, say) is counted a scenario at the output it concerns, in the place where a base state counts its clipped draws.

The operations are in `kernels/derived.def`: formula `kernels/derived.cuh`, tiles `kernels/host/derived.inc`, device `kernels/derived.cu`, twin `formula/derived.py`.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from upm_gpu.rng.streams import PATH_HIGH, PATH_LOW, key_words, stream_word

if TYPE_CHECKING:
    from upm_gpu.scenario.sets import ScenarioSet

OPERATIONS = {"linear_combination": 1, "linear_contract": 2, "inverse_contract": 3, "surface_shift": 4, "running_extreme": 5, "running_fixings": 6, "running_exit": 7}
"""name -> number in `kernels/derived.def`"""
SNAP = 1e-9
"""a date this close to a whole number of steps is on it"""
NO_STATE = -1
"""an input that an operation does without"""


@dataclass(frozen=True)
class Operation:
    """One row of the table as it is asked for, states by name."""

    kind: str
    """a key of OPERATIONS"""
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    """names of states; "" where the operation does without"""
    reals: NDArray[np.float64]
    """what the operation needs beside, laid out as its twin says"""
    scratch: int = 0
    """rows of a tile the CPU engine lends it"""


@dataclass(frozen=True)
class Derived:
    """A drawn set and the operations on its states."""

    kind: ClassVar[str] = "derived"
    base: ScenarioSet
    names: tuple[str, ...]
    """(E,) outputs of the operations in order"""
    operation: NDArray[np.int32]
    """(O,) number of each"""
    first_output: NDArray[np.int32]
    """(O + 1,) outputs of operation o are the states K + [first[o], first[o + 1])"""
    first_input: NDArray[np.int32]
    """(O + 1,)"""
    input: NDArray[np.int32]
    """(I,) states below the operation's outputs, or NO_STATE"""
    first_real: NDArray[np.int32]
    """(O + 1,)"""
    real: NDArray[np.float64]
    """(R,)"""
    scratch: int = 0
    """rows of a tile that the neediest operation is lent"""

    @property
    def state_names(self) -> tuple[str, ...]:
        return (*self.base.state_names, *self.names)

    @property
    def count(self) -> int:
        return self.base.count

    @property
    def dates(self) -> NDArray[np.float64]:
        return self.base.dates

    @property
    def jump_clocks(self) -> int:
        return int(getattr(self.base, "jump_clocks", 0))

    def shortened(self, count: int) -> Derived:
        """The first `count` scenarios."""
        return replace(self, base=shortened(self.base, count))


def shortened(scenarios: Any, count: int) -> Any:
    """The first `count` scenarios of a drawn set."""
    return scenarios.shortened(count) if hasattr(scenarios, "shortened") else replace(scenarios, count=count)


def derive(base: ScenarioSet, operations: Sequence[Operation]) -> ScenarioSet:
    """The base with the operations on it, in order; the base itself where there is none.

    A name that two operations make, or a base state's, is a KeyError of the caller's table, as is an input nobody made before.
    """
    if not operations:
        return base
    place = {name: k for k, name in enumerate(base.state_names)}
    inputs: list[list[int]] = []
    for operation in operations:
        inputs.append([place[name] if name else NO_STATE for name in operation.inputs])
        for name in operation.outputs:
            if name in place:
                raise KeyError(name)
            place[name] = len(place)
    return Derived(
        base=base, names=tuple(n for o in operations for n in o.outputs), operation=np.array([OPERATIONS[o.kind] for o in operations], np.int32),
        first_output=_offsets([len(o.outputs) for o in operations]), first_input=_offsets([len(i) for i in inputs]),
        input=np.array([k for i in inputs for k in i], np.int32), first_real=_offsets([o.reals.size for o in operations]),
        real=np.concatenate([np.asarray(o.reals, np.float64).ravel() for o in operations]), scratch=max(o.scratch for o in operations))


def _offsets(sizes: Sequence[int]) -> NDArray[np.int32]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)


def base_of(scenarios: ScenarioSet) -> ScenarioSet:
    """The drawn set inside, or the set itself."""
    return scenarios.base if isinstance(scenarios, Derived) else scenarios


def events_of(scenarios: ScenarioSet, counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Counts a state (K + E,) parted: clipped draws of the base (K,), and events by the output they concern, where there are any."""
    if not isinstance(scenarios, Derived):
        return counts, {}
    drawn = len(scenarios.base.state_names)
    return counts[:drawn], {name: int(n) for name, n in zip(scenarios.names, counts[drawn:], strict=True) if n}


def linear_combination(output: str, weights: dict[str, Any], dates: int) -> Operation:
    """output = sum of weight x state at each path date; a weight is a number or (D,) numbers."""
    table = np.stack([np.broadcast_to(np.asarray(w, np.float64), (dates,)) for w in weights.values()], axis=1)
    return Operation("linear_combination", (output,), tuple(weights), table)


@dataclass(frozen=True)
class Funding:
    """How a perpetual is paid for, see `formula/derived.py`."""

    step_days: float
    """length of an accrual, a base step: dates inside one accrue their part and leave the accruals alone"""
    today: float = 0.0
    """rate a day, of the index"""
    state: str = ""
    """name of the state that is added to it, or """""


def accrual_table(dates: NDArray[np.float64], funding: Funding | None) -> NDArray[np.float64]:
    """(D, 2): days since the last accrual date before each date, and 1 where the date is one. Zeros without funding.

    Accrual dates are the multiples of the step; those before the last date must be among the dates, or their accrual is missing.
    """
    table = np.zeros((len(dates), 2))
    if funding is None:
        return table
    position = np.asarray(dates, np.float64) / funding.step_days
    nearest = np.round(position)
    ends = np.abs(position - nearest) <= SNAP
    missing = np.setdiff1d(np.arange(1.0, np.max(np.where(ends, nearest, np.ceil(position)))), nearest[ends])
    if missing.size:
        raise ValueError(f"funding needs a path date at {missing[0] * funding.step_days:g} days")
    start = np.where(ends, np.maximum(nearest - 1.0, 0.0), np.floor(position))
    table[:, 0] = dates - start * funding.step_days
    table[:, 1] = ends
    return table


def linear_contract(output: str, dates: NDArray[np.float64], level: str, basis: str = "", fx: str = "", index_over_price: float = 1.0, funding: Funding | None = None,
                    scale: Any = 1.0, read: Sequence[int] | None = None) -> Operation:
    """A linear future or perpetual: P&L over C F_0 X_0. `read` (D,): the date its level is taken at, where it has settled before."""
    table = np.column_stack([accrual_table(dates, funding), np.broadcast_to(scale, len(dates)), np.arange(len(dates)) if read is None else read])
    return Operation("linear_contract", (output,), (level, basis, funding.state if funding else "", fx),
                     np.concatenate([[funding.today if funding else 0.0, index_over_price], table.ravel()]))


def inverse_contract(output: str, dates: NDArray[np.float64], value: str, level: str, basis: str = "", price_over_index: float = 1.0, funding: Funding | None = None) -> Operation:
    """An inverse future or perpetual: P&L over C S_0 / F_0."""
    return Operation("inverse_contract", (output,), (value, level, basis, funding.state if funding else ""),
                     np.concatenate([[funding.today if funding else 0.0, price_over_index], accrual_table(dates, funding).ravel()]))


@dataclass(frozen=True)
class Bridges:
    """What the path of a state between its dates is drawn from."""

    seed: int
    stream: int
    """of the specification"""
    variance: NDArray[np.float64]
    """(D, K) of each drawn state over the interval that ends at a date; zeros: the path is a straight line"""


def running_extreme(output: str, dates: NDArray[np.float64], level: str, place: int, side: float, bridges: Bridges) -> Operation:
    """The highest (side +1) or lowest (-1) point so far of a log-level that is state `place` of the model: between dates that of a Brownian bridge."""
    words = key_words(bridges.seed)
    head = [words[0], words[1], stream_word(bridges.stream, PATH_HIGH if side > 0.0 else PATH_LOW), place, side]
    table = np.column_stack([bridges.variance[:, place], np.round(np.asarray(dates, np.float64) * 86400.0)])
    return Operation("running_extreme", (output,), (level,), np.concatenate([np.array(head, np.float64), table.ravel()]))


NARROW = 4.0
"""standard deviations of an interval in one width, above which 1e-33 of its bridges stay: none does"""


def running_exit(output: str, dates: NDArray[np.float64], level: str, extremes: tuple[str, str], place: int, lower: float, upper: float, bridges: Bridges) -> Operation:
    """1 once the path of a log-level has left (lower, upper); `extremes` are its highest and lowest point. Images are summed until they are below 1e-17."""
    words = key_words(bridges.seed)
    variance = bridges.variance[:, place]
    ratio = np.sqrt(variance) / (upper - lower)
    images = np.where(ratio > NARROW, -1.0, np.ceil(0.5 + np.sqrt(0.25 + 20.0 * ratio**2)))  # the last is exp(-2 n (n - 1) / ratio^2)
    head = [words[0], words[1], stream_word(bridges.stream, PATH_LOW), place, lower, upper]
    table = np.column_stack([variance, np.round(np.asarray(dates, np.float64) * 86400.0), images])
    return Operation("running_exit", (output,), (level, *extremes), np.concatenate([np.array(head, np.float64), table.ravel()]))


FIXING_KINDS = {"sum": 0, "log_sum": 1, "highest": 2, "lowest": 3}
UNSEEN = 64.0
"""in log-level: no path comes near it, so that an extreme over no fixing yet has reached nothing"""


def running_fixings(output: str, dates: NDArray[np.float64], level: str, kind: str, fixings: Container[float]) -> Operation:
    """What the fixings so far make of a log-level: its exponential or itself added up, its highest or lowest value. Those that are no path date are left out."""
    start = {"highest": -UNSEEN, "lowest": UNSEEN}.get(kind, 0.0)
    return Operation("running_fixings", (output,), (level,), np.array([FIXING_KINDS[kind], start, *(float(d) in fixings for d in dates)], np.float64))
