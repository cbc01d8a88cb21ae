"""A Heston fit of one full chain beside QuantLib's Levenberg-Marquardt from the same start, and of many daily chains in one call.

`python -m benchmarks.calibration CHAINS [--days N] [--out FILE.json]`: CHAINS is a table of chain snapshots, one chain a timestamp, such as a year of an exchange's files. Every quote of the day counts, calls and puts. Both
sides make the same sum small, errors of price over the vega of the quote, from the same start; ours once more with its global phase and exact errors of volatility, as the command does. QuantLib runs on one thread; ours as it comes.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.calibrate.chain.days import read_days
from upm_gpu.calibrate.chain.fit import FitOptions, fit_chains
from upm_gpu.calibrate.chain.quotes import Chain

START = (0.25, 5.0, 0.3, 2.0, -0.3)
WARM_RUNS = 5


def both_sides(chain: Chain) -> Chain:
    """The chain with every quote twice, as a call and as a put of its strike."""
    order = np.repeat(np.arange(len(chain.strike)), 2)
    return replace(chain, expiry=chain.expiry[order], forward=chain.forward[order], strike=chain.strike[order], volatility=chain.volatility[order], spread=chain.spread[order])


def quantlib_fit(chain: Chain) -> tuple[list[float], float, float]:
    """Parameters, seconds of the processor (one thread) and the root mean square error of QuantLib's fit: HestonModelHelper with relative price errors replaced by ImpliedVolError, one helper a quote, LevenbergMarquardt(1e-8, 1e-8, 1e-8)."""
    import QuantLib as ql

    day = ql.Date(2, 1, 2026)
    ql.Settings.instance().evaluationDate = day
    count = ql.Actual365Fixed()
    spot = float(chain.forward[0])
    # one curve of dividends carries every forward; rates are zero, so prices are undiscounted
    days = [max(1, round(t * 365.0)) for t in chain.years]
    first = [int(np.flatnonzero(chain.expiry == e)[0]) for e in range(len(days))]
    dates = [day, *(day + d for d in days)]
    factors = [1.0, *(float(chain.forward[i]) / spot for i in first)]
    risk_free = ql.YieldTermStructureHandle(ql.FlatForward(day, 0.0, count))
    dividend = ql.YieldTermStructureHandle(ql.DiscountCurve(dates, factors, count))
    v0, kappa, theta, sigma, rho = START
    model = ql.HestonModel(ql.HestonProcess(risk_free, dividend, ql.QuoteHandle(ql.SimpleQuote(spot)), v0, kappa, theta, sigma, rho))
    engine = ql.AnalyticHestonEngine(model)
    helpers = []
    for e, k, s in zip(chain.expiry, chain.strike, chain.volatility, strict=True):
        helper = ql.HestonModelHelper(ql.Period(days[int(e)], ql.Days), ql.NullCalendar(), spot, float(k), ql.QuoteHandle(ql.SimpleQuote(float(s))), risk_free, dividend, ql.BlackCalibrationHelper.PriceError)
        helper.setPricingEngine(engine)
        helpers.append(helper)
    # the same weights as ours: 1 / vega of the quote, no more than 20 times that at the money
    top = np.sqrt(chain.years / (2.0 * np.pi))[chain.expiry]
    weights = (1.0 / np.maximum(chain.vega, 0.05 * top) / chain.forward) ** 2
    begun = time.process_time()
    model.calibrate(helpers, ql.LevenbergMarquardt(1e-8, 1e-8, 1e-8), ql.EndCriteria(200, 50, 1e-8, 1e-8, 1e-8), ql.NoConstraint(), [float(w) for w in weights / weights.mean()])
    seconds = time.process_time() - begun
    theta, kappa, sigma, rho, v0 = model.params()
    errors = np.array([h.modelValue() - h.marketValue() for h in helpers]) * np.sqrt(weights)
    return [v0, kappa, theta, sigma, rho], seconds, float(np.sqrt(np.mean(errors**2)))


def timed(chains: list[Chain], options: FitOptions, start: Any = None) -> tuple[list[Any], float, float]:
    """Fits, and the least seconds of the clock and of the processor of some warm runs: on a shared machine the clock counts the neighbours too."""
    best, work, fits = np.inf, np.inf, []
    for _ in range(WARM_RUNS if len(chains) == 1 else 1):
        begun, used = time.perf_counter(), time.process_time()
        fits = fit_chains(chains, options, start)
        best, work = min(best, time.perf_counter() - begun), min(work, time.process_time() - used)
    return fits, best, work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chains", type=Path)
    parser.add_argument("--days", type=int, default=0, help="daily chains of every underlying; 0 takes all")
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    days, _ = read_days(asked.chains)
    one = both_sides(next(iter(days.values()))[-1])
    options = FitOptions(objective="price")
    fit_chains([one], options)
    (ours,), same_start, same_work = timed([one], options, np.array(START))
    (whole,), searched, searched_work = timed([one], FitOptions())
    many = [c for found in days.values() for c in (found[: asked.days] if asked.days else found)]
    fits, together, together_work = timed(many, FitOptions())
    found: dict[str, Any] = {
        "cores": os.cpu_count(), "quotes": len(one.strike), "expiries": len(one.years), "seconds_same_start": same_start, "processor_seconds_same_start": same_work, "seconds_with_global_phase": searched,
        "processor_seconds_with_global_phase": searched_work,
        "parameters": ours.parameters.tolist(), "root_mean_square_weighted": float(np.sqrt(2.0 * ours.cost / len(one.strike))), "converged": bool(ours.converged and whole.converged),
        "days": len(many), "seconds_days": together, "processor_seconds_days": together_work, "days_converged": int(sum(f.converged for f in fits))}
    if asked.peer:
        parameters, seconds, error = quantlib_fit(one)
        found |= {"quantlib_processor_seconds": seconds, "quantlib_parameters": parameters, "quantlib_root_mean_square_weighted": error, "ratio_of_processor_seconds": seconds / same_work}
    print(json.dumps(found, indent=2))
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
