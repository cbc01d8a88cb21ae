"""Spreads of SPAN on composite deltas: between tiers of one commodity (a charge), between commodities (a credit).

A spread takes what is opposite and left in its two legs, in order of priority:

    inside a tier    n = min(long, short)
    between tiers    n = min(long_i / r_i, short_j / r_j), then the same with long and short exchanged
    between goods    n = min(|net_a| / r_a, |net_b| / r_b) where the nets are opposite

charge = n x rate; credit = sum over the legs of n r_leg x price risk of a delta x rate. Every n is piecewise linear in the deltas, so charges are
continuous in quantity, but who spreads with whom follows the priorities: a small trade can change every later spread.
Source: CME SPAN, intracommodity and intercommodity spreads. Verified: tests/known_answers/test_span.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TierSpread:
    """A calendar spread of two tiers (counted from 0) of one commodity; ratios are deltas a spread."""

    first: int
    second: int
    rate: float
    """money a spread"""
    first_ratio: float = 1.0
    second_ratio: float = 1.0


@dataclass(frozen=True)
class CommoditySpread:
    """A credit between two commodities (counted from 0)."""

    first: int
    second: int
    credit: float
    """share of the price risk that is given back, 0 to 1"""
    first_ratio: float = 1.0
    second_ratio: float = 1.0


@dataclass(frozen=True)
class Calendar:
    """What calendar spreads took, (G,) or (G, T)."""

    charge: NDArray[np.float64]
    long: NDArray[np.float64]
    """(G, T) deltas left"""
    short: NDArray[np.float64]


def tier_deltas(delta: NDArray[np.float64], group: NDArray[np.integer], tier: NDArray[np.integer], groups: int, tiers: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(long, short), each (groups, tiers) and not negative, of net deltas by contract month (M,)."""
    long, short = np.zeros((groups, tiers)), np.zeros((groups, tiers))
    np.add.at(long, (group, tier), np.maximum(delta, 0.0))
    np.add.at(short, (group, tier), np.maximum(-delta, 0.0))
    return long, short


def calendar_spreads(long: NDArray[np.float64], short: NDArray[np.float64], spreads: Sequence[TierSpread]) -> Calendar:
    """Form the spreads in their order; long and short are (G, T)."""
    long, short = long.copy(), short.copy()
    charge = np.zeros(len(long))
    for s in spreads:
        sides = ((long, short),) if s.first == s.second else ((long, short), (short, long))
        for one, other in sides:
            formed = np.minimum(one[:, s.first] / s.first_ratio, other[:, s.second] / s.second_ratio)
            one[:, s.first] = np.maximum(one[:, s.first] - formed * s.first_ratio, 0.0)
            other[:, s.second] = np.maximum(other[:, s.second] - formed * s.second_ratio, 0.0)
            charge += formed * s.rate
    return Calendar(charge, long, short)


def commodity_credits(net: NDArray[np.float64], price_risk: NDArray[np.float64], spreads: Sequence[CommoditySpread]) -> NDArray[np.float64]:
    """(U, C) credit of every commodity. net (U, C) deltas and price_risk (U, C) money a delta; spreads in their order of priority."""
    left = net.copy()
    credit = np.zeros_like(net)
    for s in spreads:
        a, b = left[:, s.first], left[:, s.second]
        formed = np.where(a * b < 0.0, np.minimum(np.abs(a) / s.first_ratio, np.abs(b) / s.second_ratio), 0.0)
        for place, ratio in ((s.first, s.first_ratio), (s.second, s.second_ratio)):
            used = np.minimum(formed * ratio, np.abs(left[:, place]))
            credit[:, place] += used * price_risk[:, place] * s.credit
            left[:, place] -= np.sign(left[:, place]) * used
    return credit


def commodity_risk(scanning: NDArray[np.float64], calendar: NDArray[np.float64], delivery: NDArray[np.float64], credit: NDArray[np.float64],
                   minimum: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The parts of max(scanning + calendar + delivery - credit, minimum), none negative: the credit reduces scanning first, then calendar, then delivery.

    All broadcast to one shape; the parts sum to the risk of the commodity.
    """
    left = np.broadcast_to(credit, np.broadcast(scanning, credit, minimum).shape).copy()
    parts = {}
    for name, part in (("scanning", scanning), ("calendar_spread", calendar), ("delivery", delivery)):
        parts[name] = np.maximum(part - left, 0.0)
        left = np.maximum(left - part, 0.0)
    parts["short_option_minimum"] = np.maximum(minimum - (parts["scanning"] + parts["calendar_spread"] + parts["delivery"]), 0.0)
    return parts


def requirement(risk: NDArray[np.float64] | float, net_option_value: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """max(0, risk - net option value): a long option's value pays for risk, a short one's adds to what must be posted."""
    return np.maximum(np.asarray(risk, np.float64) - net_option_value, 0.0)
