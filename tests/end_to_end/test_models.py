"""`upm simulate` and `upm run` with a parameter file of each model; the files are the examples that ship."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import CONFIG, here, small_run
from model_draws import draw
from small_book import methodology, read

from upm_gpu.config import load_config, scenario_spec
from upm_gpu.model.registry import read_model
from upm_gpu.plan import make_plan
from upm_gpu.pricing.compiled import GROUP_INTEGERS, GROUP_REALS

EXAMPLES = Path(__file__).parents[2] / "configs" / "model"
MODELS = ("merton", "heston", "bates")


def configured(folder: Path, model: str, text: str | None = None) -> Path:
    """A small run under a model, its parameter file beside the configuration."""
    small_run(folder, config=CONFIG.replace("[model]\n", f'[model]\nname = "{model}"\nparameters = "{model}.toml"\n'))
    (folder / f"{model}.toml").write_text((EXAMPLES / f"{model}.toml").read_text() if text is None else text)
    return folder / "run.toml"


@pytest.mark.parametrize("model", MODELS)
def test_a_run_prices_the_book_under_the_model(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    config = configured(tmp_path / "in", model)
    said = here(capsys, monkeypatch, "run", config, "--out", tmp_path / "a", "--quiet")
    assert said.code == 0, said
    table = pq.read_table(tmp_path / "a" / "margin.parquet").to_pandas()
    assert len(table) == 4 and (table["core"] > 0.0).all()
    again = here(capsys, monkeypatch, "run", config, "--out", tmp_path / "b", "--quiet", "--device", "reference")
    assert again.code == 0, again
    other = pq.read_table(tmp_path / "b" / "margin.parquet").to_pandas()
    np.testing.assert_allclose(other["core"], table["core"], rtol=2e-7)  # mixed stores float32


@pytest.mark.parametrize("model", MODELS)
def test_simulate_writes_every_state(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    config = configured(tmp_path / "in", model)
    said = here(capsys, monkeypatch, "simulate", config, "--out", tmp_path / "s.parquet", "--quiet")
    assert said.code == 0, said
    table = pq.read_table(tmp_path / "s.parquet")
    assert {"log_level[BTC]", "log_level[ETH]", "variance[BTC]" if model != "merton" else "volatility_shift[BTC]"} <= set(table.column_names)
    assert table.num_rows == 2 * 4096 and all(np.isfinite(table[c].to_numpy()).all() for c in table.column_names)


def test_an_option_follows_the_volatility_of_its_own_expiry(tmp_path: Path) -> None:
    """The same book under Heston reads a state by expiry, and a state more moves no other figure."""
    spec = scenario_spec(load_config(configured(tmp_path / "in", "heston"), {}))
    model = read_model(spec)
    plan = make_plan(*read(tmp_path / "in"), spec, methodology(), model)
    state = plan.scenarios.state_names.index("volatility_shift[BTC,2026-02-27T08:00Z]")
    group = plan.compiled.programs[0].group_integers[:, GROUP_INTEGERS.index("volatility_state")] == state
    assert group.sum() == 1 and (plan.compiled.programs[0].group_reals[group, GROUP_REALS.index("volatility_loading")] == 1.0).all()
    np.testing.assert_array_equal(draw(plan.scenarios)[:, :4], draw(model.scenarios(plan.compiled.dates, spec)))


@pytest.mark.parametrize(("model", "change", "code"), [
    ("merton", ("intensity = 6.0", "intensity = -6.0"), "UPM-CA-074"),
    ("merton", ("intensity = 6.0", "intensty = 6.0"), "UPM-CA-073"),
    ("merton", ("intensity = 6.0", "intensity = 60000.0"), "UPM-CA-076"),
    ("merton", ("mean = -0.06", "mean = 900.0"), "UPM-CA-075"),
    ("merton", ('kind = "merton"', 'kind = "heston"'), "UPM-CA-072"),
    ("heston", ("rho = [-0.4, -0.4]", "rho = [-0.4, -1.4]"), "UPM-CA-074"),
    ("heston", ("rho = [-0.4, -0.4]", "rho = [-0.4]"), "UPM-CA-074"),
    ("heston", ("mean_reversion = [4.0, 4.0]", ""), "UPM-CA-073"),
    ("heston", ("mean_reversion = [4.0, 4.0]", "mean_reversion = [4.0, 0.0]"), "UPM-CA-074"),
    ("heston", ("substeps = 8", "substeps = 2.5"), "UPM-CA-074"),
    ("heston", ("substeps = 8", 'substeps = "many"'), "UPM-CA-074"),
    ("bates", ("deviation = 0.05", "deviation = nan"), "UPM-CA-074"),
    ("bates", ("schema_version = 1", "schema_version = "), "UPM-CA-072"),
])
def test_a_bad_parameter_file_is_refused(model: str, change: tuple[str, str], code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    text = (EXAMPLES / f"{model}.toml").read_text()
    assert change[0] in text
    config = configured(tmp_path / "in", model, text.replace(*change, 1))
    here(capsys, monkeypatch, "simulate", config, "--out", tmp_path / "s.parquet").refused(3, code)


@pytest.mark.parametrize(("model", "code"), [("hestn", "UPM-CF-056"), ("heston", "UPM-CF-056")])
def test_a_model_without_a_name_or_a_file_is_refused(model: str, code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    small_run(tmp_path / "in", config=CONFIG.replace("[model]\n", f'[model]\nname = "{model}"\n'))
    here(capsys, monkeypatch, "simulate", tmp_path / "in" / "run.toml", "--out", tmp_path / "s.parquet").refused(3, code, "model")
