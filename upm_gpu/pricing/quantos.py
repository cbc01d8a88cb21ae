"""Options paid in another currency at a fixed rate: where the volatility of the exchange rate and its correlation come from.

X, the value of a unit of the quote currency in the currency that is paid, moves by log_fx[quote] - log_fx[paid]; the forward is F exp(-correlation sigma_S sigma_X T). Both numbers are those of
the terms; where blank, the model's over the longest horizon, from its first scenarios by the twins. They do not move in a scenario, sigma_S and T do (`formula/families.py` quanto).

Verified by `tests/end_to_end/test_quanto_book.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.instrument import Instrument, Option
from upm_gpu.errors import InputError
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.scenario.sets import BLOCK, SampledWalk, ScenarioSet

PILOT_BLOCKS = 4
"""blocks of scenarios from which the model's numbers are taken: the volatility within 0.6 % of itself, the correlation within 0.008 (a standard error)"""


def drift_of(option: Option) -> float:
    """Correlation times volatility of the exchange rate."""
    assert option.quanto is not None and option.quanto.volatility is not None and option.quanto.correlation is not None, "with_rates comes before the compilation"
    return option.quanto.volatility * option.quanto.correlation


def with_rates(instruments: Sequence[Instrument], scenarios: ScenarioSet, market: MarketSnapshot, days_per_year: float) -> tuple[tuple[Instrument, ...], tuple[str, ...]]:
    """The same instruments, every quanto with a volatility and a correlation, and what is to be said of those that had none. Raises InputError UPM-PR-110."""
    made: list[Instrument] = []
    found: dict[tuple[str, str, str], tuple[float, float]] = {}
    said: dict[tuple[str, str, str], str] = {}
    for i in instruments:
        if isinstance(i, Option) and i.quanto is not None and (i.quanto.volatility is None or i.quanto.correlation is None):
            key = i.underlying, i.quote_currency, i.quanto.currency
            if key not in found:
                found[key] = model_numbers(i, scenarios, market, days_per_year)
                said[key] = (f"UPM-PR-111 options on {i.underlying} paid in {i.quanto.currency} whose terms have no volatility or correlation of {i.quote_currency} in {i.quanto.currency} "
                             f"({i.instrument_id} is one) take the model's: {found[key][0]:.4f} a year and {found[key][1]:.4f}.")
            volatility, correlation = (own if given is None else given for own, given in zip(found[key], (i.quanto.volatility, i.quanto.correlation), strict=True))
            i = replace(i, quanto=replace(i.quanto, volatility=volatility, correlation=correlation))
        made.append(i)
    return tuple(made), tuple(said.values())


def model_numbers(option: Option, scenarios: ScenarioSet, market: MarketSnapshot, days_per_year: float) -> tuple[float, float]:
    """(volatility a square-root year, correlation) of the exchange rate of a quanto under the model."""
    from upm_gpu.model.registry import reference_states

    assert option.quanto is not None
    plain = scenarios.walk if isinstance(scenarios, SampledWalk) else scenarios
    drawn = reference_states(plain, 0, min(plain.count, PILOT_BLOCKS * BLOCK))[0][-1]
    own = market.spot_currency.get(option.underlying, market.reporting_currency)
    level = _state(f"log_level[{option.underlying}]", option, plain, drawn) + _exchange(own, option, plain, drawn, market) - _exchange(option.quote_currency, option, plain, drawn, market)
    rate = _exchange(option.quote_currency, option, plain, drawn, market) - _exchange(option.quanto.currency, option, plain, drawn, market)
    return float(np.std(rate)) * math.sqrt(days_per_year / float(plain.dates[-1])), float(np.corrcoef(level, rate)[0, 1])


def _state(name: str, option: Option, scenarios: ScenarioSet, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """(S,) of drawn (K, S)."""
    if name not in scenarios.state_names:
        raise InputError("UPM-PR-110", f"{option.instrument_id} is paid in another currency at a fixed rate, its terms leave out volatility or correlation of that exchange rate, and the model makes "
                         f"no {name}. Give payout_volatility and payout_correlation, or add the closes to the market's history.")
    return drawn[scenarios.state_names.index(name)]


def _exchange(currency: str, option: Option, scenarios: ScenarioSet, drawn: NDArray[np.float64], market: MarketSnapshot) -> NDArray[np.float64]:
    """(S,) log-change of a currency in the reporting currency."""
    if currency == market.reporting_currency:
        return np.zeros(drawn.shape[1])
    other = f"log_level[{currency}]"
    return _state(other if other in scenarios.state_names else f"log_fx[{currency}]", option, scenarios, drawn)


__all__ = ["drift_of", "model_numbers", "with_rates"]
