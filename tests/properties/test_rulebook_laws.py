"""What every rule book over a grid obeys: order and splitting change no bit, hedges do not raise the worst loss, charges are never negative, small trades change little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_book import read, write

from upm_gpu.backend import cpu, reference
from upm_gpu.rulebook import RuleBook, load_rule_book
from upm_gpu.rulebook.frame.held import Held, hold
from upm_gpu.rulebook.frame.result import RuleMargin

VALUES = cpu.values if cpu.available()[0] else reference.values
WORST_CASE = {"derive_pmrm_v1": "scenario_loss", "derive_pmrm2_v2": "scenario_loss", "aevo_v1": "scan", "powertrade_v1": "scan", "powertrade_v2": "scan", "powertrade_v3": "scan",
              "paradex_v1": "scan"}
"""parameter file -> its charge that is a worst case over scenarios"""
NAMES = ("BTC-PERP", "BTC-LINEAR", "ETH-PERP", "BTC-FUT", "BTC-C70", "BTC-P70", "BTC-P60", "BTC-C75D", "ETH-C20L")
SIZE = {"BTC-PERP": 70_000.0, "BTC-FUT": 70_700.0, "ETH-PERP": 2000.0}
"""quantity of each that is worth about one coin; of the others 1"""
QUANTITIES = st.lists(st.sampled_from([-3.0, -1.0, -0.25, 0.0, 0.0, 0.5, 1.0, 2.0]), min_size=len(NAMES) + 1, max_size=len(NAMES) + 1)
SETTINGS = settings(max_examples=20, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Held:
    """An account with one contract of everything, and a coin posted."""
    text = "account_id,instrument_id,quantity\n" + "".join(f"A,{n},1\n" for n in NAMES)
    return hold(*read(write(tmp_path_factory.mktemp("laws") / "small", text, "account_id,asset,quantity\nA,BTC,1\n")))[0]


@pytest.fixture(scope="module", params=WORST_CASE)
def rules(request: pytest.FixtureRequest) -> RuleBook:
    return load_rule_book(f"configs/methodology/{request.param}.toml")


def charge_of(rules: RuleBook) -> str:
    return WORST_CASE[f"{rules.parameters.name}_v{rules.parameters.version}"]


def accounts(one: Held, *amounts: list[float]) -> Held:
    """Units that hold these amounts, in coins: of every instrument of NAMES, then of the posted coin."""
    order = [one.terms.instrument_id.index(n) for n in (*NAMES, "collateral:BTC")]
    scale = np.array([*(SIZE.get(n, 1.0) for n in NAMES), 1.0])
    unit, instrument, quantity = [], [], []
    for u, row in enumerate(amounts):
        for n, q in sorted(zip(order, np.array(row) * scale, strict=True)):
            if q != 0.0:
                unit.append(u), instrument.append(n), quantity.append(q)
    return Held(one.terms, tuple(f"A{u}" for u in range(len(amounts))), np.array(unit, np.int32), np.array(instrument, np.int32), np.array(quantity, float), one.spots)


def margin(rules: RuleBook, held: Held) -> RuleMargin:
    return rules.module.margin(held, rules.parameters, VALUES)


def amounts(**held: float) -> list[float]:
    return [held.get(n.replace("-", "_"), 0.0) for n in (*NAMES, "coin")]


@SETTINGS
@given(row=QUANTITIES, other=QUANTITIES)
def test_composition(rules: RuleBook, one: Held, row: list[float], other: list[float]) -> None:
    """No charge is negative, charges sum to the initial margin, maintenance is not above it, a neighbour changes no bit, scenarios in another order change none."""
    got = margin(rules, accounts(one, row, other))
    assert all((c >= 0.0).all() for c in got.charges.values())
    np.testing.assert_allclose(np.sum(list(got.charges.values()), axis=0), got.initial, rtol=1e-15)
    assert (got.maintenance <= got.initial * (1.0 + 1e-12)).all() and (got.maintenance >= 0.0).all()
    alone = margin(rules, accounts(one, row))
    assert (alone.initial[0], alone.maintenance[0], alone.worst[0]) == (got.initial[0], got.maintenance[0], got.worst[0])
    backwards: Any = rules.parameters.model_copy(update={"scenarios": rules.parameters.scenarios[::-1]})
    turned = rules.module.margin(accounts(one, row), backwards, VALUES)
    assert (turned.initial[0], turned.maintenance[0], turned.worst[0]) == (alone.initial[0], alone.maintenance[0], alone.worst[0])


@SETTINGS
@given(row=QUANTITIES, place=st.integers(0, len(NAMES)))
def test_continuity_and_size(rules: RuleBook, one: Held, row: list[float], place: int) -> None:
    """A trade of 1e-9 coins changes the margin by less than the price of a coin times as much; twice the book needs twice the margin."""
    nudged = row.copy()
    nudged[place] += 1e-9
    got = margin(rules, accounts(one, row, nudged, [2.0 * q for q in row]))
    assert abs(got.initial[1] - got.initial[0]) <= 1e-9 * 10.0 * 70_000.0
    assert got.initial[2] == pytest.approx(2.0 * got.initial[0], rel=1e-12)
    assert got.maintenance[2] == pytest.approx(2.0 * got.maintenance[0], rel=1e-12)


@SETTINGS
@given(row=QUANTITIES, other=QUANTITIES)
def test_merged_books_never_lose_more(rules: RuleBook, one: Held, row: list[float], other: list[float]) -> None:
    """The worst case over common scenarios is sub-additive."""
    got = margin(rules, accounts(one, row, other, [a + b for a, b in zip(row, other, strict=True)])).charges[charge_of(rules)]
    assert got[2] <= (got[0] + got[1]) * (1.0 + 1e-12) + 1e-9


@pytest.mark.parametrize(("risk", "hedge"), [({"BTC_LINEAR": 1.0}, {"BTC_PERP": -1.0}), ({"coin": 1.0}, {"BTC_PERP": -1.0}), ({"BTC_LINEAR": -2.0}, {"coin": 2.0}),
                                             ({"BTC_C70": -1.0}, {"BTC_C70": 1.0}), ({"BTC_C70": 1.0, "BTC_P70": -1.0}, {"BTC_C70": -1.0, "BTC_P70": 1.0})])
def test_a_risk_cancelling_hedge_never_raises_the_worst_loss(rules: RuleBook, one: Held, risk: dict[str, float], hedge: dict[str, float]) -> None:
    """Each further piece of a hedge that cancels a book's P&L lowers its worst case; the whole hedge leaves next to nothing."""
    if "coin" in {*risk, *hedge} and getattr(rules.parameters, "moving_collateral", ["BTC"]) == []:
        risk, hedge = ({k.replace("coin", "BTC_LINEAR"): v for k, v in x.items()} for x in (risk, hedge))  # posted coins do not count here
        hedge = {k.replace("BTC_LINEAR", "BTC_PERP"): v for k, v in hedge.items()}
    row, against = np.array(amounts(**risk)), np.array(amounts(**hedge))
    got = margin(rules, accounts(one, *(list(row + share * against) for share in np.linspace(0.0, 1.0, 6)))).charges[charge_of(rules)]
    assert got[0] > 0.0 and (np.diff(got) <= 1e-9 * got[0]).all()
    assert got[-1] <= 0.006 * got[0]


def test_splitting_and_order_of_positions_change_no_bit(rules: RuleBook, tmp_path: Path) -> None:
    whole = "account_id,instrument_id,quantity\nA,BTC-C70,-3.3\nA,BTC-PERP,7000\nB,ETH-C20L,5\nA,BTC-FUT,-20\n"
    split = "account_id,instrument_id,quantity\nA,BTC-FUT,-20\nB,ETH-C20L,2\nA,BTC-C70,-1.1\nA,BTC-PERP,7001\nA,BTC-C70,-2.2\nB,ETH-C20L,3\nA,BTC-PERP,-1\n"
    collateral = "account_id,asset,quantity\nA,BTC,0.3\nB,BTC,0.1\n"
    got = [margin(rules, hold(*read(write(tmp_path / name, text, collateral)))[0]) for name, text in (("whole", whole), ("split", split))]
    np.testing.assert_array_equal(got[0].initial, got[1].initial)
    np.testing.assert_array_equal(got[0].maintenance, got[1].maintenance)
    assert got[0].worst == got[1].worst and (got[0].initial > 0.0).all()
