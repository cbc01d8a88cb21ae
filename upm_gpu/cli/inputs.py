"""Inputs made and the machine looked at: `upm import`, `upm generate`, `upm doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upm_gpu.cli.app import Json, app, generate_app, import_app, print_result


@import_app.command("deribit")
def import_deribit(file: Annotated[Path, typer.Argument(help="Chain snapshot: tidy CSV or the exchange's JSON.")],
                   out: Annotated[Path, typer.Option(help="Folder to write: market/ and instruments.")],
                   instruments: Annotated[Path | None, typer.Option(help="JSON of public/get_instruments, where the chain lacks the terms.")] = None,
                   history: Annotated[str | None, typer.Option(help="History file, or a market folder or sample:NAME, whose closes before this chain are kept; the chain's own are added.")] = None,
                   json: Json = False) -> None:
    """A public option-chain snapshot to a market and instruments."""
    from upm_gpu import job

    summary = job.import_deribit(file, out, instruments, history)
    print_result(summary, json, ", ".join(f"{k}: {v}" for k, v in summary.items()))


@generate_app.command("book")
def generate_book(market: Annotated[Path, typer.Option(help="Market folder with an instruments file, or sample:crypto.")],
                  out: Annotated[Path, typer.Option(help="Book folder to write.")],
                  accounts: Annotated[int, typer.Option(help="Number of accounts.", min=1, max=1_000_000)] = 2000,
                  seed: Annotated[int, typer.Option(help="Seed.", min=0)] = 1, json: Json = False) -> None:
    """A synthetic book over real instruments, sizes following open interest."""
    from upm_gpu import job

    summary = job.generate_book(market, out, accounts, seed)
    print_result(summary, json, ", ".join(f"{k}: {v}" for k, v in summary.items()))


@app.command()
def doctor(json: Json = False) -> None:
    """What runs here and, with a reason code, what does not."""
    from upm_gpu.doctor import examine, render

    found = examine()
    if json:
        print_result(found, True, "")
    else:
        render(found)
