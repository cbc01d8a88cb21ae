"""The NumPy twins of `scenario/volatility_sets.py`: what every backend repeats, operation by operation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upm_gpu.model.regime_twin import square_root
from upm_gpu.model.tables import evaluate_table
from upm_gpu.rng.normal import normal_quantile, uniform_at
from upm_gpu.rng.streams import COMMON
from upm_gpu.scenario.volatility_sets import GarchWalk, Resample


def date_rows(seed: int, scenarios: NDArray[np.uint32], step: int, word: int, rows: int) -> NDArray[np.int64]:
    """(S,) min(floor(u N), N - 1)."""
    u = uniform_at(seed, scenarios, 0, step, word)
    return np.minimum(np.floor(u * float(rows)), rows - 1.0).astype(np.int64)


def resample_states(scenarios: Resample, first: int, last: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """States (D, K, S) and clip counts (K,)."""
    ids = np.arange(first, last, dtype=np.uint32)
    rows = date_rows(scenarios.seed, ids, 0, scenarios.stream_word, scenarios.values.shape[2])
    return np.ascontiguousarray(scenarios.values[:, :, rows]), scenarios.clipped[:, rows].sum(axis=1, dtype=np.int64)


def garch_states(walk: GarchWalk, first: int, last: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """States (D, K, S) and clip counts (K,); a leg is counted once however many dates read it."""
    states, clipped, _ = garch_paths(walk, first, last)
    return states, clipped


def garch_paths(walk: GarchWalk, first: int, last: int) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """States, clip counts, and the variance (J + 1, K, S) of every whole step and the one after."""
    ids = np.arange(first, last, dtype=np.uint32)
    size, whole = len(walk.state_names), int(walk.date_whole.max())
    clipped = np.zeros(size, np.int64)
    running = np.zeros((size, ids.size))
    variance = np.repeat(walk.variance[:, None], ids.size, axis=1)
    states = np.empty((walk.dates.size, size, ids.size))
    path = [variance]
    parts: dict[int, NDArray[np.float64]] = {}
    keep = 1.0 if walk.persistence is None else walk.persistence[:, None]
    for step in range(whole + 1):
        for d in np.flatnonzero(walk.date_whole == step):
            leg = int(walk.date_leg[d])
            if leg >= 0 and leg not in parts:
                parts[leg] = _moves(walk, leg, ids, variance, clipped)[1]
            states[d] = running if leg < 0 else (1.0 if walk.date_persistence is None else walk.date_persistence[d][:, None]) * running + parts[leg]
            states[d] += walk.drift[d][:, None]
        if step == whole:
            break
        y, moved = _moves(walk, step, ids, variance, clipped)
        running = keep * running + moved
        slope = np.where(y < 0.0, (walk.alpha + walk.gamma)[:, None], walk.alpha[:, None])
        variance = np.minimum((walk.omega[:, None] + slope * (y * y)) + walk.beta[:, None] * variance, walk.top[:, None])
        path.append(variance)
    return states, clipped, np.stack(path)


def _moves(walk: GarchWalk, leg: int, ids: NDArray[np.uint32], variance: NDArray[np.float64], clipped: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(K, S) y of a leg, and root y + c(sigma)."""
    sigma = np.sqrt(variance)
    y = _resampled(walk, leg, ids, sigma, clipped) if walk.residuals is not None else _drawn(walk, leg, ids, sigma, clipped)
    moved = walk.leg_root[leg] * y
    for k, table in enumerate(walk.centring_of[leg]):
        if table >= 0:
            moved[k] += evaluate_table(walk.centring[table], sigma[k])
    return y, moved


def _clip(raw: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    return np.minimum(np.maximum(raw, -limit), limit)


def _resampled(walk: GarchWalk, leg: int, ids: NDArray[np.uint32], sigma: NDArray[np.float64], clipped: NDArray[np.int64]) -> NDArray[np.float64]:
    assert walk.residuals is not None
    y = np.zeros_like(sigma)
    for m in range(int(walk.leg_first_term[leg]), int(walk.leg_first_term[leg + 1])):
        rows = date_rows(walk.seed, ids, int(walk.term_step[m]), int(walk.term_stream[m]), walk.residuals.shape[1])
        for k in range(len(y)):
            raw = sigma[k] * walk.residuals[k, rows]
            clipped[k] += int(np.count_nonzero(np.abs(raw) > walk.max_log_move[k]))
            y[k] += walk.term_weight[m] * _clip(raw, walk.max_log_move[k])
    return y


def _drawn(walk: GarchWalk, leg: int, ids: NDArray[np.uint32], sigma: NDArray[np.float64], clipped: NDArray[np.int64]) -> NDArray[np.float64]:
    size = len(sigma)
    stretch = []
    for group, table in enumerate(walk.mixing):
        q = normal_quantile(uniform_at(walk.seed, ids, group, int(walk.leg_step[leg]), walk.mixing_stream))
        stretch.append(np.exp(evaluate_table(table, q)))
    own = [_normal(walk, leg, ids, k) for k in range(size)]
    root = square_root(loadings(walk), walk.regimes, walk.seed, ids)
    common = [] if walk.loading is None else [_normal(walk, leg, ids, COMMON + j) for j in range(common_factors(walk))]
    y = np.empty_like(sigma)
    for k in range(size):
        z = np.zeros(ids.size)
        if walk.loading is not None:
            for j, f in enumerate(common):
                z += root(k, j) * f
            z += root(k, len(common)) * own[k]
        else:
            for i in range(k + 1):
                z += root(k, i) * own[i]
        if stretch:
            z = z * stretch[walk.group[k]]
        law = int(walk.marginal[k])
        if law >= 0:
            w = np.arcsinh(np.abs(z))
            z = np.copysign(evaluate_table(walk.tables[law], w), z) if walk.odd[law] else evaluate_table(walk.tables[law], np.copysign(w, z))
        raw = sigma[k] * z
        clipped[k] += int(np.count_nonzero(np.abs(raw) > walk.max_log_move[k]))
        y[k] = _clip(raw, walk.max_log_move[k])
    return y


def loadings(walk: GarchWalk) -> NDArray[np.float64]:
    """(K, K) Cholesky factor, or (K, F + 1) loadings and specific part, of a walk that draws normals."""
    if walk.loading is None:
        assert walk.cholesky is not None
        return walk.cholesky
    assert walk.specific is not None
    return np.column_stack([walk.loading, walk.specific])


def common_factors(walk: GarchWalk) -> int:
    """Common normals a leg draws; 0 under a full matrix. A regime may bring one more than the walk's own loadings have."""
    if walk.loading is None:
        return 0
    return walk.loading.shape[1] if walk.regimes is None else walk.regimes.root.shape[2] - 1


def _normal(walk: GarchWalk, leg: int, ids: NDArray[np.uint32], factor: int) -> NDArray[np.float64]:
    total = np.zeros(ids.size)
    for m in range(int(walk.leg_first_term[leg]), int(walk.leg_first_term[leg + 1])):
        total += walk.term_weight[m] * normal_quantile(uniform_at(walk.seed, ids, factor, int(walk.term_step[m]), int(walk.term_stream[m])))
    return total
