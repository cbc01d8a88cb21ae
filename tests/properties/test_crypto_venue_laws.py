"""Laws of the crypto venues' rule books: order, neighbours and splitting change no bit, charges are never negative, hedges cost at most their contingency, small trades little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_book import read, write
from venue_accounts import NAMES, accounts, amounts, everything

from upm_gpu.backend import cpu, reference
from upm_gpu.rulebook import RuleBook, load_rule_book
from upm_gpu.rulebook.frame.held import Held, hold
from upm_gpu.rulebook.frame.result import RuleMargin

VALUES = cpu.values if cpu.available()[0] else reference.values
FILES = ("deribit_spm_v2024", "deribit_spm_v2026", "deribit_xpm_v2026", "okx_pm_v2024", "okx_pm_v2025", "bybit_pm_v2024", "bybit_pm_v2025")
WORST = {"deribit": "worst_case", "okx": "worst_move", "bybit": "worst_loss"}
"""rule book -> its charge that is a worst case over scenarios"""
ORDERED = {"deribit": "extended_moves", "okx": "groups", "bybit": "scenarios"}
"""rule book -> its list whose order must not matter"""
QUANTITIES = st.lists(st.sampled_from([-3.0, -1.0, -0.25, 0.0, 0.0, 0.5, 1.0, 2.0]), min_size=len(NAMES) + 1, max_size=len(NAMES) + 1)
SETTINGS = settings(max_examples=15, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Held:
    """An account with one contract of everything, and a coin posted."""
    return everything(tmp_path_factory.mktemp("laws"))


@pytest.fixture(scope="module", params=FILES)
def rules(request: pytest.FixtureRequest) -> RuleBook:
    return load_rule_book(f"configs/methodology/{request.param}.toml")


def venue(rules: RuleBook) -> str:
    return str(rules.parameters.rule_book).split("_")[0]


def margin(rules: RuleBook, held: Held, **changed: Any) -> RuleMargin:
    return rules.module.margin(held, rules.parameters.model_copy(update=changed), VALUES)


@SETTINGS
@given(row=QUANTITIES, other=QUANTITIES)
def test_composition(rules: RuleBook, one: Held, row: list[float], other: list[float]) -> None:
    """No charge is negative, charges sum to the initial margin, maintenance is not above it; a neighbour and another order of scenarios change no bit."""
    got = margin(rules, accounts(one, row, other))
    assert all((c >= 0.0).all() for c in got.charges.values())
    np.testing.assert_allclose(np.sum(list(got.charges.values()), axis=0), got.initial, rtol=1e-15)
    assert (got.maintenance <= got.initial * (1.0 + 1e-12)).all() and (got.maintenance >= 0.0).all()
    alone = margin(rules, accounts(one, row))
    assert (alone.initial[0], alone.maintenance[0], alone.worst[0]) == (got.initial[0], got.maintenance[0], got.worst[0])
    key = ORDERED[venue(rules)]
    turned = margin(rules, accounts(one, row), **{key: getattr(rules.parameters, key)[::-1]})
    assert (turned.initial[0], turned.maintenance[0], turned.worst[0]) == (alone.initial[0], alone.maintenance[0], alone.worst[0])


@SETTINGS
@given(row=QUANTITIES, place=st.integers(0, len(NAMES)))
def test_continuity(rules: RuleBook, one: Held, row: list[float], place: int) -> None:
    """A trade of 1e-9 coins changes the margin by less than ten coins' price times as much."""
    nudged = row.copy()
    nudged[place] += 1e-9
    got = margin(rules, accounts(one, row, nudged))
    assert abs(got.initial[1] - got.initial[0]) <= 1e-9 * 10.0 * 70_000.0


@pytest.mark.parametrize(("risk", "hedge"), [({"BTC_FUT": 1.0}, {"BTC_PERP": -1.0}), ({"BTC_C70": -1.0}, {"BTC_C70": 1.0}),
                                             ({"BTC_C70": 1.0, "BTC_P70": -1.0}, {"BTC_C70": -1.0, "BTC_P70": 1.0})])
def test_a_risk_cancelling_hedge_never_raises_the_worst_loss(rules: RuleBook, one: Held, risk: dict[str, float], hedge: dict[str, float]) -> None:
    """Each further piece of a hedge that cancels a book's P&L lowers its worst case, and the whole leaves next to nothing; the margin rises by no more than the other charges do."""
    row, against = np.array(amounts(**risk)), np.array(amounts(**hedge))
    found = margin(rules, accounts(one, *(list(row + share * against) for share in np.linspace(0.0, 1.0, 6))))
    got = found.charges[WORST[venue(rules)]]
    assert got[0] > 0.0 and (np.diff(got) <= 1e-9 * got[0]).all()
    assert got[-1] <= 0.006 * got[0]
    other = found.initial - got
    assert (np.diff(found.initial) <= np.maximum(np.diff(other), 0.0) + 1e-9 * found.initial[0]).all()


def test_splitting_and_order_of_positions_change_no_bit(rules: RuleBook, tmp_path: Path) -> None:
    whole = "account_id,instrument_id,quantity\nA,BTC-C70,-3.3\nA,BTC-PERP,7000\nB,ETH-C20L,5\nA,BTC-FUT,-20\n"
    split = "account_id,instrument_id,quantity\nA,BTC-FUT,-20\nB,ETH-C20L,2\nA,BTC-C70,-1.1\nA,BTC-PERP,7001\nA,BTC-C70,-2.2\nB,ETH-C20L,3\nA,BTC-PERP,-1\n"
    collateral = "account_id,asset,quantity\nA,BTC,0.3\nB,BTC,0.1\nC,BTC,1\n"
    got = [margin(rules, hold(*read(write(tmp_path / name, text, collateral)))[0]) for name, text in (("whole", whole), ("split", split))]
    np.testing.assert_array_equal(got[0].initial, got[1].initial)
    np.testing.assert_array_equal(got[0].maintenance, got[1].maintenance)
    assert got[0].worst == got[1].worst and (got[0].initial[:2] > 0.0).all()


@SETTINGS
@given(row=QUANTITIES, other=QUANTITIES)
def test_deribit_merged_books(one: Held, row: list[float], other: list[float]) -> None:
    """Without the dampener and the limit of the offset merging never needs more; with the dampener it may, and the counter-example says so."""
    for name in FILES:
        if name.startswith("deribit"):
            rules = load_rule_book(f"configs/methodology/{name}.toml")
            plain = {k: c.model_copy(update={"extended_dampener": 0.0, "max_offsetable_pnl": 1e15}) for k, c in rules.parameters.currencies.items()}
            held = accounts(one, row, other, [a + b for a, b in zip(row, other, strict=True)])
            got = margin(rules, held, currencies=plain).charges["worst_case"]
            assert got[2] <= (got[0] + got[1]) * (1.0 + 1e-12) + 1e-9
