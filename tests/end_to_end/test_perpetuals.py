"""Perpetuals with a basis and funding through a whole run: dollars and coins paid one by one along the paths the run draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from model_draws import draw
from small_book import GAUSSIAN, methodology, read, write

from upm_gpu.backend.select import choose
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import InputError
from upm_gpu.job import simulate
from upm_gpu.model.gbm import GbmParameters
from upm_gpu.passes import adaptive_tails, chunk_ranges, in_memory, tails
from upm_gpu.plan import make_plan, with_count
from upm_gpu.scenario.derived import Derived, base_of
from upm_gpu.scenario.spec import ScenarioSpec

COUNT = 8192
HEAD = "account_id,instrument_id,quantity\n"
LINES = "A,BTC-PERP,700\nB,BTC-LINEAR,-0.1\nC,ETH-PERP,-2000\n"
STATES = (*GAUSSIAN.state_names, "log_basis[BTC]", "funding_rate[BTC]")
CORRELATION = np.eye(6)
CORRELATION[:4, :4] = GAUSSIAN.correlation
CORRELATION[0, 4] = CORRELATION[4, 0] = 0.3
MODEL = GbmParameters(STATES, np.array([*GAUSSIAN.daily_volatility, 4e-4, 4e-4]), CORRELATION, half_life_days=np.array([0.0] * 4 + [3.0, 3.0]))
SPEC = ScenarioSpec(count=COUNT, seed=5, horizons=(2.5,), basis=False, funding="path", funding_rate=3e-4)
FUNDING = "date,asset,close\n2026-02-03,BTC.FUNDING,0.0002\n2026-02-04,BTC.FUNDING,-0.0007\n"
MARKET = {"forwards.csv": "underlying,expiry,forward\nBTC,,70350\nETH,,1995\nBTC,2026-02-06T08:00:00Z,70010\nBTC,2026-02-27T08:00:00Z,70200\n"
                          "BTC,2026-03-27T08:00:00Z,70700\nETH,2026-02-27T08:00:00Z,2005\n", "history.csv": FUNDING}


def planned(folder, spec=SPEC, model=MODEL, lines=LINES, market=MARKET):
    book, snapshot = read(write(folder, HEAD + lines, market=market))
    return make_plan(book, snapshot, spec, methodology(), model)


def rows(plan, backend="cpu"):
    module = choose(backend, "double", 1).module
    h = plan.horizons.index(2.5)
    with module.prepare(plan.compiled, plan.rows, "double", 1) as prepared:
        return dict(zip(plan.units.names, module.row_pnl(prepared, plan.scenarios, 0, plan.spec.count, h), strict=True))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_every_payment_of_the_path(tmp_path, backend):
    """Funding of two whole days and of half a third at the rate and the index of their ends; today's rate is the last close of the history."""
    plan = planned(tmp_path, replace(SPEC, basis=True), lines="A,BTC-PERP,700\nB,BTC-LINEAR,-0.1\n")
    states, found = draw(plan.scenarios), rows(plan, backend)
    assert [float(d) for d in plan.compiled.dates] == [1.0, 2.0, 2.5]
    btc, basis, rate = (states[:, plan.scenarios.state_names.index(n)] for n in ("log_level[BTC]", "log_basis[BTC]", "funding_rate[BTC]"))
    index, price = 70_000.0 * np.exp(btc), 70_350.0 * np.exp(btc + basis)
    days = np.array([1.0, 1.0, 0.5])[:, None]
    coins = 7000.0 * (1.0 / 70_350.0 - 1.0 / price[2]) - np.sum(7000.0 * (rate - 7e-4) * days / index, axis=0)
    dollars = -0.1 * (price[2] - 70_350.0) + 0.1 * np.sum((rate - 7e-4) * days * index, axis=0)
    np.testing.assert_allclose(found["A"], coins * index[2], atol=1e-8)
    np.testing.assert_allclose(found["B"], dollars, atol=1e-8)
    # a long inverse and a short linear of the same coins: the price is hedged, the funding received is not the price's
    assert np.std(found["A"] + found["B"]) < 0.1 * np.std(found["A"])


def test_an_asset_without_a_rate_of_its_own_pays_the_configured_one(tmp_path):
    plan = planned(tmp_path, lines="C,ETH-PERP,-2000\n")
    states, found = draw(plan.scenarios), rows(plan)["C"]
    index = 2_000.0 * np.exp(states[:, 1])
    coins = -2000.0 * (1.0 / 1_995.0 - 1.0 / (1_995.0 * np.exp(states[2, 1]))) + np.sum(2000.0 * 3e-4 * np.array([1.0, 1.0, 0.5])[:, None] / index, axis=0)
    np.testing.assert_allclose(found, coins * index[2], atol=1e-9)
    assert sum(w.startswith("UPM-PR-062 ETH") for w in plan.warnings) == 1


def test_switched_off_nothing_changes(tmp_path):
    """Zero funding and no basis: the linear columns of the level, no derived state, the bits of a model without the factors."""
    plain = planned(tmp_path, replace(SPEC, funding="zero"))
    assert not isinstance(plain.scenarios, Derived) and not plain.compiled.operations
    bare = planned(tmp_path / "bare", replace(SPEC, funding="zero"), GAUSSIAN)
    for name, pnl in rows(plain).items():
        np.testing.assert_array_equal(pnl, rows(bare)[name])


def test_more_dates_and_chunks_move_no_figure(tmp_path):
    spec = replace(SPEC, basis=True)
    spec = replace(spec, funding_rate=3e-4)
    model = replace(MODEL, state_names=(*STATES[:5], "funding_rate[ETH]"), correlation=np.where(np.eye(6, dtype=bool), 1.0, CORRELATION))
    lines = "A,BTC-PERP,700\nB,BTC-LINEAR,-0.1\n"
    once = planned(tmp_path, spec, model, lines)
    more = planned(tmp_path / "more", replace(spec, horizons=(0.3, 1.7, 2.5), steps=7), model, lines)
    for name, pnl in rows(once).items():
        np.testing.assert_array_equal(pnl, rows(more)[name])
    backend = choose("cpu", "mixed", 2).module
    with backend.prepare(once.compiled, once.rows, "mixed", 2) as prepared:
        whole = tails(once, backend, prepared, chunk_ranges(once, COUNT, backend, prepared), in_memory())
        parts = tails(once, backend, prepared, chunk_ranges(once, 4096, backend, prepared), in_memory())
    np.testing.assert_array_equal(whole.pnl, parts.pnl)
    np.testing.assert_array_equal(whole.clipped, parts.clipped)
    assert len(whole.clipped) == len(once.scenarios.state_names)


def test_adaptive_runs_and_samplers_reach_through(tmp_path):
    """An adaptive run equals the fixed run of its final size; Sobol points and their errors are seen through the derived set."""
    from upm_gpu.risk.dependence import dependence_of

    spec = replace(SPEC, sampler="sobol", target_relative_error=0.2, count=65_536)
    plan = planned(tmp_path, spec)
    backend = choose("cpu", "mixed", 1).module
    with backend.prepare(plan.compiled, plan.rows, "mixed", 1) as prepared:
        final, tail, _ = adaptive_tails(plan, backend, prepared, 0, in_memory())
    assert dependence_of(plan.scenarios) == "scramblings" and final.scenarios.count == final.spec.count < 65_536
    fixed = with_count(replace(plan, spec=replace(plan.spec, target_relative_error=0.0)), final.spec.count)
    with backend.prepare(fixed.compiled, fixed.rows, "mixed", 1) as prepared:
        again = tails(fixed, backend, prepared, chunk_ranges(fixed, 0, backend, prepared), in_memory())
    np.testing.assert_array_equal(again.pnl, tail.pnl)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match=r"UPM-PR-061.*log_basis\[ETH\]"):
        planned(tmp_path / "a", replace(SPEC, basis=True))
    with pytest.raises(InputError, match=r"UPM-PR-062.*ETH.FUNDING"):
        planned(tmp_path / "b", replace(SPEC, funding_rate=0.0))


def test_the_variance_of_a_basis_that_reverts(tmp_path):
    """Var x_n = s^2 (1 - phi^(2n)) / (1 - phi^2) after n steps; the sample variance of 32,768 normals is known to 0.8 %, a basis that did not
    revert has 50 % more after three days."""
    plan = planned(tmp_path, replace(SPEC, horizons=(3.0,), count=32_768))
    states = draw(base_of(plan.scenarios))
    phi = 0.5 ** (1.0 / 3.0)
    for d, n in enumerate((1, 2, 3)):
        known = 1.6e-7 * (1.0 - phi ** (2 * n)) / (1.0 - phi * phi)
        assert abs(states[-3 + d, 4].var() / known - 1.0) < 4.0 * np.sqrt(2.0 / 32_768)
    assert 3.0 * 1.6e-7 / known - 1.0 > 8.0 * np.sqrt(2.0 / 32_768)  # the planted bias: no reversion


def test_the_run_says_what_it_derived_and_simulate_shows_it(tmp_path):
    plan = planned(tmp_path, replace(SPEC, basis=False, horizons=(2.0,)))
    outcome = compute_outcome(plan, choose("cpu", "double", 1), 0, in_memory())
    assert np.all(np.isfinite(outcome.result.table["expected_shortfall"]))
    days = pd.date_range("2025-11-01", "2026-02-04", freq="D")
    rng = np.random.default_rng(9)
    level = 70_000.0 * np.exp(np.cumsum(rng.normal(0.0, 0.03, len(days))))
    basis = 5e-4 * rng.normal(size=len(days))
    history = pd.concat([pd.DataFrame({"date": days.strftime("%Y-%m-%d"), "asset": a, "close": c}) for a, c in (
        ("BTC", level), ("BTC.PERP", level * np.exp(basis)), ("BTC.FUNDING", 1e-4 + 4e-4 * rng.normal(size=len(days))), ("BTC.IV30", 0.5 + 0.01 * rng.normal(size=len(days))))])
    history.to_csv(tmp_path / "market" / "history.csv", index=False)
    (tmp_path / "spec.toml").write_text(f'schema_version = 1\n[market]\npath = "{tmp_path / "market"}"\n[model]\nbasis = true\nfunding = "path"\nhorizons = ["2d"]\n'
                                        "[scenarios]\ncount = 500\n")
    simulate(tmp_path / "spec.toml", tmp_path / "out.parquet", "cpu", True)
    table = pd.read_parquet(tmp_path / "out.parquet")
    for name in ("log_basis[BTC]", "funding_rate[BTC]", "return[BTC,USD,linear]", "return[BTC,USD,inverse]"):
        assert table[name].std() > 0.0
    assert sorted(table["days"].unique()) == [1.0, 2.0]
