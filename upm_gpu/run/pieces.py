"""Long work in pieces, each a file that is whole or not there: what is stopped goes on where it was.

A folder begins with its plan; the same command over the same plan goes on with it, another plan never touches it. A piece is a function of the plan and its name alone, so pieces
made before a stop and after it are the same bytes. Used by stress campaigns and back-tests; verified by tests/faults/test_campaign_killed.py and test_backtest_killed.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from upm_gpu.errors import RunInterrupted, UsageError
from upm_gpu.run import durable
from upm_gpu.run.chunks import stop_signals
from upm_gpu.run.folder import PLAN, check_target
from upm_gpu.run.lock import acquire
from upm_gpu.run.results import parquet_bytes

if TYPE_CHECKING:
    import pyarrow as pa


@contextlib.contextmanager
def opened(target: Path, plan: bytes, files: Mapping[str, bytes], refusal: tuple[str, str]) -> Iterator[None]:
    """The folder of a plan, locked: made, or gone on with. `refusal` is the code and what the folder would hold of another plan, such as "campaign".

    Raises UsageError for a folder in use or of something else; nothing is touched then.
    """
    begun = (target / PLAN).is_file()
    if not begun:
        check_target(target)
    elif (target / PLAN).read_bytes() != plan:
        code, what = refusal
        raise UsageError(code, f"{target} holds another {what}, or this one over other inputs or another version of the program. Give another folder with --out; nothing was touched.")
    target.mkdir(parents=True, exist_ok=True)
    lock = acquire(target)
    try:
        if not begun:
            for name, content in files.items():
                durable.write_file(target / name, content)
            durable.write_file(target / PLAN, plan)
        durable.remove_parts(target)
        yield
    finally:
        lock.release()


def read_piece(path: Path, rows: int | None = None) -> pa.Table | None:
    """The table of a file; None where it is missing, damaged or of another length than `rows`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException):
        return None
    return found if rows is None or found.num_rows == rows else None


def write_piece(path: Path, made: pa.Table) -> None:
    """Its numbers compressed place by place: no two are alike."""
    durable.write_file(path, parquet_bytes(made, [f.name for f in made.schema if f.type in ("double", "float")]))


def work_through(pieces: Sequence[tuple[int, str, Callable[[], None]]], code: str, unit: str, tell: Callable[[int, int, str], None]) -> None:
    """Make every piece, in order: (how much of `unit` it is, what it is, the work). RunInterrupted `code` (exit 8) after a piece on request."""
    total, done = sum(size for size, _, _ in pieces), 0
    with stop_signals() as stopped:
        for size, what, make in pieces:
            if stopped():
                raise RunInterrupted(code, f"stopped on request after {done:,} of {total:,} {unit}; every piece made is kept. Give the same command to go on.")
            make()
            done += size
            tell(done, total, what)
