"""Opening a finished run for questions: its files verified, its inputs read again, its scenarios drawn again or, for questions with paths of their own, left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.backend.select import choose
from upm_gpu.desk.change import Known
from upm_gpu.desk.hypothetical import listed_with
from upm_gpu.desk.keeping import keep, refuse_guided
from upm_gpu.desk.resident import Progress, Resident, stamp_of
from upm_gpu.desk.stored import FOLDER, Reading
from upm_gpu.domain.book import Book
from upm_gpu.domain.instrument import Instrument
from upm_gpu.errors import InputError, UsageError
from upm_gpu.margin.methodology import charges_in_force
from upm_gpu.plan import make_plan, with_count

LIBRARIES = ("upm_gpu", "numpy", "scipy")
"""whose versions may change a bit of a margin"""


def open_run(path: str | Path, also: Iterable[str] = (), progress: Progress | None = None, hypothetical: Callable[[Book], Sequence[Instrument]] | Sequence[Instrument] = (),
             fast: bool = False) -> Resident:
    """Read a finished run, draw its scenarios again and keep them; `also` names instruments of its file that nobody holds, `hypothetical` are some that it does not list
    (`desk/hypothetical.py`), or what makes them once the book is known. Unit P&L that the run kept (`output.store_pnl`) is a memory map; `fast` does not hash it.

    Raises UsageError (no run, not finished, another program), IntegrityError (a file changed), InputError (an unknown instrument, a sampler or products that cannot be kept).
    """
    from upm_gpu.inputs_again import inputs_again
    from upm_gpu.run.verify import check_folder, read_manifest, verify_run

    folder = check_folder(path)
    verify_run(folder, f"{FOLDER}/" if fast else None)
    manifest = read_manifest(folder)
    same_program(folder, manifest)
    again = inputs_again(folder, manifest)
    choice = choose(str(manifest["backend"]), str(manifest["precision"]), again.threads)
    listed = tuple(hypothetical(again.book) if callable(hypothetical) else hypothetical)
    book, also = listed_with(again.book, again.market, listed), [*also, *(i.instrument_id for i in listed)]
    made = keep(book, again.market, again.spec, again.methodology, choice, also=also, count=int(manifest["scenarios"]), progress=progress, library=again.library,
                store=Reading(folder), finer=again.finer)
    stamps = {name: stamp_of(folder / name) for name in ("SHA256SUMS", "manifest.json", "plan.json", *(f"inputs/{n}" for n in manifest["inputs"]))}
    return replace(made, path=folder, margins=_margins(folder), stamps=stamps)


def open_plan(path: str | Path) -> Resident:
    """A finished run with its plan and without its scenarios in memory: for questions that draw paths of their own. Raises UsageError and IntegrityError as `open_run`."""
    from upm_gpu.inputs_again import inputs_again
    from upm_gpu.run.verify import check_folder, read_manifest, verify_run

    folder = check_folder(path)
    verify_run(folder, f"{FOLDER}/")
    manifest = read_manifest(folder)
    same_program(folder, manifest)
    again = inputs_again(folder, manifest)
    refuse_guided(again.spec)
    choice = choose(str(manifest["backend"]), str(manifest["precision"]), again.threads)
    plan = make_plan(again.book, again.market, again.spec, again.methodology)
    plan = replace(with_count(plan, int(manifest["scenarios"])), library=again.library)
    known = Known({a.account_id: n for n, a in enumerate(again.book.accounts)}, {i.instrument_id: n for n, i in enumerate(again.book.instruments)}, frozenset({plan.market.reporting_currency, *plan.market.spots}), {})
    return Resident(folder, plan, choice, {}, (), np.zeros(0), None, charges_in_force(plan.methodology), known, np.zeros(len(plan.instruments), np.int64), _margins(folder), {}, None, again.spec.count)


def same_program(folder: Path, manifest: dict[str, Any]) -> None:
    """Refuse a run of another version, whose bits may differ."""
    from upm_gpu.run.manifest import kernels_sha256, versions

    now, before = versions(), manifest.get("libraries", {})
    differ = [f"{name} was {before.get(name, 'absent')}, is {now.get(name, 'absent')}" for name in LIBRARIES if before.get(name) != now.get(name)]
    if manifest["kernels_sha256"] != kernels_sha256():
        differ.append(f"kernels were {str(manifest['kernels_sha256'])[:12]}, are {kernels_sha256()[:12]}")
    if differ:
        raise UsageError("UPM-RN-080", f"{folder}: the run was made by another version, whose figures may differ: {'; '.join(differ)}. Ask that version, or run again.")


def _margins(folder: Path) -> dict[str, dict[str, Any]]:
    from upm_gpu.report.read import read_table

    table = read_table(folder / "margin.parquet")
    if table is None:
        raise InputError("UPM-RN-047", f"{folder / 'margin.parquet'} is missing: no account can be explained. Run the margin again.")
    names = list(table)
    return {str(row[names.index("account_id")]): dict(zip(names, row, strict=True)) for row in zip(*(table[n] for n in names), strict=True)}
