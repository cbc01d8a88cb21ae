"""TIMS, the customer portfolio margin of listed equity and index derivatives: ten price moves by class of underlying, offsets by product group.

    initial margin = sum over product groups of max(largest loss over the ten points after offsets, minimum)
    minimum        = number of underlying units in options and futures, long and short, x minimum per unit

An underlying is a class group. Volatilities stay. Underlyings without an entry are of the default class and product groups of their own. Spot positions count with the
derivatives on them; posted collateral does not. Maintenance = initial x ratio. Source: OCC's portfolio margin pages; see docs/methodologies/tims.md.
Verified: tests/known_answers/test_tims.py, tests/properties/test_clearing_laws.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from upm_gpu.rulebook.clearing.groups import STEPS, group_loss, requirement, valuation_points
from upm_gpu.rulebook.frame.grid import Moves, Values, pnl
from upm_gpu.rulebook.frame.held import Held
from upm_gpu.rulebook.frame.parameters import RuleParameters
from upm_gpu.rulebook.frame.result import RuleMargin, composed
from upm_gpu.rulebook.frame.terms import OPTION, SPOT, Terms
from upm_gpu.strict_toml import Rule, Strict
from upm_gpu.strict_toml import check as check_rules


class PriceRange(Strict):
    """A class of underlyings and how far its prices move."""

    name: str
    down: float = Field(gt=0.0, lt=1.0, description="share of the price")
    up: float = Field(gt=0.0, le=10.0, description="share of the price")
    underlyings: list[str] = Field(default=[])


class ProductGroup(Strict):
    """Underlyings whose gains and losses offset each other."""

    name: str
    underlyings: list[str] = Field(min_length=2)
    offset: float = Field(ge=0.0, le=1.0, description="share of a gain that counts against another underlying's loss")


class Parameters(RuleParameters):
    """The parameter file."""

    maintenance_ratio: float = Field(gt=0.0, le=1.0)
    minimum_per_unit: float = Field(ge=0.0, description="reporting currency a unit of the underlying")
    default_class: str
    classes: list[PriceRange] = Field(min_length=1)
    product_groups: list[ProductGroup] = Field(default=[])


def check(made: Parameters, name: str, text: str) -> None:
    """Stop at classes or groups that overlap or are not there."""
    check_rules(_rules(made), name, text)


def _rules(made: Parameters) -> Iterator[Rule]:
    names = [c.name for c in made.classes]
    yield "default_class", 56, made.default_class in names, f"default_class {made.default_class!r} is not one of the classes {', '.join(names)}."
    for key, entries in (("classes", [u for c in made.classes for u in c.underlyings]), ("product_groups", [u for g in made.product_groups for u in g.underlyings])):
        twice = sorted({u for u in entries if entries.count(u) > 1})
        yield key, 56, not twice, f"{', '.join(twice)} stands in two entries. Keep one."


def margin(held: Held, parameters: Parameters, values: Values) -> RuleMargin:
    """Margins of every unit."""
    terms = held.terms
    traded = ~terms.collateral
    array = class_array(terms, parameters, values)
    classes = held.grouped(terms.underlying, traded)
    gains = classes.totals(array)
    groups = [(u,) for u in terms.underlyings if not any(u in g.underlyings for g in parameters.product_groups)] + [tuple(g.underlyings) for g in parameters.product_groups]
    offsets = [0.0] * (len(groups) - len(parameters.product_groups)) + [g.offset for g in parameters.product_groups]
    place = {u: n for n, u in enumerate(terms.underlyings)}
    minimum = held.grouped(terms.underlying, traded & (terms.kind != SPOT))
    per_class = np.zeros((len(held.units), len(place)))
    per_class[minimum.unit, minimum.label] = minimum.absolute(_units(terms)) * parameters.minimum_per_unit
    scanned, floor = np.zeros(len(held.units)), np.zeros(len(held.units))
    largest, worst = np.zeros(len(held.units)), np.full(len(held.units), "", object)
    for members, offset in zip(groups, offsets, strict=True):
        columns = [place[u] for u in members if u in place]
        if not columns:
            continue
        pnl_of = np.zeros((len(held.units), len(columns), 2 * STEPS))
        for n, column in enumerate(columns):
            mine = classes.label == column
            pnl_of[classes.unit[mine], n] = gains[mine]
        loss, point = requirement(group_loss(pnl_of, offset))
        scanned += loss
        floor += np.maximum(per_class[:, columns].sum(axis=1) - loss, 0.0)
        more = loss > largest
        worst[more] = [f"{'/'.join(terms.underlyings[c] for c in columns)}: point {p + 1}" for p in point[more]]
        largest = np.maximum(largest, loss)
    charges = {"scenarios": scanned, "minimum": floor}
    return composed(held.units, charges, parameters.maintenance_ratio * (scanned + floor), tuple(worst))


def _units(terms: Terms) -> NDArray[np.float64]:
    """(N,) units of the underlying that one unit of quantity stands for: an inverse future or perpetual is counted in its quote currency."""
    return np.where(terms.inverse & (terms.kind != OPTION), 1.0 / terms.forward, 1.0)


def class_array(terms: Terms, parameters: Parameters, values: Values) -> NDArray[np.float64]:
    """(N, 10) P&L of one unit at the valuation points of its class, reporting currency."""
    by_underlying = {u: c for c in parameters.classes for u in c.underlyings}
    default = next(c for c in parameters.classes if c.name == parameters.default_class)
    moves = np.stack([valuation_points(c.down, c.up) for c in (by_underlying.get(u, default) for u in terms.underlyings)])
    factor = 1.0 + moves[terms.underlying]
    return pnl(terms, Moves(factor, factor, terms.volatility[:, None]), values)
