"""What trading costs and how far it moves the market: the square-root law, as a function of what has been traded so far.

  I(Q)   = Y sigma sign(Q) sqrt(|Q| / V)                       relative price against where it stood before the cascade
  mark   = p I(Q)                                              what everybody is valued at: the permanent part
  cost   = integral from Q to Q + q of (I - p I(Q)) dQ'        of a slice q against the mark before it
         = Phi(Q + q) - Phi(Q) - p I(Q) q,   Phi(Q) = 2/3 Y sigma |Q|^(3/2) / sqrt(V)

Q is what liquidators have bought so far (sold: negative), V what the market trades a day, both in money of delta (vega for volatility), sigma the volatility of a day. The state of the
market is a function of Q alone, so that slices cost together what the whole costs at once, and going there and back costs nothing beyond the spread: no order of trades makes money out of
its own impact. At Y = 0 everything is closed at the mark.

Sources: B. Toth et al., "Anomalous price impact and the critical nature of liquidity in financial markets", Physical Review X 1 (2011), Y of order one; J. Donier and J. Bonart, "A million
metaorder analysis of market impact on the Bitcoin", Market Microstructure and Liquidity 1 (2015), the law over four decades of size and along the whole way of an order; J. D. Farmer,
A. Gerig, F. Lillo and H. Waelbroeck, "How efficiency shapes market impact", Quantitative Finance 13 (2013): the permanent part is two thirds, the average price paid.
Verified by tests/properties/test_liquidation_laws.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Square:
    """A square-root law over several things that are traded; arrays (K,)."""

    scale: NDArray[np.float64]
    """Y sigma / sqrt(V)"""
    traded: NDArray[np.float64]
    """Q"""
    permanent: float
    """p"""

    def displacement(self, traded: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """(K,) I(Q)."""
        at = self.traded if traded is None else traded
        found: NDArray[np.float64] = self.scale * np.sign(at) * np.sqrt(np.abs(at))
        return found

    def mark(self) -> NDArray[np.float64]:
        """(K,) p I(Q)."""
        return self.permanent * self.displacement()

    def cost(self, flow: NDArray[np.float64], mark: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """(..., K) cost of slices against the mark, that of now unless given."""
        at = self.mark() if mark is None else mark
        found: NDArray[np.float64] = self._phi(self.traded + flow) - self._phi(self.traded) - at * flow
        return found

    def per_unit(self, flow: NDArray[np.float64]) -> NDArray[np.float64]:
        """(K,) what a unit bought in a slice costs against the mark: the same for all who trade in it, whichever side. The limit I(Q) - p I(Q) where nothing is traded on balance."""
        still = self.displacement() - self.mark()
        return np.divide(self.cost(flow), flow, out=still, where=flow != 0.0)

    def after(self, flow: NDArray[np.float64]) -> Square:
        """The law after a slice."""
        return replace(self, traded=self.traded + flow)

    def _phi(self, traded: NDArray[np.float64]) -> NDArray[np.float64]:
        size = np.abs(traded)
        found: NDArray[np.float64] = (2.0 / 3.0) * self.scale * size * np.sqrt(size)
        return found


def slice_cost(scale: float, traded: float, mark: float, flow: float) -> float:
    """`Square.cost` of one thing: plans ask it thousands of times."""
    before, after = abs(traded), abs(traded + flow)
    return (2.0 / 3.0) * scale * (after * sqrt(after) - before * sqrt(before)) - mark * flow
