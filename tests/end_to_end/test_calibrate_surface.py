"""`upm calibrate surface` through the command line: slices of a small chain, their file and page."""

from __future__ import annotations

import json
import tomllib

import numpy as np
import pytest
from command_line import here


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """Two expiries of nine strikes whose quotes are SVI to a thousandth of a point."""
    folder = tmp_path_factory.mktemp("market")
    rows = ["underlying,expiry,strike,implied_volatility"]
    for expiry, years in (("2026-03-27T08:00:00Z", 50.0 / 365.0), ("2026-06-26T08:00:00Z", 141.0 / 365.0)):
        for x in np.linspace(-0.5, 0.5, 9):
            k = float(np.round(70_000.0 * np.exp(x), -1))
            m = np.log(k / 70_000.0)
            w = years * (0.1 + 0.4 * (-0.3 * (m - 0.05) + np.sqrt((m - 0.05) ** 2 + 0.04)))
            rows.append(f"BTC,{expiry},{k:.0f},{float(np.sqrt(w / years)):.6f}")
    (folder / "spots.csv").write_text("asset,price,currency,timestamp\nBTC,70000,USD,2026-02-05T08:00:00Z\n")
    (folder / "implied_vols.csv").write_text("\n".join(rows) + "\n")
    (folder / "forwards.csv").write_text("underlying,expiry,forward\nBTC,2026-03-27T08:00:00Z,70000\nBTC,2026-06-26T08:00:00Z,70000\n")
    return folder


@pytest.mark.parametrize("fit", ["joint", "slices"])
def test_slices_to_a_file(market, tmp_path, capsys, monkeypatch, fit):
    done = here(capsys, monkeypatch, "calibrate", "surface", market, "--out", tmp_path / "s.toml", "--fit", fit, "--page", tmp_path / "s.html", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)["surfaces"]["BTC"]
    assert len(found) == 2 and all(r["root_mean_square_volatility_error"] < (1e-5 if fit == "slices" else 2e-3) for r in found)
    slices = tomllib.loads((tmp_path / "s.toml").read_text())["slices"]["BTC"]
    if fit == "slices":
        for row in slices:
            for name, value in (("a", 0.1), ("b", 0.4)):
                assert row[name] == pytest.approx(value * row["years"], rel=5e-3)
            assert row["rho"] == pytest.approx(-0.3, abs=2e-3) and row["m"] == pytest.approx(0.05, abs=1e-3) and row["s"] == pytest.approx(0.2, abs=2e-3)
            assert 0.0 < row["rho_standard_error"] < 1e-3
    page = (tmp_path / "s.html").read_text()
    assert page.count("<svg") == 3 and "Raw parameters of the slices" in page and "Converged" not in page


def test_ssvi_and_refusals(market, tmp_path, capsys, monkeypatch):
    done = here(capsys, monkeypatch, "calibrate", "surface", market, "--out", tmp_path / "s.toml", "--family", "ssvi_power_law")
    assert done.code == 0 and "ssvi_power_law" in done.out and "2026-03-27T08:00:00Z" in done.out
    for arguments in (("--family", "spline"), ("--fit", "each"), ("--underlying", "DOGE")):
        done = here(capsys, monkeypatch, "calibrate", "surface", market, "--out", tmp_path / "x.toml", *arguments)
        assert done.code == 3 and "UPM-CA-225" in done.err
