"""What every party must have where the market stands: the initial margin of its run, moved as its margin moves on fewer scenarios.

  required = initial margin of the run x T / T_0,   T the margin of its units where the market stands with what they hold now, T_0 that of the start, both on the first M scenarios

The full precision of the run stays in the level, the same scenarios stand on both sides, so most of their sampling error leaves the ratio. T is core and charges, each computed again (`charges.py`); of a methodology
without charges the core alone, which `world.py` measures. Where charges cannot be computed in a moved market, or the rules say "with_core", T is the core and charges move with it; `said` names which.
A party without margin at the start owes what T says. Verified by tests/end_to_end/test_liquidation.py and test_liquidation_charges.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.liquidation.case import Case
from upm_gpu.liquidation.charges import There, cannot, has_charges, kept_of, margins, there
from upm_gpu.liquidation.coverage import Coverage
from upm_gpu.liquidation.depth import depth_in_words
from upm_gpu.liquidation.holdings import Holdings, hold
from upm_gpu.liquidation.parameters import Parameters
from upm_gpu.liquidation.starts import Start
from upm_gpu.liquidation.world import Ground, Slopes, World
from upm_gpu.margin.units import sum_by


@dataclass(frozen=True)
class Level:
    """Margins of parties, (P,)."""

    required: NDArray[np.float64]
    core: NDArray[np.float64]
    """the core's measure of their units, on the scenarios of the cascade"""
    charges: NDArray[np.float64]
    """of `required`; 0 where they move with the core"""


@dataclass(frozen=True)
class Opening:
    """How every cascade of a scenario begins."""

    start: Start
    world: World
    today: Slopes
    """before it came"""
    before: Level
    """T_0 and its parts, unscaled"""
    slopes: Slopes
    unit_pnl: NDArray[np.float64]
    """(N, M) over the margin period"""
    level: Level


@dataclass(frozen=True)
class Margins:
    """Margins of a case in any market of its cascades."""

    case: Case
    ground: Ground
    anew: bool
    """charges are computed again"""
    said: dict[str, Any]
    """how, for the manifest and the page"""
    last: dict[bytes, There] = field(default_factory=dict)
    """the market of the last question"""
    opened: list[Opening] = field(default_factory=list)
    """that of the last scenario: ways of closing share it"""

    @cached_property
    def charged_before(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(core (P,), charges (P,)) of the run's books today, on the scenarios of the cascade."""
        made, holdings = there(self.case.plan, self.case.choice, self.ground.scenarios, self.ground.coverage.shelf, None), hold(self.case.plan.units, self.case.plan.instruments)
        core, charges = margins(made, self.case.choice, self.ground.coverage.shelf, holdings)
        return self.by_party(core), self.by_party(charges)

    def by_party(self, per_unit: NDArray[np.float64]) -> NDArray[np.float64]:
        """(P,) sums of units."""
        return sum_by(self.case.parties.of_unit, per_unit, len(self.case.parties.names))

    def opening(self, start: Start) -> Opening:
        """Where the cascades of a scenario begin."""
        if not self.opened or self.opened[0].start is not start:
            self.ground.coverage.shelf.turn()
            ground = self.ground.reaching(start)
            world, none, holdings = ground.at(start), np.zeros(len(ground.underlyings)), hold(self.case.plan.units, self.case.plan.instruments)
            core = self.by_party(ground.today_cores)
            total, charges = (core, np.zeros(len(core))) if not self.anew else (sum(self.charged_before), self.charged_before[1])
            before = Level(np.asarray(total), core, charges)
            unit_pnl = world.margin_pnl(none, none)
            level = self.level(before, world, none, none, holdings, ground.cores(holdings, unit_pnl))
            self.opened[:] = [Opening(start, world, ground.today_slopes, before, world.slopes(none, none), unit_pnl, level)]
        return self.opened[0]

    def level(self, start: Level, world: World, price: NDArray[np.float64], volatility: NDArray[np.float64], holdings: Holdings, cores: NDArray[np.float64], wanted: NDArray[np.bool_] | None = None) -> Level:
        """Margins of what units hold now; `cores` (U,) is the core's measure there. With `wanted` (U,) those of the parties of these units alone are to be read. `start` is T_0."""
        core, initial, before = self.by_party(cores), self.case.initial, start.required
        if not self.anew:
            owed, charges = self.case.plan.methodology.core.multiplier * core, np.zeros(len(core))
            total = core
        else:
            at = self._there(world.stands(price, volatility))
            own, charges = (self.by_party(x) for x in margins(at, self.case.choice, self.ground.coverage.shelf, holdings, wanted))
            owed = total = own + charges
        scale = np.divide(initial, before, out=np.zeros_like(initial), where=before > 0.0)
        return Level(np.where(before > 0.0, scale * total, initial + owed), core, np.where(before > 0.0, scale, 1.0) * charges)

    def _there(self, states: NDArray[np.float64]) -> There:
        key = states.tobytes()
        if key not in self.last:
            self.last.clear()
            moves = dict(zip(self.case.now.drawn_names, states.tolist(), strict=True))
            self.last[key] = there(self.case.plan, self.case.choice, self.ground.scenarios, self.ground.coverage.shelf, moves)
        return self.last[key]


def margins_of(case: Case, parameters: Parameters) -> Margins:
    """How margins are measured in the cascades of a case."""
    ground = Ground(case, min(parameters.margin.scenarios, case.plan.scenarios.count), Coverage(case.choice))
    said: dict[str, Any] = {"scenarios": ground.scenarios, "depth": depth_in_words(ground, parameters)}
    if not has_charges(case.plan):
        return Margins(case, ground, False, said | {"charges": "none in the methodology", "not_recomputed": {k: v for k, v in kept_of(case.plan).items() if k != "plans"}})
    reason = "the rules say with_core" if parameters.margin.charges == "with_core" else cannot(case.plan)
    if reason:
        return Margins(case, ground, False, said | {"charges": f"move with the core margin: {reason}", "not_recomputed": kept_of(case.plan) | {"charges": "no charge is computed again"}})
    return Margins(case, ground, True, said | {"charges": "computed again for the books that are left, where the market stands", "not_recomputed": kept_of(case.plan)})
