"""Finer tables for those who feel coarse ones.

`tables.TOLERANCE` is far below the error of any expected shortfall but one that is next to nothing: a unit whose risk is nearly nought may feel a table. Making all tables finer would cost every run memory and
time; so the tables that such units read, and no others, are made again from half the steps to a tenth of the tolerance, the whole book is walked again, and those units are looked at once more, at most `MOST` times. Which
tables are finer is a function of book, market and specification, recorded in the manifest and made again from there by whoever opens the run.

Not made finer: tables of `COSTLY` operations, priced on half their grid, whose own error is no smaller. Verified by `tests/properties/test_table_refinement.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from upm_gpu.errors import InputError
from upm_gpu.pricing.compiled import Compiled, ModelRequest, TableRequest
from upm_gpu.pricing.tables import COSTLY

MOST = 2
"""a hundredth of the tolerance: what is felt then is not the table's coarseness"""


def refinable(request: TableRequest | ModelRequest) -> bool:
    """Whether finer nodes make a better table."""
    return request.alive and request.operation not in COSTLY if isinstance(request, TableRequest) else True


def made_finer(compiled: Compiled, horizon: int, tables: Iterable[int], times: int, otherwise: str) -> Compiled:
    """The book before its tables are made, some of those of a horizon `times` finer. Raises InputError UPM-PR-082, `otherwise`, where none of them can be."""
    requests = compiled.programs[horizon].table_requests
    chosen = [t for t in tables if refinable(requests[t])]
    if times > MOST or not chosen:
        raise InputError("UPM-PR-082", otherwise)
    return as_recorded(compiled, horizon, finer_of(compiled, horizon) | dict.fromkeys(chosen, times))


def finer_of(compiled: Compiled, horizon: int) -> dict[int, int]:
    """Tables of a horizon that are finer than others, and how often."""
    return {t: r.finer for t, r in enumerate(compiled.programs[horizon].table_requests) if r.finer}


def as_recorded(compiled: Compiled, horizon: int, finer: Mapping[int, int]) -> Compiled:
    """The book with the tables of a horizon as fine as `finer` says."""
    if not finer:
        return compiled
    programs = list(compiled.programs)
    programs[horizon] = replace(programs[horizon], table_requests=tuple(replace(r, finer=finer.get(t, 0)) for t, r in enumerate(programs[horizon].table_requests)))
    return replace(compiled, programs=tuple(programs))


def record(compiled: Compiled, horizon: int) -> list[dict[str, Any]]:
    """Finer tables for the manifest: place among those of the horizon, first instrument, and how often the tolerance was divided by ten."""
    requests = compiled.programs[horizon].table_requests
    return [{"table": t, "name": requests[t].name, "finer": times} for t, times in finer_of(compiled, horizon).items()]


def recorded(manifest: Mapping[str, Any]) -> dict[int, int]:
    """What `record` wrote into the manifest of a run."""
    return {int(one["table"]): int(one["finer"]) for one in (manifest.get("value_tables") or {}).get("finer", [])}


__all__ = ["MOST", "as_recorded", "finer_of", "made_finer", "record", "recorded", "refinable"]
