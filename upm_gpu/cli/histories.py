"""Laws of a history: `upm calibrate copula`, `jumps`, `factors`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from upm_gpu.cli.app import Json, calibrate_app, print_result

History = Annotated[str, typer.Argument(help="History file or market folder, or sample:NAME.")]
Out = Annotated[Path, typer.Option(help="Parameter TOML to write.")]
Assets = Annotated[str, typer.Option(help="Underlyings, separated by commas; blank takes every one with a price.")]
Page = Annotated[Path | None, typer.Option(help="HTML page to write.")]
Estimator = Annotated[str, typer.Option(help="Weights of the days: ewma, or equal; ledoit_wolf: equal and shrunk.")]
Lambda = Annotated[float, typer.Option(help="Decay of the EWMA.")]


@calibrate_app.command("copula")
def copula(history: History, out: Out, assets: Assets = "", filter: Annotated[str, typer.Option(help="ewma: returns over yesterday's volatility; none: plain returns.")] = "ewma", json: Json = False) -> None:
    """Student-t marginals and a t copula, with standard errors; correlations by Kendall's tau."""
    from upm_gpu.calibrate.history_files import calibrate_copula, render_history_summary

    summary = calibrate_copula(history, out, _names(assets), filter)
    print_result(summary, json, "" if json else render_history_summary(summary))


@calibrate_app.command("jumps")
def jumps(history: History, out: Out, assets: Assets = "", json: Json = False) -> None:
    """Merton's jumps, market-wide with loadings and of each asset's own, by maximum likelihood."""
    from upm_gpu.calibrate.history_files import calibrate_jumps, render_history_summary

    summary = calibrate_jumps(history, out, _names(assets))
    print_result(summary, json, "" if json else render_history_summary(summary))


@calibrate_app.command("factors")
def factors(history: History, out: Out, assets: Assets = "", factors: Annotated[int, typer.Option(help="Common factors; 0: as many as stand out of noise.", min=0)] = 0, estimator: Estimator = "ewma", ewma_lambda: Lambda = 0.97,
            shrinkage: Annotated[str, typer.Option(help="none, constant_correlation or identity; blank: constant_correlation for ledoit_wolf.")] = "", page: Page = None, json: Json = False) -> None:
    """A factor model of the correlations: loadings, specific shares and what the factors explain, with standard errors."""
    from upm_gpu.fits.factors import calibrate_factors, render_factors

    summary = calibrate_factors(history, out, _names(assets), factors, estimator, ewma_lambda, shrinkage, page, sys.argv)
    print_result(summary, json, "" if json else render_factors(summary))


def _names(text: str) -> list[str]:
    return [a.strip() for a in text.split(",") if a.strip()]
