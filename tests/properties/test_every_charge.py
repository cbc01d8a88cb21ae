"""The laws of charges for every charge on offer, on random books through the engine: never negative, no matter how a position is split or in what order it stands, continuous in quantity where its page says so."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from small_book import STUDENT, methodology, read, write

from upm_gpu.engine import margin_run
from upm_gpu.margin.charges import names
from upm_gpu.scenario.spec import ScenarioSpec

SPEC = ScenarioSpec(count=4096, seed=11, horizons=(2.0,))
HELD = {"BTC-PERP": 5000.0, "BTC-LINEAR": 1.0, "ETH-PERP": 40_000.0, "BTC-FUT": 3000.0, "BTC-C70": 4.0, "BTC-P60": 6.0, "BTC-C75D": 3.0, "ETH-C20L": 30.0}
DAY = datetime.date(2026, 1, 1)
CHARGES = {
    "anti_procyclicality": {"tool": "buffer"}, "basis": {}, "borrowing": {"default_rate": 0.2}, "calendar_vega": {}, "concentration": {}, "dependence": {}, "depeg": {}, "expiry_day": {}, "funding_and_fees": {},
    "gap_risk": {"jumps": {"BTC": [-0.9, 0.9], "ETH": [-0.9, 0.9]}, "volatility": 1.0}, "liquidation_cost": {"volume": {"BTC": 50_000.0}}, "liquidity_horizon": {"volume": {"BTC": 60_000.0, "ETH": 30_000.0}},
    "minimum_gross": {"rate": 0.15}, "offset_limit": {"offset": 0.5, "classes": [{"name": "linear", "kinds": ["perpetual", "future"]}]}, "oracle_confidence": {"confidence": {"ETH": 0.3}}, "sampling_error": {},
    "short_option_minimum": {"mode": "add"}, "skew": {}, "specific": {"entries": [{"unit": "A00", "share": 0.1, "reason": "r", "decided_by": "d", "begin": DAY, "until": DAY.replace(year=2027)}]},
    "stress": {"scenarios": [{"name": "down", "moves": {"*": {"price": -0.5, "volatility": 1.0}}}]}, "wrong_way": {"rates": {"BTC": 0.2}},
}
JUMPS = {"wrong_way", "liquidity_horizon"}
"""their pages say where"""
ACCOUNTS, NUDGE = 16, 2.0**-20


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    """Random accounts A, the same in two lines a position and from last to first S, with a millionth more of one position N."""
    rng = np.random.default_rng(5)
    quantity = {(a, i): float(np.round(size * rng.normal(), 3)) for a in range(ACCOUNTS) for i, size in HELD.items() if rng.random() < 0.5}
    lines, split, seen = [], [], set()
    for (a, i), q in quantity.items():
        nudged = q * (1.0 + NUDGE) if a not in seen else q
        seen.add(a)
        lines += [f"A{a:02d},{i},{q!r}", f"N{a:02d},{i},{nudged!r}"]
        split += [f"S{a:02d},{i},{q / 4.0!r}", f"S{a:02d},{i},{q - q / 4.0!r}"]
    posted = [f"{s}{a:02d},{asset},{n}" for a in range(ACCOUNTS) for s in "ASN" for asset, n in (("BTC", 0.25), ("USDC", 500.0 * a - 3000.0))]
    folder = write(tmp_path_factory.mktemp("laws"), "\n".join(["account_id,instrument_id,quantity", *lines, *reversed(split)]) + "\n", "\n".join(["account_id,asset,quantity", *posted]) + "\n",
                   market={"spots.csv": "asset,price,currency,timestamp\nBTC,70000,USD,2026-02-05T09:00:00Z\nETH,2000,USD,2026-02-05T09:00:00Z\nUSDC,1,USD,2026-02-05T09:00:00Z\n"})
    book, market = read(folder)
    charges = [{"name": name, **keys} for name, keys in CHARGES.items()]
    return margin_run(book, market, SPEC, methodology(charges=charges), "cpu", precision="double", model=STUDENT).table.set_index("account_id")


def of(table, letter, name):
    return table[table.index.str.startswith(letter)].sort_index()[f"charge_{name}"].to_numpy()


def test_every_charge_on_offer_is_here():
    assert set(CHARGES) == set(names())


@pytest.mark.parametrize("name", CHARGES)
def test_never_negative_and_at_work(books, name):
    amounts = of(books, "A", name)
    assert np.all(amounts >= 0.0) and np.any(amounts > 0.0)


@pytest.mark.parametrize("name", [n for n in CHARGES if n != "specific"])
def test_splits_and_order_change_nothing(books, name):
    np.testing.assert_array_equal(of(books, "S", name), of(books, "A", name))


@pytest.mark.parametrize("name", [n for n in CHARGES if n not in JUMPS | {"specific"}])
def test_continuous_in_quantity(books, name):
    """A millionth more of a position changes no charge by more than a hundred-thousandth of the margin."""
    change = np.abs(of(books, "N", name) - of(books, "A", name))
    margin = books[books.index.str.startswith("A")].sort_index()["initial_margin"].to_numpy()
    assert np.all(change <= 1e-5 * margin + 1e-9)
    if name in ("minimum_gross", "basis", "dependence"):
        assert np.any(change > 0.0)  # the nudge is seen
