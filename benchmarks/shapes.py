"""Synthetic work of a given size: what a benchmark prices, sums and cuts. Nothing is read, everything follows from a seed.

TINY rehearses a benchmark; SMALL and TARGET are the sizes that speed is quoted at. Underlyings have a log-price and a
log-volatility factor each; options are European, half of them inverse, on four expiries an underlying; every account holds
a random set of columns, which is harder on the caches than a real book, whose accounts stay with few underlyings. One
horizon of one day, one base step, Gaussian.

Volatilities are sticky in strike unless `sticky_moneyness`: then each group reads a surface that moves with the forward, and the
option's residual to it makes today's volatility the same in both variants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upm_gpu.model.gbm import GbmParameters, walk
from upm_gpu.pricing.compiled import GROUP_INTEGERS, GROUP_REALS, Compiled, Family, Program, Rows
from upm_gpu.scenario.sets import Walk

EXPIRIES = (7.0, 30.0, 90.0, 180.0)
HORIZON_DAYS = 1.0
YEAR = 365.0


@dataclass(frozen=True)
class Shape:
    accounts: int
    options: int
    underlyings: int
    scenarios: int
    positions: int
    """columns an account holds"""


SHAPES = {
    "TINY": Shape(12, 32, 2, 4096 + 128, 6),
    "SMALL": Shape(2_000, 1_000, 20, 10_000, 50),
    "TARGET": Shape(10_000, 5_000, 250, 100_000, 100),
}


def make(shape: Shape, seed: int = 1, sticky_moneyness: bool = False) -> tuple[Compiled, Rows, Walk]:
    """Book, rows and scenarios of a shape."""
    rng = np.random.default_rng(seed)
    names = tuple(f"{kind}[U{u:03d}]" for u in range(shape.underlyings) for kind in ("log_level", "volatility_shift"))
    compiled = _compiled(shape, names, rng, sticky_moneyness)
    columns = [np.sort(rng.choice(compiled.columns, min(shape.positions, compiled.columns), replace=False)) for _ in range(shape.accounts)]
    first = np.concatenate([[0], np.cumsum([len(c) for c in columns])]).astype(np.int64)
    rows = Rows(first, np.concatenate(columns).astype(np.int32), rng.normal(0.0, 10.0, int(first[-1])))
    return compiled, rows, _walk(shape, names, rng)


def _compiled(shape: Shape, names: tuple[str, ...], rng: np.random.Generator, sticky_moneyness: bool) -> Compiled:
    linear = shape.underlyings
    groups = shape.underlyings * len(EXPIRIES)
    counts = np.full(groups, shape.options // groups) + (np.arange(groups) < shape.options % groups)
    first = linear + np.cumsum(counts) - counts
    spots = 100.0 * np.exp(rng.normal(0.0, 1.0, shape.underlyings))
    integers, reals = [], []
    for g in range(groups):
        u, expiry = divmod(g, len(EXPIRIES))
        days = EXPIRIES[expiry]
        whole = {"family": Family.EUROPEAN, "first": first[g], "count": counts[g], "date": 0, "settle_date": -1, "level_state": 2 * u, "forward_state": 2 * u,
                 "volatility_state": 2 * u + 1, "inverse": g % 2, "sticky_moneyness": int(sticky_moneyness), "additive_volatility": 0, "skew_state": -1, "stretch_state": -1}
        real = {"spot0": spots[u], "forward0": spots[u], "expiry_years": days / YEAR, "remaining_years": (days - HORIZON_DAYS) / YEAR, "discount0": 1.0, "discount": 1.0,
                "volatility_loading": (30.0 / days) ** 0.2, "svi_a": 0.25 * days / YEAR, "svi_b": 0.4 * days / YEAR, "svi_rho": -0.3, "svi_m": 0.0, "svi_s": 0.2, "svi_tilt": 0.0}
        integers.append([int(whole.get(k, -1)) for k in GROUP_INTEGERS])
        reals.append([float(real.get(k, 0.0)) for k in GROUP_REALS])
    used = counts > 0
    moneyness = rng.normal(0.0, 0.25, shape.options)
    forward = np.repeat(np.repeat(spots, len(EXPIRIES)), counts)
    volatility, sign = rng.uniform(0.3, 1.2, shape.options), rng.choice([-1.0, 1.0], shape.options)
    surface = np.sqrt(0.25 + 0.4 * (-0.3 * moneyness + np.sqrt(moneyness**2 + 0.04)))
    residual = volatility - surface if sticky_moneyness else np.zeros(shape.options)
    terms = np.stack([forward * np.exp(moneyness), moneyness, volatility, residual, sign, np.zeros(shape.options)])
    program = Program(HORIZON_DAYS, np.arange(0, 2 * linear, 2, dtype=np.int32), np.zeros(linear, np.int32), np.array(integers, np.int32)[used], np.array(reals)[used])
    count = linear + shape.options
    return Compiled(tuple(f"I{i:05d}" for i in range(count)), np.arange(count, dtype=np.int32), np.ones(count), names,
                    np.array([HORIZON_DAYS]), linear, terms, (program,))


def _walk(shape: Shape, names: tuple[str, ...], rng: np.random.Generator) -> Walk:
    loadings = rng.normal(0.0, 1.0, (len(names), 8))
    covariance = loadings @ loadings.T + 4.0 * np.eye(len(names))
    scale = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(scale, scale)
    np.fill_diagonal(correlation, 1.0)
    return walk(GbmParameters(names, np.tile([0.04, 0.06], shape.underlyings), (correlation + correlation.T) / 2.0), np.array([HORIZON_DAYS]), 20260205, 0, shape.scenarios)
