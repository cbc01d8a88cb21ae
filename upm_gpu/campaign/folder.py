"""`upm stress`: a campaign from its file to its folder, in pieces that survive a stop.

    plan.json              what was asked: program, campaign, SHA-256 of every input; a folder with another plan is never touched
    campaign.toml          the campaign as given
    losses/ margins/       one row a (shock, account), file by file (`chunks.py`)
    by_shock.parquet by_account.parquet worst_cells.parquet [reverse.parquet] [paths.parquet path_accounts.parquet]   of all books, also as .csv
    manifest.json campaign.html SHA256SUMS                  the last one last

The same command goes on with a folder whose plan is the same. Verified by tests/end_to_end/test_stress_command.py, tests/faults/test_campaign_killed.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upm_gpu.campaign import chunks
from upm_gpu.campaign.cells import worst_cells
from upm_gpu.campaign.config import Campaign, load_campaign
from upm_gpu.campaign.ranking import rank
from upm_gpu.campaign.stressed_book import StressedBook, stressed_book
from upm_gpu.progress import silent, told
from upm_gpu.run import durable
from upm_gpu.run.finish import sums_bytes
from upm_gpu.run.folder import FORMAT, MANIFEST, PLAN, SUMS, check_target, json_bytes
from upm_gpu.run.lock import LOCK
from upm_gpu.run.manifest import identity, versions
from upm_gpu.run.pieces import opened, work_through

if TYPE_CHECKING:
    import pandas as pd

CAMPAIGN, SHOCKS, ACCOUNTS, REVERSE, CELLS, PATHS, PATH_ACCOUNTS, PAGE = "campaign.toml", "by_shock", "by_account", "reverse", "worst_cells", "paths", "path_accounts", "campaign.html"
SHOWN = 10
"""lines of a ranking on the terminal"""


def run_campaign(path: Path, out: Path | None, quiet: bool, command: tuple[str, ...]) -> dict[str, Any]:
    """Read, margin, stress, rank, write; returns what `--json` prints. Raises what a run raises, UsageError UPM-ST-003 for a folder of another campaign, RunInterrupted (exit 8)."""
    started = time.perf_counter()
    campaign, text = load_campaign(path, out)
    target = Path(campaign.output.path)
    if not (target / PLAN).is_file():
        check_target(target)  # before the margins
    books = [stressed_book(entry, campaign) for entry in campaign.books]
    plan = json_bytes({"format": FORMAT, "kind": "campaign", **identity(), "campaign_sha256": hashlib.sha256(text.encode()).hexdigest(), "device": books[0].choice.name, "precision": books[0].choice.precision,
                       "books": {b.name: {"inputs": b.hashes, "shocks": b.shocks.count, "accounts": len(b.accounts)} for b in books}})
    with opened(target, plan, {CAMPAIGN: text.encode()}, ("UPM-ST-003", "campaign")):
        if (target / SUMS).is_file():
            return _finished(target)
        shocked = time.perf_counter()
        _work(target, campaign, books, quiet)
        worked = time.perf_counter()
        reverse = _reversed(campaign, books, quiet)
        searched = time.perf_counter()
        tables = _ranked(target, campaign, books) | ({} if reverse is None else {REVERSE: reverse}) | _walked(campaign, books, quiet)
        timings = {"margin": shocked - started, "shocks": worked - shocked, "reverse": searched - worked, "rank": time.perf_counter() - searched}
        _seal(target, campaign, books, tables, timings, command)
    return _finished(target)


def _work(target: Path, campaign: Campaign, books: list[StressedBook], quiet: bool) -> None:
    """Every piece that is not there yet."""
    parts = (chunks.LOSSES, *((chunks.MARGINS,) if campaign.remargin else ()))
    for part in parts:
        durable.make_folder(target / part)
    work = [(last - first, f"{part} of {book.name}", partial(chunks.make, target, book, part, first, last)) for part in parts for book in books for first, last in chunks.ranges(book, part)]
    work_through(work, "UPM-ST-012", "shocks", silent if quiet else told("shocks"))


def _reversed(campaign: Campaign, books: list[StressedBook], quiet: bool) -> pd.DataFrame | None:
    """The most plausible breaking moves of every book; None where they are not asked for."""
    import pandas as pd

    from upm_gpu.campaign.reverse import reverse_stress

    asked = campaign.reverse
    if not (asked.accounts or asked.members or asked.default_fund):
        return None
    if not quiet:
        print("reverse stress: looking for the most plausible breaking moves", file=sys.stderr, flush=True)
    return pd.concat([reverse_stress(b, asked.accounts, asked.members, campaign.losses.default_fund if asked.default_fund else 0.0) for b in books], ignore_index=True)


def _walked(campaign: Campaign, books: list[StressedBook], quiet: bool) -> dict[str, pd.DataFrame]:
    """The stresses of several days."""
    import pandas as pd

    from upm_gpu.campaign.paths import walk_path

    if not campaign.paths:
        return {}
    if not quiet:
        print(f"paths of several days: {', '.join(p.name for p in campaign.paths)}", file=sys.stderr, flush=True)
    lost = campaign.losses
    found = [walk_path(entry, book, lost.delta_cost, lost.vega_cost, lost.default_fund) for book in books for entry in campaign.paths]
    return {PATHS: pd.concat([days for days, _ in found], ignore_index=True), PATH_ACCOUNTS: pd.concat([accounts for _, accounts in found], ignore_index=True)}


def _ranked(target: Path, campaign: Campaign, books: list[StressedBook]) -> dict[str, pd.DataFrame]:
    import pandas as pd

    found = [rank(book, chunks.loss_blocks(target, book), campaign.losses.default_fund) for book in books]
    by_shock = pd.concat([s for s, _ in found], ignore_index=True)
    return {SHOCKS: by_shock, ACCOUNTS: pd.concat([a for _, a in found], ignore_index=True), CELLS: pd.concat([worst_cells(book, by_shock) for book in books], ignore_index=True)}


def _seal(target: Path, campaign: Campaign, books: list[StressedBook], tables: dict[str, pd.DataFrame], timings: dict[str, float], command: tuple[str, ...]) -> None:
    """Rankings, manifest, page and last the checksums."""
    from upm_gpu.run.results import csv_bytes, parquet_bytes, plain, table

    hashes = {name: durable.sha256_of(target / name) for name in (PLAN, CAMPAIGN)}
    for folder in (chunks.LOSSES, chunks.MARGINS):
        hashes |= {f"{folder}/{p.name}": durable.sha256_of(p) for p in sorted((target / folder).glob("*.parquet"))}
    for name, frame in tables.items():
        columns = plain(frame)
        hashes[f"{name}.parquet"] = durable.write_file(target / f"{name}.parquet", parquet_bytes(table(columns)))
        hashes[f"{name}.csv"] = durable.write_file(target / f"{name}.csv", csv_bytes(columns))
    one = books[0]
    market = one.outcome.plan.market
    hashes[MANIFEST] = durable.write_file(target / MANIFEST, json_bytes({
        "format": FORMAT, "kind": "campaign", "name": campaign.name, "upm_gpu": versions()["upm_gpu"], "libraries": versions(), **identity(), "command": list(command),
        "device": one.choice.name, "device_reason": one.choice.reason, "precision": one.choice.precision, "scenarios": campaign.base.count, "seed": one.outcome.plan.spec.seed,
        "valuation_time": market.valuation_time.isoformat(), "reporting_currency": market.reporting_currency, "default_fund": campaign.losses.default_fund, "remargin": campaign.remargin,
        "counts": {"books": len(books), "shocks": len(tables[SHOCKS]), "accounts": len(tables[ACCOUNTS]), "cells": sum(b.shocks.count * len(b.accounts) for b in books)},
        "methodology": f"{one.outcome.plan.methodology.name} {one.outcome.plan.methodology.version}", "timings": {k: round(v, 3) for k, v in timings.items()},
        "books": {b.name: b.hashes for b in books}}))
    if campaign.output.report:
        from upm_gpu.report.campaign_page import render_campaign

        hashes[PAGE] = durable.write_file(target / PAGE, render_campaign(target))
    durable.write_file(target / SUMS, sums_bytes(hashes))


def _finished(target: Path) -> dict[str, Any]:
    """What a finished campaign says of itself."""
    from upm_gpu.report.read import read_rows

    manifest = json.loads((target / MANIFEST).read_bytes())
    shocks, accounts = (read_rows(target / f"{name}.csv") or [] for name in (SHOCKS, ACCOUNTS))
    worst = sorted(shocks, key=lambda r: (-float(r["uncovered_loss"]), float(r["pnl"])))[:SHOWN]
    return {"out": str(target), "name": manifest["name"], "counts": manifest["counts"], "timings": manifest["timings"], "currency": manifest["reporting_currency"],
            "worst_shocks": [{k: r[k] if k in ("name", "cover_1_member", "book") else float(r[k]) for k in ("book", "name", "pnl", "accounts_broken", "accounts_called", "uncovered_loss", "cover_1", "cover_1_member", "cover_2")} for r in worst],
            "first_to_break": [{k: r[k] if k in ("book", "account_id", "worst_shock_name", "nearest_break") else float(r[k] or "nan") for k in ("book", "account_id", "times_broken", "distance_to_default", "worst_pnl", "equity_after_worst", "nearest_break")}
                               for r in accounts[:SHOWN] if int(r["times_broken"])],
            "files": sorted(str(p.relative_to(target)) for p in target.rglob("*") if p.is_file() and p.name != LOCK)}


def lines(found: dict[str, Any]) -> str:
    """What the command prints."""
    c, t, money = found["counts"], found["timings"], found["currency"]
    said = [f"{c['shocks']:,} shocks x {c['accounts'] // c['books']:,} accounts x {c['books']} books = {c['cells']:,} cells in {t['shocks']:.1f} s (margins before: {t['margin']:.1f} s)", "worst shocks:"]
    several = c["books"] > 1
    said += [f"  {s['book'] + ', ' if several else ''}{s['name']}: P&L {s['pnl']:,.0f} {money}, {s['accounts_broken']:.0f} accounts broken, {s['accounts_called']:.0f} called, uncovered {s['uncovered_loss']:,.0f}, cover 1 {s['cover_1']:,.0f}, cover 2 {s['cover_2']:,.0f}" for s in found["worst_shocks"][:5]]
    if found["first_to_break"]:
        said.append("first to break:")
        said += [f"  {a['book'] + ', ' if several else ''}{a['account_id']}: {a['times_broken']:.0f} shocks, nearest {a['nearest_break']} at {a['distance_to_default']:.1f} standard deviations" for a in found["first_to_break"][:5]]
    else:
        said.append("no account breaks")
    return "\n".join([*said, f"{found['out']}{os.sep}{PAGE if PAGE in found['files'] else SHOCKS + '.csv'}"])
