"""`upm calls`: from a finished run to the calls of its time, as a table, a CSV that the next run's calls go on from, and JSON."""

from __future__ import annotations

import csv
import datetime
import io
import math
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from upm_gpu.desk.calls.ladder import Call, Ladder, OpenCall, Standing, calls, load_ladder
from upm_gpu.errors import InputError, UsageError
from upm_gpu.report.explain import printable

LISTED = 50
COLUMNS = tuple(f.name for f in fields(Call))


def standings(folder: Path) -> tuple[list[Standing], dict[str, Any]]:
    """What the ladder reads of a finished run, and its manifest; the run is verified first."""
    from upm_gpu.report.read import read_table
    from upm_gpu.run.verify import check_folder, read_manifest, verify_run

    run = check_folder(folder)
    verify_run(run)
    table = read_table(run / "margin.parquet")
    if table is None:
        raise InputError("UPM-RN-047", f"{run / 'margin.parquet'} is missing: no account can be explained. Run the margin again.")
    found = []
    for name, equity, initial, maintenance, core, shortfall, error in zip(*(table[c].tolist() for c in ("account_id", "equity", "initial_margin", "maintenance_margin", "core", "expected_shortfall",
                                                                             "expected_shortfall_standard_error")), strict=True):
        scale = core / shortfall if shortfall > 0.0 else 0.0
        found.append(Standing(str(name), equity, initial, maintenance, scale * error if math.isfinite(error) else math.nan))
    return found, read_manifest(run)


def read_open_calls(path: Path) -> dict[str, OpenCall]:
    """Calls of a CSV that `upm calls --out` wrote, by account. Raises InputError for another file."""
    number = 1
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        found = {}
        for row in rows:
            number += 1
            if row["stage"] != "met" and row["issued_at"]:
                found[row["account_id"]] = OpenCall(row["stage"], aware_time(row["issued_at"]), aware_time(row["due_at"]) if row["due_at"] else None)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("UPM-IN-172", f"{path}: cannot be read as calls issued before ({error}). Give the CSV that `upm calls --out` wrote.") from None
    except (KeyError, ValueError, TypeError):
        raise InputError("UPM-IN-172", f"{path.name} line {number}: holds no calls issued before (columns account_id, stage, issued_at, due_at; times with zones). "
                         "Give the CSV that `upm calls --out` wrote.") from None
    return found


def aware_time(text: str) -> datetime.datetime:
    """An ISO time; ValueError where it has no zone."""
    found = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if found.tzinfo is None:
        raise ValueError(text)
    return found


def calls_command(folder: Path, ladder_file: Path | None, issued: str, before: Path | None, out: Path | None) -> tuple[dict[str, Any], str]:
    """(plain data, text for a person); the CSV goes to `out`. Raises what reading raises, UsageError for a time without a zone and a file that is there."""
    if out is not None and out.exists():
        raise UsageError("UPM-CF-173", f"--out {out}: there is a file already, and no calls are written over it. Give another name.")
    ladder = load_ladder(ladder_file)
    accounts, manifest = standings(folder)
    try:
        now = aware_time(issued or str(manifest["valuation_time"]))
    except ValueError:
        raise UsageError("UPM-CF-173", f"--issued {issued!a}: is no time with a zone. Write for example 2026-02-05T10:00:00Z.") from None
    found = calls(ladder, accounts, now, read_open_calls(before) if before is not None else None)
    if out is not None:
        out.write_text(as_csv(found), encoding="utf-8")
    currency = str(manifest.get("reporting_currency", "USD"))
    data = {"run": str(folder), "ladder": f"{ladder.name} {ladder.version}", "currency": currency, "issued_at": _written(now), "minimum_transfer": ladder.minimum_transfer,
            "stages": [{"stage": s.name, "accounts": sum(c.stage == s.name for c in found), "called": math.fsum(c.amount for c in found if c.stage == s.name)} for s in ladder.stages],
            "calls": [_plain(c) for c in found]}
    return data, render(ladder, found, currency, now)


def _written(time: datetime.datetime | None) -> str | None:
    return None if time is None else time.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")


def _plain(call: Call) -> dict[str, Any]:
    found = asdict(call) | {"issued_at": _written(call.issued_at), "due_at": _written(call.due_at)}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in found.items()}


def as_csv(found: list[Call]) -> str:
    """Every line, numbers as Python writes them."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for call in found:
        writer.writerow({k: "" if v is None else repr(v) if isinstance(v, float) else v for k, v in _plain(call).items()})
    return out.getvalue()


def render(ladder: Ladder, found: list[Call], currency: str, now: datetime.datetime) -> str:
    """Text for a person; ASCII."""
    lines = [f"Margin calls of {_short(now)} by ladder {printable(ladder.name)} {printable(ladder.version)}, {currency}", "", f"{'Stage':<16}{'accounts':>9}{'called':>18}   what happens"]
    for s in reversed(ladder.stages):
        mine = [c for c in found if c.stage == s.name]
        lines.append(f"{printable(s.name)[:15]:<16}{len(mine):>9}{math.fsum(c.amount for c in mine):>18,.2f}   {printable(s.action)}")
    met = sum(c.stage == "met" for c in found)
    if met:
        lines.append(f"{'met':<16}{met:>9}{0.0:>18,.2f}   equity is restored")
    if found:
        lines += ["", f"{'Account':<20}{'stage':<14}{'equity':>16}{'initial':>16}{'called':>14}{'+- s.e.':>12}  {'due':<18}why"]
        for c in found[:LISTED]:
            due = _short(c.due_at) if c.due_at is not None else ""
            error = f"{c.standard_error:,.2f}" if c.amount and math.isfinite(c.standard_error) else ""
            lines.append(f"{printable(c.account_id)[:19]:<20}{printable(c.stage)[:13]:<14}{c.equity:>16,.2f}{c.initial_margin:>16,.2f}{c.amount:>14,.2f}{error:>12}  {due:<18}{printable(c.reason)}")
    if len(found) > LISTED:
        lines.append(f"{len(found) - LISTED} more in --json and --out")
    return "\n".join(lines)


def _short(time: datetime.datetime) -> str:
    return f"{time.astimezone(datetime.UTC):%Y-%m-%dT%H:%MZ}"
