"""What a capable user would otherwise write for `draws.py`: NumPy, SciPy, JAX and torch, float64, each with the chunk that suits it.

A case returns a call without arguments that makes a new array, as ours does; what is done once (compiling, seeding, the matrices) is done before. Imports are inside: a peer that
is not installed raises ImportError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.draws_ours import GJR, HESTON, correlation, loadings, residuals

Work = Callable[[], Any]
CHUNK_BYTES = 1 << 20
"""of one array of a chunk: it stays in the second cache"""
YEAR = 365.0


def chunk(rows: int, scenarios: int) -> int:
    """Scenarios that are drawn together: a power of two that divides the run."""
    size = 256
    while 2 * size * rows * 8 <= CHUNK_BYTES and scenarios % (2 * size) == 0 and 2 * size <= scenarios:
        size *= 2
    return size


def jax_ready() -> tuple[Any, Any]:
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_prng_impl", "rbg")  # the faster of its generators on a processor, threefry being the default
    return jax, jax.numpy


def torch_ready() -> Any:
    import torch

    torch.set_num_threads(1)
    return torch


def by_jax(jax: Any, one: Callable[[Any], Any], chunks: int) -> Work:
    """One compiled call that maps `one` over the keys of the chunks."""
    whole = jax.jit(lambda keys: jax.lax.map(one, keys))
    keys = jax.random.split(jax.random.key(1), chunks)
    return lambda: whole(keys).block_until_ready()


def numpy_normals(factors: int, scenarios: int, root: np.ndarray | None = None) -> Work:
    rng, size = np.random.default_rng(1), chunk(factors, scenarios)
    square = 0.03 * np.linalg.cholesky(correlation(factors)) if root is None else root
    n = np.empty((factors, size))

    def work() -> np.ndarray:
        out = np.empty((factors, scenarios))
        for at in range(0, scenarios, size):
            rng.standard_normal(out=n)
            np.matmul(square, n, out=out[:, at : at + size])
        return out

    return work


def torch_normals(factors: int, scenarios: int) -> Work:
    torch, size = torch_ready(), chunk(factors, scenarios)
    square = torch.from_numpy(0.03 * np.linalg.cholesky(correlation(factors)))
    n = torch.empty((factors, size), dtype=torch.float64)

    def work() -> Any:
        out = torch.empty((factors, scenarios), dtype=torch.float64)
        for at in range(0, scenarios, size):
            n.normal_()
            out[:, at : at + size].copy_(square @ n)
        return out

    return work


def jax_normals(factors: int, scenarios: int) -> Work:
    jax, jnp = jax_ready()
    size, square = chunk(factors, scenarios), jnp.asarray(0.03 * np.linalg.cholesky(correlation(factors)))
    return by_jax(jax, lambda key: square @ jax.random.normal(key, (factors, size), jnp.float64), scenarios // size)


def parts(factors: int, common: int) -> tuple[np.ndarray, np.ndarray]:
    b = loadings(factors, common)
    return 0.03 * b, 0.03 * np.sqrt(1.0 - np.sum(b * b, axis=1))[:, None]


def numpy_factor_model(factors: int, common: int, scenarios: int) -> Work:
    rng, size = np.random.default_rng(1), chunk(factors, scenarios)
    b, own = parts(factors, common)
    f, n = np.empty((common, size)), np.empty((factors, size))

    def work() -> np.ndarray:
        out = np.empty((factors, scenarios))
        for at in range(0, scenarios, size):
            rng.standard_normal(out=f)
            rng.standard_normal(out=n)
            np.multiply(n, own, out=n)
            np.add(n, b @ f, out=out[:, at : at + size])
        return out

    return work


def torch_factor_model(factors: int, common: int, scenarios: int) -> Work:
    torch, size = torch_ready(), chunk(factors, scenarios)
    b, own = (torch.from_numpy(x) for x in parts(factors, common))
    f, n = (torch.empty(shape, dtype=torch.float64) for shape in ((common, size), (factors, size)))

    def work() -> Any:
        out = torch.empty((factors, scenarios), dtype=torch.float64)
        for at in range(0, scenarios, size):
            f.normal_()
            n.normal_().mul_(own)
            torch.addmm(n, b, f, out=n)
            out[:, at : at + size].copy_(n)
        return out

    return work


def jax_factor_model(factors: int, common: int, scenarios: int) -> Work:
    jax, jnp = jax_ready()
    size = chunk(factors, scenarios)
    b, own = (jnp.asarray(x) for x in parts(factors, common))

    def one(key: Any) -> Any:
        n = jax.random.normal(key, (common + factors, size), jnp.float64)
        return b @ n[:common] + own * n[common:]

    return by_jax(jax, one, scenarios // size)


def qe_step(xp: Any, ndtr: Callable[[Any], Any], years: float, v: Any, w: Any, e: Any, where: Any) -> tuple[Any, Any]:
    """(move, variance after) of Andersen's scheme with martingale correction; w the price's normal, e the variance's own."""
    kappa, theta, epsilon, rho = (HESTON[k] for k in ("kappa", "theta", "epsilon", "rho"))
    gone, rest = -np.expm1(-kappa * years), np.sqrt(1.0 - rho * rho)
    k2 = 0.5 * years * (kappa * rho / epsilon - 0.5) + rho / epsilon
    k3 = 0.5 * years * rest * rest
    a = k2 + 0.5 * k3
    zv, z = rho * w + rest * e, rest * w - rho * e
    m = theta * gone + (1.0 - gone) * v
    psi = (theta * epsilon**2 * gone**2 / (2.0 * kappa) + epsilon**2 * (1.0 - gone) * gone / kappa * v) / (m * m)
    t = 2.0 / psi.clip(max=1.5)
    b2 = t - 1.0 + xp.sqrt(t * (t - 1.0))
    scale = m / (1.0 + b2)
    h = 1.0 - 2.0 * a * scale
    above = 2.0 / (psi.clip(min=1.5) + 1.0)
    beta = above / m
    quadratic = psi <= 1.5
    rare = xp.log((above / ndtr(-zv)).clip(min=1.0)) / beta
    log_m = where(quadratic, a * b2 * scale / h - 0.5 * xp.log(h), xp.log(1.0 - above + beta * above / (beta - a)))
    after = where(quadratic, scale * (xp.sqrt(b2) + zv) ** 2, rare)
    return k2 * after - 0.5 * k3 * v - log_m + xp.sqrt(k3 * (v + after)) * z, after


def numpy_heston(underlyings: int, steps: int, scenarios: int) -> Work:
    from scipy.special import ndtr

    rng, size, years = np.random.default_rng(1), chunk(4 * underlyings, scenarios), 1.0 / steps / YEAR
    square = np.linalg.cholesky(correlation(underlyings))

    def work() -> np.ndarray:
        out = np.empty((2, underlyings, scenarios))
        for at in range(0, scenarios, size):
            x, v = np.zeros((underlyings, size)), np.full((underlyings, size), HESTON["variance0"])
            for _ in range(steps):
                move, v = qe_step(np, ndtr, years, v, square @ rng.standard_normal((underlyings, size)), rng.standard_normal((underlyings, size)), np.where)
                x += move
            out[0, :, at : at + size], out[1, :, at : at + size] = x, v
        return out

    return work


def torch_heston(underlyings: int, steps: int, scenarios: int) -> Work:
    torch, size, years = torch_ready(), chunk(4 * underlyings, scenarios), 1.0 / steps / YEAR
    square, kind = torch.from_numpy(np.linalg.cholesky(correlation(underlyings))), {"dtype": torch.float64}

    def work() -> Any:
        out = torch.empty((2, underlyings, scenarios), **kind)
        for at in range(0, scenarios, size):
            x, v = torch.zeros((underlyings, size), **kind), torch.full((underlyings, size), HESTON["variance0"], **kind)
            for _ in range(steps):
                move, v = qe_step(torch, torch.special.ndtr, years, v, square @ torch.randn((underlyings, size), **kind), torch.randn((underlyings, size), **kind),
                                  torch.where)
                x += move
            out[0, :, at : at + size], out[1, :, at : at + size] = x, v
        return out

    return work


def jax_heston(underlyings: int, steps: int, scenarios: int) -> Work:
    jax, jnp = jax_ready()
    size, years, square = chunk(4 * underlyings, scenarios), 1.0 / steps / YEAR, jnp.asarray(np.linalg.cholesky(correlation(underlyings)))

    def one(key: Any) -> Any:
        def step(state: Any, k: Any) -> Any:
            x, v = state
            n = jax.random.normal(k, (2, underlyings, size), jnp.float64)
            move, v = qe_step(jnp, jax.scipy.special.ndtr, years, v, square @ n[0], n[1], jnp.where)
            return (x + move, v), None

        start = (jnp.zeros((underlyings, size)), jnp.full((underlyings, size), HESTON["variance0"]))
        return jnp.stack(jax.lax.scan(step, start, jax.random.split(key, steps))[0])

    return by_jax(jax, one, scenarios // size)


def gjr_step(e: Any, h: Any, xp: Any, where: Any) -> tuple[Any, Any, Any]:
    """(move, variance after, deviation)."""
    omega, alpha, beta, gamma = GJR
    sigma = xp.sqrt(h)
    m = (sigma * e).clip(-1.5, 1.5)
    return m, (omega + (alpha + gamma * where(m < 0.0, 1.0, 0.0)) * m * m + beta * h).clip(max=2.25), sigma


def centring(e: np.ndarray) -> np.ndarray:
    """(8, K, 1) of -log E[exp(move)], residuals (K, N), as a polynomial of degree 7 in t = 2 sigma / WIDEST - 1, the highest power first."""
    t = np.cos(np.pi * (np.arange(64) + 0.5) / 64)
    moves = (0.5 * WIDEST * (t + 1.0))[:, None, None] * e
    return np.polyfit(t, -np.log(np.mean(np.exp(np.clip(moves, -1.5, 1.5)), axis=2)), 7)[:, :, None]


WIDEST = 0.15
"""deviation of a day beyond which a peer's centring is that of this one"""


def centred_move(m: Any, sigma: Any, coefficients: Any) -> Any:
    t = (sigma * (2.0 / WIDEST) - 1.0).clip(max=1.0)
    value = coefficients[0]
    for c in coefficients[1:]:
        value = value * t + c
    return m + value


def numpy_filtered(factors: int, steps: int, rows: int, scenarios: int, centred: bool) -> Work:
    rng, size, e = np.random.default_rng(1), chunk(factors, scenarios), np.ascontiguousarray(residuals(rows, factors).T)
    c = centring(e)

    def work() -> np.ndarray:
        out = np.empty((factors, scenarios))
        for at in range(0, scenarios, size):
            x, h = np.zeros((factors, size)), np.full((factors, size), 0.0009)
            for _ in range(steps):
                m, h, sigma = gjr_step(np.take(e, rng.integers(0, rows, size), axis=1), h, np, np.where)
                x += centred_move(m, sigma, c) if centred else m
            out[:, at : at + size] = x
        return out

    return work


def torch_filtered(factors: int, steps: int, rows: int, scenarios: int, centred: bool) -> Work:
    torch, size, e = torch_ready(), chunk(factors, scenarios), torch_ready().from_numpy(np.ascontiguousarray(residuals(rows, factors).T))
    c = torch.from_numpy(centring(e.numpy()))

    def work() -> Any:
        out = torch.empty((factors, scenarios), dtype=torch.float64)
        for at in range(0, scenarios, size):
            x, h = torch.zeros((factors, size), dtype=torch.float64), torch.full((factors, size), 0.0009, dtype=torch.float64)
            for _ in range(steps):
                m, h, sigma = gjr_step(torch.index_select(e, 1, torch.randint(rows, (size,))), h, torch, torch.where)
                x += centred_move(m, sigma, c) if centred else m
            out[:, at : at + size] = x
        return out

    return work


def jax_filtered(factors: int, steps: int, rows: int, scenarios: int, centred: bool) -> Work:
    jax, jnp = jax_ready()
    size, e = chunk(factors, scenarios), jnp.asarray(residuals(rows, factors).T)
    c = jnp.asarray(centring(np.asarray(e)))

    def one(key: Any) -> Any:
        def step(state: Any, k: Any) -> Any:
            x, h = state
            m, h, sigma = gjr_step(e[:, jax.random.randint(k, (size,), 0, rows)], h, jnp, jnp.where)
            return (x + (centred_move(m, sigma, c) if centred else m), h), None

        return jax.lax.scan(step, (jnp.zeros((factors, size)), jnp.full((factors, size), 0.0009)), jax.random.split(key, steps))[0][0]

    return by_jax(jax, one, scenarios // size)


def scipy_sobol_normals(dimensions: int, scenarios: int, owen: bool) -> Work:
    """Linear matrix scrambling with a digital shift, SciPy's only scrambling, whatever ours is."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    engine = qmc.Sobol(dimensions, scramble=True, bits=52, rng=np.random.default_rng(1))
    size, root = chunk(dimensions, scenarios), np.ascontiguousarray(0.03 * np.linalg.cholesky(correlation(dimensions)).T)

    def work() -> np.ndarray:
        out = np.empty((scenarios, dimensions))
        engine.reset()
        for at in range(0, scenarios, size):
            np.matmul(ndtri(engine.random(size)), root, out=out[at : at + size])
        return out

    return work


def torch_sobol_normals(dimensions: int, scenarios: int, owen: bool) -> Work:
    torch = torch_ready()
    engine = torch.quasirandom.SobolEngine(dimensions, scramble=True, seed=1)
    size, root = chunk(dimensions, scenarios), torch.from_numpy(np.ascontiguousarray(0.03 * np.linalg.cholesky(correlation(dimensions)).T))

    def work() -> Any:
        out = torch.empty((scenarios, dimensions), dtype=torch.float64)
        engine.reset()
        for at in range(0, scenarios, size):
            torch.matmul(torch.special.ndtri(engine.draw(size, dtype=torch.float64)), root, out=out[at : at + size])
        return out

    return work


def scipy_points(dimensions: int, scenarios: int) -> Work:
    from scipy.stats import qmc

    engine = qmc.Sobol(dimensions, scramble=False, bits=52)

    def work() -> np.ndarray:
        engine.reset()
        return engine.random(scenarios)

    return work


def torch_points(dimensions: int, scenarios: int) -> Work:
    torch = torch_ready()
    engine = torch.quasirandom.SobolEngine(dimensions)

    def work() -> Any:
        engine.reset()
        return engine.draw(scenarios, dtype=torch.float64)

    return work


WORK: dict[str, dict[str, Callable[..., Work]]] = {
    "normals": {"NumPy": numpy_normals, "torch": torch_normals, "JAX": jax_normals},
    "factor_model": {"NumPy": numpy_factor_model, "torch": torch_factor_model, "JAX": jax_factor_model},
    "heston": {"NumPy and SciPy": numpy_heston, "torch": torch_heston, "JAX": jax_heston},
    "filtered": {"NumPy": numpy_filtered, "torch": torch_filtered, "JAX": jax_filtered},
    "sobol_normals": {"SciPy": scipy_sobol_normals, "torch": torch_sobol_normals},
    "sobol_points": {"SciPy": scipy_points, "torch": torch_points},
}
