"""The law of an underlying's price as an option formula takes it: what a model's parameters say about the time after the horizon.

Heston, Bates and Merton leave a horizon in a state of the same model: the rest of the path has the same parameters and starts at the path's own variance (Heston, Bates: dv = kappa (theta - v) dt
+ xi sqrt(v) dB) or volatility of the diffusion (Merton). Under every measure it is the law without drift whose forwards are martingales. A run has one volatility state an option reads,
y; the moving input of the operation is

  Heston, Bates:  v = (e^(2 y) - base) / slope,  y = 1/2 ln(Vbar(T; v) / Vbar(T; v_0)) = volatility_shift[underlying, expiry], whose line in v is that of `heston.py`;
  Merton:         sigma = sigma_0 e^y,           y = volatility_shift[underlying] times the loading of the expiry: the diffusion moves, the jumps stay,

both (e^(power y) - base) / slope, and not below 0. A market-wide clock and one of the underlying's own are two independent clocks, the first heard with its loading.

Verified by tests/properties/test_model_repricing.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from upm_gpu.formula.moment_explosion import SECOND, explosion_time
from upm_gpu.model.heston import HestonParameters, variance_line
from upm_gpu.model.jumps import YEAR_DAYS, JumpParameters
from upm_gpu.model.merton import MertonParameters

LEAST_VOLATILITY = 1e-6
"""of a diffusion that stands still: its logarithm is taken"""

Inputs = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class PricingLaw:
    """Fixed inputs of an operation of `formula/operations.py`, and which input moves with the volatility state."""

    operation: str
    inputs: Inputs
    moving: str
    power: float
    parameters: HestonParameters | None
    """of a line of variance that depends on the time to expiry"""
    place: int
    volatility: float
    """of the diffusion today, Merton"""

    def line(self, years: float) -> tuple[float, float]:
        """base and slope of e^(power y) as a line in the moving input, `years` to the expiry at the valuation."""
        if self.parameters is None:
            return 0.0, 1.0 / self.volatility
        base, slope = variance_line(self.parameters, self.place, years)
        return float(base), float(slope)


def pricing_laws(model: Any) -> dict[str, PricingLaw]:
    """By underlying; empty for a model without option prices of its own."""
    if isinstance(model, HestonParameters):
        return {u: _heston(model, i) for i, u in enumerate(model.underlyings)}
    if isinstance(model, MertonParameters):
        names = [(k, name) for k, name in enumerate(model.state_names) if name.startswith("log_level[")]
        return {name[len("log_level["):-1]: _merton(model, k) for k, name in names}
    return {}


def feller_warnings(model: Any) -> tuple[str, ...]:
    """One line for every underlying whose variance reaches zero: 2 kappa theta < xi^2 (Feller 1951)."""
    if not isinstance(model, HestonParameters):
        return ()
    drift = 2.0 * np.asarray(model.mean_reversion, float) * np.asarray(model.long_variance, float)
    square = np.asarray(model.volatility_of_variance, float) ** 2
    return tuple(f"UPM-PR-095 {u}: Feller's condition fails (2 kappa theta = {drift[i]:.4g}, vol of vol squared {square[i]:.4g}): its variance reaches zero, in the scenarios and in the prices at the "
                 "horizon. Both are exact there; the parameters are worth a look." for i, u in enumerate(model.underlyings) if drift[i] < square[i])


def moment_warnings(model: Any, horizon: float, expiries: Sequence[tuple[str, str, float]] = ()) -> tuple[str, ...]:
    """One line for every underlying whose price has no variance at the longest `horizon` (days), or at the last of `expiries` (underlying, label, days), which a run has where options are priced under the model."""
    if not isinstance(model, HestonParameters):
        return ()
    lines = []
    for i, u in enumerate(model.underlyings):
        kappa, theta, xi, rho, start = (float(x[i]) for x in (model.mean_reversion, model.long_variance, model.volatility_of_variance, model.rho, model.initial_variance))
        days = explosion_time(SECOND, kappa, xi, rho) * YEAR_DAYS if start > 0.0 or kappa * theta > 0.0 else np.inf
        last = max((d for name, _, d in expiries if name == u), default=0.0)
        if days <= horizon:
            lines.append(f"UPM-PR-112 {u}: its price has no variance from day {days:.3g} on, within the horizon of {horizon:g} days (second moment, vol of vol {xi:.4g}, correlation {rho:.4g}). Expected shortfalls "
                         "exist, standard errors of short positions do not: those reported are too small. Check the parameters.")
        elif days <= last:
            lines.append(f"UPM-PR-112 {u}: its price has no variance from day {days:.3g} on, and options to day {last:.4g} are priced under the model (second moment, vol of vol {xi:.4g}, correlation {rho:.4g}). "
                         "Prices and margins exist; the variance of a hedge held to expiry does not. Check the parameters.")
    return tuple(lines)


def _heston(p: HestonParameters, i: int) -> PricingLaw:
    fixed = (("mean_reversion", float(p.mean_reversion[i])), ("long_run_variance", float(p.long_variance[i])), ("vol_of_vol", float(p.volatility_of_variance[i])), ("correlation", float(p.rho[i])))
    return PricingLaw("heston_price", (*fixed, *_clocks(p.jumps, i)), "initial_variance", 2.0, p, i, 0.0)


def _merton(p: MertonParameters, k: int) -> PricingLaw:
    volatility = max(float(p.daily_volatility[k]) * float(np.sqrt(YEAR_DAYS)), LEAST_VOLATILITY)
    clocks = _clocks(p.jumps, k)
    if len(clocks) <= 3:
        return PricingLaw("merton_price", clocks or (("jump_intensity", 0.0), ("jump_mean", 0.0), ("jump_volatility", 0.0)), "volatility", 1.0, None, k, volatility)
    # two clocks: the integral, with a variance that never moves; its input is a variance
    still = (("mean_reversion", 0.0), ("long_run_variance", 0.0), ("vol_of_vol", 0.0), ("correlation", 0.0))
    return PricingLaw("heston_price", (*still, *clocks), "initial_variance", 2.0, None, k, volatility * volatility)


def _clocks(p: JumpParameters | None, k: int) -> Inputs:
    """The clocks that ring for state k: a year, mean and deviation of a log jump."""
    if p is None:
        return ()
    loading = float(p.systemic_loading[k])
    both = ((float(p.systemic_intensity), loading * float(p.systemic_mean), abs(loading) * float(p.systemic_deviation)),
            (float(p.own_intensity[k]), float(p.own_mean[k]), float(p.own_deviation[k])))
    rings = [c for c in both if c[0] > 0.0 and (c[1] != 0.0 or c[2] > 0.0)]
    return tuple((f"{prefix}_{name}", value) for prefix, clock in zip(("jump", "second_jump"), rings, strict=False) for name, value in zip(("intensity", "mean", "volatility"), clock, strict=True))
