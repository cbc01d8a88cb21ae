"""Liquidation files that cannot be used are refused with file, line, key and remedy; those that ship are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from upm_gpu.errors import InputError
from upm_gpu.liquidation import load_parameters
from upm_gpu.shipped import package_file

HEAD = 'schema_version = 1\nname = "mine"\nversion = "1"\nwaterfall = ["insurance_fund"]\n'


@pytest.mark.parametrize("which", ["venue", "clearing"])
def test_those_that_ship(which: str):
    made = load_parameters(which)
    assert made.name == which
    assert load_parameters(package_file(f"configs/liquidation/{which}_v1.toml")) == made


@pytest.mark.parametrize(("text", "words"), [
    (HEAD + "[impact]\ncoefficent = 1.0\n", "Did you mean coefficient"), (HEAD + "[impact]\npermanent = 1.5\n", "line 6 key impact.permanent"), (HEAD + "[impact.volume]\nBTC = 0.0\n", "volumes must be above 0"),
    (HEAD + "[spreads]\ntenor_days = [30.0, 7.0]\n", "must ascend"), (HEAD + "[spreads]\noption_points = [1.0]\n", "one more than edges|option_points needs"), (HEAD + "[pace]\nshare = 0.0\n", "pace.share"),
    (HEAD.replace('"insurance_fund"', '"insurance_fund", "insurance_fund"'), "stands twice"), (HEAD.replace("insurance_fund", "friends"), "waterfall"), (HEAD.replace('name = "mine"\n', ""), "missing"),
    (HEAD.replace("schema_version = 1\n", ""), "schema_version"), (HEAD + "[margin]\nscenarios = 10\n", "margin.scenarios")])
def test_files_that_cannot_be_used(tmp_path: Path, text: str, words: str):
    file = tmp_path / "rules.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=words) as error:
        load_parameters(file)
    assert "rules.toml" in str(error.value)
