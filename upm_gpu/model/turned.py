"""Sobol paths under a t copula: the largest stretch first, and the steps turned so that one node carries the whole move.

Under a t copula the move over J base steps is sum_j m_j z_j, m_j the stretch of step j by its mixing variable. Two exact changes of variables make it a function of few coordinates.

* Mixing uniforms. The largest of J independent uniforms is (1 - v)^(1/J), falls on any step with equal chance, and the others are uniform below it. So one coordinate v is the largest stretch, one
  says on which step, the rest fill up. Computed with complements: 1 - (1 - v)^(1/J) keeps its digits where the stretch is largest.
* Steps. Given the stretches, R z has the law of z for every rotation R. The rotation in the plane of u = (1, ..., 1) / sqrt J and w = m / |m| that takes u to w,

    R z = z - (u + w) ((u + w) . z) / (1 + u . w) + 2 w (u . z),

  gives sum_j m_j (R z)_j = |m| (u . z), and u . z is the first node of the Brownian bridge: per factor, node 0 is the whole move of the path at any stretches. R is the identity where they are equal.

The idea of turning the path to the payoff's direction: X. Wang and I. Sloan, "Quasi-Monte Carlo methods in financial engineering: an equivalence principle and dimension reduction", Operations Research 59
(2011); order statistics of uniforms: L. Devroye, Non-Uniform Random Variate Generation (1986), chapter V. Verified: orthogonality, the law of the scores, the law of the walk, equal bits on all backends
(tests/parity/test_turned.py, test_sampling.py).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upm_gpu.rng.normal import normal_quantile

TURNED_STEPS = 10
"""base steps up to which paths are turned: every step then sums all nodes with weights of its own scenario"""
BELOW_ONE = 1.0 - 2.0**-53


def mixing_scores(uniforms: NDArray[np.float64], winner: NDArray[np.float64]) -> NDArray[np.float64]:
    """(J, S) normal scores of the mixing uniforms from J coordinates (J, S), the largest score first, and the coordinate (S,) that says on which step it falls.

    >>> bool((mixing_scores(np.array([[0.5], [0.5]]), np.array([0.2])) > -1.0).all())
    True
    """
    steps = len(uniforms)
    least = -np.expm1(np.log1p(-uniforms[0]) / steps)
    at = np.minimum(np.floor(winner * steps), steps - 1)
    above = [np.minimum(least + (1.0 - least) * v, BELOW_ONE) for v in uniforms[1:]]
    scores = np.empty(uniforms.shape)
    for j in range(steps):
        other = np.where(j < at, above[min(j, steps - 2)], above[max(j - 1, 0)])
        scores[j] = -normal_quantile(np.where(at == j, least, other))
    return scores


def turned_weights(path: NDArray[np.float64], stretch: NDArray[np.float64]) -> NDArray[np.float64]:
    """(J, J, S) weights of the nodes in the normal of each step: R path, path (J, J) orthogonal, R the rotation for the stretches (J, S)."""
    steps = len(path)
    even = 1.0 / np.sqrt(steps)
    unit = stretch / np.sqrt(np.sum(stretch * stretch, axis=0))
    cosine = even * np.sum(unit, axis=0)
    along_even = even * np.sum(path, axis=0)[:, None]
    along_unit = np.einsum("jn,js->ns", path, unit)
    lean = (along_even + along_unit) / (1.0 + cosine)
    return np.asarray((path[:, :, None] - (even + unit)[:, None, :] * lean[None]) + (2.0 * unit)[:, None, :] * along_even[None])
