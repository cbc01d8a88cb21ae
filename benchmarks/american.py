"""American options: microseconds an option on one thread and the error of each method, beside QuantLib in the same run.

Run: python benchmarks/american.py [--json FILE]. 256 options of the standard range (one week to three years, volatility 5 to 90 %, rates and yields up to 10 %),
best of 5 passes of process time; errors against the twin of the formula, in units of the strike. Shared: 32 spots a boundary, as the nodes of a table.
QuantLib: the price of an engine that is set up before, spot changed between calls.
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
from upm_gpu.formula.american import american_values

COUNT, SPOTS = 256, 32


def options() -> dict[str, np.ndarray]:
    """Columns of `american`, strike 100."""
    rng = np.random.default_rng(17)
    years = rng.integers(7, 1_095, COUNT) / 365.0
    volatility = np.exp(rng.uniform(np.log(0.05), np.log(0.9), COUNT))
    return {"spot": 100.0 * np.exp(rng.normal(0.0, 1.0, COUNT) * volatility * np.sqrt(years)), "strike": np.full(COUNT, 100.0), "time_to_expiry": years,
            "rate": rng.uniform(0.0, 0.1, COUNT), "dividend_yield": rng.uniform(0.0, 0.1, COUNT), "volatility": volatility, "sign": rng.choice([-1.0, 1.0], COUNT)}


def best(work: Callable[[], object]) -> float:
    """Seconds of process time of the fastest of 5 calls."""
    fastest = float("inf")
    for _ in range(5):
        start = time.process_time()
        work()
        fastest = min(fastest, time.process_time() - start)
    return fastest


def ours(columns: dict[str, np.ndarray], exact: np.ndarray) -> list[dict[str, Any]]:
    price_only = columns | {"price_only": np.ones(COUNT)}
    grid = {name: np.repeat(c, SPOTS) for name, c in price_only.items()}
    grid["spot"] = grid["spot"] * np.tile(np.linspace(0.8, 1.2, SPOTS), COUNT)
    error = np.abs(cpu.values("american", price_only, 1)["price"] - exact) / 100.0
    rows = []
    for name, cases in (("price, delta, gamma, theta", price_only), ("all Greeks", columns), (f"price, delta, gamma, theta, {SPOTS} spots a boundary", grid)):
        seconds = best(lambda cases=cases: cpu.values("american", cases, 1)) / len(cases["spot"])
        rows.append({"method": f"this engine: {name}", "microseconds": seconds * 1e6, "worst": error.max(), "median": float(np.median(error))})
    return rows


def quantlib(columns: dict[str, np.ndarray], exact: np.ndarray) -> list[dict[str, Any]]:
    try:
        import QuantLib as ql
    except ImportError:
        return []
    today = ql.Date(1, 1, 2024)
    ql.Settings.instance().evaluationDate = today
    day = ql.Actual365Fixed()

    def option(i: int, engine: Callable[[Any], Any]) -> tuple[Any, Any]:
        spot = ql.SimpleQuote(float(columns["spot"][i]))
        curve = [ql.YieldTermStructureHandle(ql.FlatForward(today, float(columns[n][i]), day)) for n in ("dividend_yield", "rate")]
        volatility = ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), float(columns["volatility"][i]), day))
        process = ql.BlackScholesMertonProcess(ql.QuoteHandle(spot), *curve, volatility)
        kind = ql.Option.Call if columns["sign"][i] > 0.0 else ql.Option.Put
        expiry = today + round(float(columns["time_to_expiry"][i]) * 365.0)
        made = ql.VanillaOption(ql.PlainVanillaPayoff(kind, 100.0), ql.AmericanExercise(today, expiry))
        made.setPricingEngine(engine(process))
        return made, spot

    engines: dict[str, Callable[[Any], Any]] = {
        "QuantLib QdFp fast": lambda p: ql.QdFpAmericanEngine(p, ql.QdFpAmericanEngine.fastScheme()),
        "QuantLib QdFp accurate": lambda p: ql.QdFpAmericanEngine(p, ql.QdFpAmericanEngine.accurateScheme()),
        "QuantLib Cox-Ross-Rubinstein 500": lambda p: ql.BinomialCRRVanillaEngine(p, 500),
        "QuantLib Bjerksund-Stensland": ql.BjerksundStenslandApproximationEngine}
    rows = []
    for name, engine in engines.items():
        made = [option(i, engine) for i in range(COUNT)]

        def price(made: list[tuple[Any, Any]] = made) -> np.ndarray:
            found = np.empty(COUNT)
            for i, (instrument, spot) in enumerate(made):
                value = spot.value()
                spot.setValue(value * 1.001)
                spot.setValue(value)
                found[i] = instrument.NPV()
            return found

        error = np.abs(price() - exact) / 100.0
        rows.append({"method": name, "microseconds": best(price) / COUNT * 1e6, "worst": error.max(), "median": float(np.median(error))})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write")
    arguments = parser.parse_args()
    columns = options()
    exact = american_values(columns | {"price_only": 1.0})["price"]
    rows = ours(columns, exact) + quantlib(columns, exact)
    print(f"{COUNT} options, one thread, float64; error in units of the strike")
    print(f"{'method':62}{'us':>9}{'worst':>10}{'median':>10}")
    for row in rows:
        print(f"{row['method']:62}{row['microseconds']:9.2f}{row['worst']:10.1e}{row['median']:10.1e}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"options": COUNT, "precision": "float64", "isa": cpu.available()[2], "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
