"""Laws of SPAN and TIMS on random books: splits and neighbours change no bit, charges are not negative, scale, merged books, continuity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_book import read, write

from upm_gpu.backend import reference
from upm_gpu.rulebook import load_rule_book
from upm_gpu.rulebook.clearing.groups import group_loss, requirement
from upm_gpu.rulebook.frame.held import hold

NAMES = ("BTC-PERP", "BTC-LINEAR", "ETH-PERP", "BTC-FUT", "BTC-C70", "BTC-P70", "BTC-P60", "BTC-C75D", "ETH-C20L")
SIZE = (7000.0, 1.0, 2000.0, 7000.0, 1.0, 1.0, 1.0, 1.0, 20.0)
BOOKS = ["span_v1", "tims_v1"]


def margins(folder: Path, rows: list[tuple[str, str, float]], file: str):
    text = "account_id,instrument_id,quantity\n" + "".join(f"{a},{n},{q!r}\n" for a, n, q in rows)
    held = hold(*read(write(folder, text)))[0]
    book = load_rule_book(f"configs/methodology/{file}.toml")
    made = book.module.margin(held, book.parameters, reference.values)
    assert all((amount >= 0.0).all() for amount in made.charges.values())
    return {u: (made.initial[i], {k: v[i] for k, v in made.charges.items()}) for i, u in enumerate(made.units)}


def random_rows(rng: np.random.Generator, account: str, count: int = 5):
    return [(account, NAMES[n], float(rng.integers(-5, 6) or 1) * SIZE[n]) for n in rng.choice(len(NAMES), count, replace=False)]


@pytest.mark.parametrize("file", BOOKS)
def test_splits_order_and_neighbours_change_no_bit(tmp_path, file):
    rng = np.random.default_rng(1)
    accounts = [random_rows(rng, f"A{i}") for i in range(12)]
    rows = [row for account in accounts for row in account]
    plain = margins(tmp_path / "plain", rows, file)
    split = [(a, n, part) for a, n, q in rows for part in (3.0 * q, -2.0 * q)]
    assert margins(tmp_path / "split", [split[i] for i in rng.permutation(len(split))], file) == plain
    assert all(margins(tmp_path / str(i), account, file)[f"A{i}"] == plain[f"A{i}"] for i, account in enumerate(accounts[:3]))


@pytest.mark.parametrize("file", BOOKS)
def test_margin_scales_with_the_book(tmp_path, file):
    rows = [row for i in range(8) for row in random_rows(np.random.default_rng(10 + i), f"A{i}")]
    one, ten = margins(tmp_path / "one", rows, file), margins(tmp_path / "ten", [(a, n, 10.0 * q) for a, n, q in rows], file)
    assert all(ten[u][0] == pytest.approx(10.0 * one[u][0], rel=1e-12) for u in one)


@pytest.mark.parametrize(("file", "part"), [("span_v1", "scanning"), ("tims_v1", "scenarios")])
def test_merged_books_need_at_most_the_sum_of_scenario_losses(tmp_path, file, part):
    """Worst-of grids are sub-additive: without credits and minima the merged book never needs more."""
    book = load_rule_book(f"configs/methodology/{file}.toml")
    plain = book.parameters.model_copy(update={"credits": []} if file == "span_v1" else {"minimum_per_unit": 0.0})
    rng = np.random.default_rng(20)
    for trial in range(6):
        first, second = random_rows(rng, "A"), random_rows(rng, "B")
        merged = [("C", n, q) for _, n, q in first + second]
        text = "account_id,instrument_id,quantity\n" + "".join(f"{a},{n},{q!r}\n" for a, n, q in first + second + merged)
        held = hold(*read(write(tmp_path / str(trial), text)))[0]
        made = book.module.margin(held, plain, reference.values).charges[part]
        assert made[held.units.index("C")] <= (made[held.units.index("A")] + made[held.units.index("B")]) * (1.0 + 1e-12)


@pytest.mark.parametrize("file", BOOKS)
def test_margin_is_continuous_in_quantity(tmp_path, file):
    """Across every place where a spread is used up or a side changes: a millionth of a contract moves the margin by less than its own value."""
    rows = []
    for i, q in enumerate((-2.0, -1.0, 0.0, 0.5, 1.0, 2.0)):
        for j, step in enumerate((0.0, 1e-6)):
            account = f"A{i}{j}"
            rows += [(account, "BTC-PERP", 7000.0), (account, "BTC-FUT", -7000.0), (account, "ETH-PERP", -30_000.0), (account, "BTC-C70", q + step), (account, "BTC-P60", -1.0)]
    made = margins(tmp_path / "book", rows, file)
    assert all(abs(made[f"A{i}1"][0] - made[f"A{i}0"][0]) < 70_000.0 * 1e-6 for i in range(6))


def test_order_of_points_and_classes_is_nothing():
    pnl = np.random.default_rng(3).normal(size=(4, 10))
    for order in (np.arange(10)[::-1], np.random.default_rng(4).permutation(10)):
        assert float(requirement(group_loss(pnl[:, order], 0.9))[0]) == float(requirement(group_loss(pnl, 0.9))[0])


def test_a_hedge_never_raises_the_scenario_loss(tmp_path):
    """A long future against a short call of the same coin, and the call alone."""
    for file, part in (("span_v1", "scanning"), ("tims_v1", "scenarios")):
        made = margins(tmp_path / file, [("A", "BTC-C70", -1.0), ("B", "BTC-C70", -1.0), ("B", "BTC-LINEAR", 0.5)], file)
        assert made["B"][1][part] < made["A"][1][part]
