"""Perfect and zero correlation across underlyings: the same random numbers, each underlying's own joint law kept.

With C the correlation of a set's normals and C_u the block of underlying u (its price, volatility, skew, slope, basis, ...):

  zero:     C' = C inside each block, 0 between blocks;
  perfect:  C'_uv = A_u A_v', A_u the triangular root of C_u in the order price, volatility, skew, slope, its columns named by those kinds. Prices of all underlyings
            then are one normal (the negative of it for inverse assets), what a volatility moves beside its price is one normal for all, and so on:
            volatilities of equal correlation with their price move as one. Bases, funding and rates stay the underlying's own.

Both are positive semidefinite with the blocks C_u on the diagonal, so marginal laws, each underlying's joint law, centrings and martingales are those of the model.
A t copula keeps its mixing variable and a market-wide jump its clock: what is replaced is correlation. Under Heston and Bates the normals are those of the prices, and each
price keeps its own variance. A set with correlation regimes loses them: every scenario has C'.

Source of the idea: OCC, STANS Margin Methodology (theocc.com, Risk Management, Margin Methodology; formulae of its appendix); SEC release 34-91079 (86 FR 9410, 2021); what a set is exactly: house choice.
Sets that draw dates have no correlation; where a run asks for it (`model.across_dates`), their dates are rearranged instead (`rearranged.py`).
Verified: tests/known_answers/test_across.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import CalibrationError
from upm_gpu.model.gbm import PRICE_STATES, VOLATILITY_STATES
from upm_gpu.model.psd import correlation_cholesky
from upm_gpu.model.rearranged import rearranged
from upm_gpu.model.regimes import asset_of, correlation_of
from upm_gpu.scenario.derived import Derived
from upm_gpu.scenario.sets import Heston, SampledWalk, ScenarioSet, Walk
from upm_gpu.scenario.volatility_sets import GarchWalk, Resample

Across = Literal["perfect", "zero"]
SHARED = {**dict.fromkeys(PRICE_STATES, 0), **{kind: 1 + i for i, kind in enumerate(VOLATILITY_STATES)}}
"""kind of a factor -> the normal it shares with its like; other kinds share none"""


def across_correlation(correlation: NDArray[np.float64], factors: Sequence[str], which: Across, inverse_assets: Sequence[str] = ()) -> NDArray[np.float64]:
    """(n, n) the correlation with what lies between underlyings replaced.

    >>> across_correlation(np.array([[1.0, 0.5], [0.5, 1.0]]), ["log_level[A]", "log_level[B]"], "zero").tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    size = len(factors)
    assets = [asset_of(f) for f in factors]
    made = np.where(np.array(assets)[:, None] == np.array(assets), correlation, 0.0)
    if which == "zero":
        return made
    shared = np.zeros((size, 1 + len(VOLATILITY_STATES)))
    for asset in dict.fromkeys(assets):
        own = sorted((k for k in range(size) if assets[k] == asset), key=lambda k: SHARED.get(_kind(factors[k]), len(SHARED)))
        root = correlation_cholesky(correlation[np.ix_(own, own)], [factors[k] for k in own])
        for column, k in enumerate(own):
            normal = SHARED.get(_kind(factors[k]))
            if normal is not None:
                shared[own, normal] = root[:, column] * (-1.0 if normal == 0 and asset in inverse_assets else 1.0)
    made = np.where(np.array(assets)[:, None] == np.array(assets), correlation, shared @ shared.T)
    return np.asarray(np.clip(0.5 * (made + made.T), -1.0, 1.0))


def _kind(factor: str) -> str:
    return factor.partition("[")[0]


def across(scenarios: ScenarioSet, which: Across, inverse_assets: Sequence[str] = (), dates: Literal["refused", "rearranged"] = "refused") -> ScenarioSet:
    """The drawn set under the replaced correlation, from the same random numbers. Raises `CalibrationError` UPM-CA-139 for a set without a correlation, unless it draws dates that may be rearranged."""
    if isinstance(scenarios, Derived):
        return replace(scenarios, base=across(scenarios.base, which, inverse_assets, dates))
    if dates == "rearranged" and (isinstance(scenarios, Resample) or (isinstance(scenarios, GarchWalk) and scenarios.residuals is not None)):
        return rearranged(scenarios, which, inverse_assets)
    part = scenarios.walk if isinstance(scenarios, SampledWalk) else scenarios
    if not isinstance(part, Walk | Heston | GarchWalk) or (isinstance(part, GarchWalk) and part.residuals is not None):
        raise CalibrationError("UPM-CA-139", f"a charge asks for {which} correlation, and scenarios of kind {scenarios.kind} have their dependence from the dates or states given: there is no correlation to "
                               "replace. Use gbm, merton, heston, bates or garch, model.across_dates = \"rearranged\" with a model that draws dates, or a methodology without the charge.")
    factors = part.state_names[: 2 * len(part.variance0) : 2] if isinstance(part, Heston) else part.state_names
    root = correlation_cholesky(across_correlation(correlation_of(part), factors, which, inverse_assets), factors)
    made: Any = replace(part, cholesky=root, regimes=None)
    if isinstance(part, GarchWalk):
        made = replace(made, loading=None, specific=None)  # a factor model of few factors cannot say it
    if not isinstance(scenarios, SampledWalk):
        changed: ScenarioSet = made
        return changed
    if isinstance(made, Walk) and scenarios.dense:
        from upm_gpu.model.sampling import covariance_root

        made = replace(made, cholesky=covariance_root(made)[0])
    return replace(scenarios, walk=made)
