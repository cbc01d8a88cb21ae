"""The correlation used, for the manifest and the report: one entry a regime, as configured, as estimated and as drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.model.gbm import is_price
from upm_gpu.model.regime_twin import regime_of
from upm_gpu.model.regimes import BASE, RegimeInForce
from upm_gpu.scenario.derived import base_of
from upm_gpu.scenario.sets import SampledWalk, ScenarioSet

LARGEST_SHOWN = 12
"""factors up to which the manifest holds the whole matrix; of a larger one it holds the summary"""
MOST_COUNTED = 1 << 22
"""scenarios that are counted; the share drawn of a larger run is that of its first ones"""


def correlation_table(regimes: Sequence[RegimeInForce], scenarios: ScenarioSet, fit: Any) -> list[dict[str, Any]]:
    """One row a regime for the report's data quality: probability, share of scenarios drawn, averages by kind of pair, distance of the repair (the estimate's is that of `fit`)."""
    shares = drawn_shares(regimes, scenarios)
    rows = []
    for r, drawn in zip(regimes, shares, strict=True):
        toward = {"": "", "one": "one", "stressed_period": "stressed period"}[r.toward]
        rows.append({"regime": r.name, "toward": toward, "source": r.source, "probability": r.probability, "scenarios_drawn": drawn, "share": r.share, **summary(r.correlation, r.factors),
                     "repair_distance": r.distance if r.name != BASE or fit is None else float(fit.repair_distance)})
    return rows


def correlation_provenance(regimes: Sequence[RegimeInForce], scenarios: ScenarioSet, fit: Any) -> list[dict[str, Any]]:
    """The same for the manifest, with the matrix where it is small."""
    return [{**row, **({"factors": list(r.factors), "correlation": np.round(r.correlation, 12).tolist()} if len(r.factors) <= LARGEST_SHOWN else {"factors": len(r.factors)})}
            for row, r in zip(correlation_table(regimes, scenarios, fit), regimes, strict=True)]


def summary(correlation: NDArray[np.float64], factors: Sequence[str]) -> dict[str, float | None]:
    """Mean correlation of the pairs of each kind, lowest and highest of all pairs; None where there is no such pair.

    >>> summary(np.array([[1.0, 0.5], [0.5, 1.0]]), ["log_level[A]", "volatility_shift[A]"])["mean_price_volatility"]
    0.5
    """
    price = np.array([is_price(f) for f in factors])
    pair = ~np.eye(len(price), dtype=bool)
    kinds = {"mean_price_price": pair & np.outer(price, price), "mean_volatility_volatility": pair & np.outer(~price, ~price), "mean_price_volatility": np.outer(price, ~price)}
    found: dict[str, float | None] = {name: float(correlation[where].mean()) if where.any() else None for name, where in kinds.items()}
    return {**found, "lowest": float(correlation[pair].min()) if pair.any() else None, "highest": float(correlation[pair].max()) if pair.any() else None}


def drawn_shares(regimes: Sequence[RegimeInForce], scenarios: ScenarioSet) -> list[float]:
    """Share of the scenarios that are in each regime."""
    base = base_of(scenarios)
    inner: Any = base.walk if isinstance(base, SampledWalk) else base
    held = getattr(inner, "regimes", None)
    if held is None:
        return [1.0] * len(regimes)
    counted = np.zeros(len(regimes), np.int64)
    last = min(int(inner.count), MOST_COUNTED)
    for first in range(0, last, 1 << 18):
        ids = np.arange(first, min(first + (1 << 18), last), dtype=np.uint32)
        counted += np.bincount(regime_of(held, inner.seed, ids), minlength=len(regimes))
    return [float(c) / last for c in counted]
