"""What lies behind a margin: `upm why`, `upm surface`, `upm diff`."""

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
    from upm_gpu.desk.explain.why_command import why_command

    data, page, said = why_command(folder, account, incremental, factors)
    if not quiet:
        typer.echo(said, err=True)
    print_result(data, json, page)


@app.command("surface")
def account_surface(folder: Run, account: Account,
                    underlying: Annotated[str, typer.Option(help="One underlying, or all (together); blank: each that the account holds.")] = "",
                    price: Annotated[str, typer.Option(help="Moves of the price in percent: LOW:HIGH:COUNT or a list; blank: those of the report.")] = "",
                    volatility: Annotated[str, typer.Option(help="Moves of the 30-day volatility in percent of itself, likewise.")] = "",
                    days: Annotated[float, typer.Option(help="Days that pass while the market stays where it moved.")] = 0.0,
                    page: Annotated[Path | None, typer.Option(help="HTML page to write, with heat maps.")] = None, json: Json = False) -> None:
    """P&L of an account over moves of price and volatility, priced by the engine."""
    from upm_gpu.desk.explain.surface_command import surface_command

    data, text = surface_command(folder, account, underlying, price, volatility, days, page)
    print_result(data, json, text)


@app.command("diff")
def diff_runs(first: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN_A")], second: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN_B")],
              order: Annotated[str, typer.Option(help="Parts in the order in which they change.")] = "trades,market,model,sampling,methodology",
              out: Annotated[Path | None, typer.Option(help="Folder to create: difference.html, .csv, .json.")] = None, json: Json = False) -> None:
    """Why two runs differ: the share of trades, market, model, sampling and methodology in the change of every margin."""
    from upm_gpu.desk.explain.difference_words import difference_command

    data, text = difference_command(first, second, order, out)
    print_result(data, json, text)
