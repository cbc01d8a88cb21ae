"""P&L surfaces: the report's heat maps, closed forms, time that passes, and what the command refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Command
from small_book import SPOT, STUDENT, methodology, read, write

from upm_gpu.backend.select import choose
from upm_gpu.desk.explain.surface import pnl_surface
from upm_gpu.errors import InputError
from upm_gpu.plan import make_plan
from upm_gpu.report.page import document, heat, table
from upm_gpu.report.read import read_table, select
from upm_gpu.scenario.spec import ScenarioSpec

BOOK = "account_id,instrument_id,quantity\nA,BTC-LINEAR,-2\nA,ETH-PERP,10\nB,BTC-C75D,3\nC,BTC-C70,1\nC,ETH-C20L,-4\n"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory):
    book, market = read(write(tmp_path_factory.mktemp("surface"), BOOK, "account_id,asset,quantity\nB,BTC,0.5\nD,USD,5\n", "account_id\nA\nB\nC\nD\n"))
    return make_plan(book, market, ScenarioSpec(count=4_096, horizons=(2.0,)), methodology(), STUDENT)


def test_linear_positions_are_straight_lines(plan) -> None:
    moves = (-0.3, 0.0, 0.25)
    btc, eth = pnl_surface(plan, choose("cpu"), "A", prices=moves, volatilities=(0.0, 0.5))
    assert (btc.underlying, eth.underlying) == ("BTC", "ETH")
    assert btc.pnl.tolist() == [pytest.approx([-2.0 * SPOT["BTC"] * m for m in moves], rel=1e-12, abs=1e-9)] * 2
    # ten contracts of 1 USD, inverse: q (1 / F - 1 / F') S' = q (S' / S - 1)
    assert eth.pnl[0].tolist() == pytest.approx([10.0 * m for m in moves], rel=1e-12)
    (together,) = pnl_surface(plan, choose("cpu"), "A", "all", moves, (0.0,))
    assert together.pnl[0].tolist() == pytest.approx((btc.pnl[0] + eth.pnl[0]).tolist(), rel=1e-12)


def test_what_expires_inside_the_days_is_its_payoff(plan) -> None:
    prices = (-0.1, 0.1, 0.2)
    (passed,) = pnl_surface(plan, choose("cpu"), "B", "BTC", prices, (0.0, 1.0), days=2.0)
    payoff = [3.0 * max(SPOT["BTC"] * (1.0 + p) - 75_000.0, 0.0) + 0.5 * SPOT["BTC"] * p for p in prices]
    assert np.diff(passed.pnl[0]).tolist() == pytest.approx(np.diff(payoff).tolist(), rel=1e-10)
    assert passed.pnl[0].tolist() == pytest.approx(passed.pnl[1].tolist(), rel=1e-12)  # no volatility is left
    (now,) = pnl_surface(plan, choose("cpu"), "B", "BTC", (0.0, 0.1), (0.0, 1.0))
    assert now.pnl[0, 0] == 0.0 and now.pnl[1, 0] > 0.0


def test_accounts_and_grids_that_are_none(plan) -> None:
    assert pnl_surface(plan, choose("cpu"), "D") == ()
    for account, underlying, prices, code in (("Z", "", (0.0,), "UPM-IN-141"), ("A", "SOL", (0.0,), "UPM-IN-170"), ("A", "", (-1.0,), "UPM-IN-171"), ("A", "", (0.1, 0.0), "UPM-IN-171"),
                                              ("A", "", (), "UPM-IN-171")):
        with pytest.raises(InputError, match=code):
            pnl_surface(plan, choose("cpu"), account, underlying, prices)
    with pytest.raises(InputError, match="UPM-IN-171"):
        pnl_surface(plan, choose("cpu"), "A", days=-1.0)
    with pytest.raises(InputError, match="cells"):
        pnl_surface(plan, choose("cpu"), "A", prices=tuple(i / 1000 for i in range(1000)), volatilities=tuple(i / 1000 for i in range(1000)))


def test_the_command_gives_the_reports_heat_map(upm: Command, finished: Path) -> None:
    said = upm("surface", finished, "--account", "A", "--json")
    assert said.code == 0, said
    (found,) = json.loads(said.out)["surfaces"]
    kept = select(read_table(finished / "report" / "heatmap.parquet"), account_id="A", underlying="BTC")
    for price, volatility, pnl in zip(kept["price_move"], kept["volatility_move"], kept["pnl"], strict=True):
        cell = found["pnl"][found["volatility_moves"].index(volatility)][found["price_moves"].index(price)]
        assert cell == pytest.approx(pnl, rel=1e-12, abs=1e-9)


def test_a_page_for_a_person_and_its_text(upm: Command, finished: Path, tmp_path: Path) -> None:
    page = tmp_path / "surface.html"
    said = upm("surface", finished, "--account", "D", "--price", "-20:20:5", "--volatility", "-50,0,100", "--days", "1", "--page", page)
    assert said.code == 0, said
    assert said.out.isascii() and "BTC moves and 1 days pass" in said.out and "worst cell" in said.out
    text = page.read_text()
    assert "\\x" not in text
    assert "<script" not in text and "default-src 'none'" in text and text.count('<table class="heat">') == 2
    again = upm("surface", finished, "--account", "D", "--page", page)
    assert (again.code, again.err[:10]) == (2, "UPM-CF-170")
    for wrong in (("--price", "a"), ("--volatility", "1:2"), ("--price", "0:1:5000"), ("--price", "nan")):
        assert upm("surface", finished, "--account", "A", *wrong).code == 2
    assert upm("surface", finished, "--account", "A", "--underlying", "ETH").code == 3


def test_markup_in_a_page_is_inert() -> None:
    page = document("<b>", [table(["a", "<i>"], [["<script>", "-1"], ["\x1b[31m", "\u2212"]], numbers=[1]), heat(["x"], ["y"], [[float("nan")]], [["n/a"]])]).decode()
    assert "<script" not in page and "<i>" not in page and "\x1b" not in page
    assert '<td class="n loss">-1</td>' in page and 'class="n">\u2212<' in page
