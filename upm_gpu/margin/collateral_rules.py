"""`[collateral]` of a methodology: which assets move with the book, what others count, how much of one may count, what borrowing costs. Arithmetic: `collateral.py`."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from upm_gpu.strict_toml import Rule, Strict


def _in_order(tiers: list[list[float]]) -> list[list[float]]:
    """Tiers from 0 on, each above the one before; ValueError says what is wrong."""
    if not tiers or any(len(t) != 2 for t in tiers):
        raise ValueError("tiers must be a list of [from, haircut]")
    if tiers[0][0] != 0.0:
        raise ValueError(f"the first tier begins at {tiers[0][0]:g}; it must begin at 0")
    wrong = [t[1] for t in tiers if not 0.0 <= t[1] <= 1.0]
    if wrong:
        raise ValueError(f"haircut {wrong[0]:g} of a tier; give 0 to 1")
    for (before, _), (start, _) in pairwise(tiers):
        if start <= before:
            raise ValueError(f"tiers overlap: one from {start:g} stands after one from {before:g}; each must begin above the one before")
    return tiers


Tiers = Annotated[list[list[float]], AfterValidator(_in_order)]


class Limit(Strict):
    """How much of an asset counts: what is beyond either bound counts nothing."""

    share: float = Field(default=1.0, gt=0.0, le=1.0, description="of the market value of all that the account has posted")
    amount: float | None = Field(default=None, ge=0.0, description="money; blank: no bound")


class Borrowing(Strict):
    """What a negative balance of an asset counts."""

    premium: float = Field(default=0.0, ge=0.0, le=10.0, description="share of the value owed that is owed on top")
    limit: float | None = Field(default=None, ge=0.0, description="money; blank: no bound")
    beyond_limit: float = Field(default=1.0, ge=0.0, le=10.0, description="further premium on what is owed beyond the limit")


class CollateralRules(Strict):
    """How each asset counts."""

    modes: dict[str, Literal["simulated", "haircut"]] = Field(default={}, description="by asset; simulated: moves in the scenarios, full value in equity")
    haircuts: dict[str, float] = Field(default={}, description="by asset, for haircut mode: share of the value that does not count")
    tiers: dict[str, Tiers] = Field(default={}, description="by asset, in place of haircuts: [from, haircut], the part of the posted value from there on, in money")
    limits: dict[str, Limit] = Field(default={}, description="by asset, for haircut mode: concentration limits")
    borrowing: dict[str, Borrowing] = Field(default={}, description="by asset, of negative balances")
    default_haircut: float = Field(default=1.0, description="of assets not listed")
    require_haircut: bool = Field(default=False, description="refuse a posted asset that is neither simulated nor listed")


def complaints(rules: CollateralRules) -> list[Rule]:
    """Rules between keys that a single key cannot show, for `strict_toml.check`."""
    found: list[Rule] = [("collateral.default_haircut", 56, 0.0 <= rules.default_haircut <= 1.0, f"haircut {rules.default_haircut:g}; give 0 to 1.")]
    found += [(f"collateral.haircuts.{a}", 56, 0.0 <= h <= 1.0, f"haircut {h:g} of {a}; give 0 to 1.") for a, h in rules.haircuts.items()]
    for table, what, assets in (("haircuts", "haircut", [*rules.haircuts]), ("tiers", "schedule of haircuts", [*rules.tiers]), ("limits", "limit on what counts", [*rules.limits])):
        found += [(f"collateral.{table}.{a}", 63, rules.modes.get(a) != "simulated", f"{a} is simulated and has a {what}; one unit never has both. Remove one.") for a in assets]
    found += [(f"collateral.tiers.{a}", 63, a not in rules.haircuts, f"{a} has a haircut and tiers that exclude one another. Remove one.") for a in rules.tiers]
    found += [(f"collateral.borrowing.{a}", 63, rules.modes.get(a) != "simulated" or b.premium == 0.0, f"{a} is simulated and has a premium on what is borrowed, which its haircut would be; one unit never has both. Remove one.")
              for a, b in rules.borrowing.items()]
    return found
