"""Positions in a currency that moves, against the same values written out by hand on every scenario."""

from __future__ import annotations

import numpy as np
import pytest
from model_draws import draw
from scipy.special import ndtr
from small_book import methodology, read, write

from upm_gpu.backend.select import choose
from upm_gpu.engine import compute_outcome
from upm_gpu.model.gbm import GbmParameters
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.scenario.derived import Derived, base_of
from upm_gpu.scenario.spec import ScenarioSpec

EUR, DAX, ETH, COUNT = 1.18, 18_000.0, 2_000.0, 4096
SOON, LATE, BEYOND = "2026-02-06T08:00:00Z", "2026-02-27T08:00:00Z", "2026-03-27T08:00:00Z"
YEARS = (22.0 - 1.0 / 24.0) / 365.0
INSTRUMENTS = f"""instrument_id,kind,underlying,settlement,quote_currency,contract_size,expiry,strike,option_type,exercise
DAX-SPOT,spot,DAX,,EUR,1,,,,
DAX-F,future,DAX,linear,EUR,1,{BEYOND},,,
DAX-S,future,DAX,linear,EUR,1,{SOON},,,
DAX-C,option,DAX,linear,EUR,1,{LATE},18000,call,european
DAX-P,option,DAX,linear,EUR,1,{SOON},18200,put,european
ETH-E,perpetual,ETH,linear,EUR,1,,,,
ETH-I,perpetual,ETH,inverse,EUR,10,,,,
ETH-IF,future,ETH,inverse,EUR,10,{SOON},,,
ETH-O,option,ETH,inverse,EUR,1,{LATE},1700,put,european
ETH-J,perpetual,ETH,linear,JPY,1,,,,
"""
AT = "2026-02-05T09:00:00Z"
MARKET = {
    "spots.csv": f"asset,price,currency,timestamp\nDAX,{DAX},EUR,{AT}\nETH,{ETH},USD,{AT}\nBTC,70000,USD,{AT}\nEUR,{EUR},USD,{AT}\nJPY,0.0066,USD,{AT}\n",
    "forwards.csv": f"underlying,expiry,forward\nDAX,{SOON},18001\nDAX,{LATE},18020\nDAX,{BEYOND},18050\nETH,,1700\nETH,{SOON},1701\nETH,{LATE},1703\n",
    "implied_vols.csv": "underlying,expiry,strike,implied_volatility\n" + "".join(
        f"{u},{LATE},{round(m * f)},{v}\n" for u, f, v in (("DAX", 18_020, 0.2), ("ETH", 1_703, 0.6)) for m in (0.8, 0.9, 1.0, 1.1, 1.2)),
}
STATES = ("log_level[DAX]", "log_level[ETH]", "log_fx[EUR]", "volatility_shift[DAX]", "volatility_shift[ETH]")
MODEL = GbmParameters(STATES, np.array([0.02, 0.04, 0.01, 0.05, 0.05]), 0.7 * np.eye(5) + 0.3)
NAMES = [line.split(",")[0] for line in INSTRUMENTS.splitlines()[1:]]


def planned(folder, model=MODEL, names=NAMES, collateral="account_id,asset,quantity\n", **spec):
    write(folder, "account_id,instrument_id,quantity\n" + "".join(f"{n},{n},1\n" for n in names), collateral, market=MARKET)
    (folder / "book" / "instruments.csv").write_text(INSTRUMENTS)
    book, market = read(folder)
    return make_plan(book, market, ScenarioSpec(count=COUNT, seed=3, horizons=(2.0,), **spec), methodology(), model)


def black(forward, strike, volatility, years, sign):
    d = np.log(forward / strike) / (volatility * np.sqrt(years)) + volatility * np.sqrt(years) / 2.0
    return sign * (forward * ndtr(sign * d) - strike * ndtr(sign * (d - volatility * np.sqrt(years))))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_what_is_paid_in_euros_is_worth_its_euros_then(tmp_path, backend):
    plan = planned(tmp_path, volatility_dynamics="sticky_strike")
    module = choose(backend, "double", 1).module
    with module.prepare(plan.compiled, plan.rows, "double", 1) as prepared:
        states = module.states(prepared, plan.scenarios, 0, COUNT)
        found = dict(zip(plan.units.names, module.row_pnl(prepared, plan.scenarios, 0, COUNT, 0), strict=True))
    dates = [float(d) for d in plan.compiled.dates]
    assert dates == [23.0 / 24.0, 2.0]
    dax, eth, eur = (states[:, k] for k in range(3))
    rate = EUR * np.exp(eur[1])  # dollars a euro at the horizon
    index = DAX * np.exp(dax)  # euros
    coin = ETH * np.exp(eth)  # dollars
    coin_in_euros = coin / (EUR * np.exp(eur))
    perpetual = 1700.0 * np.exp(eth - eur)
    left = YEARS - 2.0 / 365.0
    vol_dax, vol_eth = (0.2 if k == 3 else 0.6 for k in (3, 4))
    loading = (30.0 / (YEARS * 365.0)) ** 0.30
    sigma_dax, sigma_eth = vol_dax * np.exp(loading * states[1, 3]), vol_eth * np.exp(loading * states[1, 4])
    forward_dax, forward_eth = 18_020.0 * np.exp(dax[1]), 1_703.0 * np.exp(eth[1] - eur[1])
    soon = dates[0] / 365.0
    expected = {
        "DAX-SPOT": index[1] * rate - DAX * EUR,
        "DAX-F": 18_050.0 * (np.exp(dax[1]) - 1.0) * rate,
        "DAX-S": (index[0] - 18_001.0) * rate,
        "DAX-C": black(forward_dax, 18_000.0, sigma_dax, left, 1.0) * rate - black(18_020.0, 18_000.0, 0.2, YEARS, 1.0) * EUR,
        "DAX-P": np.maximum(18_200.0 - index[0], 0.0) * rate - black(18_001.0, 18_200.0, 0.2, soon, -1.0) * EUR,
        "ETH-E": (perpetual[1] - 1700.0) * rate,
        "ETH-I": 10.0 * (1.0 / 1700.0 - 1.0 / perpetual[1]) * coin[1],
        "ETH-IF": 10.0 * (1.0 / 1701.0 - 1.0 / coin_in_euros[0]) * coin[1],
        "ETH-O": black(forward_eth, 1700.0, sigma_eth, left, -1.0) / forward_eth * coin[1] - black(1703.0, 1700.0, 0.6, YEARS, -1.0) / 1703.0 * ETH,
    }
    for name, pnl in expected.items():
        tolerance = 3e-4 if name in ("DAX-C", "DAX-P", "ETH-O") else 1e-9  # the fitted smile of a flat quote
        assert np.abs(found[name] - pnl).max() < tolerance * np.abs(pnl).max(), name
    assert isinstance(plan.scenarios, Derived) and base_of(plan.scenarios).state_names == STATES


def test_a_currency_without_a_factor_stands_still_and_is_said_once(tmp_path):
    plan = planned(tmp_path)
    said = [w for w in plan.warnings if w.startswith("UPM-PR-060")]
    assert len(said) == 1 and "JPY" in said[0]
    still = planned(tmp_path / "still", GbmParameters(STATES[:2] + STATES[3:], MODEL.daily_volatility[[0, 1, 3, 4]], MODEL.correlation[:4, :4]))
    assert not isinstance(still.scenarios, Derived)
    assert sum("UPM-PR-060" in w for w in still.warnings) == 2


def test_the_triangle_of_rates(tmp_path):
    """ETH in euros times euros in dollars is ETH in dollars; one more instrument, and so another derived state, draws nothing anew."""
    plan = planned(tmp_path, names=["ETH-E", "ETH-I"])
    one = planned(tmp_path / "one", names=["ETH-E"])
    states = draw(plan.scenarios)
    names = plan.scenarios.state_names
    np.testing.assert_allclose(states[:, names.index("log_level[ETH,EUR]")] + states[:, names.index("log_fx[EUR]")], states[:, names.index("log_level[ETH]")], atol=1e-15)
    np.testing.assert_array_equal(draw(base_of(one.scenarios)), states[:, : len(STATES)])
    np.testing.assert_array_equal(draw(one.scenarios)[:, : len(STATES)], states[:, : len(STATES)])


def test_collateral_in_a_currency_moves_with_it(tmp_path):
    """One DAX held as collateral is simulated as the DAX spot is."""
    from upm_gpu.margin.methodology import Methodology

    write(tmp_path, "account_id,instrument_id,quantity\nA,DAX-SPOT,1\nB,ETH-I,0.000001\n", "account_id,asset,quantity\nB,DAX,1\n", market=MARKET)
    (tmp_path / "book" / "instruments.csv").write_text(INSTRUMENTS)
    book, market = read(tmp_path)
    rules = Methodology(name="test", version="1", effective_date=market.valuation_time.date(), collateral={"modes": {"DAX": "simulated"}, "haircuts": {}})
    plan = make_plan(book, market, ScenarioSpec(count=COUNT, horizons=(2.0,)), rules, MODEL)
    table = compute_outcome(plan, choose("cpu", "double", 1), 0, in_memory()).result.table.set_index("account_id")
    assert table.loc["B", "collateral_value"] == pytest.approx(DAX * EUR)
    assert table.loc["B", "expected_shortfall"] == pytest.approx(table.loc["A", "expected_shortfall"], rel=1e-6)


def test_backends_and_chunks_agree(tmp_path):
    plan = planned(tmp_path)
    found = [compute_outcome(plan, choose(name, "double", 1), chunk, in_memory()).result.table["expected_shortfall"].to_numpy() for name, chunk in (("reference", 0), ("cpu", 0))]
    np.testing.assert_allclose(*found, rtol=1e-10)
    assert np.all(found[0] > 0.0)
