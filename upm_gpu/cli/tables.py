"""Value tables for the markets to come: `upm tables`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upm_gpu.cli.app import Json, app, print_result


@app.command()
def tables(
    config: Annotated[Path | None, typer.Argument(help="Run configuration (TOML): its book, market, model and scenarios say what is covered.")] = None,
    out: Annotated[Path, typer.Option(help="File to write; give it to later runs with upm run --tables.")] = Path("tables.upm"),
    days: Annotated[float, typer.Option(help="How much later a market may be.")] = 5.0,
    rate: Annotated[float, typer.Option(help="How far interest may move, a year, either way.")] = 0.005,
    dividend: Annotated[float, typer.Option(help="How far a yield may move, a year, either way.")] = 0.0025,
    level: Annotated[float, typer.Option(help="How far levels may move, log, either way.")] = 0.1,
    volatility: Annotated[float, typer.Option(help="How far volatilities may move, log, either way.")] = 0.3,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or reference.")] = "auto",
    json: Json = False,
) -> None:
    """Make the value tables of a book once, for every run until the market leaves their range."""
    from upm_gpu.pricing.library_build import Margins
    from upm_gpu.table_job import make_tables

    found = make_tables(config, out, Margins(days, rate, dividend, level, volatility), device)
    left = [f"  without: {name}" for name in found["left_out"]]
    print_result(found, json, "\n".join([f"{found['file']}: {found['entries']} entries, {found['values']:,} values, errors within {found['largest_error_per_strike']:.1e} of strike; {found['seconds']:.1f} s", *left]))
