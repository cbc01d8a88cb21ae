"""Laws of the STANS charges on random books: order of levels, signs, positive homogeneity, no matter how a position is split; sub-additivity of the part that has it."""

from __future__ import annotations

import numpy as np
import pytest
from small_book import STUDENT, methodology, read, write

from upm_gpu.engine import margin_run
from upm_gpu.margin.requests import MeasureRequest
from upm_gpu.scenario.spec import ScenarioSpec

SPEC = ScenarioSpec(count=8192, seed=11, horizons=(2.0,))
HELD = {"BTC-PERP": 5000.0, "BTC-LINEAR": 1.0, "ETH-PERP": 40_000.0, "BTC-FUT": 3000.0, "BTC-C70": 4.0, "BTC-P60": 6.0, "BTC-C75D": 3.0, "ETH-C20L": 30.0}
CHARGES = [{"name": "dependence"}, {"name": "concentration"}]
ACCOUNTS = 30


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    """Random accounts; the same twice as large; the same in two lines a position; pairs of them as one account."""
    rng = np.random.default_rng(5)
    quantity = {(a, i): float(np.round(size * rng.normal(), 3)) for a in range(ACCOUNTS) for i, size in HELD.items() if rng.random() < 0.5}
    lines = ["account_id,instrument_id,quantity"]
    for (a, i), q in quantity.items():
        lines += [f"A{a:02d},{i},{q}", f"D{a:02d},{i},{2.0 * q}", f"S{a:02d},{i},{round(q / 4.0, 4)}", f"S{a:02d},{i},{round(q - round(q / 4.0, 4), 4)}", f"M{a // 2:02d},{i},{q}"]
    book, market = read(write(tmp_path_factory.mktemp("laws"), "\n".join(lines) + "\n"))
    result = margin_run(book, market, SPEC, methodology(charges=CHARGES), "cpu", precision="double", model=STUDENT)
    return result, result.table.set_index("account_id")


def of(table, letter, name):
    return table[table.index.str.startswith(letter)].sort_index()[name].to_numpy()


def test_levels_are_in_order(books):
    measures = books[0].measured.measures
    high, core = measures[MeasureRequest("base", 2.0, 0.995)], measures[MeasureRequest("base", 2.0, 0.99)]
    assert np.all(high.expected_shortfall >= core.expected_shortfall) and np.all(core.expected_shortfall >= core.value_at_risk)


def test_charges_are_never_negative_and_nothing_was_floored(books):
    for charge in books[0].charges:
        assert np.all(charge.amount >= 0.0) and np.all(charge.floored <= 1e-6)
        assert np.count_nonzero(charge.amount) > ACCOUNTS


def test_twice_the_book_needs_twice(books):
    for name in ("charge_dependence", "charge_concentration", "initial_margin"):
        np.testing.assert_allclose(of(books[1], "D", name), 2.0 * of(books[1], "A", name), rtol=1e-9)


def test_a_split_position_changes_no_bit(books):
    for name in ("charge_dependence", "charge_concentration", "initial_margin"):
        np.testing.assert_array_equal(of(books[1], "S", name), of(books[1], "A", name))


def test_core_and_dependence_are_sub_additive(books):
    apart = (of(books[1], "A", "core") + of(books[1], "A", "charge_dependence")).reshape(-1, 2).sum(axis=1)
    together = of(books[1], "M", "core") + of(books[1], "M", "charge_dependence")
    assert np.all(together <= apart * (1.0 + 1e-12))
    assert np.any(together < 0.8 * apart)


def test_concentration_is_not_sub_additive(books):
    """The counter-example: some pair needs more together than apart."""
    apart = of(books[1], "A", "charge_concentration").reshape(-1, 2).sum(axis=1)
    assert np.any(of(books[1], "M", "charge_concentration") > apart)
