"""JAX on the CPU: one jitted function for draws and prices (lax.erf), one for the sums, NumPy's partition for the tail (lax.top_k is slow on CPUs).

Sums are a dense product where the portfolio is at least 0.5 % full, else a gather with a segment sum over 256 scenarios, which reaches
1 GFLOP/s: the faster of the two on either side of that.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.peers.problem import Estimate, Phases, Pipeline, Problem, chunks, estimate_of, tail_count

if TYPE_CHECKING:
    import jax

CHUNK = 2_048
MERGE = 16_384
DENSE = 0.005


def functions(problem: Problem, kind: str) -> tuple[Callable, Callable]:
    """Jitted `draw(key, size)` -> states (K, size) and `price(states)` -> columns (C, size)."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import jax.numpy as jnp

    if kind == "float64":
        jax.config.update("jax_enable_x64", True)
    p, dtype = problem, jnp.dtype(kind)

    def of(a: np.ndarray) -> jax.Array:
        return jnp.asarray(a, dtype)

    loadings, centre = of(p.loadings), of(p.centre)[:, None]
    forward0, loading, strike, moneyness, volatility, root_years, sign, unit, price0 = (
        of(a)[:, None] for a in (p.forward, p.loading, p.strike, p.log_moneyness, p.volatility, p.root_years, p.sign, p.unit, p.price0))

    def cdf(x: jax.Array) -> jax.Array:
        return 0.5 + 0.5 * jax.lax.erf(x * dtype.type(0.5**0.5))

    @partial(jax.jit, static_argnums=1)
    def draw(key: jax.Array, size: int) -> jax.Array:
        return loadings @ jax.random.normal(key, (len(loadings), size), dtype) + centre

    @jax.jit
    def price(x: jax.Array) -> jax.Array:
        level = x[p.level_state]
        forward, times = forward0 * jnp.exp(level), jnp.exp(x[p.volatility_state] * loading)
        stdev = jnp.clip(volatility * times[p.group], 0.05, 5.0) * root_years
        d1 = (level[p.group] + moneyness) / stdev + 0.5 * stdev
        value = sign * unit * (forward[p.group] * cdf(sign * d1) - strike * cdf(sign * (d1 - stdev))) - price0
        return jnp.concatenate([jnp.expm1(x[p.linear_state]), value])

    return draw, price


def keys_of(seed: int, count: int) -> Any:
    """One key a chunk; the `rbg` generator draws faster than JAX's default."""
    import jax

    return jax.random.split(jax.random.key(seed, impl="rbg"), count)


def prepare(problem: Problem, kind: str, threads: int) -> Pipeline:
    p = problem
    draw, price = functions(p, kind)
    import jax
    import jax.numpy as jnp

    dtype = jnp.dtype(kind)
    quantity = jnp.asarray(p.quantity, dtype)
    dense = len(p.quantity) >= DENSE * p.rows * p.columns
    if dense:
        full = np.zeros((p.rows, p.columns))
        full[np.repeat(np.arange(p.rows), np.diff(p.first)), p.column] = p.quantity
        book = jnp.asarray(full, dtype)
    row = jnp.asarray(np.repeat(np.arange(p.rows, dtype=np.int32), np.diff(p.first)))
    column = jnp.asarray(p.column)

    @jax.jit
    def aggregate(columns: jax.Array) -> jax.Array:
        if dense:
            return book @ columns
        return jax.ops.segment_sum(quantity[:, None] * columns[column], row, p.rows, indices_are_sorted=True)

    def run(seed: int, states: np.ndarray | None = None) -> Estimate:
        count = p.count if states is None else states.shape[1]
        keep, phases = tail_count(count), Phases()
        keys = keys_of(seed, -(-count // CHUNK))
        worst = np.empty((p.rows, 0), np.dtype(dtype))
        for begin, end in chunks(count, MERGE):
            pnl = np.empty((p.rows, worst.shape[1] + end - begin), worst.dtype)
            pnl[:, : worst.shape[1]] = worst
            at = worst.shape[1]
            for first, last in chunks(end - begin, CHUNK):
                if states is None:
                    x = draw(keys[(begin + first) // CHUNK], last - first).block_until_ready()
                else:
                    x = jnp.asarray(states[:, begin + first : begin + last], dtype)
                phases.to("simulate")
                columns = price(x).block_until_ready()
                phases.to("price")
                step = last - first if dense else 256
                for a, b in chunks(last - first, step):
                    pnl[:, at + first + a : at + first + b] = aggregate(columns[:, a:b])
                phases.to("aggregate")
            if pnl.shape[1] > keep:
                pnl.partition(keep - 1, axis=1)
                worst = pnl[:, :keep].copy()
            else:
                worst = pnl
            phases.to("tail")
        return estimate_of(worst, count, phases)

    return run
