"""How often moved volatility surfaces would hold arbitrage, and how far a projection moved them.

Looked for at today's quoted expiries on the horizon's date, on `NODES` log-moneynesses within three of the money: butterfly, g(k) below zero anywhere in an expiry
(`market/surface_bounds.py` has g); calendar, total variance below that of the expiry before. The first `SCENARIOS` scenarios stand for all; their
share has a binomial standard error. What a projection did is counted over all scenarios by the engine (`derived_events` of the manifest), how far over the first
`CORRECTED`.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.market.surface import MAX_LOG_MONEYNESS, Surface
from upm_gpu.market.surface_bounds import shape

if TYPE_CHECKING:
    from upm_gpu.plan import Plan

SCENARIOS, CORRECTED = 1024, 262_144
"""scenarios searched for arbitrage, and for the largest correction"""
NODES = 2.99 * np.sinh(6.0 * np.linspace(-1.0, 1.0, 81)) / np.sinh(6.0)
"""dense about the money, where short expiries live"""
NEGATIVE = 1e-6
"""of g, and of total variance relative to the earlier expiry's: below it is rounding"""


def surface_arbitrage(plan: Plan, states: NDArray[np.float64]) -> list[dict[str, Any]]:
    """One object an underlying with options, from `states` (K, S) of the first scenarios at the horizon; none where volatility has no level of its own or no surface is moved."""
    index = {name: k for k, name in enumerate(plan.scenarios.state_names)}
    found = []
    for u, surface in sorted(plan.surfaces.items()):
        if f"volatility_shift[{u}]" not in index or plan.dynamics.additive or plan.spec.repricing == "model":
            continue
        level = states[index[f"volatility_shift[{u}]"]]
        labels = [f"{u},{s.expiry.astimezone(UTC):%Y-%m-%dT%H:%MZ}" for s in surface.slices]
        plain = np.stack([plan.dynamics.loading(s.expiry_years * 365.0) * level for s in surface.slices])
        shift, skew, stretch = (np.stack([states[index[n]] if (n := f"volatility_{kind}[{label}]") in index else other for label, other in zip(labels, fallback, strict=True)])
                                for kind, fallback in (("shift", plain), ("skew", np.zeros_like(plain)), ("stretch", np.zeros_like(plain))))
        slide = np.zeros_like(level) if plan.dynamics.sticky_moneyness else states[index[f"log_level[{u}]"]]
        butterfly, calendar = _violations(surface, shift[:, :SCENARIOS], skew[:, :SCENARIOS], stretch[:, :SCENARIOS], slide[:SCENARIOS], plan.core.horizon)
        share = np.array([butterfly.mean(), calendar.mean()])
        error = np.sqrt(share * (1.0 - share) / len(butterfly))
        row = {"underlying": u, "treatment": plan.spec.arbitrage, "scenarios_looked_at": len(butterfly), "butterfly_share": float(share[0]), "butterfly_error": float(error[0]),
               "calendar_share": float(share[1]), "calendar_error": float(error[1])}
        if plan.dynamics.project:
            if f"volatility_slope[{u}]" in index:
                from upm_gpu.pricing.surface_factors import slope_loading

                plain = plain + np.stack([slope_loading(s.expiry_years * 365.0) * states[index[f"volatility_slope[{u}]"]] for s in surface.slices])
            asked = states[index[f"volatility_skew[{u}]"]] if f"volatility_skew[{u}]" in index else np.zeros_like(level)
            base = level if plan.dynamics.sticky_delta else np.zeros_like(level)
            row |= {"largest_shift_correction": float(np.abs(shift - plain).max()), "largest_skew_correction": float(np.abs(skew - asked).max()),
                    "largest_stretch": float(np.max(stretch[0] - base))}
        found.append(row)
    return found


def _violations(surface: Surface, shift: NDArray[np.float64], skew: NDArray[np.float64], stretch: NDArray[np.float64], slide: NDArray[np.float64],
                horizon_days: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(S,) whether a scenario's surface has a negative density, and whether an expiry lies below the one before; `slide` is the forward's move along a sticky strike."""
    butterfly, calendar = np.zeros(shift.shape[1], bool), np.zeros(shift.shape[1], bool)
    k = NODES * np.minimum(np.exp(stretch.min(axis=0)), 1.0)[:, None]
    before: NDArray[np.float64] | None = None
    for e, svi in enumerate(surface.slices):
        left = 1.0 - horizon_days / 365.0 / svi.expiry_years
        if left <= 0.0:
            continue
        length = np.exp(stretch[e])[:, None]
        at = (k + slide[:, None]) / length
        m = left * np.exp(2.0 * shift[e])[:, None]
        u, first, second = shape(svi, at, skew[e][:, None])
        w, first, second = m * u, m * first / length, m * second / length**2
        inside = np.abs(at) < MAX_LOG_MONEYNESS
        with np.errstate(divide="ignore", invalid="ignore"):
            g = (1.0 - k * first / (2.0 * w)) ** 2 - first * first / 4.0 * (1.0 / w + 0.25) + second / 2.0
        butterfly |= np.any(inside & ((w <= 0.0) | (g < -NEGATIVE)), axis=1)
        if before is not None:
            calendar |= np.any(inside & (w < before * (1.0 - NEGATIVE)), axis=1)
        before = w
    return butterfly, calendar
