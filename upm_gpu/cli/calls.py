"""What follows from a margin: `upm calls`, `upm intraday`, `upm statement`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upm_gpu.cli.app import Json, app, print_result

Run = Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")]
LadderFile = Annotated[Path | None, typer.Option("--ladder", help="Stages, amounts and deadlines (TOML); the house's without it.")]
Before = Annotated[Path | None, typer.Option(help="CSV of the calls issued before: they go on, escalate or are met.")]


@app.command("calls")
def margin_calls(folder: Run, ladder: LadderFile = None, issued: Annotated[str, typer.Option(help="Time of the calls, ISO with zone; blank: the valuation time of the run.")] = "",
                 before: Before = None, out: Annotated[Path | None, typer.Option(help="CSV to write.")] = None, json: Json = False) -> None:
    """The margin call ladder: stage, amount and deadline of every account that is short."""
    from upm_gpu.desk.calls.ladder_command import calls_command

    data, text = calls_command(folder, ladder, issued, before, out)
    print_result(data, json, text)


@app.command("intraday")
def intraday_charge(sources: Annotated[list[Path], typer.Argument(help="Folders of finished runs (a snapshot each), and CSVs: timestamp, account_id, risk.", metavar="SNAPSHOTS ...")],
                    rules: Annotated[Path | None, typer.Option(help="Windows, look-back and call (TOML); OCC's without it.")] = None,
                    day: Annotated[str, typer.Option(help="Local date the charge is for; blank: that of the last snapshot.")] = "", json: Json = False) -> None:
    """Intraday risk charge as OCC defines it: last month's average daily peak of the risk taken on inside the day, and who may be called."""
    from upm_gpu.desk.calls.intraday_command import intraday_command

    data, text = intraday_command(sources, rules, day)
    print_result(data, json, text)


@app.command("statement")
def account_statement(folder: Run, out: Annotated[Path, typer.Option(help="Folder to create.")], account: Annotated[list[str] | None, typer.Option(help="Account id; may be given again.")] = None,
                      every: Annotated[bool, typer.Option("--all", help="Every account.")] = False, ladder: LadderFile = None, before: Before = None, json: Json = False) -> None:
    """A statement for each account: one page ready to be printed, and a CSV. None shows another account."""
    from upm_gpu.desk.calls.statement_command import statement_command

    data, text = statement_command(folder, account or [], every, ladder, before, out)
    print_result(data, json, text)
