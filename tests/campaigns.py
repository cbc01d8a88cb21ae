"""A small campaign for tests: the small book with entry prices and collateral of every sort, one of each sort of shock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from command_line import history
from small_book import methodology, write

from upm_gpu.backend.select import choose
from upm_gpu.campaign.config import Campaign, load_campaign
from upm_gpu.campaign.law import law_of
from upm_gpu.campaign.shocks import make_shocks
from upm_gpu.campaign.stressed_book import StressedBook, prepared
from upm_gpu.domain.reader import load_book
from upm_gpu.engine import compute_outcome
from upm_gpu.market.reader import load_market
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.scenario.spec import ScenarioSpec

POSITIONS = ("account_id,instrument_id,quantity,entry_price\nA,BTC-C70,3,\nA,BTC-P60,-5,\nB,ETH-C20L,40,\nC,BTC-FUT,-50,68000\nC,BTC-PERP,100,71000\nC,BTC-LINEAR,0.5,69000\n"
             "D,ETH-PERP,4000,2100\nD,BTC-C75D,-2,\n")
COLLATERAL = "account_id,asset,quantity\nA,BTC,1\nB,USD,20000\nB,USDC,900\nC,USD,4000\nC,USDC,500\nD,ETH,12\n"
ACCOUNTS = "account_id,member_id\nA,one\nB,one\nC,two\nD,\n"
CAMPAIGN = """schema_version = 1
name = "small"
[base]
config = "run.toml"
count = 4096
[[events]]
name = "a day"
start = "2025-12-01"
end = "2025-12-02"
[[moves]]
name = "crash"
moves = { "*" = { price = -0.3, volatility = 0.5 }, ETH = { price = -0.4 } }
liquidity = 2.0
[[grids]]
name = "grid"
leader = "BTC"
price = [-0.2, 0.0, 0.2]
volatility = [0.0, 0.5]
correlation = [0.0, 1.0]
[[families]]
name = "half"
given = { BTC = { price = -0.5 } }
count = 20
seed = 3
[losses]
default_fund = 1000
delta_cost = 0.001
vega_cost = 1.0
"""
MARKET = {"history.csv": history(), "spots.csv": "asset,price,currency,timestamp\n" + "".join(f"{a},{p},USD,2026-02-05T09:00:00Z\n" for a, p in (("BTC", 70000), ("ETH", 2000), ("USDC", 1.0)))}


def campaign_folder(folder: Path, text: str = CAMPAIGN) -> Path:
    """book/, market/, run.toml and campaign.toml; the path of the last."""
    write(folder, POSITIONS, COLLATERAL, ACCOUNTS, MARKET)
    (folder / "run.toml").write_text('schema_version = 1\n[book]\npath = "book"\n[market]\npath = "market"\n[model]\nhorizons = ["1d", "2d"]\n[scenarios]\nseed = 7\n[compute]\ndevice = "cpu"\n')
    (folder / "campaign.toml").write_text(text)
    return folder / "campaign.toml"


def small_campaign(folder: Path, text: str = CAMPAIGN, positions: str = POSITIONS, rules: Any = None, **spec: object) -> tuple[Campaign, StressedBook]:
    """The campaign over the small book, margined on the CPU."""
    write(folder, positions, COLLATERAL, ACCOUNTS, MARKET)
    (folder / "campaign.toml").write_text(text)
    campaign, _ = load_campaign(folder / "campaign.toml")
    market = load_market(folder / "market")
    book = load_book(folder / "book", market.valuation_time)
    plan = make_plan(book, market, replace(ScenarioSpec(count=campaign.base.count, horizons=(1.0, 2.0), seed=7), **spec), rules or methodology())
    choice = choose("cpu", "double", 1)
    law = law_of(plan, choice.module)
    return campaign, prepared("book", campaign, compute_outcome(plan, choice, 0, in_memory(None)), law, make_shocks(campaign, plan, law), {})
