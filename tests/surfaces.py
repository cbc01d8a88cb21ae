"""Surfaces for tests of their factors: a hand-made one of five expiries, and that of the bundled sample."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
from parity.cases import DATES, make_walk

from upm_gpu.market.surface import Surface, SviSlice, fit_surfaces
from upm_gpu.pricing.dynamics import Dynamics
from upm_gpu.pricing.surface_factors import surface_operations
from upm_gpu.scenario.derived import Derived, derive
from upm_gpu.scenario.sets import Walk

NOW = datetime(2026, 2, 5, tzinfo=UTC)
NAMES = ("log_level[U0]", "volatility_shift[U0]", "volatility_skew[U0]", "volatility_slope[U0]", "log_level[U1]", "volatility_shift[U1]")


def made_surface(underlying: str, level: float = 0.6) -> Surface:
    """Slices that nearly touch, with a smile as steep as crypto's; free of arbitrage (tested)."""
    slices = []
    for days in (1.0, 3.0, 10.0, 60.0, 300.0):
        t = days / 365.0
        width = level * np.sqrt(t)
        slices.append(SviSlice(NOW + timedelta(days=days), t, 0.55 * width**2, 0.35 * width, -0.2, 0.1 * width, 1.2 * width))
    return Surface(underlying, NOW, tuple(slices), ())


@lru_cache(maxsize=1)
def sample_surfaces() -> dict[str, Surface]:
    """BTC and ETH of the sample."""
    import upm_gpu as upm
    from upm_gpu.shipped import resolve_sample

    return fit_surfaces(upm.load_market(resolve_sample("sample:crypto", "market")), ("BTC", "ETH"))


def factor_walk(count: int = 5000, scale: float = 1.0, names: tuple[str, ...] = NAMES, dates: np.ndarray = DATES) -> Walk:
    """A t walk under the names of surface factors; its daily deviations, 0.05 or 0.08, times `scale`."""
    walk = make_walk("t_both", count, dates=dates)
    return replace(walk, state_names=names, scale=walk.scale * scale, max_log_move=walk.max_log_move * scale)


def moved(dynamics: Dynamics, count: int = 5000, scale: float = 1.0) -> Derived:
    """The walk and the states of its two surfaces; U1 has a level only."""
    walk = factor_walk(count, scale)
    operations, warnings = surface_operations(walk.state_names, {"U0": made_surface("U0"), "U1": made_surface("U1", 0.9)}, dynamics)
    assert not warnings
    derived = derive(walk, operations)
    assert isinstance(derived, Derived)
    return derived
