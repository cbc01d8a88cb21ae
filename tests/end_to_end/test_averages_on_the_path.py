"""Averages with fixings inside the horizon: direct prices scenario by scenario, payoffs along the path, the law of a martingale, every backend, and `upm run`."""

from __future__ import annotations

import csv
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from command_line import CONFIG, history, upm
from exotic_books import FLAT, RATE, RATES, STILL, read_written, same_on_the_emulated_device, values_by_name
from small_book import GAUSSIAN, SPOT, VALUATION, methodology, write

from upm_gpu.backend import cpu, reference
from upm_gpu.backend.select import choose
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import InputError
from upm_gpu.formula.families import european_volatility
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.pricing.compiled import TERM_REALS, Family
from upm_gpu.pricing.tables import TOLERANCE, group_of, with_tables
from upm_gpu.scenario.spec import ScenarioSpec

HEAD = "instrument_id,kind,underlying,settlement,quote_currency,contract_size,expiry,strike,option_type,exercise,product,asian_average,fixings,average_so_far,fixings_so_far\n"
FAR, NEAR = "2026-02-27T08:00:00Z", "2026-02-06T08:00:00Z"
WINDOW = "2026-02-06T09:15:00Z"


def minutes(end: str, count: int) -> str:
    """The last `count` minutes up to and with `end`."""
    last = datetime.fromisoformat(end)
    return ";".join((last - timedelta(minutes=i)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for i in reversed(range(count)))


DAILY = f"2026-02-06T08:00:00Z;2026-02-07T08:00:00Z;2026-02-17T08:00:00Z;{FAR}"
EARLY = "2026-02-06T08:00:00Z;2026-02-07T08:00:00Z"
TERMS = {  # name: underlying, expiry, strike, type, average, fixings, average so far, fixings so far
    "CALL": ("ETH", FAR, 2000, "call", "arithmetic", DAILY, 1950, 2), "PUT": ("ETH", FAR, 2050, "put", "arithmetic", DAILY, "", ""),
    "DEEP": ("ETH", FAR, 600, "call", "arithmetic", DAILY, 1900, 8),  # what is fixed alone is worth more than the strike
    "GEOCALL": ("ETH", FAR, 2000, "call", "geometric", DAILY, 1950, 2), "GEOPUT": ("ETH", FAR, 2050, "put", "geometric", DAILY, "", ""),
    "FIXED": ("ETH", FAR, 1990, "put", "arithmetic", EARLY, 2010, 1), "GEOFIXED": ("ETH", FAR, 1990, "put", "geometric", EARLY, 2010, 1),
    "ENDED": ("BTC", NEAR, 70000, "call", "arithmetic", minutes(NEAR, 30), "", ""), "GEOENDED": ("BTC", NEAR, 70000, "put", "geometric", minutes(NEAR, 30), "", ""),
    "WINDOW": ("BTC", WINDOW, 70000, "call", "arithmetic", minutes(WINDOW, 30), "", ""), "WINDOWPUT": ("BTC", WINDOW, 70500, "put", "arithmetic", minutes(WINDOW, 30), "", ""),
}
ROWS = "".join(f"{name},option,{u},linear,USD,1,{e},{k},{o},,asian,{a},{f},{s},{n}\n" for name, (u, e, k, o, a, f, s, n) in TERMS.items())
POSITIONS = "account_id,instrument_id,quantity\n" + "".join(f"{name},{name},-1\n" for name in TERMS)


def read_book(tmp_path, market, rows=ROWS, positions=POSITIONS):
    return read_written(tmp_path, HEAD + rows, positions, market)


def priced(folder, market, model, count, **spec):
    """The plan with its tables, the states, today's values and those at one and two days, by instrument."""
    book, known = read_book(folder, market)
    plan = make_plan(book, known, ScenarioSpec(count=count, horizons=(1.0, 2.0), **spec), methodology(), model)
    compiled = with_tables(plan.compiled, (plan.scenarios,), cpu)[0]
    states, today, values = values_by_name(plan, compiled, min(count, 2048))
    return compiled, states, today, values


@pytest.fixture(scope="module")
def smiling(tmp_path_factory):
    return priced(tmp_path_factory.mktemp("averages"), RATES, GAUSSIAN, 2048, seed=3)


def fixed_levels(compiled, states, name, horizon):
    """(fixings up to the horizon, S) of the index along the path."""
    u, *_, fixings, _, _ = TERMS[name]
    days = [(datetime.fromisoformat(t) - VALUATION).total_seconds() / 86400.0 for t in fixings.split(";")]
    rows = [int(np.argmin(np.abs(compiled.dates - d))) for d in days if d <= horizon + 1e-9]
    assert all(abs(compiled.dates[r] - d) < 1e-9 for r, d in zip(rows, days, strict=False))
    return SPOT[u] * np.exp(states[rows, compiled.state_names.index(f"log_level[{u}]")])


def average(name, levels):
    """Of the fixings before the valuation time and those of the path."""
    *_, kind, _, so_far, past = TERMS[name]
    past = int(past or 0)
    if kind == "geometric":
        return np.exp((past * math.log(so_far or 1.0) + np.log(levels).sum(axis=0)) / (past + len(levels)))
    return (past * float(so_far or 0.0) + levels.sum(axis=0)) / (past + len(levels))


@pytest.mark.parametrize("name", ["CALL", "PUT", "DEEP", "GEOCALL", "GEOPUT", "WINDOW", "WINDOWPUT"])
def test_values_are_direct_prices_with_the_average_of_the_path(smiling, name):
    """`upm price` with fixings_so_far and average_so_far of the scenario: the slow twin, for minutes the engine's own operation, since the twin's spline is too coarse for them."""
    compiled, states, _, values = smiling
    seen = 0
    for h, program in enumerate(compiled.programs):
        request = next(r for r in program.table_requests if r.name == name)
        group = group_of(program, request.group)
        levels = fixed_levels(compiled, states, name, program.horizon)
        if group["family"] != Family.AVERAGE:
            continue
        assert request.alive == (TERMS[name][4] == "arithmetic")
        u, expiry, k, kind, geometric, fixings, _, past = TERMS[name]
        pick = np.arange(0, states.shape[2], 97)
        at = states[int(group["date"])]
        terms = {key: compiled.terms[i, int(group["first"]) - compiled.linear] for i, key in enumerate(TERM_REALS)}
        move = at[int(group["forward_state"]), pick]
        sigma = european_volatility(move, at[int(group["volatility_state"]), pick], terms["log_moneyness"], terms["volatility"], terms["residual"], group)
        known = int(past or 0) + len(levels)
        times = [(datetime.fromisoformat(t) - VALUATION).total_seconds() / 86400.0 - program.horizon for t in fixings.split(";")]
        ahead = np.array([t for t in times if t > 1e-9]) / 365.0
        given = dict(request.inputs)
        columns = {key: np.full(len(pick), given[key]) for key in ("rate", "dividend_yield", "time_to_expiry")}
        columns |= {"spot": SPOT[u] * np.exp(move), "strike": np.full(len(pick), float(k)), "volatility": sigma, "sign": np.full(len(pick), 1.0 if kind == "call" else -1.0)}
        if geometric == "geometric":
            n, total = len(ahead), len(ahead) + known
            least = np.minimum.outer(ahead, ahead).sum()
            columns |= {"log_past": known / total * np.log(average(name, levels)[pick]), "share": np.full(len(pick), n / total), "mean_time": np.full(len(pick), ahead.sum() / total),
                        "variance_time": np.full(len(pick), least / total**2)}
        else:
            columns |= {"past": np.full(len(pick), float(known)), "average_so_far": average(name, levels)[pick], "fixing_time": np.tile(ahead[:, None], len(pick))}
        direct = (reference if expiry == FAR else cpu).values(request.operation, columns)["price"]
        np.testing.assert_allclose(values[h][name][pick], direct, rtol=0, atol=k * 4.0 * TOLERANCE, err_msg=f"{name} {h}")
        assert np.ptp(direct) > 0.01 * k * (geometric != "geometric")
        seen += 1
    assert seen == (2 if expiry == FAR else 1)


def test_what_has_all_its_fixings_is_its_payoff(smiling):
    compiled, states, _, values = smiling
    for name, h, horizon in (("ENDED", 0, 1.0), ("ENDED", 1, 2.0), ("GEOENDED", 1, 2.0), ("WINDOW", 1, 2.0), ("WINDOWPUT", 1, 2.0), ("FIXED", 1, 2.0), ("GEOFIXED", 1, 2.0)):
        _, expiry, k, kind, *_ = TERMS[name]
        left = math.exp(-RATE * (22.0 - 1.0 / 24.0 - horizon) / 365.0) if expiry == FAR else 1.0
        payoff = np.maximum((1.0 if kind == "call" else -1.0) * (average(name, fixed_levels(compiled, states, name, horizon)) - k), 0.0) * left
        np.testing.assert_allclose(values[h][name], payoff, rtol=0, atol=1e-9 * k)
        assert 0.2 < (payoff > 0.0).mean() < 0.8


def test_a_window_of_minutes_is_thirty_dates_of_one_state(smiling):
    compiled = smiling[0]
    sums = [n for n in compiled.state_names if n.startswith("running_")]
    assert len(sums) == 5 and sum("BTC,2026-02-06T08:46Z,2026-02-06T09:15Z,30" in n for n in sums) == 1  # both options on the window share it
    assert len(compiled.dates) == 2 + 30 + 30 + 1 - 1  # horizons, two windows (08:00 is a day's fixing too, 09:00 a horizon), the second day's fixing


def test_prices_are_martingales_along_the_path(tmp_path):
    """E[V(1d)] = E[V(2d)] = V(0), the average price of payoffs of paths that go on to the horizon: within 4.5 standard errors of 32,768 scenarios, 2.5 % of each deviation. Of two of six fixings one left out is more than 20 of them."""
    _, _, today, values = priced(tmp_path, FLAT, STILL, 32_768, seed=11)
    for name in TERMS:
        for h in (0, 1):
            v = values[h][name]
            error = v.std() / math.sqrt(v.size)
            assert abs(v.mean() - today[name]) < 4.5 * error + 1e-9 * TERMS[name][2], (name, h, v.mean(), today[name], error)


def test_every_backend_gives_the_same_margins(tmp_path):
    book, market = read_book(tmp_path, RATES)
    plan = make_plan(book, market, ScenarioSpec(count=4_500, seed=5, horizons=(1.0, 2.0)), methodology(), GAUSSIAN)
    found = compute_outcome(plan, choose("cpu", "double"), 0, in_memory())
    assert found.table_check is not None and found.table_check.largest_share < 0.1
    same_on_the_emulated_device(plan, found)


def test_too_many_fixings_are_refused(tmp_path):
    row = f"X,option,BTC,linear,USD,1,{NEAR},70000,call,,asian,arithmetic,{minutes(NEAR, 513)},,\n"
    book, market = read_book(tmp_path, RATES, row, "account_id,instrument_id,quantity\nX,X,1\n")
    with pytest.raises(InputError, match=r"UPM-PR-085.*513 times"):
        make_plan(book, market, ScenarioSpec(count=4096, horizons=(2.0,)), methodology(), GAUSSIAN)


def test_upm_run_margins_options_on_a_thirty_minute_average(tmp_path):
    kept = ("CALL", "GEOPUT", "ENDED")
    folder = write(tmp_path, "account_id,instrument_id,quantity\n" + "".join(f"{name},{name},-1\n" for name in kept), market={**RATES, "history.csv": history()})
    (folder / "book" / "instruments.csv").write_text(HEAD + ROWS)
    (folder / "run.toml").write_text(CONFIG)
    said = upm("run", "run.toml", "--out", "out", "--device", "cpu", cwd=folder)
    assert said.code == 0, said.err
    with (folder / "out" / "margin.csv").open() as file:
        margin = {row["account_id"]: float(row["initial_margin"]) for row in csv.DictReader(file)}
    assert set(margin) == set(kept) and min(margin.values()) > 20.0
