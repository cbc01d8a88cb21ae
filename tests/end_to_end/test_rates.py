"""Rates that move: the discount factor of every scenario by hand, a small shift against the closed-form rho, and what stays fixed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from model_draws import draw
from scipy.special import ndtr
from small_book import GAUSSIAN, methodology, read, write

from upm_gpu import exhibits
from upm_gpu.backend.select import choose
from upm_gpu.errors import InputError
from upm_gpu.formula.black import european_values
from upm_gpu.model.gbm import GbmParameters
from upm_gpu.plan import make_plan
from upm_gpu.scenario.spec import ScenarioSpec

LONG = "2026-08-27T08:00:00Z"
DAYS = 203.0 - 1.0 / 24.0
YEARS = DAYS / 365.0
INSTRUMENTS = f"""instrument_id,kind,underlying,settlement,quote_currency,contract_size,expiry,strike,option_type,exercise,premium
ETH-C,option,ETH,linear,USD,1,{LONG},2000,call,european,upfront
ETH-P,option,ETH,linear,EUR,1,{LONG},1700,put,european,upfront
ETH-M,option,ETH,linear,USD,1,{LONG},2000,call,european,futures
ETH-I,option,ETH,inverse,USD,1,{LONG},2000,call,european,upfront
"""
AT = "2026-02-05T09:00:00Z"
MARKET = {
    "spots.csv": f"asset,price,currency,timestamp\nBTC,70000,USD,{AT}\nETH,2000,USD,{AT}\nEUR,1.18,USD,{AT}\n",
    "forwards.csv": f"underlying,expiry,forward\nETH,{LONG},2050\n",
    "implied_vols.csv": "underlying,expiry,strike,implied_volatility\n" + "".join(f"ETH,{LONG},{k},0.6\n" for k in (1500, 1700, 2000, 2300, 2600)),
    "rates.csv": "currency,tenor_days,zero_rate\nUSD,30,0.04\nUSD,365,0.045\nEUR,30,0.02\n",
}
STATES = ("log_level[ETH]", "volatility_shift[ETH]", "log_fx[EUR]", "rate_level[USD]", "rate_slope[USD]", "rate_level[EUR]")
MODEL = GbmParameters(STATES, np.array([0.04, 0.05, 0.006, 6e-4, 3e-4, 5e-4]), 0.8 * np.eye(6) + 0.2)
SPEC = ScenarioSpec(count=4096, seed=3, horizons=(2.0,), rates="moving", volatility_dynamics="sticky_strike")


def planned(folder, spec=SPEC, model=MODEL, names=("ETH-C", "ETH-P", "ETH-M", "ETH-I")):
    write(folder, "account_id,instrument_id,quantity\n" + "".join(f"{n},{n},1\n" for n in names), market=MARKET)
    (folder / "book" / "instruments.csv").write_text(INSTRUMENTS)
    book, market = read(folder)
    return make_plan(book, market, spec, methodology(), model)


def pnl_of(plan, backend="cpu"):
    module = choose(backend, "double", 1).module
    with module.prepare(plan.compiled, plan.rows, "double", 1) as prepared:
        return dict(zip(plan.units.names, module.row_pnl(prepared, plan.scenarios, 0, 4096, 0), strict=True))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_discount_factors_move_by_level_and_slope(tmp_path, backend):
    """With and without moving rates the same draws: the ratio of the values at the horizon is exp(-left (level + share slope)), at the euro's own for the euro option."""
    moving, fixed = planned(tmp_path), planned(tmp_path / "fixed", replace(SPEC, rates="fixed"))
    states = draw(moving.scenarios)[0]
    np.testing.assert_array_equal(states[:6], draw(fixed.scenarios)[0, :6])
    a, b = pnl_of(moving, backend), pnl_of(fixed, backend)
    today = dict(zip(moving.compiled.instrument_ids, exhibits_value0(moving), strict=True))
    left = (DAYS - 2.0) / 365.0
    share = (DAYS - 2.0 - 30.0) / 335.0
    np.testing.assert_allclose((a["ETH-C"] + today["ETH-C"]) / (b["ETH-C"] + today["ETH-C"]), np.exp(-left * (states[3] + share * states[4])), rtol=1e-9)
    np.testing.assert_allclose((a["ETH-P"] + today["ETH-P"]) / (b["ETH-P"] + today["ETH-P"]), np.exp(-left * states[5]), rtol=1e-8)
    for undiscounted in ("ETH-M", "ETH-I"):
        np.testing.assert_array_equal(a[undiscounted], b[undiscounted])


def exhibits_value0(plan):
    module = choose("cpu", "double", 1).module
    with module.prepare(plan.compiled, plan.rows, "double", 1) as prepared:
        return prepared.value0[plan.compiled.instrument_column - plan.compiled.linear]


def test_a_small_parallel_shift_is_the_closed_form_rho(tmp_path):
    """Central difference of 1 bp: its error is (1e-4 T)^2 / 6 relative, 5e-10; rho of an option on a forward is -T times its price."""
    plan = planned(tmp_path, names=("ETH-C", "ETH-P"))
    today = exhibits.compile_today(plan.instruments, plan.market, plan.surfaces, plan.compiled.drawn_names, plan.dynamics)
    rows = exhibits.select_rows(plan.rows, [0])
    bump = 1e-4
    given = exhibits.explicit_moves(today.drawn_names, [{"rate_level[USD]": bump}, {"rate_level[USD]": -bump}])
    up, down = exhibits.row_values(choose("cpu", "double", 1).module, today, rows, given, 1)[0]
    rate = 0.04 + (DAYS - 30.0) / 335.0 * 0.005
    case = {"sign": 1.0, "forward": 2050.0, "strike": 2000.0, "time_to_expiry": YEARS, "rate": rate, "volatility": 0.6, "spot": np.nan, "dividend_yield": 0.0,
            "market_price": np.nan, "inverse": 0.0}
    rho = european_values({k: np.array([v]) for k, v in case.items()})["rho"][0]
    assert (up - down) / (2.0 * bump) == pytest.approx(rho, rel=1e-6)
    d = np.log(2050.0 / 2000.0) / (0.6 * np.sqrt(YEARS)) + 0.3 * np.sqrt(YEARS)
    assert rho == pytest.approx(-YEARS * np.exp(-rate * YEARS) * (2050.0 * ndtr(d) - 2000.0 * ndtr(d - 0.6 * np.sqrt(YEARS))), rel=1e-12)


def test_a_currency_without_rates_is_refused_by_name(tmp_path):
    bare = GbmParameters((*GAUSSIAN.state_names,), GAUSSIAN.daily_volatility, GAUSSIAN.correlation)
    with pytest.raises(InputError, match=r"UPM-PR-063.*rate_level\[USD\].*USD.RATE"):
        planned(tmp_path, model=bare, names=("ETH-C",))
