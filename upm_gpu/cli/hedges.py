"""What to do about a margin: `upm reduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upm_gpu.cli.app import Json, app, print_result

Folder = Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")]
AccountId = Annotated[str, typer.Option(help="Account id.")]
Terms = Annotated[Path | None, typer.Option("--trading", help="TOML of costs, limits and steps of orders; default: configs/desk/trading_crypto_v1.toml.")]
NettingSet = Annotated[str, typer.Option(help="Netting set of the orders.")]


@app.command()
def reduce(
    folder: Folder,
    account: AccountId,
    free: Annotated[float | None, typer.Option(help="Initial margin to free, reporting currency.")] = None,
    ratio: Annotated[float | None, typer.Option(help="Equity over maintenance margin to reach.")] = None,
    passes: Annotated[bool, typer.Option("--pass", help="Equity is to cover the initial margin.")] = False,
    netting_set: NettingSet = "",
    trading: Terms = None,
    only: Annotated[list[str] | None, typer.Option(help="Instrument that may be traded; may be given again. Default: all that somebody holds.")] = None,
    also: Annotated[list[str] | None, typer.Option(help="Listed instrument that nobody holds and that may be traded too; may be given again.")] = None,
    trades: Annotated[int, typer.Option(help="Trades at most; 0: any number.")] = 0,
    ticket: Annotated[float, typer.Option(help="Cost of each trade beside half spread and fee.")] = 0.0,
    json: Json = False,
) -> None:
    """The cheapest listed trades that free margin, reach a ratio or end a call, verified by an exact what-if."""
    from upm_gpu.desk.hedge_command import reduce_command

    data, page = reduce_command(folder, account, free, ratio, passes, netting_set, trading, only or [], also or [], trades, ticket)
    print_result(data, json, page)
