"""Merton, Heston and Bates: the engine and the emulated device to the bit, and both against the twins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from upm_gpu.backend import cpu, reference
from upm_gpu.formula.operation import Columns
from upm_gpu.formula.operations import operation_named

from .conftest import cpu_backend, cuda_backend

OPERATIONS = ("merton_price", "heston_price")


def cases_of(name: str, count: int, seed: int = 3) -> Columns:
    """Random cases, a third on a forward, half paid in coins, a third of Heston's with jumps."""
    rng = np.random.default_rng(seed)
    level, years = rng.uniform(80.0, 120.0, count), np.exp(rng.uniform(np.log(0.02), np.log(5.0), count))
    on_forward = np.arange(count) % 3 == 0
    spread = rng.uniform(0.15, 0.6, count)
    columns = {"spot": np.where(on_forward, np.nan, level), "forward": np.where(on_forward, level, np.nan), "time_to_expiry": years,
               "strike": level * np.exp(rng.uniform(-2.0, 2.0, count) * spread * np.sqrt(years)), "rate": rng.uniform(-0.02, 0.08, count),
               "dividend_yield": rng.uniform(-0.02, 0.05, count), "sign": rng.choice([-1.0, 1.0], count), "inverse": rng.choice([0.0, 1.0], count),
               "jump_intensity": rng.uniform(0.2, 5.0, count), "jump_mean": rng.uniform(-0.2, 0.1, count), "jump_volatility": rng.uniform(0.03, 0.2, count)}
    if name == "merton_price":
        return columns | {"volatility": spread}
    return columns | {"initial_variance": spread**2, "mean_reversion": rng.uniform(0.5, 4.0, count), "long_run_variance": rng.uniform(0.02, 0.4, count),
                      "vol_of_vol": rng.uniform(0.1, 1.0, count), "correlation": rng.uniform(-0.9, 0.9, count),
                      "jump_intensity": np.where(np.arange(count) % 3 == 1, columns["jump_intensity"], 0.0)}


@pytest.mark.parametrize("name", OPERATIONS)
def test_against_the_twin(backend: Any, name: str) -> None:
    """Prices to rounding, Greeks to the twin's differences, in units of the level."""
    columns = cases_of(name, 12)
    got, expected = backend.values(name, columns), reference.values(name, columns)
    assert tuple(got) == operation_named(name).outputs and not got["status"].any()
    for key, value in got.items():
        near = 1e-10 if key in ("price", "price_coin", "status") else 1e-8 if key == "implied_volatility" else 2e-4
        np.testing.assert_allclose(value, expected[key], rtol=0.0, atol=near, err_msg=key)


@pytest.mark.parametrize("name", OPERATIONS)
def test_engine_and_device_agree_to_the_bit(name: str) -> None:
    columns = cases_of(name, 60)
    first = cpu_backend("plain").values(name, columns)
    for other in (cpu.values(name, columns, 1), cpu.values(name, columns, 2), cuda_backend("emulated").values(name, columns)):
        for key in first:
            np.testing.assert_array_equal(other[key], first[key], err_msg=key)


@pytest.mark.parametrize(("name", "column", "bad", "status"), [
    ("merton_price", "volatility", -0.1, 4.0), ("merton_price", "jump_mean", np.nan, 4.0), ("merton_price", "jump_mean", 60.0, 41.0), ("merton_price", "jump_intensity", 1e9, 41.0),
    ("heston_price", "initial_variance", -0.1, 4.0), ("heston_price", "correlation", 1.1, 4.0), ("heston_price", "vol_of_vol", np.nan, 4.0), ("heston_price", "strike", 0.0, 4.0)])
def test_a_case_outside_its_domain_has_a_status(backend: Any, name: str, column: str, bad: float, status: float) -> None:
    """And leaves its neighbours alone."""
    columns = cases_of(name, 4)
    whole = backend.values(name, columns)
    changed = columns | {column: np.array([columns[column][0], bad, *columns[column][2:]])}
    broken = backend.values(name, changed)
    assert broken["status"].tolist() == [0.0, status, 0.0, 0.0] and np.isnan(broken["price"][1]) and np.isnan(broken["implied_volatility"][1])
    np.testing.assert_array_equal(np.delete(broken["price"], 1), np.delete(whole["price"], 1))
