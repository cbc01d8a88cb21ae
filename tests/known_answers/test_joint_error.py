"""Standard errors of sums of measures on common scenarios: alike, scaled and opposite rows, every way that scenarios depend on one another, accounts with netting sets, and the spread over seeds."""

from __future__ import annotations

import numpy as np
import pytest
from small_book import STUDENT, methodology, read, write

from upm_gpu import desk
from upm_gpu.backend.select import choose
from upm_gpu.desk import Deposit, Order
from upm_gpu.engine import compute_outcome
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.risk.joint_error import Parts, joint_error, tail_effects
from upm_gpu.risk.measures import tail_size
from upm_gpu.risk.tail import finish, tail_depth
from upm_gpu.risk.tail_state import TailState
from upm_gpu.scenario.spec import ScenarioSpec

LEVEL = 0.99


def tail_of(pnl: np.ndarray) -> TailState:
    """The tail of rows (R, S)."""
    rows, count = pnl.shape
    order = np.argsort(pnl, axis=1, kind="stable")[:, : tail_depth(count, LEVEL)]
    return TailState(np.take_along_axis(pnl, order, 1)[None], order[None].astype(np.uint32), np.zeros(1, np.int64), np.zeros((1, 1, rows, 2)), np.zeros(0, np.int64), 0, count)


def errors_of(pnl: np.ndarray, weight: list[float], row: list[int], dependence="independent", weights=None) -> tuple[float, float, np.ndarray, np.ndarray]:
    """(ES, VaR of one sum, ES and VaR of each row)."""
    tail = tail_of(pnl)
    own = finish(tail, [LEVEL], dependence, weights)[LEVEL]
    parts = Parts(np.array(weight), np.zeros(len(row), np.int64), np.array(row))
    effects = tail_effects(tail, 0, own.value_at_risk[0])
    each = own.expected_shortfall_standard_error[0], own.value_at_risk_standard_error[0]
    es, var = (float(joint_error(parts, 1, s, e, tail.scenario[0], pnl.shape[1], dependence, weights)[0]) for s, e in zip(each, effects, strict=True))
    return es, var, *each


@pytest.mark.parametrize("dependence", ["independent", "pairs", "scramblings", "blocks", "weighted"])
def test_alike_rows_add_up_and_one_row_is_itself(dependence):
    draw = np.random.default_rng(7)
    x = draw.standard_t(5.0, 16_384)
    pnl = np.stack([x, x, 3.0 * x, draw.standard_t(5.0, 16_384)])
    weights = draw.uniform(0.5, 1.5, 16_384) if dependence == "weighted" else None
    way = "independent" if weights is not None else dependence
    es, var, each, quantile = errors_of(pnl, [1.0, 1.0], [0, 1], way, weights)
    assert es == pytest.approx(2.0 * each[0], rel=1e-12) and var == pytest.approx(2.0 * quantile[0], rel=1e-12)
    es, _, each, _ = errors_of(pnl, [0.25, 1.0], [0, 2], way, weights)
    assert es == pytest.approx(3.25 * each[0], rel=1e-12)
    es, var, each, quantile = errors_of(pnl, [0.3], [3], way, weights)
    assert es == 0.3 * each[3] and var == 0.3 * quantile[3]
    es, _, each, _ = errors_of(pnl, [1.0, 1.0], [0, 3], way, weights)
    if dependence != "blocks":  # four blocks know little of what is common
        assert es < 1.2 * np.hypot(each[0], each[3])


def test_opposite_rows_lose_in_other_scenarios():
    x = np.random.default_rng(8).normal(size=20_000)
    es, _, each, _ = errors_of(np.stack([x, -x]), [1.0, 1.0], [0, 1])
    k = tail_size(len(x), LEVEL)
    mean = [float(np.sum(np.maximum(side - np.sort(side)[-int(k) - 1], 0.0))) / len(x) for side in (x, -x)]
    known = each[0] ** 2 + each[1] ** 2 - 2.0 * mean[0] * mean[1] / (len(x) - 1.0) / (1.0 - LEVEL) ** 2  # the covariance of what is never together
    assert es == pytest.approx(np.sqrt(known), rel=1e-9) and es < np.hypot(*each)


def test_the_error_is_the_spread_over_seeds_and_a_root_of_squares_is_not():
    sums, quantiles, told, told_quantile, squares = [], [], [], [], []
    for seed in range(150):
        draw = np.random.default_rng(seed)
        common, one, two = draw.standard_normal((3, 10_000))
        pnl = np.stack([common + 0.4 * one, 2.0 * common + 0.7 * two])
        estimate = finish(tail_of(pnl), [LEVEL])[LEVEL]
        sums.append(float(estimate.expected_shortfall.sum()))
        quantiles.append(float(estimate.value_at_risk.sum()))
        es, var, each, _ = errors_of(pnl, [1.0, 1.0], [0, 1])
        told.append(es)
        told_quantile.append(var)
        squares.append(np.hypot(*each))
    assert np.mean(told) == pytest.approx(np.std(sums), rel=0.12)  # 150 seeds know a spread to 6 %
    assert np.mean(told_quantile) == pytest.approx(np.std(quantiles), rel=0.15)
    assert np.mean(squares) < 0.85 * np.std(sums)


POSITIONS = "account_id,instrument_id,quantity,netting_set,entry_price\nA,BTC-C70,-3,,\nB,BTC-C70,-3,,\nB,BTC-C70,-3,S,\nB,BTC-P60,-1,T,\nM1,BTC-P60,-2,P,\nM1,BTC-C70,-1,,\nM2,BTC-P60,-6,P,\n"
COLLATERAL = "account_id,asset,quantity\nA,USD,50000\nB,USD,90000\nM1,USD,9000\nM2,USD,9000\n"


def test_accounts_with_netting_sets_and_what_ifs_of_them(tmp_path):
    book, market = read(write(tmp_path, POSITIONS, COLLATERAL, "account_id,member_id\nA,\nB,\nM1,M\nM2,M\n"))
    spec, method = ScenarioSpec(count=6_000, seed=5, horizons=(2.0,)), methodology()
    resident = desk.keep(book, market, spec, method, choose("cpu"), model=STUDENT)
    columns = ["expected_shortfall_standard_error", "value_at_risk_standard_error"]

    def fresh(changes):
        return compute_outcome(make_plan(desk.book_after(resident, changes), market, spec, method, STUDENT), choose("cpu"), 0, in_memory()).result

    without = fresh([Order("B", "BTC-P60", 1.0, "T")])
    table = without.table.set_index("account_id")[columns]
    assert table.loc["B"].to_numpy() == pytest.approx(2.0 * table.loc["A"].to_numpy(), rel=1e-12)
    units = without.units.set_index("unit")["expected_shortfall_standard_error"]
    share = float(without.table.set_index("account_id").loc["M2", "expected_shortfall"] / without.units.set_index("unit").loc["M/P", "expected_shortfall"])
    assert table.loc["M2", columns[0]] == pytest.approx(share * units["M/P"], rel=1e-12)
    for account, changes in (("B", [Order("B", "BTC-P60", 1.0, "T")]), ("B", [Order("B", "BTC-C70", -0.5, "S")]), ("M1", [Order("M1", "BTC-P60", -1.0, "P"), Deposit("M1", "USD", 5.0)])):
        answer = next(a for a in desk.whatif(resident, [changes, [Deposit(account, "USD", 1.0)]])[0] if a.account_id == account)
        row = fresh(changes).table.set_index("account_id").loc[account]
        assert {c: answer.after[c] for c in columns} == {c: row[c] for c in columns}
