"""What is kept of a chunk is its own range and no more: parts of one state, cut anywhere, merge to it again."""

from __future__ import annotations

import numpy as np
import pytest

from upm_gpu.risk.tail_state import NO_SCENARIO, TailState, merge
from upm_gpu.run.chunks import arrays_to_tail, tail_to_arrays

DEPTH, COUNT = 6, 20


def state_of(first: int, last: int) -> TailState:
    """Two rows at one horizon: P&L falls with the id in one and rises in the other."""
    ids = np.arange(first, last)
    pnl = np.full((1, 2, DEPTH), np.inf)
    scenario = np.full((1, 2, DEPTH), NO_SCENARIO, np.uint32)
    for row, values in enumerate((-1.0 * ids, 1.0 * ids)):
        order = np.argsort(values, kind="stable")[:DEPTH]
        pnl[0, row, : len(order)], scenario[0, row, : len(order)] = values[order], ids[order]
    return TailState(pnl, scenario, np.array([first], np.int64), np.zeros((1, 1, 2, 2)), np.zeros(1, np.int64), 0, last - first)


@pytest.mark.parametrize("cut", [1, 3, 16, 19])
def test_an_entry_belongs_to_one_part(cut: int) -> None:
    whole = state_of(0, COUNT)
    parts = [tail_to_arrays(whole, first, last) for first, last in ((0, cut), (cut, COUNT))]
    ids = np.concatenate([p["scenario"] for p in parts])
    np.testing.assert_array_equal(np.sort(ids), np.sort(whole.scenario.ravel()))
    assert parts[0]["scenario"].size == 0 or parts[0]["scenario"].max() < cut
    joined = merge(*(arrays_to_tail(p) for p in parts))
    np.testing.assert_array_equal(joined.pnl, whole.pnl)
    np.testing.assert_array_equal(joined.scenario, whole.scenario)
