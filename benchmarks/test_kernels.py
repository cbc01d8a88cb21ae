"""Kernels beside NumPy and SciPy on the same numbers: `pytest benchmarks/test_kernels.py` (not part of the tests).

Ratios fail when vectorisation is lost; they are far below what a quiet machine shows, because a busy one shows less. pytest-benchmark
prints the times. One thread everywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from benchmarks.peers.numpy_scipy import price_columns
from benchmarks.peers.problem import problem_of
from benchmarks.shapes import Shape, make
from upm_gpu.backend import cpu
from upm_gpu.pricing.compiled import Rows
from upm_gpu.rng.normal import normal_quantile
from upm_gpu.scenario.sets import Explicit

SHAPE = Shape(accounts=500, options=1_000, underlyings=20, scenarios=4_096, positions=50)
DEPTH = 64


def ratio(theirs: Callable[[], Any], ours: Callable[[], Any], rounds: int = 5) -> float:
    """Least time of theirs over least time of ours, taken in turns."""
    least = [float("inf"), float("inf")]
    for _ in range(rounds):
        for i, work in enumerate((theirs, ours)):
            start = time.perf_counter()
            work()
            least[i] = min(least[i], time.perf_counter() - start)
    return least[0] / least[1]


@pytest.fixture(scope="module")
def work() -> Any:
    if cpu.isas()[0] == "plain":
        pytest.skip("no AVX2 here: the plain build is for correctness")
    compiled, rows, walk = make(SHAPE)
    with cpu.prepare(compiled, rows, "double", 1) as prepared:
        given = Explicit(walk.state_names, walk.dates, cpu.states(prepared, walk, 0, SHAPE.scenarios))
        yield compiled, rows, walk, given, problem_of(compiled, rows, walk), prepared


def test_pricing(benchmark: Any, work: Any) -> None:
    _, _, _, given, problem, prepared = work
    states = given.values[0]

    def ours() -> np.ndarray:
        return cpu.unit_pnl(prepared, given, 0, SHAPE.scenarios, 0)

    def theirs() -> np.ndarray:
        return np.concatenate([price_columns(problem, states[:, f : f + 256], np.float64) for f in range(0, SHAPE.scenarios, 256)], axis=1)

    np.testing.assert_allclose(ours(), theirs(), atol=1e-10)
    found = ratio(theirs, ours)
    benchmark.extra_info |= {"prices": problem.strike.size * SHAPE.scenarios, "numpy_over_ours": found}
    benchmark(ours)
    assert found > 2.0


def test_sticky_moneyness_pricing(benchmark: Any) -> None:
    """Its surface costs one more root a price."""
    shape = Shape(4, 1_000, 20, 4_096, 4)
    (a, rows, walk), (b, *_) = make(shape), make(shape, sticky_moneyness=True)
    with cpu.prepare(a, rows, "double", 1) as strike, cpu.prepare(b, rows, "double", 1) as moneyness:
        np.testing.assert_allclose(strike.value0, moneyness.value0, rtol=1e-12)
        found = ratio(lambda: cpu.unit_pnl(moneyness, walk, 0, 4_096, 0), lambda: cpu.unit_pnl(strike, walk, 0, 4_096, 0))
        benchmark.extra_info["over_sticky_strike"] = found
        benchmark(lambda: cpu.unit_pnl(moneyness, walk, 0, 4_096, 0))
    assert found < 3.0


def test_aggregation(benchmark: Any, work: Any) -> None:
    """Time of all rows less time of one, beside SciPy's CSR product of the same entries."""
    compiled, rows, _, given, problem, _ = work
    one = Rows(np.array([0, compiled.columns], np.int64), np.arange(compiled.columns, dtype=np.int32), np.ones(compiled.columns))
    unit = np.random.default_rng(1).normal(size=(compiled.columns, SHAPE.scenarios))
    book = sparse.csr_matrix((problem.quantity, problem.column, problem.first), (problem.rows, problem.columns))
    with cpu.prepare(compiled, rows, "double", 1) as all_rows, cpu.prepare(compiled, one, "double", 1) as one_row:
        def ours() -> None:
            cpu.row_tail(all_rows, given, 0, SHAPE.scenarios, 1)

        def price() -> None:
            cpu.row_tail(one_row, given, 0, SHAPE.scenarios, 1)

        theirs = min(_seconds(lambda: [book @ np.ascontiguousarray(unit[:, f : f + 256]) for f in range(0, SHAPE.scenarios, 256)]) for _ in range(5))
        least = min(_seconds(ours) for _ in range(5)) - min(_seconds(price) for _ in range(5))
        benchmark.extra_info |= {"multiply_adds": len(rows.column) * SHAPE.scenarios, "scipy_over_ours": theirs / max(least, 1e-9)}
        benchmark(ours)
    assert theirs > 2.0 * least


def test_tail(benchmark: Any, work: Any) -> None:
    """What keeping the worst 64 costs beyond keeping one, beside numpy.partition of the row P&L."""
    compiled, rows, _, given, _, _ = work
    pnl = np.random.default_rng(2).normal(size=(rows.count, SHAPE.scenarios))
    with cpu.prepare(compiled, rows, "double", 1) as prepared:
        theirs = min(_seconds(lambda: np.partition(pnl, DEPTH, axis=1)) for _ in range(5))
        deep = min(_seconds(lambda: cpu.row_tail(prepared, given, 0, SHAPE.scenarios, DEPTH)) for _ in range(7))
        least = deep - min(_seconds(lambda: cpu.row_tail(prepared, given, 0, SHAPE.scenarios, 1)) for _ in range(7))
        benchmark.extra_info |= {"values": pnl.size, "partition_over_ours": theirs / max(least, 1e-9)}
        benchmark(lambda: cpu.row_tail(prepared, given, 0, SHAPE.scenarios, DEPTH))
    assert theirs > least


def test_normals(benchmark: Any, work: Any) -> None:
    """Correlated states by address, beside NumPy's ziggurat with a matrix product: the address costs ten rounds of Philox and a quantile."""
    _, _, walk, _, problem, prepared = work
    count = SHAPE.scenarios
    generator = np.random.Generator(np.random.SFC64(1))
    by_quantile = _seconds(lambda: normal_quantile(generator.random((len(problem.loadings), count))))
    found = ratio(lambda: problem.loadings @ generator.standard_normal((len(problem.loadings), count)), lambda: cpu.states(prepared, walk, 0, count))
    benchmark.extra_info |= {"normals": len(problem.loadings) * count, "numpy_over_ours": found, "ndtri_alone_seconds": by_quantile}
    benchmark(lambda: cpu.states(prepared, walk, 0, count))
    assert found > 0.5


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
