"""Shocks are what the campaign says: moves, betas, past days, and the order of a grid."""

from __future__ import annotations

import numpy as np
import pytest
from campaigns import CAMPAIGN, small_campaign

from upm_gpu.calibrate.dated import past_move
from upm_gpu.errors import CalibrationError, InputError


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return small_campaign(tmp_path_factory.mktemp("campaign"))


def test_every_entry_makes_its_shocks_in_order(small):
    _, book = small
    shocks = book.shocks
    assert shocks.kind == ("event", "move", *["grid"] * 12, *["family"] * 20)
    assert shocks.states == ("log_level[BTC]", "log_level[ETH]", "volatility_shift[BTC]", "volatility_shift[ETH]")
    assert np.isfinite(shocks.moves).all() and (shocks.distance > 0.0).any()
    assert shocks.names[2] == "grid: price -0.2, volatility +0, correlation +0" and len(set(shocks.names)) == shocks.count


def test_an_event_is_what_the_history_did(small):
    _, book = small
    plan = book.outcome.plan
    asked = past_move("a day", "2025-12-01", "2025-12-02", "", book.shocks.states, plan.market, plan.spec, plan.surfaces)
    assert book.shocks.moves[:, 0].tolist() == [asked[s] for s in book.shocks.states]
    assert abs(book.shocks.moves[0, 0]) > 1e-4


def test_a_hypothetical_move_is_relative_and_a_named_asset_takes_its_own_alone(small):
    _, book = small
    assert book.shocks.moves[:, 1] == pytest.approx([np.log(0.7), np.log(0.6), np.log(1.5), 0.0])
    assert book.shocks.liquidity[1] == 2.0


def test_the_others_follow_the_leader_by_their_beta(small):
    _, book = small
    grid = [s for s in range(book.shocks.count) if book.shocks.kind[s] == "grid"]
    cov = book.law.covariance
    rho = cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1])
    for s in grid:
        price, volatility, _ = book.shocks.place[:, s]
        share = book.shocks.correlation[s]
        beta = ((1.0 - share) * rho + share) * np.sqrt(cov[1, 1] / cov[0, 0])
        assert book.shocks.moves[:, s] == pytest.approx([np.log1p(price), beta * np.log1p(price), np.log1p(volatility), np.log1p(volatility)])
    assert {(*book.shocks.place[:2, s], book.shocks.correlation[s]) for s in grid} == {(p, v, c) for p in (-0.2, 0.0, 0.2) for v in (0.0, 0.5) for c in (0.0, 1.0)}


def test_a_family_keeps_what_is_given_and_draws_the_rest(small):
    _, book = small
    own = book.shocks.moves[:, -20:]
    assert (own[0] == np.log(0.5)).all() and (own[1:].std(axis=1) > 0.01).all() and own[1].mean() < -0.2


@pytest.mark.parametrize(("old", "new", "code", "word"), [
    ("ETH = { price = -0.4 }", "DOGE = { price = -0.4 }", "UPM-ST-002", "DOGE"),
    ("ETH = { price = -0.4 }", "ETH = { basis = 0.01 }", "UPM-ST-002", "model.basis = true"),
    ('leader = "BTC"', 'leader = "SOL"', "UPM-ST-002", "SOL"),
    ('start = "2025-12-01"', 'start = "2020-03-11"', "UPM-CA-195", "2020-03-11"),
])
def test_what_the_model_does_not_move_is_refused_by_name(tmp_path, old, new, code, word):
    with pytest.raises((InputError, CalibrationError)) as stopped:
        small_campaign(tmp_path, CAMPAIGN.replace(old, new))
    assert stopped.value.code == code and word in str(stopped.value)
