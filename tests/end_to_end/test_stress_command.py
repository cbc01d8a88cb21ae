"""`upm stress` from a campaign file to a folder, its page and its ranking, and `upm query` on them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from campaigns import CAMPAIGN, campaign_folder
from command_line import here

from upm_gpu.campaign.config import load_campaign, size
from upm_gpu.run.verify import verify_run

TEXT = CAMPAIGN.replace("[losses]", "[reverse]\naccounts = true\nmembers = true\ndefault_fund = true\n[losses]").replace('name = "small"\n', 'name = "small <b>"\nremargin = true\n')


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from upm_gpu.campaign.folder import run_campaign

    file = campaign_folder(tmp_path_factory.mktemp("stress"), TEXT.replace("count = 20", "count = 3"))
    run_campaign(file, file.parent / "out", True, ("upm", "stress", "campaign.toml"))
    return file.parent / "out"


def test_the_folder_is_whole_and_sealed(folder):
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert names == {"plan.json", "campaign.toml", "manifest.json", "SHA256SUMS", "campaign.html", "losses/book-0000000.parquet", "margins/book-0000000.parquet", "margins/book-0000016.parquet",
                     *(f"{n}.{s}" for n in ("by_shock", "by_account", "reverse", "worst_cells") for s in ("parquet", "csv"))}
    assert verify_run(folder)["files"] == len(names) - 1
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["counts"] == {"books": 1, "shocks": 17, "accounts": 4, "cells": 68} and manifest["kind"] == "campaign"


def test_cells_margins_and_rankings_agree(folder):
    cells, margins = pq.read_table(folder / "losses").to_pandas(), pq.read_table(folder / "margins").to_pandas()
    by_shock = pd.read_parquet(folder / "by_shock.parquet")
    assert len(cells) == len(margins) == 68
    joined = cells.merge(margins, on=["shock", "account_id"], suffixes=("", "_there"))
    assert joined["equity"].to_numpy() == pytest.approx(joined["equity_there"].to_numpy(), rel=1e-6), "mixed precision"
    assert (joined["standard_error"] >= 0.0).all() and (joined["initial_margin"] > 0.0).any()
    assert by_shock["pnl"].to_numpy() == pytest.approx(cells.groupby("shock")["pnl"].sum().to_numpy(), rel=1e-12)


def test_the_page_shows_it_and_carries_no_script(folder):
    page = (folder / "campaign.html").read_text()
    assert "small &lt;b&gt;" in page and "<b>\"" not in page and "<script" not in page and "http" not in re.sub(r'http-equiv|content="[^"]*"', "", page)
    assert page.count("<svg") == 2, "a heat map for each share of correlation"
    worst = pd.read_parquet(folder / "by_shock.parquet").sort_values("uncovered_loss").iloc[-1]
    assert f"{worst['uncovered_loss']:,.0f}" in page
    assert "BTC -" in page.partition('id="reverse"')[2], "breaking moves in words"
    from upm_gpu.report.campaign_page import render_campaign

    assert render_campaign(folder).decode() == page


def test_the_command_prints_and_goes_on(folder, capsys, monkeypatch):
    campaign = folder.parent / "campaign.toml"
    monkeypatch.chdir(folder.parent)
    before = (folder / "SHA256SUMS").read_bytes()
    said = here(capsys, monkeypatch, "stress", campaign, "--out", folder)
    assert said.code == 0 and "17 shocks x 4 accounts x 1 books = 68 cells" in said.out and "campaign.html" in said.out
    assert (folder / "SHA256SUMS").read_bytes() == before, "a finished campaign is told again, not done again"
    found = json.loads(here(capsys, monkeypatch, "stress", campaign, "--out", folder, "--json", "--quiet").out)
    assert found["counts"]["cells"] == 68 and found["worst_shocks"][0]["uncovered_loss"] >= found["worst_shocks"][1]["uncovered_loss"]
    campaign.write_text(TEXT.replace("seed = 3", "seed = 4"))
    here(capsys, monkeypatch, "stress", campaign, "--out", folder).refused(2, "UPM-ST-003", "another campaign")
    assert (folder / "SHA256SUMS").read_bytes() == before


def test_query_answers_in_sql_and_reaches_nothing_else(folder, capsys, monkeypatch, tmp_path):
    said = here(capsys, monkeypatch, "query", folder, "SELECT count(*) AS cells, min(pnl) AS worst FROM losses", "--json")
    rows = json.loads(said.out)
    assert rows[0]["cells"] == 68 and rows[0]["worst"] == pytest.approx(pq.read_table(folder / "losses")["pnl"].to_numpy().min())
    assert "shock" in here(capsys, monkeypatch, "query", folder, "SELECT shock, name FROM by_shock ORDER BY uncovered_loss DESC LIMIT 2").out
    out = tmp_path / "broken.csv"
    assert here(capsys, monkeypatch, "query", folder, "SELECT account_id, sum(call) AS calls FROM margins GROUP BY 1 ORDER BY 1", "--out", out).code == 0
    assert list(pd.read_csv(out)["account_id"]) == ["A", "B", "C", "D"]
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    for statement in (f"SELECT * FROM read_csv('{secret}')", f"SELECT * FROM '{secret}'", f"COPY losses TO '{tmp_path / 'x.csv'}'", "INSTALL httpfs", "SET enable_external_access = true", "SELEC 1", "SELECT nothing FROM losses"):
        here(capsys, monkeypatch, "query", folder, statement).refused(3, "UPM-QY-003", "Tables here")
    assert not (tmp_path / "x.csv").exists()
    here(capsys, monkeypatch, "query", tmp_path, "SELECT 1").refused(2, "UPM-QY-001")
    here(capsys, monkeypatch, "query", folder, "SELECT 1", "--out", tmp_path / "x.txt").refused(2, "UPM-QY-004")


def test_query_names_a_table_that_cannot_be_read(folder, capsys, monkeypatch, tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "margin.parquet").write_bytes(b"nothing")
    here(capsys, monkeypatch, "query", tmp_path, "SELECT 1").refused(9, "UPM-QY-005", "margin")


def test_without_duckdb_query_says_what_to_install(folder, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "duckdb", None)
    here(capsys, monkeypatch, "query", folder, "SELECT 1").refused(2, "UPM-QY-002", "upm-gpu[query]")


def test_the_shipped_campaign_is_read():
    campaign, _ = load_campaign(Path("configs/campaign/crypto.toml"))
    assert sum(size(entry) for *_, entry in campaign.entries) == 1343 and campaign.reverse.accounts


def test_another_number_of_accounts_a_file_changes_no_cell(folder, tmp_path, monkeypatch):
    from upm_gpu.campaign import chunks
    from upm_gpu.campaign.folder import run_campaign

    monkeypatch.setattr(chunks, "CELLS", 20)
    file = campaign_folder(tmp_path, TEXT.replace("count = 20", "count = 3").replace("remargin = true", "remargin = false"))
    run_campaign(file, tmp_path / "out", True, ())
    assert len(list((tmp_path / "out" / "losses").iterdir())) == 4
    one, other = (pq.read_table(f / "losses").to_pandas() for f in (folder, tmp_path / "out"))
    assert np.array_equal(one["pnl"], other["pnl"]) and np.array_equal(one["equity"], other["equity"])
