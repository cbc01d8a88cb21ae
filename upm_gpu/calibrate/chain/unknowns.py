"""What a fit moves: unknowns z of a model's parameters p, and the box they stay in.

ln p of positive parameters whose order of magnitude is open, p of the others; under Feller's condition vol of vol is eta sqrt(2 kappa theta) with eta in (0, 1]. Verified: tests/known_answers/test_chain_fits.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.chain.moments import ChainModel


def coordinates(model: ChainModel, p: NDArray[np.float64], feller: bool) -> NDArray[np.float64]:
    """Unknowns (..., P) of parameters."""
    z = np.where(model.logarithmic, np.log(np.where(model.logarithmic, p, 1.0)), p)
    if feller:
        z[..., 3] = p[..., 3] / np.sqrt(2.0 * p[..., 1] * p[..., 2])
    return z


def values_of(model: ChainModel, z: Any, feller: bool, xp: Any = np) -> Any:
    """Parameters (..., P) of unknowns, out of place, so that another array library (`xp`) runs the same text."""
    p = xp.where(model.logarithmic, xp.exp(xp.where(model.logarithmic, z, 0.0)), z)
    if not feller:
        return p
    limited = z[..., 3] * xp.sqrt(2.0 * p[..., 1] * p[..., 2])
    return xp.concatenate([p[..., :3], limited[..., None], p[..., 4:]], axis=-1)


def parameters_of(model: ChainModel, z: NDArray[np.float64], feller: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Parameters (..., P) of unknowns, and their derivatives (..., P, P) by them."""
    p = values_of(model, z, feller)
    by = np.zeros((*z.shape, z.shape[-1]))
    at = np.arange(z.shape[-1])
    by[..., at, at] = np.where(model.logarithmic, p, 1.0)
    if feller:
        by[..., 3, 3], by[..., 3, 1], by[..., 3, 2] = np.sqrt(2.0 * p[..., 1] * p[..., 2]), 0.5 * p[..., 3], 0.5 * p[..., 3]
    return p, by


def box(model: ChainModel, feller: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bounds of the unknowns."""
    low, high = (np.where(model.logarithmic, np.log(np.where(model.logarithmic, b, 1.0)), b) for b in (model.lower, model.upper))
    if feller:
        low[3], high[3] = 1e-3, 1.0
    return low, high
