"""A regression of accounts' margins between the points where they are known: universal kriging on the features of tomorrow.

  M(x) = sum_p beta_p phi_p(z) + sum_n gamma_n k(|z - z_n|),   phi: 1, z, and of the leading components sqrt(1 + 0.03 z^2) and products y y', y = z / sqrt(1 + z^2 / 9),

k a Matern 3/2 kernel of length 8 (Ankenman, Nelson and Staum, "Stochastic kriging for simulation metamodeling", Operations Research 58, 2010), z the features in units of their spread along the principal components.
Leave-one-out errors in closed form: Dubrule, Mathematical Geology 15 (1983). Verified: tests/statistics/test_margin_at_risk.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEADING = 4
"""principal components with products: 19 functions; a book of two underlyings has no more states"""
POINTS_A_FUNCTION = 4
LENGTH = 8.0
"""of the kernel, spreads: of 4, 8 and 16 with and without products of the components, this errs least on accounts of every kind of the sample"""
NUGGET = 1e-6
"""of the kernel's variance: keeps the system solvable where two points all but meet"""
BEND = 3.0
"""spreads beyond which products grow no more: margins are all but linear far out"""
MEMORY = 0.03
"""share of a squared move in tomorrow's variance, as of an EWMA with lambda 0.97: margins grow with sqrt(1 + 0.03 z^2)"""
FAR = 0.95
"""share of the scenarios nearer to today than the points whose error is given as that of the outer reaches"""
OUTWARD = 2.5
"""points are dense far out, where margins bend and the outer quantiles lie: ranks by distance from today are 1 - (1 - u)^2.5. Of 1.5 to 3 it errs least there, and the error of points left out is still that of new ones (with 3, too
few are left in between)"""


@dataclass(frozen=True, eq=False)
class Regression:
    """Tomorrow's initial margin of accounts (A) as a function of tomorrow's features (K)."""

    center: NDArray[np.float64]
    turn: NDArray[np.float64]
    """(K, C) features to components in units of their spread"""
    point: NDArray[np.float64]
    """(N, C) components of the points"""
    weight: NDArray[np.float64]
    """(N + P, A) of the kernels and of the functions"""
    scenario: NDArray[np.int64]
    """(N,) paths of the points"""
    margin: NDArray[np.float64]
    """(N, A) fresh runs at them, corrected to the run's count"""
    left_out: NDArray[np.float64]
    """(N, A) run less the regression of the other points"""
    share: NDArray[np.float64]
    """(N,) of the scenarios that each point stands for; they add up to 1"""
    far: NDArray[np.bool_]
    """(N,) beyond `FAR` of the scenarios"""

    @property
    def error(self) -> NDArray[np.float64]:
        """(A,) root mean square of `left_out` over the scenarios."""
        found: NDArray[np.float64] = np.sqrt(self.share @ self.left_out**2)
        return found

    @property
    def far_error(self) -> NDArray[np.float64]:
        """(A,) of the outer reaches."""
        found: NDArray[np.float64] = np.sqrt(np.mean(self.left_out[self.far] ** 2, axis=0))
        return found

    def functions(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, N + P) kernels and functions at features (K, n)."""
        z = (features.T - self.center) @ self.turn
        return np.column_stack([_kernel(z, self.point), _functions(z)])

    def at(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """(A, n) margin at features (K, n), at least 0."""
        found: NDArray[np.float64] = np.maximum((self.functions(features) @ self.weight).T, 0.0)
        return found


@dataclass(frozen=True, eq=False)
class Design:
    """Where a regression of some features (K, n) takes its points."""

    center: NDArray[np.float64]
    turn: NDArray[np.float64]
    features: NDArray[np.float64]
    scenario: NDArray[np.int64]
    """(N,) columns of the features"""

    def others(self, near: int, far: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(scenarios that are no points, whether beyond `FAR`): `near` spread evenly over all by distance from today, then `far` over those beyond."""
        z = (self.features.T - self.center) @ self.turn
        order = np.argsort(np.sum(z * z, axis=1), kind="stable")
        order = order[~np.isin(order, self.scenario)]
        outer = order[int(FAR * len(order)) :]

        def spread(among: NDArray[np.int64], count: int) -> NDArray[np.int64]:
            return among[((np.arange(count) + 0.5) / max(count, 1) * len(among)).astype(np.int64)]

        first = spread(order, near)
        rest = spread(np.setdiff1d(outer, first), far)
        return np.concatenate([first, rest]), np.repeat([False, True], [len(first), len(rest)])


def design_of(features: NDArray[np.float64], points: int) -> Design:
    """Points among features (K, n)."""
    center, turn = _components(features)
    return Design(center, turn, features, _chosen(features, center, turn, points))


def fit(design: Design, margin: NDArray[np.float64]) -> Regression:
    """The regression through margins (N, A) at the points of a design."""
    z = (design.features[:, design.scenario].T - design.center) @ design.turn
    trend = _functions(z)
    table = np.block([[_kernel(z, z) + NUGGET * np.eye(len(z)), trend], [trend.T, np.zeros((trend.shape[1], trend.shape[1]))]])
    inverse = np.linalg.pinv(table)
    weight = inverse @ np.vstack([margin, np.zeros((trend.shape[1], margin.shape[1]))])
    left_out = weight[: len(z)] / np.diag(inverse)[: len(z), None]
    return Regression(design.center, design.turn, z, weight, design.scenario, margin, left_out, *_standing(design.features, design.center, design.turn, design.scenario))


def _functions(z: NDArray[np.float64]) -> NDArray[np.float64]:
    lead = z[:, :LEADING]
    soft = lead / np.sqrt(1.0 + (lead / BEND) ** 2)
    products = [soft[:, i] * soft[:, j] for i in range(lead.shape[1]) for j in range(i, lead.shape[1])]
    return np.column_stack([np.ones(len(z)), z, *products, np.sqrt(1.0 + MEMORY * lead * lead)])


def function_count(features: int) -> int:
    """P for K features."""
    return _functions(np.zeros((1, features))).shape[1]


def _kernel(z: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, N) Matern 3/2 of the distances between components (n, C) and points (N, C)."""
    squares = np.sum(z * z, axis=1)[:, None] + np.sum(point * point, axis=1) - 2.0 * (z @ point.T)
    r = np.sqrt(3.0 * np.maximum(squares, 0.0)) / LENGTH
    found: NDArray[np.float64] = (1.0 + r) * np.exp(-r)
    return found


def _components(states: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(center (K,), turn (K, C)) of states (K, n): principal components in units of their spread, those without any left out."""
    center = np.mean(states, axis=1)
    value, vector = np.linalg.eigh(np.cov(states) if len(states) > 1 else np.atleast_2d(np.var(states)))
    order = np.argsort(-value, kind="stable")
    value, vector = value[order], vector[:, order]
    kept = value > 1e-12 * max(float(value[0]), 1e-300)
    sign = np.where(np.sum(vector, axis=0) < 0.0, -1.0, 1.0)  # an eigenvector has no sign of its own
    return center, (vector * sign / np.sqrt(np.where(kept, value, np.inf)))[:, kept]


def _chosen(states: NDArray[np.float64], center: NDArray[np.float64], turn: NDArray[np.float64], points: int) -> NDArray[np.int64]:
    """(N,) scenarios: the two ends of every component, the rest spread over distances from today, denser far out."""
    z = (states.T - center) @ turn
    ends = np.unique(np.concatenate([np.argmax(z[:, :LEADING], axis=0), np.argmin(z[:, :LEADING], axis=0)]))
    order = np.argsort(np.sum(z * z, axis=1), kind="stable")
    alone = np.unique(np.round(z, 9), axis=0, return_index=True)[1]  # a model that draws days of the history draws some of them often
    order = order[np.isin(order, alone) & ~np.isin(order, ends)]
    left = min(points - len(ends), len(order))
    number = np.arange(left)
    place = ((1.0 - (1.0 - (number + 0.5) / left) ** OUTWARD) * len(order)).astype(np.int64)
    place = np.minimum.accumulate((place - number)[::-1])[::-1] + number  # each its own
    return np.sort(np.concatenate([ends, order[place]]))


def _standing(states: NDArray[np.float64], center: NDArray[np.float64], turn: NDArray[np.float64], chosen: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(share of the scenarios nearest in distance from today (N,), whether a point is beyond `FAR` of them)."""
    z = (states.T - center) @ turn
    rank = np.argsort(np.argsort(np.sum(z * z, axis=1), kind="stable"), kind="stable")[chosen] / states.shape[1]
    order = np.argsort(rank, kind="stable")
    middle = 0.5 * (rank[order][1:] + rank[order][:-1])
    share = np.empty(len(chosen))
    share[order] = np.diff(np.concatenate([[0.0], middle, [1.0]]))
    return share, rank >= min(FAR, float(np.max(rank)))
