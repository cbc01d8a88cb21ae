"""Projected surfaces hold no arbitrage, looked for in prices: butterflies and calendar spreads of calls valued by the pricing formula itself.

On 501 strikes an expiry (|k| and |k'| below 3, dense about the money) the slopes of calls in strike never fall by more than 1e-9, and the call of a later expiry at the same
moneyness is never below the earlier one by more than 1e-10 of the forward (rounding; the tables are checked on other grids). Every check is shown to fire without
projection, and on a surface broken by hand. Scenarios: of a walk as wild as the sample's, and of one four times as wild.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from surfaces import factor_walk, made_surface, sample_surfaces

from upm_gpu.formula.black import black_undiscounted
from upm_gpu.formula.families import svi_total_variance
from upm_gpu.formula.surface_shift import HEAD, ascending, surface_shift
from upm_gpu.market.surface import Surface
from upm_gpu.market.surface_bounds import surface_bounds
from upm_gpu.model.gbm import reference_states
from upm_gpu.pricing.dynamics import Dynamics
from upm_gpu.pricing.surface_factors import surface_operations

SLOPE, CALENDAR = -1e-9, -1e-10
K = 2.99 * np.sinh(7.0 * np.linspace(-1.0, 1.0, 501)) / np.sinh(7.0)


def factors(scale: float, count: int) -> np.ndarray:
    """(3, S) level, skew, slope after two days: daily deviations about 0.08, 0.02, 0.03 times `scale`, t with 3 degrees."""
    states = reference_states(factor_walk(count, scale), 0, count)[0][-1]
    return np.stack([states[1], states[2] * 0.4, states[3] * 0.4])


def shocked(surface: Surface, dynamics: Dynamics, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(E, S) shift, skew, stretch."""
    names = ("volatility_shift[U]", "volatility_skew[U]", "volatility_slope[U]")
    (operation,), _ = surface_operations(names, {"U": replace(surface, underlying="U")}, dynamics)
    made, _ = surface_shift([v[None] for v in x], operation.reals, np.array([2.0]))
    shift, skew, stretch = np.split(made[:, 0], 3)
    return shift, skew, stretch


def worst(surface: Surface, shift: np.ndarray, skew: np.ndarray, stretch: np.ndarray, elapsed_years: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """(S,) largest fall of a call's slope in strike, and of a call against the expiry before it, both 0 or negative."""
    fall, spread = np.zeros(shift.shape[1]), np.zeros(shift.shape[1])
    for begin in range(0, shift.shape[1], 200):
        part = slice(begin, begin + 200)
        before, length_before = None, None
        for e, svi in enumerate(surface.slices):
            if svi.expiry_years <= elapsed_years:
                continue
            length = np.exp(stretch[e, part])[:, None]
            k = K * np.minimum(length, 1.0)
            prices = calls(svi, k, shift[e, part][:, None], skew[e, part][:, None], length, elapsed_years)
            slope = np.diff(prices, axis=1) / np.diff(np.exp(k), axis=1)
            fall[part] = np.minimum(fall[part], np.diff(slope, axis=1).min(axis=1))
            if before is not None:
                inside = np.abs(k) < 2.99 * np.minimum(length, length_before)
                earlier = calls(before[0], k, before[1], before[2], length_before, elapsed_years)
                spread[part] = np.minimum(spread[part], np.where(inside, prices - earlier, 0.0).min(axis=1))
            before, length_before = (svi, shift[e, part][:, None], skew[e, part][:, None]), length
    return fall, spread


def calls(svi, k, shift, skew, length, elapsed_years):
    """Calls on a forward of 1 by the formula that prices the book."""
    tilt = 2.0 * np.sqrt(svi_total_variance(0.0, svi.a, svi.b, svi.rho, svi.m, svi.s)) * skew
    sigma = np.sqrt(svi_total_variance(k / length, svi.a, svi.b, svi.rho, svi.m, svi.s, tilt=tilt) / svi.expiry_years) * np.exp(shift)
    return black_undiscounted(np.ones_like(k), np.exp(k), -k, sigma * np.sqrt(svi.expiry_years - elapsed_years), np.ones_like(k))


@pytest.mark.parametrize(("scale", "delta", "count"), [(1.0, False, 1500), (4.0, False, 400), (1.0, True, 400), (4.0, True, 400)])
def test_no_arbitrage_is_left_on_the_sample(scale: float, delta: bool, count: int) -> None:
    x = factors(scale, count)
    for u, surface in sample_surfaces().items():
        fall, spread = worst(surface, *shocked(surface, Dynamics(project=True, sticky_delta=delta), x))
        assert fall.min() > SLOPE and spread.min() > CALENDAR
        fall, spread = worst(surface, *shocked(surface, Dynamics(sticky_delta=delta), x[:, :200]))
        share = np.mean(spread < CALENDAR), np.mean(fall < SLOPE)
        assert share[0] > 0.2, f"{u}: without projection calendar spreads are negative in {share[0]:.1%} only"
        if scale == 4.0 and not delta:
            assert share[1] > 0.02, f"{u}: without projection butterflies are negative in {share[1]:.1%} only"


def test_none_is_left_at_the_horizon_either() -> None:
    """Total variance of two days less; expiries inside them are gone."""
    surface = sample_surfaces()["BTC"]
    fall, spread = worst(surface, *shocked(surface, Dynamics(project=True), factors(4.0, 400)), elapsed_years=2.0 / 365.0)
    assert fall.min() > SLOPE and spread.min() > CALENDAR


def test_the_checks_see_a_surface_broken_by_hand() -> None:
    surface = made_surface("U")
    still = np.zeros((len(surface.slices), 1))
    fall, spread = worst(surface, still, still, still)
    assert fall[0] > SLOPE and spread[0] > CALENDAR
    low = still.copy()
    low[3] = -1.0
    assert worst(surface, low, still, still)[1][0] < -1e-3
    assert worst(surface, still, still, still - 2.0)[0][0] < -1e-3  # a smile pressed together: its wings are too steep


def test_today_stays_as_it_is_to_the_bit() -> None:
    for surface in (*sample_surfaces().values(), made_surface("U")):
        for delta in (False, True):
            for states in shocked(surface, Dynamics(project=True, sticky_delta=delta), np.zeros((3, 1))):
                np.testing.assert_array_equal(states, 0.0)


def test_a_surface_that_needs_nothing_is_left_alone() -> None:
    """A fall of volatility at moderate skew: the decays of the loading part the expiries the safe way."""
    surface, x = sample_surfaces()["BTC"], np.array([[-0.2, -0.5], [0.0, 0.0], [0.0, 0.0]])
    for free, plain in zip(shocked(surface, Dynamics(project=True), x), shocked(surface, Dynamics(), x), strict=True):
        np.testing.assert_array_equal(free, plain)


def test_the_projection_is_the_nearest_one() -> None:
    """Against a quadratic solver: shifts at least squares from those asked for, neighbours no further apart than their gaps."""
    from scipy.optimize import minimize

    surface = made_surface("U")
    x = np.array([[0.6], [0.0], [-0.1]])
    asked, given = shocked(surface, Dynamics(), x)[0][:, 0], shocked(surface, Dynamics(project=True), x)[0][:, 0]
    gap = 0.5 * surface_bounds(surface.slices).gap[:, 16, 0]
    solver = minimize(lambda v: np.sum((v - asked) ** 2), given + 0.01 * np.arange(len(given)), method="SLSQP", options={"ftol": 1e-14},
                      constraints=[{"type": "ineq", "fun": lambda v, e=e: v[e + 1] - v[e] - gap[e]} for e in range(len(gap))])
    assert solver.success
    np.testing.assert_allclose(given, solver.x, atol=1e-6)
    assert np.abs(given - asked).max() > 0.1


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=20))
def test_ascending_means_pool_like_neighbours(values: list[float]) -> None:
    """The twin's min-max formula against pooling written anew."""
    blocks: list[list[float]] = []
    for v in values:
        blocks.append([v])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    pooled = np.concatenate([np.full(len(b), np.mean(b)) for b in blocks])
    np.testing.assert_allclose(ascending(np.array(values)), pooled, atol=1e-12)


def test_bounds_hold_between_their_nodes() -> None:
    """Interpolated bounds against the functions on points that are no nodes: never below, and near."""
    surface = made_surface("U")
    table = surface_bounds(surface.slices)
    rng = np.random.default_rng(5)
    k = np.linspace(-3.0, 3.0, 4001)
    for _ in range(200):
        x = rng.uniform(max(table.skew_low.max(), -0.15), min(table.skew_high.min(), 0.15))
        place, cell = divmod((x + 0.4) * 40.0, 1.0)[::-1]
        for e in range(len(surface.slices) - 1):
            ratio = [svi_total_variance(k, s.a, s.b, s.rho, s.m, s.s, tilt=2.0 * x * np.sqrt(svi_total_variance(0.0, s.a, s.b, s.rho, s.m, s.s))) for s in surface.slices[e : e + 2]]
            left, right, bubble = table.gap[e, int(cell)]
            bound = left + place * (right - left) + 4.0 * place * (1.0 - place) * bubble
            exact = np.log(np.max(ratio[0] / ratio[1]))
            assert exact <= bound + 1e-12 <= exact + 0.05
    assert all(table.free_today) and len(HEAD) == 9
