"""What can be wrong with correlation regimes in a configuration: code, line, key, remedy; nothing computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from upm_gpu.config import load_config, scenario_spec, to_toml
from upm_gpu.errors import InputError
from upm_gpu.scenario.spec import RegimeSpec

TABLE = "[[model.correlation_regimes]]\n"
FIRST = TABLE + 'name = "a"\nprobability = 0.25\n'


def written(folder: Path, tables: str, model: str = "") -> Path:
    path = folder / "run.toml"
    path.write_text(f"schema_version = 1\n[model]\n{model}{tables}[scenarios]\ncount = 4096\n")
    return path


def test_round_trip_and_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, FIRST + TABLE + 'name = "March"\nprobability = 0.5\nshare = 0.4\ntoward = "stressed_period"\nstart = "2020-03-01"\nend = "2020-03-31"\n', 'inverse_assets = ["X"]\n')
    config = load_config(path)
    again = tmp_path / "again.toml"
    again.write_text(to_toml(config))
    assert load_config(again) == config
    spec = scenario_spec(config)
    assert spec.correlation_regimes == (RegimeSpec("a", 0.25), RegimeSpec("March", 0.5, 0.4, "stressed_period", "2020-03-01", "2020-03-31"))
    assert spec.inverse_assets == ("X",)
    assert "correlation_regimes = []" in to_toml(load_config(None)) and scenario_spec(load_config(None)).correlation_regimes == ()
    forced = load_config(written(tmp_path, TABLE + 'name = "forced"\n')).model.correlation_regimes[0]
    assert (forced.probability, forced.share, forced.toward) == (1.0, 1.0, "one")


@pytest.mark.parametrize(("tables", "code", "words"), [
    (FIRST + TABLE + 'name = "b"\nshare = 1.5\nprobability = 0.1\n', "UPM-CF-047", ("line 8", "correlation_regimes.1.share", "1.5")),
    (FIRST + TABLE + 'name = "b"\nprobability = 0.0\n', "UPM-CF-047", ("line 8", "correlation_regimes.1.probability")),
    (FIRST + TABLE + 'name = "b"\nprobability = 0.76\n', "UPM-CF-047", ("sum to 1.01",)),
    (FIRST + FIRST, "UPM-CF-047", ("a, a", "line 3")),
    (TABLE + 'name = " "\n', "UPM-CF-047", ("name",)),
    ("".join(TABLE + f'name = "{i}"\nprobability = 0.01\n' for i in range(17)), "UPM-CF-047", ("17", "at most 16")),
    (FIRST + 'start = "2020-03-01"\nend = "2020-03-31"\n', "UPM-CF-048", ("stressed_period",)),
    (FIRST + 'toward = "stressed_period"\nstart = "2020-03-01"\n', "UPM-CF-048", ("neither",)),
    (FIRST + 'toward = "stressed_period"\nstart = "March"\nend = "2020-03-31"\n', "UPM-CF-048", ("'March'", "line 7")),
    (FIRST + 'toward = "stressed_period"\nstart = "2020-03-31"\nend = "2020-03-01"\n', "UPM-CF-048", ("line 8", "later end")),
    (FIRST + 'toward = "zero"\n', "UPM-CF-056", ("line 6", "'zero'")),
    (FIRST + "shere = 0.5\n", "UPM-CF-059", ("line 6", "'shere'", "Did you mean share?")),
    (TABLE + "probability = 0.1\n", "UPM-CF-056", ("correlation_regimes.0.name", "missing", "line 3")),
    (FIRST + 'share = "half"\n', "UPM-CF-056", ("line 6", "'half'")),
])
def test_what_is_refused(tmp_path: Path, tables: str, code: str, words: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as caught:
        load_config(written(tmp_path, tables))
    assert caught.value.code == code, str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_an_asset_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="UPM-CF-047"):
        load_config(written(tmp_path, FIRST, 'inverse_assets = ["X", "X"]\n'))


@pytest.mark.parametrize("model", ["historical", "scaled_historical", "filtered_historical"])
def test_models_without_a_correlation_refuse_by_name(tmp_path: Path, model: str) -> None:
    with pytest.raises(InputError, match="UPM-CF-046") as caught:
        load_config(written(tmp_path, FIRST, f'name = "{model}"\n'))
    assert model in str(caught.value) and "garch" in str(caught.value)
