"""`upm run` and `upm simulate` on the sample with every model that is made from the market's history, by name alone."""

from __future__ import annotations

import csv

import pytest
from command_line import upm

CASES = {
    "historical": "", "scaled_historical": "", "filtered_historical": 'filter = "ewma"\n',
    "garch": 'filter = "garch"\nmarginal = "skewed_t"\ncopula = "grouped_t"\ncommon_factors = 1\ndegrees_of_freedom = 0.0\ncopula_degrees_of_freedom = 0.0\n',
}


def config(folder, name: str, more: str = "", scenarios: int = 4096) -> str:
    path = folder / f"{name}.toml"
    path.write_text(f'schema_version = 1\n[model]\nname = "{name}"\nhorizons = ["0.999d", "2d"]\n{more}[scenarios]\ncount = {scenarios}\n[output]\nreport = false\n')
    return str(path)


@pytest.mark.parametrize("name", CASES)
def test_the_sample_is_margined(tmp_path, name):
    out = tmp_path / "run"
    done = upm("run", config(tmp_path, name, CASES[name]), "--out", str(out))
    assert done.code in (0, 4), done.err
    with open(out / "margin.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2000
    assert sum(float(r["initial_margin"]) > 0.0 for r in rows) > 1500
    if name != "garch":  # the share of dates without a volatility index is reported
        assert any(b"UPM-CA-131" in p.read_bytes() for p in out.rglob("*") if p.is_file())


@pytest.mark.parametrize(("name", "more", "code"), [
    ("historical", 'parameters = "x.toml"\n', "UPM-CA-141"), ("garch", "step_days = 0.5\n", "UPM-CF-095"), ("gbm", 'marginal = "skewed_t"\n', "UPM-CF-063"),
    ("gbm", "common_factors = 2\n", "UPM-CF-063"), ("historical", 'copula = "grouped_t"\n', "UPM-CF-063"), ("garch", "common_factors = 9\n", "UPM-CA-135")])
def test_what_does_not_fit_together_is_refused(tmp_path, name, more, code):
    (tmp_path / "x.toml").write_text("")
    done = upm("simulate", config(tmp_path, name, more, 64), "--out", str(tmp_path / "x.parquet"))
    assert done.code == 3
    assert code in done.err
