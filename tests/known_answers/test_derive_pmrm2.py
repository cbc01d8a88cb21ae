"""Derive's PMRM v2 against 30 of its published test vectors: net margins, values and, where published, the P&L of every scenario."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from upm_gpu.backend import cpu, reference
from upm_gpu.rulebook import derive_pmrm2, load_rule_book
from upm_gpu.rulebook.derive_pmrm2 import Oracle, Parameters
from upm_gpu.rulebook.frame.grid import local_values, unmoved
from upm_gpu.rulebook.frame.held import Held
from upm_gpu.rulebook.frame.terms import OPTION, PERPETUAL, SPOT, Terms

PUBLISHED = json.loads((Path(__file__).parent / "reference" / "derive_pmrm2.json").read_text())
CASES = {c["id"][-3:]: c for c in PUBLISHED["cases"]}
SHIPPED = load_rule_book("configs/methodology/derive_pmrm2_v2.toml").parameters
BACKENDS = [pytest.param(reference.values, id="reference"), pytest.param(cpu.values, id="cpu", marks=pytest.mark.skipif(not cpu.available()[0], reason="no compiled engine"))]
KEYS = {"BasisContingency.basis_cont_add_factor": ("basis", "addition"), "BasisContingency.basis_cont_mult_factor": ("basis", "per_year"),
        "BasisContingency.scenario_spot_up": ("basis", "spot_up"), "BasisContingency.scenario_spot_down": ("basis", "spot_down"),
        "Margin.base_static_discount": ("static_discount", "long"), "Margin.base_static_discount_neg": ("static_discount", "short"),
        "Margin.short_rate_multscale": ("static_discount", "short_rate_multiplier"), "Margin.short_rate_addscale": ("static_discount", "short_rate_addition"),
        "Margin.long_rate_multscale": ("static_discount", "long_rate_multiplier"), "Margin.long_rate_addscale": ("static_discount", "long_rate_addition"),
        "Margin.im_loss_factor": ("factors", "initial"), "Margin.mm_loss_factor": ("factors", "maintenance"),
        "OtherContingency.conf_margin": ("contingency", "confidence_margin"), "OtherContingency.conf_threshold": ("contingency", "confidence_threshold"),
        "OtherContingency.im_option_percent": ("contingency", "option_initial_extra"), "OtherContingency.mm_option_percent": ("contingency", "option_maintenance"),
        "OtherContingency.im_perp_percent": ("contingency", "perpetual_initial_extra"), "OtherContingency.mm_perp_percent": ("contingency", "perpetual_maintenance"),
        "OtherContingency.peg_loss_factor": ("peg", "factor"), "OtherContingency.peg_loss_threshold": ("peg", "threshold"),
        "SkewShock.abs_cbase": ("skew", "abs_cap_per_root_year"), "SkewShock.abs_scale_cap": ("skew", "abs_cap"),
        "SkewShock.linear_cbase": ("skew", "linear_cap_per_root_year"), "SkewShock.linear_scale_cap": ("skew", "linear_cap"),
        "SkewShock.min_k_star": ("skew", "minimum_width"), "SkewShock.min_width_scale": ("skew", "width"),
        "SkewShock.vol_param_scale": ("skew", "volatility_per_root_year"), "SkewShock.vol_param_static": ("skew", "volatility_static"),
        "VolShock.dte_floor": ("volatility", "days_floor"), "VolShock.longtermpower": ("volatility", "long_term_power"),
        "VolShock.min_vol_eval_shocked": ("volatility", "minimum_up"), "VolShock.shorttermpower": ("volatility", "short_term_power"),
        "VolShock.volrangedown": ("volatility", "range_down"), "VolShock.volrangeup": ("volatility", "range_up")}
"""published name -> place in the parameter file"""
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def parameters(case: dict[str, Any]) -> Parameters:
    """The shipped file with what the case changes and the haircuts it gives."""
    tables = SHIPPED.model_dump()
    published = {f"{section}.{key}": value for section, rows in PUBLISHED["default_parameters"].items() for key, value in rows.items()}
    changed = published | {k: v for k, v in case["param_overrides"].items() if k != "scenarios"}
    for key, value in changed.items():
        section, name = KEYS[key]
        tables[section][name] = value
    rows = case["param_overrides"].get("scenarios", PUBLISHED["default_scenarios"])
    tables["scenarios"] = [{"spot": m, "volatility": v, "dampening": d} for m, v, d in rows]
    tables["collateral"] = {c["name"]: {"underlying": "X" if c["risk_cancelling"] else "", "maintenance_haircut": c["mm_haircut"], "initial_haircut_extra": c["im_haircut_extra"]}
                            for c in case["inputs"]["collateral"]}
    return Parameters.model_validate(tables)


def held(case: dict[str, Any]) -> tuple[Held, Oracle]:
    """The case's account as one unit on the underlying X; amounts of cash are left to the test."""
    given = case["inputs"]
    rows: list[dict[str, Any]] = []
    confidence: dict[tuple[str, datetime | None], float] = {}
    if given["perp"]["size"]:
        rows.append({"id": "perpetual", "asset": "X", "kind": PERPETUAL, "forward": given["perp"]["price"], "quantity": given["perp"]["size"]})
    rows += [{"id": f"collateral:{c['name']}", "asset": c["name"], "kind": SPOT, "forward": c["price"], "index": c["price"], "quantity": c["amount"]} for c in given["collateral"]]
    for e in given["expiries"]:
        when = EPOCH + timedelta(seconds=e["seconds_to_expiry"])
        confidence["X", when] = e["confidence_min"]
        rows += [{"id": f"{k}{cp}{e['seconds_to_expiry']}", "asset": "X", "kind": OPTION, "forward": e["forward"], "strike": k, "sign": 1.0 if cp == "C" else -1.0, "rate": e["rate"],
                  "years": e["seconds_to_expiry"] / PUBLISHED["conventions"]["year_seconds"], "volatility": v, "expiry": when, "quantity": q} for k, cp, v, q in e["options"]]
    underlyings = tuple(sorted({"X", *(r["asset"] for r in rows)}))
    expiries = tuple(sorted({(r["asset"], r.get("expiry")) for r in rows}, key=lambda x: (x[0], x[1] or datetime.min.replace(tzinfo=UTC))))

    def column(name: str, default: float) -> np.ndarray:
        return np.array([r.get(name, default) for r in rows], float)

    none = np.zeros(len(rows), bool)
    terms = Terms(tuple(r["id"] for r in rows), underlyings, expiries, np.array([r["kind"] for r in rows], np.int8), np.array([underlyings.index(r["asset"]) for r in rows], np.int32),
                  np.array([expiries.index((r["asset"], r.get("expiry"))) for r in rows], np.int32), np.array([r["kind"] == SPOT for r in rows], bool), none, none,
                  column("sign", 0.0), column("strike", np.nan), column("years", np.nan), column("forward", np.nan), column("index", given["spot"]), column("volatility", np.nan),
                  column("rate", 0.0), np.ones(len(rows)), np.ones(len(rows)))
    oracle = Oracle(given["stable_price"], {"X": given["spot_confidence"]}, {"X": given["perp"]["confidence"]} if given["perp"]["size"] else {},
                    {expiries.index(key): c for key, c in confidence.items()}, {c["name"]: c["confidence"] for c in given["collateral"]})
    return Held(terms, ("A",), np.zeros(len(rows), np.int32), np.arange(len(rows), dtype=np.int32), column("quantity", 0.0)), oracle


def market_value(case: dict[str, Any], account: Held, values: Any) -> tuple[float, float]:
    """Options, and collateral in the venue's cash."""
    worth = account.quantity * local_values(account.terms, unmoved(account.terms), values)[:, 0]
    kind = account.terms.kind
    return float(worth[kind == OPTION].sum()), float(worth[kind == SPOT].sum() / case["inputs"]["stable_price"])


@pytest.mark.parametrize("values", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_published_case(name: str, values: Any) -> None:
    case, wanted = CASES[name], CASES[name]["expected"]
    account, oracle = held(case)
    given, law = case["inputs"], parameters(case)
    options, collateral = market_value(case, account, values)
    assert options == pytest.approx(wanted["option_mtm"], rel=1e-12, abs=1e-9)
    assert collateral == pytest.approx(wanted["collateral_mtm"], rel=1e-12)
    net = options + collateral + given["cash"] + given["perp"]["unrealised_pnl"] + given["perp"]["unrealised_funding"]
    got = derive_pmrm2.margin(account, law, values, oracle)
    size = max(abs(net), float(got.initial[0]), abs(wanted["MM"]))
    assert net - got.initial[0] == pytest.approx(wanted["IM"], rel=1e-12, abs=1e-12 * size)
    assert net - got.maintenance[0] == pytest.approx(wanted["MM"], rel=1e-12, abs=1e-12 * size)
    assert got.charges["oracle_confidence"][0] == pytest.approx(-wanted["oracle_contingency"], rel=1e-12)
    assert sum(c[0] for c in got.charges.values()) == pytest.approx(got.initial[0], rel=1e-15)
    found = derive_pmrm2.scenario_losses(account, law, values, given["stable_price"])
    if not len(found.unit):
        return
    gross = max(abs(options), abs(collateral), given["spot"])
    assert found.basis[0] == pytest.approx(wanted["forward_contingency"], rel=1e-11, abs=1e-13 * gross)
    kinds = np.array([2 if s.volatility in ("linear", "abs") else 1 if abs(s.spot - 1.0) > 0.19 else 0 for s in law.scenarios])
    for kind, key in enumerate(("worst_regular_pnl", "worst_tail_pnl", "worst_skew_pnl")):
        assert min(found.scenario_pnl[0, kinds == kind].min(), 0.0) == pytest.approx(wanted[key], rel=1e-11, abs=1e-13 * gross), key
    if "scenario_pnl" in wanted:
        np.testing.assert_allclose(found.scenario_pnl[0], wanted["scenario_pnl"], rtol=1e-11, atol=1e-13 * gross)
    decided = got.worst[0].removeprefix("X ")
    assert decided == ("" if not got.charges["scenario_loss"][0] else decided) and decided in {"", "basis", *(s.name for s in law.scenarios)}


def test_the_shipped_file_is_what_was_published() -> None:
    """The parameter file holds the published numbers; its moves are written to fewer digits than the vectors' own sums of them."""
    published = parameters({"param_overrides": {}, "inputs": {"collateral": []}})
    ours = SHIPPED.model_dump()
    for section in ("volatility", "static_discount", "factors", "basis", "skew", "contingency", "peg"):
        for key, value in ours[section].items():
            assert value == (value if isinstance(value, str) else pytest.approx(getattr(getattr(published, section), key), rel=1e-14)), (section, key)
    assert [(s.volatility,) for s in SHIPPED.scenarios] == [(s.volatility,) for s in published.scenarios]
    np.testing.assert_allclose([(s.spot, s.dampening) for s in SHIPPED.scenarios], [(s.spot, s.dampening) for s in published.scenarios], rtol=1e-15)
    given = {c["name"]: c for case in CASES.values() for c in case["inputs"]["collateral"] if c["risk_cancelling"]}
    for asset in ("BTC", "CBBTC", "LBTC", "ETH", "RSWETH"):
        ours_of = SHIPPED.collateral[asset]
        if given[asset]["mm_haircut"] < 1.0:
            assert (ours_of.maintenance_haircut, ours_of.initial_haircut_extra) == pytest.approx((given[asset]["mm_haircut"], given[asset]["im_haircut_extra"]))
