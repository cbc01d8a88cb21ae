"""Options on two assets in a book: spread, maximum and minimum, priced directly in every scenario (`formula/pair.py`) and never from a table.

Both assets are followed by their own forward of the expiry and their own volatility: an option on the better or the worse of two reads each smile at its strike, a spread at
today's forward of each. The correlation is that of the terms; where they have none, the model's of the two levels.

Verified by `tests/end_to_end/test_two_asset_book.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from upm_gpu.domain.instrument import TWO_ASSETS, Exotic, Instrument, Option
from upm_gpu.errors import InputError
from upm_gpu.formula.pair import MAXIMUM, MINIMUM, SPREAD
from upm_gpu.market.levels import quote_price
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.model.regimes import BASE, RegimeInForce
from upm_gpu.scenario.sets import BLOCK, ScenarioSet

PAYOFFS = {"spread": SPREAD, "maximum_of_two": MAXIMUM, "minimum_of_two": MINIMUM}
PILOT_BLOCKS = 4
"""blocks of scenarios from which a correlation is taken where the model has no matrix: within 0.008"""
REACH = 7.0
"""standard deviations the nodes go to either side of the integrand: what lies beyond is 3e-12"""
ROOM = 0.6
"""the ratio of two volatilities may fall to this share in a scenario, or rise to its inverse"""
STEPS_A_BEND = 0.9
"""step over the effective width w / sqrt(1 + w^2): an error of 2 exp(-2 pi^2 / 0.81), 5e-11, at the narrowest bend that is covered"""
MOST_HALF_NODES = 512


def on_two(instrument: object) -> bool:
    """Whether it is an option on two assets."""
    return isinstance(instrument, Exotic) and instrument.product in TWO_ASSETS


def second_leg(option: Exotic, strike: float) -> Option:
    """A plain option on the second asset, struck where its smile is read."""
    return Option(option.instrument_id, option.underlying_2, option.settlement, option.quote_currency, option.contract_size, option.expiry, strike, option.option_type)


def options_read(instruments: Iterable[Instrument]) -> list[Option]:
    """Every option and the second asset of those on two: whose levels, volatilities and surfaces a book reads."""
    found: list[Option] = []
    for i in instruments:
        if isinstance(i, Option):
            found.append(i)
        if isinstance(i, Exotic) and on_two(i):
            found.append(second_leg(i, i.strike))
    return found


def leg_at_its_smile(option: Exotic, market: MarketSnapshot) -> Option:
    """The second asset at the strike its volatility is read at."""
    leg = second_leg(option, option.strike)
    return replace(leg, strike=quote_price(market, leg)) if option.product == "spread" else leg


def with_correlations(instruments: Sequence[Instrument], regimes: Sequence[RegimeInForce], scenarios: ScenarioSet) -> tuple[tuple[Instrument, ...], tuple[str, ...]]:
    """The same instruments, every option on two assets with a correlation, and what is to be said of those that had none. Raises InputError UPM-PR-099."""
    made: list[Instrument] = []
    said: dict[tuple[str, str], str] = {}
    for i in instruments:
        if isinstance(i, Exotic) and on_two(i) and i.correlation is None:
            pair = f"log_level[{i.underlying}]", f"log_level[{i.underlying_2}]"
            absent = [name for name in pair if name not in scenarios.state_names]
            if absent:
                raise InputError("UPM-PR-099", f"{i.instrument_id}: no correlation in its terms, and the model makes no {absent[0]}. Give the correlation.")
            rho = model_correlation(pair, regimes, scenarios)
            said[pair] = (f"UPM-PR-098 options on {i.underlying} and {i.underlying_2} whose terms have no correlation ({i.instrument_id} is one) are priced at {rho:.4f}, the model's of "
                          f"{pair[0]} and {pair[1]}.")
            i = replace(i, correlation=rho)
        made.append(i)
    return tuple(made), tuple(said.values())


def model_correlation(pair: tuple[str, str], regimes: Sequence[RegimeInForce], scenarios: ScenarioSet) -> float:
    """Correlation of two states: the model's own as estimated, else that of the first scenarios at the last date by the twins."""
    from upm_gpu.model.registry import reference_states

    for regime in regimes:
        if regime.name == BASE and set(pair) <= set(regime.factors):
            return float(regime.correlation[regime.factors.index(pair[0]), regime.factors.index(pair[1])])
    drawn = reference_states(scenarios, 0, min(scenarios.count, PILOT_BLOCKS * BLOCK))[0]
    return float(np.corrcoef(*(drawn[-1, scenarios.state_names.index(name)] for name in pair))[0, 1])


def narrowest_bend(option: Exotic, volatility: float, volatility_2: float) -> float:
    """Width w of the sharpest bend of the integrands, in standard deviations of the variable they run over.

    A spread: s1 sqrt(1 - rho^2) over the most that ln F1 - ln(F2 + K) moves, max(|rho s1|, |rho s1 - s2|), given the asset it is conditioned on. The better or worse of two: of each of
    the three correlations r the bend of one factor is sqrt((1 - |r|) / |r|), and two of them at one place bend by 1 / sqrt 2 of that.
    """
    rho, free = _correlation(option)
    if option.product == "spread":
        first, second = (volatility_2, volatility) if option.strike < 0.0 else (volatility, volatility_2)
        return first * free / max(abs(rho) * first, abs(rho * first - second))
    ratio = math.sqrt(volatility**2 + volatility_2**2 - 2.0 * rho * volatility * volatility_2)
    pairs = (rho, free), ((rho * volatility_2 - volatility) / ratio, volatility_2 * free / ratio), ((rho * volatility - volatility_2) / ratio, volatility * free / ratio)
    return min(rest / math.sqrt(2.0 * (1.0 + abs(r)) * max(abs(r), 1e-9)) for r, rest in pairs)  # rest^2 = 1 - r^2, without cancellation


def nodes(option: Exotic, volatility: float, volatility_2: float, years: float) -> tuple[int, float]:
    """Nodes either side of 0 and their step, for volatilities and time to expiry today. Every |r| is largest at an end of the room for the ratio of volatilities: r1 and r2 are cosines of angles of the triangle
    with sides s1, s2, which open and close with s1 / s2. Raises InputError UPM-PR-099 for assets so alike or so unlike that the integrals would need too many."""
    rho, free = _correlation(option)
    if not (free > 0.0 and volatility > 0.0 and volatility_2 > 0.0):
        raise _too_alike(option, volatility, volatility_2)
    width = min(narrowest_bend(option, volatility * move, volatility_2) for move in (ROOM, 1.0, 1.0 / ROOM))
    step = min(STEPS_A_BEND * width / math.sqrt(1.0 + width * width), 0.5)
    first = volatility_2 if option.strike < 0.0 else volatility
    # The forward given z is that at 0 times exp(rho s1 z): its mean lies rho s1 from 0, where volatility has room to rise.
    reach = REACH + (abs(rho) * first * math.sqrt(years) / ROOM if option.product == "spread" else 0.0)
    if not step * MOST_HALF_NODES >= reach:
        raise _too_alike(option, volatility, volatility_2)
    return math.ceil(reach / step), step


def _correlation(option: Exotic) -> tuple[float, float]:
    """rho and sqrt(1 - rho^2)."""
    assert option.correlation is not None
    return option.correlation, math.sqrt(max((1.0 - option.correlation) * (1.0 + option.correlation), 0.0))


def _too_alike(option: Exotic, volatility: float, volatility_2: float) -> InputError:
    return InputError("UPM-PR-099", f"{option.instrument_id}: volatilities {volatility:.3g} and {volatility_2:.3g} with correlation {option.correlation:.4g} leave too little of one asset beside the other for its "
                      "integral. Check the correlation and the quotes, or leave the instrument out.")


__all__ = ["PAYOFFS", "leg_at_its_smile", "model_correlation", "narrowest_bend", "nodes", "on_two", "options_read", "second_leg", "with_correlations"]
