"""What to simulate: the size and address of the draw, the dates, the law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Law = Literal["gaussian", "student_t"]
Measure = Literal["margin", "pricing", "historical"]


@dataclass(frozen=True)
class ScenarioSpec:
    """Frozen request for scenarios.

    `horizons` are days since the valuation time (0.999 and 2.0 for the sample); `steps` adds that many equally spaced path dates
    to the longest horizon for inspection and changes no figure. The law (copula, marginals, base step) is in the
    model parameters; here are the choices that turn a history into those parameters.
    """

    count: int = 100_000
    seed: int = 20_260_205
    stream: int = 0
    horizons: tuple[float, ...] = (2.0,)
    steps: int = 1
    measure: Measure = "margin"
    model: str = "gbm"
    parameters: str = ""
    """path of a calibrated parameter file; "" calibrates from the market's history"""
    base_step_days: float = 1.0
    copula: Law = "student_t"
    copula_degrees_of_freedom: float = 4.0
    marginal: Law = "student_t"
    degrees_of_freedom: float = 4.0
    max_log_move_price: float = 1.5
    max_log_move_volatility: float = 1.5
    estimator: str = "ewma"
    ewma_lambda: float = 0.97
    correlation: str = "sample"
    volatility_dynamics: str = "sticky_moneyness"
    volatility_shift: str = "relative"
    volatility_decay_short: float = 0.30
    volatility_decay_long: float = 0.13
