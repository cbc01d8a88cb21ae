"""Implied volatilities by libraries of an environment of their own: JAX and py_vollib_vectorized. Imports nothing of the product.

Run by benchmarks/implied.py with the interpreter given as `--peers`: implied_peers.py CASES.npz, arrays m, value (see there); prints one line of JSON, a library that is absent or fails by name.
py_vollib_vectorized 0.1.1 compiles the functions of py_lets_be_rational itself: it needs py_vollib 1.0.1 and py_lets_be_rational 1.0.1 (with numba 0.57 and NumPy 1.24; seen). Later ones are plain functions, which
numba refuses ("Untyped global name normalised_black_call"): that error is then what is reported.
JAX: Newton on the logarithm of the price below the inflection point and on the price above it, started there (Manaster and Koehler 1982), 24 iterations, jitted, float64; compiled before the clock starts.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

ITERATIONS = 24


def timed(work: Callable[[], Any]) -> tuple[float, np.ndarray]:
    """Seconds of process time of the fastest of five calls after one that is not counted, and the result."""
    found, fastest = np.asarray(work()), float("inf")
    for _ in range(5):
        start = time.process_time()
        found = np.asarray(work())
        fastest = min(fastest, time.process_time() - start)
    return fastest, found


def by_jax(m: np.ndarray, value: np.ndarray) -> tuple[str, Callable[[], Any]]:
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import jax.numpy as jnp
    from jax.scipy.special import log_ndtr

    jax.config.update("jax_enable_x64", True)

    def price(s: Any, x: Any) -> tuple[Any, Any]:
        """Logarithm of the price and of its slope in s."""
        a, b = s / 2.0 - x / s, -s / 2.0 - x / s
        first, second = log_ndtr(a), x + log_ndtr(b)
        return first + jnp.log1p(-jnp.exp(jnp.minimum(second - first, -1e-300))), -0.5 * a * a - 0.5 * jnp.log(2.0 * jnp.pi)

    @jax.jit
    def solve(x: Any, target: Any) -> Any:
        start, log_target = jnp.sqrt(2.0 * x) + 1e-8, jnp.log(target)
        below = log_target < price(start, x)[0]

        def step(_: int, s: Any) -> Any:
            log_price, log_slope = price(s, x)
            down = (log_price - log_target) * jnp.exp(log_price - log_slope)
            return jnp.maximum(s - jnp.where(below, down, (jnp.exp(log_price) - target) * jnp.exp(-log_slope)), 0.1 * s)

        return jax.lax.fori_loop(0, ITERATIONS, step, start)

    given = jnp.asarray(m), jnp.asarray(value)
    return f"JAX {version('jax')}, {ITERATIONS} Newton steps, jitted", lambda: solve(*given).block_until_ready()


def by_vollib(m: np.ndarray, value: np.ndarray) -> tuple[str, Callable[[], Any]]:
    from py_vollib_vectorized.implied_volatility import vectorized_implied_volatility_black

    one, strike, flag = np.ones_like(m), np.exp(m), np.full(len(m), "c")
    return (f"py_vollib_vectorized {version('py_vollib_vectorized')}",
            lambda: vectorized_implied_volatility_black(value, one, strike, 0.0, one, flag, return_as="numpy", on_error="ignore"))


def main() -> None:
    data = np.load(sys.argv[1])
    rows, missing = [], []
    for made in (by_jax, by_vollib):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                name, work = made(data["m"], data["value"])
                seconds, found = timed(work)
        except Exception as error:  # a library that cannot be had or does not run here is reported, not fatal
            missing.append(f"{made.__name__.removeprefix('by_')}: {type(error).__name__}: {str(error).strip().splitlines()[0][:120] if str(error).strip() else ''}")
        else:
            rows.append({"method": name, "seconds": seconds, "found": [float(x) for x in found[: int(data["few"])]]})
    print(json.dumps({"rows": rows, "missing": missing}))


if __name__ == "__main__":
    main()
