"""The floor under volatilities: the larger of two plain sums for every model that has one, its look-back, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from upm_gpu.calibrate.model_of_spec import calibrate_model
from upm_gpu.calibrate.parameter_file import write_parameters
from upm_gpu.config import load_config
from upm_gpu.errors import InputError
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.scenario.spec import ScenarioSpec

START, DAYS = datetime(2023, 1, 1, tzinfo=UTC), 800
SPEC = ScenarioSpec(count=10, volatility_floor="long_run")


def moves() -> dict[str, np.ndarray]:
    """A is wild for 400 days and calm for 400, B the other way round; their volatility series always the same."""
    rng = np.random.default_rng(3)
    wild_then_calm = np.repeat([0.05, 0.01], DAYS // 2)
    return {"A": wild_then_calm * rng.standard_normal(DAYS), "B": wild_then_calm[::-1] * rng.standard_normal(DAYS),
            "A.IV30": 0.03 * rng.standard_normal(DAYS), "B.IV30": 0.03 * rng.standard_normal(DAYS)}


def market() -> MarketSnapshot:
    rows = [(START + timedelta(days=i), a, float(x)) for a, m in moves().items() for i, x in enumerate(100.0 * np.exp(np.concatenate([[0.0], np.cumsum(m)])))]
    frame = pd.DataFrame(rows, columns=["timestamp", "asset", "close"])
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], utc=True).astype("datetime64[ns, UTC]")
    return MarketSnapshot(START + timedelta(days=DAYS), "USD", {"USD": 1.0, "A": 100.0, "B": 100.0}, {}, None, {}, frame)  # type: ignore[arg-type]


def level(asset: str, days: int = DAYS) -> float:
    return float(np.sqrt(np.mean(moves()[asset][-days:] ** 2)))


@pytest.mark.parametrize("model", ["gbm", "garch", "filtered_historical", "scaled_historical"])
def test_a_calm_market_is_raised_and_a_wild_one_is_left(model):
    spec = replace(SPEC, model=model, filter="ewma")
    free, _ = calibrate_model(market(), replace(spec, volatility_floor="none"))
    held, fit = calibrate_model(market(), spec)
    names = list(held.state_names)
    a, b = names.index("log_level[A]"), names.index("log_level[B]")
    assert free.daily_volatility[a] < 0.6 * level("A")
    assert held.daily_volatility[a] == pytest.approx(level("A"), rel=1e-12)
    assert held.daily_volatility[b] == pytest.approx(free.daily_volatility[b], rel=1e-12)
    assert held.daily_volatility[b] > 1.2 * level("B")
    assert np.all(held.daily_volatility >= free.daily_volatility * (1.0 - 1e-12))
    said = [w for w in fit.warnings if w.startswith("UPM-CA-190")]
    assert len(said) == 1
    assert "log_level[A]" in said[0]
    assert "log_level[B]" not in said[0]


def test_the_look_back_is_the_one_asked_for():
    """The calm year alone: the floor is that year's own level."""
    spec = replace(SPEC, long_run_years=390.0 / 365.0)
    held, _ = calibrate_model(market(), spec)
    free, _ = calibrate_model(market(), replace(spec, volatility_floor="none"))
    a = list(held.state_names).index("log_level[A]")
    assert held.daily_volatility[a] == pytest.approx(max(float(free.daily_volatility[a]), level("A", 389)), rel=1e-12)


def test_a_parameter_file_is_floored_by_the_market(tmp_path: Path):
    _, fit = calibrate_model(market(), replace(SPEC, volatility_floor="none"))
    write_parameters(replace(fit, daily_volatility=0.5 * fit.daily_volatility), tmp_path / "p.toml")
    held, _ = calibrate_model(market(), replace(SPEC, parameters=str(tmp_path / "p.toml")))
    a, b = (list(held.state_names).index(f"log_level[{u}]") for u in "AB")
    assert held.daily_volatility[a] == pytest.approx(level("A"), rel=1e-12)
    assert held.daily_volatility[b] == pytest.approx(max(level("B"), 0.5 * float(fit.daily_volatility[b])), rel=1e-9)


@pytest.mark.parametrize("line", ['volatility_floor = "long_run"\nname = "heston"', 'volatility_floor = "long_run"\nlong_run_years = 0.0', 'volatility_floor = "ten"'])
def test_what_cannot_be_floored_is_refused(tmp_path: Path, line: str):
    path = tmp_path / "c.toml"
    path.write_text(f"schema_version = 1\n[model]\n{line}\n")
    with pytest.raises(InputError, match="UPM-CF-0"):
        load_config(path)
