"""Venues with a plain grid: published examples and the arithmetic by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_book import read, write

from upm_gpu.backend import reference
from upm_gpu.errors import InputError
from upm_gpu.formula.black import black_undiscounted
from upm_gpu.rulebook import RuleBook, load_rule_book, paradex
from upm_gpu.rulebook.frame.held import Held, hold
from upm_gpu.rulebook.frame.terms import FUTURE, OPTION, PERPETUAL, Terms
from upm_gpu.rulebook.frame.volatility import directions, shocked
from upm_gpu.rulebook.grid import scan_risk


def rules(name: str) -> RuleBook:
    return load_rule_book(f"configs/methodology/{name}.toml")


def linear(asset: str, index: float, rows: list[dict]) -> Held:
    """One account in linear contracts of one asset; rows have kind, forward, quantity and, of options, sign, strike, years, volatility."""
    none = np.zeros(len(rows), bool)

    def column(name: str, default: float) -> np.ndarray:
        return np.array([r.get(name, default) for r in rows], float)

    terms = Terms(tuple(f"I{n}" for n in range(len(rows))), (asset,), ((asset, None),), np.array([r["kind"] for r in rows], np.int8), np.zeros(len(rows), np.int32),
                  np.zeros(len(rows), np.int32), none, none, none, column("sign", 0.0), column("strike", np.nan), column("years", np.nan), column("forward", index),
                  np.full(len(rows), index), column("volatility", np.nan), np.zeros(len(rows)), np.ones(len(rows)), np.ones(len(rows)))
    return Held(terms, ("A",), np.zeros(len(rows), np.int32), np.arange(len(rows), dtype=np.int32), column("quantity", 0.0))


def test_dederi_futures_ladder() -> None:
    """Published: ten ETH futures long, 20 days at a basis of 8 % a year; ladder of P&L to the dollar, contingency to a tenth."""
    law = rules("dederi_v1")
    forward = 2243.3 * np.exp(0.08 * 20.0 / 365.0)
    assert forward == pytest.approx(2253.2, abs=0.05)
    held = linear("ETH", 2243.3, [{"kind": FUTURE, "forward": forward, "quantity": 10.0}])
    ladder = dict(zip((-0.15, -0.12, -0.09, -0.06, -0.03, 0.0, 0.03, 0.06, 0.09, 0.12, 0.15), (-3380, -2704, -2028, -1352, -676, 0, 676, 1352, 2028, 2704, 3380), strict=True))
    assert {s.spot for s in law.parameters.scenarios} == set(ladder)
    for scenario in law.parameters.scenarios:
        for side in (1.0, -1.0):  # a scan of one scenario is its loss
            one = linear("ETH", 2243.3, [{"kind": FUTURE, "forward": forward, "quantity": 10.0 * side}])
            got = scan_risk(one, [scenario], None, [], "underlying", reference.values, "")[0][0]
            assert got == pytest.approx(max(-side * ladder[scenario.spot], 0.0), abs=0.5)
    found = law.module.margin(held, law.parameters, reference.values)
    assert found.charges["futures_contingency"][0] == pytest.approx(134.6, abs=0.05)
    assert found.initial[0] == found.maintenance[0] == pytest.approx(3380 + 134.6, abs=0.5) and found.worst == ("ETH spot -15 %, volatility none",)


def test_dederi_refuses_options_by_name(tmp_path: Path) -> None:
    """Its volatility shocks are not published."""
    held = hold(*read(write(tmp_path / "small", "account_id,instrument_id,quantity\nA,ETH-C20L,1\n")))[0]
    law = rules("dederi_v1")
    with pytest.raises(InputError, match=r"UPM-CF-126 dederi 1: no volatility shocks .* ETH-C20L is an option"):
        law.module.margin(held, law.parameters, reference.values)


def test_aevo_grid() -> None:
    """Published: 15 scenarios; a spot of 1400 is taken to 1680 and 1120; a volatility of 60 % to 110 and 35 %."""
    law = rules("aevo_v1").parameters
    assert len(law.scenarios) == 15 == len({(s.spot, s.volatility) for s in law.scenarios})
    assert (1400.0 * (1.0 + max(s.spot for s in law.scenarios)), 1400.0 * (1.0 + min(s.spot for s in law.scenarios))) == (1680.0, 1120.0)
    np.testing.assert_allclose(shocked(np.array([0.6]), np.array([11.0]), directions(["up", "none", "down"]), law.volatility), [[1.1, 0.6, 0.35]], rtol=1e-15)


def test_aevo_margin_by_hand() -> None:
    """A short call loses most at +20 % and volatility + 50 points; a perpetual short too, and the two add."""
    years, forward, strike, volatility = 30.0 / 365.0, 1400.0, 1500.0, 0.6
    option = {"kind": OPTION, "forward": forward, "sign": 1.0, "strike": strike, "years": years, "volatility": volatility, "quantity": -2.0}
    law = rules("aevo_v1")

    def call(f: float, v: float) -> float:
        return float(black_undiscounted(f, strike, np.log(f / strike), v * np.sqrt(years), 1.0))

    loss = 2.0 * (call(1680.0, 1.1) - call(1400.0, 0.6))
    got = law.module.margin(linear("ETH", 1400.0, [option]), law.parameters, reference.values)
    assert got.initial[0] == pytest.approx(loss, rel=1e-12) and got.worst == ("ETH spot +20 %, volatility up",)
    both = law.module.margin(linear("ETH", 1400.0, [option, {"kind": PERPETUAL, "quantity": -3.0}]), law.parameters, reference.values)
    assert both.initial[0] == pytest.approx(loss + 3.0 * 280.0, rel=1e-12)


def test_paradex_minimum_delta() -> None:
    """Published example: one BTC perpetual long, five calls of delta 0.3 short: net -0.5, gross 2.5, hedged 1; at 70,000: 2 % x 35,000 + 1 % x 70,000 = 1,400."""
    from scipy.special import ndtri

    years, volatility = 30.0 / 365.0, 0.6
    s = volatility * np.sqrt(years)
    strike = 70_000.0 * np.exp(0.5 * s * s - ndtri(0.3) * s)
    held = linear("BTC", 70_000.0, [{"kind": PERPETUAL, "quantity": 1.0}, {"kind": OPTION, "sign": 1.0, "strike": strike, "years": years, "volatility": volatility, "quantity": -5.0}])
    law = rules("paradex_v1")
    assert paradex.minimum_delta(held, law.parameters, reference.values)[0] == pytest.approx(1400.0, rel=1e-12)


def test_paradex_by_hand() -> None:
    """A perpetual: SCAN 16 %, above its minimum of 2 % and every weighted tail (16 %); a flat pair: the minimum for hedged delta; provisions are added to both margins."""
    law = rules("paradex_v1")
    assert len(law.parameters.scenarios) == 24
    weights = {round(s.spot, 2): s.weight for s in law.parameters.scenarios if abs(s.spot) > 0.16}
    assert {m: round(100.0 * w, 2) for m, w in weights.items()} == {-0.66: 24.24, -0.33: 48.48, 0.5: 32.0, 1.0: 16.0, 2.0: 8.0, 3.0: 5.33, 4.0: 4.0, 5.0: 3.2}
    one = law.module.margin(linear("BTC", 70_000.0, [{"kind": PERPETUAL, "quantity": 2.0}]), law.parameters, reference.values)
    assert (one.initial[0], one.maintenance[0]) == (pytest.approx(0.16 * 140_000.0), pytest.approx(0.08 * 140_000.0)) and not one.charges["minimum_delta"][0]
    assert one.notes and "funding and fees" in one.notes[0]
    pair = law.module.margin(linear("BTC", 70_000.0, [{"kind": PERPETUAL, "quantity": 2.0}, {"kind": FUTURE, "quantity": -2.0}]), law.parameters, reference.values)
    assert pair.initial[0] == pytest.approx(0.01 * 140_000.0) and pair.worst == ("minimum delta",)
    provided = law.parameters.model_copy(update={"provisions": paradex.Provisions(funding_8h={"BTC": 0.0001}, fee=0.0003)})
    both = [law.module.margin(linear("BTC", 70_000.0, [{"kind": PERPETUAL, "quantity": q}]), provided, reference.values) for q in (2.0, -2.0)]
    assert both[0].initial[0] - one.initial[0] == pytest.approx(140_000.0 * 0.0004) == both[0].maintenance[0] - one.maintenance[0]
    assert both[1].charges["funding_provision"][0] == 0.0 and both[1].charges["fee_provision"][0] == pytest.approx(42.0) and not both[0].notes


def test_powertrade_counts_coins_as_cover(tmp_path: Path) -> None:
    """A coin posted covers a perpetual short; three published versions differ in the volatility shock alone."""
    text, coin = "account_id,instrument_id,quantity\nA,BTC-LINEAR,-1\nB,BTC-LINEAR,-1\n", "account_id,asset,quantity\nA,BTC,1\n"
    held = hold(*read(write(tmp_path / "small", text, coin)))[0]
    laws = [rules(f"powertrade_v{v}") for v in (1, 2, 3)]
    found = laws[0].module.margin(held, laws[0].parameters, reference.values)
    assert found.initial.tolist() == [0.0, pytest.approx(0.15 * 70_000.0)] and found.worst == ("", "BTC spot +15 %, volatility down")  # of equal losses the first by name
    raised = [float(shocked(np.array([0.5]), np.array([7.5]), directions(["up"]), law.parameters.volatility)[0, 0]) for law in laws]
    np.testing.assert_allclose(raised, [0.9, 0.5 + 0.4 * 4.0**0.3, 0.5 * (1.0 + 0.4 * 6.0**0.3)], rtol=1e-14)
    for key in ("scenarios", "netting", "moving_collateral", "factors"):
        assert getattr(laws[0].parameters, key) == getattr(laws[1].parameters, key) == getattr(laws[2].parameters, key)


def test_the_account_as_one_underlying() -> None:
    """`netting = account` lets underlyings that move together offset; the default adds their worst losses."""
    law = rules("aevo_v1")
    eth = linear("ETH", 1400.0, [{"kind": PERPETUAL, "quantity": 1.0}, {"kind": PERPETUAL, "quantity": -1.0}])
    terms = eth.terms
    two = Held(Terms(**{**{f: getattr(terms, f) for f in terms.__dataclass_fields__}, "underlyings": ("BTC", "ETH"), "underlying": np.array([0, 1], np.int32),
                        "expiries": (("BTC", None), ("ETH", None)), "bucket": np.array([0, 1], np.int32)}), eth.units, eth.unit, eth.instrument, eth.quantity)
    apart = law.module.margin(two, law.parameters, reference.values)
    together = law.module.margin(two, law.parameters.model_copy(update={"netting": "account"}), reference.values)
    assert apart.initial[0] == pytest.approx(2.0 * 280.0) and together.initial[0] == 0.0
