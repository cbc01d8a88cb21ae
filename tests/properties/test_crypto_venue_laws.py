"""Laws of the crypto venues' rule books: order, neighbours and splitting change no bit, charges are never negative, hedges cost at most their contingency, small trades little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from venue_accounts import NAMES, accounts, amounts, everything
from venue_laws import QUANTITIES, check_composition, check_splits

from upm_gpu.backend import cpu, reference
from upm_gpu.rulebook import RuleBook, load_rule_book
from upm_gpu.rulebook.frame.held import Held
from upm_gpu.rulebook.frame.result import RuleMargin

VALUES = cpu.values if cpu.available()[0] else reference.values
FILES = ("deribit_spm_v2024", "deribit_spm_v2026", "deribit_xpm_v2026", "okx_pm_v2024", "okx_pm_v2025", "bybit_pm_v2024", "bybit_pm_v2025")
WORST = {"deribit": "worst_case", "okx": "worst_move", "bybit": "worst_loss"}
"""rule book -> its charge that is a worst case over scenarios"""
ORDERED = {"deribit": "extended_moves", "okx": "groups", "bybit": "scenarios"}
"""rule book -> its list whose order must not matter"""
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
    """As `check_composition` says."""
    key = ORDERED[venue(rules)]
    check_composition(margin(rules, accounts(one, row, other)), margin(rules, accounts(one, row)), margin(rules, accounts(one, row), **{key: getattr(rules.parameters, key)[::-1]}))


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
    assert (check_splits(lambda held: margin(rules, held), tmp_path, "A,BTC,0.3\nB,BTC,0.1\nC,BTC,1\n").initial[:2] > 0.0).all()


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
