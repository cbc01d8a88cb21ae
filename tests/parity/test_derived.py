"""Derived states on every backend: base states untouched, operations as their twins, ranges, tails, lists and counts as of any set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from upm_gpu.backend import reference
from upm_gpu.backend.contract import merge
from upm_gpu.backend.cuda.derived import independent_runs
from upm_gpu.model.registry import reference_states
from upm_gpu.scenario.derived import (
    FIXING_KINDS,
    Bridges,
    Derived,
    Funding,
    base_of,
    derive,
    inverse_contract,
    linear_combination,
    linear_contract,
    running_exit,
    running_extreme,
    running_fixings,
    shortened,
)
from upm_gpu.scenario.sets import BLOCK, Explicit, ScenarioSet

from .cases import (
    DATES,
    STATE_NAMES,
    make_compiled,
    make_explicit,
    make_garch,
    make_heston,
    make_resample,
    make_rows,
    make_walk,
)
from .test_operations import EPS, assert_same, composed_tail


def base(kind: str, count: int = 5000) -> Any:
    """A set of each kind that makes states."""
    if kind in ("t_both", "jumps"):
        return make_walk(kind, count)
    return {"explicit": make_explicit, "heston": lambda c: make_heston("heston", c), "garch": lambda c: make_garch("resampled", c), "resample": make_resample}[kind](count)


def operations(names: tuple[str, ...]) -> list:
    """Sums of sums, weights by date, a weight of 0."""
    return [linear_combination("sum", {names[0]: 1.0, names[2]: np.linspace(0.5, 2.0, len(DATES))}, len(DATES)),
            linear_combination("other", {names[4]: -1.0}, len(DATES)),
            linear_combination("twice", {"sum": 2.0, names[1]: 0.0, "other": 1.0}, len(DATES))]


KINDS = ("t_both", "jumps", "heston", "garch", "resample", "explicit")


@pytest.mark.parametrize("kind", KINDS)
def test_the_base_keeps_its_bits_and_operations_follow_their_twins(backend: Any, kind: str) -> None:
    drawn = base(kind, 900)
    derived = derive(drawn, operations(drawn.state_names))
    compiled = make_compiled()
    first, last = 100, 429 if kind != "explicit" else 300
    if kind == "explicit":
        first, last = 20, 190
    with backend.prepare(compiled, make_rows(compiled), "double") as prepared:
        plain = backend.states(prepared, drawn, first, last)
        states = backend.states(prepared, derived, first, last)
    size = len(drawn.state_names)
    assert states.shape == (len(DATES), size + 3, last - first) and derived.state_names[size:] == ("sum", "other", "twice")
    np.testing.assert_array_equal(states[:, :size], plain)
    total = plain[:, 0] + np.linspace(0.5, 2.0, len(DATES))[:, None] * plain[:, 2]
    np.testing.assert_array_equal(states[:, size], total)
    np.testing.assert_array_equal(states[:, size + 1], -plain[:, 4])
    np.testing.assert_allclose(states[:, size + 2], 2.0 * total - plain[:, 4], rtol=4 * EPS, atol=EPS)


@pytest.mark.parametrize("kind", ["t_both", "resample", "explicit"])
def test_tails_are_the_composition_of_plain_operations(backend: Any, kind: str) -> None:
    compiled = make_compiled()
    rows, drawn = make_rows(compiled), base(kind)
    derived = derive(drawn, operations(drawn.state_names))
    last, depth = (BLOCK + 70, 20) if kind != "explicit" else (drawn.count, 20)
    with backend.prepare(compiled, rows, "double") as prepared:
        whole = backend.row_tail(prepared, derived, 0, last, depth)
        before = backend.row_tail(prepared, drawn, 0, last, depth)
        worst, ids, sums = composed_tail(backend, prepared, derived, 0, last, depth)
        if last > BLOCK:
            halves = merge(backend.row_tail(prepared, derived, BLOCK, last, depth), backend.row_tail(prepared, derived, 0, BLOCK, depth))
            assert_same(halves, whole)
    for found in (worst, before.pnl):
        np.testing.assert_array_equal(whole.pnl, found)
    np.testing.assert_array_equal(whole.scenario, ids)
    np.testing.assert_array_equal(whole.block_sums, sums)
    np.testing.assert_array_equal(whole.clipped, np.concatenate([before.clipped, [0, 0, 0]]))
    assert kind == "explicit" or before.clipped.sum() > 0


def test_attribution_draws_listed_scenarios(backend: Any) -> None:
    compiled = make_compiled()
    rows, drawn = make_rows(compiled), make_walk("t_both")
    derived = derive(drawn, operations(STATE_NAMES))
    first = np.arange(rows.count + 1, dtype=np.int64)
    ids = np.random.default_rng(2).integers(0, 900, rows.count).astype(np.uint32)
    with backend.prepare(compiled, rows, "double") as prepared:
        np.testing.assert_array_equal(backend.attribution(prepared, derived, 1, first, ids, np.ones(rows.count)),
                                      backend.attribution(prepared, drawn, 1, first, ids, np.ones(rows.count)))


def test_a_shorter_set_and_none_at_all() -> None:
    drawn = make_walk()
    derived = derive(drawn, operations(STATE_NAMES))
    assert isinstance(derived, Derived) and derive(drawn, []) is drawn
    shorter = shortened(derived, 400)
    assert shorter.count == 400 and base_of(shorter).count == 400 and shorter.names == derived.names
    with pytest.raises(KeyError):
        derive(drawn, [linear_combination("sum", {"later": 1.0}, len(DATES))])
    with pytest.raises(KeyError):
        derive(drawn, [linear_combination(STATE_NAMES[0], {STATE_NAMES[1]: 1.0}, len(DATES))])


def test_runs_never_hold_an_operation_and_its_reader() -> None:
    derived: ScenarioSet = derive(make_walk(), operations(STATE_NAMES))
    assert independent_runs(derived) == (("derive_linear_combination", 0, 2), ("derive_linear_combination", 2, 1))  # type: ignore[arg-type]


def test_reference_is_the_oracle_of_itself() -> None:
    drawn = make_explicit()
    derived = derive(drawn, operations(STATE_NAMES))
    book = make_compiled()
    states = reference.states(reference.prepare(book, make_rows(book), "double"), derived, 0, 3)
    assert states[0, len(STATE_NAMES), 0] == 0.0  # the unshocked scenario


def contracts() -> list:
    """Every input given and every input left out."""
    funding, plain = Funding(1.0, 3e-3, STATE_NAMES[3]), Funding(1.0, -2e-3)
    return [linear_contract("everything", DATES, STATE_NAMES[0], STATE_NAMES[1], STATE_NAMES[2], 0.98, funding, np.linspace(1.0, 1.1, len(DATES)), [0, 1, 2, 2]),
            linear_contract("bare", DATES, STATE_NAMES[0]),
            linear_contract("paid", DATES, STATE_NAMES[0], funding=plain),
            inverse_contract("coins", DATES, STATE_NAMES[0], STATE_NAMES[2], STATE_NAMES[1], 1.02, funding),
            inverse_contract("coin", DATES, STATE_NAMES[0], STATE_NAMES[0], funding=plain)]


@pytest.mark.parametrize("kind", ["t_both", "explicit"])
def test_running_extremes_follow_their_twins(backend: Any, kind: str) -> None:
    """Every factor of a term is of the order of its own standard deviation; the logarithm of the uniform differs by an ulp."""
    bridges = Bridges(7, 3, np.tile([0.01, 0.02, 0.0, 0.01, 0.01, 0.01], (len(DATES), 1)))
    drawn = base(kind, 900)
    derived = derive(drawn, [running_extreme("high", DATES, STATE_NAMES[0], 0, 1.0, bridges), running_extreme("low", DATES, STATE_NAMES[0], 0, -1.0, bridges),
                             running_extreme("straight", DATES, STATE_NAMES[2], 2, 1.0, bridges)])
    compiled = make_compiled()
    rows = make_rows(compiled)
    with backend.prepare(compiled, rows, "double") as prepared:
        states = backend.states(prepared, derived, 30, 250)
    expected = reference.states(reference.prepare(compiled, rows, "double"), derived, 30, 250)
    size = len(STATE_NAMES)
    np.testing.assert_allclose(states[:, size:], expected[:, size:], rtol=0, atol=0 if backend is reference else 64 * EPS)
    high, low, straight = np.moveaxis(states[:, size:], 1, 0)
    assert np.all(high >= np.maximum(states[:, 0], 0.0)) and np.all(low <= np.minimum(states[:, 0], 0.0)) and np.all(np.diff(high, axis=0) >= 0.0)
    np.testing.assert_allclose(straight, np.maximum(np.maximum.accumulate(states[:, 2], axis=0), 0.0), atol=EPS)


def exits(factor: int, bridges: Bridges) -> list:
    """Extremes of a factor and exits from a narrow and a wide pair of levels."""
    name = STATE_NAMES[factor]
    return [running_extreme("high", DATES, name, factor, 1.0, bridges), running_extreme("low", DATES, name, factor, -1.0, bridges),
            *(running_exit(f"exit{i}", DATES, name, ("high", "low"), factor, *pair, bridges) for i, pair in enumerate(((-0.2, 0.25), (-0.6, 0.5))))]


@pytest.mark.parametrize("kind", ["t_both", "explicit"])
def test_exits_follow_their_twins(backend: Any, kind: str) -> None:
    """A state of 0 or 1: a rounding would have to fall on the uniform itself. Variances of one line, of a few images, of many, and of none that stays."""
    variance = np.tile(np.array([0.0, 0.02, 0.1, 25.0])[:, None], (1, len(STATE_NAMES)))
    derived = derive(base(kind, 900), exits(0, Bridges(7, 3, variance)))
    compiled = make_compiled()
    rows = make_rows(compiled)
    with backend.prepare(compiled, rows, "double") as prepared:
        states = backend.states(prepared, derived, 30, 250)
    expected = reference.states(reference.prepare(compiled, rows, "double"), derived, 30, 250)
    size = len(STATE_NAMES)
    np.testing.assert_array_equal(states[:, size + 2 :], expected[:, size + 2 :])
    near, far = np.moveaxis(states[:, size + 2 :], 1, 0)
    assert np.all(near >= far) and np.all(np.diff(near, axis=0) >= 0.0) and near[1].mean() < 1.0
    assert near[2].mean() > 0.0 and 0.0 < far[2].mean() < far[3].mean() == 1.0


@pytest.mark.parametrize("kind", ["t_both", "explicit"])
def test_fixings_follow_their_twins(backend: Any, kind: str) -> None:
    """Sums of a few exponentials of the order of 1, each within 2 ulp; extremes are levels themselves. The second of four dates is no fixing."""
    days = {float(d) for d in DATES[[0, 2, 3]]}
    derived = derive(base(kind, 900), [running_fixings(name, DATES, STATE_NAMES[0], name, days) for name in FIXING_KINDS])
    compiled = make_compiled()
    rows = make_rows(compiled)
    with backend.prepare(compiled, rows, "double") as prepared:
        states = backend.states(prepared, derived, 30, 250)
    expected = reference.states(reference.prepare(compiled, rows, "double"), derived, 30, 250)
    size = len(STATE_NAMES)
    np.testing.assert_allclose(states[:, size:], expected[:, size:], rtol=0, atol=0 if backend is reference else 64 * EPS)
    fixed = states[[0, 2, 3], 0]
    made = np.moveaxis(states[:, size:], 1, 0)
    for found, path in zip(made, (np.cumsum(np.exp(fixed), axis=0), np.cumsum(fixed, axis=0), np.maximum.accumulate(fixed), np.minimum.accumulate(fixed)), strict=True):
        np.testing.assert_allclose(found[[0, 2, 3]], path, rtol=8 * EPS, atol=8 * EPS)
        np.testing.assert_array_equal(found[1], found[0])


@pytest.mark.parametrize("kind", ["t_both", "explicit"])
def test_contracts_follow_their_twins(backend: Any, kind: str) -> None:
    """Every term is of the order of 1; an exponential differs by 2 ulp, a few of them are added."""
    derived = derive(base(kind, 900), contracts())
    compiled = make_compiled()
    rows = make_rows(compiled)
    with backend.prepare(compiled, rows, "double") as prepared:
        states = backend.states(prepared, derived, 30, 250)
    expected = reference.states(reference.prepare(compiled, rows, "double"), derived, 30, 250)
    size = len(STATE_NAMES)
    assert np.abs(states[:, size:] - expected[:, size:]).max() <= (0 if backend is reference else 64 * EPS * np.abs(expected[:, size:]).max() + 64 * EPS)
    assert np.abs(expected[:, size:]).min(axis=(0, 2)).shape == (5,) and np.all(np.ptp(expected[:, size:], axis=2) > 0.0)


def test_perpetuals_against_plain_cash_flows() -> None:
    """Dollars and coins paid one by one along each path, no column of the product's: 1e-12 of the notional is rounding."""
    dates = np.array([1.0, 2.0, 2.5, 3.0])
    rng = np.random.default_rng(5)
    x, basis, rate, eur = (np.cumsum(rng.normal(0.0, s, (4, 200)), axis=0) for s in (0.05, 2e-3, 1e-3, 0.01))
    names = ("log_level[BTC]", "log_basis[BTC]", "funding_rate[BTC]", "log_fx[EUR]")
    drawn = Explicit(names, dates, np.stack([x, basis, rate, eur], axis=1))
    funding, spot, price, euro, size = Funding(1.0, 4e-4, names[2]), 70_000.0, 70_350.0, 1.1, 3.0
    derived = derive(drawn, [linear_combination("eur", {names[0]: 1.0, names[3]: -1.0}, 4),
                             linear_contract("linear", dates, "eur", names[1], names[3], spot / price, funding),
                             inverse_contract("inverse", dates, names[0], names[0], names[1], price / spot, funding)])
    found = reference_states(derived, 0, 200)[0]
    index, perpetual = spot * np.exp(x), price * np.exp(x + basis)
    for d, paid in ((0, [(0, 1.0)]), (1, [(0, 1.0), (1, 1.0)]), (2, [(0, 1.0), (1, 1.0), (2, 0.5)]), (3, [(0, 1.0), (1, 1.0), (3, 1.0)])):
        coins = size * 1000.0 * (1.0 / price - 1.0 / perpetual[d])
        for at, days in paid:
            coins = coins - size * 1000.0 * (4e-4 + rate[at]) * days / index[at]
        np.testing.assert_allclose(size * 1000.0 * spot / price * found[d, names_of(derived, "inverse")], coins * index[d], rtol=0, atol=1e-12 * size * 1000.0)
        # quoted in euros: the index in euros moves by x - eur, the cash is worth its euros then
        index_euro, perpetual_euro = index / (euro * np.exp(eur)), price / euro * np.exp(x - eur + basis)
        cash = size * (perpetual_euro[d] - price / euro)
        for at, days in paid:
            cash = cash - size * (4e-4 + rate[at]) * days * index_euro[at]
        np.testing.assert_allclose(size * price / euro * euro * found[d, names_of(derived, "linear")], cash * euro * np.exp(eur[d]), rtol=0, atol=1e-12 * size * price)


def names_of(derived: Any, name: str) -> int:
    return derived.state_names.index(name)


def test_another_date_moves_no_accrual() -> None:
    few, more = np.array([1.0, 2.0, 3.0]), np.array([0.25, 1.0, 1.5, 2.0, 3.0])
    values = np.random.default_rng(6).normal(0.0, 0.1, (5, 1, 50))
    found = []
    for dates, kept in ((few, values[[1, 3, 4]]), (more, values)):
        funding = Funding(1.0, 1e-3)
        derived = derive(Explicit(("log_level[BTC]",), dates, kept), [linear_contract("linear", dates, "log_level[BTC]", funding=funding)])
        found.append(reference_states(derived, 0, 50)[0][[int(np.flatnonzero(dates == d)[0]) for d in few], 1])
    np.testing.assert_array_equal(*found)
    with pytest.raises(ValueError, match="path date at 1 days"):
        linear_contract("linear", np.array([2.0]), "log_level[BTC]", funding=Funding(1.0, 1e-3))
