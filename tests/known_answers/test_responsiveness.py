"""Figures of margin histories by hand: ratios, rises over days and gaps, means of a year, accounts that come and go."""

from __future__ import annotations

import numpy as np
import pytest

from upm_gpu.margin.responsiveness import largest_rise, one_year_mean, peak_to_trough

DAYS = np.array([0.0, 1.0, 2.0, 5.0, 40.0])
MARGIN = np.array([[100.0, np.nan, 0.0], [80.0, 50.0, 0.0], [120.0, 50.0, 5.0], [90.0, np.nan, 10.0], [300.0, 60.0, 4.0]])


def test_peak_to_trough():
    found = peak_to_trough(MARGIN)
    assert found.tolist() == [3.75, 1.2, 2.5]
    assert np.isnan(peak_to_trough(MARGIN[:1])).all()


def test_rises_by_hand():
    """1 day: 80 to 120; 5 days: the same; 30 days: none reaches over the gap of 35, 60 days: 80 to 300. From 0 nothing rises."""
    assert largest_rise(DAYS, MARGIN, 1.0)[:2] == pytest.approx([0.5, 0.0])
    assert largest_rise(DAYS, MARGIN, 30.0) == pytest.approx([0.5, 0.0, 1.0])
    assert largest_rise(DAYS, MARGIN, 60.0) == pytest.approx([2.75, 0.2, 1.0])
    assert np.isnan(largest_rise(DAYS, MARGIN, 1.0)[2])
    assert np.isnan(largest_rise(DAYS[3:], MARGIN[3:], 30.0)).all()


def test_against_all_pairs():
    rng = np.random.default_rng(1)
    days, margin = np.cumsum(rng.integers(1, 4, 60)).astype(float), rng.uniform(1.0, 3.0, (60, 5))
    for n in (1, 5, 30):
        known = np.zeros(5)
        for t in range(60):
            for s in range(t):
                if days[t] - days[s] <= n:
                    known = np.maximum(known, margin[t] / margin[s] - 1.0)
        np.testing.assert_array_equal(largest_rise(days, margin, float(n)), known)


def test_valuations_a_few_minutes_more_than_a_day_apart_are_a_day():
    assert largest_rise(np.array([0.0, 1.01]), np.array([[1.0], [2.0]]), 1.0).tolist() == [1.0]
    assert np.isnan(largest_rise(np.array([0.0, 2.0]), np.array([[1.0], [2.0]]), 1.0)).all()


def test_rises_grow_with_days_and_do_not_know_the_unit_of_money():
    rng = np.random.default_rng(2)
    days, margin = np.arange(50.0), rng.uniform(1.0, 3.0, (50, 7))
    a, b, c = (largest_rise(days, margin, n) for n in (1.0, 5.0, 30.0))
    assert np.all(a <= b) and np.all(b <= c) and np.all(1.0 + c <= peak_to_trough(margin) * (1.0 + 1e-12))
    np.testing.assert_allclose(largest_rise(days, 1e6 * margin, 5.0), b, rtol=1e-12)


def test_a_mean_is_of_the_last_year():
    mean, count = one_year_mean(np.array([0.0, 36.0, 400.0]), np.array([[9.0, np.nan], [1.0, np.nan], [2.0, np.nan]]))
    assert mean[0] == 1.5 and count.tolist() == [2, 0] and np.isnan(mean[1])
