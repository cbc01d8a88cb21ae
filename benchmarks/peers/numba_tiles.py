"""Numba: tiles of 64 scenarios, parallel over tiles. Prices with math.exp and math.erfc, row sums four entries at a time; NumPy draws and cuts.

The sums alone are offered to `best_mix`.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

from benchmarks.peers.problem import Estimate, Phases, Pipeline, Problem, chunks, estimate_of, tail_count

TILE = 64
CHUNK = 8_192
MERGE = 16_384
ROOT_HALF = math.sqrt(0.5)


@numba.njit(parallel=True, fastmath=True, cache=False)
def price_tiles(x, linear_state, level_state, volatility_state, loading, forward, group, strike, moneyness, volatility, root_years, sign, unit, price0, out):
    """out (tiles, C, TILE) from states x (K, S), S a multiple of TILE."""
    linear = len(linear_state)
    half, root_half = out.dtype.type(0.5), out.dtype.type(ROOT_HALF)
    low, high = out.dtype.type(0.05), out.dtype.type(5.0)
    for tile in numba.prange(out.shape[0]):
        here = out[tile]
        at = tile * TILE
        forwards = np.empty((len(forward), TILE), x.dtype)
        times = np.empty((len(forward), TILE), x.dtype)
        for g in range(len(forward)):
            for s in range(TILE):
                forwards[g, s] = forward[g] * math.exp(x[level_state[g], at + s])
                times[g, s] = math.exp(x[volatility_state[g], at + s] * loading[g])
        for c in range(linear):
            for s in range(TILE):
                here[c, s] = math.expm1(x[linear_state[c], at + s])
        for o in range(len(strike)):
            g = group[o]
            level = x[level_state[g]]
            for s in range(TILE):
                deviation = min(max(volatility[o] * times[g, s], low), high) * root_years[o]
                d1 = (level[at + s] + moneyness[o]) / deviation + half * deviation
                value = forwards[g, s] * math.erfc(-sign[o] * d1 * root_half) - strike[o] * math.erfc(-sign[o] * (d1 - deviation) * root_half)
                here[linear + o, s] = half * sign[o] * unit[o] * value - price0[o]


@numba.njit(parallel=True, fastmath=True, cache=False)
def sum_tiles(first, column, quantity, unit, out):
    """out (R, S) = portfolio @ unit, unit (tiles, C, TILE): a tile stays in the cache while the rows stream past."""
    rows, width = out.shape
    for tile in numba.prange(unit.shape[0]):
        here = unit[tile]
        total = np.empty(TILE, unit.dtype)
        at = tile * TILE
        live = min(TILE, width - at)
        for row in range(rows):
            total[:] = 0
            e, end = first[row], first[row + 1]
            while e + 4 <= end:
                q0, q1, q2, q3 = quantity[e], quantity[e + 1], quantity[e + 2], quantity[e + 3]
                u0, u1, u2, u3 = here[column[e]], here[column[e + 1]], here[column[e + 2]], here[column[e + 3]]
                for s in range(TILE):
                    total[s] += q0 * u0[s] + q1 * u1[s] + q2 * u2[s] + q3 * u3[s]
                e += 4
            while e < end:
                q, u = quantity[e], here[column[e]]
                for s in range(TILE):
                    total[s] += q * u[s]
                e += 1
            for s in range(live):
                out[row, at + s] = total[s]


def cut(pnl: np.ndarray, keep: int, pool: ThreadPoolExecutor, parts: int) -> np.ndarray:
    """The `keep` smallest of every row."""
    def one(values: np.ndarray) -> np.ndarray:
        values.partition(keep - 1, axis=1)
        return values[:, :keep]

    return np.concatenate(list(pool.map(one, np.array_split(pnl, parts)))) if pnl.shape[1] > keep else pnl


def draw(loadings: np.ndarray, centre: np.ndarray, seed: np.random.SeedSequence, count: int) -> np.ndarray:
    """(K, count) states."""
    x = loadings @ np.random.Generator(np.random.SFC64(seed)).standard_normal((len(loadings), count), loadings.dtype)
    x += centre
    return x


def prepare(problem: Problem, kind: str, threads: int) -> Pipeline:
    numba.set_num_threads(threads)
    p, dtype = problem, np.dtype(kind)
    loadings, centre, quantity = p.loadings.astype(dtype), p.centre.astype(dtype)[:, None], p.quantity.astype(dtype)
    groups = [p.loading.astype(dtype), p.forward.astype(dtype), p.group]
    options = [a.astype(dtype) for a in (p.strike, p.log_moneyness, p.volatility, p.root_years, p.sign, p.unit, p.price0)]
    pool = ThreadPoolExecutor(threads)

    def run(seed: int, states: np.ndarray | None = None) -> Estimate:
        count = p.count if states is None else states.shape[1]
        keep, phases = tail_count(count), Phases()
        seeds = np.random.SeedSequence(seed).spawn(-(-count // CHUNK))
        worst = np.empty((p.rows, 0), dtype)
        unit = np.empty((-(-min(CHUNK, count) // TILE), p.columns, TILE), dtype)
        for begin, end in chunks(count, MERGE):
            at = worst.shape[1]
            pnl = np.empty((p.rows, at + end - begin), dtype)
            pnl[:, :at] = worst
            for first, last in chunks(end - begin, CHUNK):
                tiles = -(-(last - first) // TILE)
                x = np.zeros((len(loadings), tiles * TILE), dtype)
                drawn = draw(loadings, centre, seeds[(begin + first) // CHUNK], last - first) if states is None else states[:, begin + first : begin + last]
                x[:, : last - first] = drawn
                phases.to("simulate")
                price_tiles(x, p.linear_state, p.level_state, p.volatility_state, *groups, *options, unit[:tiles])
                phases.to("price")
                sum_tiles(p.first, p.column, quantity, unit[:tiles], pnl[:, at + first : at + last])
                phases.to("aggregate")
            worst = cut(pnl, keep, pool, 4 * threads)
            phases.to("tail")
        return estimate_of(worst, count, phases)

    return run
