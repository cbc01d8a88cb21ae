"""What is kept: the run folder, the ledger of finished chunks, results, manifest, verification, resume.

What an engine needs, in the order it needs it::

    from upm_gpu.run import (check_target, create_run, identity, in_ledger, run_chunks, Results, Provenance, finish_run, replace_file,
                             open_for_resume, read_manifest, verify_run)

    check_target(out)                                    # before the inputs are read: fail early
    with create_run(out, inputs={"config.toml": b"...", "book/positions.csv": path, ...},
                    settings={"device": "cpu", ...}, identity=identity(), expected={"book/positions.csv": sha256}) as run:
        run.log.info("scenarios", count=100_000)         # run.log.jsonl; secrets, positions, home folders are kept out
        done = run_chunks(run, [(0, 16384), ...], compute, merge, progress)   # compute(first, last, carry) -> TailState
        finish_run(run, Results(margin={...}, ...), Provenance(...), report=lambda folder: html)

`in_ledger(run, progress)` is the same as a loop `(ranges, compute, merge) -> TailState`. `run_chunks(None, ...)` works in memory alone. `done.state` is the merged TailState, `done.timings` has seconds of
`compute, merge, ledger`; `write_share=None` writes every chunk (an explicit `--chunk`), else neighbours are written
together so that writing costs at most that share of the time computed. Several scenario sets of one run take
`scenario_set=0, 1, ...`.

`upm resume RUN`: `with open_for_resume(path) as run:`; where `run.finished`, nothing is left to do; else build the same
engine from `run.inputs` (a folder) and `run.settings`, and call `run_chunks` and `finish_run` as above: chunks in the
ledger are not computed again. `run.warnings` holds what must be said aloud. `upm verify RUN`: `verify_run(path)`.
`upm report RUN`: `with open_for_resume(path) as run: replace_file(run, "report.html", html)`.

Tables are mappings of column name to array or list, or data frames. Errors: UsageError 2, InputError 3, CapacityError 7,
RunInterrupted 8, IntegrityError 9, codes UPM-RN-001 to 023.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "Provenance": "manifest", "Results": "results", "RunFolder": "folder", "check_target": "folder", "create_run": "folder",
    "finish_run": "finish", "identity": "manifest", "in_ledger": "chunks", "kernels_sha256": "manifest", "open_for_resume": "resume",
    "read_manifest": "verify", "replace_file": "finish", "run_chunks": "chunks", "verify_run": "verify", "versions": "manifest",
}
__all__ = list(_NAMES)


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"upm_gpu.run.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'upm_gpu.run' has no attribute {name!r}")
