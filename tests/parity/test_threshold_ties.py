"""A threshold keeps what equals it: a loss tied with the last one kept may have the lower scenario id and so win the tie."""

from __future__ import annotations

from typing import Any

import numpy as np

from upm_gpu.backend.contract import merge
from upm_gpu.scenario.sets import BLOCK, Explicit

from .cases import DATES, STATE_NAMES, make_compiled, make_rows
from .test_operations import assert_same

COUNT, DEPTH = BLOCK + 40, 12


def test_ties_with_the_threshold_are_kept(backend: Any) -> None:
    """All scenarios are alike, and the later range comes first."""
    compiled = make_compiled()
    rows = make_rows(compiled, rows=3)
    given = Explicit(STATE_NAMES, DATES, np.full((len(DATES), len(STATE_NAMES), COUNT), 0.01))
    with backend.prepare(compiled, rows, "double") as prepared:
        whole = backend.row_tail(prepared, given, 0, COUNT, DEPTH)
        later = backend.row_tail(prepared, given, BLOCK, COUNT, DEPTH)
        earlier = backend.row_tail(prepared, given, 0, BLOCK, DEPTH, later.pnl[:, :, -1])
    assert_same(merge(later, earlier), whole)
    np.testing.assert_array_equal(whole.scenario[0, 1], np.arange(DEPTH))
