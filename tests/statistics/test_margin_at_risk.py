"""Margin at risk: the regression against fresh runs at paths it has not seen, tomorrow's market against the path's own prices, the law's one more return."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_book import GAUSSIAN, methodology, read, write

from upm_gpu import desk
from upm_gpu.backend.select import choose
from upm_gpu.desk.outlook.margin_at_risk import fit_margin, fresh_run, maintenance_along, margin_at_risk, states_of
from upm_gpu.desk.outlook.passage import first_passage
from upm_gpu.desk.outlook.paths import paths_of
from upm_gpu.desk.outlook.tomorrow import outset_of, tomorrow
from upm_gpu.errors import InputError
from upm_gpu.plan import make_plan
from upm_gpu.scenario.spec import ScenarioSpec

POSITIONS = ("account_id,instrument_id,quantity,netting_set,entry_price\nA,BTC-C70,3,,\nA,BTC-P60,-5,,\nB,ETH-C20L,-40,,\nB,BTC-C75D,-2,,\nC,BTC-FUT,-500,,71000\nC,BTC-P70,1.5,SET,\nC,ETH-PERP,900,,\n")
COLLATERAL = "account_id,asset,quantity\nA,BTC,1\nB,USD,30000\nC,USD,9000\n"
SPEC = ScenarioSpec(count=4_096, seed=7, horizons=(2.0,))
INNER = 1_000


@pytest.fixture(scope="module")
def resident(tmp_path_factory):
    book, market = read(write(tmp_path_factory.mktemp("mar"), POSITIONS, COLLATERAL))
    return desk.keep(book, market, SPEC, methodology(), choose("cpu"), model=GAUSSIAN)


@pytest.fixture(scope="module")
def fitted(resident):
    paths = paths_of(resident, 1.0, 1)
    return paths, fit_margin(resident, paths, points=48, inner=INNER, checked=(2, 0))


def test_the_regression_errs_by_what_it_says(resident, fitted):
    """Brute force: a fresh run at 24 paths that are no points of the regression; the same inner draws."""
    paths, made = fitted
    outset, regression = made.outset, made.regression
    others = np.setdiff1d(np.arange(100, 160), regression.scenario)[:24] - 100
    states = states_of(resident, paths, 100, 160)[:, :, others]
    brute = np.stack([fresh_run(resident, outset, states[:, :, s], 0, INNER).margin for s in range(24)], axis=1)
    today = fresh_run(resident, outset, None, 0, INNER).margin
    brute += (paths.figures["initial_margin"] - today)[:, None]
    guess = regression.at(states[paths.date[0]])
    wrong = np.sqrt(np.mean((guess - brute) ** 2, axis=1))
    assert np.all(wrong < 2.0 * regression.error)
    assert np.all(wrong < 0.08 * np.mean(brute, axis=1)), wrong / np.mean(brute, axis=1)
    assert np.all(wrong < 0.5 * np.std(brute, axis=1)), wrong / np.std(brute, axis=1)  # it explains most of what moves
    whole = regression.at(states[paths.date[0]] * 0.0)
    assert np.all(np.std(guess, axis=1) > 0.02 * whole[:, 0])


def test_quantiles_against_brute_force(resident, fitted):
    """Nested simulation in full over 40 paths: mean, median and the largest but one of margin and of what is called, account by account."""
    _, made = fitted
    few = paths_of(resident, 1.0, 1, scenarios=40)
    found, outset, regression = margin_at_risk(resident, few, made), outset_of(few), made.regression
    states = states_of(resident, few, 0, 40)
    brute = np.stack([fresh_run(resident, outset, states[:, :, s], 0, INNER).margin for s in range(40)], axis=1)
    brute += (few.figures["initial_margin"] - fresh_run(resident, outset, None, 0, INNER).margin)[:, None]
    plan = few.plan
    with resident.choice.module.prepare(plan.compiled, plan.rows, "mixed", 1) as prepared:
        equity = few.figures["equity"][:, None] + resident.choice.module.row_pnl(prepared, plan.scenarios, 0, 40, few.horizon[0])
    called = np.maximum(brute - equity, 0.0)
    error = 2.0 * regression.error
    assert np.all(np.abs(found.margin.mean - brute.mean(axis=1)) < error)
    assert np.all(np.abs(found.margin.quantile[:, 1] - np.sort(brute, axis=1)[:, 37]) < 2.0 * error)
    assert np.all(np.abs(found.called.mean - called.mean(axis=1)) < error)
    assert np.all(np.abs(found.call_probability - (called > 0.0).mean(axis=1)) < 0.1)
    assert abs(found.house_margin.mean[0] - brute.sum(axis=0).mean()) < 2.0 * found.house_error + 1e-9
    assert found.house_called.mean[0] == pytest.approx(found.called.mean.sum(), rel=1e-6)
    assert np.all(found.margin.quantile_error >= 0.0) and np.all(found.margin.mean_error > 0.0)


def test_tomorrow_s_prices_are_those_of_the_path(resident):
    """Model values of a fresh run's start less today's are the run's own unit P&L there: prices, sticky moneyness, residuals, the shift by expiry, what expired."""
    paths = paths_of(resident, 1.0, 1)
    states = states_of(resident, paths, 0, 6)
    plan, module = paths.plan, resident.choice.module
    with module.prepare(plan.compiled, plan.rows, "double", 1) as prepared:
        today, pnl = np.array(prepared.value0), module.unit_pnl(prepared, plan.scenarios, 0, 6, paths.horizon[0])
    at = {n: i for i, n in enumerate(plan.compiled.instrument_ids)}
    for s in range(6):
        then = tomorrow(outset_of(paths), states[:, :, s], 0)
        assert {then.book.instruments[n].instrument_id for n in then.book.positions.instrument} == {"BTC-C70", "BTC-P60", "ETH-C20L", "BTC-FUT", "BTC-P70", "ETH-PERP"}
        fresh = make_plan(then.book, then.market, replace(SPEC, count=4_096), plan.methodology, then.model, then.surfaces)
        with module.prepare(fresh.compiled, fresh.rows, "double", 1) as prepared:
            value = np.array(prepared.value0)
        for n, name in enumerate(fresh.compiled.instrument_ids):
            column = int(fresh.compiled.instrument_column[n])
            if column >= fresh.compiled.linear:
                c = int(plan.compiled.instrument_column[at[name]])
                # sticky moneyness reads a slice at k' in both; only the rounding of moved quotes is between them
                assert value[column - fresh.compiled.linear] == pytest.approx(today[c - plan.compiled.linear] + pnl[c, s], rel=2e-6, abs=1e-4), name
    paid = dict(zip(zip(then.book.collateral.account.tolist(), then.book.collateral.asset, strict=True), then.book.collateral.quantity, strict=True))
    index = np.exp(states[int(np.argmin(np.abs(plan.compiled.dates - 23.0 / 24.0))), plan.compiled.state_names.index("log_level[BTC]"), 5]) * 70_000.0
    assert paid.get((1, "BTC"), 0.0) == pytest.approx(-2.0 * max(index - 75_000.0, 0.0) / index)


def test_the_law_takes_the_move_as_one_more_return(resident):
    paths = paths_of(resident, 1.0, 1)
    states = states_of(resident, paths, 0, 1)[:, :, 0]
    made = tomorrow(outset_of(paths), states, 0).model
    order = [paths.plan.compiled.state_names.index(n) for n in GAUSSIAN.state_names]
    x = states[paths.date[0]][order]
    sigma = 0.97 * GAUSSIAN.correlation * np.outer(GAUSSIAN.daily_volatility, GAUSSIAN.daily_volatility) + 0.03 * np.outer(x, x)
    assert np.allclose(made.daily_volatility, np.sqrt(np.diag(sigma)), rtol=1e-12)
    assert np.allclose(made.correlation * np.outer(made.daily_volatility, made.daily_volatility), sigma, rtol=1e-10)


def test_maintenance_follows_the_market(resident, fitted):
    """Regressed maintenance starts at today's and differs from a constant one where the margin moves; without a regression nothing changes."""
    _, made = fitted
    paths, regression = paths_of(resident, 1.0, 2), made.regression
    along = maintenance_along(resident, paths, replace(made, outset=outset_of(paths)))
    still, path = np.zeros((len(regression.center), 1)), np.zeros((len(paths.plan.compiled.dates), len(paths.plan.compiled.state_names), 1))
    assert np.all(np.abs(along(1, path)[:, 0] - 0.8 * regression.at(still)[:, 0]) < 1e-6)
    assert np.all(np.abs(along(0, path)[:, 0] - 0.4 * (regression.at(still)[:, 0] + paths.figures["initial_margin"])) < 1e-6)
    constant, moving = first_passage(resident, paths), first_passage(resident, paths, along)
    assert constant.probability.shape == moving.probability.shape and not np.array_equal(constant.probability, moving.probability)


def test_what_is_refused(resident):
    paths = paths_of(resident, 1.0, 1)
    with pytest.raises(InputError, match="UPM-IN-183"):
        fit_margin(resident, paths, points=5)
