"""`upm calibrate stressed-period` through the command line; `upm run` charges by the methodology that it writes."""

from __future__ import annotations

import json
import tomllib
from datetime import date, timedelta

import numpy as np
import pytest
from command_line import here, small_run

from upm_gpu.fits.stressed_period import with_period
from upm_gpu.margin.methodology import load_methodology

WILD = ("2025-10-10", "2025-11-08")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run whose history has thirty days of triple volatility."""
    rng = np.random.default_rng(3)
    rows = ["date,asset,close"]
    level = np.log([70_000.0, 2_000.0, 0.55, 0.7])
    for i in range(200):
        day = (date(2025, 7, 19) + timedelta(days=i)).isoformat()
        level += np.array([0.02, 0.03, 0.03, 0.03]) * rng.standard_normal(4) * (3.0 if WILD[0] <= day <= WILD[1] else 1.0)
        rows += [f"{day},{a},{float(np.exp(v))!r}" for a, v in zip(("BTC", "ETH", "BTC.IV30", "ETH.IV30"), level, strict=True)]
    return small_run(tmp_path_factory.mktemp("stressed"), market={"history.csv": "\n".join(rows) + "\n"})


def test_a_run_charges_by_the_period(folder, capsys, monkeypatch):
    out, page = folder / "stressed.toml", folder / "stressed.html"
    done = here(capsys, monkeypatch, "calibrate", "stressed-period", folder / "market" / "history.csv", "--out", out, "--window", "30", "--measure", "volatility", "--portfolio", "BTC:1,ETH:1", "--page", page, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert abs((date.fromisoformat(found["start"]) - date.fromisoformat(WILD[0])).days) <= 3 and (date.fromisoformat(found["end"]) - date.fromisoformat(found["start"])).days == 29
    assert found["parameters"]["stressed"]["value"] > 2.0 * found["parameters"]["median of all windows"]["value"]
    charge = tomllib.loads(out.read_text())["charges"][0]
    assert charge == {"name": "anti_procyclicality", "tool": "stressed_weight", "weight": 0.25, "start": found["start"], "end": found["end"]}
    assert load_methodology(out).version == f"1, stressed {found['start']}"
    assert page.read_text().count("<svg") == 1 and found["start"] in page.read_text() and "<script" not in page.read_text()
    done = here(capsys, monkeypatch, "run", folder / "run.toml", "--methodology", out, "--out", folder / "charged", "--json")
    assert done.code == 0, done.err
    manifest = json.loads((folder / "charged" / "manifest.json").read_text())
    charge = next(c for c in manifest["charges"] if c["charge"] == "anti_procyclicality")
    assert charge["amount"] > 0.0 and found["start"] in charge["reason"]


def test_what_is_written_into_a_methodology():
    """The charge keeps its other keys and comments; another tool gives way; a methodology without charges gets one."""
    prisma = 'version = "1"\n[[charges]]\n# why\nname = "anti_procyclicality"\ntool = "stress_var"\nstart = "2020-02-20"\nend = "2020-05-31"\nlevel = 0.99\n\n[[charges]]\nname = "stress"\n'
    text, how = with_period(prisma, "2008-01-02", "2008-12-30", ["found"])
    made = tomllib.loads(text)
    assert made["charges"] == [{"name": "anti_procyclicality", "tool": "stress_var", "start": "2008-01-02", "end": "2008-12-30", "level": 0.99}, {"name": "stress"}]
    assert "# why" in text and "# found" in text and made["version"] == "1, stressed 2008-01-02" and "is new" in how
    text, how = with_period(prisma.replace("stress_var", "floor").replace('start = "2020-02-20"\nend = "2020-05-31"\n', ""), "2008-01-02", "2008-12-30", [])
    assert tomllib.loads(text)["charges"][0]["tool"] == "stressed_weight" and "in the place of floor" in how
    text, how = with_period('version = "1"\ncharges = []\n[core]\nlevel = 0.99\n', "2008-01-02", "2008-12-30", [])
    assert tomllib.loads(text)["charges"][0]["end"] == "2008-12-30" and "added" in how


def test_refusals_and_warnings(folder, capsys, monkeypatch):
    history, out = folder / "market" / "history.csv", folder / "never.toml"
    for arguments, code in ((("--window", "400"), "UPM-CA-236"), (("--portfolio", "DOGE:1"), "UPM-CA-235"), (("--portfolio", "BTC:many"), "UPM-CA-235"), (("--measure", "range"), "UPM-CA-235"), (("--since", "soon"), "UPM-CA-235"),
                            (("--methodology", "configs/methodology/span_v1.toml", "--window", "30", "--measure", "volatility"), "UPM-CF-125")):
        here(capsys, monkeypatch, "calibrate", "stressed-period", history, "--out", out, *arguments).refused(3, code)
        assert not out.exists()
    done = here(capsys, monkeypatch, "calibrate", "stressed-period", history, "--out", out, "--window", "60")
    assert done.code == 0 and "UPM-CA-237" in done.out and "1.5 losses" in done.out and "std. error" in done.out
