"""What to do about a margin, and what it may be tomorrow: `upm reduce`, `upm largest-order`, `upm collateral`, `upm margin-at-risk`, `upm liquidation-probability`."""

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
    from upm_gpu.desk.hedging.hedge_command import reduce_command

    data, page = reduce_command(folder, account, free, ratio, passes, netting_set, trading, only or [], also or [], trades, ticket)
    print_result(data, json, page)


@app.command()
def largest_order(
    folder: Folder,
    account: AccountId,
    instrument: Annotated[str, typer.Option(help="Listed instrument.")],
    side: Annotated[str, typer.Option(help="buy or sell.")],
    netting_set: NettingSet = "",
    trading: Terms = None,
    json: Json = False,
) -> None:
    """The largest order in one instrument after which equity still covers the initial margin, costs paid."""
    from upm_gpu.desk.hedging.orders_command import largest_order_command

    data, page = largest_order_command(folder, account, instrument, side, netting_set, trading)
    print_result(data, json, page)


@app.command()
def collateral(folder: Folder, account: AccountId, trading: Terms = None, json: Json = False) -> None:
    """Which exchange of collateral helps most, and over which netting sets it stands best."""
    from upm_gpu.desk.hedging.orders_command import collateral_command

    data, page = collateral_command(folder, account, trading)
    print_result(data, json, page)


Accounts = Annotated[list[str] | None, typer.Option("--account", help="Account id; may be given again. Default: all.")]
Ahead = Annotated[float, typer.Option(help="Days ahead, of the run's clock.")]
Count = Annotated[int, typer.Option("--paths", help="Scenarios of the run that are walked; 0: all, at most 20,000.")]
Points = Annotated[int, typer.Option(help="Fresh runs of tomorrow that the regression stands on; 0: four a function.")]
Inner = Annotated[int, typer.Option(help="Scenarios of each of them; 0: the run's, at most 10,000.")]
Top = Annotated[int, typer.Option(help="Accounts listed; JSON has all.")]
Page = Annotated[Path | None, typer.Option(help="HTML page to write: charts and the accounts listed.")]


@app.command()
def margin_at_risk(folder: Folder, account: Accounts = None, days: Ahead = 1.0, paths: Count = 0, points: Points = 0, inner: Inner = 0, top: Top = 20, page: Page = None, json: Json = False) -> None:
    """The distribution of tomorrow's margin and of what will be called, by account and for the house."""
    from upm_gpu.desk.outlook.outlook_command import margin_at_risk_command

    data, text = margin_at_risk_command(folder, account or [], days, paths, points, inner, top, page)
    print_result(data, json, text)


@app.command()
def liquidation_probability(
    folder: Folder,
    account: Accounts = None,
    days: Ahead = 1.0,
    steps: Annotated[int, typer.Option(help="Equal steps to there; a breach is seen at their ends.")] = 8,
    maintenance: Annotated[str, typer.Option(help="regressed: the margin follows the market, by fresh runs of tomorrow; constant: today's all along.")] = "regressed",
    paths: Count = 0,
    points: Points = 0,
    inner: Inner = 0,
    top: Top = 20,
    page: Page = None,
    json: Json = False,
) -> None:
    """The chance that equity falls through the maintenance margin, by account: the early-warning list."""
    from upm_gpu.desk.outlook.outlook_command import liquidation_command

    data, text = liquidation_command(folder, account or [], days, steps, paths, maintenance, points, inner, top, page)
    print_result(data, json, text)
