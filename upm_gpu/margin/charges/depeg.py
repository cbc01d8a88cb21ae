"""Stablecoin depeg: collateral and contracts in different stablecoins are treated as one dollar until they are not.

  collateral: shock_a x value counted of each stablecoin posted
  contracts:  per underlying, h = (sum over currencies c of |D_c| - |sum_c D_c|) / 2, the delta that is hedged by contracts settled in another currency;
              tiered rates on h: the part of h inside each tier x its rate
  amount = collateral + contracts

D_c is delta in money of contracts settled in c (linear: the quote currency; inverse contracts settle in the coin and count as currency "coin"). Shocks and tiers may depend on the index of the coin:
`index` below `stressed_index` multiplies both by (1 - index) / (1 - stressed_index), at least 1.

Source: OKX's MR9 (cross-stable hedges, tiered by size and by index price) and Derive's peg contingency (a factor that grows with the distance below a threshold); USDC at 0.88 on 2023-03-11, UST in May 2022. Continuous and
piecewise linear in quantity; tiers grow, so the charge is super-additive by design. Not a Monte Carlo figure.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field, model_validator

from upm_gpu.margin.cells import by_name, cells_by
from upm_gpu.margin.requests import (
    Charge,
    ExposureRequest,
    Measured,
    MeasureRequest,
    PledgedRequest,
    Request,
    floor_at_zero,
)
from upm_gpu.margin.units import sum_by
from upm_gpu.strict_toml import Strict

NAME = "depeg"


class Parameters(Strict):
    """Keys of the charge."""

    shocks: dict[str, float] = Field(default={"USDC": 0.02, "USDT": 0.02}, description="by stablecoin, share of its counted value")
    tiers: list[list[float]] = Field(default=[[0.0, 0.0], [1e6, 0.005], [1e7, 0.02]], min_length=1, description="[from, rate]: rate of the hedged delta beyond `from`, ascending")
    index: dict[str, float] = Field(default={}, description="price of a stablecoin today, 1 where not listed")
    stressed_index: float = Field(default=0.995, gt=0.0, lt=1.0, description="below it the charge grows")

    @model_validator(mode="after")
    def _fits(self) -> Parameters:
        if any(len(t) != 2 or t[0] < 0.0 or not 0.0 <= t[1] <= 1.0 for t in self.tiers) or self.tiers[0][0] != 0.0:
            raise ValueError("tiers must be [from, rate] with rates from 0 to 1, the first from 0")
        if any(b[0] <= a[0] for a, b in zip(self.tiers, self.tiers[1:], strict=False)):
            raise ValueError("tiers overlap: each must begin above the one before")
        if any(not 0.0 <= s <= 1.0 for s in self.shocks.values()) or any(not 0.0 < x <= 2.0 for x in self.index.values()):
            raise ValueError("shocks must be from 0 to 1 and an index above 0 and at most 2")
        return self


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """What is held and what is posted."""
    return [ExposureRequest(), PledgedRequest()]


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    held, pledged, p, units = measured.exposures, measured.pledged, parameters, len(measured.units)
    assert held is not None
    assert pledged is not None
    grown = {a: max(1.0, (1.0 - x) / (1.0 - p.stressed_index)) for a, x in p.index.items()}
    shock = by_name(pledged.assets, {a: min(1.0, s * grown.get(a, 1.0)) for a, s in p.shocks.items()}, 0.0)
    posted = sum_by(pledged.unit, shock[pledged.asset] * np.maximum(pledged.counted, 0.0), units)
    legs = cells_by(held.unit, held.underlying, held.currency)
    delta = legs.total(held.delta)
    names = cells_by(legs.key[:, 0], legs.key[:, 1])
    hedged = names.to_units(0.5 * (names.total(np.abs(delta)) - np.abs(names.total(delta))), units)
    starts, rates = (np.array([t[i] for t in p.tiers]) for i in (0, 1))
    ends = np.append(starts[1:], np.inf)
    inside = np.clip(hedged[:, None] - starts, 0.0, ends - starts)
    return floor_at_zero(NAME, posted + inside @ rates * max([1.0, *grown.values()]), "a stablecoin that leaves its peg: posted coins, and hedges settled in another currency")
