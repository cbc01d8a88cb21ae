"""`upm calibrate factors` through the command line; `upm run` draws with the correlation of its file."""

from __future__ import annotations

import json
import tomllib
from datetime import date, timedelta

import numpy as np
import pytest
from command_line import here, small_run

from upm_gpu.calibrate.parameter_file import read_parameters


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """Two hundred days of three coins and the volatilities of two of them under one factor; SOL is listed late."""
    rng = np.random.default_rng(4)
    loading = np.array([0.85, 0.8, 0.7, -0.6, -0.5])
    size = np.array([0.03, 0.04, 0.05, 0.05, 0.05])
    x = size * (rng.standard_normal((200, 1)) * loading + rng.standard_normal((200, 5)) * np.sqrt(1.0 - loading**2))
    level = np.log([70_000.0, 2_000.0, 100.0, 0.55, 0.7]) + np.cumsum(x, axis=0) * [1.0, 1.0, 1.0, 0.3, 0.3]
    rows = ["date,asset,close"]
    for i in range(200):
        day = (date(2025, 7, 20) + timedelta(days=i)).isoformat()
        rows += [f"{day},{asset},{float(np.exp(v))!r}" for asset, v in zip(("BTC", "ETH", "SOL", "BTC.IV30", "ETH.IV30"), level[i], strict=True) if asset != "SOL" or i > 120]
    path = tmp_path_factory.mktemp("history") / "history.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_a_run_takes_the_file(history, tmp_path, capsys, monkeypatch):
    out, page = tmp_path / "factors.toml", tmp_path / "factors.html"
    done = here(capsys, monkeypatch, "calibrate", "factors", history, "--out", out, "--assets", "BTC,ETH", "--estimator", "equal", "--page", page, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["common_factors"] == 1 and found["observations"] == 199 and found["parameters"]["loading 1 volatility_shift[BTC]"]["value"] < 0.0
    fit = read_parameters(out)
    kept = tomllib.loads(out.read_text())["provenance"]["factor_model"]
    loading = np.array(kept["loading"])
    np.testing.assert_allclose(fit.correlation, loading @ loading.T + np.diag(1.0 - np.sum(loading**2, axis=1)), atol=1e-12)
    np.testing.assert_allclose(np.sum(loading**2, axis=1) + kept["specific"], 1.0, atol=1e-5)
    assert kept["source"] == "history.csv" and len(kept["source_sha256"]) == 64 and kept["common_days"] == 199
    text = page.read_text()
    assert text.count("<svg") == 3 and "1 factor explains" in text and "<script" not in text and "specific share log level[BTC]" in text
    folder = small_run(tmp_path / "run", config="""schema_version = 1
[book]
path = "book"
[market]
path = "market"
[model]
horizons = ["2d"]
parameters = "../factors.toml"
[scenarios]
count = 4096
seed = 7
""")
    done = here(capsys, monkeypatch, "run", folder / "run.toml", "--out", tmp_path / "done")
    assert done.code == 0, done.err
    assert (tmp_path / "done" / "inputs" / "parameters.toml").read_bytes() == out.read_bytes()


def test_warnings_and_refusals(history, tmp_path, capsys, monkeypatch):
    done = here(capsys, monkeypatch, "calibrate", "factors", history, "--out", tmp_path / "x.toml", "--estimator", "equal")
    assert done.code == 0 and "UPM-CA-231 log_level[SOL] has 79 closes" in done.out and "std. error" in done.out
    for arguments, code in ((("--assets", "SOL"), "UPM-CA-228"), (("--factors", "4"), "UPM-CA-228"), (("--shrinkage", "identity"), "UPM-CA-102"), (("--estimator", "median"), "UPM-CA-101"), (("--assets", "DOGE"), "UPM-CA-103")):
        here(capsys, monkeypatch, "calibrate", "factors", history, "--out", tmp_path / "x.toml", *arguments).refused(3, code)
