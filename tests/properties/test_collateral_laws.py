"""Laws of what collateral counts, on random schedules and accounts: never above market, never falling, continuous, its slope the slope; no account moves another."""

from __future__ import annotations

import numpy as np
import pytest

from upm_gpu.margin.collateral import counted, schedule_of
from upm_gpu.margin.collateral_rules import CollateralRules

ASSETS = ("A", "B", "C", "D", "S", "USD")
ACCOUNTS = 400


def random_rules(rng):
    """Tiers that need not grow, limits by share and amount, premiums, on some of the assets."""
    edges = {a: [0.0, *np.sort(rng.uniform(1.0, 3000.0, rng.integers(0, 4))).tolist()] for a in ASSETS[:4]}
    some = [a for a in ASSETS[:4] if rng.random() < 0.7]
    return CollateralRules(
        modes={"S": "simulated"}, tiers={a: [[e, float(rng.choice([0.0, 0.1, 0.5, 1.0]))] for e in e_list] for a, e_list in edges.items()},
        limits={a: {"share": float(rng.uniform(0.05, 1.0)), **({"amount": float(rng.uniform(100.0, 2000.0))} if rng.random() < 0.5 else {})} for a in some},
        borrowing={a: {"premium": float(rng.uniform(0.0, 0.5)), "limit": float(rng.uniform(10.0, 500.0)), "beyond_limit": float(rng.uniform(0.0, 1.0))} for a in some})


def total(schedule, value):
    """(accounts,) of values (accounts, assets); and the slopes, (accounts, assets)."""
    n, m = value.shape
    account, asset = (x.ravel() for x in np.meshgrid(np.arange(n), np.arange(m), indexing="ij"))
    found = counted(schedule, account, asset, value.ravel(), n)
    return found.value.reshape(n, m).sum(axis=1), found.slope.reshape(n, m), found.value.reshape(n, m)


@pytest.fixture(params=range(12))
def case(request):
    rng = np.random.default_rng(request.param)
    schedule = schedule_of(random_rules(rng), ASSETS, {"S"}, "USD")
    value = np.where(rng.random((ACCOUNTS, len(ASSETS))) < 0.3, 0.0, rng.normal(300.0, 1500.0, (ACCOUNTS, len(ASSETS))))
    return rng, schedule, value


def test_never_above_market(case):
    _, schedule, value = case
    parts = total(schedule, value)[2]
    assert np.all(parts <= value + 1e-9) and np.all((parts >= 0.0) | (value < 0.0))


def test_more_never_counts_less(case):
    rng, schedule, value = case
    more = value + np.where(rng.random(value.shape) < 0.5, rng.exponential(500.0, value.shape), 0.0)
    assert np.all(total(schedule, more)[0] >= total(schedule, value)[0] - 1e-9)


def test_a_little_more_counts_a_little_more(case):
    """Lipschitz: no jump, at a tier, a limit or where a balance turns into a debt."""
    rng, schedule, value = case
    for factor in (0.0, 1.0):
        near = factor * value + 1e-7 * rng.normal(size=value.shape)
        assert np.all(np.abs(total(schedule, near)[0] - total(schedule, factor * value)[0]) < 1e-5)


def test_the_slope_is_the_change_for_a_little_more(case):
    """Also where a balance is 0, where a limit has just been reached, and by way of other assets' share limits."""
    _, schedule, value = case
    value = np.round(value)
    now, slope, _ = total(schedule, value)
    for m in range(len(ASSETS)):
        more = value.copy()
        more[:, m] += 2.0**-20
        np.testing.assert_allclose((total(schedule, more)[0] - now) * 2.0**20, slope[:, m], atol=2e-5)


def test_no_account_moves_another(case):
    _, schedule, value = case
    np.testing.assert_array_equal(total(schedule, value[:50])[0], total(schedule, value)[0][:50])
