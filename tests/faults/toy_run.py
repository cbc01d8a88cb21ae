"""A toy run: the whole life of a run folder with an engine of a few lines. Also a program: `toy_run.py FOLDER`.

The P&L of (horizon, row, scenario) is a small integer made from its address, so ties are many and every chunk matters.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from upm_gpu.risk.tail_state import NO_SCENARIO, TailState
from upm_gpu.run import durable
from upm_gpu.run.chunks import run_chunks
from upm_gpu.run.finish import finish_run
from upm_gpu.run.folder import RunFolder, create_run
from upm_gpu.run.manifest import Provenance
from upm_gpu.run.results import Results
from upm_gpu.run.resume import open_for_resume

HORIZONS, ROWS, DEPTH, FACTORS, BLOCK = 2, 5, 23, 3, 4096
IDENTITY = {"upm_gpu": "toy", "kernels_sha256": "0" * 64}
INPUTS = {"config.toml": b"schema_version = 1\n", "methodology.toml": b"schema_version = 1\nname = 'toy'\n",
          "book/positions.csv": b"account_id,instrument_id,quantity\nA-1,BTC,1\n", "market/spots.csv": b"asset,price\nBTC,70000\n"}


def pnl_of(first: int, last: int) -> np.ndarray:
    """(H, R, S) float64: whole numbers, hashed from the address."""
    scenario = np.arange(first, last, dtype=np.uint64)
    row = np.arange(HORIZONS * ROWS, dtype=np.uint64).reshape(HORIZONS, ROWS, 1)
    mixed = (scenario * np.uint64(0x9E3779B97F4A7C15) + row * np.uint64(0xBF58476D1CE4E5B9)) & np.uint64(0xFFFFFFFFFFFFFFFF)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0x94D049BB133111EB)
    return ((mixed >> np.uint64(50)).astype(np.float64)) - 8192.0


def compute(first: int, last: int, carry: TailState | None) -> TailState:
    """As `row_tail` of a backend: the worst DEPTH at or below the threshold, and the block sums."""
    pnl = pnl_of(first, last)
    scenario = np.broadcast_to(np.arange(first, last, dtype=np.uint32), pnl.shape)
    order = np.argsort(pnl, axis=2, kind="stable")[:, :, :DEPTH]
    worst, ids = np.take_along_axis(pnl, order, 2), np.take_along_axis(scenario, order, 2)
    if carry is not None:
        out = worst > carry.pnl[:, :, -1:]
        worst, ids = np.where(out, np.inf, worst), np.where(out, NO_SCENARIO, ids).astype(np.uint32)
    blocks = np.arange(first // BLOCK, -(-last // BLOCK), dtype=np.int64)
    parts = [pnl[:, :, b * BLOCK - first:(b + 1) * BLOCK - first] for b in blocks]
    sums = np.stack([np.stack([p.sum(axis=2), (p * p).sum(axis=2)], axis=2) for p in parts])
    return TailState(worst, ids, blocks, sums, np.full(FACTORS, last - first, np.int64), 0, last - first)


def create(path: str | Path, count: int) -> RunFolder:
    return create_run(path, inputs=INPUTS, settings={"count": count, "device": "toy"}, identity=IDENTITY)


def work(run: RunFolder, chunk: int = BLOCK, compute: Callable = compute, **options: object) -> None:
    """Chunks, results, seal: what an engine does with a run folder."""
    count = int(run.settings["count"])
    done = run_chunks(run, [(a, min(a + chunk, count)) for a in range(0, count, chunk)], compute, **({"write_share": None} | options))
    state = done.state
    assert state.count == count
    accounts = [f"A-{r}" for r in range(ROWS)]
    es = -state.pnl[0].mean(axis=1)
    total = state.block_sums.sum(axis=0)[0, :, 0] + state.clipped.sum()
    zeros = np.zeros(ROWS)
    margin = {"account_id": accounts, "initial_margin": es, "maintenance_margin": 0.8 * es, "expected_shortfall": es,
              "expected_shortfall_standard_error": zeros, "value_at_risk": -state.pnl[0, :, -1], "collateral_value": total, "equity": zeros,
              "excess": -es, "margin_ratio": np.full(ROWS, np.nan), "status": ["ok"] * ROWS}
    worst = {"account_id": np.repeat(accounts, DEPTH), "rank": np.tile(np.arange(1, DEPTH + 1), ROWS),
             "scenario": state.scenario[0].ravel(), "pnl": state.pnl[0].ravel()}
    results = Results(margin=margin, contributions={"account_id": accounts, "instrument_id": ["BTC"] * ROWS, "contribution": es},
                      worst_scenarios=worst, calls={"account_id": [], "amount": []},
                      report={"histograms.parquet": {"account_id": accounts, "count": np.arange(ROWS)}, "quality.json": {"rows_read": 1}})
    finish_run(run, results, provenance(count), report=lambda folder: f"<!doctype html><p>{sorted(p.name for p in folder.glob('*.parquet'))}")


def provenance(count: int) -> Provenance:
    return Provenance(snapshot_sha256="1" * 64, spec_sha256="2" * 64, methodology_sha256="3" * 64, kernels_sha256="", inputs={"config.toml": "4" * 64},
                      seed=7, backend="toy", device="cpu", device_reason="asked for", precision="double", scenarios=count, chunk=BLOCK, threads=1,
                      isa="", counts={"accounts": ROWS}, timings={"engine": 0.0, "total": 0.0}, error_formula="none", command=("toy",),
                      valuation_time="2026-02-05T09:36:47Z", reporting_currency="USD")


def run_or_resume(path: str | Path, count: int, **options: object) -> None:
    """What a user does until it is done: start, and after any accident go on or start again."""
    if (Path(path) / "plan.json").exists():
        with open_for_resume(path, IDENTITY) as run:
            if not run.finished:
                work(run, **options)
    else:
        with create(path, count) as run:
            work(run, **options)


def result_bytes(folder: Path) -> dict[str, bytes]:
    """Everything that is promised to be equal: all but the ledger (its seconds), the sums over it, the log, the lock."""
    apart = {"ledger.sqlite", "SHA256SUMS", "run.log.jsonl", "run.lock"}
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name not in apart}


def kill_at(operation: int) -> None:
    """SIGKILL this process at the n-th file operation: half of a write done, before a sync, before a rename."""
    seen = 0
    write, fsync, replace = os.write, os.fsync, os.replace

    def counted(call: Callable, *arguments: object) -> object:
        nonlocal seen
        seen += 1
        if seen == operation:
            if call is write:
                write(arguments[0], arguments[1][:len(arguments[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments)

    durable.os.write = lambda *a: counted(write, *a)
    durable.os.fsync = lambda *a: counted(fsync, *a)
    durable.os.replace = lambda *a: counted(replace, *a)


if __name__ == "__main__":
    folder, scenarios, kill, pause = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])

    def slow(first: int, last: int, carry: TailState | None) -> TailState:
        print(first, flush=True)
        time.sleep(pause)
        return compute(first, last, carry)

    if kill:
        kill_at(kill)
    from upm_gpu.errors import UpmError

    try:
        run_or_resume(folder, scenarios, compute=slow)
    except UpmError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
