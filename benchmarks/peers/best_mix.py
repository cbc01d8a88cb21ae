"""The best of the ready parts, joined by hand: JAX draws and prices, a Numba tile loop sums, torch.topk cuts. No copy between them but one into the tile."""

from __future__ import annotations

import numba
import numpy as np
import torch

from benchmarks.peers import jax_jit
from benchmarks.peers.numba_tiles import TILE
from benchmarks.peers.problem import Estimate, Phases, Pipeline, Problem, chunks, estimate_of, tail_count

CHUNK = 4_096
MERGE = 16_384


@numba.njit(parallel=True, fastmath=True, cache=False)
def sum_columns(first, column, quantity, columns, out):
    """out (R, S) = portfolio @ columns (C, S): 64 scenarios are copied together, then the rows stream past them, four entries at a time."""
    rows, width = out.shape
    for tile in numba.prange((width + TILE - 1) // TILE):
        at = tile * TILE
        live = min(TILE, width - at)
        here = np.empty((columns.shape[0], TILE), columns.dtype)
        for c in range(columns.shape[0]):
            for s in range(live):
                here[c, s] = columns[c, at + s]
        total = np.empty(TILE, columns.dtype)
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


def prepare(problem: Problem, kind: str, threads: int) -> Pipeline:
    p, dtype = problem, np.dtype(kind)
    draw, price = jax_jit.functions(p, kind)
    numba.set_num_threads(threads)
    torch.set_num_threads(threads)
    quantity = p.quantity.astype(dtype)

    def run(seed: int, states: np.ndarray | None = None) -> Estimate:
        count = p.count if states is None else states.shape[1]
        keep, phases = tail_count(count), Phases()
        keys = jax_jit.keys_of(seed, -(-count // CHUNK))
        worst = np.empty((p.rows, 0), dtype)
        for begin, end in chunks(count, MERGE):
            at = worst.shape[1]
            pnl = np.empty((p.rows, at + end - begin), dtype)
            pnl[:, :at] = worst
            for first, last in chunks(end - begin, CHUNK):
                x = draw(keys[(begin + first) // CHUNK], last - first) if states is None else states[:, begin + first : begin + last].astype(dtype)
                phases.to("simulate")
                columns = np.asarray(price(x))
                phases.to("price")
                sum_columns(p.first, p.column, quantity, columns, pnl[:, at + first : at + last])
                phases.to("aggregate")
            worst = torch.topk(torch.from_numpy(pnl), keep, dim=1, largest=False, sorted=False).values.numpy() if pnl.shape[1] > keep else pnl
            phases.to("tail")
        return estimate_of(worst, count, phases)

    return run
