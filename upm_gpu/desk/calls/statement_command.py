"""`upm statement`: a page and a CSV for each account that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from upm_gpu.desk.calls.ladder import calls, load_ladder
from upm_gpu.desk.calls.ladder_command import aware_time, read_open_calls, standings
from upm_gpu.desk.calls.statement import Rows, as_csv, file_stem, page, statement, unit_values
from upm_gpu.errors import UsageError


def statement_command(folder: Path, accounts: Sequence[str], every: bool, ladder: Path | None, before: Path | None, out: Path) -> tuple[dict[str, Any], str]:
    """(plain data, text): files in the new folder `out`, each of one account alone. Raises what reading a run raises, UsageError where no account is asked for or the folder is there."""
    from upm_gpu.backend.select import choose
    from upm_gpu.inputs_again import inputs_again
    from upm_gpu.plan import make_plan
    from upm_gpu.report.explain import explain
    from upm_gpu.report.read import read_table, select

    if bool(accounts) == every:
        raise UsageError("UPM-CF-174", "give --account ID for a statement, once for each account, or --all for those of every account.")
    if out.exists():
        raise UsageError("UPM-CF-174", f"--out {out}: is there already, and no statement is written over another. Give the name of a new folder.")
    found, manifest = standings(folder)
    asked = [s.account_id for s in found] if every else list(dict.fromkeys(accounts))
    explained = {a: explain(folder, a) for a in asked}
    again = inputs_again(folder, manifest)
    plan = make_plan(again.book, again.market, again.spec, again.methodology)
    choice = choose("auto", "double")
    values = unit_values(plan, choice.module, choice.threads)
    own = {s.account_id: s for s in found}
    now = aware_time(str(manifest["valuation_time"]))
    called = {c.account_id: c for c in calls(load_ladder(ladder), [own[a] for a in asked], now, read_open_calls(before) if before is not None else None)}
    table = read_table(folder / "contributions.parquet") or {}
    made = []
    out.mkdir(parents=True)
    for a in asked:
        shares = tuple(float(v) for v in select(table, account_id=a)["contribution"].tolist()) if table else ()
        one = statement(plan, values, Rows(explained[a], shares, called.get(a)), str(manifest.get("methodology", "")))
        stem = file_stem(a)
        (out / f"{stem}.html").write_bytes(page(one))
        (out / f"{stem}.csv").write_text(as_csv(one), encoding="utf-8")
        made.append({"account_id": a, "page": f"{stem}.html", "csv": f"{stem}.csv"})
    return {"run": str(folder), "out": str(out), "statements": made}, f"{out}: {len(made)} statement{'s' * (len(made) != 1)}, a page and a CSV each"
