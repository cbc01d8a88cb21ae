"""The work of a campaign in pieces, each a file that is whole or not there: a campaign that is stopped goes on where it was.

`losses/BOOK-FIRST.parquet` holds (shock, account_id, pnl, equity) of a range of shocks, `margins/BOOK-FIRST.parquet` (shock, account_id, initial_margin,
standard_error, maintenance_margin, equity, call, status) where margins are made again. A piece is a function of book, campaign and range alone, so pieces made before a stop
and after it are the same bytes. Verified by tests/faults/test_campaign_killed.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.campaign.shocked import shocked_market
from upm_gpu.campaign.stressed_book import StressedBook
from upm_gpu.errors import UpmError
from upm_gpu.run.pieces import read_piece, write_piece

if TYPE_CHECKING:
    import pyarrow as pa

LOSSES, MARGINS = "losses", "margins"
CELLS = 2_000_000
"""cells of a file of losses at most: some 50 MB in memory"""
MARGINED = 16
"""shocks of a file of margins: seconds of work"""


def ranges(book: StressedBook, part: str) -> list[tuple[int, int]]:
    """[first, last) of the shocks of every file of a part."""
    step = MARGINED if part == MARGINS else max(1, CELLS // max(len(book.accounts), 1))
    return [(f, min(f + step, book.shocks.count)) for f in range(0, book.shocks.count, step)]


def file_name(book: StressedBook, part: str, first: int) -> str:
    """Place of a file inside the folder."""
    return f"{part}/{book.name}-{first:07d}.parquet"


def make(folder: Path, book: StressedBook, part: str, first: int, last: int) -> None:
    """Compute and write one file, unless it is there and whole."""
    path = folder / file_name(book, part, first)
    if read_piece(path, (last - first) * len(book.accounts)) is None:
        write_piece(path, losses(book, first, last) if part == LOSSES else margins(book, first, last))


def _cells(book: StressedBook, first: int, last: int) -> dict[str, Any]:
    """shock and account_id of every cell, shock by shock."""
    import pyarrow as pa

    count = len(book.accounts)
    codes = pa.array(np.tile(np.arange(count, dtype=np.int32), last - first))
    return {"shock": np.repeat(np.arange(first, last, dtype=np.int32), count), "account_id": pa.DictionaryArray.from_arrays(codes, pa.array(list(book.accounts), pa.string()))}


def losses(book: StressedBook, first: int, last: int) -> pa.Table:
    """P&L and equity of every account after shocks [first, last)."""
    import pyarrow as pa

    pnl, equity = book.values(first, last)
    if not (np.isfinite(pnl).all() and np.isfinite(equity).all()):
        s = int(np.flatnonzero(~np.isfinite(equity + pnl).all(axis=0))[0]) + first
        raise UpmError("UPM-ST-011", f"shock {book.shocks.names[s]!r} gives a P&L that is NaN or infinite: a move beyond what float64 can hold. Make it smaller.")
    return pa.table({**_cells(book, first, last), "pnl": pnl.T.ravel(), "equity": equity.T.ravel()})


def margins(book: StressedBook, first: int, last: int) -> pa.Table:
    """Margin of every account in the market after each of shocks [first, last): the run's law, methodology and seed in another market."""
    import pyarrow as pa

    from upm_gpu.engine import compute_outcome
    from upm_gpu.passes import in_memory
    from upm_gpu.plan import make_plan

    columns: dict[str, list[Any]] = {name: [] for name in ("initial_margin", "standard_error", "maintenance_margin", "equity", "call", "status")}
    plan, choice = book.outcome.plan, book.choice
    for s in range(first, last):
        moves = dict(zip(book.shocks.states, (float(x) for x in book.shocks.moves[:, s]), strict=True))
        market, surfaces = shocked_market(plan, moves, choice.module)
        table = compute_outcome(make_plan(plan.book, market, plan.spec, plan.methodology, plan.model, surfaces), choice, 0, in_memory(None)).result.table
        table = table.set_index("account_id").loc[list(book.accounts)]
        for name in ("initial_margin", "maintenance_margin", "equity"):
            columns[name].append(table[name].to_numpy(np.float64))
        columns["standard_error"].append(table["expected_shortfall_standard_error"].to_numpy(np.float64))
        columns["call"].append(np.maximum(-table["excess"].to_numpy(np.float64), 0.0))
        columns["status"].append(table["status"].to_numpy(object))
    return pa.table({**_cells(book, first, last), **{k: np.concatenate(v) for k, v in columns.items() if k != "status"},
                     "status": pa.array(list(np.concatenate(columns["status"])), pa.string()).dictionary_encode()})


def loss_blocks(folder: Path, book: StressedBook) -> Iterator[tuple[int, int, NDArray[np.float64], NDArray[np.float64]]]:
    """(first, last, pnl (A, S), equity (A, S)) of every file of losses, in order."""
    count = len(book.accounts)
    for first, last in ranges(book, LOSSES):
        found = read_piece(folder / file_name(book, LOSSES, first), (last - first) * count)
        assert found is not None, "every file was made before"
        yield first, last, *(found[name].to_numpy().reshape(last - first, count).T for name in ("pnl", "equity"))
