"""Unit P&L kept in the run folder: opening is a memory map, answers are the same, a changed file is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import CONFIG, small_run

from upm_gpu import desk, job
from upm_gpu.errors import IntegrityError
from upm_gpu.run.verify import verify_run

ASK = [[desk.Order("A", "BTC-P60", 2.0)], [desk.Order("C", "BTC-PERP", -50.0), desk.Deposit("C", "USD", 5.0)], [desk.Transfer("A", "B", "BTC-C70", 1.0)]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same run with and without."""
    folder = small_run(tmp_path_factory.mktemp("stored"), config=CONFIG + "[output]\nstore_pnl = true\n")
    for name, keep in (("kept", "true"), ("drawn", "false")):
        assert job.run(folder / "run.toml", {"output.path": str(folder / name), "output.store_pnl": keep}, quiet=True).exit_code == 0
    return folder / "kept", folder / "drawn"


def test_a_memory_map_answers_as_scenarios_drawn_again(runs: tuple[Path, Path]):
    kept, drawn = (desk.open_run(path) for path in runs)
    cube, other = (next(iter(r.cubes.values())) for r in (kept, drawn))
    assert isinstance(cube.unit, np.memmap)
    assert not cube.unit.flags.writeable
    assert not isinstance(other.unit, np.memmap)
    assert cube.unit.tobytes() == other.unit.tobytes()
    assert desk.whatif(kept, ASK) == desk.whatif(drawn, ASK)
    assert kept.footprint()["mapped"]
    assert not drawn.footprint()["mapped"]
    # an instrument that nobody holds stands among other columns: everything is drawn
    wide = desk.open_run(runs[0], also=["BTC-LINEAR"])
    assert not isinstance(next(iter(wide.cubes.values())).unit, np.memmap)
    assert desk.whatif(wide, ASK) == desk.whatif(drawn, ASK)


def test_a_run_keeps_what_it_kept_before(runs: tuple[Path, Path]):
    """Every result but the unit P&L itself is that of the run without it."""
    for name in ("margin.parquet", "contributions.parquet", "worst_scenarios.parquet"):
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes()
    assert verify_run(runs[0])["files"] > verify_run(runs[1])["files"]


def test_changed_files_are_seen(runs: tuple[Path, Path]):
    path = runs[0] / "unit_pnl" / "core_1.npy"
    original = path.read_bytes()
    try:
        path.write_bytes(original[:-4] + b"\x00\x00\x80\x3f")
        with pytest.raises(IntegrityError, match=r"UPM-RN-020.*core_1\.npy"):
            desk.open_run(runs[0])
        assert desk.whatif(desk.open_run(runs[0], fast=True), ASK[:1])  # the last scenario of the last column, which is in no tail: only the hash sees it
        path.write_bytes(original[:200] + bytes(reversed(original[200:])))
        with pytest.raises(IntegrityError, match="UPM-RN-084"):
            desk.whatif(desk.open_run(runs[0], fast=True), ASK[:1])
        for wrong in (b"nothing", original[:-4]):
            path.write_bytes(wrong)
            with pytest.raises(IntegrityError, match="UPM-RN-085"):
                desk.open_run(runs[0], fast=True)
        np.save(path, np.zeros((2, 3), np.float32))
        with pytest.raises(IntegrityError, match=r"UPM-RN-085.*\(2, 3\)"):
            desk.open_run(runs[0], fast=True)
    finally:
        path.write_bytes(original)
    assert verify_run(runs[0])
