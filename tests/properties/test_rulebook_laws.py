"""What every rule book over a grid obeys: order and splitting change no bit, hedges do not raise the worst loss, charges are never negative, small trades change little."""

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
WORST_CASE = {"derive_pmrm_v1": "scenario_loss", "derive_pmrm2_v2": "scenario_loss", "aevo_v1": "scan", "powertrade_v1": "scan", "powertrade_v2": "scan", "powertrade_v3": "scan",
              "paradex_v1": "scan"}
"""parameter file -> its charge that is a worst case over scenarios"""
SETTINGS = settings(max_examples=20, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Held:
    """An account with one contract of everything, and a coin posted."""
    return everything(tmp_path_factory.mktemp("laws"))


@pytest.fixture(scope="module", params=WORST_CASE)
def rules(request: pytest.FixtureRequest) -> RuleBook:
    return load_rule_book(f"configs/methodology/{request.param}.toml")


def charge_of(rules: RuleBook) -> str:
    return WORST_CASE[f"{rules.parameters.name}_v{rules.parameters.version}"]


def margin(rules: RuleBook, held: Held) -> RuleMargin:
    return rules.module.margin(held, rules.parameters, VALUES)


@SETTINGS
@given(row=QUANTITIES, other=QUANTITIES)
def test_composition(rules: RuleBook, one: Held, row: list[float], other: list[float]) -> None:
    """As `check_composition` says."""
    backwards: Any = rules.parameters.model_copy(update={"scenarios": rules.parameters.scenarios[::-1]})
    check_composition(margin(rules, accounts(one, row, other)), margin(rules, accounts(one, row)), rules.module.margin(accounts(one, row), backwards, VALUES))


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
    assert (check_splits(lambda held: margin(rules, held), tmp_path, "A,BTC,0.3\nB,BTC,0.1\n").initial > 0.0).all()
