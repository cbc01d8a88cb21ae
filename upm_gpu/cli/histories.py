"""Laws of a history: `upm calibrate copula`, `jumps`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upm_gpu.cli.app import Json, calibrate_app, print_result

History = Annotated[str, typer.Argument(help="History file or market folder, or sample:NAME.")]
Out = Annotated[Path, typer.Option(help="Parameter TOML to write.")]
Assets = Annotated[str, typer.Option(help="Underlyings, separated by commas; blank takes every one with a price.")]


@calibrate_app.command("copula")
def copula(history: History, out: Out, assets: Assets = "", filter: Annotated[str, typer.Option(help="ewma: returns over yesterday's volatility; none: plain returns.")] = "ewma", json: Json = False) -> None:
    """Student-t marginals and a t copula, with standard errors; correlations by Kendall's tau."""
    from upm_gpu.calibrate.history_files import calibrate_copula, render_history_summary

    summary = calibrate_copula(history, out, [a.strip() for a in assets.split(",") if a.strip()], filter)
    print_result(summary, json, "" if json else render_history_summary(summary))


@calibrate_app.command("jumps")
def jumps(history: History, out: Out, assets: Assets = "", json: Json = False) -> None:
    """Merton's jumps, market-wide with loadings and of each asset's own, by maximum likelihood."""
    from upm_gpu.calibrate.history_files import calibrate_jumps, render_history_summary

    summary = calibrate_jumps(history, out, [a.strip() for a in assets.split(",") if a.strip()])
    print_result(summary, json, "" if json else render_history_summary(summary))
