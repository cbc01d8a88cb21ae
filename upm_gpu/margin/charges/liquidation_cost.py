"""Cost of closing out: half the bid-ask spread on net delta and net vega by underlying and tenor, growing with size against volume.

  delta cell (underlying u, tenor b):  c = |D_ub| x delta_half_spread[b] x max(1, |D_u| / (participation x volume_u x days))^growth
  vega cell:                           v = |V_ub| x vega_half_spread[b] x max(1, |V_u| / (participation x vega_volume_u x days))^growth
  C_D = sqrt((1 - rho) sum c^2 + rho (sum c)^2),  C_V likewise over v
  amount = max(sqrt(C_D^2 + C_V^2 + 2 rho_DV C_D C_V), minimum_per_contract x sum |quantity| of futures, perpetuals and options)

D is delta in money (P&L for +100 %), V in money for a volatility point, |D_u| and |V_u| the sums of |cells| of the underlying; days are those of the margin period. Long and short net inside a cell and nowhere
else: closing two tenors is two trades. rho is the correlation of what cells cost: at 1 costs add, at 0 they are independent. Spread of the root of size: the square-root law of market
impact (growth 0.5; J. Gatheral, "No-dynamic-arbitrage and market impact", Quantitative Finance 10, 2010).

Source of the design: OCC's liquidation cost model, 84 FR 23090 (SR-OCC-2019-802): delta and vega liquidation grids with stressed spreads, adjusted for correlation and concentration, a minimum a contract.
Sub-additive where growth is 0 (a norm of cells; the minimum is linear); with growth a merged book may cost more than its parts, which is what concentration means. Not a Monte Carlo figure.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from upm_gpu.margin.cells import Cells, by_name, cells_by
from upm_gpu.margin.requests import Charge, ExposureRequest, Measured, MeasureRequest, Request, floor_at_zero
from upm_gpu.margin.units import sum_by
from upm_gpu.strict_toml import Strict

NAME = "liquidation_cost"
Spread = list[float]


class Parameters(Strict):
    """Keys of the charge."""

    tenor_days: list[float] = Field(default=[7.0, 30.0, 90.0], min_length=1, description="edges of the tenors, ascending; spot and perpetuals are in the first")
    delta_half_spread: Spread = Field(default=[0.0005, 0.0005, 0.001, 0.0015], description="share of delta, one more than edges")
    vega_half_spread: Spread = Field(default=[2.0, 1.0, 0.7, 0.5], description="volatility points, one more than edges")
    volume: dict[str, float] = Field(default={}, description="delta traded a day by underlying, money")
    default_volume: float = Field(default=1e12, gt=0.0, description="of underlyings not listed")
    vega_volume: dict[str, float] = Field(default={}, description="vega traded a day by underlying, money a point")
    default_vega_volume: float = Field(default=1e12, gt=0.0, description="of underlyings not listed")
    participation: float = Field(default=0.25, gt=0.0, le=1.0, description="share of a day's volume that is closed without moving the spread")
    growth: float = Field(default=0.5, ge=0.0, le=2.0, description="power of size over that, beyond it")
    cell_correlation: float = Field(default=0.5, ge=0.0, le=1.0, description="of what two cells of one grid cost")
    grid_correlation: float = Field(default=0.5, ge=0.0, le=1.0, description="of the costs of delta and vega")
    minimum_per_contract: float = Field(default=0.0, ge=0.0, description="money")

    @model_validator(mode="after")
    def _fits(self) -> Parameters:
        if any(b <= a for a, b in zip(self.tenor_days, self.tenor_days[1:], strict=False)):
            raise ValueError("tenor_days must ascend")
        for key in ("delta_half_spread", "vega_half_spread"):
            given = getattr(self, key)
            if len(given) != len(self.tenor_days) + 1 or min(given) < 0.0:
                raise ValueError(f"{key} needs {len(self.tenor_days) + 1} numbers of at least 0, one more than tenor_days")
        if any(not v > 0.0 for v in (*self.volume.values(), *self.vega_volume.values())):
            raise ValueError("volumes must be above 0")
        return self


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """What is held."""
    return [ExposureRequest()]


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    held, p, units = measured.exposures, parameters, len(measured.units)
    assert held is not None
    cells = cells_by(held.unit, held.underlying, held.buckets(tuple(p.tenor_days)))

    def grid(amount: NDArray[np.float64], spread: Spread, volume: dict[str, float], default: float) -> NDArray[np.float64]:
        net = np.abs(cells.total(amount))
        by_underlying = cells_by(cells.key[:, 0], cells.key[:, 1])
        size = by_underlying.total(net)[by_underlying.place]
        easy = p.participation * by_name(measured.underlyings, volume, default)[cells.column(1)] * max(core.horizon, 1e-9)
        cost = net * np.array(spread)[cells.column(2)] * np.maximum(1.0, size / easy) ** p.growth
        return _combined(cells, cost, p.cell_correlation, units)

    delta = grid(held.delta, p.delta_half_spread, p.volume, p.default_volume)
    vega = grid(held.vega, p.vega_half_spread, p.vega_volume, p.default_vega_volume)
    traded = np.array([k != "spot" for k in held.kind])[held.instrument] if len(held.instrument) else np.zeros(0, bool)
    least = p.minimum_per_contract * sum_by(held.unit, np.abs(held.quantity) * traded, units)
    amount = np.maximum(np.sqrt(delta**2 + vega**2 + 2.0 * p.grid_correlation * delta * vega), least)
    return floor_at_zero(NAME, amount, "half the bid-ask spread of closing net delta and vega, growing with size")


def _combined(cells: Cells, cost: NDArray[np.float64], correlation: float, units: int) -> NDArray[np.float64]:
    total, squares = cells.to_units(cost, units), cells.to_units(cost * cost, units)
    result: NDArray[np.float64] = np.sqrt((1.0 - correlation) * squares + correlation * total * total)
    return result
