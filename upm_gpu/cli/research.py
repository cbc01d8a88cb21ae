"""Models against quotes and history: `upm price`, `backtest`, `calibrate ...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from upm_gpu.cli.app import Json, Quiet, app, calibrate_app, print_result


@app.command()
def price(cases: Annotated[Path, typer.Argument(help="CSV of cases.")], device: Annotated[str, typer.Option(help="cpu, cuda or reference.")] = "cpu",
          out: Annotated[Path | None, typer.Option(help="File to write; stdout without it.")] = None) -> None:
    """Value each row with the engine's own pricing functions."""
    from upm_gpu.price_cases import price_cases

    text = price_cases(cases, device=device, out=out)
    if out is None:
        sys.stdout.write(text)


@app.command()
def backtest(config: Annotated[Path, typer.Argument(help="Back-test configuration (TOML), such as configs/backtest/crypto_linear.toml.")],
             out: Annotated[Path | None, typer.Option(help="Folder to create.")] = None, json: Json = False, quiet: Quiet = False) -> None:
    """Rolling out-of-sample margins against the losses that came: coverage, shortfall and density tests, a league of models."""
    from upm_gpu import job

    found, page = job.backtest(config, out, quiet)
    print_result(found, json, page)


@calibrate_app.command("covariance")
def calibrate_covariance(
    history: Annotated[Path, typer.Argument(help="History file or market folder.")],
    out: Annotated[Path, typer.Option(help="Parameter TOML to write.")],
    assets: Annotated[str, typer.Option(help="Underlyings, separated by commas; blank takes every one with a price.")] = "",
    estimator: Annotated[str, typer.Option(help="ewma or ledoit_wolf.")] = "ewma",
    ewma_lambda: Annotated[float, typer.Option(help="Decay of the EWMA.")] = 0.97,
    correlation: Annotated[str, typer.Option(help="sample or kendall.")] = "sample",
    json: Json = False,
) -> None:
    """Daily volatilities and correlations of prices and volatilities."""
    from upm_gpu import job

    summary = job.calibrate_covariance(history, out, assets, estimator, ewma_lambda, correlation)
    print_result(summary, json, f"{out}: {len(summary['factors'])} factors; " + "; ".join(summary["notes"]))


@calibrate_app.command("garch")
def calibrate_garch(
    history: Annotated[Path, typer.Argument(help="History file or market folder, or sample:NAME.")],
    asset: Annotated[str, typer.Option(help="Series of the history, such as BTC; several separated by commas.")],
    out: Annotated[Path, typer.Option(help="Parameter TOML to write.")],
    model: Annotated[str, typer.Option(help="garch or gjr.")] = "garch",
    mean: Annotated[str, typer.Option(help="zero or constant.")] = "zero",
    distribution: Annotated[str, typer.Option(help="normal, student_t or skewed_t.")] = "normal",
    errors: Annotated[str, typer.Option(help="Standard errors: robust or hessian; the file holds both.")] = "robust",
    clock: Annotated[str, typer.Option(help="calendar, sessions, or auto: sessions where weekends have no closes.")] = "auto",
    page: Annotated[Path | None, typer.Option(help="HTML page to write.")] = None,
    json: Json = False,
) -> None:
    """GARCH(1,1) or GJR-GARCH(1,1) of percent returns by maximum likelihood."""
    from upm_gpu import job
    from upm_gpu.calibrate.garch_file import render_summary

    summary = job.calibrate_garch(history, out, asset, model, mean, distribution, errors, clock, page)
    print_result(summary, json, "" if json else render_summary(summary))


@app.command()
def stress(campaign: Annotated[Path, typer.Argument(help="Campaign (TOML), such as configs/campaign/crypto.toml.")],
           out: Annotated[Path | None, typer.Option(help="Folder to create, or to go on with.")] = None, json: Json = False, quiet: Quiet = False) -> None:
    """Many shocks x books: losses, margins after each, who breaks first; the same command goes on with what was stopped."""
    from upm_gpu import job

    found, page = job.stress(campaign, out, quiet)
    print_result(found, json, page)


@app.command()
def query(folder: Annotated[Path, typer.Argument(help="Folder of a run, a campaign or a back-test.", metavar="FOLDER")],
          sql: Annotated[str, typer.Argument(help='Statement, such as "SELECT account_id, initial_margin FROM margin ORDER BY 2 DESC LIMIT 10".')],
          out: Annotated[Path | None, typer.Option(help="CSV or Parquet file to write.")] = None, json: Json = False) -> None:
    """The tables of a folder, asked in SQL."""
    from upm_gpu.query import answer

    rows, text = answer(folder, sql, out)
    print_result(rows, json and out is None, text)
