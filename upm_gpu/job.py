"""What a command does from files to files: the run, its resumption, its report, and the smaller jobs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upm_gpu.errors import InputError, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress


@dataclass(frozen=True)
class Finished:
    """What a run says at its end."""

    summary: dict[str, Any]
    lines: tuple[str, ...]
    exit_code: int


def shown_config(path: Path | None, overrides: dict[str, str]) -> str:
    """The whole configuration as TOML, defaults filled in."""
    from upm_gpu.config import load_config, to_toml

    return to_toml(load_config(path, overrides))


def run(path: Path | None, overrides: dict[str, str], quiet: bool = False, fail_on: str | None = None) -> Finished:
    """`upm run`: validate, create the run folder with copies of its inputs, compute, write, report."""
    from upm_gpu.backend.select import choose
    from upm_gpu.config import load_config, to_toml
    from upm_gpu.inputs import gather
    from upm_gpu.run.folder import check_target, create_run
    from upm_gpu.run.manifest import identity

    if fail_on not in (None, "breach"):
        raise UsageError("UPM-CF-071", f'--fail-on "{fail_on}" is not known. Use breach.')
    started = time.perf_counter()
    config = load_config(path, overrides)
    check_target(config.output.path)
    choice = choose(config.compute.device, config.compute.precision, config.compute.threads)
    files = gather(config)
    kept: dict[str, bytes | Path] = {**files.paths, "config.toml": to_toml(config).encode()}
    settings = {"device": choice.name, "precision": choice.precision, "chunk": config.compute.chunk, "command": _command()}
    loaded = _load(config, files, started, datetime.now(UTC))
    with create_run(config.output.path, inputs=kept, settings=settings, identity=identity(), expected=loaded.hashes) as folder:
        if choice.warning:
            folder.warn(choice.warning)
        return _execute(folder, config, loaded, choice, quiet, fail_on, started)


def resume(path: Path, quiet: bool = False) -> Finished:
    """`upm resume`: the same run from its own copies of the inputs, chunks already done taken from the ledger."""
    from upm_gpu.backend.select import choose
    from upm_gpu.config import load_config
    from upm_gpu.inputs import kept_inputs, with_kept
    from upm_gpu.run.resume import open_for_resume

    started = time.perf_counter()
    with open_for_resume(path) as folder:
        if folder.finished:
            return Finished({"run": str(path), "finished": True}, (f"{path}: finished already, nothing to do.",), 0)
        config = load_config(folder.inputs / "config.toml", {})
        choice = choose(str(folder.settings["device"]), str(folder.settings["precision"]), config.compute.threads)
        files = kept_inputs(folder.inputs)
        config = with_kept(config, files)
        loaded = _load(config, files, started, None)
        return _execute(folder, config, loaded, choice, quiet, None, started)


@dataclass(frozen=True)
class _Loaded:
    """Inputs read and compiled: everything that can be refused has been."""

    plan: Any
    next_market: Any
    hashes: dict[str, str]
    timings: dict[str, float]
    now: datetime


def _load(config: Any, files: Any, started: float, now: datetime | None) -> _Loaded:
    """Read and compile; `now` refuses data older than the configuration allows, None (a resumed run) does not ask again."""
    from upm_gpu.config import scenario_spec
    from upm_gpu.domain.reader import load_book
    from upm_gpu.inputs import read_library
    from upm_gpu.margin.methodology import load_methodology
    from upm_gpu.market.reader import check_age, load_market
    from upm_gpu.next_market import load_next
    from upm_gpu.plan import make_plan

    snapshot = load_market(files.market)
    if now is not None:
        check_age(snapshot, now, config.market.max_age_minutes)
    holdings = load_book(files.book, snapshot.valuation_time, config.book.max_reject_share)
    hashes = {f"book/{k}": v for k, v in holdings.hashes.items()} | {f"market/{k}": v for k, v in snapshot.hashes.items()}
    library = read_library(files.library)
    read = time.perf_counter()
    plan = replace(make_plan(holdings, snapshot, scenario_spec(config), load_methodology(files.methodology)), library=library)
    later = load_next(plan, files.next_market) if files.next_market else None
    hashes |= {f"next_market/{k}": v for k, v in later.market.hashes.items()} if later else {}
    return _Loaded(plan, later, hashes, {"read": read - started, "compile": time.perf_counter() - read}, now or datetime.now(UTC))


def _execute(folder: Any, config: Any, loaded: _Loaded, choice: Any, quiet: bool, fail_on: str | None, started: float) -> Finished:
    """Compute and write a run into its open folder."""
    from upm_gpu.desk.keeping import store_unit_pnl
    from upm_gpu.engine import compute_outcome
    from upm_gpu.measuring import FIRST_PASS
    from upm_gpu.outputs import collect
    from upm_gpu.report import render_report
    from upm_gpu.run.chunks import run_chunks
    from upm_gpu.run.finish import finish_run
    from upm_gpu.run.kept_tables import KeptTables

    plan = loaded.plan
    folder.log.info("plan", accounts=len(plan.book.accounts), instruments=len(plan.instruments), scenarios=plan.spec.count, device=choice.name)
    ledger = {"engine": 0.0, "charges": 0.0}
    """seconds of the ledger inside each phase"""
    known = len(folder.warnings)
    for warning in (*folder.warnings, *plan.warnings):
        _say(warning, quiet)

    with _progress(plan.spec.count, quiet) as progress:

        def loop(ranges: Any, compute: Callable, join: Callable, again: int = 0) -> Any:
            done = run_chunks(folder, ranges, compute, join, progress, write_share=None, scenario_set=again)
            ledger["charges" if again >= FIRST_PASS else "engine"] += done.timings["ledger"]
            return done.state

        kept = KeptTables(folder)
        outcome = compute_outcome(plan, choice, config.compute.chunk, loop, shelf=kept)
    if outcome.tables:
        folder.log.info("value tables", made=kept.made, read=kept.read, from_library=sum(t.reused for t in outcome.tables))
    for warning in folder.warnings[known:]:
        _say(warning, quiet)
    timings = {**loaded.timings, **outcome.timings, "ledger": sum(ledger.values())}
    for phase, seconds in ledger.items():
        timings[phase] -= seconds
    results, provenance, summary = collect(outcome, folder, loaded.next_market, timings, started, loaded.now)
    if config.output.store_pnl:
        store_unit_pnl(folder.path, outcome)
    rows = finish_run(folder, results, provenance, render_report if config.output.report else None)
    summary |= {"run": str(folder.shown), "rows": rows, "seconds": round(time.perf_counter() - started, 2)}
    lines = (f"{summary['accounts']} accounts, initial margin {summary['initial_margin']:,.0f} {plan.market.reporting_currency} "
             f"(standard error {summary['initial_margin_standard_error']:,.0f}); {summary['calls']} margin calls, {summary['liquidations']} liquidations; "
             f"{summary['rejects']} rejected row{'s' * (summary['rejects'] != 1)}",
             f"{outcome.plan.spec.count:,} scenarios on {choice.name} in {timings['engine']:.2f} s; {summary['seconds']:.1f} s in all",
             f"{folder.shown}/report.html" if config.output.report else f"{folder.shown}/margin.csv")
    code = 4 if summary["rejects"] or summary["quarantined"] else 0
    if fail_on == "breach" and summary["calls"] + summary["liquidations"]:
        code = 5
    return Finished(summary, lines, code)


def rebuild_report(path: Path) -> Path:
    """`upm report`: the page again, its checksum with it."""
    from upm_gpu.report import render_report
    from upm_gpu.run.finish import REPORT, replace_file
    from upm_gpu.run.resume import open_for_resume

    with open_for_resume(path) as folder:
        if not folder.finished:
            raise UsageError("UPM-RN-071", f"{path}: the run is not finished. Go on with `upm resume {path}` first.")
        replace_file(folder, REPORT, render_report(folder.path))
    return Path(path) / REPORT


def simulate(path: Path, out: Path, device: str, quiet: bool) -> None:
    """`upm simulate`: factor scenarios to Parquet, one row a (scenario, step), one column a factor (change since the valuation time), then
    those made from them: levels in the reporting currency, returns of perpetuals whose basis or funding is on."""
    import numpy as np
    import pyarrow as pa

    from upm_gpu.backend.select import choose
    from upm_gpu.calibrate.model_of_spec import calibrate_model
    from upm_gpu.calibrate.stressed import correlation_regimes
    from upm_gpu.config import load_config, scenario_spec
    from upm_gpu.inputs import gather
    from upm_gpu.market.reader import load_market
    from upm_gpu.model.regimes import under_regimes
    from upm_gpu.pricing.compiled import empty
    from upm_gpu.pricing.dynamics import dynamics_of
    from upm_gpu.pricing.states import accrual_dates, inspected
    from upm_gpu.run.durable import write_file
    from upm_gpu.run.results import parquet_bytes
    from upm_gpu.scenario.derived import derive

    if out.is_dir() or not out.resolve().parent.is_dir():
        raise UsageError("UPM-CF-072", f"{out}: not a file that can be written. Give a file name in a folder that exists with --out.")
    config = load_config(path, {})
    choice = choose(device)
    if choice.warning:
        _say(choice.warning, quiet)
    spec = scenario_spec(config)
    if spec.sampler == "importance":
        raise InputError("UPM-CF-096", "scenarios.sampler importance is guided by where the accounts of a book lose, and simulate reads no book. Use sampler philox or sobol here; "
                         "upm run draws from the mixture.")
    market = load_market(gather(config).market)
    model, fit = calibrate_model(market, spec)
    longest = max(spec.horizons)
    dynamics = dynamics_of(spec)
    dates = np.array(sorted({*spec.horizons, *(longest * (i + 1) / spec.steps for i in range(spec.steps)), *(accrual_dates(spec.horizons, dynamics))}))
    drawn_set, _ = under_regimes(model.scenarios(dates, spec), correlation_regimes(market, spec, model, fit), spec.inverse_assets, spec.stream)
    scenarios = derive(drawn_set, inspected(market, drawn_set.state_names, dates, dynamics))
    parts = []
    nothing = empty(scenarios.state_names, dates)
    with _progress(spec.count, quiet) as progress, choice.module.prepare(*nothing, "double", choice.threads) as prepared:
        for first in range(0, spec.count, 65_536):
            last = min(first + 65_536, spec.count)
            drawn = choice.module.states(prepared, scenarios, first, last)
            ids = np.repeat(np.arange(first, last, dtype=np.uint32), len(dates))
            columns = {"scenario": ids, "step": np.tile(np.arange(len(dates), dtype=np.int32), last - first), "days": np.tile(dates, last - first)}
            columns |= {name: np.ascontiguousarray(drawn[:, k, :].T).ravel() for k, name in enumerate(scenarios.state_names)}
            parts.append(pa.table(columns))
            progress(last, spec.count)
    write_file(out.resolve(), parquet_bytes(pa.concat_tables(parts)))
    _say(f"{out}: {spec.count} scenarios x {len(dates)} dates x {len(scenarios.state_names)} factors on {choice.name}", quiet)


def compare(path: Path | None, overrides: dict[str, str], methodologies: str, out: Path | None, quiet: bool) -> tuple[dict[str, Any], str]:
    """`upm compare`: totals and explanations as JSON, and the terminal's page; with `out` also a folder of tables."""
    from upm_gpu.compare import compare as margin_all
    from upm_gpu.compare import write
    from upm_gpu.compare_words import lines, summary
    from upm_gpu.config import load_config
    from upm_gpu.run.folder import check_target

    if out is not None:
        check_target(out)
    found = margin_all(load_config(path, overrides), [name.strip() for name in methodologies.split(",") if name.strip()])
    for warning in found.warnings:
        _say(warning, quiet)
    if out is not None:
        _say(f"{out}: {', '.join(write(found, out))}", quiet)
    return summary(found), "\n".join(lines(found))


def backtest(path: Path, out: Path | None, quiet: bool) -> tuple[dict[str, Any], str]:
    """`upm backtest`: counts, league and goals as JSON, and the terminal's lines."""
    from upm_gpu.backtest.folder import lines, run_backtest

    found = run_backtest(path, out, quiet, tuple(_command()))
    return found, lines(found)


def stress(path: Path, out: Path | None, quiet: bool) -> tuple[dict[str, Any], str]:
    """`upm stress`: counts and rankings as JSON, and the terminal's lines."""
    from upm_gpu.campaign.folder import lines, run_campaign

    found = run_campaign(path, out, quiet, tuple(_command()))
    return found, lines(found)


def calibrate_covariance(history: Path, out: Path, assets: str, estimator: str, ewma_lambda: float, correlation: str) -> dict[str, Any]:
    """`upm calibrate covariance`."""
    from upm_gpu.calibrate.covariance_file import calibrate_file

    return calibrate_file(history, out, [a for a in assets.split(",") if a], estimator, ewma_lambda, correlation)


def calibrate_garch(history: Path, out: Path, assets: str, kind: str, mean: str, distribution: str, errors: str, clock: str, page: Path | None = None) -> dict[str, Any]:
    """`upm calibrate garch`, with `page` what its law misses."""
    from upm_gpu.calibrate.garch_file import calibrate_garch as calibrate

    summary = calibrate(history, out, assets.split(","), kind, mean, distribution, errors, clock)
    seen = summary.pop("residuals")
    if page is not None:
        from upm_gpu.fits.laws import page_of_garch

        page_of_garch(page, summary, seen, str(history), sys.argv)
    return summary


def import_deribit(file: Path, out: Path, instruments: Path | None, history: str | None = None) -> dict[str, Any]:
    """`upm import deribit`; `history` is a table of earlier closes, or a market folder (or sample:NAME) that holds one."""
    from upm_gpu.market.deribit import import_deribit as convert
    from upm_gpu.shipped import resolve_sample

    earlier = None if history is None else resolve_sample(history, "market")
    if earlier is not None and earlier.is_dir():
        earlier = next(iter(sorted(earlier.glob("history.*"))), earlier / "history.csv")
    return convert(file, out, instruments, earlier)


def generate_book(market: Path, out: Path, accounts: int, seed: int) -> dict[str, Any]:
    """`upm generate book`."""
    from upm_gpu.generate.book import generate_book as generate

    return generate(market, accounts, seed, out)


class _progress:
    """A progress bar with rate and time left on a terminal, silence elsewhere."""

    def __init__(self, total: int, quiet: bool) -> None:
        self.total = total
        self.bar: Progress | None = None
        self.shown = not quiet and sys.stderr.isatty()

    def __enter__(self) -> Callable[[int, int], None]:
        if not self.shown:
            return lambda done, total: None
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        bar = self.bar = Progress(TextColumn("scenarios"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}", justify="right"),
                            TimeRemainingColumn(), console=Console(stderr=True), transient=True)
        bar.start()
        task = bar.add_task("scenarios", total=self.total, rate="")

        def advance(done: int, total: int) -> None:
            speed = bar.tasks[0].speed  # None until two points are known
            bar.update(task, completed=done, total=total, rate=f"{speed:,.0f}/s" if speed else "")

        return advance

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()


def _say(message: str, quiet: bool) -> None:
    if not quiet:
        print(message, file=sys.stderr)


def _command() -> list[str]:
    """The command line without the folders of this machine."""
    return ["upm", *(a if not a.startswith("/") else Path(a).name for a in sys.argv[1:])]

