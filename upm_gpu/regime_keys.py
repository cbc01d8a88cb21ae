"""The configuration of correlation stress: `[[model.correlation_regimes]]`, its rules, and what the engine takes of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from upm_gpu.strict_toml import Rule, Strict

if TYPE_CHECKING:
    from upm_gpu.scenario.spec import RegimeSpec

MOST_REGIMES = 16
"""each is a matrix in memory and a row of the report; a mixture of more says nothing"""
KEY = "model.correlation_regimes"
REFUSED = ("historical", "scaled_historical", "filtered_historical")
"""models whose dependence is that of the dates drawn"""


class CorrelationRegime(Strict):
    """A state of the market in which correlations are others."""

    name: str = Field(description="what the report calls it")
    probability: float = Field(default=1.0, description="above 0; what the regimes leave of 1 stays as estimated; 1 forces the regime")
    share: float = Field(default=1.0, description="0 to 1: how far correlations move from the estimate to the target")
    toward: Literal["one", "stressed_period"] = Field(default="one", description="one: prices together, volatilities and model.inverse_assets against them; or a matrix of the past")
    start: str = Field(default="", description="stressed_period: its first day, such as 2020-03-01; blank with end: stressed_correlation of the parameter file")
    end: str = Field(default="", description="stressed_period: its last day, at the latest that of the valuation")


def day(text: str) -> datetime | None:
    """The day or instant of an ISO date, in UTC where it names no zone; None where it is none."""
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def regime_rules(model: Any) -> list[Rule]:
    """What the regimes of a model section must hold."""
    regimes, names = model.correlation_regimes, [r.name for r in model.correlation_regimes]
    total = sum(r.probability for r in regimes)
    rules: list[Rule] = [
        (KEY, 46, model.name not in REFUSED or not regimes,
         f"model {model.name} draws whole dates of the history, so there is no correlation to replace by a regime. Use gbm, merton, heston, bates or garch for correlation regimes."),
        (KEY, 47, len(regimes) <= MOST_REGIMES, f"{len(regimes)} correlation regimes; give at most {MOST_REGIMES}."),
        (KEY, 47, len(set(names)) == len(names) and all(n.strip() for n in names), f"names {', '.join(names)} of the correlation regimes; give each a name of its own."),
        (KEY, 47, total <= 1.0 + 1e-9, f"the probabilities of the correlation regimes sum to {total:g}; give at most 1, the rest stays as estimated."),
        ("model.inverse_assets", 47, len(set(model.inverse_assets)) == len(model.inverse_assets), f"{model.inverse_assets}: an asset is named twice; the regimes turn its sign once."),
    ]
    for i, r in enumerate(regimes):
        key, start, end = f"{KEY}.{i}", day(r.start) if r.start else None, day(r.end) if r.end else None
        rules += [
            (f"{key}.probability", 47, 0.0 < r.probability <= 1.0, f"{r.probability:g}; a regime needs a probability above 0 and at most 1."),
            (f"{key}.share", 47, 0.0 <= r.share <= 1.0, f"{r.share:g}; a regime needs a share from 0 (as estimated) to 1 (the target)."),
            (f"{key}.start", 48, not (r.start or r.end) or r.toward == "stressed_period", f"{r.start or r.end}: dates belong to a stressed period and toward is {r.toward}. Leave start and end blank, or use stressed_period."),
            (f"{key}.start", 48, not (r.start or r.end) or (start is not None and end is not None),
             f"{r.start!r} to {r.end!r} is no period. Give the start and end of the stressed period as dates, such as 2020-03-01, or neither."),
            (f"{key}.end", 48, start is None or end is None or start < end, f"the stressed period ends at {r.end}, not after its start {r.start}. Give a later end."),
        ]
    return rules


def regime_specs(model: Any) -> tuple[RegimeSpec, ...]:
    """The regimes as the engine takes them."""
    from upm_gpu.scenario.spec import RegimeSpec

    return tuple(RegimeSpec(r.name, r.probability, r.share, r.toward, r.start, r.end) for r in model.correlation_regimes)
