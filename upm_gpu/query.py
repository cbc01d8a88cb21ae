"""`upm query FOLDER "SQL"`: the tables of a run, a campaign or a back-test, asked in SQL.

Every Parquet file of the folder is a table under its name (`margin`, `by_shock`); files in a folder of their own are one table under the folder's name (`losses`), each CSV
that has no Parquet beside it too. DuckDB reads them; the statement sees nothing else: no file, no network, no extension, and the folder is never written.
Verified by tests/end_to_end/test_query.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from upm_gpu.errors import InputError, IntegrityError, UsageError

if TYPE_CHECKING:
    import pandas as pd

SKIPPED = {"inputs", "chunks"}
"""folders of a run that hold no result"""
SHOWN = 200
"""rows on the terminal; --out writes them all"""


def tables_of(folder: Path) -> dict[str, list[Path]]:
    """Files by table name. Raises UsageError UPM-QY-001 for a folder without tables."""
    found: dict[str, list[Path]] = {}
    if (folder / "manifest.json").is_file():
        for path in sorted(folder.rglob("*.parquet")):
            parts = path.relative_to(folder).parts
            if parts[0] not in SKIPPED and not any(p.startswith(".") for p in parts):
                name = path.stem if len(parts) == 1 or parts[0] == "report" else "_".join(parts[:-1])
                found.setdefault(name.replace("-", "_").replace(".", "_"), []).append(path)
        for path in sorted(folder.glob("*.csv")):
            found.setdefault(path.stem, [path])
    if not found:
        raise UsageError("UPM-QY-001", f"{folder}: no tables. Give the folder that upm run, upm stress or upm backtest wrote.")
    return found


def query(folder: Path, sql: str) -> pd.DataFrame:
    """The rows of a statement. Raises UsageError UPM-QY-002 without duckdb, InputError UPM-QY-003 for a statement that cannot be answered."""
    try:
        import duckdb
    except ImportError:
        raise UsageError("UPM-QY-002", "upm query needs duckdb, which is not installed. Install it with `pip install 'upm-gpu[query]'`.") from None
    import pyarrow
    import pyarrow.csv
    import pyarrow.dataset

    tables = tables_of(folder)
    with duckdb.connect(":memory:") as connection:
        for name, paths in tables.items():
            try:
                table = pyarrow.csv.read_csv(paths[0]) if paths[0].suffix == ".csv" else pyarrow.dataset.dataset([str(p) for p in paths], format="parquet")
            except (OSError, pyarrow.ArrowException) as error:
                raise IntegrityError("UPM-QY-005", f"table {name} of {folder} cannot be read ({str(error).splitlines()[0]}). `upm verify {folder}` says which files are as written.") from None
            connection.register(name, table)
        for setting in ("enable_external_access = false", "python_enable_replacements = false", "lock_configuration = true"):
            connection.execute(f"SET {setting}")
        try:
            answered = connection.execute(sql)
            return answered.df()
        except duckdb.Error as error:
            known = ", ".join(sorted(tables))
            raise InputError("UPM-QY-003", f"the statement cannot be answered: {str(error).splitlines()[0]} Tables here: {known}. `SELECT * FROM {next(iter(sorted(tables)))} LIMIT 5` shows one.") from None


def answer(folder: Path, sql: str, out: Path | None) -> tuple[list[dict[str, Any]], str]:
    """The rows as objects, and as the terminal's table; all of them also to a .csv or .parquet file. Raises UsageError UPM-QY-004 for a file of another kind."""
    import numpy as np

    if out is not None and out.suffix not in (".csv", ".parquet"):
        raise UsageError("UPM-QY-004", f"--out {out}: give a file that ends in .csv or .parquet.")
    found = query(folder, sql)
    if out is not None:
        from upm_gpu.run.durable import write_file
        from upm_gpu.run.results import csv_bytes, parquet_bytes, plain, table

        columns = plain(found)
        write_file(out.resolve(), csv_bytes(columns) if out.suffix == ".csv" else parquet_bytes(table(columns)))
        return [], f"{out}: {len(found):,} rows"
    rows = [{k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()} for row in found.to_dict("records")]
    text = found.head(SHOWN).to_string(index=False, float_format=lambda x: f"{x:,.6g}") if len(found) else "no rows"
    return rows, text + (f"\n{len(found) - SHOWN:,} more rows; --out FILE.csv writes them all" if len(found) > SHOWN else "")
