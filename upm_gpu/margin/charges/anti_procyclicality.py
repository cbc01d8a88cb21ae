"""Anti-procyclicality: margins that do not follow calm markets all the way down, so that they need not rise as far in a crisis. One tool of four:

  buffer:           amount = b x core,  b = buffer x clip((m_hi - m) / (m_hi - m_lo), 0, 1),  m = core / its one-year mean
  stressed_weight:  amount = max(0, weight (M_s - core)): (1 - weight) core + weight M_s, never below the core
  floor:            amount = max(0, M_l - core): never below what long-run volatilities would ask for
  stress_var:       amount = max(0, factor VaR_s - core): a stress-period value-at-risk as a floor

M_s and M_l are the core's own measure times its multiplier, at least 0, on the run's random numbers under the volatilities and the correlation of a stressed period (`start` to `end`) or under the
volatilities of the last `long_run_years` of the run's `[model]` (`calibrate/other_volatility.py`); VaR_s is value-at-risk at `level` of the former. The buffer is whole in calm times (m <= m_lo)
and is used up as margins rise (m >= m_hi). Means by unit are the book's table `margin_means`, which `upm responsiveness RUN ... --means FILE.csv` writes; a unit that is not in it is new and has the
whole buffer (m = 1).

EMIR asks for one of the first three; `also` adds others, but only with `stacking = true`. Amounts of tools add up.

Source: Commission Delegated Regulation (EU) 153/2013, article 28(1)(a) (a buffer of at least 25 % of the margins, to be exhausted when they rise significantly), (b) (at least 25 % weight on stressed observations),
(c) (a ten-year look-back); the stress-period floor is in the manner of Eurex Prisma. The path of the buffer's depletion, m_lo and m_hi: house choices. stressed_weight and floor with an expected shortfall are sub-additive
where their sets have the run's scenarios: core + amount is then a maximum or mean of sub-additive measures. The buffer is not: two units deplete theirs at different times.

Standard error: buffer |d(b core) / d core| SE(core), the mean held fixed; the others a bound, the errors of what is subtracted added up, reached only if they were opposed.
Verified by tests/end_to_end/test_anti_procyclicality.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from upm_gpu.margin.requests import (
    LONG_RUN,
    Charge,
    Measured,
    MeasureRequest,
    Request,
    StressedPeriod,
    floor_at_zero,
)
from upm_gpu.strict_toml import Strict

NAME = "anti_procyclicality"
Tool = Literal["buffer", "stressed_weight", "floor", "stress_var"]
DAY = r"^(\d{4}-\d{2}-\d{2})?$"


class Parameters(Strict):
    """Keys of the charge."""

    tool: Tool = Field(default="floor", description="buffer, stressed_weight or floor: EMIR RTS 153/2013 article 28(1)(a), (b), (c); stress_var: a stress-period value-at-risk")
    also: list[Tool] = Field(default=[], description="further tools, with stacking = true")
    stacking: bool = Field(default=False, description="several tools may be in force at once")
    buffer: float = Field(default=0.25, ge=0.25, le=1.0, description="share of the core in calm times")
    m_lo: float = Field(default=1.0, gt=0.0, le=100.0, description="core over its one-year mean at which the buffer begins to be used")
    m_hi: float = Field(default=1.5, gt=0.0, le=100.0, description="at which it is used up")
    weight: float = Field(default=0.25, ge=0.25, le=1.0, description="of the stressed measure")
    start: str = Field(default="", pattern=DAY, description="first day of the stressed period")
    end: str = Field(default="", pattern=DAY, description="last day of it")
    level: float = Field(default=0.99, ge=0.5, lt=1.0, description="confidence of the stress-period value-at-risk")
    factor: float = Field(default=1.0, gt=0.0, le=10.0, description="of the stress-period value-at-risk, calibrated")
    count: int = Field(default=0, ge=0, lt=2**32, description="scenarios of the stressed or long-run set; 0: the run's")

    @model_validator(mode="after")
    def _fits(self) -> Parameters:
        if self.also and not self.stacking:
            raise ValueError(f"also names {', '.join(self.also)} beside tool {self.tool}, and one tool is enough: set stacking = true, or remove also")
        if len(set(self.tools)) != len(self.tools):
            raise ValueError("a tool stands twice: name each once")
        if self.m_hi <= self.m_lo:
            raise ValueError("m_hi must be above m_lo")
        if {"stressed_weight", "stress_var"} & set(self.tools) and not (self.start and self.end):
            raise ValueError(f"tool {' and '.join(t for t in self.tools if t.startswith('stress'))} needs the stressed period: give start and end")
        return self

    @property
    def tools(self) -> tuple[Tool, ...]:
        """All in force."""
        return (self.tool, *self.also)


def _of(tool: Tool, core: MeasureRequest, p: Parameters) -> MeasureRequest:
    """What a tool compares the core with."""
    if tool == "buffer":
        return core
    if tool == "floor":
        return replace(core, scenario_set=LONG_RUN, count=p.count)
    stressed = replace(core, scenario_set=StressedPeriod(p.start, p.end), count=p.count)
    return replace(stressed, level=p.level) if tool == "stress_var" else stressed


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """The core, and the sets of the tools in force."""
    return [core, *dict.fromkeys(_of(tool, core, parameters) for tool in parameters.tools)]


def depletion(ratio: NDArray[np.float64], m_lo: float, m_hi: float) -> NDArray[np.float64]:
    """Share of the buffer that is left at a ratio of the core to its mean.

    >>> depletion(np.array([0.8, 1.25, 2.0]), 1.0, 1.5).tolist()
    [1.0, 0.5, 0.0]
    """
    left: NDArray[np.float64] = np.clip((m_hi - ratio) / (m_hi - m_lo), 0.0, 1.0)
    return left


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    found = [_buffer(measured, parameters) if tool == "buffer" else _compared(tool, measured, core, multiplier, parameters) for tool in parameters.tools]
    amount = np.sum(np.stack([np.maximum(a, 0.0) for a, _, _ in found]), axis=0)
    error = np.sum([e for _, e, _ in found], axis=0)
    whole = floor_at_zero(NAME, amount, "; ".join(reason for _, _, reason in found), error)
    return replace(whole, floored=np.sum(np.stack([np.maximum(-a, 0.0) for a, _, _ in found]), axis=0))


Part = tuple[NDArray[np.float64], NDArray[np.float64], str]


def _buffer(measured: Measured, p: Parameters) -> Part:
    core = measured.core
    mean = measured.one_year_mean if len(measured.one_year_mean) else np.full(len(core), np.nan)
    known = mean > 0.0
    ratio = np.where(known, np.divide(core, mean, out=np.ones_like(core), where=known), 1.0)
    left = depletion(ratio, p.m_lo, p.m_hi)
    slope = np.where(known & (left > 0.0) & (left < 1.0), (p.m_hi - 2.0 * ratio) / (p.m_hi - p.m_lo), left)
    new = int(np.count_nonzero(~known))
    reason = f"a buffer of {100 * p.buffer:g} % of the core, less what a core above its one-year mean has used" + (f"; {new} units without a mean" if new else "")
    return p.buffer * left * core, p.buffer * np.abs(slope) * measured.core_standard_error, reason


def _compared(tool: Tool, measured: Measured, core: MeasureRequest, multiplier: float, p: Parameters) -> Part:
    found = measured.measures[_of(tool, core, p)]
    quantile = measured.quantile_core or tool == "stress_var"
    other, error = (found.value_at_risk, found.value_at_risk_standard_error) if quantile else (found.expected_shortfall, found.expected_shortfall_standard_error)
    scale = p.factor if tool == "stress_var" else multiplier
    over = np.maximum(other, 0.0) * scale - measured.core
    share = p.weight if tool == "stressed_weight" else 1.0
    reason = {
        "stressed_weight": f"{p.weight:g} of what the core under the stressed period {p.start} to {p.end} exceeds today's by",
        "floor": "what the core under long-run volatilities exceeds today's by",
        "stress_var": f"what {p.factor:g} times the value-at-risk at {100 * p.level:g} % of the stressed period {p.start} to {p.end} exceeds the core by",
    }[tool]
    return share * over, share * (scale * error + measured.core_standard_error), reason
