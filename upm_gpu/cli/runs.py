"""A run and its folder: `upm run`, `resume`, `verify`, `report`, `explain`, `simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upm_gpu.cli.app import Json, Quiet, app, finish, print_result


@app.command()
def run(
    config: Annotated[Path | None, typer.Argument(help="Run configuration (TOML).")] = None,
    book: Annotated[str | None, typer.Option(help="Book folder, or sample:crypto.")] = None,
    market: Annotated[str | None, typer.Option(help="Market folder, or sample:crypto.")] = None,
    methodology: Annotated[str | None, typer.Option(help="Methodology file.")] = None,
    paths: Annotated[str | None, typer.Option("--paths", help="Number of scenarios.")] = None,
    seed: Annotated[str | None, typer.Option(help="64-bit seed.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or reference.")] = None,
    precision: Annotated[str | None, typer.Option(help="mixed, double or fast.")] = None,
    chunk: Annotated[str | None, typer.Option(help="Scenarios a chunk (rounded up to 4,096).")] = None,
    threads: Annotated[str | None, typer.Option(help="CPU threads; 0 takes all.")] = None,
    tables: Annotated[str | None, typer.Option(help="Value tables of an earlier market, made by upm tables.")] = None,
    surfaces: Annotated[str | None, typer.Option(help="Volatility surfaces of this market, made by upm calibrate surface.")] = None,
    out: Annotated[str | None, typer.Option(help="Run folder to create.")] = None,
    show_config: Annotated[bool, typer.Option("--show-config", help="Print the whole configuration with its defaults and stop.")] = False,
    fail_on: Annotated[str | None, typer.Option(help='"breach": exit 5 when an account is called or liquidated.')] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The main job: validate, simulate, reprice, reduce, margin, report."""
    from upm_gpu import job
    from upm_gpu.errors import UsageError

    overrides = {"book.path": book, "market.path": market, "methodology.file": methodology, "scenarios.count": paths, "scenarios.seed": seed,
                 "compute.device": device, "compute.precision": precision, "compute.chunk": chunk, "compute.threads": threads, "compute.tables": tables, "market.surface_file": surfaces, "output.path": out}
    chosen = {k: v for k, v in overrides.items() if v is not None}
    for key, value in chosen.items():
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise UsageError("UPM-CF-076", f"command line ({key}): {value!a} is not UTF-8 text. Give it in UTF-8.")
    if show_config:
        typer.echo(job.shown_config(config, chosen), nl=False)
        return
    finish(job.run(config, chosen, quiet=quiet, fail_on=fail_on), json, quiet)


@app.command()
def resume(folder: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")], json: Json = False, quiet: Quiet = False) -> None:
    """Go on after a crash: the same bytes as a run that was never stopped."""
    from upm_gpu import job

    finish(job.resume(folder, quiet=quiet), json, quiet)


@app.command()
def verify(folder: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")], json: Json = False) -> None:
    """Check every checksum of a finished run."""
    from upm_gpu.run.verify import verify_run

    report = verify_run(folder)
    print_result(report, json, f"{folder}: {report.get('files', 0)} files, every checksum as written")


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")]) -> None:
    """Build the report again from the run folder."""
    from upm_gpu import job

    typer.echo(str(job.rebuild_report(folder)))


@app.command()
def explain(folder: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")], account: Annotated[str, typer.Option(help="Account id.")],
            histogram: Annotated[bool, typer.Option("--histogram", help="Repeat the run's scenarios for this account and show its P&L.")] = False, json: Json = False) -> None:
    """Charges, worst scenarios with their factor moves, the contribution of every position."""
    from upm_gpu.report import explain as explain_account
    from upm_gpu.report import render_explain

    found = explain_account(folder, account)
    shown = None
    if histogram:
        from upm_gpu.histogram import account_histogram

        shown = account_histogram(folder, account)
    if json:
        print_result(found | ({"histogram": shown} if shown else {}), True, "")
        return
    render_explain(found)
    if shown:
        import shutil

        from upm_gpu.histogram import render_histogram

        typer.echo(render_histogram(shown, shutil.get_terminal_size().columns), nl=False)


@app.command()
def simulate(spec: Annotated[Path, typer.Argument(help="Run configuration: [market], [model] and [scenarios] are read.")],
             out: Annotated[Path, typer.Option(help="Parquet file: one row a (scenario, step), one column a factor.")],
             device: Annotated[str, typer.Option(help="auto, cpu, cuda or reference.")] = "auto", quiet: Quiet = False) -> None:
    """Only the factor scenarios, for inspection."""
    from upm_gpu import job

    job.simulate(spec, out, device, quiet)
