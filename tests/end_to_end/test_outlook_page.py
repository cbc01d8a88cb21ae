"""The pages of `upm margin-at-risk` and `upm liquidation-probability`: what they draw is what the command says, and nothing is written over a file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from command_line import Command

from upm_gpu.report.outlook_page import BINS, density_svg


def test_pages_of_tomorrow(upm: Command, finished: Path, tmp_path: Path):
    page, warning = tmp_path / "margin.html", tmp_path / "warning.html"
    asked = ("margin-at-risk", finished, "--account", "A", "--account", "B", "--points", "30", "--inner", "1000", "--paths", "600", "--page", page)
    said = upm(*asked, "--json")
    assert said.code == 0, said
    data, text = json.loads(said.out), page.read_text()
    house = data["house"]["margin"]
    assert f"Median margin then {house['quantiles'][0]:,.0f}," in text and "against brute force" in text and "<script" not in text
    for account in data["accounts"]:
        assert f"<td>{account['account_id']}</td>" in text and f"{account['margin_at_risk']:,.0f}</td>" in text
    drawn = [int(n.replace(",", "")) for n in re.findall(r"<title>from [^:]+: ([\d,]+) of 600</title>", text)]
    assert len(drawn) == 2 * BINS and sum(drawn) == 2 * 600
    upm(*asked).refused(2, "UPM-CF-170")
    said = upm("liquidation-probability", finished, "--paths", "600", "--maintenance", "constant", "--page", warning, "--json")
    assert said.code == 0, said
    standing = [a for a in json.loads(said.out)["accounts"] if not a["in_liquidation_today"]]
    text = warning.read_text()
    assert f"{sum(a['probability'][-1] for a in standing):,.1f} accounts break on average" in text
    for account in standing:
        assert f"{account['probability'][-1]:.3%}</td>" in text


@pytest.mark.parametrize("values", [np.zeros(50), np.array([1.0, 2.0, 1e9]), np.full(10, -3e6)])
def test_every_scenario_is_in_one_bar(values):
    drawn = density_svg(values, {"today": 0.0, "<99>": 1.0}, "called")
    assert sum(int(n.replace(",", "")) for n in re.findall(r": ([\d,]+) of", drawn)) == len(values)
    assert "<99>" not in drawn and "nan" not in drawn
