"""Time of one European price under Heston, Bates and Merton, one thread, beside QuantLib's engines on the same cases in the same run.

Run: python benchmarks/model_options.py [--json FILE]. 200 random cases of a week to ten years; best of 5 passes; QuantLib's pricing objects are made
before the clock starts and only recalculated. Ours gives price, all Greeks and Black's volatility, QuantLib the price alone. `worst` is the largest difference of a price
from ours on a spot of 100.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.backend import cpu

COUNT = 200


def best(work: Callable[[], Any]) -> tuple[float, Any]:
    """Microseconds a case of the fastest of five passes, and its result."""
    fastest, result = float("inf"), None
    for _ in range(5):
        start = time.perf_counter()
        result = work()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest / COUNT * 1e6, result


def draws() -> dict[str, np.ndarray]:
    """Columns of heston_price without jumps."""
    rng = np.random.default_rng(2)
    years = np.round(np.exp(rng.uniform(np.log(7.0), np.log(3650.0), COUNT))) / 365.0
    theta = rng.uniform(0.01, 0.3, COUNT)
    return {"spot": np.full(COUNT, 100.0), "time_to_expiry": years, "strike": 100.0 * np.exp(rng.uniform(-2.0, 2.0, COUNT) * np.sqrt(theta * years)),
            "rate": rng.uniform(0.0, 0.08, COUNT), "dividend_yield": rng.uniform(0.0, 0.05, COUNT), "sign": rng.choice([-1.0, 1.0], COUNT),
            "initial_variance": rng.uniform(0.01, 0.3, COUNT), "mean_reversion": rng.uniform(0.3, 5.0, COUNT), "long_run_variance": theta,
            "vol_of_vol": rng.uniform(0.1, 1.2, COUNT), "correlation": rng.uniform(-0.9, 0.5, COUNT)}


def quantlib_options(c: dict[str, np.ndarray], engine_of: Callable[[Any, Any], Any]) -> list[Any]:
    """One option a case with its engine."""
    import QuantLib as ql

    today, days = ql.Date(2, 1, 2026), ql.Actual365Fixed()
    ql.Settings.instance().evaluationDate = today
    options = []
    for i in range(COUNT):
        one = {name: float(column[i]) for name, column in c.items()}
        rate, dividend = (ql.YieldTermStructureHandle(ql.FlatForward(today, one[name], days)) for name in ("rate", "dividend_yield"))
        variance = [one[name] for name in ("initial_variance", "mean_reversion", "long_run_variance", "vol_of_vol", "correlation")]
        process = ql.HestonProcess(rate, dividend, ql.QuoteHandle(ql.SimpleQuote(one["spot"])), *variance)
        payoff = ql.PlainVanillaPayoff(ql.Option.Call if one["sign"] > 0.0 else ql.Option.Put, one["strike"])
        option = ql.VanillaOption(payoff, ql.EuropeanExercise(today + round(365.0 * one["time_to_expiry"])))
        option.setPricingEngine(engine_of(ql, ql.HestonModel(process)))
        options.append(option)
    return options


def recalculated(options: list[Any]) -> np.ndarray:
    for option in options:
        option.recalculate()
    return np.array([option.NPV() for option in options])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write")
    arguments = parser.parse_args()
    c = draws()
    jumps = {"jump_intensity": np.full(COUNT, 0.7), "jump_mean": np.full(COUNT, -0.1), "jump_volatility": np.full(COUNT, 0.15)}
    merton = {name: c[name] for name in list(c)[:6]} | jumps | {"volatility": np.sqrt(c["initial_variance"])}
    time_heston, mine = best(lambda: cpu.values("heston_price", c, 1))
    rows: list[dict[str, object]] = [{"engine": "upm heston", "microseconds": time_heston}]
    rows.append({"engine": "upm bates", "microseconds": best(lambda: cpu.values("heston_price", c | jumps, 1))[0]})
    rows.append({"engine": "upm merton", "microseconds": best(lambda: cpu.values("merton_price", merton, 1))[0]})
    for name, engine in (("QuantLib analytic, 1e-12", lambda ql, model: ql.AnalyticHestonEngine(model, 1e-12, 10_000)),
                         ("QuantLib analytic, 144 points", lambda ql, model: ql.AnalyticHestonEngine(model, 144)),
                         ("QuantLib COS, L 16, 200 terms", lambda ql, model: ql.COSHestonEngine(model, 16.0, 200))):
        options = quantlib_options(c, engine)
        spent, prices = best(lambda options=options: recalculated(options))
        rows.append({"engine": name, "microseconds": spent, "worst": float(np.abs(prices - mine["price"]).max())})
    for row in rows:
        print(f"{row['engine']:32}{row['microseconds']:9.1f} us" + (f"   worst {row['worst']:.1e}" if "worst" in row else ""))
    if arguments.json:
        arguments.json.write_text(json.dumps({"cases": COUNT, "threads": 1, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
