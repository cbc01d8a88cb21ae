"""A small book of American and European options on a stock with cash dividends, one of them inside the margin period, written as files and planned by the product's own readers."""

from __future__ import annotations

from pathlib import Path

from small_book import GAUSSIAN, INSTRUMENTS, VALUATION, methodology, write

from upm_gpu.domain.reader import load_book
from upm_gpu.market.reader import load_market
from upm_gpu.plan import Plan, make_plan
from upm_gpu.scenario.spec import ScenarioSpec

SPOT, RATE, BORROW = 2_000.0, 0.05, 0.01
YEARS = (21.0 + 23.0 / 24.0) / 365.0
EX = (27.0 / 24.0 / 365.0, (11.0 + 3.0 / 24.0) / 365.0)
"""6 February 12:00, inside the two days, and 16 February 12:00"""
CASH = (15.0, 25.0)
FORWARDS = "underlying,expiry,forward\nBTC,,70000\nETH,,2000\nBTC,2026-02-06T08:00:00Z,70010\nBTC,2026-02-27T08:00:00Z,70200\nBTC,2026-03-27T08:00:00Z,70700\n"
MARKET = {"forwards.csv": FORWARDS, "rates.csv": f"currency,tenor_days,zero_rate\nUSD,30,{RATE}\n", "carry.csv": f"underlying,tenor_days,borrow_rate,dividend_yield\nETH,30,{BORROW},0\n",
          "dividends.csv": f"underlying,ex_date,amount,currency\nETH,2026-02-06T12:00:00Z,{CASH[0]},USD\nETH,2026-02-16T12:00:00Z,{CASH[1]},USD\nETH,2026-02-27T08:00:00Z,99,USD\n"}
"""the last falls on the expiry and has no effect"""
OPTIONS = [f"ETH-{t[0].upper()}{k}{e[0].upper()},option,ETH,linear,USD,1,2026-02-27T08:00:00Z,{k},{t},{e}" for k, t in ((2400, "put"), (1700, "call")) for e in ("american", "european")]
POSITIONS = "account_id,instrument_id,quantity\nP,ETH-P2400A,1\nE,ETH-P2400E,1\nC,ETH-C1700A,1\nF,ETH-C1700E,1\n"


def planned(folder: Path, market: dict[str, str] | None = None) -> Plan:
    """4,096 scenarios over two days."""
    root = write(folder, POSITIONS, market={**MARKET, **(market or {})})
    (root / "book" / "instruments.csv").write_text(INSTRUMENTS + "\n".join(OPTIONS) + "\n")
    spec = ScenarioSpec(count=4_096, horizons=(2.0,))
    return make_plan(load_book(root / "book", VALUATION, 1.0), load_market(root / "market"), spec, methodology(), GAUSSIAN)
