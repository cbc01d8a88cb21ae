"""The stress charge: given and dated moves by hand, floor and blend, dates that cannot be had."""

from __future__ import annotations

import numpy as np
import pytest
from small_book import GAUSSIAN, methodology, read, write

from upm_gpu.engine import margin_run
from upm_gpu.errors import CalibrationError, InputError
from upm_gpu.margin.methodology import charges_in_force, load_methodology
from upm_gpu.plan import make_plan
from upm_gpu.scenario.spec import ScenarioSpec
from upm_gpu.shipped import find_file

SPEC = ScenarioSpec(count=8192, seed=7, horizons=(2.0,))
HEAD = "account_id,instrument_id,quantity\n"
DAYS = 60
"""closes from 2020-02-01; BTC falls by 40 % and its volatility doubles on 2020-03-12, ETH begins on 2020-03-20"""
CLOSES = "date,asset,close\n" + "".join(
    f"{np.datetime64('2020-02-01') + d},{asset},{price}\n"
    for d in range(DAYS)
    for asset, price in (("BTC", 8000.0 * (1.0 + 0.01 * (d % 3)) * (0.6 if d >= 40 else 1.0)), ("BTC.IV30", 0.7 if d < 40 else 1.4),
                         *([("ETH", 200.0 + d % 5)] if d >= 48 else [])))
CRASH = {"name": "crash", "moves": {"*": {"price": -0.2, "volatility": 0.5}}}
MARCH = {"name": "12 March 2020", "start": "2020-03-11", "end": "2020-03-12"}


def run(tmp_path, positions, parameters, **options):
    book, market = read(write(tmp_path, HEAD + positions, market={"history.csv": CLOSES}))
    return margin_run(book, market, SPEC, methodology(charges=[{"name": "stress", **parameters}], **options), "cpu", precision="double", model=GAUSSIAN)


def test_floor_and_blend_by_hand(tmp_path):
    """A short put and a long linear perpetual: 20 % of 70,000 on the perpetual; the charge lifts the core to the worst loss, or a quarter of the way."""
    positions = "L,BTC-LINEAR,1\nS,BTC-LINEAR,-1\nP,BTC-P60,-3\n"
    floor = run(tmp_path / "floor", positions, {"scenarios": [CRASH]})
    blend = run(tmp_path / "blend", positions, {"scenarios": [CRASH], "mode": "blend", "weight": 0.25})
    core = floor.measured.core
    (stressed,) = floor.measured.stressed.values()
    at = {name: i for i, name in enumerate(floor.measured.units)}
    assert stressed.names == ("crash",)
    assert stressed.pnl[at["L"], 0] == pytest.approx(-14_000.0) and stressed.pnl[at["S"], 0] == pytest.approx(14_000.0)
    amount = floor.table.set_index("account_id")["charge_stress"]
    assert amount["L"] == pytest.approx(14_000.0 - core[at["L"]]) and amount["L"] > 0.0
    assert amount["S"] == 0.0 and floor.charges[0].floored[at["S"]] == pytest.approx(core[at["S"]])
    assert floor.table.set_index("account_id").loc["P", "initial_margin"] == pytest.approx(max(core[at["P"]], -stressed.pnl[at["P"], 0]))
    np.testing.assert_allclose(blend.table["charge_stress"], 0.25 * floor.table["charge_stress"], rtol=1e-12)


def test_half_of_an_extreme_move_counts(tmp_path):
    whole, half = (run(tmp_path / str(s), "L,BTC-LINEAR,1\n", {"scenarios": [{"name": "x", "moves": {"BTC": {"price": -0.6}}, "share": s}]}) for s in (1.0, 0.5))
    assert whole.table["initial_margin"][0] == pytest.approx(42_000.0) and half.table["initial_margin"][0] == pytest.approx(21_000.0)


def test_a_dated_move_is_that_of_the_closes(tmp_path):
    """11 to 12 March: closes 8000 x 1.00 to 8000 x 0.6 x 1.01, volatility doubled; today's Black value of the put at those levels."""
    result = run(tmp_path, "L,BTC-LINEAR,1\nP,BTC-P60,-3\n", {"dates": [MARCH]})
    same = run(tmp_path / "same", "L,BTC-LINEAR,1\nP,BTC-P60,-3\n", {"scenarios": [{"name": "x", "moves": {"BTC": {"price": 0.6 * 1.01 / 1.0 - 1.0, "volatility": 1.0}}}]})
    (dated,), (given,) = result.measured.stressed.values(), same.measured.stressed.values()
    assert dated.names == ("12 March 2020",)
    assert dated.pnl[0, 0] == pytest.approx(70_000.0 * (0.606 - 1.0), rel=1e-12)
    np.testing.assert_allclose(dated.pnl, given.pnl, rtol=1e-12)


def test_a_volatility_series_that_does_not_reach_back_takes_the_realised_one(tmp_path):
    late = "".join(line for line in CLOSES.splitlines(keepends=True) if ".IV30" not in line or line >= "2020-03-15")
    book, market = read(write(tmp_path, HEAD + "P,BTC-P60,-3\n", market={"history.csv": late}))
    plan = make_plan(book, market, SPEC, methodology(charges=[{"name": "stress", "dates": [{**MARCH, "stand_in": "BTC"}]}]), GAUSSIAN)
    ((moves,),) = plan.moves.values()
    assert moves["log_level[BTC]"] == pytest.approx(np.log(0.606))
    assert 0.5 < moves["volatility_shift[BTC]"] < 5.0


def test_a_stand_in_moves_what_had_no_closes_then(tmp_path):
    result = run(tmp_path, "E,ETH-PERP,60000\nL,BTC-LINEAR,1\n", {"dates": [{**MARCH, "stand_in": "BTC"}]})
    ((pnl,),) = ([s.pnl] for s in result.measured.stressed.values())
    assert pnl[result.measured.units.index("E"), 0] == pytest.approx(60_000.0 * (0.606 - 1.0))  # C (1/F_0 - 1/F_h) S_h


@pytest.mark.parametrize(("dates", "words"), [
    ({**MARCH}, "no closes of ETH at both 2020-03-11 and 2020-03-12.*stand_in"),
    ({**MARCH, "stand_in": "SOL"}, "no closes of the stand_in SOL"),
    ({"name": "x", "start": "2020-03-12", "end": "2020-03-11"}, "no past period"),
    ({"name": "x", "start": "2026-02-04", "end": "2026-02-05"}, "no past period"),
    ({"name": "x", "start": "2020-02-30", "end": "2020-03-11"}, "no date"),
])
def test_dates_that_cannot_be_had_are_refused_before_the_first_draw(tmp_path, dates, words):
    book, market = read(write(tmp_path, HEAD + "E,ETH-PERP,60000\n", market={"history.csv": CLOSES}))
    with pytest.raises(CalibrationError, match=f"UPM-CA-195.*{words}"):
        make_plan(book, market, SPEC, methodology(charges=[{"name": "stress", "dates": [dates]}]), GAUSSIAN)


@pytest.mark.parametrize(("entry", "key", "words"), [
    ('[[charges.scenarios]]\nname = "x"\nmoves = { BTC = { price = -1.5 } }', "charges.0.scenarios.0.moves.BTC.price", "greater than -1"),
    ('[[charges.dates]]\nname = "x"\nstart = "12 March"\nend = "2020-03-12"', "charges.0.dates.0.start", "pattern"),
    ('file = "/etc/passwd"', "charges.0.file", "pattern"),
])
def test_faults_name_their_line(tmp_path, entry, key, words):
    text = find_file("configs/methodology/house_v1.toml").read_text().replace("charges = []", "").replace("[core]", f'[[charges]]\nname = "stress"\n{entry}\n\n[core]')
    path = tmp_path / "house.toml"
    path.write_text(text)
    wanted = next(n for n, line in enumerate(text.splitlines(), 1) if line.startswith((f"{key.split('.')[-1]} =", "moves =")))
    with pytest.raises(InputError, match=f"UPM-CF-056 house.toml line {wanted} key {key}.*{words}"):
        load_methodology(path)


def test_the_shipped_moves_are_those_of_the_report(tmp_path):
    import tomllib

    from upm_gpu.margin.charges import stress

    file = "configs/scenario/standard_stress.toml"
    given = methodology(charges=[{"name": "stress", "file": file}])
    request, shares = stress.moves(charges_in_force(given)[0].parameters)
    assert [s.name for s in request.stresses] == [s["name"] for s in tomllib.loads(find_file(file).read_text())["stress"]] and set(shares) == {1.0}
    assert request.stresses[0].moves == (("*", -0.10, 0.25),)
