"""Result files: the same figures give the same bytes.

Parquet: explicit schema, no metadata but the schema, one row-group size, one codec and level, page checksums.
CSV: floats as the shortest text that reads back to the same bits, empty for null, `\\n` line ends, texts that a
spreadsheet would run as a formula are led by an apostrophe. JSON: sorted keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.book import Reject
from upm_gpu.domain.text import csv_text
from upm_gpu.errors import UpmError
from upm_gpu.run import durable
from upm_gpu.run.folder import RunFolder, json_bytes

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Column = Sequence[Any] | NDArray[Any]
Columns = Mapping[str, Column]

ROW_GROUP = 131_072
ZSTD_LEVEL = 3

TYPES: Mapping[str, str] = {
    "account_id": "string", "member_id": "string", "netting_set": "string", "instrument_id": "string", "underlying": "string",
    "status": "string", "charge": "string", "asset": "string", "file": "string", "column": "string", "code": "string", "message": "string",
    "raw": "string", "rank": "int32", "scenario": "uint32", "line": "int64", "horizon": "float64", "level": "float64",
    "limit": "float64", "margin_ratio": "float64",
}
"""types of columns of the result files by name; any other column takes the type of its array"""

NULLABLE = frozenset({"margin_ratio", "limit", "implied_volatility", "realised_loss", "variance_ratio", "tail_index", "haircut_per_unit", "standard_error"})
"""columns of the margin files that may be empty; NaN or infinity anywhere else is a fault, never written"""

REQUIRED = {
    "margin": ("account_id", "initial_margin", "maintenance_margin", "expected_shortfall", "expected_shortfall_standard_error",
               "value_at_risk", "collateral_value", "equity", "excess", "margin_ratio", "status"),
    "contributions": ("account_id", "instrument_id", "contribution"),
    "worst_scenarios": ("account_id", "rank", "scenario", "pnl"),
}
"""columns that the format promises, first and in this order"""


@dataclass(frozen=True)
class Results:
    """What a run leaves; tables are columns of equal length by name (or a data frame), in the order they are written."""

    margin: Columns | pd.DataFrame
    contributions: Columns | pd.DataFrame
    worst_scenarios: Columns | pd.DataFrame
    calls: Columns | pd.DataFrame
    rejects: Sequence[Reject] = ()
    margin_by_netting_set: Columns | pd.DataFrame | None = None
    greeks: Columns | pd.DataFrame | None = None
    portfolio_haircuts: Columns | pd.DataFrame | None = None
    report: Mapping[str, Columns | pd.DataFrame | Mapping[str, Any]] = field(default_factory=dict)
    """inputs of the report by file name under `report/`: `.parquet` takes columns, `.json` a mapping"""


def _arrow_type(name: str, values: Column, strict: bool) -> pa.DataType:
    import pyarrow as pa

    if strict and name in TYPES:
        return pa.type_for_alias(TYPES[name])
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return pa.from_numpy_dtype(values.dtype)
    given = [v for v in values if v is not None]
    if given and isinstance(given[0], datetime):
        return pa.timestamp("us", tz="UTC")
    if given and all(isinstance(v, (bool, np.bool_)) for v in given):
        return pa.bool_()
    if given and all(isinstance(v, (int, np.integer)) for v in given):
        return pa.int64()
    if given and all(isinstance(v, (int, float, np.integer, np.floating)) for v in given):
        return pa.float64()
    return pa.string()


def plain(columns: Columns | pd.DataFrame) -> Columns:
    """Columns of a data frame as arrays (text as objects, null as None); a mapping as it is."""
    if isinstance(columns, Mapping):
        return columns
    found: dict[str, Column] = {}
    for name in columns.columns:
        series = columns[name]
        if series.dtype.kind in "fiub" and isinstance(series.dtype, np.dtype):
            found[str(name)] = series.to_numpy()
        else:
            found[str(name)] = [None if gone else value for value, gone in zip(series.tolist(), series.isna().tolist(), strict=True)]
    return found


def table(columns: Columns, strict: str = "") -> pa.Table:
    """Columns as an Arrow table with an explicit schema and no metadata; NaN becomes null.

    With `strict` (the file's name) a NaN or infinity outside `NULLABLE` raises UpmError (exit 1): it would be an
    undefined margin.
    """
    import pyarrow as pa

    fields, arrays = [], []
    for name, values in columns.items():
        kind = _arrow_type(name, values, bool(strict))
        if pa.types.is_floating(kind):
            numbers = np.array([np.nan if v is None else v for v in values] if not isinstance(values, np.ndarray) else values, dtype=kind.to_pandas_dtype())
            if strict and name not in NULLABLE and not np.isfinite(numbers).all():
                row = int(np.argmin(np.isfinite(numbers)))
                who = next((f"{k} {str(columns[k][row])!a}, " for k in ("account_id", "instrument_id") if k in columns), "")
                raise UpmError("UPM-RN-022", f"{strict} row {row + 1}: {who}column {name} is {numbers[row]}; an undefined number is never "
                                             f"written. Please report this with the run's manifest.")
            numbers = numbers + 0.0  # -0.0 and 0.0 are one amount
            array = pa.array(numbers, type=kind, from_pandas=True)
        elif pa.types.is_string(kind):
            array = pa.array([None if v is None else str(v) for v in values], type=kind)
        else:
            array = pa.array(values, type=kind)
        fields.append(pa.field(name, kind, nullable=not strict or name in NULLABLE or not pa.types.is_floating(kind)))
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def parquet_bytes(content: pa.Table, spread: Sequence[str] = ()) -> memoryview:
    """The one way a Parquet file is written. Columns `spread` are numbers of which no two are alike: no dictionary of them is tried, their bytes are compressed place by place."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(content.replace_schema_metadata(None), sink, row_group_size=ROW_GROUP, compression="zstd", compression_level=ZSTD_LEVEL,
                   version="2.6", data_page_version="1.0", use_dictionary=[n for n in content.column_names if n not in spread] if spread else True, write_statistics=True,
                   write_page_checksum=True, store_schema=False,
                   **({"column_encoding": dict.fromkeys(spread, "BYTE_STREAM_SPLIT")} if spread else {}))
    return memoryview(sink.getvalue())


def csv_bytes(columns: Columns) -> bytes:
    """Columns as CSV (UTF-8, header, minimal quotes)."""
    return csv_text(columns, zip(*columns.values(), strict=True)).encode("utf-8", errors="backslashreplace")


def reject_columns(rejects: Sequence[Reject]) -> Columns:
    """Rejected rows as columns, in the order of rejects.csv."""
    return {name: [getattr(r, name) for r in rejects] for name in ("file", "line", "column", "code", "message", "raw")}


def _ordered(name: str, columns: Columns | pd.DataFrame) -> Columns:
    columns = plain(columns)
    missing = [c for c in REQUIRED[name] if c not in columns]
    if missing:
        raise ValueError(f"{name} lacks the columns {missing}")
    return {c: columns[c] for c in (*REQUIRED[name], *(c for c in columns if c not in REQUIRED[name]))}


def write_results(run: RunFolder, results: Results) -> dict[str, int]:
    """Write every result file but the manifest; returns rows by file name."""
    margin = _ordered("margin", results.margin)
    tables: dict[str, Columns | None] = {
        "margin.parquet": margin,
        "contributions.parquet": _ordered("contributions", results.contributions),
        "worst_scenarios.parquet": _ordered("worst_scenarios", results.worst_scenarios),
        "margin_by_netting_set.parquet": None if results.margin_by_netting_set is None else plain(results.margin_by_netting_set),
        "greeks.parquet": None if results.greeks is None else plain(results.greeks),
        "portfolio_haircuts.parquet": None if results.portfolio_haircuts is None else plain(results.portfolio_haircuts),
    }
    rows = {}
    for name, columns in tables.items():
        if columns is not None:
            content = table(columns, strict=name)
            rows[name] = content.num_rows
            durable.write_file(run.path / name, parquet_bytes(content))
    for name, columns in {"margin.csv": margin, "calls.csv": plain(results.calls), "rejects.csv": reject_columns(results.rejects)}.items():
        durable.write_file(run.path / name, csv_bytes(columns))
        rows[name] = len(next(iter(columns.values()), ()))
    for name, value in results.report.items():
        write_report_input(run, name, value)
    return rows


def write_report_input(run: RunFolder, name: str, value: Columns | pd.DataFrame | Mapping[str, Any]) -> None:
    """Write one file under `report/`: columns for `.parquet`, a JSON value for `.json`."""
    path = durable.inside(run.path, f"report/{name}")
    durable.make_folder(path.parent)
    if name.endswith(".parquet"):
        durable.write_file(path, parquet_bytes(table(plain(value))))
    elif name.endswith(".json"):
        durable.write_file(path, json_bytes(value))
    else:
        raise ValueError(f"{name}: a report input is .parquet or .json")
