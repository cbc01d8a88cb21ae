"""Sensitivities netted to risk factors: the arrays that the risk classes weigh.

A risk factor is (bucket, kind, name, tenor, sub-curve); rows of one factor are added exactly (math.fsum), factors are sorted, so neither the
order of a file's rows nor a row split in two changes a bit of the margin.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from upm_gpu.rulebook.simm.crif import Sensitivity
from upm_gpu.rulebook.simm.parameters import TENORS

Key = tuple[str, str, str, str, str]
"""bucket, kind, name, tenor, sub-curve"""
DAYS = np.array([14.0, *(365.0 * m / 12.0 for m in (1, 3, 6, 12, 24, 36, 60, 120, 180, 240, 360))])
"""of TENORS, for the decay of curvature"""


@dataclass(frozen=True)
class Factors:
    """Risk factors of one bucket and what is held of each."""

    bucket: str
    kind: NDArray[np.str_]
    """(K,) risk type"""
    name: NDArray[np.str_]
    tenor: NDArray[np.int64]
    """(K,) place in TENORS, -1 where the factor has none"""
    curve: NDArray[np.str_]
    amount: NDArray[np.float64]
    """(K,) USD"""

    def same(self, field: str) -> NDArray[np.bool_]:
        """(K, K) whether two factors share kind, name, tenor or curve."""
        values = getattr(self, field)
        return np.asarray(values[:, None] == values[None, :])


def netted(rows: Iterable[tuple[Key, Sensitivity]], sign: float = 1.0) -> list[Factors]:
    """Factors by bucket: numbered buckets in their order, names alphabetically, the residual one last."""
    lots: dict[Key, list[float]] = {}
    for key, row in rows:
        lots.setdefault(key, []).append(row.amount)
    buckets: dict[str, list[Key]] = {}
    for key in sorted(lots):
        buckets.setdefault(key[0], []).append(key)
    made = []
    for bucket in sorted(buckets, key=lambda b: (not b.isdigit(), int(b) if b.isdigit() else 0, b)):
        keys = buckets[bucket]
        places = [TENORS.index(k[3]) if k[3] else -1 for k in keys]
        made.append(Factors(bucket, np.array([k[1] for k in keys]), np.array([k[2] for k in keys]), np.array(places, np.int64), np.array([k[4] for k in keys]),
                            sign * np.array([math.fsum(lots[k]) for k in keys])))
    return made


def per_name(factors: Factors) -> Factors:
    """One factor a name: the amounts of its tenors added, the tenor gone."""
    names, place = np.unique(factors.name, return_inverse=True)
    first = np.unique(place, return_index=True)[1]
    return replace(factors, kind=factors.kind[first], name=names, tenor=np.full(len(names), -1), curve=factors.curve[first],
                   amount=np.bincount(place, factors.amount, len(names)).astype(np.float64))


def by_name(factors: Factors) -> NDArray[np.float64]:
    """(K,) for each factor, the sum of the amounts of all that share its name."""
    return np.asarray(factors.same("name").astype(np.float64) @ factors.amount)


def decay(tenor: NDArray[np.int64], margin_period: int) -> NDArray[np.float64]:
    """(K,) the scaling function of curvature, 0.5 min(1, d / t): d = 14 calendar days for ten business days, a tenth of it for one."""
    return np.asarray(0.5 * np.minimum(1.0, calendar_days(margin_period) / DAYS[tenor]))


def calendar_days(margin_period: int) -> float:
    """Calendar days of a margin period of business days: 1.4 a day."""
    return 1.4 * margin_period
