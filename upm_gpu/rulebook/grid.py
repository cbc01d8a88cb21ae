"""A worst-case grid over spot and volatility: the plain shape of several venues' portfolio margin, one parameter file each.

    P&L of a scenario = weight x sum over positions of (value at the shocked forward and volatility - value today)
    scan              = sum over underlyings of the worst loss (or the worst loss of the account with all underlyings moving together)
    initial           = initial factor x scan + contingency;  maintenance = maintenance factor x scan + contingency
    contingency       = futures x index x sum |q| over futures and perpetuals

Posted coins that `moving_collateral` names gain and lose with the scenarios, others do not enter: what they count is a matter of equity. A file
without [volatility] is of a venue whose volatility shocks are not published: it margins futures, and options are refused by name.

Source: docs/methodologies/grid.md, by venue. Verified: tests/known_answers/test_venue_grids.py, tests/properties/test_rulebook_laws.py.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from upm_gpu.errors import InputError
from upm_gpu.rulebook.frame.grid import Values, parallel, pnl
from upm_gpu.rulebook.frame.held import Held
from upm_gpu.rulebook.frame.parameters import RuleParameters
from upm_gpu.rulebook.frame.result import RuleMargin, composed, worst_of
from upm_gpu.rulebook.frame.terms import FUTURE, OPTION, PERPETUAL, Terms
from upm_gpu.rulebook.frame.volatility import AdditiveShock, MultiplicativeShock, directions, shocked
from upm_gpu.strict_toml import Strict


class GridScenario(Strict):
    """One move of the grid."""

    spot: float = Field(gt=-1.0, description="move of spot and forwards: -0.15 is a fall by 15 %")
    volatility: Literal["up", "none", "down"] = "none"
    weight: float = Field(default=1.0, ge=0.0, le=1.0, description="share of the P&L that counts")

    @property
    def name(self) -> str:
        """Such as `spot -15 %, volatility up`."""
        return f"spot {f'{100.0 * self.spot:+.4g} %' if self.spot else 'unchanged'}, volatility {self.volatility}"


class Factors(Strict):
    """Shares of the worst loss."""

    initial: float = Field(default=1.0, gt=0.0)
    maintenance: float = Field(default=1.0, gt=0.0)


class Contingency(Strict):
    """What is added to the worst loss in both margins."""

    futures: float = Field(default=0.0, ge=0.0, description="share of the index notional of futures and perpetuals, gross")


class Parameters(RuleParameters):
    """The parameter file."""

    netting: Literal["underlying", "account"] = Field(default="underlying", description="underlying: worst losses of underlyings add; account: one scenario for all")
    moving_collateral: list[str] = Field(default=[], description="posted assets that move with the scenarios")
    factors: Factors = Factors()
    contingency: Contingency = Contingency()
    volatility: MultiplicativeShock | AdditiveShock | None = None
    scenarios: list[GridScenario] = Field(min_length=1)


def margin(held: Held, parameters: Parameters, values: Values) -> RuleMargin:
    """Margins of every unit; raises InputError UPM-CF-126 for options under a file without volatility shocks."""
    scan, worst = scan_risk(held, parameters.scenarios, parameters.volatility, parameters.moving_collateral, parameters.netting, values, f"{parameters.name} {parameters.version}")
    everything = held.grouped(np.zeros(held.terms.count, np.int64), held.terms.of_kind(FUTURE, PERPETUAL))
    gross = everything.by_unit(everything.absolute(notional(held.terms)))
    charges = {"scan": parameters.factors.initial * scan, "futures_contingency": parameters.contingency.futures * gross}
    return composed(held.units, charges, np.minimum(parameters.factors.maintenance, parameters.factors.initial) * scan + charges["futures_contingency"], worst)


def notional(terms: Terms) -> NDArray[np.float64]:
    """(N,) coins of one unit (an inverse future or perpetual: 1 / F) at today's index, reporting currency."""
    return np.where(terms.inverse & (terms.kind != OPTION), 1.0 / terms.forward, 1.0) * terms.index * terms.exchange


def scan_risk(held: Held, scenarios: list[GridScenario], volatility: MultiplicativeShock | AdditiveShock | None, moving: list[str], netting: str, values: Values,
              who: str) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """(U,) the worst weighted loss of every unit, and the scenario of its largest underlying."""
    terms = held.terms
    if volatility is None and (terms.kind == OPTION).any():
        first = terms.instrument_id[int(np.flatnonzero(terms.kind == OPTION)[0])]
        raise InputError("UPM-CF-126", f"{who}: no volatility shocks are published for it, and {first} is an option. Add [volatility] to a copy of the parameter file, or margin a book of futures.")
    shock = volatility or AdditiveShock(points_up=0.0, points_down=0.0)
    names = tuple(s.name for s in scenarios)
    moves = parallel(terms, np.array([1.0 + s.spot for s in scenarios]), shocked(terms.volatility, terms.days, directions([s.volatility for s in scenarios]), shock))
    amount = pnl(terms, moves, values) * np.array([s.weight for s in scenarios])
    asset = np.array(terms.underlyings, object)[terms.underlying]
    counted = ~terms.collateral | np.isin(asset, moving) if terms.count else np.zeros(0, bool)
    label = terms.underlying.astype(np.int64) if netting == "underlying" else np.zeros(terms.count, np.int64)
    groups = held.grouped(label, counted)
    loss, place = worst_of(groups.totals(amount), names)
    decided = [""] * len(held.units)
    for g in np.lexsort((loss, groups.unit)):  # the last of a unit has its largest loss
        prefix = f"{terms.underlyings[groups.label[g]]} " if netting == "underlying" else ""
        decided[groups.unit[g]] = f"{prefix}{names[place[g]]}" if loss[g] > 0.0 else ""
    return np.bincount(groups.unit, loss, len(held.units)).astype(np.float64), tuple(decided)


