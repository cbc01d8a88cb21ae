"""What only the cpu backend promises: the same bits for any instruction set, thread count, column block and chunking."""

from __future__ import annotations

import numpy as np
import pytest

from upm_gpu.backend import cpu
from upm_gpu.backend.contract import TailState, merge
from upm_gpu.model.sampling import sample
from upm_gpu.pricing.compiled import Compiled, Rows
from upm_gpu.scenario.sets import BLOCK, Walk
from upm_gpu.scenario.spec import ScenarioSpec

from .cases import make_compiled, make_explicit, make_garch, make_rows, make_walk
from .conftest import ISAS, cpu_backend
from .test_operations import assert_same

COUNT, DEPTH = 3 * BLOCK - 70, 50


@pytest.fixture(scope="module")
def book() -> tuple[Compiled, Rows]:
    compiled = make_compiled(seed=11, per_group=9)
    return compiled, make_rows(compiled, rows=101, seed=12)


@pytest.fixture(scope="module")
def walk() -> Walk:
    return make_walk("t_both", count=COUNT)


def tail(book: tuple[Compiled, Rows], walk: Walk, precision: str = "mixed", last: int = COUNT, **options: object) -> TailState:
    with cpu.prepare(*book, precision, **options) as prepared:
        return cpu.row_tail(prepared, walk, 0, last, DEPTH)


@pytest.mark.parametrize("precision", ["double", "mixed"])
@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets_give_the_same_bits(book: tuple[Compiled, Rows], walk: Walk, isa: str, precision: str) -> None:
    cpu_backend(isa)
    last = 2000  # the plain build has no fused multiply-add and is slow
    assert_same(tail(book, walk, precision, last, isa=isa), tail(book, walk, precision, last, isa="plain"))
    with cpu.prepare(*book, precision, isa=isa) as a, cpu.prepare(*book, precision, isa="plain") as b:
        np.testing.assert_array_equal(a.value0, b.value0)
        np.testing.assert_array_equal(cpu.states(a, walk, 5, 400), cpu.states(b, walk, 5, 400))
        for horizon in range(3):
            np.testing.assert_array_equal(cpu.unit_pnl(a, walk, 5, 400, horizon), cpu.unit_pnl(b, walk, 5, 400, horizon))


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_thread_counts_give_the_same_bits(book: tuple[Compiled, Rows], walk: Walk, threads: int) -> None:
    assert_same(tail(book, walk, threads=threads), tail(book, walk, threads=1))


LONG = (5 << 20) // (8 * 6 * 4)
"""scenarios whose 6 states at 4 dates are longer than what stays in the caches (4 MiB)"""


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", ["walk", "owen", "resampled", "factor_model", "grouped_t"])
def test_states_of_a_long_range_are_those_of_short_ones(book: tuple[Compiled, Rows], kind: str, isa: str) -> None:
    """Rows of a tile leave past the caches while the next tile of the thread is drawn: for any thread count, with a last tile that is not whole."""
    cpu_backend(isa)
    walk = make_walk("t_both", count=LONG)
    drawn = walk if kind == "walk" else sample(walk, ScenarioSpec(sampler="sobol")) if kind == "owen" else make_garch(kind, count=LONG)
    with cpu.prepare(*book, "double", isa=isa, threads=1) as one, cpu.prepare(*book, "double", isa=isa, threads=3) as three:
        whole = cpu.states(one, drawn, 3, LONG)
        assert whole.nbytes > 4 << 20
        assert np.array_equal(whole, cpu.states(three, drawn, 3, LONG))
        step = 3000
        for first in range(3, LONG, step):
            assert np.array_equal(whole[:, :, first - 3 : first - 3 + step], cpu.states(one, drawn, first, min(first + step, LONG)))


@pytest.mark.parametrize("block_columns", [1, 10, 40, 1000])
def test_column_blocks_give_the_same_bits(book: tuple[Compiled, Rows], walk: Walk, block_columns: int) -> None:
    assert_same(tail(book, walk, block_columns=block_columns), tail(book, walk, block_columns=1000))


def test_chunks_in_any_order_give_the_same_bits(book: tuple[Compiled, Rows], walk: Walk) -> None:
    whole = tail(book, walk)
    with cpu.prepare(*book, "mixed", 2) as prepared:
        parts = [cpu.row_tail(prepared, walk, first, min(first + BLOCK, COUNT), DEPTH) for first in (BLOCK, 2 * BLOCK, 0)]
        hinted = cpu.row_tail(prepared, walk, 2 * BLOCK, COUNT, DEPTH, merge(parts[0], parts[2]).pnl[:, :, -1])
    assert_same(merge(merge(parts[0], parts[1]), parts[2]), whole)
    assert_same(merge(merge(parts[2], parts[0]), hinted), whole)
    assert np.isinf(hinted.pnl[:, 1:, -1]).all()  # the threshold did keep something out (row 0 is empty: all equal)


def test_native_merge_is_the_plain_one(book: tuple[Compiled, Rows], walk: Walk) -> None:
    with cpu.prepare(*book, "double", 2) as prepared:
        a, b = cpu.row_tail(prepared, walk, 0, BLOCK, DEPTH), cpu.row_tail(prepared, walk, BLOCK, 2 * BLOCK, DEPTH + 20)
        given = make_explicit(60)  # padded, with ties
        c, d = cpu.row_tail(prepared, given, 0, 40, 70), cpu.row_tail(prepared, given, 0, 60, 70)
    assert_same(cpu.merge_tails(a, b), merge(a, b))
    assert_same(cpu.merge_tails(b, a), merge(b, a))
    assert_same(cpu.merge_tails(c, d), merge(c, d))
    expected = merge(d, c), merge(b, a)
    reused = cpu.merge_tails(d, c, reuse=True), cpu.merge_tails(b, a, reuse=True)
    assert reused[0].pnl is d.pnl and reused[1].pnl is b.pnl
    for got, plain in zip(reused, expected, strict=True):
        assert_same(got, plain)


def test_a_deep_tail_of_many_equal_losses_is_exact(book: tuple[Compiled, Rows]) -> None:
    """Every scenario the same: no threshold separates them, ids decide."""
    given = make_explicit(3000)
    given.values[:] = given.values[:, :, 7:8]
    with cpu.prepare(*book, "double", 2) as prepared:
        state = cpu.row_tail(prepared, given, 0, 3000, 100)
    np.testing.assert_array_equal(state.scenario, np.broadcast_to(np.arange(100), state.scenario.shape))


def test_calls_are_sized_in_whole_blocks(book: tuple[Compiled, Rows], walk: Walk) -> None:
    with cpu.prepare(*book, "mixed", 2) as prepared:
        sizes = [cpu.call_scenarios(prepared, walk, seconds) for seconds in (1e-9, 0.1, 1.0)]
    assert sizes[0] == BLOCK and sizes[0] < sizes[1] < sizes[2] and all(s % BLOCK == 0 for s in sizes)


def test_timings_grow_with_the_work(book: tuple[Compiled, Rows], walk: Walk) -> None:
    with cpu.prepare(*book, "mixed", 2) as prepared:
        assert set(prepared.timings.values()) == {0.0}
        cpu.row_tail(prepared, walk, 0, BLOCK, DEPTH)
        once = prepared.timings
        cpu.row_tail(prepared, walk, 0, BLOCK, DEPTH)
        assert list(once) == ["simulate", "price", "aggregate", "tail"]
        assert all(0.0 < once[k] < prepared.timings[k] for k in once)
