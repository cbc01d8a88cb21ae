"""Correlation stress: regimes in which correlations move a share of the way to "one" or to a stressed period, drawn as a mixture or forced.

A regime of share w has the correlation C' = (1 - w) C + w T. Towards one, T = s s' with s = +1 for price factors and -1 for volatility factors
and for the prices of inverse assets: prices and volatilities move together, against each other across the two kinds. Towards a stressed period,
T is the correlation of that period. Both matrices are positive semidefinite, so every mixture of them is. Only the matrix of the driving normals changes: volatilities,
marginals, copula, jumps, and the correlation of a price with its own variance (Heston, Bates) are those of the model, so centrings and martingales hold.

Each scenario draws its regime from one uniform for the whole of its path, at an address of its own; the rest of the probability is the model as
estimated, and keeps its draws. One regime of probability 1 is forced: nothing is drawn. A set is changed after its model has made it, so no model knows of regimes.
Under a factor model "to one" is one more common factor: z' = sqrt(1 - w) z + sqrt(w) s f.

Verified: tests/statistics/test_regime_law.py, tests/parity/test_regimes.py, tests/known_answers/test_regime_matrices.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import CalibrationError
from upm_gpu.model.garch import factor_model
from upm_gpu.model.garch_twin import loadings
from upm_gpu.model.gbm import SPREAD_STATES, is_price
from upm_gpu.model.psd import correlation_cholesky
from upm_gpu.rng.streams import REGIME, stream_word
from upm_gpu.scenario.derived import Derived
from upm_gpu.scenario.regimes import Regimes
from upm_gpu.scenario.sets import Heston, SampledWalk, ScenarioSet, Walk
from upm_gpu.scenario.volatility_sets import GarchWalk

BASE = "as estimated"
"""the name of what is left when no regime is drawn"""


@dataclass(frozen=True)
class Regime:
    """A regime asked for, its target estimated."""

    name: str
    probability: float
    share: float
    toward: Literal["one", "stressed_period"]
    target: NDArray[np.float64] | None = None
    """(F, F) of a stressed period, over `factors`"""
    factors: tuple[str, ...] = ()
    distance: float = 0.0
    """Frobenius norm of what the repair of the target moved"""
    source: str = ""
    """where the target comes from, in words"""


@dataclass(frozen=True)
class RegimeInForce:
    """A regime that scenarios are in, and the correlation they move by."""

    name: str
    probability: float
    correlation: NDArray[np.float64]
    """(n, n) over `factors`"""
    factors: tuple[str, ...]
    share: float = 0.0
    toward: str = ""
    distance: float = 0.0
    source: str = ""


FALLING = ("volatility_skew[", "volatility_slope[")


def toward_one(factors: Sequence[str], inverse_assets: Sequence[str] = ()) -> NDArray[np.float64]:
    """(n,) s: +1 for prices and what falls with them (skews, term slopes of volatility), -1 for volatilities and the prices of inverse assets, 0 for bases and rates, which "one" makes independent.

    >>> toward_one(["log_level[BTC]", "volatility_shift[BTC]", "log_level[SHORT]"], ["SHORT"]).tolist()
    [1.0, -1.0, -1.0]
    """
    known = {asset_of(f) for f in factors}
    for asset in inverse_assets:
        if asset not in known:
            raise CalibrationError("UPM-CA-152", f"inverse asset {asset!r} has no factor in the model, which moves {', '.join(sorted(known))}. Correct model.inverse_assets.")
    return np.array([0.0 if f.partition("[")[0] in SPREAD_STATES else 1.0 if (is_price(f) or f.startswith(FALLING)) and asset_of(f) not in inverse_assets else -1.0 for f in factors])


def asset_of(factor: str) -> str:
    """What a factor belongs to.

    >>> asset_of("log_level[BTC]")
    'BTC'
    """
    return factor.partition("[")[2].rstrip("]")


def stressed(base: NDArray[np.float64], factors: Sequence[str], regime: Regime, inverse_assets: Sequence[str] = ()) -> NDArray[np.float64]:
    """(n, n) (1 - w) C + w T of a regime. Raises `CalibrationError` UPM-CA-150 for a share or a probability outside 0 to 1, 153 for a target that lacks a factor."""
    if not (0.0 <= regime.share <= 1.0 and 0.0 < regime.probability <= 1.0):
        raise CalibrationError("UPM-CA-150", f"correlation regime {regime.name!r}: share {regime.share:g} and probability {regime.probability:g}. Give a share from 0 to 1 and a probability above 0, at most 1.")
    if regime.target is None:
        s = toward_one(factors, inverse_assets)
        target = np.outer(s, s)
    else:
        missing = [f for f in factors if f not in regime.factors]
        if missing:
            raise CalibrationError("UPM-CA-153", f"correlation regime {regime.name!r}: its stressed correlation lacks {', '.join(missing)}. Give one row and column for every factor of the model.")
        order = [regime.factors.index(f) for f in factors]
        target = regime.target[np.ix_(order, order)]
    mixed = (1.0 - regime.share) * base + regime.share * target
    mixed = 0.5 * (mixed + mixed.T)
    np.fill_diagonal(mixed, 1.0)
    return np.asarray(mixed)


def under_regimes(scenarios: ScenarioSet, regimes: Sequence[Regime], inverse_assets: Sequence[str] = (), stream: int = 0) -> tuple[ScenarioSet, tuple[RegimeInForce, ...]]:
    """A drawn set under its regimes, and the correlations in force; the set itself where there are none.

    Raises `CalibrationError` UPM-CA-139 for a set without a correlation, UPM-CA-150 for probabilities that are none.
    """
    if isinstance(scenarios, Derived):
        changed, inner = under_regimes(scenarios.base, regimes, inverse_assets, stream)
        return replace(scenarios, base=changed), inner
    part = scenarios.walk if isinstance(scenarios, SampledWalk) else scenarios
    if not isinstance(part, Walk | Heston | GarchWalk) or (isinstance(part, GarchWalk) and part.residuals is not None):
        if regimes:
            raise CalibrationError("UPM-CA-139", f"correlation regimes with scenarios of kind {scenarios.kind}: their dependence is that of the dates or states given and there is no matrix to "
                                   "replace. Use gbm, merton, heston, bates or garch for stressed correlations.")
        return scenarios, ()
    factors = part.state_names[: 2 * len(part.variance0) : 2] if isinstance(part, Heston) else part.state_names
    base = correlation_of(part)
    left = 1.0 - sum(r.probability for r in regimes)
    if left < -1e-9 or len({BASE, *(r.name for r in regimes)}) != len(regimes) + 1:
        raise CalibrationError("UPM-CA-150", f"correlation regimes {', '.join(r.name for r in regimes)}: their probabilities sum to {1.0 - left:g} or a name stands twice. Give each a name of its own and "
                               "probabilities that sum to at most 1.")
    calm = left > 1e-9
    used: tuple[RegimeInForce, ...] = (RegimeInForce(BASE, left, base, tuple(factors)),) if calm else ()
    used += tuple(RegimeInForce(r.name, r.probability, stressed(base, factors, r, inverse_assets), tuple(factors), r.share, r.toward, r.distance, r.source) for r in regimes)
    if not regimes:
        return scenarios, used
    signs = toward_one(factors, inverse_assets)
    roots = [_own_root(part)] if calm else []
    for regime, r in zip(used[len(roots):], regimes, strict=True):
        roots.append(_root(scenarios, part, regime, r, signs))
    if isinstance(part, GarchWalk) and part.loading is not None:  # a stressed period is drawn by its factor model
        used = tuple(replace(u, correlation=_clean(root[:, :-1] @ root[:, :-1].T)) for u, root in zip(used, roots, strict=True))
    width = max(root.shape[1] for root in roots)
    stack = np.stack([_widened(root, width) for root in roots])
    probability = np.array([u.probability for u in used])
    mixture = Regimes(np.cumsum(probability)[:-1], stack, stream_word(stream, REGIME), int(isinstance(scenarios, SampledWalk) and scenarios.sampler == "antithetic"))
    made: Any = _with_root(part, stack[0])
    if len(used) > 1:
        made = replace(made, regimes=mixture)
    return (replace(scenarios, walk=made) if isinstance(scenarios, SampledWalk) else made), used


def correlation_of(part: Walk | Heston | GarchWalk) -> NDArray[np.float64]:
    """(n, n) that the normals of a set are correlated by."""
    root = part.loading if isinstance(part, GarchWalk) and part.loading is not None else _own_root(part)
    return _clean(root @ root.T)


def _clean(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without what rounding puts beyond 1, and with the specific part of a factor model on the diagonal."""
    made = np.clip(matrix, -1.0, 1.0)
    np.fill_diagonal(made, 1.0)
    return np.asarray(made)


def _own_root(part: Walk | Heston | GarchWalk) -> NDArray[np.float64]:
    return loadings(part) if isinstance(part, GarchWalk) else part.cholesky


def _root(scenarios: ScenarioSet, part: Walk | Heston | GarchWalk, regime: RegimeInForce, asked: Regime, signs: NDArray[np.float64]) -> NDArray[np.float64]:
    """What stands in the place of the set's own root in a regime."""
    if regime.share == 0.0:
        return _own_root(part)
    if isinstance(part, GarchWalk) and part.loading is not None:
        assert part.specific is not None
        calm, new = np.sqrt(1.0 - regime.share), np.sqrt(regime.share) * signs
        if asked.target is None:
            return np.column_stack([calm * part.loading, new, calm * part.specific])
        common = factor_model(regime.correlation, part.loading.shape[1])
        return np.column_stack([common, np.sqrt(np.maximum(1.0 - np.sum(common * common, axis=1), 0.0))])
    triangular = correlation_cholesky(regime.correlation, regime.factors)
    if isinstance(scenarios, SampledWalk) and isinstance(scenarios.walk, Walk) and scenarios.dense:
        from upm_gpu.model.sampling import covariance_root

        return covariance_root(replace(scenarios.walk, cholesky=triangular))[0]
    return triangular


def _widened(root: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Loadings with zeros for the common factors that only other regimes have; the specific part stays last."""
    extra = width - root.shape[1]
    return root if not extra else np.column_stack([root[:, :-1], np.zeros((len(root), extra)), root[:, -1:]])


def _with_root(part: Walk | Heston | GarchWalk, root: NDArray[np.float64]) -> Walk | Heston | GarchWalk:
    if isinstance(part, GarchWalk) and part.loading is not None:
        return replace(part, loading=np.ascontiguousarray(root[:, :-1]), specific=np.ascontiguousarray(root[:, -1]))
    return replace(part, cholesky=root)
