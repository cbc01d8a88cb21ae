"""Dates in another order: perfect and zero dependence of sets that draw dates, by hand, in law, and the same on every backend."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from model_draws import draw
from scipy.stats import spearmanr

from upm_gpu.errors import CalibrationError
from upm_gpu.model.across import across
from upm_gpu.model.filtered_historical import FilteredHistoricalParameters
from upm_gpu.model.garch import Dynamics
from upm_gpu.model.historical import HistoricalParameters
from upm_gpu.model.rearranged import ROWS, row_order
from upm_gpu.model.recursion import Garch
from upm_gpu.model.registry import reference_states
from upm_gpu.scenario.spec import ScenarioSpec

FACTORS = ("log_level[A]", "log_level[B]", "volatility_shift[A]", "volatility_shift[B]", "rate_level[USD]")
DATES = np.array([1.0, 2.0])
COUNT = 16_384


def changes(count: int = 400) -> np.ndarray:
    """(N, 5): prices correlated 0.5, each volatility -0.7 with its own price."""
    z = np.random.default_rng(4).standard_t(6, (count, 5))
    a, b = z[:, 0], 0.5 * z[:, 0] + np.sqrt(0.75) * z[:, 1]
    rows = np.column_stack([a, b, -0.7 * a + np.sqrt(0.51) * z[:, 2], -0.7 * b + np.sqrt(0.51) * z[:, 3], z[:, 4]])
    return (rows - rows.mean(axis=0)) / rows.std(axis=0)


def filtered(recursion: Garch = Garch(4e-4, 0.0, 0.0), spec: ScenarioSpec = ScenarioSpec(count=COUNT, seed=3)):  # noqa: B008
    variance = np.array([4e-4, 9e-4, 1e-3, 1e-3, 1e-8])
    dynamics = Dynamics(("garch",) * 5, tuple(replace(recursion, omega=v) if not recursion.beta else recursion for v in variance), variance, np.full(5, 1.5))
    return FilteredHistoricalParameters(FACTORS, dynamics, changes()).scenarios(DATES, spec)


def windows(spec: ScenarioSpec = ScenarioSpec(count=COUNT, seed=3, model="historical")):  # noqa: B008
    return HistoricalParameters(FACTORS, 0.03 * changes(), np.zeros(400, np.int64), np.full(5, 1.5)).scenarios(DATES, spec)


SETS = pytest.mark.parametrize("made", [filtered, windows], ids=["filtered_historical", "historical"])


def test_orders_by_hand():
    """B in the order of A, its volatility with it; inverse B against it; ties by date; what has no price is shuffled, and then all stands twice."""
    values = np.array([[0.3, -0.1, 0.2], [5.0, 5.0, 4.0], [1.0, 2.0, 3.0]])
    names = ("log_level[A]", "log_level[B]", "volatility_shift[B]")
    np.testing.assert_array_equal(row_order(values, names, "perfect", (), 1, 2), [[0, 1, 2], [1, 2, 0], [1, 2, 0]])
    np.testing.assert_array_equal(row_order(values, names, "perfect", ("B",), 1, 2), [[0, 1, 2], [2, 0, 1], [2, 0, 1]])
    np.testing.assert_array_equal(row_order(values, names, "perfect", ("A",), 1, 2), [[0, 1, 2], [2, 1, 0], [2, 1, 0]])
    shuffled = row_order(values, ("log_level[A]", "log_level[B]", "rate_level[C]"), "perfect", (), 1, 2)
    np.testing.assert_array_equal(shuffled[:2], [[0, 1, 2] * 2, [1, 2, 0] * 2])
    zero = row_order(np.random.default_rng(1).normal(size=(3, 50)), ("log_level[A]", "log_level[B]", "log_level[C]"), "zero", (), 1, 1)
    np.testing.assert_array_equal(zero[0], np.arange(50))
    assert np.count_nonzero(zero[1] == zero[2]) < 10 and np.count_nonzero(zero[1] == zero[0]) < 10  # each of three shuffles its own
    assert sorted(shuffled[2, :3]) == sorted(shuffled[2, 3:]) == [0, 1, 2]


@SETS
@pytest.mark.parametrize("which", ["perfect", "zero"])
def test_every_underlying_keeps_its_own_joint_law(made, which):
    """Row by row: the (price, volatility) pairs of an underlying are those of the history, each as often as the others, at every date; the first keeps its paths to the bit."""
    drawn = made()
    rows = drawn.values if hasattr(drawn, "values") else drawn.residuals[None]
    other = across(drawn, which, (), "rearranged")
    new = other.values if hasattr(other, "values") else other.residuals[None]
    copies = new.shape[-1] // rows.shape[-1]
    assert copies * rows.shape[-1] == new.shape[-1] >= ROWS  # the rate has no price: shuffled under both
    for own in ((0, 2), (1, 3), (4,)):
        before = np.sort(np.ascontiguousarray(rows[:, own].reshape(-1, rows.shape[-1]).T).view("f8," * (rows.shape[0] * len(own) - 1) + "f8").ravel())
        after = np.sort(np.ascontiguousarray(new[:, own].reshape(-1, new.shape[-1]).T).view(before.dtype).ravel())
        np.testing.assert_array_equal(after, np.repeat(before, copies))
    if which == "perfect":
        assert spearmanr(new[-1, 0], new[-1, 1]).statistic == pytest.approx(1.0)
    twin = reference_states(other, 0, 4096)[0]
    assert np.std(twin[-1, 1]) == pytest.approx(np.std(reference_states(drawn, 0, 4096)[0][-1, 1]), rel=0.06)


@SETS
def test_laws_of_a_path(made):
    """Perfect: prices move as one and means of exp stay 1; zero: four standard errors from no correlation of moves and of their sizes; volatility follows its own price under both."""
    drawn = made()
    plain, one, none = (draw(s) for s in (drawn, across(drawn, "perfect", (), "rearranged"), across(drawn, "zero", (), "rearranged")))
    limit = 4.0 / np.sqrt(COUNT) + 4.0 / np.sqrt(ROWS)
    for date in (0, 1):
        assert spearmanr(one[date, 0], one[date, 1]).statistic > (0.999 if made is windows and date == 1 else 0.99 if made is filtered else 0.3)
        for k in (1, 2, 3, 4):
            if k != 2:
                assert abs(np.corrcoef(none[date, 0], none[date, k])[0, 1]) < limit
        assert abs(np.corrcoef(np.abs(none[date, 0]), np.abs(none[date, 1]))[0, 1]) < limit
        for moved in (one, none):
            assert np.corrcoef(moved[date, 1], moved[date, 3])[0, 1] == pytest.approx(np.corrcoef(plain[date, 1], plain[date, 3])[0, 1], abs=0.03)
            for k in (0, 1):
                growth = np.exp(moved[date, k])
                assert abs(growth.mean() - 1.0) < 4.0 * growth.std() / np.sqrt(COUNT)


def test_comonotone_books_need_no_less_than_any_other_dependence():
    """Expected shortfall of a book long both prices: zero < as drawn < perfect, and perfect is the sum of each alone."""
    from upm_gpu.risk.measures import expected_shortfall

    drawn = filtered()
    needs = {}
    for name, s in (("drawn", drawn), *((w, across(drawn, w, (), "rearranged")) for w in ("perfect", "zero"))):
        growth = np.expm1(draw(s)[0, :2])
        needs[name] = float(expected_shortfall(-growth.sum(axis=0), 0.99))
        if name == "perfect":
            assert needs[name] == pytest.approx(sum(float(expected_shortfall(-g, 0.99)) for g in growth), rel=1e-9)
    assert needs["zero"] < 0.97 * needs["drawn"] < 0.97 * 0.97 * needs["perfect"]


@SETS
def test_refused_unless_asked_for(made):
    with pytest.raises(CalibrationError, match=r'UPM-CA-139.*model\.across_dates = "rearranged"'):
        across(made(), "zero")
