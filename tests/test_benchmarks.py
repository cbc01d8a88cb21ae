"""The made-up books that benchmarks time are books of today's engine: a column that a kernel gained has a place in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from upm_gpu.backend import cpu


def test_a_shape_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    from benchmarks.shapes import SHAPES, make

    if not cpu.available()[0]:
        pytest.skip(cpu.available()[2])
    compiled, rows, scenarios = make(SHAPES["TINY"])
    with cpu.prepare(compiled, rows, "mixed", 1) as prepared:
        tail = cpu.row_tail(prepared, scenarios, 0, scenarios.count, 16)
    assert tail.not_finite == 0
    assert np.all(np.diff(tail.pnl, axis=2) >= 0.0)
