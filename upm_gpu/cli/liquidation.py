"""Default and liquidation of accounts of a finished run: `upm liquidate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upm_gpu.cli.app import Json, Quiet, app, print_result


@app.command()
def liquidate(
    folder: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")],
    scenario: Annotated[str | None, typer.Option(help='What comes: moves ("BTC -40 %", "everything -20 %, volatility +50 %"), a stress of the report by name, or the number of a scenario of the run.')] = None,
    tail: Annotated[str | None, typer.Option(help="In place of it: along each of the N worst scenarios of the house, or all of its tail.", metavar="N|all")] = None,
    rules: Annotated[str | None, typer.Option(help="venue, clearing, or a liquidation file (TOML): impact, spreads, pace, auction, funds, waterfall.")] = None,
    compare: Annotated[str, typer.Option(help="Ways of closing: sequenced, pro-rata, by-size, auction.")] = "sequenced,pro-rata",
    out: Annotated[Path | None, typer.Option(help="Folder to create: tables and liquidation.html.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Close what falls, step by step: market impact, calls after calls, funds, until it settles."""
    from upm_gpu.liquidation.command import liquidate_command

    data, page, said = liquidate_command(folder, scenario, tail, rules, compare, out, quiet)
    if not quiet:
        typer.echo(said, err=True)
    print_result(data, json, page)
