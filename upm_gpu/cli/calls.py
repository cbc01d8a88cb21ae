"""What follows from a margin: `upm calls`, `upm statement`."""

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
    from upm_gpu.desk.ladder_command import calls_command

    data, text = calls_command(folder, ladder, issued, before, out)
    print_result(data, json, text)


@app.command("statement")
def account_statement(folder: Run, out: Annotated[Path, typer.Option(help="Folder to create.")], account: Annotated[list[str] | None, typer.Option(help="Account id; may be given again.")] = None,
                      every: Annotated[bool, typer.Option("--all", help="Every account.")] = False, ladder: LadderFile = None, before: Before = None, json: Json = False) -> None:
    """A statement for each account: one page ready to be printed, and a CSV. None shows another account."""
    from upm_gpu.desk.statement_command import statement_command

    data, text = statement_command(folder, account or [], every, ladder, before, out)
    print_result(data, json, text)
