"""The kinds of account a synthetic book holds, and how each picks its lines. See `book.py`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import InputError
from upm_gpu.generate.universe import OPTION_LOT, Universe
from upm_gpu.rng.normal import uniform_at
from upm_gpu.rng.streams import BOOK, stream_word

Lines = dict[int, float]
"""instrument index -> signed contracts"""
NORMAL = NormalDist()


class Draws:
    """The uniforms of one account, one after the other: counter (draw, kind, number, BOOK)."""

    def __init__(self, seed: int, kind: int, number: int) -> None:
        self.address = (seed, kind, number)
        self.used = 0
        self.block: NDArray[np.float64] = np.empty(0)

    def uniform(self) -> float:
        """The next one."""
        if self.used == len(self.block):
            seed, kind, number = self.address
            more = uniform_at(seed, np.arange(self.used, self.used + 256, dtype=np.uint32), kind, number, stream_word(0, BOOK))
            self.block = np.concatenate([self.block, more])
        self.used += 1
        return float(self.block[self.used - 1])

    def normal(self) -> float:
        """A standard normal."""
        return NORMAL.inv_cdf(self.uniform())

    def lognormal(self, median: float, sigma: float) -> float:
        """exp(normal) with this median and log-deviation."""
        return median * math.exp(sigma * self.normal())

    def between(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return min(low + int(self.uniform() * (high - low + 1)), high)

    def sign(self, share: float = 0.5) -> float:
        """+1 with probability `share`, else -1."""
        return 1.0 if self.uniform() < share else -1.0

    def pick(self, candidates: NDArray[np.int64], weight: NDArray[np.float64]) -> int:
        """One candidate, with probability in proportion to its weight; InputError UPM-IN-104 where there is none."""
        if not len(candidates):
            raise InputError("UPM-IN-104", "the market quotes too few options to draw a book from: no strike suits one of its accounts. Import a whole chain.")
        total = np.cumsum(weight)
        return int(candidates[min(int(np.searchsorted(total, self.uniform() * total[-1], side="right")), len(candidates) - 1)])


@dataclass(frozen=True)
class Holding:
    """What an account holds and how it posts collateral."""

    lines: Lines
    coin_share: float
    """of the collateral; the rest is dollars"""
    coin: str
    least_coins: float = 0.0
    """coins it holds in any case"""
    least_loss: float = 0.0
    """dollars that the plain loss is taken to be at least"""


@dataclass(frozen=True)
class Kind:
    """A sort of account: how many, and how one is drawn."""

    prefix: str
    share: float
    """of all accounts"""
    draw: Callable[[Universe, Draws], Holding]
    """what a kind returns"""


def account_counts(accounts: int) -> dict[str, int]:
    """Accounts of each kind: shares rounded down, the rest to the first kind."""
    counts = {k.prefix: int(accounts * k.share + 1e-9) for k in KINDS}
    counts[KINDS[0].prefix] += accounts - sum(counts.values())
    return counts


def draw_account(kind: Kind, universe: Universe, draws: Draws) -> Holding:
    """Lines with zero quantities dropped."""
    holding = kind.draw(universe, draws)
    return replace(holding, lines={i: q for i, q in holding.lines.items() if q != 0.0})


def _underlying(universe: Universe, draws: Draws) -> str:
    bitcoin = draws.uniform() < 0.6
    if len(universe.traded) == 1:
        return universe.traded[0]
    return "BTC" if bitcoin else "ETH"


def _options(universe: Universe, underlying: str, low_days: float = 0.0, high_days: float = math.inf) -> NDArray[np.int64]:
    found = universe.where("option", underlying)
    days = universe.years[found] * 365.0
    inside = found[(days >= low_days) & (days <= high_days) & (universe.interest[found] > 0.0)]
    return inside if len(inside) else found


def _weight(universe: Universe, found: NDArray[np.int64]) -> NDArray[np.float64]:
    """Square root of the interest: the busy strikes lead, the others are not empty."""
    return np.sqrt(universe.interest[found] + 1e-6)


def _size(universe: Universe, i: int, draws: Draws, share: float = 0.002) -> float:
    """Contracts: a share of the strike's open interest, log-normal, at most 5 % of it, at least one lot."""
    lot = OPTION_LOT[universe.underlying[i]]
    amount = universe.interest[i] * min(draws.lognormal(share, 1.2), 0.05)
    return round(max(round(amount / lot), 1) * lot, 1)


def _add(lines: Lines, i: int, quantity: float) -> None:
    lines[i] = round(lines.get(i, 0.0) + quantity, 1)


def _coin_share(draws: Draws, coins_only: float, dollars_only: float) -> float:
    u = draws.uniform()
    share = 1.0 if u < coins_only else 0.0 if u < coins_only + dollars_only else 0.5
    return share


def _near(universe: Universe, same: NDArray[np.int64], strike: float) -> int:
    return int(same[np.argmin(np.abs(universe.strike[same] - strike))])


def _series(universe: Universe, i: int, sign: float) -> NDArray[np.int64]:
    """All options of one type with the expiry of `i`."""
    found = universe.where("option", universe.underlying[i])
    return found[(universe.years[found] == universe.years[i]) & (universe.sign[found] == sign)]


def _perpetual(universe: Universe, underlying: str) -> int:
    return int(universe.where("perpetual", underlying)[0])


def _futures(universe: Universe, underlying: str) -> NDArray[np.int64]:
    """Dated futures that outlive the week: a hedge that is delivered tomorrow is no hedge."""
    found = universe.where("future", underlying)
    return found[universe.years[found] * 365.0 > 5.0]


def directional(universe: Universe, draws: Draws) -> Holding:
    """One to six options bought (60 %) or sold on one view; sellers stay out of the money."""
    u, buyer, bullish = _underlying(universe, draws), draws.uniform() < 0.6, draws.uniform() < 0.5
    sign = 1.0 if bullish == buyer else -1.0
    found = _options(universe, u)
    found = found[universe.sign[found] == sign]
    if not buyer:
        outside = found[(universe.strike[found] - universe.forward[found]) * sign > 0.0]
        found = outside if len(outside) else found
    lines: Lines = {}
    for _ in range(draws.between(1, 6)):
        i = draws.pick(found, _weight(universe, found))
        _add(lines, i, _size(universe, i, draws) * (1.0 if buyer else -1.0))
    return Holding(lines, _coin_share(draws, 0.5, 0.3), u)


def covered(universe: Universe, draws: Draws) -> Holding:
    """Calls sold out of the money against coins held as collateral."""
    u = _underlying(universe, draws)
    found = _options(universe, u, 5.0, 180.0)
    above = found[(universe.sign[found] > 0.0) & (universe.strike[found] > universe.forward[found])]
    near = above[universe.strike[above] < 1.6 * universe.forward[above]]
    above = near if len(near) else above
    lines: Lines = {}
    for _ in range(draws.between(1, 3)):
        i = draws.pick(above, _weight(universe, above))
        _add(lines, i, -_size(universe, i, draws, 0.003))
    sold = -sum(q * universe.contract_size[i] for i, q in lines.items())
    return Holding(lines, 1.0, u, sold * (0.4 + 0.8 * draws.uniform()))


def spreads(universe: Universe, draws: Draws) -> Holding:
    """Verticals, iron condors, straddles and strangles, one to three an account."""
    u = _underlying(universe, draws)
    found = _options(universe, u)
    lines: Lines = {}
    for _ in range(draws.between(1, 3)):
        i = draws.pick(found, _weight(universe, found))
        size, direction = _size(universe, i, draws), draws.sign(0.4)
        calls, puts = _series(universe, i, 1.0), _series(universe, i, -1.0)
        forward = universe.forward[i]
        # Strikes are placed in standard deviations of a 60 % volatility to the expiry, at least 2 % apart.
        width = forward * max(0.6 * math.sqrt(universe.years[i]) * (0.5 + draws.uniform()), 0.02)
        shape = draws.uniform()
        if shape < 0.4:
            same = calls if universe.sign[i] > 0.0 else puts
            legs = [(_near(universe, same, universe.strike[i]), 1.0), (_near(universe, same, universe.strike[i] + universe.sign[i] * width), -1.0)]
        elif shape < 0.7:
            legs = [(_near(universe, puts, forward - width), 1.0), (_near(universe, puts, forward - 2.0 * width), -1.0),
                    (_near(universe, calls, forward + width), 1.0), (_near(universe, calls, forward + 2.0 * width), -1.0)]
        elif shape < 0.85:
            legs = [(_near(universe, calls, forward), 1.0), (_near(universe, puts, forward), 1.0)]
        else:
            legs = [(_near(universe, calls, forward + width), 1.0), (_near(universe, puts, forward - width), 1.0)]
        for leg, ratio in legs:
            _add(lines, leg, direction * ratio * size)
    if not any(lines.values()):
        # Both legs of a vertical met at the last strike: keep one outright option.
        _add(lines, i, _size(universe, i, draws))
    return Holding(lines, _coin_share(draws, 0.4, 0.3), u)


def market_maker(universe: Universe, draws: Draws) -> Holding:
    """Hundreds of lines on both sides, delta hedged with the perpetual and a dated future, a few per cent left over."""
    u = _underlying(universe, draws)
    # Tomorrow's expiry is left to others: once it is settled its hedge would stand alone.
    found = _options(universe, u, 1.5)
    weight = _weight(universe, found)
    lean = 0.5 + 0.06 * (draws.uniform() - 0.5)
    lines: Lines = {}
    for _ in range(draws.between(200, 700)):
        i = draws.pick(found, weight)
        _add(lines, i, _size(universe, i, draws, 0.001) * draws.sign(lean))
    delta = sum(q * universe.delta[i] for i, q in sorted(lines.items()))
    delta *= 1.0 + 0.05 * max(-2.0, min(2.0, draws.normal()))
    hedge, futures = _perpetual(universe, u), _futures(universe, u)
    share = 0.3 if len(futures) else 0.0
    if len(futures):
        dated = int(futures[draws.between(0, len(futures) - 1)])
        _add(lines, dated, float(-round(share * delta / universe.delta[dated])))
    _add(lines, hedge, float(-round((1.0 - share) * delta / universe.delta[hedge])))
    # A price grid sees little of a hedged book; a twentieth of the premium it carries stands for volatility and time.
    carried = sum(abs(q) * universe.value[i] for i, q in sorted(lines.items()))
    return Holding(lines, _coin_share(draws, 0.3, 0.2), u, least_loss=0.05 * carried)


def basis(universe: Universe, draws: Draws) -> Holding:
    """Perpetual against a dated future in about equal dollars, or a future sold against coins."""
    u = _underlying(universe, draws)
    futures = _futures(universe, u)
    notional = min(draws.lognormal(400_000.0, 1.1), 2e7)
    perpetual = _perpetual(universe, u)
    contracts = float(max(round(notional / universe.contract_size[perpetual]), 1))
    direction = draws.sign(0.35)
    carried = contracts * universe.contract_size[perpetual] / universe.spot[perpetual] * (0.8 + 0.25 * draws.uniform())
    if not len(futures):
        return Holding({perpetual: -contracts}, 1.0, u, carried)
    dated = int(futures[draws.between(0, len(futures) - 1)])
    if draws.uniform() < 0.3:
        # Cash and carry: the coins are the collateral.
        return Holding({dated: -contracts}, 1.0, u, carried)
    other = float(max(round(contracts * (0.9 + 0.2 * draws.uniform())), 1))
    return Holding({perpetual: direction * contracts, dated: -direction * other}, _coin_share(draws, 0.4, 0.4), u)


def inverse_long(universe: Universe, draws: Draws) -> Holding:
    """A long perpetual margined in the coin itself: both fall together; some buy a put."""
    u = _underlying(universe, draws)
    perpetual = _perpetual(universe, u)
    notional = min(draws.lognormal(120_000.0, 1.3), 2e7)
    lines: Lines = {perpetual: float(max(round(notional / universe.contract_size[perpetual]), 1))}
    if draws.uniform() < 0.25:
        found = _options(universe, u, 0.0, 120.0)
        below = found[(universe.sign[found] < 0.0) & (universe.strike[found] < universe.forward[found])]
        i = draws.pick(below, _weight(universe, below))
        lot = OPTION_LOT[u]
        cover = notional / universe.spot[i] * (0.3 + 0.7 * draws.uniform())
        _add(lines, i, round(max(round(cover / lot), 1) * lot, 1))
    return Holding(lines, 1.0, u)


KINDS = (
    Kind("DIR", 0.30, directional),
    Kind("COV", 0.12, covered),
    Kind("SPR", 0.25, spreads),
    Kind("MM", 0.03, market_maker),
    Kind("BAS", 0.12, basis),
    Kind("INV", 0.18, inverse_long),
)
