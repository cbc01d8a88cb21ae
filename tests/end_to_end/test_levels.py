"""Quote currencies, unquoted forwards and settlements inside the horizon, against the same values written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr
from small_book import GAUSSIAN, methodology, read, write

from upm_gpu import exhibits
from upm_gpu.backend.select import choose
from upm_gpu.engine import compute_outcome
from upm_gpu.market.levels import quote_price
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.scenario.spec import ScenarioSpec

EUR, USD_RATE, EUR_RATE = 1.18, 0.05, 0.02
SOON, LATE = "2026-02-06T08:00:00Z", "2026-02-27T08:00:00Z"
DAYS = {SOON: 23.0 / 24.0, LATE: 22.0 - 1.0 / 24.0}
FORWARD = {("BTC", SOON): 70_010.0, ("BTC", LATE): 70_200.0, ("ETH", LATE): 1_700.0}
INSTRUMENTS = f"""instrument_id,kind,underlying,settlement,quote_currency,contract_size,expiry,strike,option_type,exercise
BTC-FI,future,BTC,inverse,USD,10,{SOON},,,
BTC-FL,future,BTC,linear,USD,1,{SOON},,,
BTC-FM,future,BTC,linear,USD,1,2026-02-16T08:00:00Z,,,
BTC-OL,option,BTC,linear,USD,1,{LATE},68000,put,european
ETH-FI,future,ETH,inverse,EUR,10,{SOON},,,
ETH-FL,future,ETH,linear,EUR,1,{SOON},,,
ETH-OC,option,ETH,linear,EUR,1,{SOON},1690,call,european
ETH-OI,option,ETH,inverse,EUR,1,{SOON},1690,put,european
ETH-OL,option,ETH,linear,EUR,1,{LATE},1750,call,european
"""
MARKET = {
    "spots.csv": f"asset,price,currency,timestamp\nBTC,70000,USD,2026-02-05T09:00:00Z\nETH,2000,USD,2026-02-05T09:00:00Z\nEUR,{EUR},USD,2026-02-05T09:00:00Z\n",
    "forwards.csv": "underlying,expiry,forward\n" + "".join(f"{u},{e},{f}\n" for (u, e), f in FORWARD.items()),
    "implied_vols.csv": "underlying,expiry,strike,implied_volatility\n" + "".join(
        f"{u},{LATE},{round(m * FORWARD[u, LATE])},0.6\n" for u in ("BTC", "ETH") for m in (0.8, 0.9, 1.0, 1.1, 1.2)),
    "rates.csv": f"currency,tenor_days,zero_rate\nUSD,30,{USD_RATE}\nEUR,30,{EUR_RATE}\n",
}
NAMES = [line.split(",")[0] for line in INSTRUMENTS.splitlines()[1:]]


@pytest.fixture
def plan(tmp_path):
    positions = "account_id,instrument_id,quantity,entry_price\n" + "".join(f"{n},{n},1,{1000 if '-F' in n else ''}\n" for n in NAMES)
    folder = write(tmp_path, positions, market=MARKET)
    (folder / "book" / "instruments.csv").write_text(INSTRUMENTS)
    book, market = read(folder)
    return make_plan(book, market, ScenarioSpec(count=4096, seed=3, horizons=(2.0,)), methodology(), GAUSSIAN)


def black(forward, strike, volatility, years, sign):
    d = np.log(forward / strike) / (volatility * np.sqrt(years)) + volatility * np.sqrt(years) / 2.0
    return sign * (forward * ndtr(sign * d) - strike * ndtr(sign * (d - volatility * np.sqrt(years))))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_every_settlement_and_currency_is_worth_what_it_pays(plan, backend):
    """2-day P&L in dollars: settled at the index in the quote currency, coins held and valued at S_h, euros at today's rate."""
    module = choose(backend, "double", 1).module
    with module.prepare(plan.compiled, plan.rows, "double", 1) as prepared:
        states = module.states(prepared, plan.scenarios, 0, 4096)
        found = dict(zip(plan.units.names, module.row_pnl(prepared, plan.scenarios, 0, 4096, 0), strict=True))
    at = [float(d) for d in plan.compiled.dates]
    assert at == [DAYS[SOON], 2.0]
    spot, rate = {"BTC": 70_000.0, "ETH": 2_000.0}, {"BTC": 1.0, "ETH": EUR}
    level = {u: [spot[u] * np.exp(states[d, k]) for d in range(2)] for k, u in enumerate(("BTC", "ETH"))}
    # no forward of ETH on the sixth is quoted: ln(F/S) grows linearly to that of the 27th
    spot_in_euro = spot["ETH"] / EUR
    unquoted = spot_in_euro * (FORWARD["ETH", LATE] / spot_in_euro) ** (DAYS[SOON] / DAYS[LATE])
    f0 = {"BTC": FORWARD["BTC", SOON], "ETH": unquoted}
    index = {u: level[u][0] / rate[u] for u in level}
    years = DAYS[SOON] / 365.0
    expected = {}
    for u in ("BTC", "ETH"):
        expected[f"{u}-FI"] = 10.0 * (1.0 / f0[u] - 1.0 / index[u]) * level[u][1]
        expected[f"{u}-FL"] = (index[u] - f0[u]) * rate[u]
    e = index["ETH"]
    expected["ETH-OC"] = np.maximum(e - 1690.0, 0.0) * EUR - black(unquoted, 1690.0, 0.6, years, 1.0) * EUR * np.exp(-EUR_RATE * years)
    expected["ETH-OI"] = np.maximum(1690.0 - e, 0.0) / e * level["ETH"][1] - black(unquoted, 1690.0, 0.6, years, -1.0) / unquoted * 2_000.0
    for name, pnl in expected.items():
        assert np.abs(found[name] - pnl).max() < 2e-5 * np.abs(pnl).max() if "-O" in name else np.abs(found[name] - pnl).max() < 1e-9 * np.abs(pnl).max(), name


def test_the_gain_since_entry_ends_at_the_price_the_risk_begins_with(plan):
    """An expiry between two quotes: equity and P&L share F_0."""
    between = next(i for i in plan.instruments if i.instrument_id == "BTC-FM")
    carry = np.log(FORWARD["BTC", SOON] / 7e4), np.log(FORWARD["BTC", LATE] / 7e4)
    share = (10.0 + 23.0 / 24.0 - DAYS[SOON]) / (DAYS[LATE] - DAYS[SOON])
    known = 7e4 * np.exp((1.0 - share) * carry[0] + share * carry[1])
    assert quote_price(plan.market, between) == pytest.approx(known, rel=1e-12)
    table = compute_outcome(plan, choose("reference", "double", 1), 0, in_memory()).result.table.set_index("account_id")
    assert table.loc["BTC-FM", "unrealised_pnl"] == pytest.approx(known - 1000.0, rel=1e-12)
    column = plan.compiled.instrument_column[plan.compiled.instrument_ids.index("BTC-FM")]
    assert column < plan.compiled.linear
    assert plan.compiled.instrument_coefficient[plan.compiled.instrument_ids.index("BTC-FM")] == pytest.approx(known, rel=1e-12)


def test_greeks_are_slopes_in_the_reporting_currency(plan):
    """delta and gamma against differences of the P&L of an instant move; theta against the value an hour nearer to expiry."""
    module = choose("cpu", "double", 1).module
    table = exhibits.greeks(module, plan.instruments, plan.compiled, plan.units, [a.account_id for a in plan.book.accounts], plan.market).set_index("account_id")
    dynamics = type(plan.dynamics)(sticky_moneyness=False)
    today = exhibits.compile_today(plan.instruments, plan.market, plan.surfaces, plan.scenarios.state_names, dynamics)
    step = 1e-3
    moves = [{f"log_level[{u}]": float(np.log1p(x)) for u in ("BTC", "ETH")} for x in (step, -step)]
    with module.prepare(today, exhibits.select_rows(plan.rows, []), "double", 1) as prepared:
        pnl = module.unit_pnl(prepared, exhibits.explicit_moves(today.state_names, moves), 0, 2, 0)
    for n, name in enumerate(today.instrument_ids):
        up, down = pnl[today.instrument_column[n]] * today.instrument_coefficient[n] * table.loc[name, "quantity"]
        assert table.loc[name, "delta"] == pytest.approx((up - down) / (2.0 * step), rel=2e-4), name
        assert table.loc[name, "gamma"] == pytest.approx((up + down) / step**2 * 0.01, rel=2e-3, abs=1e-6), name
    years, hour = DAYS[LATE] / 365.0, 1.0 / 8760.0
    value = [black(FORWARD["ETH", LATE], 1750.0, 0.6, t, 1.0) * EUR * np.exp(-EUR_RATE * t) for t in (years, years - hour)]
    assert table.loc["ETH-OL", "theta"] == pytest.approx((value[1] - value[0]) * 24.0, rel=2e-3)
