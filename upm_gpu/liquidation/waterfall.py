"""Who bears a loss that the defaulter's margin does not cover: layer after layer, to the cent.

  defaulter_contribution   what the defaulter put into the default fund
  own_capital              the house's own, before survivors ("skin in the game")
  survivor_contributions   the default fund, in proportion to what each survivor put in
  assessments              called from survivors beyond that, in the same proportion, from their equity, up to a multiple of their contribution
  insurance_fund           of a venue
  socialised_loss          gains of accounts since the start, in proportion, never more than the gain
  auto_deleveraging        opposite positions take the defaulter's at a price that leaves it no loss (`deleveraging.py`); acts before positions are closed, so nothing is left for it here

What no layer bears is not paid: the market's claim. A fund is made at the start in proportion to initial margin. The sums of every layer are whole cents and add up to the loss exactly.
Sources: Regulation (EU) No 648/2012 (EMIR), article 45 (order of a clearing house); Paradex, Socialized Losses (docs.paradex.trade/risk/socialized-losses.md). Verified by
tests/properties/test_liquidation_laws.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from upm_gpu.liquidation.money import MARKET, Ledger, shared, shared_up_to
from upm_gpu.liquidation.parameters import Fund

INSURANCE, OWN, DEFAULT_FUND, UNPAID = "insurance_fund", "own_capital", "default_fund", "uncovered"
TRANSIT = "survivors"
"""pot through which what survivors pay goes: empty after every layer"""


@dataclass
class Funds:
    """What is left behind the margins, cents; pots of the ledger hold the same amounts."""

    contributions: list[int]
    """(P,) in the default fund"""
    assessments: list[int]
    """(P,) what each can still be asked for"""
    used: dict[str, int] = field(default_factory=dict)
    """by layer, so far"""


def funds_of(fund: Fund, initial: list[int], ledger: Ledger) -> Funds:
    """Fill the pots of a ledger from the initial margins (P,) in cents."""
    total = sum(initial)
    default_fund = round(fund.contributions * total)
    ledger.pots[TRANSIT] = 0
    ledger.pots[INSURANCE] = round(fund.insurance * total) if fund.insurance_amount is None else round(fund.insurance_amount * 100.0)
    ledger.pots[OWN] = round(fund.own_capital * default_fund)
    contributions = shared(default_fund, initial)
    ledger.pots[DEFAULT_FUND] = sum(contributions)
    return Funds(contributions, [int(fund.assessments * c) for c in contributions])


def bear(now: int, losers: list[int], layers: list[str], ledger: Ledger, funds: Funds, survivor: list[bool], gain: list[int]) -> list[dict[str, int]]:
    """Bring parties with negative equity back to nothing: for each who paid, cents by layer. Losses of one round meet a layer together and share it in proportion, so no order of accounts matters.

    `survivor` (P,) are the parties that never defaulted, `gain` (P,) theirs since the start.
    """
    left = [-int(ledger.equity[p]) for p in losers]
    paid: list[dict[str, int]] = [{} for _ in losers]
    for layer in [*layers, UNPAID]:
        if not any(left):
            break
        for k, amount in enumerate(_layer(layer, now, losers, left, ledger, funds, survivor, gain)):
            if amount:
                paid[k][layer] = amount
                left[k] -= amount
                funds.used[layer] = funds.used.get(layer, 0) + amount
    return paid


def _layer(layer: str, now: int, losers: list[int], losses: list[int], ledger: Ledger, funds: Funds, survivor: list[bool], gain: list[int]) -> list[int]:
    """Cents that a layer pays for each loss."""
    total = sum(losses)
    if layer == "defaulter_contribution":
        parts = [min(loss, funds.contributions[p]) for p, loss in zip(losers, losses, strict=True)]
        for p, part in zip(losers, parts, strict=True):
            funds.contributions[p] -= part
        source = DEFAULT_FUND
    elif layer in (OWN, INSURANCE):
        parts, source = shared(min(total, ledger.pots[layer]), losses), layer
    elif layer == UNPAID:
        parts, source = losses, MARKET
    elif layer == "survivor_contributions":
        weights = [c if s else 0 for c, s in zip(funds.contributions, survivor, strict=True)]
        given = shared_up_to(total, weights, weights)
        funds.contributions[:] = [c - g for c, g in zip(funds.contributions, given, strict=True)]
        parts, source = shared(sum(given), losses), DEFAULT_FUND
    elif layer in ("assessments", "socialised_loss"):
        asked = funds.assessments if layer == "assessments" else gain
        weights = [max(0, a) if s else 0 for a, s in zip(asked, survivor, strict=True)]
        given = shared_up_to(total, weights, [min(w, max(0, e)) for w, e in zip(weights, ledger.equity.tolist(), strict=True)])
        asked[:] = [a - g for a, g in zip(asked, given, strict=True)]
        ledger.to_parties(now, layer, TRANSIT, -np.array(given, np.int64))
        parts, source = shared(sum(given), losses), TRANSIT
    else:
        return [0] * len(losers)
    amounts = np.zeros(len(ledger.equity), np.int64)
    amounts[losers] = parts
    ledger.to_parties(now, layer, source, amounts)
    return parts
