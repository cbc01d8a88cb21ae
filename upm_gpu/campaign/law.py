"""The joint law of the model's states over the margin period, as the campaign reads it: an ellipse.

Mean and covariance are those of the model's own scenarios at the horizon of the core, whatever the model; `toward_one` moves the correlations of price
states a share of the way to the signed rank-one matrix (conventions, as `model.correlation_regimes`). On the condition that some states are given,
a Student-t law with nu degrees of freedom has location mu_r + B (x_g - mu_g), B = S_rg S_gg^-1, degrees nu + n_g, and the scatter
(nu + d^2) / (nu + n_g) (S_rr - B S_gr), d^2 the Mahalanobis distance of what is given (Kotz and Nadarajah 2004, "Multivariate t Distributions", section 1.11);
S is scatter, (nu - 2) / nu of the covariance. Verified by tests/properties/test_campaign_law.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.pricing.compiled import empty
from upm_gpu.scenario.derived import base_of, shortened

if TYPE_CHECKING:
    from upm_gpu.plan import Plan

SCENARIOS = 16_384
"""of the model that the law is read from: a correlation is known to 0.01, a volatility to 1 %"""
STREAM, MIXING = 0xC00000, 0xC00001
"""user streams of the normal draws of a family and of its common scale, far from those that runs are given"""
FLAT = 1e-14
"""a variance below: the state does not move"""


@dataclass(frozen=True)
class Law:
    """Location and covariance of the drawn states."""

    names: tuple[str, ...]
    mean: NDArray[np.float64]
    """(K,)"""
    covariance: NDArray[np.float64]
    """(K, K)"""

    def toward_one(self, share: float, inverse: tuple[str, ...] = ()) -> Law:
        """Correlations between prices a share of the way to one (to minus one between an asset and an inverse one)."""
        if share == 0.0:
            return self
        sigma = np.sqrt(np.diag(self.covariance))
        sign = np.array([0.0 if not n.startswith(("log_level[", "log_fx[")) else -1.0 if n.partition("[")[2].rstrip("]") in inverse else 1.0 for n in self.names])
        target = np.outer(sign * sigma, sign * sigma)
        moved = np.where(target != 0.0, (1.0 - share) * self.covariance + share * target, self.covariance)
        return replace(self, covariance=moved)

    def distance(self, moves: NDArray[np.float64]) -> NDArray[np.float64]:
        """(S,) Mahalanobis distance of states (K, S) from the mean, over the states that move."""
        alive = np.diag(self.covariance) > FLAT
        root = np.linalg.cholesky(self.covariance[np.ix_(alive, alive)])
        found: NDArray[np.float64] = np.sqrt(np.sum(np.linalg.solve(root, moves[alive] - self.mean[alive, None]) ** 2, axis=0))
        return found


def law_of(plan: Plan, backend: Any) -> Law:
    """The law of a plan's drawn states at the horizon of its core, moment by moment from its scenarios."""
    drawn = shortened(base_of(plan.scenarios), min(SCENARIOS, plan.scenarios.count)) if plan.scenarios.count > SCENARIOS else base_of(plan.scenarios)
    date = int(np.argmin(np.abs(plan.compiled.dates - plan.horizons[plan.horizon(plan.core.horizon)])))  # the set's own dates may be of a trading clock
    with backend.prepare(*empty(drawn.state_names, drawn.dates), "double", 1) as prepared:
        states = np.asarray(backend.states(prepared, drawn, 0, drawn.count))[date]
    return Law(tuple(drawn.state_names), states.mean(axis=1), np.cov(states))


def conditional(law: Law, given: Mapping[str, float], count: int, seed: int, degrees_of_freedom: float) -> NDArray[np.float64]:
    """(K, count) states with those of `given` as given and the rest drawn on that condition."""
    from scipy.special import chdtri

    from upm_gpu.rng import normal, uniform

    known = np.array([n in given for n in law.names])
    alive = ~known & (np.diag(law.covariance) > FLAT)
    value = np.array([given[n] for n in law.names if n in given])
    found = np.repeat(law.mean[:, None], count, axis=1)
    found[known] = value[:, None]
    if not alive.any():
        return found
    nu, held = degrees_of_freedom, int(np.count_nonzero(known))
    scatter = law.covariance * ((nu - 2.0) / nu if nu else 1.0)
    away = value - law.mean[known]
    slope = np.linalg.lstsq(scatter[np.ix_(known, known)], scatter[np.ix_(known, alive)], rcond=None)[0].T
    rest = scatter[np.ix_(alive, alive)] - slope @ scatter[np.ix_(known, alive)]
    if nu:
        squared = float(away @ np.linalg.lstsq(scatter[np.ix_(known, known)], away, rcond=None)[0])
        rest = rest * ((nu + squared) / (nu + held))
    values, vectors = np.linalg.eigh((rest + rest.T) / 2.0)
    z = normal(seed, STREAM, count, int(np.count_nonzero(alive)))[:, 0]
    if nu:
        mixing = chdtri(nu + held, uniform(seed, MIXING, count, 1)[0, 0])
        z = z * np.sqrt((nu + held) / mixing)
    found[alive] = law.mean[alive, None] + (slope @ away)[:, None] + vectors @ (np.sqrt(np.maximum(values, 0.0))[:, None] * z)
    return found
