"""Drift's weights: assets count less the larger they are, debts and perpetuals more.

    asset weight, initial      = min(w, 1.1 / (1 + imf sqrt(size)))          maintenance: w
    liability weight, initial  = max(w, 0.8 w + imf sqrt(size))              maintenance: w
    perpetual margin ratio     = max(r, 0.8 r + imf sqrt(size))              both
    margin = sum of assets value (1 - weight) + sum of debts value (weight - 1) + sum of perpetuals notional x ratio

so that equity at market less the margin is the venue's free collateral. Size is in coins, by asset net of posted and traded. Source: Drift documentation,
cross-collateral deposits and risk parameters; see docs/methodologies/drift.md. Verified: tests/known_answers/test_venue_rules.py (published example).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from upm_gpu.errors import InputError
from upm_gpu.rulebook.bybit_standard import notional_of_one
from upm_gpu.rulebook.frame.grid import Values
from upm_gpu.rulebook.frame.held import Held
from upm_gpu.rulebook.frame.parameters import RuleParameters
from upm_gpu.rulebook.frame.result import RuleMargin, composed
from upm_gpu.rulebook.frame.terms import OPTION, SPOT
from upm_gpu.strict_toml import Rule, Strict
from upm_gpu.strict_toml import check as check_rules

DISCOUNT_START = 1.1
"""published: numerator of the size discount"""
PREMIUM_BASE = 0.8
"""published: share of the weight that the size premium starts from"""


class Asset(Strict):
    """Weights of one token."""

    initial_asset: float = Field(ge=0.0, le=1.0)
    maintenance_asset: float = Field(ge=0.0, le=1.0)
    initial_liability: float = Field(ge=1.0)
    maintenance_liability: float = Field(ge=1.0)
    imf: float = Field(ge=0.0, description="by the square root of the size in coins")


class PerpetualTerms(Strict):
    """Margin ratios of perpetuals and futures."""

    initial: float = Field(gt=0.0, le=1.0)
    maintenance: float = Field(gt=0.0, le=1.0)
    imf: float = Field(ge=0.0)


class Parameters(RuleParameters):
    """The parameter file."""

    assets: dict[str, Asset]
    perpetuals: PerpetualTerms


def check(made: Parameters, name: str, text: str) -> None:
    """Stop at weights whose maintenance is stricter than their initial."""
    check_rules(_rules(made), name, text)


def _rules(made: Parameters) -> Iterator[Rule]:
    for asset, w in made.assets.items():
        good = w.initial_asset <= w.maintenance_asset and w.initial_liability >= w.maintenance_liability
        yield f"assets.{asset}", 56, good, f"the maintenance weights of {asset} are stricter than the initial ones. Exchange them."
    yield "perpetuals.maintenance", 56, made.perpetuals.maintenance <= made.perpetuals.initial, "the maintenance ratio is above the initial one. Give at most that."


def asset_weight(weight: NDArray[np.float64] | float, imf: NDArray[np.float64] | float, size: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Share of an asset that counts.

    >>> round(float(asset_weight(1.0, 0.003, 2000.0)), 5), float(asset_weight(0.8, 0.003, 2000.0))
    (0.96987, 0.8)
    """
    return np.minimum(weight, DISCOUNT_START / (1.0 + imf * np.sqrt(size)))


def liability_weight(weight: NDArray[np.float64] | float, imf: NDArray[np.float64] | float, size: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """What a debt counts; of a margin ratio in the same way."""
    return np.maximum(weight, PREMIUM_BASE * np.asarray(weight) + imf * np.sqrt(size))


def margin(held: Held, parameters: Parameters, values: Values) -> RuleMargin:
    """Margins of every unit. Raises InputError UPM-CF-131 for options and for assets without weights."""
    terms = held.terms
    refuse_options(held, parameters)
    spot = terms.kind == SPOT
    weights = _weights(held, parameters)
    tokens = held.grouped(terms.underlying, spot)
    quantity = tokens.totals(np.ones(terms.count))
    price = np.zeros(len(terms.underlyings))
    price[terms.underlying[spot]] = terms.index[spot] * terms.exchange[spot]
    size, value, mine = np.abs(quantity), np.abs(quantity) * price[tokens.label], weights[tokens.label].T
    owed = quantity < 0.0
    discount, premium = asset_weight(mine[0], mine[4], size), liability_weight(mine[2], mine[4], size)
    coins = np.where(terms.inverse, 1.0 / terms.forward, 1.0)
    line = ~spot[held.instrument]
    ratio = {which: liability_weight(getattr(parameters.perpetuals, which), parameters.perpetuals.imf, np.abs(held.quantity) * coins[held.instrument]) for which in ("initial", "maintenance")}
    notional = np.where(line, np.abs(held.quantity) * notional_of_one(terms)[held.instrument], 0.0)
    units = len(held.units)

    def total(unit: NDArray[np.int32], amount: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(unit, amount, units).astype(np.float64)

    charges = {"asset_discount": total(tokens.unit, np.where(owed, 0.0, value * (1.0 - discount))), "liability_premium": total(tokens.unit, np.where(owed, value * (premium - 1.0), 0.0)),
               "perpetuals": total(held.unit, notional * ratio["initial"])}
    maintenance = total(tokens.unit, value * np.where(owed, mine[3] - 1.0, 1.0 - mine[1])) + total(held.unit, notional * ratio["maintenance"])
    return composed(held.units, charges, maintenance, ("",) * units)


def refuse_options(held: Held, parameters: RuleParameters) -> None:
    """Raise InputError UPM-CF-131 where a book holds an option that the venue does not list."""
    found = np.flatnonzero(held.terms.kind == OPTION)
    if len(found):
        raise InputError("UPM-CF-131", f"{parameters.name} {parameters.version} margins no options, and the book holds {held.terms.instrument_id[found[0]]}"
                         f"{f' and {len(found) - 1} more' if len(found) > 1 else ''}. Leave them out, or take another rule book.")


def missing_asset(parameters: RuleParameters, assets: list[str], key: str) -> InputError:
    """UPM-CF-131 for assets that are held and have no entry."""
    return InputError("UPM-CF-131", f"{parameters.name} {parameters.version} has no weight of the held asset {', '.join(assets)}. Add it under [{key}] in a new version of the file.")


def _weights(held: Held, parameters: Parameters) -> NDArray[np.float64]:
    """(C, 5) weights by underlying; those that are not held as tokens are not read."""
    terms = held.terms
    tokens = {terms.underlyings[u] for u in np.unique(terms.underlying[terms.kind == SPOT])}
    missing = sorted(tokens - set(parameters.assets))
    if missing:
        raise missing_asset(parameters, missing, "assets.NAME")
    known = [parameters.assets.get(u) for u in terms.underlyings]
    return np.array([[0.0] * 5 if w is None else [w.initial_asset, w.maintenance_asset, w.initial_liability, w.maintenance_liability, w.imf] for w in known]).reshape(len(known), 5)
