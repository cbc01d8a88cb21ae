"""Correlation matrices that are none: the nearest one, its distance, and a factorisation that accepts singular ones.

Pairwise estimates, proxies and stressed entries give symmetric matrices with negative eigenvalues. Alternating
projections with Dykstra's correction (Higham, "Computing the nearest correlation matrix", IMA J. Numer. Anal. 22, 2002)
find the nearest correlation matrix in the Frobenius norm. Clipping eigenvalues and rescaling the diagonal is shorter
but lands farther away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import CalibrationError

DISTANCE_LIMIT = 0.05
"""largest root mean square move of an off-diagonal entry that is repaired; beyond it the input is wrong, not noisy"""
NEGATIVE_EIGENVALUE = -1e-10
"""what rounding of a singular matrix explains"""


@dataclass(frozen=True)
class Repair:
    """A correlation matrix fit to draw from, and how far it is from what was given."""

    correlation: NDArray[np.float64]
    distance: float
    """Frobenius norm of the change; 0 when nothing was done"""
    largest_move: float
    """largest change of one entry"""
    lowest_eigenvalue: float
    """of the matrix given"""


def check_correlation(matrix: NDArray[np.float64], names: Sequence[str] = ()) -> None:
    """Refuse what no repair should touch: not square, not finite, not symmetric, diagonal not 1, entries beyond 1."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise CalibrationError("UPM-CA-054", f"a correlation matrix of shape {matrix.shape} is not square. Give one row and one column per factor.")
    wrong = ~np.isfinite(matrix) | (np.abs(matrix) > 1.0 + 1e-9) | (np.abs(matrix - matrix.T) > 1e-9)
    wrong |= np.eye(len(matrix), dtype=bool) & ~(np.abs(matrix - 1.0) <= 1e-9)
    if wrong.any():
        i, j = (int(k) for k in np.argwhere(wrong)[0])
        label = f"({names[i]}, {names[j]})" if len(names) > max(i, j) else f"({i}, {j})"
        raise CalibrationError("UPM-CA-055", f"correlation {label} is {matrix[i, j]}, across the diagonal {matrix[j, i]}: entries must be finite, "
                               "symmetric, within -1 and 1, and 1 on the diagonal. Correct the matrix or its history.")


def nearest_correlation(matrix: NDArray[np.float64], names: Sequence[str] = (), limit: float = DISTANCE_LIMIT) -> Repair:
    """The nearest correlation matrix; returned unchanged (distance 0) when there is nothing to repair.

    Raises `CalibrationError` when the root mean square move of the off-diagonal entries exceeds `limit`.

    >>> given = np.array([[1.0, 0.9, 0.9], [0.9, 1.0, -0.1], [0.9, -0.1, 1.0]])
    >>> repair = nearest_correlation(given, limit=0.5)
    >>> bool(np.linalg.eigvalsh(repair.correlation)[0] > -1e-10), round(repair.distance, 3)
    (True, 0.408)
    """
    matrix = np.asarray(matrix, np.float64)
    check_correlation(matrix, names)
    size = len(matrix)
    lowest = float(np.linalg.eigvalsh(matrix)[0])
    if lowest >= NEGATIVE_EIGENVALUE:
        return Repair(matrix, 0.0, 0.0, lowest)
    y, correction = matrix, np.zeros_like(matrix)
    for _ in range(1000):
        r = y - correction
        x = _without_negative(r)
        correction = x - r
        before, y = y, x.copy()
        np.fill_diagonal(y, 1.0)
        if np.max(np.abs(y - before)) < 1e-12:
            break
    y = _without_negative(y)
    root = np.sqrt(np.diag(y))
    y = y / np.outer(root, root)
    y = np.clip(0.5 * (y + y.T), -1.0, 1.0)
    np.fill_diagonal(y, 1.0)
    change = np.abs(y - matrix)
    distance = float(np.sqrt(np.sum(change * change)))
    spread = distance / np.sqrt(size * (size - 1.0))
    if spread > limit:
        i, j = divmod(int(np.argmax(change)), size)
        label = f"({names[i]}, {names[j]})" if len(names) == size else f"({i}, {j})"
        raise CalibrationError("UPM-CA-056", f"the correlation matrix is far from positive semidefinite (lowest eigenvalue {lowest:.4g}): the repair would "
                               f"move entries by {spread:.4g} root mean square, {label} from {matrix[i, j]:.4g} to {y[i, j]:.4g}; the limit is {limit:g}. "
                               "Lengthen the history, use one estimation window for all pairs, or shrinkage.")
    return Repair(y, distance, float(change.max()), lowest)


def _without_negative(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest positive semidefinite matrix: negative eigenvalues set to 0."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 0.0)) @ vectors.T


def correlation_cholesky(matrix: NDArray[np.float64], names: Sequence[str] = ()) -> NDArray[np.float64]:
    """Lower triangular L with rows of unit length and L L' = `matrix`; a dependent factor gets a zero column.

    Column by column in the given order, so a factor's row depends on the factors before it alone. Raises
    `CalibrationError` when the matrix is not positive semidefinite.
    """
    matrix = np.asarray(matrix, np.float64)
    check_correlation(matrix, names)
    size = len(matrix)
    lower = np.zeros((size, size))
    for j in range(size):
        column = matrix[j:, j] - np.sum(lower[j:, :j] * lower[j, :j], axis=1)
        if column[0] > 1e-12:
            lower[j:, j] = column / np.sqrt(column[0])
        elif column[0] < -1e-9 or np.any(np.abs(column) > 1e-5):
            label = names[j] if len(names) > j else str(j)
            raise CalibrationError("UPM-CA-057", f"the correlation matrix is not positive semidefinite: factor {label} has variance {column[0]:.3g} left "
                                   "after the factors before it. Repair it with nearest_correlation, which reports the distance.")
    return lower / np.sqrt(np.sum(lower * lower, axis=1))[:, None]
