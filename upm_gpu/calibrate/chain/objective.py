"""What a fit to option chains makes small: weighted errors of prices or of implied volatilities, for many chains at once.

  price        r = w (P - P_quoted), over the forward;   volatility   r = w (sigma(P) - sigma_quoted)
  equal        w = 1
  vega         volatility: w = vega over that at the money, so that wings count as little as their prices; price: w = 1 / vega, no more than 20 times that at the money: nearly errors of volatility
  spread       w = 1 / spread in the objective's own unit, spreads no narrower than a quarter of the median; a quote without two sides weighs half the median's

sigma(P) is Black's inverse by Newton on the logarithm of the price. Below a fiftieth of the quoted price, and near the bound, it goes on as its tangent: a trial whose wing has no value still has a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.chain.quotes import Chain, black_vega
from upm_gpu.calibrate.chain.rule import Rule, make_rule
from upm_gpu.formula.out_of_the_money import black_out_of_the_money

Objective = Literal["volatility", "price"]
Weights = Literal["vega", "spread", "equal"]
OBJECTIVES: tuple[Objective, ...] = ("volatility", "price")
WEIGHTS: tuple[Weights, ...] = ("vega", "spread", "equal")
FLATTEST_VEGA = 0.05
"""of that at the money: prices further out weigh as if they had it"""
NEWTON = 12
SETTLED = 1e-13
"""relative change of the last step of the inverse"""
WHOLE = 0.98
"""of the bound of a price: no volatility is sought beyond"""


@dataclass(frozen=True)
class Batch:
    """C chains padded to E expiries of Q quotes; padded cells have weight 0."""

    chains: tuple[Chain, ...]
    k: NDArray[np.float64]
    years: NDArray[np.float64]
    deviation: NDArray[np.float64]
    """(C, E)"""
    price: NDArray[np.float64]
    volatility: NDArray[np.float64]
    vega: NDArray[np.float64]
    present: NDArray[np.bool_]
    spread: NDArray[np.float64]
    """(C, E, Q), as k"""

    def rule(self, points: int) -> Rule:
        return make_rule(self.years, self.k, self.deviation, points)

    def rows(self, chains: Sequence[int] | NDArray[np.int64]) -> Batch:
        """The batch of some of the chains, as padded here."""
        at = np.asarray(chains)
        return Batch(tuple(self.chains[c] for c in at), *(getattr(self, n)[at] for n in ("k", "years", "deviation", "price", "volatility", "vega", "present", "spread")))


def size_of(chains: Sequence[Chain]) -> tuple[int, int]:
    """Most expiries of a chain, most quotes of an expiry."""
    return max(len(c.years) for c in chains), max(int(np.bincount(c.expiry).max()) for c in chains)


def make_batch(chains: Sequence[Chain], least: tuple[int, int] = (0, 0)) -> Batch:
    """Pad chains of any size to one, of at least so many expiries and quotes an expiry."""
    shape = len(chains), *(max(a, b) for a, b in zip(size_of(chains), least, strict=True))
    k, spread, volatility, present = np.zeros(shape), np.full(shape, np.nan), np.full(shape, 0.5), np.zeros(shape, bool)
    years, deviation = np.full(shape[:2], 0.1), np.full(shape[:2], 0.5 * np.sqrt(0.1))
    for i, c in enumerate(chains):
        place = np.arange(len(c.expiry)) - np.searchsorted(c.expiry, c.expiry)
        k[i, c.expiry, place], volatility[i, c.expiry, place], spread[i, c.expiry, place], present[i, c.expiry, place] = c.log_moneyness, c.volatility, c.spread, True
        years[i, : len(c.years)], deviation[i, : len(c.years)] = c.years, c.deviation
    price = black_out_of_the_money(np.abs(k), volatility * np.sqrt(years)[..., None]) * np.minimum(1.0, np.exp(-k))
    return Batch(tuple(chains), k, years, deviation, price, volatility, black_vega(k, volatility, years[..., None]), present, spread)


def weights_of(batch: Batch, objective: Objective, weights: Weights) -> NDArray[np.float64]:
    """w (C, E, Q)."""
    top = np.sqrt(batch.years / (2.0 * np.pi))[..., None]
    floored = np.maximum(batch.vega, FLATTEST_VEGA * top)
    if weights == "equal":
        found = np.ones_like(batch.k)
    elif weights == "vega":
        found = batch.vega / top if objective == "volatility" else 1.0 / floored
    else:
        width = batch.spread / (floored if objective == "volatility" else 1.0)
        width = np.where(batch.present & (width > 0.0), width, np.nan)
        known = np.asarray(np.isfinite(width).any(axis=(1, 2)))
        typical = np.array([np.nanmedian(w) if there else 1.0 for w, there in zip(width, known, strict=True)])[:, None, None]
        found = np.where(np.isfinite(width), typical / np.maximum(np.nan_to_num(width, nan=1.0), 0.25 * typical), np.where(known[:, None, None], 0.5, 1.0))
    return np.where(batch.present, found, 0.0)


def residuals(batch: Batch, weight: NDArray[np.float64], objective: Objective, price: NDArray[np.float64], slopes: NDArray[np.float64] | None,
              linear: bool = False) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """r (C, J, E Q) and its derivatives (C, J, E Q, P) from prices (C, J, E, Q) and theirs (C, J, E, Q, P).

    With `linear`, errors of volatility are those of price over vega: what a search far from the optimum takes.
    """
    w = weight[:, None]
    if objective == "price" or linear:
        error, by_price = price - batch.price[:, None], price_scale(batch, weight, objective)[:, None]
    else:
        sigma, slope = volatility_of(batch, price)
        error, by_price = sigma - batch.volatility[:, None], w * slope
    r = (w if objective == "volatility" and not linear else by_price) * error
    shape = (*r.shape[:2], -1)
    return r.reshape(shape), None if slopes is None else (by_price[..., None] * slopes).reshape(*shape, slopes.shape[-1])


def price_scale(batch: Batch, weight: NDArray[np.float64], objective: Objective) -> NDArray[np.float64]:
    """(C, E, Q) what an error of price is multiplied by: the weight, over the vega where volatilities are asked for."""
    return weight if objective == "price" else np.asarray(weight / np.maximum(batch.vega, FLATTEST_VEGA * np.sqrt(batch.years / (2.0 * np.pi))[..., None]))


def volatility_of(batch: Batch, price: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """sigma (C, J, E, Q) of prices over the forward, and its derivative by the price; tangents beyond the range that is inverted."""
    k, quoted = batch.k[:, None], batch.price[:, None]
    lead = np.minimum(1.0, np.exp(-k))
    inside = np.clip(price, np.minimum(0.02 * quoted, WHOLE * lead), WHOLE * lead)
    root = np.sqrt(batch.years)[:, None, :, None]
    stdev = inverted(np.abs(k), inside / lead, batch.volatility[:, None] * root)
    with np.errstate(divide="ignore", over="ignore"):
        slope = 1.0 / np.maximum(black_vega(k, stdev / root, root * root), 1e-300)
    return stdev / root + slope * (price - inside), slope


def inverted(moneyness: NDArray[np.float64], value: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Total standard deviation whose out-of-the-money price over min(F, K) is `value` in (0, 1): Newton on ln of the price, each step within a factor of two."""
    stdev = np.broadcast_to(start, np.broadcast_shapes(start.shape, value.shape)).copy()
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for _ in range(NEWTON):
            moved = newton(moneyness, value, stdev)
            change = np.max(np.abs(moved / stdev - 1.0), initial=0.0)
            stdev = moved
            if change < SETTLED:
                break
    return stdev


def newton(moneyness: Any, value: Any, stdev: Any, xp: Any = np, special: Any = None) -> Any:
    """The next total standard deviation: a Newton step on ln of the price, within a factor of two; arrays of `xp`."""
    found = black_out_of_the_money(moneyness, stdev, xp, special)
    d = moneyness / stdev - 0.5 * stdev
    by = xp.exp(-0.5 * d * d) / np.sqrt(2.0 * np.pi)
    step = xp.log(found / value) * found / by
    return xp.clip(stdev - xp.where(xp.isfinite(step), step, 0.5 * stdev * xp.where(found > value, 1.0, -1.0)), 0.5 * stdev, 2.0 * stdev)
