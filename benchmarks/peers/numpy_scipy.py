"""NumPy and SciPy: ufuncs with out=, CSR times dense, partition. Chunked, so that temporaries stay in the cache; `threads` over chunks.

One thread is what most people write; two threads work because ufuncs, CSR products and partition release the interpreter lock.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import sparse
from scipy.special import ndtr

from benchmarks.peers.problem import Estimate, Phases, Pipeline, Problem, chunks, estimate_of, tail_count

CHUNK = 256
"""scenarios priced at once: 1,000 options x 256 x 8 B = 2 MB a temporary; larger and smaller chunks were slower"""
MERGE = 16_384
"""scenarios of row P&L held before they are cut to the worst: bounds the memory of long runs"""


def price_columns(p: Problem, x: np.ndarray, dtype: type) -> np.ndarray:
    """(C, S) unit P&L of states (K, S)."""
    strike, moneyness, volatility, root_years, sign, unit, price0 = (
        np.asarray(a, dtype)[:, None] for a in (p.strike, p.log_moneyness, p.volatility, p.root_years, p.sign, p.unit, p.price0))
    out = np.empty((p.columns, x.shape[1]), dtype)
    np.expm1(x[p.linear_state], out=out[: len(p.linear_state)])
    # what options of one expiry share is computed once
    level = x[p.level_state]
    forward = np.exp(level)
    forward *= p.forward.astype(dtype)[:, None]
    times = np.exp(x[p.volatility_state] * p.loading.astype(dtype)[:, None])
    stdev = times[p.group]
    stdev *= volatility
    np.clip(stdev, 0.05, 5.0, out=stdev)
    stdev *= root_years
    d1 = level[p.group]
    d1 += moneyness
    d1 /= stdev
    stdev *= dtype(0.5)
    d1 += stdev
    stdev += stdev
    d2 = np.subtract(d1, stdev, out=stdev)
    d1 *= sign
    d2 *= sign
    ndtr(d1, out=d1)
    ndtr(d2, out=d2)
    d1 *= forward[p.group]
    d2 *= strike
    d1 -= d2
    d1 *= sign * unit
    np.subtract(d1, price0, out=out[len(p.linear_state) :])
    return out


def prepare(problem: Problem, kind: str, threads: int) -> Pipeline:
    p, dtype = problem, np.float32 if kind == "float32" else np.float64
    loadings, centre = p.loadings.astype(dtype), p.centre.astype(dtype)[:, None]
    book = sparse.csr_matrix((p.quantity.astype(dtype), p.column, p.first.astype(np.int32)), (p.rows, p.columns))

    def run(seed: int, states: np.ndarray | None = None) -> Estimate:
        count = p.count if states is None else states.shape[1]
        keep = tail_count(count)
        worst = np.full((p.rows, 0), 0.0, dtype)
        total, lock = Phases(), threading.Lock()
        streams = np.random.SeedSequence(seed).spawn(-(-count // CHUNK))

        def chunk(first: int, last: int, out: np.ndarray) -> None:
            phases = Phases()
            if states is None:
                normals = np.random.Generator(np.random.SFC64(streams[first // CHUNK])).standard_normal((len(loadings), last - first), dtype)
                x = loadings @ normals
                x += centre
            else:
                x = states[:, first:last].astype(dtype)
            phases.to("simulate")
            unit = price_columns(p, x, dtype)
            phases.to("price")
            out[...] = book @ unit
            phases.to("aggregate")
            with lock:
                for name, seconds in phases.seconds.items():
                    total.seconds[name] += seconds / threads

        def cut(values: np.ndarray) -> np.ndarray:
            values.partition(keep - 1, axis=1)
            return values[:, :keep]

        with ThreadPoolExecutor(threads) as pool:
            for begin, end in chunks(count, MERGE):
                pnl = np.empty((p.rows, worst.shape[1] + end - begin), dtype)
                pnl[:, : worst.shape[1]] = worst
                jobs = [pool.submit(chunk, f, t, pnl[:, worst.shape[1] + f - begin : worst.shape[1] + t - begin]) for f, t in ((begin + f, begin + t) for f, t in chunks(end - begin, CHUNK))]
                for job in jobs:
                    job.result()
                total.since = Phases().since
                if pnl.shape[1] > keep:
                    worst = np.concatenate(list(pool.map(cut, np.array_split(pnl, 4 * threads))))
                else:
                    worst = pnl
                total.to("tail")
        return estimate_of(worst, count, total)

    return run
