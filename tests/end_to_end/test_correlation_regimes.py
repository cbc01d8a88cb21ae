"""Correlation regimes from a configuration to margins: what is reported, who else sees the same scenarios, every model that has a correlation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import CONFIG, here, small_run
from small_book import GAUSSIAN, STUDENT, methodology, read, write
from test_adaptive import POSITIONS, same

from upm_gpu.backend.select import choose
from upm_gpu.config import load_config
from upm_gpu.engine import compute_outcome
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.scenario.sets import BLOCK
from upm_gpu.scenario.spec import RegimeSpec, ScenarioSpec

EXAMPLES = Path(__file__).parents[2] / "configs" / "model"
REGIMES = """[[model.correlation_regimes]]
name = "crisis"
probability = 0.125
share = 0.5
[[model.correlation_regimes]]
name = "winter"
probability = 0.0625
toward = "stressed_period"
start = "2025-12-01"
end = "2026-01-15"
"""
MODELS = {"gbm": "", "garch": 'filter = "ewma"\n', "factors": 'filter = "ewma"\ncommon_factors = 1\n', "merton": 'parameters = "model.toml"\n', "heston": 'parameters = "model.toml"\n',
          "bates": 'parameters = "model.toml"\n'}
SPEC = ScenarioSpec(count=3 * BLOCK + 100, seed=3, horizons=(1.0, 2.0), correlation_regimes=(RegimeSpec("crisis", 0.1, 0.7), RegimeSpec("worse", 0.05, 1.0)))


def configured(folder: Path, model: str) -> Path:
    name = "garch" if model == "factors" else model
    small_run(folder, config=CONFIG.replace("[model]\n", f'[model]\nname = "{name}"\n{MODELS[model]}').replace("[scenarios]", REGIMES + "[scenarios]"))
    if "parameters" in MODELS[model]:
        (folder / "model.toml").write_text((EXAMPLES / f"{model}.toml").read_text())
    return folder / "run.toml"


@pytest.mark.parametrize("model", MODELS)
def test_a_run_reports_the_correlations_it_used(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    config = configured(tmp_path / "in", model)
    said = here(capsys, monkeypatch, "run", config, "--out", tmp_path / "a", "--quiet")
    assert said.code == 0, said
    used = json.loads((tmp_path / "a" / "manifest.json").read_text())["correlation_regimes"]
    assert [(u["regime"], u["probability"], u["toward"]) for u in used] == [("as estimated", 0.8125, ""), ("crisis", 0.125, "one"), ("winter", 0.0625, "stressed period")]
    assert sum(u["scenarios_drawn"] for u in used) == pytest.approx(1.0) and abs(used[1]["scenarios_drawn"] - 0.125) < 0.021  # 4 deviations of 4,096
    base, crisis = np.array(used[0]["correlation"]), np.array(used[1]["correlation"])
    signs = np.array([1.0 if f.startswith("log_level") else -1.0 for f in used[1]["factors"]])
    np.testing.assert_allclose(crisis, 0.5 * (base + np.outer(signs, signs)), atol=1e-11)
    assert "2025-12-01T00:00:00Z to 2026-01-16T00:00:00Z" in used[2]["source"]
    page = (tmp_path / "a" / "report.html").read_text()
    assert "Correlation used" in page and ">winter<" in page
    assert load_config(tmp_path / "a" / "inputs" / "config.toml").model.correlation_regimes == load_config(config).model.correlation_regimes  # what a resumed run reads
    simulated = here(capsys, monkeypatch, "simulate", config, "--out", tmp_path / "s.parquet", "--quiet")
    assert simulated.code == 0, simulated
    worst = pq.read_table(tmp_path / "a" / "worst_scenarios.parquet").to_pandas().iloc[0]
    row = pq.read_table(tmp_path / "s.parquet").to_pandas().query(f"scenario == {worst['scenario']} and days == 2.0").iloc[0]
    assert row["log_level[BTC]"] == worst["log_level[BTC]"]


def test_chunks_threads_a_ledger_and_samplers(tmp_path: Path) -> None:
    book, market = read(write(tmp_path, POSITIONS))
    for spec in (SPEC, replace(SPEC, sampler="sobol"), replace(SPEC, variance_reduction="antithetic")):
        plan = make_plan(book, market, spec, methodology(), STUDENT)
        assert [r.name for r in plan.regimes] == ["as estimated", "crisis", "worse"]
        whole = compute_outcome(plan, choose("cpu", "double", 1), 0, in_memory())
        same(whole, compute_outcome(plan, choose("cpu", "double", 2), BLOCK, in_memory()))

        def resumed(ranges, compute, join):
            state = compute(0, 2 * BLOCK, None)  # what a ledger holds after a crash
            return join(state, compute(2 * BLOCK, ranges[-1][1], state))

        same(whole, compute_outcome(plan, choose("cpu", "double", 1), 0, resumed))


def test_the_margin_lies_between_those_of_its_regimes_and_calm_scenarios_stay(tmp_path: Path) -> None:
    """Long BTC against a short BTC call: what falls together costs more toward one; a forced regime is the limit of its probability."""
    book, market = read(write(tmp_path, "account_id,instrument_id,quantity\nA,BTC-LINEAR,1\nA,BTC-P60,-3\nA,ETH-PERP,40\n"))
    margins = []
    for probability in (0.0, 0.2, 0.999999, 1.0):
        regimes = (RegimeSpec("crisis", probability, 0.9),) if probability else ()
        plan = make_plan(book, market, replace(SPEC, count=40_000, correlation_regimes=regimes), methodology(), GAUSSIAN)
        margins.append(float(compute_outcome(plan, choose("cpu", "double", 1), 0, in_memory()).result.table["core"].iloc[0]))
    assert margins[0] < margins[1] < margins[2] == pytest.approx(margins[3], rel=1e-9)


def test_importance_sampling_estimates_the_same_mixture(tmp_path: Path) -> None:
    book, market = read(write(tmp_path, POSITIONS))
    found = []
    for sampler, count in (("philox", 200_000), ("importance", 40_000)):
        plan = make_plan(book, market, replace(SPEC, count=count, sampler=sampler), methodology(), STUDENT)  # type: ignore[arg-type]
        found.append(compute_outcome(plan, choose("cpu", "double", 1), 0, in_memory()).result.measured.measures[plan.core])
    plain, guided = found
    deviation = np.hypot(plain.expected_shortfall_standard_error, guided.expected_shortfall_standard_error)
    assert np.all(np.abs(plain.expected_shortfall - guided.expected_shortfall) < 4.0 * deviation)
