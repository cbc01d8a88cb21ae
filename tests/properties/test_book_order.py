"""A book is a set of lots: how it is split, ordered or stored changes no bit of what is held."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from upm_gpu.domain.book import Book
from upm_gpu.domain.netting import group_starts, sum_groups
from upm_gpu.domain.reader import load_book

HEADER = "account_id,instrument_id,quantity,netting_set,entry_price"
INSTRUMENTS = """instrument_id,kind,underlying,settlement,quote_currency,contract_size,expiry,strike,option_type,exercise
BTC,spot,BTC,linear,USD,1,,,,
LIN,future,BTC,linear,USD,0.001,2026-03-27T08:00:00Z,,,
INV,perpetual,BTC,inverse,USD,10,,,,
"""
LOT = st.tuples(st.sampled_from(["A", "B", "a", "007"]), st.sampled_from(["BTC", "LIN", "INV"]), st.integers(-10**9, 10**9), st.sampled_from(["", "n1"]),
                st.sampled_from(["", "70000", "65432.1"]))
SETTINGS = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


def decimal(lots: int) -> str:
    """An amount of 1e-6 lots as decimal text."""
    return f"{'-' if lots < 0 else ''}{abs(lots) // 10**6}.{abs(lots) % 10**6:06d}"


def read(folder: Path, rows: list[tuple[str, str, int, str, str]]) -> Book:
    folder.joinpath("instruments.csv").write_text(INSTRUMENTS)
    folder.joinpath("collateral.csv").write_text("account_id,asset,quantity\nA,USD,1\n")
    body = "".join(f"{a},{i},{decimal(q)},{n},{p}\n" for a, i, q, n, p in [*rows, ("Z", "BTC", 1, "", "")])
    folder.joinpath("positions.csv").write_text(f"{HEADER}\n{body}")
    return load_book(folder)


def same(a: Book, b: Book) -> None:
    assert (a.instruments, a.accounts, a.netting_sets) == (b.instruments, b.accounts, b.netting_sets)
    for name in ("account", "netting_set", "instrument", "contracts", "quantity", "entry_quantity", "entry_cost"):
        x, y = getattr(a.positions, name), getattr(b.positions, name)
        assert x.dtype == y.dtype
        assert x.tobytes() == y.tobytes(), name


@SETTINGS
@given(rows=st.lists(LOT, min_size=1, max_size=30), order=st.randoms(use_true_random=False))
def test_row_order_is_irrelevant(tmp_path: Path, rows: list, order: random.Random) -> None:
    mixed = list(rows)
    order.shuffle(mixed)
    same(read(tmp_path, rows), read(tmp_path, mixed))


@SETTINGS
@given(rows=st.lists(LOT, min_size=1, max_size=12), cuts=st.lists(st.integers(-10**9, 10**9), min_size=12, max_size=12))
def test_splitting_a_position_changes_no_bit(tmp_path: Path, rows: list, cuts: list[int]) -> None:
    split = [part for (a, i, q, n, p), cut in zip(rows, cuts, strict=False) for part in ((a, i, cut, n, p), (a, i, q - cut, n, p))]
    same(read(tmp_path, rows), read(tmp_path, split))


def test_tenths_add_up_to_the_decimal(tmp_path: Path) -> None:
    book = read(tmp_path, [("A", "BTC", 100_000, "", "")] * 3)
    assert book.positions.contracts[0] == 0.3
    assert 0.1 + 0.1 + 0.1 != 0.3


@SETTINGS
@given(values=st.lists(st.floats(-1e12, 1e12, allow_nan=False), min_size=1, max_size=40), keys=st.data())
def test_sums_are_exact_to_the_last_bit_or_to_the_decimal(values: list[float], keys: st.DataObject) -> None:
    key = np.sort(np.array(keys.draw(st.lists(st.integers(0, 5), min_size=len(values), max_size=len(values)))))
    starts = group_starts(key)
    found = sum_groups(np.array(values), starts)
    for g, start in enumerate(starts):
        run = values[start : int(starts[g + 1]) if g + 1 < len(starts) else len(values)]
        assert math.isclose(found[g], math.fsum(run), rel_tol=1e-15, abs_tol=1e-8)
        assert found[g] == sum_groups(np.array(run[::-1]), np.zeros(1, np.int64))[0]


def test_sums_without_eight_decimals_are_fsum() -> None:
    values = np.array([1e15 + 0.125, 1e-17, -1e15, 0.1, 1.0 / 3.0])
    assert sum_groups(values, np.zeros(1, np.int64))[0] == math.fsum(values)
    assert not np.signbit(sum_groups(np.array([-0.0]), np.zeros(1, np.int64))[0])


@pytest.mark.parametrize("rows", [1, 131_072, 131_073])
def test_parquet_gives_the_same_book_as_csv(tmp_path: Path, rows: int) -> None:
    """Sizes about one Parquet batch."""
    rng = np.random.default_rng(5)
    account = [f"{i:06d}" for i in rng.integers(0, 5000, rows)]
    instrument = rng.choice(["BTC", "LIN", "INV"], rows).tolist()
    quantity = np.round(rng.normal(size=rows), 3)
    quantity[0] = 1.0
    (tmp_path / "instruments.csv").write_text(INSTRUMENTS)
    (tmp_path / "collateral.csv").write_text("account_id,asset,quantity\n")
    (tmp_path / "positions.csv").write_text("account_id,instrument_id,quantity\n" + "".join(f"{a},{i},{q}\n" for a, i, q in zip(account, instrument, quantity, strict=True)))
    text = load_book(tmp_path)
    (tmp_path / "positions.csv").unlink()
    pq.write_table(pa.table({"account_id": account, "instrument_id": instrument, "quantity": quantity}), tmp_path / "positions.parquet")
    same(text, load_book(tmp_path))
