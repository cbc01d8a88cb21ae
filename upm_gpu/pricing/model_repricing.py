"""Which options are priced under the scenarios' own model at the horizon, and what is said of the others.

European options, linear and inverse, on a spot or a future, premium up-front or settled daily. Those with early exercise or further terms, and those quoted in a currency
against which the underlying moves by more than the model's own price, keep their quoted volatilities, which move with the expected average variance. Verified by
tests/properties/test_model_repricing.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from upm_gpu.domain.instrument import Exotic, Option
from upm_gpu.model.pricing_law import PricingLaw
from upm_gpu.pricing.compiled import ModelRequest
from upm_gpu.pricing.states import States
from upm_gpu.pricing.styles import early_exercise

AtQuotes = dict[str, dict[str, int]]
"""reason -> first instrument of a group -> options in it"""


def why_at_quotes(option: Option, laws: Mapping[str, PricingLaw], states: States) -> str:
    """Why an option keeps its quoted volatility; "" where the model prices it."""
    if isinstance(option, Exotic):
        return "further terms"
    if early_exercise(option):
        return "early exercise"
    if option.quanto is not None:
        return "a payment in another currency at a fixed rate"
    level = states.level_in(option.underlying, option.quote_currency)
    if option.underlying not in laws or level != f"log_level[{option.underlying}]" or level not in states.drawn:
        return "a currency in which the model has no price of the underlying"
    return ""


def at_quotes_warning(found: AtQuotes) -> list[str]:
    """A line a reason."""
    lines = []
    for reason, groups in found.items():
        count = sum(groups.values())
        one = count == 1
        lines.append(f"UPM-PR-096 {next(iter(groups))}{'' if one else f' and {count - 1} more'}: {'has' if one else 'have'} {reason} and {'is' if one else 'are'} repriced at quoted volatilities that move; "
                     "model.repricing is model and reaches European options in the model's own currency.")
    return lines


def model_request(group: int, option: Option, law: PricingLaw, reals: Mapping[str, float]) -> ModelRequest:
    """The table a group reads at a horizon."""
    years = reals["expiry_years"]
    base, slope = law.line(years)
    return ModelRequest(option.instrument_id, group, law.operation, law.inputs, law.moving, law.power, base, slope, reals["remaining_years"], years)


__all__ = ["AtQuotes", "at_quotes_warning", "model_request", "why_at_quotes"]
