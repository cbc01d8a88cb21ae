"""Synthetic books over a listed market: an index, its stocks, and the options on both, cash collateral.

The same rules as for `book.py`: draws by address, so an account keeps its lines when others are added; collateral is a multiple of the
worst loss on a plain grid of -15 % to +15 %, all prices alike, independent of any margin model. Options are valued by Black's formula at their quoted volatility
(early exercise is left out: sizes need no more).

Verified by `tests/end_to_end/test_listed_sample.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.blocks import find_table
from upm_gpu.domain.instrument import Option, Spot
from upm_gpu.domain.tables import Sheet
from upm_gpu.domain.terms import read_terms
from upm_gpu.domain.text import write_csv
from upm_gpu.errors import InputError
from upm_gpu.formula.black import black_undiscounted
from upm_gpu.generate.book import CollateralFactor
from upm_gpu.generate.kinds import Draws, Lines
from upm_gpu.generate.universe import GRID
from upm_gpu.market.reader import load_market
from upm_gpu.market.snapshot import years_between

FIRST_KIND = 32
"""second address word of these kinds: apart from those of the crypto book"""
MIN_LOSS = 1_000.0
INDEX_SHARE = 0.55
"""of option accounts that trade the index; the others trade one stock"""


@dataclass(frozen=True)
class Listed:
    """Arrays (N,) over instruments; dollars a contract."""

    instrument_id: tuple[str, ...]
    underlying: NDArray[np.object_]
    option: NDArray[np.bool_]
    years: NDArray[np.float64]
    moneyness: NDArray[np.float64]
    """ln(strike / forward) over sigma sqrt(T); 0 for shares"""
    sign: NDArray[np.float64]
    value: NDArray[np.float64]
    grid: NDArray[np.float64]
    """(N, len(GRID)) profit at each move"""
    weight: NDArray[np.float64]
    """how often it is picked: open interest where there is one"""
    index: str
    """the underlying without shares"""
    stocks: tuple[str, ...]

    def options(self, underlying: str, low: float, high: float, sign: float = 0.0) -> NDArray[np.int64]:
        """Options of an underlying with a life of `low` to `high` days; `sign` 0: calls and puts."""
        days = 365.0 * self.years
        return np.flatnonzero(self.option & (self.underlying == underlying) & (days >= low) & (days <= high) & ((sign == 0.0) | (self.sign == sign)))

    def near(self, found: NDArray[np.int64], moneyness: float) -> int:
        """The one whose moneyness is nearest."""
        return int(found[np.argmin(np.abs(self.moneyness[found] - moneyness))])


def read_listed(market: Path, instruments: Path) -> Listed:
    """Shares and linear options with their values. Raises as `load_market`, and InputError UPM-IN-103 where too little can be traded."""
    snapshot, path = load_market(market), find_table(instruments, "instruments", "IN")
    assert path is not None  # a required table
    terms = read_terms(path, Sheet(path.name, "IN"))
    q = snapshot.quotes
    quotes = {(u, e, k): i for i, (u, e, k) in enumerate(zip(q.underlying.tolist(), q.expiry, q.strike.tolist(), strict=True))}
    held = [i for _, i in sorted(terms.instruments.items()) if isinstance(i, Spot) or (isinstance(i, Option) and i.settlement == "linear" and (i.underlying, i.expiry, i.strike) in quotes)]
    stocks = tuple(i.underlying for i in held if isinstance(i, Spot))
    indices = sorted({i.underlying for i in held if isinstance(i, Option)} - set(stocks))
    if not stocks or not indices:
        raise InputError("UPM-IN-103", f"{instruments}: a listed book needs shares and options on an index without shares. Give both kinds of instruments.")
    n, move = len(held), 1.0 + GRID
    years, moneyness, sign, value, weight = (np.zeros(n) for _ in range(5))
    grid = np.zeros((n, len(GRID)))
    for at, i in enumerate(held):
        if isinstance(i, Spot):
            value[at] = snapshot.spots[i.underlying] * i.contract_size
            grid[at] = value[at] * GRID
            weight[at] = 1.0
            continue
        found = quotes[i.underlying, i.expiry, i.strike]
        forward = snapshot.forwards[i.underlying, i.expiry]
        years[at] = years_between(snapshot.valuation_time, i.expiry)
        deviation = float(q.implied_volatility[found]) * math.sqrt(years[at])
        moneyness[at] = math.log(i.strike / forward) / deviation
        sign[at] = 1.0 if i.option_type == "call" else -1.0
        worth = i.contract_size * black_undiscounted(forward * move, i.strike, np.log(forward * move / i.strike), deviation, sign[at])
        value[at] = worth[len(GRID) // 2]
        grid[at] = worth - value[at]
        interest = float(np.nan_to_num(q.open_interest[found]))
        outside = (sign[at] > 0.0) == (i.strike >= forward)
        weight[at] = (0.8 if outside else 0.2) * interest if interest > 0.0 else math.exp(-0.5 * moneyness[at] ** 2)
    return Listed(tuple(i.instrument_id for i in held), np.array([i.underlying for i in held], object), np.array([isinstance(i, Option) for i in held]), years, moneyness,
                  sign, value, grid, weight, indices[0], stocks)


def _name(listed: Listed, draws: Draws) -> str:
    return listed.index if draws.uniform() < INDEX_SHARE else _stock(listed, draws)


def _stock(listed: Listed, draws: Draws) -> str:
    return listed.stocks[draws.between(0, len(listed.stocks) - 1)]


def _contracts(listed: Listed, underlying: str, draws: Draws, dollars: float = 300_000.0) -> float:
    """A round number of contracts on about so many dollars of underlying."""
    size = max(abs(float(np.max(np.abs(listed.grid[listed.option & (listed.underlying == underlying)])))), 1.0) / 0.15
    return float(max(round(draws.lognormal(dollars, 1.1) / size), 1))


def _add(lines: Lines, at: int, quantity: float) -> None:
    lines[at] = lines.get(at, 0.0) + quantity


def directional(listed: Listed, draws: Draws) -> Lines:
    """One to five options on one view, bought (55 %) or sold."""
    u, buyer, bullish = _name(listed, draws), draws.uniform() < 0.55, draws.uniform() < 0.5
    found = listed.options(u, 2.0, 300.0, 1.0 if bullish == buyer else -1.0)
    if not buyer:
        found = found[listed.moneyness[found] * listed.sign[found] > 0.0]
    lines: Lines = {}
    for _ in range(draws.between(1, 5)):
        _add(lines, draws.pick(found, listed.weight[found]), _contracts(listed, u, draws) * (1.0 if buyer else -1.0))
    return lines


def spreads(listed: Listed, draws: Draws) -> Lines:
    """Verticals, iron condors, straddles, strangles and calendars, one to three."""
    u = _name(listed, draws)
    lines: Lines = {}
    for _ in range(draws.between(1, 3)):
        found = listed.options(u, 5.0, 200.0)
        life = listed.years[draws.pick(found, listed.weight[found])]
        calls, puts = (np.array([i for i in found if listed.years[i] == life and listed.sign[i] == s]) for s in (1.0, -1.0))
        size, side, width = _contracts(listed, u, draws), draws.sign(0.4), 0.5 + draws.uniform()
        shape = draws.uniform()
        if shape < 0.35:
            same = calls if draws.uniform() < 0.5 else puts
            legs = [(listed.near(same, 0.0), 1.0), (listed.near(same, width * listed.sign[same[0]]), -1.0)]
        elif shape < 0.65:
            legs = [(listed.near(puts, -width), 1.0), (listed.near(puts, -2.0 * width), -1.0), (listed.near(calls, width), 1.0), (listed.near(calls, 2.0 * width), -1.0)]
        elif shape < 0.8:
            legs = [(listed.near(calls, 0.0), 1.0), (listed.near(puts, 0.0), 1.0)]
        else:
            later = listed.options(u, 365.0 * life + 20.0, 400.0, 1.0)
            other = listed.near(later, 0.0) if len(later) else listed.near(calls, width)
            legs = [(listed.near(calls, 0.0), 1.0), (other, -1.0)]
        for at, ratio in legs:
            _add(lines, at, side * ratio * size)
    return lines


def covered(listed: Listed, draws: Draws) -> Lines:
    """Shares with calls sold against them; a third also buys puts."""
    u = _stock(listed, draws)
    contracts = _contracts(listed, u, draws, 150_000.0)
    share = int(np.flatnonzero((listed.underlying == u) & ~listed.option)[0])
    lines: Lines = {share: 100.0 * contracts}
    calls, puts = (listed.options(u, 5.0, 120.0, s) for s in (1.0, -1.0))
    _add(lines, listed.near(calls, 0.3 + draws.uniform()), -contracts)
    if draws.uniform() < 0.33:
        _add(lines, listed.near(puts, -0.3 - draws.uniform()), contracts)
    return lines


def dispersion(listed: Listed, draws: Draws) -> Lines:
    """Index straddles against straddles on five to ten stocks of about the same size."""
    side, life = draws.sign(0.7), (20.0, 100.0)
    names = sorted({_stock(listed, draws) for _ in range(draws.between(5, 10))})
    dollars = draws.lognormal(2_000_000.0, 0.8)
    lines: Lines = {}
    for u, ratio in ((listed.index, -1.0), *((s, 1.0 / len(names)) for s in names)):
        size = max(float(np.max(np.abs(listed.grid[listed.option & (listed.underlying == u)]))), 1.0) / 0.15
        contracts = max(round(abs(ratio) * dollars / size), 1)
        for s in (1.0, -1.0):
            _add(lines, listed.near(listed.options(u, *life, s), 0.0), side * math.copysign(contracts, ratio))
    return lines


def market_maker(listed: Listed, draws: Draws) -> Lines:
    """One to three hundred lines on both sides of one name, its delta taken out by a synthetic forward."""
    u = _name(listed, draws)
    found = listed.options(u, 2.0, 800.0)
    lines: Lines = {}
    for _ in range(draws.between(100, 300)):
        _add(lines, draws.pick(found, listed.weight[found]), draws.sign() * _contracts(listed, u, draws, 60_000.0))
    middle = len(GRID) // 2
    delta = sum(q * (listed.grid[i, middle + 1] - listed.grid[i, middle - 1]) for i, q in sorted(lines.items()))
    month = listed.options(u, 20.0, 100.0)
    call, put = (listed.near(month[listed.sign[month] == s], 0.0) for s in (1.0, -1.0))
    unit = (listed.grid[call, middle + 1] - listed.grid[call, middle - 1]) - (listed.grid[put, middle + 1] - listed.grid[put, middle - 1])
    hedge = float(-round(delta / unit))
    _add(lines, call, hedge)
    _add(lines, put, -hedge)
    return lines


KINDS: tuple[tuple[str, float, Callable[[Listed, Draws], Lines]], ...] = (
    ("DIR", 0.36, directional), ("SPR", 0.30, spreads), ("COV", 0.20, covered), ("DSP", 0.08, dispersion), ("MM", 0.06, market_maker))


def generate_listed(market: Path, accounts: int, seed: int, out: Path, collateral_factor: CollateralFactor | None = None) -> dict[str, object]:
    """Write positions.csv and collateral.csv into OUT, which holds the instruments; a summary of plain values."""
    listed, factor = read_listed(market, out), collateral_factor or CollateralFactor()
    counts = {prefix: int(accounts * share + 1e-9) for prefix, share, _ in KINDS}
    counts[KINDS[0][0]] += accounts - sum(counts.values())
    positions: list[tuple[str, str, float]] = []
    collateral: list[tuple[str, str, float]] = []
    for kind, (prefix, _, draw) in enumerate(KINDS):
        for number in range(1, counts[prefix] + 1):
            name, draws = f"{prefix}-{number:04d}", Draws(seed, FIRST_KIND + kind, number)
            lines = {i: q for i, q in sorted(draw(listed, draws).items()) if q != 0.0}
            positions += [(name, listed.instrument_id[i], q) for i, q in lines.items()]
            profit = sum((q * listed.grid[i] for i, q in lines.items()), np.zeros(len(GRID)))
            held = sum(abs(q) * listed.value[i] for i, q in lines.items() if listed.option[i])
            # a grid of prices sees little of a hedged book: at least a twentieth of the premium it carries
            loss = max(float(-np.min(profit)), 0.05 * held if prefix in ("MM", "DSP") else 0.0, MIN_LOSS)
            owed = -sum(q * listed.value[i] for i, q in lines.items())  # shares paid for count as much as they are worth
            collateral.append((name, "USD", round(max(factor.at(draws.uniform()) * loss + owed, 1.0), 2)))
    write_csv(out / "positions.csv", ("account_id", "instrument_id", "quantity"), positions)
    write_csv(out / "collateral.csv", ("account_id", "asset", "quantity"), collateral)
    return {"book": str(out), "accounts": accounts, "positions": len(positions), **counts}
