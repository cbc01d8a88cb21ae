"""Laws of a history: `upm calibrate copula`, `jumps`, `factors`, `dynamics`, `stressed-period`."""

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
def copula(history: History, out: Out, assets: Assets = "", filter: Annotated[str, typer.Option(help="ewma: returns over yesterday's volatility; none: plain returns.")] = "ewma", page: Page = None, json: Json = False) -> None:
    """Student-t marginals and a t copula, with standard errors; correlations by Kendall's tau."""
    from upm_gpu.calibrate.history_files import calibrate_copula, render_history_summary

    summary = calibrate_copula(history, out, _names(assets), filter)
    seen = summary.pop("residuals")
    if page is not None:
        from upm_gpu.fits.laws import page_of_copula

        page_of_copula(page, summary, seen, history, sys.argv)
    print_result(summary, json, "" if json else render_history_summary(summary))


@calibrate_app.command("jumps")
def jumps(history: History, out: Out, assets: Assets = "", page: Page = None, json: Json = False) -> None:
    """Merton's jumps, market-wide with loadings and of each asset's own, by maximum likelihood."""
    from upm_gpu.calibrate.history_files import calibrate_jumps, render_history_summary

    summary = calibrate_jumps(history, out, _names(assets))
    seen = summary.pop("residuals")
    if page is not None:
        from upm_gpu.fits.laws import page_of_jumps

        page_of_jumps(page, summary, seen, history, sys.argv)
    print_result(summary, json, "" if json else render_history_summary(summary))


@calibrate_app.command("factors")
def factors(history: History, out: Out, assets: Assets = "", factors: Annotated[int, typer.Option(help="Common factors; 0: as many as stand out of noise.", min=0)] = 0, estimator: Estimator = "ewma", ewma_lambda: Lambda = 0.97,
            shrinkage: Annotated[str, typer.Option(help="none, constant_correlation or identity; blank: constant_correlation for ledoit_wolf.")] = "", page: Page = None, json: Json = False) -> None:
    """A factor model of the correlations: loadings, specific shares and what the factors explain, with standard errors."""
    from upm_gpu.fits.factors import calibrate_factors, render_factors

    summary = calibrate_factors(history, out, _names(assets), factors, estimator, ewma_lambda, shrinkage, page, sys.argv)
    print_result(summary, json, "" if json else render_factors(summary))


@calibrate_app.command("dynamics")
def dynamics(sources: Annotated[list[str], typer.Argument(help="Tables of daily chain snapshots, and histories with the series IV30, SKEW30, SLOPE30 (file, market folder or sample:NAME); several are joined.")], out: Out, underlying: Assets = "", estimator: Annotated[str, typer.Option(help="Weights of the days: ewma or equal.")] = "ewma", ewma_lambda: Lambda = 0.97,
             volatility_dynamics: Annotated[str, typer.Option(help="Of the runs to come: sticky_moneyness, sticky_strike or sticky_delta.")] = "sticky_moneyness",
             reversion: Annotated[str, typer.Option(help="tested: where a random walk is rejected; estimated; or none.")] = "tested",
             series: Annotated[Path | None, typer.Option(help="CSV to write: the daily series as a history, for the next time.")] = None, page: Page = None, json: Json = False) -> None:
    """How volatility surfaces move: level, skew and slope from daily chains, their reversion and their correlation with spot."""
    from upm_gpu.fits.dynamics import Request, calibrate_dynamics, render_dynamics

    summary = calibrate_dynamics(Request(tuple(sources), out, tuple(_names(underlying)), estimator, ewma_lambda, volatility_dynamics, reversion, series, page, tuple(sys.argv)))
    print_result(summary, json, "" if json else render_dynamics(summary))


@calibrate_app.command("stressed-period")
def stressed_period(history: History, out: Annotated[Path, typer.Option(help="Methodology TOML to write.")],
                    methodology: Annotated[str, typer.Option(help="Methodology that the period is written into.")] = "configs/methodology/house_v1.toml",
                    portfolio: Annotated[str, typer.Option(help="Values held, such as BTC:1,ETH:-0.5; blank: every price in equal parts.")] = "",
                    window: Annotated[int, typer.Option(help="Daily losses of a window.")] = 250,
                    measure: Annotated[str, typer.Option(help="expected_shortfall, value_at_risk or volatility.")] = "expected_shortfall",
                    level: Annotated[float, typer.Option(help="Confidence of the first two.")] = 0.975, horizon: Annotated[int, typer.Option(help="Closes that a loss runs over.")] = 1,
                    since: Annotated[str, typer.Option(help="First day of the history to look at.")] = "", page: Page = None, json: Json = False) -> None:
    """The window in which a portfolio would have lost most, written into a methodology as its stressed period."""
    from upm_gpu.fits.stressed_period import Request, calibrate_stressed_period, render_stressed_period

    summary = calibrate_stressed_period(Request(history, out, methodology, portfolio, window, measure, level, horizon, since, page, tuple(sys.argv)))
    print_result(summary, json, "" if json else render_stressed_period(summary))


def _names(text: str) -> list[str]:
    return [a.strip() for a in text.split(",") if a.strip()]
