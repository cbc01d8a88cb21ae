"""Published prices under Merton, Heston and Bates by simulation under the pricing measure.

Substeps are doubled until a price changes by less than one standard error; it must then lie within four standard errors and the
published tolerance. Cases worth less than 20 standard errors are left to a Fourier pricer. Merton's law is exact in one step.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from model_draws import simulate
from reference_cases import cases

from upm_gpu.model.heston import HestonParameters
from upm_gpu.model.jumps import JumpParameters
from upm_gpu.model.merton import MertonParameters

TOPIC = "3_jump_and_stochastic_vol"
YEAR = 365.0
LEVELS = 7
FAST = ("alan_lewis_high_precision", "bates_public_params", "benchop_4", "haug_merton76", "in_t_hout_foulon_set2", "merton_batestest", "ql_cos_engine")
"""tables of which one law each is simulated in every run; all of them in the slow one"""


def law(case: dict[str, Any]) -> tuple:
    """What decides the paths: everything but the option."""
    return (case["group"], *sorted((k, str(v)) for k, v in case["inputs"].items() if k not in ("option_type", "strike", "spot")))


def by_law() -> dict[tuple, list[dict[str, Any]]]:
    found = defaultdict(list)
    for case in cases(TOPIC):
        if "maturity_years" in case["inputs"]:
            found[law(case)].append(case)
    return dict(found)


def parameters(case: dict[str, Any], substeps: int) -> Any:
    """The model of a case with one base step to its maturity."""
    i = case["inputs"] | case["inputs"].get("derived", {})
    days = i["maturity_years"] * YEAR
    one = np.ones(1)
    jumps = None
    if "jump_intensity" in i:
        jumps = JumpParameters(0.0, 0.0, 0.0, 0.0 * one, i["jump_intensity"] * one, i["log_jump_mean"] * one, i["log_jump_std"] * one)
    drift = (i["rate_cc"] - i["carry_yield_cc"]) / YEAR * one
    if case["model"].startswith("merton"):
        volatility = i["diffusion_vol"] / np.sqrt(YEAR) * one
        return MertonParameters(("log_level[X]",), volatility, np.eye(1), jumps, days, "pricing", drift)
    return HestonParameters(("X",), i["v0"] * one, i["kappa"] * one, i["theta"] * one, i["vol_of_variance"] * one, i["rho"] * one, np.eye(1), jumps, substeps, days,
                            "pricing", drift)


def value(case: dict[str, Any], level: np.ndarray) -> tuple[float, float]:
    """Discounted mean payoff and its standard error."""
    i = case["inputs"]
    sign = 1.0 if i["option_type"] == "call" else -1.0
    payoff = np.exp(-i["rate_cc"] * i["maturity_years"]) * np.maximum(sign * (i["spot"] * np.exp(level) - i["strike"]), 0.0)
    return float(payoff.mean()), float(payoff.std() / np.sqrt(payoff.size))


def check(group: list[dict[str, Any]], count: int) -> int:
    """Number of cases compared; the rest is worth too little for a simulation."""
    days = group[0]["inputs"]["maturity_years"] * YEAR
    exact = group[0]["model"].startswith("merton")
    substeps = max(8, int(4 * group[0]["inputs"]["maturity_years"]))
    before: dict[str, float] = {}
    open_cases, compared = list(group), 0
    for level in range(LEVELS):
        # another seed a level: the change between two levels is then that of independent estimates
        states = simulate(parameters(group[0], substeps << level), [days], count, seed=100 + level)[0, 0]
        left = []
        for case in open_cases:
            price, error = value(case, states)
            settled = exact or (case["id"] in before and abs(price - before[case["id"]]) < error)
            before[case["id"]] = price
            if price < 20.0 * error:
                continue
            if not settled and level < LEVELS - 1:
                left.append(case)
                continue
            expected = case["expected"].get("price_full_precision", case["expected"].get("price"))
            tolerance = case["tolerance"].get("full_precision_abs", case["tolerance"].get("price_abs", 0.0))
            assert abs(price - expected) <= 4.0 * error + tolerance, (case["id"], substeps << level, price, expected, error)
            compared += 1
        open_cases = left
        if not open_cases:
            break
    return compared


def ids(groups: list[list[dict[str, Any]]]) -> list[str]:
    return [f"{g[0]['group']}-{g[0]['id']}" for g in groups]


ALL = list(by_law().values())
SOME = [next(g for g in ALL if g[0]["group"] == name) for name in FAST]


@pytest.mark.parametrize("group", SOME, ids=ids(SOME))
def test_one_law_of_a_table(group: list[dict[str, Any]]) -> None:
    assert check(group, 1 << 17) > 0


@pytest.mark.slow
def test_every_published_price() -> None:
    compared = sum(check(group, 1 << 18) for group in ALL)
    assert compared >= 120  # the others are far out of the money


def test_a_planted_bias_is_seen() -> None:
    """A market-wide mistake of the size of a forgotten compensator, and a wrong correlation of price and variance."""
    group = next(g for g in ALL if g[0]["group"] == "merton_batestest")
    case = group[0]
    model = parameters(case, 8)
    wrong = replace(model, jumps=replace(model.jumps, own_mean=model.jumps.own_mean * 0.95))
    price, error = value(case, simulate(wrong, [case["inputs"]["maturity_years"] * YEAR], 1 << 17)[0, 0])
    assert abs(price - case["expected"]["price"]) > 4.0 * error
    case = next(c for c in cases(TOPIC) if c["group"] == "ql_cos_engine")
    model = parameters(case, 64)
    price, error = value(case, simulate(replace(model, rho=np.array([0.2])), [case["inputs"]["maturity_years"] * YEAR], 1 << 17)[0, 0])
    assert abs(price - case["expected"]["price"]) > 4.0 * error
