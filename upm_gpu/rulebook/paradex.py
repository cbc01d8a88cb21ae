"""Paradex portfolio margin: the larger of a scan over 24 weighted scenarios and a minimum for delta, plus provisions for funding and fees.

    net portfolio margin = max(SCAN, sum over underlyings of (net rate |net delta| + hedged rate x hedged delta) x spot)
    net delta = sum q delta,  hedged delta = (sum |q delta| - |net delta|) / 2, in coins of the underlying
    initial = net portfolio margin + funding provision + fee provision;  maintenance = maintenance share x net + provisions
    funding provision = what funding at the given rates costs the account over 8 hours, where it costs;  fee provision = fee rate x gross notional

Options have Black's delta. Only cash is collateral at the venue; posted coins do not enter. That worst losses of underlyings add is a house reading: the
venue's page speaks of one spot price. Source: docs/methodologies/paradex.md. Verified: tests/known_answers/test_venue_grids.py, tests/properties/test_rulebook_laws.py.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from upm_gpu.rulebook.frame.grid import Values, greeks
from upm_gpu.rulebook.frame.held import Held
from upm_gpu.rulebook.frame.parameters import RuleParameters
from upm_gpu.rulebook.frame.result import RuleMargin, composed
from upm_gpu.rulebook.frame.terms import PERPETUAL
from upm_gpu.rulebook.frame.volatility import MultiplicativeShock
from upm_gpu.rulebook.grid import GridScenario, notional, scan_risk
from upm_gpu.strict_toml import Strict


class MinimumDelta(Strict):
    """Shares of the spot value of deltas."""

    net: float = Field(ge=0.0)
    hedged: float = Field(ge=0.0)


class Provisions(Strict):
    """What is set aside beside the risk."""

    funding_8h: dict[str, float] = Field(default={}, description="by underlying: funding of 8 hours as a share of the notional, positive where longs pay")
    fee: float = Field(default=0.0, ge=0.0, description="share of the gross notional")


class Parameters(RuleParameters):
    """The parameter file."""

    netting: Literal["underlying", "account"] = "underlying"
    maintenance_share: float = Field(gt=0.0, le=1.0)
    moving_collateral: list[str] = Field(default=[], description="posted assets that move with the scenarios")
    minimum_delta: MinimumDelta
    provisions: Provisions = Provisions()
    volatility: MultiplicativeShock
    scenarios: list[GridScenario] = Field(min_length=1)


def margin(held: Held, parameters: Parameters, values: Values) -> RuleMargin:
    """Margins of every unit."""
    scan, worst = scan_risk(held, parameters.scenarios, parameters.volatility, parameters.moving_collateral, parameters.netting, values, parameters.name)
    least = minimum_delta(held, parameters, values)
    funding, fee = provisions(held, parameters)
    net = np.maximum(scan, least)
    charges = {"scan": scan, "minimum_delta": net - scan, "funding_provision": funding, "fee_provision": fee}
    decided = tuple("minimum delta" if m > s else w for s, m, w in zip(scan, least, worst, strict=True))
    notes = () if parameters.provisions.funding_8h and parameters.provisions.fee else (
        "no provision for " + " and ".join(w for w, known in (("funding", parameters.provisions.funding_8h), ("fees", parameters.provisions.fee)) if not known) + ": the parameter file gives no rate",)
    return composed(held.units, charges, parameters.maintenance_share * net + funding + fee, decided, notes)


def _counted(held: Held, parameters: Parameters) -> NDArray[np.bool_]:
    asset = np.array(held.terms.underlyings, object)[held.terms.underlying]
    return ~held.terms.collateral | np.isin(asset, parameters.moving_collateral)


def minimum_delta(held: Held, parameters: Parameters, values: Values) -> NDArray[np.float64]:
    """(U,) the minimum for net and hedged delta, reporting currency."""
    terms = held.terms
    worth = greeks(terms, values)["delta"] * terms.index * terms.exchange
    groups = held.grouped(terms.underlying.astype(np.int64), _counted(held, parameters))
    net, gross = np.abs(groups.totals(worth)), groups.absolute(np.abs(worth))
    # rounding: the gross of a book without a hedge is its net
    return groups.by_unit(parameters.minimum_delta.net * net + parameters.minimum_delta.hedged * np.maximum(gross - net, 0.0) / 2.0)


def provisions(held: Held, parameters: Parameters) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(U,) funding of perpetuals that the account would pay net over 8 hours, and fees on the gross notional of what is traded."""
    terms, given = held.terms, parameters.provisions
    size = notional(terms)
    rate = np.array([given.funding_8h.get(u, 0.0) for u in terms.underlyings])[terms.underlying] if terms.count else np.zeros(0)
    cost = held.totals(np.where(terms.kind == PERPETUAL, size * rate, 0.0))
    traded = held.grouped(np.zeros(terms.count, np.int64), ~terms.collateral)
    return np.maximum(cost, 0.0), given.fee * traded.by_unit(traded.absolute(size))
