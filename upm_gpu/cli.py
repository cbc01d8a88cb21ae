"""The command line: `upm`. stdout is data, stderr is progress and messages.

Only typer is imported at the top, so that `upm --help` answers at once; every command imports the room it needs.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(name="upm", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="Monte Carlo portfolio margin: one risk-based requirement for the whole account.")
calibrate_app = typer.Typer(no_args_is_help=True, help="Data in, parameters out.")
import_app = typer.Typer(no_args_is_help=True, help="Exchange files to a market and instruments.")
generate_app = typer.Typer(no_args_is_help=True, help="Synthetic inputs.")
app.add_typer(calibrate_app, name="calibrate")
app.add_typer(import_app, name="import")
app.add_typer(generate_app, name="generate")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, no messages but errors.")]


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
                 "compute.device": device, "compute.precision": precision, "compute.chunk": chunk, "compute.threads": threads, "output.path": out}
    chosen = {k: v for k, v in overrides.items() if v is not None}
    for key, value in chosen.items():
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise UsageError("UPM-CF-076", f"command line ({key}): {value!a} is not UTF-8 text. Give it in UTF-8.")
    if show_config:
        typer.echo(job.shown_config(config, chosen), nl=False)
        return
    _finish(job.run(config, chosen, quiet=quiet, fail_on=fail_on), json, quiet)


@app.command()
def resume(folder: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")], json: Json = False, quiet: Quiet = False) -> None:
    """Go on after a crash: the same bytes as a run that was never stopped."""
    from upm_gpu import job

    _finish(job.resume(folder, quiet=quiet), json, quiet)


@app.command()
def verify(folder: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")], json: Json = False) -> None:
    """Check every checksum of a finished run."""
    from upm_gpu.run.verify import verify_run

    report = verify_run(folder)
    _print(report, json, f"{folder}: {report.get('files', 0)} files, every checksum as written")


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
        _print(found | ({"histogram": shown} if shown else {}), True, "")
        return
    render_explain(found)
    if shown:
        import shutil

        from upm_gpu.histogram import render_histogram

        typer.echo(render_histogram(shown, shutil.get_terminal_size().columns), nl=False)


@app.command()
def whatif(
    folder: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")],
    account: Annotated[str | None, typer.Option(help="Account id.")] = None,
    order: Annotated[list[str] | None, typer.Option(help="INSTRUMENT:QTY, signed contracts; may be given again.")] = None,
    deposit: Annotated[list[str] | None, typer.Option(help="ASSET:QTY of collateral, negative to withdraw; may be given again.")] = None,
    netting_set: Annotated[str, typer.Option(help="Netting set of the orders.")] = "",
    file: Annotated[Path | None, typer.Option(help="CSV of trade sets: account_id, kind (order, deposit, transfer), name, quantity [, set, netting_set, to_account].")] = None,
    premium: Annotated[str, typer.Option(help="cash: options and spot are paid at today's model value in the reporting currency; none: not paid.")] = "cash",
    max_age: Annotated[float | None, typer.Option(help="Refuse a run whose market is older, in minutes.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Margin before and after orders, deposits and transfers, from the scenarios of a run: to the bit what a new run would say."""
    from upm_gpu.desk.command import answer_command

    data, page, said = answer_command(folder, account, order or [], deposit or [], netting_set, file, premium, max_age)
    if not quiet:
        typer.echo(said, err=True)
    _print(data, json, page)


@app.command()
def compare(
    methodologies: Annotated[str, typer.Option(help="Two or more, separated by commas: files, or names of those that ship (house, derive_pmrm2_v2). Differences are against the first.")],
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
    """One book under several methodologies, or under two versions of one, and why they differ."""
    from upm_gpu import job

    overrides = {"book.path": book, "market.path": market, "scenarios.count": paths, "scenarios.seed": seed, "compute.device": device}
    found, page = job.compare(config, {k: v for k, v in overrides.items() if v is not None}, methodologies, out, quiet)
    _print(found, json, page)


@app.command()
def responsiveness(runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs of several days.", metavar="RUN RUN ...")],
                   out: Annotated[Path | None, typer.Option(help="CSV to write: every account.")] = None,
                   means: Annotated[Path | None, typer.Option(help="CSV to write: the one-year mean of each unit's core, which goes into a book folder as margin_means.csv.")] = None, json: Json = False) -> None:
    """Peak to trough and the largest rises of the margins over days, by account and in total."""
    from upm_gpu.margin_history import responsiveness as of_runs

    summary, text = of_runs(runs, out, means)
    _print(summary, json, text)


@app.command()
def price(cases: Annotated[Path, typer.Argument(help="CSV of cases.")], device: Annotated[str, typer.Option(help="cpu, cuda or reference.")] = "cpu",
          out: Annotated[Path | None, typer.Option(help="File to write; stdout without it.")] = None) -> None:
    """Value each row with the engine's own pricing functions."""
    from upm_gpu.price_cases import price_cases

    text = price_cases(cases, device=device, out=out)
    if out is None:
        sys.stdout.write(text)


@app.command()
def simulate(spec: Annotated[Path, typer.Argument(help="Run configuration: [market], [model] and [scenarios] are read.")],
             out: Annotated[Path, typer.Option(help="Parquet file: one row a (scenario, step), one column a factor.")],
             device: Annotated[str, typer.Option(help="auto, cpu, cuda or reference.")] = "auto", quiet: Quiet = False) -> None:
    """Only the factor scenarios, for inspection."""
    from upm_gpu import job

    job.simulate(spec, out, device, quiet)


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
        _print(made, True, "")
    else:
        typer.echo(render(made), nl=False)


@app.command()
def backtest(config: Annotated[Path, typer.Argument(help="Back-test configuration (TOML), such as configs/backtest/crypto_linear.toml.")],
             out: Annotated[Path | None, typer.Option(help="Folder to create.")] = None, json: Json = False, quiet: Quiet = False) -> None:
    """Rolling out-of-sample margins against the losses that came: coverage, shortfall and density tests, a league of models."""
    from upm_gpu import job

    found, page = job.backtest(config, out, quiet)
    _print(found, json, page)


@app.command()
def doctor(json: Json = False) -> None:
    """What runs here and, with a reason code, what does not."""
    from upm_gpu.doctor import examine, render

    found = examine()
    if json:
        _print(found, True, "")
    else:
        render(found)


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
    _print(summary, json, f"{out}: {len(summary['factors'])} factors; " + "; ".join(summary["notes"]))


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
    json: Json = False,
) -> None:
    """GARCH(1,1) or GJR-GARCH(1,1) of percent returns by maximum likelihood."""
    from upm_gpu import job
    from upm_gpu.calibrate.garch_file import render_summary

    summary = job.calibrate_garch(history, out, asset, model, mean, distribution, errors, clock)
    _print(summary, json, "" if json else render_summary(summary))


@import_app.command("deribit")
def import_deribit(file: Annotated[Path, typer.Argument(help="Chain snapshot: tidy CSV or the exchange's JSON.")],
                   out: Annotated[Path, typer.Option(help="Folder to write: market/ and instruments.")],
                   instruments: Annotated[Path | None, typer.Option(help="JSON of public/get_instruments, where the chain lacks the terms.")] = None,
                   history: Annotated[str | None, typer.Option(help="History file, or a market folder or sample:NAME, whose closes before this chain are kept; the chain's own are added.")] = None,
                   json: Json = False) -> None:
    """A public option-chain snapshot to a market and instruments."""
    from upm_gpu import job

    summary = job.import_deribit(file, out, instruments, history)
    _print(summary, json, ", ".join(f"{k}: {v}" for k, v in summary.items()))


@generate_app.command("book")
def generate_book(market: Annotated[Path, typer.Option(help="Market folder with an instruments file, or sample:crypto.")],
                  out: Annotated[Path, typer.Option(help="Book folder to write.")],
                  accounts: Annotated[int, typer.Option(help="Number of accounts.", min=1, max=1_000_000)] = 2000,
                  seed: Annotated[int, typer.Option(help="Seed.", min=0)] = 1, json: Json = False) -> None:
    """A synthetic book over real instruments, sizes following open interest."""
    from upm_gpu import job

    summary = job.generate_book(market, out, accounts, seed)
    _print(summary, json, ", ".join(f"{k}: {v}" for k, v in summary.items()))


def _finish(outcome: Any, json: bool, quiet: bool) -> None:
    """Print the summary of a run and leave with its exit code."""
    if json:
        _print(outcome.summary, True, "")
    elif not quiet:
        for line in outcome.lines:
            typer.echo(line)
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


def _print(value: Any, json: bool, text: str) -> None:
    if not json:
        typer.echo(text)
        return
    import json as codec

    typer.echo(codec.dumps(value, indent=2, sort_keys=True, default=str, allow_nan=False))


class Stopped(BaseException):
    """SIGINT or SIGTERM outside an open run folder. Not KeyboardInterrupt: the command parser turns that into an exit code of its own."""


def main() -> None:
    """Entry point: every failure a user can meet becomes one message and an exit code, never a traceback."""
    import signal

    def stop(number: int, frame: object) -> None:
        raise Stopped

    _open_streams()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # an id that the terminal cannot show is no failure
        code = _run_app()
    except (Stopped, KeyboardInterrupt):
        code = _fail("UPM-RN-070 stopped on request before a run folder was begun or after it was finished; nothing is half written. Give the command again.", 8)
    finally:
        for number, old in before.items():
            signal.signal(number, old)
    sys.exit(code)


def _open_streams() -> None:
    """Streams that were closed by whoever started this: open them to nowhere, lest a result file get their number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _run_app() -> int:
    """The exit code of the command line, its failures told on stderr."""
    from upm_gpu.errors import UpmError

    try:
        try:
            code = app(prog_name="upm", standalone_mode=False)
        except SystemExit as error:
            if isinstance(error.__context__, BrokenPipeError):
                raise error.__context__ from None
            raise
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except UpmError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:  # whoever read the output has seen enough
        _discard_stdout()
        return 0
    except MemoryError:
        return _fail("UPM-CP-001 out of memory. Give a smaller --chunk, fewer --paths or a smaller book.", 7)
    except Exception as error:
        if hasattr(error, "format_message"):  # the command parser's own complaints
            return _usage(error)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _discard_stdout()
            return _fail(f"UPM-CP-002 {error.filename or 'standard output'}: no space left. Free some and give the command again.", 7)
        if os.environ.get("UPM_DEBUG"):
            raise
        return _fail(f"UPM-XX-001 internal fault ({type(error).__name__}: {error}). Nothing finished is lost. Set UPM_DEBUG=1 for the traceback and report it.", 1)


def _usage(error: Any) -> int:
    """A command line that cannot be parsed: what is wrong and where to look."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "upm"
    text = error.format_message().strip()
    if type(error).__name__ == "NoArgsIsHelpError":  # the help has been shown
        return 2
    return _fail(f"UPM-CF-075 {command}: {text.rstrip('.')}. `{command} --help` lists what it takes.", 2)


def _fail(message: str, code: int) -> int:
    """One message on stderr, control characters made visible."""
    typer.echo("".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in message), err=True)
    return code


def _discard_stdout() -> None:
    """What is still buffered cannot be written: send it nowhere, so that the interpreter does not complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    main()
