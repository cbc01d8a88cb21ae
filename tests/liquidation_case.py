"""A margined book of a few accounts that fall in different ways, for tests of the liquidation simulator."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from small_book import GAUSSIAN, methodology, read, write

from upm_gpu.backend.select import choose
from upm_gpu.engine import compute_outcome
from upm_gpu.liquidation import Case, Parameters, case_of, load_parameters
from upm_gpu.liquidation.coverage import Coverage
from upm_gpu.liquidation.world import Ground
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.scenario.spec import ScenarioSpec

BOOK = ("account_id,instrument_id,quantity,entry_price\nLONG,BTC-LINEAR,10,\nLONGER,BTC-LINEAR,6,\nSHORT,BTC-PERP,-20000,\nSPREAD,BTC-P70,-20,\nSPREAD,BTC-P60,20,\nSPREAD,BTC-LINEAR,-4,\n"
        "SELLER,BTC-P60,-15,\nSELLER,ETH-C20L,-100,\nSELLER,BTC-PERP,-9000,\nMEMBER-1,BTC-FUT,2000,\nMEMBER-2,ETH-PERP,-40000,\nBANK,BTC-LINEAR,-3,\nBANK,ETH-C20L,50,\n")
COLLATERAL = "account_id,asset,quantity\nLONG,USD,95000\nLONGER,USD,85500\nSHORT,USD,60000\nSPREAD,USD,130000\nSELLER,USD,90000\nMEMBER-1,BTC,0.3\nMEMBER-2,USD,25000\nBANK,USD,900000\n"
ACCOUNTS = "account_id,member_id\nLONG,\nLONGER,\nSHORT,\nSPREAD,\nSELLER,\nMEMBER-1,M\nMEMBER-2,M\nBANK,\n"


@cache
def case() -> Case:
    """The book of this file under a normal model, 4,096 scenarios."""
    with tempfile.TemporaryDirectory() as folder:
        book, market = read(write(Path(folder) / "case", BOOK, COLLATERAL, ACCOUNTS))
    return case_from(book, market)


def case_from(book, market, count: int = 4096) -> Case:
    """A case of any small book."""
    plan = make_plan(book, market, ScenarioSpec(count=count, seed=3, horizons=(1.0, 2.0)), methodology(), GAUSSIAN)
    choice = choose("cpu", "double")
    return case_of(plan, choice, compute_outcome(plan, choice, 0, in_memory()).result.table)


def ground(given_case: Case, scenarios: int = 4096) -> Ground:
    """What cascades of a case share, margins on so many scenarios."""
    return Ground(given_case, scenarios, Coverage(given_case.choice))


def rules(which: str = "venue") -> Parameters:
    """Rules that ship, margins measured on fewer scenarios."""
    made = load_parameters(which)
    return made.model_copy(update={"margin": made.margin.model_copy(update={"scenarios": 1024})})
