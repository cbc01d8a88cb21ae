"""Every notebook runs from top to bottom, and is kept without outputs: they belong to whoever ran it, paths and all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks() -> None:
    assert {"from_chain_to_margin", "laws_against_history", "desk_morning", "does_the_margin_cover", "what_drives_one_account", "how_many_scenarios", "correlations_to_one", "which_model_fits_the_smile"} <= {p.stem for p in NOTEBOOKS}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    cells = [c for c in content["cells"] if c["cell_type"] == "code"]
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in cells)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"{path.name} cell {number}", "exec"), names)
    assert list(tmp_path.iterdir()) == []
    if path.stem == "desk_morning":
        answers, fallen, account = names["answers"], names["fallen"], names["account"]
        before = names["result"].table.set_index("account_id").loc[account]
        assert answers["hedge"].would_pass and before["status"] == "call"
        assert answers["hedge"].before["initial_margin"] == before["initial_margin"]
        assert sum(h.margin for h in names["why"].holdings) == pytest.approx(before["initial_margin"], rel=1e-9)
        assert fallen.party == account and fallen.loss > 0.0
        assert all(c.conserved and c.settled for c in names["made"].cascades.values())
        open_risk = {name: c.rounds[0].open_risk for name, c in names["made"].cascades.items()}
        assert open_risk["sequenced"] < 0.6 * open_risk["pro rata"]
    if path.stem == "from_chain_to_margin":
        account, pnl = names["account"], names["pnl"]
        assert set(names["table"]["status"]) == {"ok", "call", "liquidation"}
        assert np.sort(pnl)[200] == -account["value_at_risk"]
        assert -np.sort(pnl)[:200].mean() == pytest.approx(account["expected_shortfall"], rel=1e-12)
    if path.stem == "which_model_fits_the_smile":
        within = names["league"]["within the spread"]
        assert within["BTC", "svi surface"] > 0.9 and within["SPX", "svi surface"] > 0.2 > within["SPX", "heston"]
        assert all(fit.converged for fit in names["fits"].values())
    if path.stem == "laws_against_history":
        outside = {name: [int(a.sum()) for a in check.outside()] for name, check in names["checks"].items()}
        assert outside["filtered historical, GJR"] == [0, 0]
        assert outside["GJR, empirical marginals, t copula"][0] == 0
        assert all(sum(found) > 0 for name, found in outside.items() if name != "filtered historical, GJR")
        assert set(names["raw_table"].loc[~names["raw_table"]["inside"], "statistic"]) <= {"quantile 99.9 %", "Hill index below"}
    if path.stem == "does_the_margin_cover":
        assert names["walked"].table["date"].max() < "2026-02-05" and set(names["summary"]["model"]) == {"walk with fat tails", "filtered historical"}
        assert (names["moves"]["deviations"] < -3.0).all(), "the text says that the next day was far out"
    if path.stem == "what_drives_one_account":
        found = names["found"]
        assert sum(h.margin for h in found.holdings) + sum(found.residuals.values()) == pytest.approx(found.margin["initial_margin"], rel=1e-9)
        assert min(names["holdings"]["margin"]) < 0.0, "the text says that some are hedges"
    if path.stem == "how_many_scenarios":
        assert 1.3 < names["gain"]["philox"] < names["gain"]["sobol"]
        assert 0.6 < names["shortfall"].std(ddof=1) / names["said"].mean() < 1.5
    if path.stem == "correlations_to_one":
        assert names["ratio"].min() < 0.2 and names["ratio"].max() > 1.1
        assert names["tables"][1.0]["initial_margin"].sum() < names["before"].sum(), "this book is hedged across coins"
