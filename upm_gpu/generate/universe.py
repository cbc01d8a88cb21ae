"""What a synthetic account can trade, with prices and a plain loss that owes nothing to a margin model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.blocks import find_table
from upm_gpu.domain.instrument import Future, Option, Perpetual, expiry_of
from upm_gpu.domain.tables import Sheet, reject_text
from upm_gpu.domain.terms import read_terms
from upm_gpu.errors import InputError
from upm_gpu.formula.black import black_undiscounted
from upm_gpu.market.reader import load_market
from upm_gpu.market.snapshot import years_between

GRID = np.array([-0.15, -0.10, -0.05, 0.0, 0.05, 0.10, 0.15])
OPTION_LOT = {"BTC": 0.1, "ETH": 1.0}
"""smallest traded amount in contracts (the exchange's contract specifications): options in coins"""
KINDS = {Option: "option", Future: "future", Perpetual: "perpetual"}


@dataclass(frozen=True)
class Universe:
    """What can be traded; arrays have shape (N,), `grid` (N, len(GRID)). Values are US dollars a contract."""

    instrument_id: tuple[str, ...]
    kind: NDArray[np.object_]
    underlying: NDArray[np.object_]
    contract_size: NDArray[np.float64]
    years: NDArray[np.float64]
    """time to expiry; infinite for a perpetual"""
    strike: NDArray[np.float64]
    sign: NDArray[np.float64]
    """+1 call, -1 put, 0 otherwise"""
    forward: NDArray[np.float64]
    spot: NDArray[np.float64]
    value: NDArray[np.float64]
    """present value of a contract; 0 for futures"""
    delta: NDArray[np.float64]
    """change of the value of a contract for a relative price move of 1, from the first grid steps to either side"""
    grid: NDArray[np.float64]
    """profit of a contract at every grid move"""
    interest: NDArray[np.float64]
    """open interest of the strike in contracts, shared between call and put"""

    @property
    def traded(self) -> tuple[str, ...]:
        """The coins that have both options and a perpetual, in name order."""
        return tuple(u for u in sorted(OPTION_LOT) if len(self.where("option", u)) and len(self.where("perpetual", u)))

    def where(self, kind: str, underlying: str) -> NDArray[np.int64]:
        """Indices of one kind on one underlying."""
        return np.flatnonzero((self.kind == kind) & (self.underlying == underlying))

    def index(self, instrument_id: str) -> int:
        """Index of an instrument."""
        return self.instrument_id.index(instrument_id)


def read_universe(market: Path, instruments: Path) -> Universe:
    """Instruments with their prices, from the folders of `upm import deribit` (inverse options, futures, perpetuals).

    Raises as `load_market`, and InputError UPM-IN-103 where an instrument cannot be used or too little can be traded.
    """
    snapshot, path = load_market(market), find_table(instruments, "instruments", "IN")
    assert path is not None  # a required table
    sheet = Sheet(path.name, "IN")
    terms = read_terms(path, sheet)
    if sheet.rejects:
        raise InputError("UPM-IN-103", f"{path}: an instrument to trade cannot be used. {reject_text(sheet.rejects[0])}")
    q = snapshot.quotes
    quotes = {(u, e, k): i for i, (u, e, k) in enumerate(zip(q.underlying.tolist(), q.expiry, q.strike.tolist(), strict=True))}
    found: list[tuple[Option | Future | Perpetual, float, int]] = []
    for _, instrument in sorted(terms.instruments.items()):
        expiry = expiry_of(instrument)
        if not isinstance(instrument, Option | Future | Perpetual) or instrument.settlement != "inverse" or instrument.underlying not in OPTION_LOT:
            continue
        quote = quotes.get((instrument.underlying, instrument.expiry, instrument.strike), -1) if isinstance(instrument, Option) else -1
        life = math.inf if expiry is None else years_between(snapshot.valuation_time, expiry)
        known = (instrument.underlying, expiry) in snapshot.forwards and instrument.underlying in snapshot.spots
        if known and life > 0.0 and (quote >= 0 or not isinstance(instrument, Option)):
            found.append((instrument, life, quote))
    held = [i for i, _, _ in found]
    kinds = {(i.underlying, type(i)) for i in held}
    if not any({(u, Option), (u, Perpetual)} <= kinds for u in OPTION_LOT):
        raise InputError("UPM-IN-103", f"{instruments}: no quoted inverse option and perpetual to trade. Make the folder with `upm import deribit`.")
    n = len(held)
    size = np.array([i.contract_size for i in held])
    years = np.array([life for _, life, _ in found])
    spot = np.array([snapshot.spots[i.underlying] for i in held])
    forward = np.array([snapshot.forwards[i.underlying, expiry_of(i)] for i in held])
    strike = np.array([i.strike if isinstance(i, Option) else math.nan for i in held])
    sign = np.array([{"call": 1.0, "put": -1.0}[i.option_type] if isinstance(i, Option) else 0.0 for i in held])
    move, middle = 1.0 + GRID, len(GRID) // 2
    interest, value, grid = np.zeros(n), np.zeros(n), np.zeros((n, len(GRID)))
    for i, (_, _, quote) in enumerate(found):
        if quote < 0:
            # Inverse future: C (1/F_0 - 1/F) coins, each worth S.
            grid[i] = size[i] * (1.0 / forward[i] - 1.0 / (forward[i] * move)) * spot[i] * move
            continue
        deviation = q.implied_volatility[quote] * math.sqrt(years[i])
        f = forward[i] * move
        worth = size[i] * black_undiscounted(f, strike[i], np.log(f / strike[i]), deviation, sign[i]) * spot[i] / forward[i]
        value[i] = worth[middle]
        grid[i] = worth - worth[middle]
        # Listed interest counts both types of a strike; most of it sits on the out-of-the-money side.
        outside = (sign[i] > 0.0) == (strike[i] >= forward[i])
        interest[i] = np.nan_to_num(q.open_interest[quote]) * (0.8 if outside else 0.2)
    delta = (grid[:, middle + 1] - grid[:, middle - 1]) / (GRID[middle + 1] - GRID[middle - 1])
    return Universe(tuple(i.instrument_id for i in held), np.array([KINDS[type(i)] for i in held], object), np.array([i.underlying for i in held], object),
                    size, years, strike, sign, forward, spot, value, delta, grid, interest)


def plain_loss(universe: Universe, lines: Mapping[int, float], coin_value: float = 0.0) -> float:
    """Worst loss on the price grid, US dollars, of positions and of coins worth `coin_value`; both coins move alike."""
    profit = coin_value * GRID
    for i in sorted(lines):
        profit = profit + lines[i] * universe.grid[i]
    return max(float(-np.min(profit)), 0.0)
