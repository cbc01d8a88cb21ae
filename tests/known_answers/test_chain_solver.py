"""The solver of chained slices: the same iterates and the same optimum as MINPACK's dense one, conflicts or none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

from upm_gpu.market import svi_fit
from upm_gpu.market.chain_solver import chain_least_squares


def dense(blocks, rows):
    """(residual, Jacobian) with zeros below, so that MINPACK sees one size."""
    n, p = len(blocks), (blocks[0].shape[1] - 1) // 2
    value, jacobian, at = np.zeros(rows), np.zeros((rows, n * p)), 0
    for i, block in enumerate(blocks):
        both = jacobian[at : at + len(block), p * i : p * (i + 2)]
        both[:] = block[:, : both.shape[1]]
        value[at : at + len(block)] = block[:, -1]
        at += len(block)
    return value, jacobian


def by_minpack(equations, start, evaluations, xtol, ftol, gtol=1e-8):
    rows = sum(map(len, equations(start))) + 4000
    return least_squares(lambda x: dense(equations(x), rows)[0], start, jac=lambda x: dense(equations(x), rows)[1], method="lm", x_scale="jac", max_nfev=evaluations,
                         xtol=xtol, ftol=ftol, gtol=gtol).x


def curved(x):
    """Three blocks of two unknowns: valleys like Rosenbrock's, tied to one another."""
    y = x.reshape(3, 2)
    blocks = []
    for i in range(3):
        a, b = y[i]
        rows = [[-20.0 * a, 10.0, 0.0, 0.0, 10.0 * (b - a * a)], [-1.0, 0.0, 0.0, 0.0, 1.0 - a], [0.01, 0.02, 0.0, 0.0, 0.01 * a + 0.02 * b + 0.1]]
        if i < 2:
            c = y[i + 1][0]
            rows.append([3.0 * c, 0.0, 3.0 * a, 0.0, 3.0 * (a * c - 2.0 + i)])
        blocks.append(np.array(rows))
    return blocks


def chain(expiries=8, quotes=25, level_noise=0.03, seed=5):
    """Noisy volatilities of a power-law SSVI surface (J. Gatheral, A. Jacquier, 2014); the noise of whole expiries makes them cross."""
    rng = np.random.default_rng(seed)
    years = np.linspace(0.04, 0.04 + 0.02 * (expiries - 1), expiries)
    k, volatility = [], []
    for t in years:
        theta = 0.04 * t
        phi, rho = 0.9 * theta**-0.45, -0.6
        x = np.sort(rng.uniform(-4.0, 3.0, quotes)) * np.sqrt(theta)
        w = 0.5 * theta * (1.0 + rho * phi * x + np.sqrt((phi * x + rho) ** 2 + 1.0 - rho * rho))
        k.append(x)
        volatility.append(np.sqrt(w / t) * np.exp(level_noise * rng.standard_normal() + 0.005 * rng.standard_normal(quotes)))
    return years, k, volatility, [np.ones(quotes) for _ in years]


def test_iterates_are_those_of_minpack():
    start = np.array([-1.2, 1.0, 2.0, -1.0, 0.5, 3.0])
    for evaluations in (2, 3, 5, 8, 12, 20, 500):
        expected = by_minpack(curved, start, evaluations, 1e-12, 1e-14)
        # The two triangular factors differ by rounding alone; every later step passes it on.
        assert chain_least_squares(curved, start, evaluations, 1e-12, 1e-14) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_crossing_slices_come_out_as_from_the_dense_solver(monkeypatch):
    data = chain()
    found = svi_fit.fit_jointly(*data)
    monkeypatch.setattr(svi_fit, "PENALTIES", ())
    alone = svi_fit.fit_jointly(*data)
    monkeypatch.setattr(svi_fit, "PENALTIES", (10.0, 300.0))
    monkeypatch.setattr(svi_fit, "chain_least_squares", by_minpack)
    expected = svi_fit.fit_jointly(*data)
    assert volatilities(data, found) == pytest.approx(volatilities(data, expected), abs=1e-9)
    # and the links were at work, so that the comparison says something
    assert np.max(np.abs(volatilities(data, found) - volatilities(data, alone))) > 0.002


def test_tight_optimum_is_that_of_the_dense_solver(monkeypatch):
    data = chain(6, 15)
    monkeypatch.setattr(svi_fit, "PENALTIES", (10.0,))
    monkeypatch.setattr(svi_fit, "XTOL", 1e-13)
    monkeypatch.setattr(svi_fit, "FTOL", 1e-13)
    monkeypatch.setattr(svi_fit, "EVALUATIONS", 2000)
    found = svi_fit.fit_jointly(*data)
    monkeypatch.setattr(svi_fit, "chain_least_squares", by_minpack)
    assert volatilities(data, found) == pytest.approx(volatilities(data, svi_fit.fit_jointly(*data)), abs=1e-6)


def test_an_index_chain_is_fitted():
    data = chain(45, 133, 0.002, 7)
    error = volatilities(data, svi_fit.fit_jointly(*data)) - np.concatenate(data[2])
    # Half a percent of noise a quote and 0.2 % an expiry on volatilities of 20 %.
    assert np.sqrt(np.mean(error * error)) < 0.0015


def volatilities(data, parameters):
    years, k, _, _ = data
    slices = []
    for t, x, (a, b, rho, m, s) in zip(years, k, parameters, strict=True):
        slices.append(np.sqrt((a + b * (rho * (x - m) + np.hypot(x - m, s))) / t))
    return np.concatenate(slices)
