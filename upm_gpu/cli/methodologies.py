"""One book under several rule books, and margins over days: `upm compare`, `responsiveness`, `simm`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upm_gpu.cli.app import Json, Quiet, app, print_result


@app.command()
def compare(
    methodologies: Annotated[str, typer.Option(help="One or more, separated by commas: files, or names of those that ship (house, derive_pmrm2_v2). Differences are against the first.")],
    book: Annotated[str | None, typer.Option(help="Book folder, or sample:crypto.")] = None,
    market: Annotated[str | None, typer.Option(help="Market folder, or sample:crypto.")] = None,
    config: Annotated[Path | None, typer.Option(help="Run configuration (TOML): model and scenarios of the Monte Carlo methodologies.")] = None,
    paths: Annotated[str | None, typer.Option("--paths", help="Number of scenarios.")] = None,
    seed: Annotated[str | None, typer.Option(help="64-bit seed.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or reference.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to create: tables, explanation, checksums.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """One book under one or several methodologies, rule books among them, or under two versions of one, and why they differ."""
    from upm_gpu import job

    overrides = {"book.path": book, "market.path": market, "scenarios.count": paths, "scenarios.seed": seed, "compute.device": device}
    found, page = job.compare(config, {k: v for k, v in overrides.items() if v is not None}, methodologies, out, quiet)
    print_result(found, json, page)


@app.command()
def responsiveness(runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs of several days.", metavar="RUN RUN ...")],
                   out: Annotated[Path | None, typer.Option(help="CSV to write: every account.")] = None,
                   means: Annotated[Path | None, typer.Option(help="CSV to write: the one-year mean of each unit's core, which goes into a book folder as margin_means.csv.")] = None, json: Json = False) -> None:
    """Peak to trough and the largest rises of the margins over days, by account and in total."""
    from upm_gpu.margin_history import responsiveness as of_runs

    summary, text = of_runs(runs, out, means)
    print_result(summary, json, text)


@app.command()
def simm(crif: Annotated[Path, typer.Argument(help="Sensitivities in CRIF columns (CSV).")],
         version: Annotated[str, typer.Option(help="Version of the calibration, such as 2.6, or a calibration file.")] = "2.6",
         days: Annotated[int, typer.Option(help="Margin period: 10 or 1.")] = 10,
         currency: Annotated[str, typer.Option(help="Calculation currency: it has no FX risk of its own.")] = "USD",
         side: Annotated[str, typer.Option(help="call (margin to collect) or post.")] = "call", json: Json = False) -> None:
    """ISDA SIMM of a CRIF: the whole tree down to the buckets."""
    from upm_gpu.rulebook.simm.tree import render, simm_report

    made = simm_report(crif, version, days, currency, side)
    if json:
        print_result(made, True, "")
    else:
        typer.echo(render(made), nl=False)
