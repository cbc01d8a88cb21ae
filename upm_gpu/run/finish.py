"""The end of a run: results, manifest, report, checksums; only then the chunks go.

`SHA256SUMS` is what makes a run finished. Until it is there, every chunk is, so a run killed while it wrote its results
is resumed and writes the same bytes again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from upm_gpu.errors import IntegrityError
from upm_gpu.run import durable
from upm_gpu.run.folder import CHUNKS, LEDGER, MANIFEST, SUMS, RunFolder, json_bytes
from upm_gpu.run.ledger import discard_ledger, open_ledger, remove_chunks, settle
from upm_gpu.run.lock import LOCK
from upm_gpu.run.log import LOG
from upm_gpu.run.manifest import Provenance
from upm_gpu.run.results import Results, write_results

REPORT = "report.html"
NOT_SEALED = frozenset({SUMS, LOCK, LOG})


def sealed_names(folder: Path) -> list[str]:
    """Relative names of every file that SHA256SUMS covers, sorted; chunks that are about to go are left out."""
    names = []
    for root, folders, files in os.walk(folder):
        base = Path(root).relative_to(folder)
        folders[:] = [f for f in folders if base / f != Path(CHUNKS)]
        names += [(base / f).as_posix() for f in files]
    return sorted(n for n in names if n not in NOT_SEALED)


def sums_bytes(hashes: dict[str, str]) -> bytes:
    """The text of SHA256SUMS: name -> hex digest, in name order."""
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes)).encode("ascii")


def finish_run(run: RunFolder, results: Results, provenance: Provenance,
               report: Callable[[Path], str | bytes] | None = None) -> dict[str, int]:
    """Write all results, the manifest, the report and last SHA256SUMS; then remove the chunks. Returns rows by file.

    `report` is given the run folder, complete but for its own page, and returns report.html. Raises CapacityError on a
    full disk: the run can then be resumed.
    """
    rows = write_results(run, results)
    durable.write_file(run.path / MANIFEST, json_bytes(provenance.to_dict()))
    if report is not None:
        page = report(run.path)
        durable.write_file(run.path / REPORT, page.encode() if isinstance(page, str) else page)
    seal(run)
    run.log.info("run finished", rows=rows)
    return rows


def seal(run: RunFolder) -> None:
    """Close the ledger, write SHA256SUMS over what is on disk, remove chunks and leftovers."""
    durable.remove_parts(run.path)
    if (run.path / LEDGER).exists():
        try:
            settle(open_ledger(run.path))
        except (sqlite3.Error, IntegrityError):
            discard_ledger(run.path)  # its work is in the results already
    durable.write_file(run.path / SUMS, sums_bytes({n: durable.sha256_of(run.path / n) for n in sealed_names(run.path)}))
    remove_chunks(run.path)
    with contextlib.suppress(OSError):
        durable.sync_folder(run.path)


def replace_file(run: RunFolder, name: str, content: str | bytes) -> None:
    """Replace one file of a finished run (the report, built again) and its line in SHA256SUMS.

    The other lines stay as they are, so that this never hides a change of another file.
    """
    from upm_gpu.run.verify import read_sums

    hashes = read_sums(run.path)
    path = durable.inside(run.path, name)
    hashes[name] = durable.write_file(path, content.encode() if isinstance(content, str) else content)
    durable.write_file(run.path / SUMS, sums_bytes(hashes))
