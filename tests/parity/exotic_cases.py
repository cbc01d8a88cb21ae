"""Random cases of the operations on exotics, away from the kinks where derivatives jump."""

from __future__ import annotations

import numpy as np

from upm_gpu.formula.geometric_asian import average_times
from upm_gpu.formula.operation import Columns


def exotic_cases(name: str, count: int, seed: int = 5) -> Columns:
    """Columns of the operation `name` for `count` cases."""
    rng = np.random.default_rng(seed)

    def between(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, count)

    def one_of(*values: float) -> np.ndarray:
        return rng.choice(np.array(values), count)

    spot, years = between(80.0, 120.0), between(0.1, 2.0)
    market = {"time_to_expiry": years, "rate": between(-0.01, 0.1), "dividend_yield": between(-0.02, 0.1), "volatility": between(0.15, 0.6)}
    on_forward = rng.random(count) < 0.3
    level = {"spot": np.where(on_forward, np.nan, spot), "forward": np.where(on_forward, spot, np.nan)}
    payoff = {"strike": between(70.0, 130.0), "region": one_of(-1.0, 0.0, 1.0), "asset": between(-1.0, 1.0), "cash": between(-100.0, 100.0),
              "knock_in": one_of(0.0, 1.0), "hit": one_of(0.0, 0.0, 0.0, 1.0), "hit_payment": one_of(0.0, 3.0), "miss_payment": one_of(0.0, 2.0)}
    if name == "single_barrier":
        up = one_of(-1.0, 1.0)
        return {**level, **market, **payoff, "barrier": spot * np.exp(up * between(0.05, 0.4)), "up": up, "hit_asset": one_of(0.0, 0.1), "fixings": one_of(0.0, 0.0, 12.0)}
    if name == "double_barrier":
        return {**level, **market, **payoff, "rate": between(0.0, 0.1), "lower_barrier": spot * between(0.5, 0.95), "upper_barrier": spot * between(1.05, 2.0)}
    if name == "forward_start":
        return {**level, **market, "moneyness": between(0.8, 1.2), "start_time": years * between(0.05, 0.9), "sign": one_of(-1.0, 1.0)}
    if name == "geometric_asian":
        average = [average_times(t * np.linspace(0.2, 1.0, 5), 2) for t in years]
        return {**level, **market, "strike": between(80.0, 120.0), "sign": one_of(-1.0, 1.0), "log_past": np.full(count, 2.0 / 7.0 * np.log(100.0)),
                **{key: np.array([a[key] for a in average]) for key in average[0]}}
    if name == "arithmetic_asian":
        times = np.sort(rng.uniform(0.1, 1.0, (6, count)), axis=0) * years
        times[4:, ::3] = np.nan
        times[0, 1::4] = 0.0
        return {**level, **market, "strike": between(80.0, 120.0), "sign": one_of(-1.0, 1.0), "continuous": (np.arange(count) == 2) * 1.0, "past": one_of(0.0, 3.0),
                "average_so_far": between(90.0, 110.0), "fixing_time": times}
    if name == "heston_geometric_asian":
        del market["volatility"]
        return {**level, **market, "strike": between(90.0, 110.0), "sign": one_of(-1.0, 1.0), "initial_variance": between(0.02, 0.2), "mean_reversion": between(0.5, 3.0),
                "long_run_variance": between(0.02, 0.3), "vol_of_vol": between(0.1, 0.8), "correlation": between(-0.8, 0.3)}
    kind = one_of(0.0, 1.0, 2.0)
    return {**market, "spot": spot, "spot_2": between(80.0, 120.0), "dividend_yield_2": between(0.0, 0.1), "volatility_2": between(0.1, 0.6),
            "correlation": one_of(-1.0, 1.0) * between(0.0, 0.97), "strike": np.where(kind == 0.0, between(-20.0, 20.0), between(80.0, 120.0)),
            "sign": one_of(-1.0, 1.0), "kind": kind}
