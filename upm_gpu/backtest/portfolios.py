"""Portfolios of a back-test: weights on assets, and delta-hedged straddles, per unit of gross notional on the valuation day.

  linear     P&L = sum_k w_k (exp(x_k) - 1),  sum |w_k| = 1,  x the log-change of each price over the window
  straddle   call and put struck at today's price with 30 days to run, hedged with its delta of today, per unit of the underlying:
             P&L = side [V(exp(x), s exp(v), T - h) - V(1, s, T) - delta (exp(x) - 1)],  V of Black without rates, s today's 30-day volatility, v its log-change,
             s exp(v) within 0.05 and 5; a flat smile that moves with the price

Weights are constant by portfolio: every valuation day holds the same notionals anew, so each loss is of the portfolio the margin was for.
Verified by tests/known_answers/test_rolling.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backtest.config import Group, Portfolios
from upm_gpu.backtest.draws import null_uniform

TENOR_DAYS = 30.0
YEAR_DAYS = 365.0
LEAST_VOLATILITY, MOST_VOLATILITY = 0.05, 5.0
"""bounds of a volatility after its move, as everywhere in the engine"""
BOOKS = 1 << 31
"""day word of the draws of random books: beyond any day of a null law"""


@dataclass(frozen=True)
class Straddle:
    """One delta-hedged straddle; `asset` is a place among the group's assets, `volatility` among its volatilities."""

    asset: int
    volatility: int
    side: float


@dataclass(frozen=True)
class Holdings:
    """The P portfolios of a group of K assets and V volatilities: first the linear ones, then the straddles."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    weights: NDArray[np.float64]
    """(linear, K)"""
    straddles: tuple[Straddle, ...] = ()


def make_holdings(group: Group, entries: Sequence[Portfolios]) -> Holdings:
    """Every portfolio that the entries ask of a group, in their order; the same one is made once."""
    names: list[str] = []
    kinds: list[str] = []
    rows: list[NDArray[np.float64]] = []
    size = len(group.assets)

    def add(name: str, kind: str, weights: NDArray[np.float64]) -> None:
        if name not in names:
            names.append(name)
            kinds.append(kind)
            rows.append(weights / np.sum(np.abs(weights)))

    asked = [e for e in entries if group.name in e.groups]
    for entry in asked:
        for side in entry.sides:
            sign = 1.0 if side == "long" else -1.0
            if entry.kind == "single":
                for k, asset in enumerate(group.assets):
                    add(f"{asset} {side}", "single", sign * np.eye(size)[k])
            elif entry.kind == "pair":
                for i in range(size):
                    for j in range(i + 1, size):
                        first, second = (i, j) if side == "long" else (j, i)
                        add(f"{group.assets[first]} against {group.assets[second]}", "pair", np.eye(size)[first] - np.eye(size)[second])
            elif entry.kind == "basket":
                add(f"{group.name} basket {side}", "basket", np.full(size, sign))
        if entry.kind == "random":
            for n, weights in enumerate(_random(size, entry.count, entry.seed)):
                add(f"{group.name} book {entry.seed}.{n + 1:03d}", "random", weights)
    straddles: list[Straddle] = []
    for entry in asked:
        for side in entry.sides if entry.kind == "straddle" else []:
            for v, asset in enumerate(group.volatility):
                name = f"{asset} straddle {side}"
                if name not in names:
                    names.append(name)
                    kinds.append("straddle")
                    straddles.append(Straddle(group.assets.index(asset), v, 1.0 if side == "long" else -1.0))
    return Holdings(tuple(names), tuple(kinds), np.array(rows).reshape(len(rows), size), tuple(straddles))


def _random(size: int, count: int, seed: int) -> NDArray[np.float64]:
    """(count, size) standard normal weights by address: book n stays the same book whatever the count."""
    from scipy.special import ndtri

    result: NDArray[np.float64] = np.stack([ndtri(null_uniform(seed, np.arange(count), k, BOOKS)) for k in range(size)], axis=1)
    return result


def profit(held: Holdings, prices: NDArray[np.float64], volatilities: NDArray[np.float64], today: NDArray[np.float64], horizon_days: float) -> NDArray[np.float64]:
    """(P, S) P&L per unit of gross notional: log-changes of prices (K, S) and of volatilities (V, S), volatilities of today (V,)."""
    growth = np.expm1(prices)
    made = np.zeros((len(held.names), growth.shape[1]))
    for row, weights in zip(made, held.weights, strict=False):  # row by row in the cache, assets in order: the same bits under every BLAS
        for k in np.flatnonzero(weights):
            row += weights[k] * growth[k]
    valued: dict[tuple[int, int], NDArray[np.float64]] = {}
    for row, s in zip(made[len(held.weights):], held.straddles, strict=True):
        if (s.asset, s.volatility) not in valued:
            valued[s.asset, s.volatility] = _hedged_straddle(growth[s.asset], volatilities[s.volatility], float(today[s.volatility]), horizon_days)
        row += s.side * valued[s.asset, s.volatility]
    return made


def _hedged_straddle(growth: NDArray[np.float64], move: NDArray[np.float64], volatility: float, horizon_days: float) -> NDArray[np.float64]:
    from scipy.special import ndtr

    start, end = TENOR_DAYS / YEAR_DAYS, (TENOR_DAYS - horizon_days) / YEAR_DAYS
    delta = 2.0 * float(ndtr(0.5 * volatility * np.sqrt(start))) - 1.0
    moved = np.clip(volatility * np.exp(move), LEAST_VOLATILITY, MOST_VOLATILITY)
    before = _straddle(np.ones(1), np.full(1, volatility * np.sqrt(start)))
    return _straddle(1.0 + growth, moved * np.sqrt(end)) - before - delta * growth


def _straddle(price: NDArray[np.float64], deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Black's call and put of strike 1, without rates; `deviation` is volatility times the root of the time left."""
    from upm_gpu.formula.black import black_undiscounted

    logarithm = np.log(price)
    result: NDArray[np.float64] = sum((black_undiscounted(price, np.ones_like(price), logarithm, deviation, np.full_like(price, sign)) for sign in (1.0, -1.0)), np.zeros_like(price))
    return result
