"""Why an account needs its margin: `upm why`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upm_gpu.cli.app import Json, Quiet, app, print_result

Run = Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")]
Account = Annotated[str, typer.Option(help="Account id.")]


@app.command("why")
def why_account(folder: Run, account: Account,
                incremental: Annotated[bool, typer.Option(help="Close every position once: what the margin would be without it.")] = True,
                factors: Annotated[bool, typer.Option(help="Part the core by risk factor.")] = True, json: Json = False, quiet: Quiet = False) -> None:
    """What every position, underlying, factor and charge adds to an account's margin, with standard errors; all sums exact."""
    from upm_gpu.desk.why_command import why_command

    data, page, said = why_command(folder, account, incremental, factors)
    if not quiet:
        typer.echo(said, err=True)
    print_result(data, json, page)
