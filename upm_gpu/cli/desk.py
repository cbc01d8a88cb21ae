"""Questions to a finished run: `upm whatif`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upm_gpu.cli.app import Json, Quiet, app, print_result


@app.command()
def whatif(
    folder: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")],
    account: Annotated[str | None, typer.Option(help="Account id.")] = None,
    order: Annotated[list[str] | None, typer.Option(help="INSTRUMENT:QTY, signed contracts; may be given again.")] = None,
    open_order: Annotated[list[str] | None, typer.Option(help="INSTRUMENT:QTY of a resting order, margined by its worst fill; may be given again.")] = None,
    instrument: Annotated[list[str] | None, typer.Option(help="An instrument that the book does not list: KEY=VALUE,... of its terms (like=ID copies those of another), or a CSV, Parquet, JSON or TOML file; may be given again.")] = None,
    deposit: Annotated[list[str] | None, typer.Option(help="ASSET:QTY of collateral, negative to withdraw; may be given again.")] = None,
    netting_set: Annotated[str, typer.Option(help="Netting set of the orders.")] = "",
    file: Annotated[Path | None, typer.Option(help="CSV, Parquet or JSON of trade sets: account_id, kind (order, open_order, deposit, transfer), name, quantity [, set, netting_set, to_account].")] = None,
    premium: Annotated[str, typer.Option(help="cash: options and spot are paid at today's model value in the reporting currency; none: not paid.")] = "cash",
    max_age: Annotated[float | None, typer.Option(help="Refuse a run whose market is older, in minutes.")] = None,
    market: Annotated[str | None, typer.Option(help="Market folder of the same moment in which quotes moved: what depends on them is priced again; refused where a full run is due.")] = None,
    fast: Annotated[bool, typer.Option(help="Do not hash the unit P&L that the run kept (output.store_pnl); everything else is verified.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Margin before and after orders, deposits and transfers, from the scenarios of a run: to the bit what a new run would say."""
    from upm_gpu.desk.command import answer_command

    data, page, said = answer_command(folder, account, order or [], deposit or [], netting_set, file, premium, max_age, instrument or [], open_order or [], fast, market)
    if not quiet:
        typer.echo(said, err=True)
    print_result(data, json, page)
