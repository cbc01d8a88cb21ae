"""Binance portfolio margin: no offsets but one ratio of the whole account, uniMMR.

    adjusted equity = sum over assets of min(net p c, net p)                  c collateral rate; a debt counts in full
    maintenance MM  = sum over futures of (notional x rate - deduction) + sum over loans of value x loan rate
    uniMMR          = adjusted equity / MM;   above 1.5 free, to 1.2 a reminder, to 1.05 reduce only, below that liquidation

As a margin against equity at market: initial = 1.2 MM + haircut, maintenance = 1.05 MM + haircut with haircut = sum of net p (1 - c) of what is owned, so that
"equity >= initial" is "uniMMR >= 1.2". Source: Binance, unified maintenance margin ratio; see docs/methodologies/binance_unimmr.md.
Verified: tests/known_answers/test_venue_rules.py (parts of the published example and the rest by hand).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from upm_gpu.rulebook.bybit_standard import notional_of_one
from upm_gpu.rulebook.drift import missing_asset, refuse_options
from upm_gpu.rulebook.frame.grid import Values
from upm_gpu.rulebook.frame.held import Held
from upm_gpu.rulebook.frame.parameters import RuleParameters
from upm_gpu.rulebook.frame.result import RuleMargin, composed
from upm_gpu.rulebook.frame.terms import SPOT
from upm_gpu.strict_toml import Rule, Strict
from upm_gpu.strict_toml import check as check_rules


class Bracket(Strict):
    """A tier of the notional of one contract."""

    from_notional: float = Field(ge=0.0, description="reporting currency")
    rate: float = Field(gt=0.0, le=1.0)


class Parameters(RuleParameters):
    """The parameter file."""

    collateral_rates: dict[str, float] = Field(description="share of an asset that counts")
    brackets: list[Bracket] = Field(min_length=1, description="of futures and perpetuals, ascending")
    loan_rate: float = Field(gt=0.0, le=1.0)
    initial_ratio: float = Field(gt=1.0, le=10.0, description="uniMMR below which only reducing orders are taken")
    liquidation_ratio: float = Field(ge=1.0, le=10.0)


def check(made: Parameters, name: str, text: str) -> None:
    """Stop at tiers that overlap or start above 0, and rates outside 0 to 1."""
    check_rules(_rules(made), name, text)


def _rules(made: Parameters) -> Iterator[Rule]:
    starts, rates = [b.from_notional for b in made.brackets], [b.rate for b in made.brackets]
    yield "brackets", 56, starts[0] == 0.0 and starts == sorted(set(starts)), f"the brackets start at {starts}: the first begins at 0 and tiers do not overlap."
    yield "brackets", 56, rates == sorted(rates), f"the rates {rates} of the brackets fall. A larger notional never takes a smaller rate."
    for asset, rate in made.collateral_rates.items():
        yield f"collateral_rates.{asset}", 56, 0.0 <= rate <= 1.0, f"rate {rate:g} of {asset}; give 0 to 1."
    yield "liquidation_ratio", 56, made.liquidation_ratio <= made.initial_ratio, "liquidation_ratio is above initial_ratio. Give at most that."


def adjusted_equity(net_value: NDArray[np.float64], rate: NDArray[np.float64]) -> NDArray[np.float64]:
    """(...,) of net values (..., A) and rates (A,)."""
    return np.asarray(np.minimum(net_value * rate, net_value).sum(axis=-1))


def futures_maintenance(notional: NDArray[np.float64], brackets: list[Bracket]) -> NDArray[np.float64]:
    """(N,) notional x rate - deduction of its tier; the deduction makes it continuous, so each tier's rate holds for its own slice."""
    out = np.zeros_like(notional)
    for b, before in zip(brackets, [0.0, *(b.rate for b in brackets[:-1])], strict=True):
        out += np.maximum(notional - b.from_notional, 0.0) * (b.rate - before)
    return out


def margin(held: Held, parameters: Parameters, values: Values) -> RuleMargin:
    """Margins of every unit. Raises InputError UPM-CF-131 for options and for assets without a collateral rate."""
    terms = held.terms
    refuse_options(held, parameters)
    spot = terms.kind == SPOT
    missing = sorted({terms.underlyings[u] for u in np.unique(terms.underlying[spot])} - set(parameters.collateral_rates))
    if missing:
        raise missing_asset(parameters, missing, "collateral_rates")
    tokens = held.grouped(terms.underlying, spot)
    value = tokens.totals(np.where(spot, terms.index * terms.exchange, 0.0))
    rate = np.array([parameters.collateral_rates.get(u, 0.0) for u in terms.underlyings])[tokens.label] if len(value) else np.zeros(0)
    units = len(held.units)
    haircut = np.bincount(tokens.unit, np.maximum(value, 0.0) * (1.0 - rate), units).astype(np.float64)
    loans = np.bincount(tokens.unit, np.maximum(-value, 0.0) * parameters.loan_rate, units).astype(np.float64)
    notional = np.where(spot[held.instrument], 0.0, np.abs(held.quantity) * notional_of_one(terms)[held.instrument])
    futures = np.bincount(held.unit, futures_maintenance(notional, parameters.brackets), units).astype(np.float64)
    ratio = parameters.initial_ratio
    charges = {"futures": ratio * futures, "loans": ratio * loans, "collateral_haircut": haircut}
    return composed(held.units, charges, parameters.liquidation_ratio * (futures + loans) + haircut, ("",) * units)
