"""The most plausible breaking move: closed form where what is left is linear, a dense search where it is not, and a revaluation of every move reported."""

from __future__ import annotations

import numpy as np
import pytest
from campaigns import small_campaign

from upm_gpu.campaign.reverse import RADII, Space, nearest_breaks, reverse_stress, space_of

ROOT = np.linalg.cholesky(np.array([[4.0, 3.0, -1.0, 0.2], [3.0, 9.0, -0.5, 0.1], [-1.0, -0.5, 1.0, 0.3], [0.2, 0.1, 0.3, 2.0]]) * 1e-4)
SPACE = Space(np.array([0.001, -0.002, 0.0, 0.0]), ROOT)


def test_of_a_linear_book_it_is_equity_over_the_deviation_of_its_pnl():
    rng = np.random.default_rng(5)
    weight, equity = rng.normal(size=(30, 4)) * 1e5, rng.uniform(2e3, 2e4, 30)

    def left(moves, chosen):
        some = slice(None) if chosen is None else chosen
        return equity[some, None] + weight[some] @ moves

    found = np.linalg.norm(nearest_breaks(left, 30, SPACE), axis=0)
    expected = (equity + weight @ SPACE.mean) / np.linalg.norm(weight @ ROOT, axis=1)
    inside = expected < 25.0
    assert inside.sum() > 20
    assert found[inside] == pytest.approx(expected[inside], rel=1e-5)
    assert np.isnan(found[expected > RADII[-1]]).all()


def test_of_a_book_hurt_on_both_sides_it_is_the_nearer_one():
    """A short strangle: a loss beyond either strike, the nearest by a dense search of the plane."""

    def left(moves, chosen):
        x = moves[0]
        return (1.0 - 40.0 * np.maximum(x - 0.08, 0.0) - 60.0 * np.maximum(-0.06 - x, 0.0) - 5.0 * moves[2])[None]

    found = nearest_breaks(left, 1, SPACE)[:, 0]
    x = np.linspace(-0.25, 0.25, 2001)
    x, v = np.meshgrid(x, np.linspace(-0.1, 0.1, 801))
    inverse = np.linalg.inv(ROOT @ ROOT.T)
    given = inverse[[0, 2]][:, [0, 2]] - inverse[[0, 2]][:, [1, 3]] @ np.linalg.inv(inverse[[1, 3]][:, [1, 3]]) @ inverse[[1, 3]][:, [0, 2]]  # others at their conditional means
    at = np.stack([x.ravel() - SPACE.mean[0], v.ravel() - SPACE.mean[2]])
    broken = left(np.stack([x.ravel(), x.ravel(), v.ravel(), v.ravel()]), None)[0] <= 0.0
    dense = np.sqrt(np.einsum("ks,kl,ls->s", at, given, at)[broken].min())
    assert np.linalg.norm(found) == pytest.approx(dense, rel=2e-3)


def test_every_move_that_is_reported_breaks_what_it_names(tmp_path):
    _, book = small_campaign(tmp_path)
    found = reverse_stress(book, True, True, 1000.0)
    assert set(found["kind"]) == {"account", "member", "default_fund"} and len(found) == 4 + 3 + 1
    states = list(book.law.names)
    for _, line in found.iterrows():
        if (line["kind"], line["name"]) in (("account", "B"), ("member", "one")):
            assert np.isnan(line["distance"]) and np.isnan(line[states].to_numpy(float)).all(), "calls that are paid for and cash: nothing breaks B, nor A and B together"
            continue
        assert 0.0 < line["distance"] < RADII[-1], line["name"]
        moves = line[states].to_numpy(float)[:, None]
        assert line["distance"] == pytest.approx(book.law.distance(moves)[0], rel=1e-9)
        for factor, broken in ((1.0 + 1e-6, True), (1.0 - 1e-6, False)):
            there = space_of(book).mean[:, None] + factor * (moves - space_of(book).mean[:, None])
            left = book.under(there)[1][:, 0] - book.closing_cost
            value = {"account": lambda left=left, name=line["name"]: left[book.accounts.index(name)], "default_fund": lambda left=left: 1000.0 - np.maximum(-left, 0.0).sum(),
                     "member": lambda left=left, name=line["name"]: left[book.member == book.members.index(name)].sum()}[line["kind"]]()
            assert (value <= 0.0) == broken, (line["name"], value)
    alone = found[(found["kind"] == "account") & (found["name"] == "D")]["distance"].iloc[0]
    assert found[(found["kind"] == "member") & (found["name"] == "D")]["distance"].iloc[0] == pytest.approx(alone, rel=1e-9), "a member of one account is that account"
