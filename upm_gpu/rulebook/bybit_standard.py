"""Bybit's margin of options outside portfolio margin: every short option alone, long ones none. The baseline that portfolio margin is compared with.

    maintenance = [max(m S, m M) + M + l S] |q|                      m maintenance rate, l liquidation fee rate, S index, M mark
    initial     = max{ [max(a S - O, b S) + max(E, M)] |q|, maintenance }     a, b largest and smallest rate, O out-of-the-money amount, E entry price

O is max(K - S, 0) of a call and max(S - K, 0) of a put. Positions here carry no entry price of their own, so E is the mark. Futures and perpetuals take a
share of their notional, net by contract. Source: Bybit help centre, Initial and Maintenance Margin Calculation (Options); see docs/methodologies/bybit_standard.md.
Verified: tests/known_answers/test_venue_rules.py (published examples).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from upm_gpu.rulebook.frame.grid import Values, local_values, reporting_values, unmoved
from upm_gpu.rulebook.frame.held import Held
from upm_gpu.rulebook.frame.parameters import RuleParameters
from upm_gpu.rulebook.frame.result import RuleMargin, composed
from upm_gpu.rulebook.frame.terms import FUTURE, OPTION, PERPETUAL, Terms
from upm_gpu.strict_toml import Rule
from upm_gpu.strict_toml import check as check_rules


class Parameters(RuleParameters):
    """The parameter file; shares of the index, of the notional for futures."""

    maintenance_rate: float = Field(ge=0.0, le=1.0)
    liquidation_fee_rate: float = Field(ge=0.0, le=1.0)
    largest_initial_rate: float = Field(ge=0.0, le=1.0)
    smallest_initial_rate: float = Field(ge=0.0, le=1.0)
    futures_initial: float = Field(gt=0.0, le=1.0)
    futures_maintenance: float = Field(gt=0.0, le=1.0)


def check(made: Parameters, name: str, text: str) -> None:
    """Stop at rates in the wrong order."""
    check_rules(_rules(made), name, text)


def _rules(made: Parameters) -> Iterator[Rule]:
    yield ("smallest_initial_rate", 56, made.smallest_initial_rate <= made.largest_initial_rate,
           f"smallest_initial_rate {made.smallest_initial_rate:g} is above largest_initial_rate {made.largest_initial_rate:g}. Exchange them.")
    yield ("futures_maintenance", 56, made.futures_maintenance <= made.futures_initial,
           f"futures_maintenance {made.futures_maintenance:g} is above futures_initial {made.futures_initial:g}. Give at most that.")


def short_option_maintenance(index: NDArray[np.float64], mark: NDArray[np.float64], parameters: Parameters) -> NDArray[np.float64]:
    """(N,) maintenance margin of one short unit."""
    rate = parameters.maintenance_rate
    return np.asarray(np.maximum(rate * index, rate * mark) + mark + parameters.liquidation_fee_rate * index)


def short_option_initial(index: NDArray[np.float64], strike: NDArray[np.float64], sign: NDArray[np.float64], mark: NDArray[np.float64], entry: NDArray[np.float64],
                         parameters: Parameters) -> NDArray[np.float64]:
    """(N,) initial margin of one short unit; sign +1 call, -1 put."""
    outside = np.maximum(sign * (strike - index), 0.0)
    asked = np.maximum(parameters.largest_initial_rate * index - outside, parameters.smallest_initial_rate * index) + np.maximum(entry, mark)
    return np.maximum(asked, short_option_maintenance(index, mark, parameters))


def margin(held: Held, parameters: Parameters, values: Values) -> RuleMargin:
    """Margins of every unit."""
    terms = held.terms
    option, future = terms.kind == OPTION, terms.of_kind(FUTURE, PERPETUAL)
    today = unmoved(terms)
    mark = np.where(option, reporting_values(terms, today, local_values(terms, today, values))[:, 0], 0.0)
    index, strike = terms.index * terms.exchange, np.nan_to_num(terms.strike) * terms.exchange
    initial_unit = np.where(option, short_option_initial(index, strike, terms.sign, mark, mark, parameters), 0.0)
    maintenance_unit = np.where(option, short_option_maintenance(index, mark, parameters), 0.0)
    short = np.maximum(-held.quantity, 0.0)
    notional = np.where(future, notional_of_one(terms), 0.0)
    gross = _by_unit(held, np.abs(held.quantity) * notional[held.instrument])
    options = _by_unit(held, short * initial_unit[held.instrument])
    maintenance = _by_unit(held, short * maintenance_unit[held.instrument]) + parameters.futures_maintenance * gross
    return composed(held.units, {"short_options": options, "futures": parameters.futures_initial * gross}, maintenance, ("",) * len(held.units))


def notional_of_one(terms: Terms) -> NDArray[np.float64]:
    """(N,) reporting currency: an inverse future is counted in its quote currency, a linear one in units of the underlying."""
    return np.where(terms.inverse, 1.0, terms.forward) * terms.exchange


def _by_unit(held: Held, amount: NDArray[np.float64]) -> NDArray[np.float64]:
    """(U,) sum over a unit's lines, in their order."""
    return np.bincount(held.unit, amount, len(held.units)).astype(np.float64)
