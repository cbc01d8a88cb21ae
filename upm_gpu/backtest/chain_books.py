"""Portfolios of the options listed on a day, chosen anew every day by tenor and delta.

An expiry is the listed one nearest to the tenor in ln(days), between half of it and twice as far; a strike the listed one whose Black delta (forward of the expiry, its
quoted volatility) is nearest. One unit of an option is a coin. By kind, at side long:

  single        one call, and one put (two portfolios)            straddle    call and put nearest the forward
  strangle      call and put at the delta                         hedged      straddle and the perpetual against its delta
  spread        buy nearest the forward, sell at the delta: of calls, and of puts (two)
  butterfly     buy the strikes at the delta of put and call, sell two nearest the forward, all calls
  calendar      sell nearest the forward at a tenor, buy at the next tenor given
  covered       the coin through the perpetual, less a call at the delta
  market_maker  options drawn over all listed strikes with a delta of 0.05 to 0.95 and up to 120 days, bought and sold alike, the perpetual against the delta of each coin

Short is the same with every sign turned. What a day does not list is left out of that day. Verified by tests/known_answers/test_chain_books.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backtest.chain_config import ChainPortfolios
from upm_gpu.backtest.draws import null_uniform
from upm_gpu.domain.book import Account, Book, Collateral, Positions
from upm_gpu.domain.instrument import Instrument, Option, Perpetual
from upm_gpu.market.deribit import FUTURE_CONTRACT_SIZE
from upm_gpu.market.snapshot import MarketSnapshot, days_between

NEAR_DAYS = 0.02
"""half an hour: what expires sooner has no delta to speak of"""
MAKER_DAYS, MAKER_DELTA = 120.0, (0.05, 0.95)
BOOKS = 1 << 30
"""day word of the draws of market makers' books: apart from null laws and from the random books of linear back-tests"""
Sign = Literal["call", "put"]


@dataclass(frozen=True)
class Board:
    """What one underlying lists on a day: E strikes over all expiries."""

    underlying: str
    index: float
    expiry: tuple[datetime, ...]
    days: NDArray[np.float64]
    strike: NDArray[np.float64]
    forward: NDArray[np.float64]
    call_delta: NDArray[np.float64]
    """N(d1)"""


@dataclass(frozen=True)
class Portfolio:
    """Options by (board, place, type) -> coins, and coins of delta held through the perpetual."""

    name: str
    kind: str
    group: str
    options: dict[tuple[int, int, Sign], float]
    coins: dict[int, float]


def board_of(market: MarketSnapshot, underlying: str) -> Board:
    """The strikes of an underlying with at least `NEAR_DAYS` left."""
    from scipy.special import ndtr

    q = market.quotes
    rows = [i for i, u in enumerate(q.underlying) if u == underlying and days_between(market.valuation_time, q.expiry[i]) > NEAR_DAYS]
    expiry = tuple(q.expiry[i] for i in rows)
    days = np.array([days_between(market.valuation_time, e) for e in expiry])
    strike, volatility = q.strike[rows], q.implied_volatility[rows]
    forward = np.array([market.forwards[underlying, e] for e in expiry])
    deviation = volatility * np.sqrt(days / 365.0)
    return Board(underlying, market.spots[underlying], expiry, days, strike, forward, ndtr(np.log(forward / strike) / deviation + 0.5 * deviation))


def _expiry(board: Board, tenor: float) -> float | None:
    """Days to the listed expiry nearest to a tenor."""
    listed = np.unique(board.days)
    near = listed[(listed >= 0.5 * tenor) & (listed <= 2.0 * tenor)]
    return float(near[np.argmin(np.abs(np.log(near / tenor)))]) if len(near) else None


def _place(board: Board, days: float, call_delta: float | None) -> int:
    """The strike of an expiry nearest to a call's delta; None: nearest to the forward."""
    miss = np.abs(np.log(board.strike / board.forward)) if call_delta is None else np.abs(board.call_delta - call_delta)
    return int(np.argmin(np.where(board.days == days, miss, np.inf)))


def portfolios(boards: Sequence[Board], entries: Sequence[ChainPortfolios], day_number: int) -> list[Portfolio]:
    """Every portfolio that can be made on a day, in order of the entries; a name counts once."""
    found: dict[str, Portfolio] = {}
    for entry in entries:
        made = _makers(boards, entry, day_number) if entry.kind == "market_maker" else [p for b, board in enumerate(boards) for p in _listed(b, board, entry)]
        for p in made:
            found.setdefault(p.name, p)
    return list(found.values())


def _listed(b: int, board: Board, entry: ChainPortfolios) -> list[Portfolio]:
    found = []
    for t, tenor in enumerate(entry.tenor_days):
        days = _expiry(board, tenor)
        if days is None:
            continue
        following = _expiry(board, entry.tenor_days[t + 1]) if entry.kind == "calendar" and t + 1 < len(entry.tenor_days) else None
        for name, legs, coins in _shapes(board, entry, tenor, days, following):
            for side in entry.sides:
                sign = 1.0 if side == "long" else -1.0
                options: dict[tuple[int, int, Sign], float] = {}
                for place, kind, quantity in legs:
                    options[b, place, kind] = options.get((b, place, kind), 0.0) + sign * quantity
                options = {k: v for k, v in options.items() if v != 0.0}
                if options:
                    found.append(Portfolio(f"{board.underlying} {name} {side}", entry.kind, board.underlying, options, {b: sign * coins} if coins else {}))
    return found


def _shapes(board: Board, entry: ChainPortfolios, tenor: float, days: float, following: float | None) -> list[tuple[str, list[tuple[int, Sign, float]], float]]:
    """(name, legs, coins through the perpetual) at side long."""
    at, term = _place(board, days, None), f"{tenor:g}d"
    straddle: list[tuple[int, Sign, float]] = [(at, "call", 1.0), (at, "put", 1.0)]
    if entry.kind == "straddle":
        return [(f"straddle {term}", straddle, 0.0)]
    if entry.kind == "hedged":
        return [(f"hedged straddle {term}", straddle, 1.0 - 2.0 * float(board.call_delta[at]))]
    if entry.kind == "calendar":
        return [] if following is None or following == days else [(f"calendar {term}", [(at, "call", -1.0), (_place(board, following, None), "call", 1.0)], 0.0)]
    found: list[tuple[str, list[tuple[int, Sign, float]], float]] = []
    for delta in entry.deltas:
        call, put = _place(board, days, delta), _place(board, days, 1.0 - delta)
        label = f"{100.0 * delta:g} delta {term}"
        if entry.kind == "single":
            found += [(f"call {label}", [(call, "call", 1.0)], 0.0), (f"put {label}", [(put, "put", 1.0)], 0.0)]
        elif entry.kind == "strangle":
            found.append((f"strangle {label}", [(call, "call", 1.0), (put, "put", 1.0)], 0.0))
        elif entry.kind == "spread":
            found += [(f"call spread {label}", [(at, "call", 1.0), (call, "call", -1.0)], 0.0), (f"put spread {label}", [(at, "put", 1.0), (put, "put", -1.0)], 0.0)]
        elif entry.kind == "butterfly":
            found.append((f"butterfly {label}", [(put, "call", 1.0), (at, "call", -2.0), (call, "call", 1.0)], 0.0))
        else:
            found.append((f"covered call {label}", [(call, "call", -1.0)], 1.0))
    return found


def _makers(boards: Sequence[Board], entry: ChainPortfolios, day_number: int) -> list[Portfolio]:
    """Books drawn by address (book, leg, day): book n of a day is the same whatever the count."""
    from scipy.special import ndtri

    pool = [(b, int(i)) for b, board in enumerate(boards)
            for i in np.flatnonzero((board.days <= MAKER_DAYS) & (board.call_delta >= MAKER_DELTA[0]) & (board.call_delta <= MAKER_DELTA[1]))]
    if not pool:
        return []
    books, drawn = np.arange(entry.count), BOOKS + day_number
    which = np.stack([null_uniform(entry.seed, books, 3 * leg, drawn) for leg in range(entry.legs)], axis=1)
    size = np.stack([ndtri(null_uniform(entry.seed, books, 3 * leg + 1, drawn)) for leg in range(entry.legs)], axis=1)
    side = np.stack([null_uniform(entry.seed, books, 3 * leg + 2, drawn) for leg in range(entry.legs)], axis=1)
    found = []
    for n in books:
        options: dict[tuple[int, int, Sign], float] = {}
        coins: dict[int, float] = {}
        for u, z, v in zip(which[n], size[n], side[n], strict=True):
            b, place = pool[int(u * len(pool))]
            kind: Sign = "call" if v < 0.5 else "put"
            options[b, place, kind] = options.get((b, place, kind), 0.0) + float(z)
            coins[b] = coins.get(b, 0.0) - float(z) * float(boards[b].call_delta[place] - (kind == "put"))
        found.append(Portfolio(f"market maker {entry.seed}.{n + 1:03d}", entry.kind, "market makers", options, coins))
    return found


def book_of(boards: Sequence[Board], held: Sequence[Portfolio]) -> Book:
    """The portfolios as the accounts of a book of inverse options and perpetuals, without collateral."""
    instruments: dict[str, Instrument] = {}
    lots: dict[tuple[str, str], float] = {}
    size: dict[str, float] = {}
    for p in held:
        for (b, place, kind), coins in p.options.items():
            board = boards[b]
            name = f"{board.underlying}-{board.expiry[place]:%d%b%y}-{board.strike[place]:g}-{kind[0]}".upper()
            instruments[name] = Option(name, board.underlying, "inverse", "USD", 1.0, board.expiry[place], float(board.strike[place]), kind)
            size[name] = 1.0
            lots[p.name, name] = coins
        for b, coins in p.coins.items():
            board = boards[b]
            name, contract = f"{board.underlying}-PERPETUAL", FUTURE_CONTRACT_SIZE.get(board.underlying, 1.0)
            instruments[name] = Perpetual(name, board.underlying, "inverse", "USD", contract)
            size[name] = contract
            lots[p.name, name] = coins * board.index / contract
    names, ids = sorted(p.name for p in held), sorted(instruments)
    account, instrument = {n: i for i, n in enumerate(names)}, {n: i for i, n in enumerate(ids)}
    order = sorted(lots)
    contracts = np.array([lots[k] for k in order])
    nothing = np.zeros(len(order))
    positions = Positions(np.array([account[a] for a, _ in order], np.int32), np.zeros(len(order), np.int32), np.array([instrument[i] for _, i in order], np.int32),
                          contracts, contracts * np.array([size[i] for _, i in order]), nothing, nothing)
    return Book(tuple(instruments[i] for i in ids), tuple(Account(n) for n in names), ("",), positions, Collateral(np.zeros(0, np.int32), (), np.zeros(0)))
