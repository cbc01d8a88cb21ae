"""The methodology file as a strict model, and its questions: what the core asks for, which collateral moves with the book.

Verified: tests/faults/test_config.py.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from upm_gpu.domain.book import Book
from upm_gpu.domain.instrument import Instrument
from upm_gpu.errors import InputError
from upm_gpu.margin.charges import ChargeModule, load
from upm_gpu.margin.collateral import borrowing_warnings, posted_of
from upm_gpu.margin.collateral_rules import CollateralRules, complaints
from upm_gpu.margin.requests import Measure, MeasureRequest, ProductClass
from upm_gpu.margin.rows import class_of
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.shipped import find_file, package_file
from upm_gpu.strict_toml import Strict, build, check, near_key, parse_horizon, place, read_toml

DEFAULT = "configs/methodology/house_v1.toml"
NUMBERS = {"core.horizon": 62, "core.level": 61, "schema_version": 67}


class PeriodClass(Strict):
    """Instruments with a margin period of their own."""

    name: str
    horizon: str = Field(description="margin period of risk of the class")
    kinds: list[Literal["spot", "future", "perpetual", "option"]] = Field(default=[], description="blank: all")
    underlyings: list[str] = Field(default=[], description="blank: all")


class Core(Strict):
    """The measure of the core margin."""

    measure: Literal["expected_shortfall", "value_at_risk"] = Field(default="expected_shortfall", description="of the P&L over the margin period")
    level: float = Field(default=0.99, description="confidence")
    horizon: str = Field(default="2d", description="margin period of risk")
    multiplier: float = Field(default=1.0, description="core = max(0, measure) x multiplier")
    estimator: Literal["plain", "extreme_value"] = Field(default="plain", description="of tails, of the core and of every charge derived from it; extreme_value: a generalised Pareto law of the worst scenarios")
    tail_share: float = Field(default=0.05, description="share of the scenarios that the law is fitted to")
    classes: list[PeriodClass] = Field(default=[], description="product classes with another margin period; an instrument is in the first that fits")

    @property
    def horizon_days(self) -> float:
        """The margin period in days."""
        return parse_horizon(self.horizon, "key core.horizon")


class ChargeEntry(BaseModel):
    """One add-on by name; every other key is a parameter of that charge, which checks it."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)
    name: str
    largest_of: str = ""
    """a group: of the charges that name the same one, only the largest of each unit counts"""


class Methodology(Strict):
    """What the margin is made of; one file a published version, added and never edited."""

    schema_version: Literal[1] = 1
    name: str
    version: str
    effective_date: datetime.date
    maintenance_ratio: float = 0.8
    netting_sets: list[str] = Field(default=[], description="those that positions may be in, beside the blank one; blank: any")
    charges: list[ChargeEntry] = Field(default=[])
    core: Core = Core()
    collateral: CollateralRules = CollateralRules()


def load_methodology(path: str | Path | None = None) -> Methodology:
    """A methodology file, checked; None: the house methodology that ships with the package. Raises InputError with every complaint."""
    file = package_file(DEFAULT) if path is None else find_file(path)
    tables, text = read_toml(file, "methodology")
    if "rule_book" in tables:
        raise InputError("UPM-CF-125", f"{place(file.name, text, 'rule_book')}: {tables['rule_book']!r} is a rule book: it draws no scenarios and does not say what counts as equity, so there is no run. Margins and charges of every account under it: `upm compare --methodologies {path} --out DIR`.")
    made = build(Methodology, tables, file.name, text, NUMBERS)
    core = made.core
    percent = f" Write {core.level / 100.0:g}." if 50.0 <= core.level < 100.0 else ""
    check([
        ("core.level", 61, 0.5 <= core.level < 1.0, f"level {core.level:g}; a confidence lies from 0.5 to below 1, such as 0.99.{percent}"),
        ("core.multiplier", 56, 0.0 < core.multiplier <= 100.0, f"multiplier {core.multiplier:g}; give above 0 and at most 100."),
        ("core.tail_share", 56, 0.0 < core.tail_share <= 0.25, f"tail_share {core.tail_share:g}; give above 0 and at most 0.25, such as 0.05."),
        ("core.tail_share", 56, core.estimator == "plain" or core.tail_share >= 2.0 * (1.0 - core.level) - 1e-12,
         f"tail_share {core.tail_share:g} at level {core.level:g}; the law describes what lies beyond its threshold: give at least {2.0 * (1.0 - core.level):g}, twice the share beyond the level."),
        ("maintenance_ratio", 56, 0.0 < made.maintenance_ratio <= 1.0, f"maintenance_ratio {made.maintenance_ratio:g}; give above 0 and at most 1."),
        *complaints(made.collateral),
    ], file.name, text)
    parse_horizon(core.horizon, place(file.name, text, "core.horizon"))
    for i, each in enumerate(core.classes):
        parse_horizon(each.horizon, place(file.name, text, f"core.classes.{i}.horizon"))
    names = [c.name for c in core.classes]
    check([("core.classes", 63, len(set(names)) == len(names), f"classes {', '.join(names)}: a name stands twice. Give each class a name of its own, or remove one.")], file.name, text)
    charges_in_force(made, file.name, text)
    return made


@dataclass(frozen=True)
class ChargeInForce:
    """A charge of a methodology with its parameters."""

    module: ChargeModule
    parameters: Strict
    largest_of: str


def charges_in_force(methodology: Methodology, name: str = "methodology", text: str = "") -> tuple[ChargeInForce, ...]:
    """The charges in the order of the file, their parameters checked. `name` and `text` are those of the file, for messages.

    Raises InputError: UPM-CF-070 for a charge that does not exist, UPM-CF-063 for one named twice, UPM-CF-059 for an unknown key, UPM-CF-056 for a value out of its range.
    """
    found: list[ChargeInForce] = []
    for i, entry in enumerate(methodology.charges):
        where = f"{place(name, text, f'charges.{i}.name')}: " if text else ""
        module = load(entry.name, where)
        check([(f"charges.{i}.name", 63, module.NAME not in {c.module.NAME for c in found}, f"charge {entry.name} is named twice. Remove one of the two.")], name, text)
        found.append(ChargeInForce(module, build(module.Parameters, dict(entry.model_extra or {}), name, text, {}, inside=f"charges.{i}."), entry.largest_of))
    return tuple(found)


def core_request(methodology: Methodology) -> MeasureRequest:
    """The measurement behind the core: expected shortfall at the methodology's level over its margin period of risk."""
    core = methodology.core
    return MeasureRequest("base", core.horizon_days, core.level, tail_share=core.tail_share if core.estimator == "extreme_value" else 0.0)


def core_measure(core: Core, measure: Measure) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(U,) the measure of the core and its standard error, before floor and multiplier."""
    if core.measure == "value_at_risk":
        return measure.value_at_risk, measure.value_at_risk_standard_error
    return measure.expected_shortfall, measure.expected_shortfall_standard_error


def class_periods(core: Core, instruments: Sequence[Instrument]) -> tuple[float, ...] | None:
    """(N,) margin period of each instrument in days of the trading clock; None where all have the core's."""
    if not core.classes:
        return None
    classes = [ProductClass(c.name, tuple(c.kinds), tuple(c.underlyings)) for c in core.classes]
    days = [*(parse_horizon(c.horizon, f"key core.classes.{i}.horizon") for i, c in enumerate(core.classes)), core.horizon_days]
    return tuple(days[k] for k in class_of(instruments, classes))


def collateral_warnings(methodology: Methodology, book: Book, market: MarketSnapshot) -> tuple[str, ...]:
    """Posted assets that count nothing, so that nobody looks for them in the equity, and debts beyond their limit."""
    posted = posted_of(book, market, methodology.collateral, simulated_assets(methodology, book))
    nothing = [a for a, kept in zip(posted.assets, posted.schedule.kept, strict=True) if not kept.any()]
    found = (f"UPM-IN-046 collateral: {', '.join(nothing)} counts nothing under methodology {methodology.name} {methodology.version} "
             "(no haircut is listed, and no instrument of the book has it as underlying).",) if nothing else ()
    return (*found, *borrowing_warnings(book, posted))


def check_netting_sets(methodology: Methodology, book: Book) -> None:
    """Raises InputError UPM-CF-133 for a netting set of the book that the methodology, where it names any, does not define."""
    known = methodology.netting_sets
    strange = [n for n, name in enumerate(book.netting_sets) if name and name not in known]
    if not known or not strange:
        return
    lines = np.flatnonzero(np.isin(book.positions.netting_set, strange))
    if not len(lines):
        return
    name, holder = book.netting_sets[book.positions.netting_set[lines[0]]], book.accounts[book.positions.account[lines[0]]].account_id
    near = near_key(name, known)
    raise InputError("UPM-CF-133", f"netting set {name!r} (account {holder}; {len(lines)} positions in such sets) is not defined by methodology {methodology.name} {methodology.version}, "
                                   f"which has {', '.join(known)}. {f'Did you mean {near}? ' if near else ''}Correct column netting_set of positions, or add the set to key netting_sets.")


def simulated_assets(methodology: Methodology, book: Book) -> set[str]:
    """Collateral assets at full value whose moves enter the scenario P&L: mode `simulated` and also an underlying of the book."""
    underlyings = {i.underlying for i in book.instruments}
    return {a for a in set(book.collateral.asset) if methodology.collateral.modes.get(a, "haircut") == "simulated" and a in underlyings}
