"""Merton jump diffusion over many factors: correlated Gaussian moves and Poisson jumps, market-wide and of each factor's own.

Over a time t (days) a log-price moves by X = s sqrt(t) Z + l J_M + J_k + c t: s the daily volatility of the diffusion, Z correlated normals (Gaussian copula),
J_M the sum of the market-wide jumps heard with loading l, J_k that of the factor's own. Under `margin` and `pricing`
c = -s^2 / 2 - nu_M (exp(l mu_M + l^2 sigma_M^2 / 2) - 1) - nu_k (exp(mu_k + sigma_k^2 / 2) - 1), so that E[exp X] = 1 at every date (R. C. Merton,
"Option pricing when underlying stock returns are discontinuous", Journal of Financial Economics 3, 1976); a log-volatility is centred to zero mean. It compiles to the
walk of `gbm.py` with the clocks of `jumps.py`. Verified: tests/statistics/test_jump_law.py, tests/known_answers/test_stochastic_models.py, tests/parity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from upm_gpu.model.gbm import GbmParameters, is_price, walk
from upm_gpu.model.jumps import JumpParameters, check_jumps, compile_jumps, growth, no_jumps
from upm_gpu.model.legs import path_legs
from upm_gpu.model.parameter_table import ParameterTable, read_table
from upm_gpu.model.reversion import reverted_days, steady_prices
from upm_gpu.scenario.sets import ScenarioSet
from upm_gpu.scenario.spec import Measure, ScenarioSpec

JUMP_KEYS = ("systemic.intensity", "systemic.mean", "systemic.deviation", "systemic.loading", "own.intensity", "own.mean", "own.deviation")
KEYS = ("states", "daily_volatility", "correlation", "stressed_correlation", "drift", "half_life_days", *JUMP_KEYS)


@dataclass(frozen=True)
class MertonParameters:
    """K factors in the order of the file, which fixes their random numbers."""

    state_names: tuple[str, ...]
    daily_volatility: NDArray[np.float64]
    """(K,) standard deviation of the diffusion part over one day"""
    correlation: NDArray[np.float64]
    """(K, K) of the diffusion part"""
    jumps: JumpParameters
    step_days: float = 1.0
    measure: Measure = "margin"
    drift: NDArray[np.float64] | None = None
    """(K,) a day, as in `GbmParameters`"""
    half_life_days: NDArray[np.float64] | None = None
    """(K,) of the reversion to today's value; 0 or None: none. Log-prices do not revert"""
    stressed_correlation: NDArray[np.float64] | None = None
    """(K, K) of a correlation regime, see `regimes.py`"""

    def scenarios(self, dates_days: NDArray[np.float64], spec: ScenarioSpec) -> ScenarioSet:
        """A walk with jump clocks. A sampler acts on the diffusion; jumps are plain draws."""
        from upm_gpu.model.sampling import sample

        check_jumps(self.jumps, self.state_names)
        diffusion = GbmParameters(self.state_names, self.daily_volatility, self.correlation, step_days=self.step_days, measure=self.measure, drift=self.drift,
                                  half_life_days=self.half_life_days)
        path = walk(diffusion, dates_days, spec.seed, spec.stream, spec.count)
        legs = path_legs(path.dates, self.step_days, spec.stream)
        price = np.array([is_price(s) for s in self.state_names])
        steady_prices(self.half_life_days, self.state_names, self.step_days)
        days = reverted_days(path.persistence, legs, path.dates, self.step_days, len(price))
        centre = path.centre - days * growth(self.jumps, price, logarithmic=self.measure == "historical")
        return sample(replace(path, centre=centre, jumps=compile_jumps(self.jumps, legs, path.dates, self.step_days, spec.stream)), spec)


def read(path: str, spec: ScenarioSpec) -> MertonParameters:
    """Parameters from a file of kind `merton`. Raises `InputError` UPM-CA-072 to 074, `CalibrationError` from the checks of the model."""
    table = read_table(path, "merton", KEYS)
    names = table.text("states")
    size = len(names)
    return MertonParameters(
        names, table.numbers("daily_volatility", (size,), 0.0), table.numbers("correlation", (size, size), -1.0, 1.0), jumps_of(table, size), spec.base_step_days,
        spec.measure, table.numbers("drift", (size,)) if table.has("drift") else None,
        table.numbers("half_life_days", (size,), 0.0) if table.has("half_life_days") else None, table.stressed_correlation(size))


def jumps_of(table: ParameterTable, size: int) -> JumpParameters:
    """The clocks of a file; a section that is not there has none."""
    none = no_jumps(size)
    sections = {key.partition(".")[0] for key in table.values if "." in key}
    systemic = {} if "systemic" not in sections else {
        "systemic_intensity": table.number("systemic.intensity", 0.0), "systemic_mean": table.number("systemic.mean"),
        "systemic_deviation": table.number("systemic.deviation", 0.0), "systemic_loading": table.numbers("systemic.loading", (size,), default=1.0)}
    own = {} if "own" not in sections else {
        "own_intensity": table.numbers("own.intensity", (size,), 0.0), "own_mean": table.numbers("own.mean", (size,)),
        "own_deviation": table.numbers("own.deviation", (size,), 0.0)}
    return replace(none, **systemic, **own)  # type: ignore[arg-type]
