"""A back-test over chains as pieces: the series that each day's surface adds to the history, then every day under every model.

    series/2026-02-05.parquet        time, asset, close of one chain: what later days know of it
    days/00-2026-02-05.parquet       one row a portfolio (`chain_walk.py`) of a valuation day under the first model

Verified by tests/end_to_end/test_chain_backtest.py.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from upm_gpu.backtest.chain_config import ChainConfig, ChainGoal, load_chain_backtest, run_of
from upm_gpu.backtest.chain_days import SeriesRow, Snapshots, history_to, read_snapshots, series_of
from upm_gpu.backtest.chain_walk import ChainDay, margined
from upm_gpu.backtest.iso20022 import Money
from upm_gpu.backtest.ranked_laws import LAW
from upm_gpu.backtest.work import DAYS_FOLDER, SERIES_FOLDER, Gathered, Work, pa_table, sha
from upm_gpu.errors import InputError
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.run.pieces import read_piece, write_piece

if TYPE_CHECKING:
    import pandas as pd

EXTRA = ("until", "horizon_days", "notional", "initial_margin", "proxy")
"""columns beside those of every back-test: the next chain's day, days to it, gross notional (US dollars), what the methodology asks in all, loss settled at a proxy price"""


class _Days:
    """Chains as they are needed, a few at a time: a day's surfaces are fitted once for the day itself and for the one before."""

    def __init__(self, found: Snapshots, underlyings: tuple[str, ...]) -> None:
        self.found, self.underlyings = found, underlyings
        self.markets: dict[int, MarketSnapshot] = {}
        self.fits: dict[tuple[int, str], dict[str, Any]] = {}

    def market(self, n: int) -> MarketSnapshot:
        """Without history."""
        from upm_gpu.market.deribit import chain_snapshot

        if n not in self.markets:
            self.markets = {k: v for k, v in self.markets.items() if k >= n - 1} | {n: chain_snapshot(self.found.chain(n))}
        return self.markets[n]

    def surfaces(self, n: int, family: Any) -> dict[str, Any]:
        """Of every underlying."""
        from upm_gpu.market.surface import fit_surfaces

        if (n, family) not in self.fits:
            self.fits = {k: v for k, v in self.fits.items() if k[0] >= n - 1} | {(n, family): fit_surfaces(replace(self.market(n), surface_family=family), self.underlyings)}
        return self.fits[n, family]


def chain_work(path: Path, out: Path | None, quiet: bool, command: tuple[str, ...]) -> Work:
    """Everything that can be refused is refused here. Raises InputError, MarketDataError."""
    from upm_gpu.backend.select import choose
    from upm_gpu.backtest.folder import history_file, read_closes
    from upm_gpu.config import scenario_spec
    from upm_gpu.margin.methodology import load_methodology
    from upm_gpu.market.settlements import load_settlements
    from upm_gpu.shipped import find_file

    config, text = load_chain_backtest(path, out)
    asked = config.chains
    file, closes = chains_file(asked.path), history_file(asked.history)
    found, before = read_snapshots(file, asked), read_closes(closes)
    methodologies = [load_methodology(m.methodology) for m in config.models]
    levels = {m.core.level for m in methodologies}
    if len(levels) > 1:
        raise InputError("UPM-BT-018", f"methodologies read the tail at different levels ({', '.join(f'{x:g}' for x in sorted(levels))}); models are ranked at one. Use methodologies of one core level.")
    specs = [scenario_spec(run_of(config, m)) for m in config.models]
    settlements = load_settlements(Path(asked.settlements)) if asked.settlements else {}
    choice = choose(config.compute.device, config.compute.precision, config.compute.threads)
    if choice.warning and not quiet:
        import sys

        print(choice.warning, file=sys.stderr)
    target, days = Path(config.output.path), _Days(found, tuple(asked.underlyings))
    dates = [t.date().isoformat() for t in found.times]

    def series_piece(n: int) -> list[SeriesRow]:
        place = target / SERIES_FOLDER / f"{dates[n]}.parquet"
        if read_piece(place) is None:
            rows = series_of(days.market(n), days.surfaces(n, "svi"))
            write_piece(place, pa_table({"time": [t.isoformat() for t, _, _ in rows], "asset": [a for _, a, _ in rows], "close": np.array([c for *_, c in rows], np.float64)}))
        table = read_piece(place)
        assert table is not None, "it was written just now"
        return [(datetime.fromisoformat(t).astimezone(UTC), a, c) for t, a, c in zip(*(table[name].to_pylist() for name in ("time", "asset", "close")), strict=True)]

    def place(m: int, n: int) -> Path:
        return target / DAYS_FOLDER / f"{m:02d}-{dates[n]}.parquet"

    added: list[SeriesRow] = []
    known = [0]

    def make(n: int) -> None:
        while known[0] <= n:
            added.extend(series_piece(known[0]))
            known[0] += 1
        for m, entry in enumerate(config.models):
            if read_piece(place(m, n)) is None:
                market = replace(days.market(n), history=history_to(before, added, found.times[0]))
                day = ChainDay(market, days.surfaces(n, specs[m].surface), days.market(n + 1), days.surfaces(n + 1, specs[m].surface), settlements)
                write_piece(place(m, n), margined(day, config, entry, methodologies[m], choice))

    def gather() -> Gathered:
        from upm_gpu.backtest.summary import league, summarise

        frames = []
        for m, entry in enumerate(config.models):
            for n in range(len(dates) - 1):
                piece = read_piece(place(m, n))
                assert piece is not None, "every piece was made before"
                frames.append(_frame(piece.to_pandas(), config, entry.name, levels, found, n))
        import pandas as pd

        table = pd.concat(frames, ignore_index=True)
        settled = sorted(set(table.loc[table["proxy"] != 0.0, "portfolio"]))
        summary = summarise(table, config.scenarios.seed)
        summary["settlement"] = np.where(summary["portfolio"].isin(settled), "proxy", "")
        return Gathered(table, summary, league(table, summary, max(levels)), chain_goals(table, config.goal))

    steps = [(b - a).total_seconds() / 86_400.0 for a, b in zip(found.times[:-1], found.times[1:], strict=True)]
    goal = config.goal
    manifest = {"seed": config.scenarios.seed, "scenarios": config.scenarios.count, "horizon_days": round(float(np.median(steps)), 3), "levels": sorted(levels), "league_level": max(levels),
                "losses": f"losses to the next chain ({min(steps):.2f} to {max(steps):.2f} days on)",
                "goal_note": f"At most {goal.most_misses} losses above the margin on {100.0 * goal.share:g} % of the portfolios{', chains through ' + goal.end if goal.end else ''}.",
                "device": choice.name, "device_reason": choice.reason, "precision": choice.precision,
                "inputs": {"config.toml": sha(text.encode()), f"chains/{file.name}": sha(file.read_bytes()), f"history/{closes.name}": sha(closes.read_bytes()),
                           **{f"methodology/{i}": sha(find_file(m.methodology).read_bytes()) for i, m in enumerate(config.models)},
                           **({"settlements.csv": sha((Path(asked.settlements) / "settlements.csv").read_bytes())} if settlements else {})},
                "counts": {"models": len(config.models), "chains": len(dates), "estimates": len(config.models) * (len(dates) - 1)}, "proxies": [] if settlements else ["settlement of expired options: index of the next chain"], "warnings": []}
    pieces = [(1, dates[n], partial(make, n)) for n in range(len(dates) - 1)]
    return Work(target, text, manifest, pieces, (SERIES_FOLDER, DAYS_FOLDER), gather, command, config.output.report, Money("USD", None))


def chains_file(path: str) -> Path:
    """The file of chains behind a path: itself, or that of sample:NAME. Raises InputError UPM-BT-014."""
    from upm_gpu.shipped import package_file

    if path.startswith("sample:"):
        folder = package_file("sample") / path.removeprefix("sample:")
        files = sorted(folder.glob("chains.*")) if folder.is_dir() else []
        if files:
            return files[0]
    elif (found := Path(path).expanduser()).is_file():
        return found
    raise InputError("UPM-BT-014", f"chains.path {path!a}: there is no such file or sample. Give a Parquet or CSV file of daily chains, such as sample:chains.")


def _frame(day: pd.DataFrame, config: ChainConfig, model: str, levels: set[float], found: Snapshots, n: int) -> pd.DataFrame:
    from upm_gpu.backtest.rolling import COLUMNS

    margin = np.maximum(config.margin.multiplier * day["expected_shortfall"], 0.0)
    day = day.assign(date=found.times[n].date().isoformat(), until=found.times[n + 1].date().isoformat(), horizon_days=(found.times[n + 1] - found.times[n]).total_seconds() / 86_400.0,
                     model=model, level=max(levels), margin=margin, hit_value_at_risk=day["loss"] > day["value_at_risk"], hit_margin=day["loss"] > margin)
    return day[[*COLUMNS, *EXTRA, *LAW]]


def chain_goals(table: pd.DataFrame, goal: ChainGoal) -> list[dict[str, Any]]:
    """Under each model: on which share of the portfolios at most so many losses were above the margin, the largest uncovered loss, and where the misses lie."""
    own = table[table["until"] <= goal.end] if goal.end else table
    found = []
    for model, mine in own.groupby("model", sort=False):
        misses = mine.groupby("portfolio", sort=False)["hit_margin"].sum()
        missed = [str(p) for p, n in misses.items() if n > goal.most_misses]
        share = 1.0 - len(missed) / len(misses)
        found.append({"model": str(model), "goal": f"at most {goal.most_misses} misses{' through ' + goal.end if goal.end else ''}", "asked": goal.share, "share": share, "portfolios": len(misses),
                      "met": share >= goal.share, "missed": missed, "why": _why(mine, missed)})
    return found


def _why(mine: pd.DataFrame, missed: list[str]) -> str:
    hits = mine[mine["hit_margin"]]
    if not len(hits):
        return "No loss was above its margin."
    over = (hits["loss"] - hits["margin"]).to_numpy()
    worst = hits.iloc[int(np.argmax(over))]
    said = (f"Largest uncovered loss: {100.0 * over.max():.2f} % of notional ({over.max() * worst['notional']:,.0f} US dollars), {worst['portfolio']}, {worst['date']} to {worst['until']}: "
            f"loss {100.0 * worst['loss']:.2f} %, margin {100.0 * worst['margin']:.2f} %, initial margin of the methodology {100.0 * worst['initial_margin']:.2f} %.")
    days = hits["date"].value_counts()
    said += f" {len(hits)} misses in {len(mine):,} portfolio-days, {int(days.iloc[:3].sum())} of them on {', '.join(f'{d} ({c})' for d, c in sorted(days.iloc[:3].items()))}."
    if missed:
        kinds = mine[mine["portfolio"].isin(missed)].groupby("portfolio", sort=False)["kind"].first().value_counts()
        said += f" More than allowed on {', '.join(f'{c} {k}' for k, c in kinds.items())}."
    return said
