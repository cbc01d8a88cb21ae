"""How what is priced follows the model's states, and when each instrument is read: choices of a specification, no market and no book."""

from __future__ import annotations

from dataclasses import dataclass

from upm_gpu.scenario.spec import ScenarioSpec


@dataclass(frozen=True)
class Dynamics:
    """How what is priced follows the model's states. Decay exponents: house choice (conventions of the project)."""

    sticky_moneyness: bool = True
    additive: bool = False
    decay_short: float = 0.30
    decay_long: float = 0.13
    sticky_delta: bool = False
    """beside sticky moneyness: the smile is a function of standard deviations from the money"""
    project: bool = False
    """correct moved surfaces to ones without arbitrage, see `surface_factors.py`"""
    basis: bool = False
    """perpetuals move by the index and by log_basis[underlying]"""
    funding: str = "zero"
    """`path`: perpetuals are paid for along the path"""
    funding_rate: float = 0.0
    """a day, today's, where the history has no ASSET.FUNDING"""
    step_days: float = 1.0
    """length of an accrual of funding"""
    rates: bool = False
    """discount factors move by rate_level[currency] and rate_slope[currency]"""

    def loading(self, days: float) -> float:
        """Share of the 30-day shift that an expiry `days` away takes: (30 / max(days, 1))^p, p by side of 30 days."""
        exponent = self.decay_short if days < 30.0 else self.decay_long
        return float((30.0 / max(days, 1.0)) ** exponent)


@dataclass(frozen=True)
class Periods:
    """Instruments that are read at their own dates at one horizon: the margin period by product class."""

    horizon: float
    """the horizon at which they are"""
    days: tuple[float, ...]
    """(N,) the date of each instrument, days since valuation, a path date"""


def dynamics_of(spec: ScenarioSpec) -> Dynamics:
    """The choices of a specification."""
    return Dynamics(spec.volatility_dynamics != "sticky_strike", spec.volatility_shift == "additive", spec.volatility_decay_short, spec.volatility_decay_long,
                    spec.volatility_dynamics == "sticky_delta", spec.arbitrage == "project",
                    spec.basis, spec.funding, spec.funding_rate, spec.base_step_days, spec.rates == "moving")


__all__ = ["Dynamics", "Periods", "dynamics_of"]
