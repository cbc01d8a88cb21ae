"""Time of one exotic price, one thread, beside QuantLib's analytic engines on the same cases in the same run.

Run: python benchmarks/exotics.py [--json FILE]. 200 random cases of a month to two and a half years; best of 5 passes of process time; QuantLib's pricing objects are made before the clock starts
and only recalculated. Ours gives price and all Greeks, QuantLib the price alone. `worst` is the largest difference of a price from ours on a spot near 100: a spread's is the error of Kirk's
approximation, an average's that of Turnbull and Wakeman's. `scenario` rows are prices of the scenario loop (`formula/pair.py` has their formula).
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.backend import cpu

COUNT, FIXINGS = 200, 12
DAYS = np.random.default_rng(1).integers(30, 900, COUNT)


def best(work: Callable[[], Any]) -> tuple[float, Any]:
    """Microseconds a case of the fastest of five passes, and its result."""
    fastest, result = float("inf"), None
    for _ in range(5):
        start = time.process_time()
        result = work()
        fastest = min(fastest, time.process_time() - start)
    return fastest / COUNT * 1e6, result


def draws() -> dict[str, np.ndarray]:
    """Terms and markets; `distance` of a barrier, `spot_2` and on of a second asset."""
    rng = np.random.default_rng(2)
    return {"spot": rng.uniform(80.0, 120.0, COUNT), "time_to_expiry": DAYS / 365.0, "rate": rng.uniform(0.0, 0.1, COUNT), "dividend_yield": rng.uniform(0.0, 0.1, COUNT),
            "volatility": rng.uniform(0.1, 0.6, COUNT), "strike": rng.uniform(90.0, 110.0, COUNT), "sign": rng.choice([-1.0, 1.0], COUNT), "distance": rng.uniform(0.2, 0.6, COUNT),
            "spot_2": rng.uniform(80.0, 120.0, COUNT), "volatility_2": rng.uniform(0.1, 0.6, COUNT), "correlation": rng.uniform(-0.9, 0.9, COUNT)}


def ours(c: dict[str, np.ndarray]) -> dict[str, tuple[str, dict[str, np.ndarray]]]:
    """Operation and columns of each product."""
    plain = {k: c[k] for k in ("spot", "time_to_expiry", "rate", "dividend_yield", "volatility", "strike")}
    one, none = np.ones(COUNT), np.zeros(COUNT)
    vanilla = {"region": c["sign"], "asset": c["sign"], "cash": -c["sign"] * c["strike"]}
    barrier = {**plain, "barrier": c["spot"] * np.exp(c["distance"]), "up": one, "hit": none}
    times = np.arange(1, FIXINGS + 1)[:, None] * np.round(DAYS / FIXINGS)[None, :] / 365.0
    two = {**plain, **{k: c[k] for k in ("spot_2", "volatility_2", "correlation", "sign")}, "dividend_yield_2": none}
    return {
        "barrier": ("single_barrier", {**barrier, **vanilla, "knock_in": none}),
        "double barrier": ("double_barrier", {**plain, **vanilla, "knock_in": none, "hit": none, "lower_barrier": c["spot"] * np.exp(-c["distance"]), "upper_barrier": c["spot"] * np.exp(c["distance"])}),
        "digital": ("single_barrier", {**plain, "region": c["sign"], "asset": none, "cash": 15.0 * one}),
        "one touch": ("single_barrier", {**barrier, "knock_in": one, "hit_payment": 15.0 * one}),
        "arithmetic average": ("arithmetic_asian", {**plain, "time_to_expiry": times[-1], "sign": c["sign"], "past": none, "average_so_far": one, "fixing_time": times}),
        "spread": ("two_asset", {**two, "strike": c["strike"] / 20.0, "kind": none}),
        "maximum of two": ("two_asset", {**two, "kind": one}),
        "minimum of two": ("two_asset", {**two, "kind": 2.0 * one}),
    }


def quantlib_options(c: dict[str, np.ndarray], name: str) -> list[Any]:
    """One option a case with its engine."""
    import QuantLib as ql

    today, days = ql.Date(2, 1, 2026), ql.Actual365Fixed()
    ql.Settings.instance().evaluationDate = today

    def process(spot: float, rate: float, dividend: float, volatility: float) -> Any:
        flat = [ql.YieldTermStructureHandle(ql.FlatForward(today, r, days)) for r in (dividend, rate)]
        return ql.BlackScholesMertonProcess(ql.QuoteHandle(ql.SimpleQuote(spot)), *flat, ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), volatility, days)))

    made = []
    for i in range(COUNT):
        one = {k: float(v[i]) for k, v in c.items()}
        given, expiry = process(one["spot"], one["rate"], one["dividend_yield"], one["volatility"]), today + int(DAYS[i])
        side = ql.Option.Call if one["sign"] > 0.0 else ql.Option.Put
        plain, ends, high, low = ql.PlainVanillaPayoff(side, one["strike"]), ql.EuropeanExercise(expiry), one["spot"] * np.exp(one["distance"]), one["spot"] * np.exp(-one["distance"])
        if name == "barrier":
            option, engine = ql.BarrierOption(ql.Barrier.UpOut, high, 0.0, plain, ends), ql.AnalyticBarrierEngine(given)
        elif name == "double barrier":
            option, engine = ql.DoubleBarrierOption(ql.DoubleBarrier.KnockOut, low, high, 0.0, plain, ends), ql.AnalyticDoubleBarrierEngine(given, 5)
        elif name == "digital":
            option, engine = ql.VanillaOption(ql.CashOrNothingPayoff(side, one["strike"], 15.0), ends), ql.AnalyticEuropeanEngine(given)
        elif name == "one touch":
            option, engine = ql.VanillaOption(ql.CashOrNothingPayoff(ql.Option.Call, high, 15.0), ql.AmericanExercise(today, expiry)), ql.AnalyticDigitalAmericanEngine(given)
        elif name == "arithmetic average":
            dates = [today + int(j * round(DAYS[i] / FIXINGS)) for j in range(1, FIXINGS + 1)]
            option = ql.DiscreteAveragingAsianOption(ql.Average.Arithmetic, 0.0, 0, dates, plain, ql.EuropeanExercise(dates[-1]))
            engine = ql.TurnbullWakemanAsianEngine(given)
        else:
            second = process(one["spot_2"], one["rate"], 0.0, one["volatility_2"])
            if name == "spread":
                option = ql.BasketOption(ql.SpreadBasketPayoff(ql.PlainVanillaPayoff(side, one["strike"] / 20.0)), ends)
                forwards = [ql.BlackProcess(p.stateVariable(), p.riskFreeRate(), p.blackVolatility()) for p in (
                    process(one["spot"] * np.exp((one["rate"] - one["dividend_yield"]) * one["time_to_expiry"]), one["rate"], one["rate"], one["volatility"]),
                    process(one["spot_2"] * np.exp(one["rate"] * one["time_to_expiry"]), one["rate"], one["rate"], one["volatility_2"]))]
                engine = ql.KirkEngine(*forwards, one["correlation"])
            else:
                option = ql.BasketOption(ql.MaxBasketPayoff(plain) if name == "maximum of two" else ql.MinBasketPayoff(plain), ends)
                engine = ql.StulzEngine(given, second, one["correlation"])
        option.setPricingEngine(engine)
        made.append(option)
    return made


def recalculated(options: list[Any]) -> np.ndarray:
    for option in options:
        option.recalculate()
    return np.array([option.NPV() for option in options])


def scenario_rows() -> list[dict[str, object]]:
    """Prices of the scenario loop: the twin's shape at today's nodes, timed in the engine by a book of one option on two assets."""
    from upm_gpu.pricing.compiled import GROUP_INTEGERS, GROUP_REALS, TERM_REALS, Compiled, Family, Program, Rows
    from upm_gpu.scenario.sets import Explicit

    rng, many = np.random.default_rng(3), 1 << 15
    moved = Explicit(("log_level[A]", "log_level[B]"), np.array([1.0]), rng.normal(0.0, 0.05, (1, 2, many)))
    found: list[dict[str, object]] = []
    for payoff, name in enumerate(("spread", "maximum of two")):
        integers = np.full((2, len(GROUP_INTEGERS)), -1, np.int32)
        reals = np.zeros((2, len(GROUP_REALS)))
        for g, (level, family) in enumerate(((0, Family.TWO_ASSET), (1, Family.EUROPEAN))):
            whole = {"family": family, "first": 0 if g == 0 else 1, "count": 1 - g, "date": 0, "level_state": level, "forward_state": level, "volatility_state": level, "inverse": 0, "sticky_moneyness": 0,
                     "additive_volatility": 0, "second": 1 if g == 0 else -1, "payoff": payoff, "half_nodes": 27 if payoff == 0 else 37}
            for k, v in whole.items():
                integers[g, GROUP_INTEGERS.index(k)] = v
            for k, x in {"spot0": 100.0, "forward0": 100.0, "expiry_years": 0.5, "remaining_years": 0.49, "discount0": 1.0, "discount": 1.0, "leg_volatility": 0.4, "correlation": 0.5,
                         "node_step": 8.5 / (27 if payoff == 0 else 37)}.items():
                reals[g, GROUP_REALS.index(k)] = x
        terms = np.zeros((len(TERM_REALS), 1))
        terms[[TERM_REALS.index(k) for k in ("strike", "volatility", "sign")], 0] = (5.0 if payoff == 0 else 100.0, 0.5, 1.0)
        empty = np.zeros(0, np.int32)
        book = Compiled(("X",), np.zeros(1, np.int32), np.ones(1), moved.state_names, moved.dates, 0, terms, (Program(1.0, empty, empty, integers, reals),))
        with cpu.prepare(book, Rows(np.array([0, 1]), np.zeros(1, np.int32), np.ones(1)), "double", 1) as prepared:
            seconds = best(lambda: cpu.unit_pnl(prepared, moved, 0, many, 0))[0] * COUNT / many
        found.append({"product": name, "engine": "upm scenario", "microseconds": seconds})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write")
    arguments = parser.parse_args()
    c = draws()
    rows: list[dict[str, object]] = []
    for name, (operation, columns) in ours(c).items():
        seconds, mine = best(lambda operation=operation, columns=columns: cpu.values(operation, columns, 1))
        rows.append({"product": name, "engine": f"upm {operation}", "microseconds": seconds})
        try:
            options = quantlib_options(c, name)
        except ImportError:
            continue
        seconds, price = best(lambda options=options: recalculated(options))
        rows.append({"product": name, "engine": f"QuantLib {type(options[0]).__name__}", "microseconds": seconds, "worst": float(np.nanmax(np.abs(price - mine["price"])))})
    rows += scenario_rows()
    for row in rows:
        print(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()), sep="\t")
    if arguments.json:
        arguments.json.write_text(json.dumps({"cases": COUNT, "fixings": FIXINGS, "isa": cpu.isas()[0], "machine": platform.processor() or platform.machine(), "threads": 1, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
