"""Volatility shocks by hand: both conventions, the power of the days, floors and minimums."""

from __future__ import annotations

import numpy as np

from upm_gpu.rulebook.frame.volatility import AdditiveShock, MultiplicativeShock, directions, shocked, term_scale

SHOCK = MultiplicativeShock(range_up=0.5, range_down=0.275, short_term_power=0.30, long_term_power=0.13, minimum_up=0.45)
ALL = directions(["up", "none", "down"])


def test_multiplicative_by_hand() -> None:
    """At 30 days the power does not matter; at 7.5 days 4^0.30 = 1.5157165665; at 120 days 4^-0.13 = 0.8350879194."""
    got = shocked(np.array([0.6, 0.6, 0.6]), np.array([30.0, 7.5, 120.0]), ALL, SHOCK)
    np.testing.assert_allclose(got[0], [0.9, 0.6, 0.435], rtol=1e-14)
    np.testing.assert_allclose(got[1], [0.6 * (1 + 0.5 * 1.5157165665), 0.6, 0.6 * (1 - 0.275 * 1.5157165665)], rtol=1e-10)
    np.testing.assert_allclose(got[2], [0.6 * (1 + 0.5 * 0.8350879194), 0.6, 0.6 * (1 - 0.275 * 0.8350879194)], rtol=1e-10)


def test_floors() -> None:
    """A raised volatility has a minimum, days to expiry a floor, and nothing falls below zero."""
    assert shocked(np.array([0.1]), np.array([30.0]), ALL, SHOCK).tolist() == [[0.45, 0.1, 0.1 * (1 - 0.275)]]
    assert term_scale(np.array([0.01]), SHOCK) == term_scale(np.array([1.0]), SHOCK) == 30.0**0.30
    deep = SHOCK.model_copy(update={"range_down": 2.0})
    assert shocked(np.array([0.6]), np.array([7.0]), directions(["down"]), deep)[0, 0] == 0.0


def test_additive_by_hand() -> None:
    got = shocked(np.array([0.6, 0.2]), np.array([30.0, 1.0]), ALL, AdditiveShock(points_up=0.5, points_down=0.25, floor=0.05))
    np.testing.assert_allclose(got, [[1.1, 0.6, 0.35], [0.7, 0.2, 0.05]], rtol=1e-15)


def test_points_and_references_that_follow_the_term() -> None:
    """Additive points may scale with the days too: 40 points at 30 days are 60.63 at 7.5 and are floored; a reference of 45 days moves the scale."""
    scaled = AdditiveShock(points_up=0.4, points_down=0.4, short_term_power=0.3, long_term_power=0.3)
    got = shocked(np.array([0.6, 0.5]), np.array([7.5, 30.0]), ALL, scaled)
    np.testing.assert_allclose(got, [[0.6 + 0.4 * 1.5157165665, 0.6, 0.0], [0.9, 0.5, 0.1]], rtol=1e-10, atol=1e-16)
    later = SHOCK.model_copy(update={"reference_days": 45.0, "minimum_up": 0.0})
    np.testing.assert_allclose(shocked(np.array([0.6]), np.array([45.0]), ALL, later), [[0.9, 0.6, 0.435]], rtol=1e-14)
