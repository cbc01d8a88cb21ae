"""Reverse stress: the most plausible move that breaks an account, a member or the default fund.

    minimise  d(x)^2 = (x - mu)' S^-1 (x - mu)   over moves x of the model's states   subject to   left(x) <= 0,

S the covariance of the model over the margin period and left(x) what remains after the move, the book valued in full: of an account its equity less the cost of closing out, of a
member the sum over its accounts, of the default fund what is left of it after every account's uncovered loss. In the coordinates z where d is the
plain length, x = mu + L z, this is the design point of structural reliability (Hasofer and Lind 1974, "Exact and invariant second-moment code format"; Rackwitz and
Fiessler 1978): the direction is looked for among DIRECTIONS spread over the sphere at RADII lengths, then turned towards the steepest fall of left until no
turn shortens it, and last the length is bisected. The global minimum is not proved: what is reported is a move that does break, revalued, at its distance.

Verified by tests/properties/test_reverse_stress.py: linear books against equity / sqrt(w' S w), option books against a dense search.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.campaign.law import FLAT
from upm_gpu.campaign.stressed_book import StressedBook

if TYPE_CHECKING:
    import pandas as pd

DIRECTIONS = 384
"""spread over the sphere, beside both ways along every axis and the worst of the campaign: with 4 states none is further than some 25 degrees from one"""
RADII = np.geomspace(0.25, 32.0, 29)
"""standard deviations: a factor 1.19 apart; what breaks nowhere within 32 is said to hold; a subject with nothing left today is at distance 0"""
TURNS = 6
SHARES = (1.0, 0.5, 0.2)
"""of the turn towards the steepest fall, the shortest of the results is kept"""
STEP = 1e-3
"""of a difference, standard deviations"""
HALVINGS = 40
TOGETHER = 128
"""subjects whose points are valued at once"""
SEED = 7

Left = Callable[[NDArray[np.float64], NDArray[np.int64] | None], NDArray[np.float64]]
"""(K, S) moves and the subjects asked for (None: all) -> (subjects, S) what is left"""


@dataclass(frozen=True)
class Space:
    """Moves x = mean + root z of the states that move."""

    mean: NDArray[np.float64]
    root: NDArray[np.float64]
    """(K, n)"""

    def moves(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """(K, S) of points (n, S)."""
        return self.mean[:, None] + self.root @ z


def space_of(book: StressedBook) -> Space:
    """Coordinates in which the law of a book's model is the unit ball; states that do not move have none."""
    alive = np.flatnonzero(np.diag(book.law.covariance) > FLAT)
    root = np.zeros((len(book.law.names), len(alive)))
    root[alive] = np.linalg.cholesky(book.law.covariance[np.ix_(alive, alive)])
    mean = np.where(np.diag(book.law.covariance) > FLAT, book.law.mean, 0.0)
    return Space(mean, root)


def directions(n: int) -> NDArray[np.float64]:
    """(n, DIRECTIONS + 2 n) unit vectors: quasi-random, then both ways along every axis."""
    from upm_gpu.rng import normal_quantile, sobol

    points = normal_quantile((sobol(DIRECTIONS + 1, n)[1:] + 0.5 / (DIRECTIONS + 1)) % 1.0)
    both = np.concatenate([points / np.linalg.norm(points, axis=1)[:, None], np.eye(n), -np.eye(n)])
    return np.ascontiguousarray(both.T)


def nearest_breaks(left: Left, subjects: int, space: Space) -> NDArray[np.float64]:
    """(n, subjects) the nearest point found at which nothing is left; NaN where none within the last of RADII."""
    u = directions(space.root.shape[1])
    best, toward = np.full(subjects, np.inf), np.zeros((len(u), subjects))
    for radius in RADII:  # outwards, so that the first hit of a direction is its nearest
        looking = np.flatnonzero(np.isinf(best))
        if not len(looking):
            break
        value = left(space.moves(radius * u), looking)
        worst = np.argmin(value, axis=1)
        hit = value[np.arange(len(looking)), worst] <= 0.0
        best[looking[hit]], toward[:, looking[hit]] = radius, u[:, worst[hit]]
    found = np.full((len(u), subjects), np.nan)
    broken = np.flatnonzero(np.isfinite(best))
    for first in range(0, len(broken), TOGETHER):
        own = broken[first:first + TOGETHER]
        found[:, own] = _refined(lambda z, own=own: _own(left, space, own, z), toward[:, own], best[own])  # type: ignore[misc]
    return found


def _own(left: Left, space: Space, own: NDArray[np.int64], z: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, points) of what is left of subject p at its own points z (n, P, points)."""
    n, count, points = z.shape
    value = left(space.moves(z.reshape(n, -1)), own).reshape(count, count, points)
    return value[np.arange(count), np.arange(count)]


def _refined(value: Callable[[NDArray[np.float64]], NDArray[np.float64]], u: NDArray[np.float64], radius: NDArray[np.float64]) -> NDArray[np.float64]:
    """Directions (n, P) that hit at `radius` (P,), turned and bisected."""
    n, count = u.shape
    u, radius = u.copy(), _crossing(value, u[:, :, None], radius)[:, 0]
    for _ in range(TURNS):
        z = radius * u
        steps = STEP * np.concatenate([np.eye(n), -np.eye(n)], axis=0).T  # (n, 2 n)
        around = value(z[:, :, None] + steps[:, None, :])
        slope = (around[:, :n] - around[:, n:]).T  # (n, P)
        size = np.linalg.norm(slope, axis=0)
        down = np.where(size > 0.0, -slope / np.where(size > 0.0, size, 1.0), u)
        tried = np.stack([s * down + (1.0 - s) * u for s in SHARES], axis=2)
        length = np.linalg.norm(tried, axis=0)
        tried = tried / np.where(length > 0.0, length, 1.0)
        reach = _crossing(value, tried, np.repeat(radius[:, None], len(SHARES), axis=1).max(axis=1))
        at = np.argmin(reach, axis=1)
        shortest = reach[np.arange(count), at]
        better = shortest < radius * (1.0 - 1e-9)
        if not better.any():
            break
        u[:, better] = tried[:, np.arange(count), at][:, better]
        radius = np.where(better, shortest, radius)
    return radius * u


def _crossing(value: Callable[[NDArray[np.float64]], NDArray[np.float64]], u: NDArray[np.float64], radius: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, d) length at which nothing is left along directions (n, P, d), at most `radius`; infinite where something is left there. Bisected between 0 and there."""
    high = np.repeat(radius[:, None], u.shape[2], axis=1)
    hits = value(u * high) <= 0.0
    low, top = np.zeros_like(high), high.copy()
    for _ in range(HALVINGS):
        middle = (low + top) / 2.0
        below = value(u * middle) <= 0.0
        low, top = np.where(below, low, middle), np.where(below, middle, top)
    return np.where(hits, top, np.inf)


def reverse_stress(book: StressedBook, accounts: bool, members: bool, default_fund: float) -> pd.DataFrame:
    """One line a subject: kind, name, distance, what is left at the move, the move by state. `default_fund` 0: not asked for."""
    import pandas as pd

    space = space_of(book)
    edge = RADII[-1] * np.linalg.norm(space.root, axis=1)
    today = book.covering(np.stack([space.mean - edge, space.mean + edge], axis=1))
    count = len(book.accounts)

    def accounts_left(moves: NDArray[np.float64], chosen: NDArray[np.int64] | None) -> NDArray[np.float64]:
        some = np.arange(count) if chosen is None else chosen
        return book.under(moves, some, today)[1] - book.closing_cost[some, None]

    def members_left(moves: NDArray[np.float64], chosen: NDArray[np.int64] | None) -> NDArray[np.float64]:
        wanted = np.arange(len(book.members)) if chosen is None else chosen
        some = np.flatnonzero(np.isin(book.member, wanted))
        of, value = np.searchsorted(wanted, book.member[some]), accounts_left(moves, some)
        total = np.zeros((len(wanted), moves.shape[1]))
        np.add.at(total, of, value)
        return total

    def fund_left(moves: NDArray[np.float64], chosen: NDArray[np.int64] | None) -> NDArray[np.float64]:
        parts = [np.maximum(-accounts_left(moves[:, f:f + 4096], None), 0.0).sum(axis=0) for f in range(0, moves.shape[1], 4096)]
        return default_fund - np.concatenate(parts)[None]

    asked: list[tuple[str, Left, tuple[str, ...]]] = []
    if accounts:
        asked.append(("account", accounts_left, book.accounts))
    if members:
        asked.append(("member", members_left, book.members))
    if default_fund:
        asked.append(("default_fund", fund_left, ("default fund",)))
    frames = []
    for kind, left, names in asked:
        z = nearest_breaks(left, len(names), space)
        now = left(np.zeros((len(space.mean), 1)), None)[:, 0]
        held, gone = np.isnan(z[0]), now <= 0.0
        moves = np.where(gone, 0.0, space.moves(np.nan_to_num(z)))
        columns: dict[str, Any] = {"book": book.name, "kind": kind, "name": list(names), "distance": np.where(gone, 0.0, np.where(held, np.nan, np.linalg.norm(np.nan_to_num(z), axis=0))),
                                   "left_today": now}
        frames.append(pd.DataFrame(columns | {s: np.where(held & ~gone, np.nan, moves[k]) for k, s in enumerate(book.law.names)}))
    found = pd.concat(frames, ignore_index=True)
    return found.sort_values(["kind", "distance", "name"], kind="stable").reset_index(drop=True)
