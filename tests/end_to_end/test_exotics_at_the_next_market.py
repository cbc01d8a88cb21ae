"""Exotic options beside the market that came: losses by hand, what the two snapshots settle, what observations settle, what is left out by name, and bad files."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from command_line import CONFIG, history, upm
from scipy.special import ndtr
from small_book import GAUSSIAN, VALUATION, methodology, write
from test_next_market import LATER, black

from upm_gpu.backend import reference
from upm_gpu.backend.select import choose
from upm_gpu.domain.reader import load_book
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import MarketDataError
from upm_gpu.market.reader import load_market
from upm_gpu.next_market import load_next, realised
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.scenario.spec import ScenarioSpec

COLUMNS = ("instrument_id", "kind", "underlying", "settlement", "quote_currency", "contract_size", "expiry", "strike", "option_type", "exercise", "product", "barrier", "barrier_type", "rebate",
           "monitoring", "payout_type", "payout", "payout_time", "asian_average", "fixings", "average_so_far", "fixings_so_far", "lower_barrier", "upper_barrier", "underlying_2", "correlation",
           "moneyness", "start_time")
FAR, NEAR, SEEN = "2026-02-27T08:00:00Z", "2026-02-06T08:00:00Z", "2026-02-06T08:00:00Z"
BTC, ETH = ({"underlying": u, "expiry": e, "strike": k, "option_type": "call"} for u, e, k in (("BTC", FAR, 70000), ("ETH", FAR, 2000)))
SOON = {**BTC, "expiry": NEAR}
OUT = {"product": "barrier", "barrier_type": "up_out", "barrier": 75000, "rebate": 500}
TOUCH = {"underlying": "BTC", "expiry": FAR, "product": "one_touch", "barrier": 75000, "barrier_type": "up", "payout_type": "cash", "payout": 100}
FIXED = {"product": "asian", "asian_average": "arithmetic", "fixings": f"{SEEN};2026-02-20T08:00:00Z;{FAR}", "average_so_far": 1950, "fixings_so_far": 1}
TERMS = {
    "DIGITAL": {**ETH, "product": "digital", "payout_type": "cash", "payout": 100},
    "PAID": {**SOON, "product": "digital", "payout_type": "asset", "payout": 2},
    "BETTER": {**SOON, "product": "maximum_of_two", "underlying_2": "ETH", "correlation": 0.5},
    "OUT": {**BTC, **OUT}, "IN": {**BTC, **OUT, "barrier_type": "up_in"}, "TOUCHED": {**TOUCH, "payout_time": "expiry"}, "AT-ONCE": {**TOUCH, "payout_time": "hit"},
    "NEVER": {**TOUCH, "product": "no_touch"}, "SETTLED": {**SOON, **OUT, "barrier_type": "up_in"},
    "FLOOR": {**ETH, "product": "barrier", "barrier_type": "down_out", "barrier": 1900},
    "DAILY": {**ETH, "product": "barrier", "barrier_type": "down_out", "barrier": 1900, "monitoring": "discrete",
              "fixings": ";".join([f"2026-02-{d:02d}T08:00:00Z" for d in range(6, 28)])},
    "PAIR": {**ETH, "product": "double_barrier", "barrier_type": "knock_in", "lower_barrier": 1800, "upper_barrier": 2350},
    "LINE": {**SOON, "product": "barrier", "barrier_type": "down_out", "barrier": 67000},
    "AVERAGE": {**ETH, **FIXED}, "LATER": {**ETH, **FIXED, "fixings": f"2026-02-20T08:00:00Z;{FAR}"},
    "START": {**ETH, "strike": "", "product": "forward_start", "moneyness": 1.05, "start_time": SEEN},
}
ROWS = ",".join(COLUMNS) + "\n" + "".join(
    ",".join(str({"instrument_id": name, "kind": "option", "settlement": "linear", "quote_currency": "USD", "contract_size": 1, **terms}.get(c, "")) for c in COLUMNS) + "\n"
    for name, terms in TERMS.items())
POSITIONS = "account_id,instrument_id,quantity\n" + "".join(f"{name},{name},-2\n" for name in TERMS)
OPEN = {"FLOOR", "DAILY", "PAIR", "LINE", "AVERAGE", "START"}
HEAD = "underlying,kind,timestamp,price,source\n"
OBSERVED = f"{HEAD}ETH,high,,2150,exchange\nETH,low,,1950,exchange\nETH,fixing,{SEEN},2080,exchange\nBTC,low,{NEAR},69000,exchange\nBTC,high,{NEAR},76500,exchange\n"
MARKET = {"history.csv": history()}
YEARS = (21.0 - 1.0 / 24.0) / 365.0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The outcome, its folder, and today's values by instrument."""
    folder = write(tmp_path_factory.mktemp("next"), POSITIONS, market=MARKET)
    (folder / "book" / "instruments.csv").write_text(ROWS)
    book, market = load_book(folder / "book", VALUATION, 0.2), load_market(folder / "market")
    assert not book.rejects
    plan = make_plan(book, market, ScenarioSpec(count=4096, horizons=(1.0,)), methodology(), GAUSSIAN)
    outcome = compute_outcome(plan, choose("cpu", "double"), 0, in_memory())
    today = {i.instrument_id: float(outcome.value0[plan.compiled.instrument_column[n] - plan.compiled.linear]) for n, i in enumerate(plan.instruments)}
    return outcome, today


def later_folder(tmp_path, observed="", **changes):
    folder = tmp_path / "later"
    folder.mkdir()
    for name, text in {**LATER, **changes}.items():
        (folder / name).write_text(text)
    if observed:
        (folder / "observations.csv").write_text(observed)
    return folder


def gains(run, folder):
    """Value of one unit at the later market by instrument, and the note."""
    outcome, today = run
    table, note = realised(outcome, load_next(outcome.plan, folder))
    loss = table.set_index("account_id")["realised_loss"]
    return {name: today[name] + loss[name] / 2.0 for name in TERMS}, note


def direct(operation, **given):
    """By the slow twin, at 80 %, without rates, with the carry of the later forward."""
    columns = {"spot": 2_100.0, "dividend_yield": -math.log(2_105.0 / 2_100.0) / YEARS, "time_to_expiry": YEARS, "volatility": 0.8, "strike": 2_000.0, **given}
    return float(reference.values(operation, {k: np.array([v]) if not isinstance(v, tuple) else np.array(v)[:, None] for k, v in columns.items()})["price"][0])


CALL = {"region": 1.0, "asset": 1.0, "cash": -2_000.0, "hit": 0.0}


def test_what_the_two_markets_settle_is_compared_and_the_rest_left_out_by_name(run, tmp_path):
    found, note = gains(run, later_folder(tmp_path))
    deviation = 0.8 * math.sqrt(YEARS)
    known = {"DIGITAL": 100.0 * ndtr(math.log(2_105.0 / 2_000.0) / deviation - deviation / 2.0), "PAID": 2.0 * 75_500.0, "BETTER": 5_500.0, "OUT": 500.0,
             "IN": black(76_200.0, 70_000.0, YEARS, 0.8), "TOUCHED": 100.0, "AT-ONCE": 100.0, "NEVER": 0.0, "SETTLED": 5_500.0}
    for name, value in known.items():
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name
    assert {name for name, value in found.items() if math.isnan(value)} == OPEN
    assert "UPM-PR-087 6 instruments are left out" in note and "AVERAGE: the fixing at 2026-02-06T08:00:00+00:00" in note and "FLOOR: whether ETH was at or below 1900" in note
    assert "the loss of 6 of 16 units, which hold them, is blank" in note and "of 10 units lost" in note
    assert "1 instruments settled at a proxy price" in note  # ETH has no delivery price


def test_observations_settle_the_path(run, tmp_path):
    found, note = gains(run, later_folder(tmp_path, OBSERVED))
    assert not any(map(math.isnan, found.values())) and "UPM-PR-087" not in note
    assert found["FLOOR"] == pytest.approx(direct("single_barrier", **CALL, barrier=1_900.0, up=-1.0, knock_in=0.0), abs=1e-6)
    assert found["DAILY"] == pytest.approx(direct("single_barrier", **CALL, barrier=1_900.0, up=-1.0, knock_in=0.0, fixings=21.0), abs=1e-6)
    assert found["PAIR"] == pytest.approx(direct("double_barrier", **CALL, lower_barrier=1_800.0, upper_barrier=2_350.0, knock_in=1.0), abs=1e-6)
    assert found["LINE"] == pytest.approx(5_500.0)
    assert found["START"] == pytest.approx(black(2_105.0, 1.05 * 2_080.0, YEARS, 0.8), abs=0.05)  # its strike is not quoted
    past = found["AVERAGE"]
    plain = direct("arithmetic_asian", sign=1.0, past=2.0, average_so_far=2_015.0, fixing_time=((14.0 - 1.0 / 24.0) / 365.0, YEARS))
    assert past == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize(("lines", "name", "value"), [
    ("ETH,low,,1890,x\n", "FLOOR", 0.0),
    ("ETH,low,2026-02-05T20:00:00Z,1890,x\n", "FLOOR", 0.0),
    ("ETH,low,2026-02-05T20:00:00Z,1910,x\n", "FLOOR", math.nan),
    ("ETH,low,,1910,x\n", "DAILY", None),
    ("ETH,fixing,2026-02-06T08:00:00Z,1890,x\n", "DAILY", 0.0),
    ("ETH,high,,2400,x\n", "PAIR", None),
    ("ETH,high,,2300,x\n", "PAIR", math.nan),
    ("BTC,low,,66000,x\n", "LINE", math.nan),
    (f"BTC,low,{NEAR},66000,x\n", "LINE", 0.0),
])
def test_how_far_an_observation_reaches(run, tmp_path, lines, name, value):
    """A low until an earlier time can prove a hit and no more; one until later than the expiry can prove that there was none."""
    found, _ = gains(run, later_folder(tmp_path, HEAD + lines))
    if value is None:
        assert found[name] > 50.0
    else:
        assert found[name] == pytest.approx(value, abs=1e-9, nan_ok=True)
    if name == "PAIR" and value is None:
        assert found[name] == pytest.approx(black(2_105.0, 2_000.0, YEARS, 0.8), rel=1e-9)


@pytest.mark.parametrize("lines", ["ETH,close,,1890,x\n", "ETH,low,,x,x\n", "ETH,fixing,,1890,x\n", "ETH,low,2026-02-06T08:00:00,1890,x\n", "ETH,low,,-5,x\n", "ETH,low,,1900,x\nETH,high,,1800,x\n",
                                   "ETH,low,,1900,x\nETH,low,,1800,x\n"])
def test_bad_observations_are_refused_before_the_run(run, tmp_path, lines):
    with pytest.raises(MarketDataError, match=r"UPM-MD-132 .*observations\.csv line"):
        load_next(run[0].plan, later_folder(tmp_path, HEAD + lines))


def test_upm_run_compares_what_it_can(tmp_path):
    folder = write(tmp_path, POSITIONS, market=MARKET)
    (folder / "book" / "instruments.csv").write_text(ROWS)
    later_folder(tmp_path)
    text = CONFIG.replace("[market]\n", '[market]\nnext_path = "later"\n')
    assert text != CONFIG
    (folder / "run.toml").write_text(text)
    said = upm("run", "run.toml", "--out", "out", "--device", "cpu", cwd=folder)
    assert said.code == 0, said.err
    assert "UPM-PR-087 6 instruments are left out" in (folder / "out" / "report.html").read_text()
    with (folder / "out" / "report" / "realised.parquet").open("rb") as file:
        loss = pd.read_parquet(file).set_index("account_id")["realised_loss"]
    assert set(loss.index[loss.isna()]) == OPEN and loss["PAID"] > 0.0 > loss["NEVER"]
    assert upm("report", "out", cwd=folder).code == 0
