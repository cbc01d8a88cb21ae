"""The listed sample: what it holds, that its book is drawn again to the same bytes, and a whole run as its user would start it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import upm

from upm_gpu.domain.reader import load_book
from upm_gpu.generate.listed import generate_listed
from upm_gpu.market.reader import load_market
from upm_gpu.shipped import resolve_sample

MARKET, BOOK = resolve_sample("sample:listed", "market"), resolve_sample("sample:listed", "book")


def plain(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def test_what_it_holds():
    market = load_market(MARKET)
    book = load_book(BOOK, market.valuation_time)
    assert len(book.accounts) == 1_000 and not book.rejects
    assert market.valuation_time.isoformat() == "2022-04-01T20:00:00+00:00"
    # Treasury yields of the day, and the index forwards that parity gives (the source of the chain: 4536.23 at 2022-04-29, 4532.09 at 06-17, 4547.99 at 12-16)
    assert 0.0 < market.rates["USD"][0][1] < 0.01 < market.rates["USD"][-1][1] < 0.03
    forwards = {f"{e:%m-%d %H}": f for (u, e), f in market.forwards.items() if u == "SPX" and e.year == 2022}
    for day, forward in (("04-29 20", 4536.23), ("06-17 13", 4532.09), ("12-16 14", 4547.99)):
        assert abs(forwards[day] / forward - 1.0) < 3e-4
    exercise = {i.exercise for i in book.instruments if getattr(i, "underlying", "") == "AAPL" and hasattr(i, "exercise")}
    assert exercise == {"american"}


@pytest.mark.slow
def test_the_book_is_drawn_again_to_the_same_bytes(tmp_path):
    instruments = next(BOOK.glob("instruments.*"))
    (tmp_path / instruments.name).write_bytes(instruments.read_bytes())
    generate_listed(MARKET, 1_000, 20_220_401, tmp_path)
    for name in ("positions", "collateral"):
        assert plain(next(tmp_path.glob(f"{name}.*"))) == plain(next(BOOK.glob(f"{name}.*"))), name


def test_a_run_of_it(tmp_path):
    out = tmp_path / "run"
    done = upm("run", "configs/listed.toml", "--paths", "4096", "--out", str(out), "--quiet")
    assert done.code == 0, done
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["horizons_days"] == [4.0] and manifest["margin_horizon_sessions"] == 2.0
    check = manifest["value_tables"]["tail_check"]
    assert check["units"] > 100 and check["largest_share"] <= 0.1
    margin = pd.read_parquet(out / "margin.parquet")
    trouble = np.isin(margin["status"], ["call", "liquidation"]).mean()
    assert 0.03 <= trouble <= 0.10 and set(margin["status"]) == {"ok", "call", "liquidation"}
    assert "2 sessions (4 days)" in (out / "report.html").read_text()
