"""Why two runs differ: trades, market, model, sampling and methodology, each its share of the change of every account's margin.

The first run is turned into the second one part at a time, in a stated order, and margined again after each (`compute_outcome`, the engine's own flow):

  M_B - M_A = [M(b, m, ...) after a part changed - before it], summed over the parts

so shares add up exactly; what two parts make together goes to the one that changes later, which is why the order is an argument and is printed. A composition that cannot be margined (the new book holds what the old
market does not quote) is skipped, its part joined to the next. Where this program is not the one that made a run, what it makes of that run's own inputs differs from what is written: that is the part `program`.

Standard errors: two points of the same random numbers are compared scenario by scenario, so an error is of the difference,

  SE^2 = variance of the mean over scenarios of the difference of sum over units of share x multiplier x max(L - VaR, 0) / (1 - level);

with other random numbers the two errors are independent; where the core is a value-at-risk, fitted or importance-sampled the sum of both is a bound. Verified by tests/end_to_end/test_difference.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.select import Choice, choose
from upm_gpu.engine import Outcome, compute_outcome
from upm_gpu.errors import DeviceError, InputError, UsageError
from upm_gpu.inputs import SURFACES, RunInputs, kept_inputs, with_kept
from upm_gpu.margin.result import account_shares
from upm_gpu.margin.units import sum_by
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.risk.dependence import dependence_of, variance_of_mean
from upm_gpu.scenario.spec import ScenarioSpec

PARTS = ("trades", "market", "model", "sampling", "methodology")
PROGRAM = "program"
SAMPLING = ("count", "seed", "stream", "sampler", "scrambling", "sobol_order", "variance_reduction", "target_relative_error")
"""fields of a specification that say which random numbers are drawn, and not under which law"""
FIGURES = ("initial_margin", "core", "charges", "equity")


@dataclass(frozen=True)
class Side:
    """One of the two runs, its inputs read from the copies it keeps."""

    folder: Path
    manifest: dict[str, Any]
    files: RunInputs
    max_reject_share: float
    spec: ScenarioSpec
    methodology: Any
    threads: int
    margins: dict[str, dict[str, float]]
    """what it wrote: figures by account"""

    def hashes(self, prefix: str) -> dict[str, str]:
        """Inputs whose name begins so."""
        return {k: v for k, v in self.manifest["inputs"].items() if k.startswith(prefix)}

    def law(self) -> dict[str, Any]:
        """What the model part is made of."""
        kept = {f.name: getattr(self.spec, f.name) for f in fields(self.spec) if f.name not in (*SAMPLING, "parameters", "surface_file")}
        return kept | {"parameters": self.manifest["inputs"].get("parameters.toml", ""), "surface_file": self.manifest["inputs"].get(SURFACES, "")}

    def sampling(self) -> dict[str, Any]:
        """What the sampling part is made of."""
        return {n: getattr(self.spec, n) for n in SAMPLING} | {n: self.manifest[n] for n in ("backend", "precision")}


@dataclass(frozen=True, eq=False)
class Point:
    """Margins of one composition."""

    figures: dict[str, dict[str, float]]
    """by account"""
    error: dict[str, float]
    """of the core"""
    draws: tuple[Any, ...]
    """equal where two points have the same random numbers"""
    account: NDArray[np.int64]
    scenario: NDArray[np.uint32]
    influence: NDArray[np.float64]
    """what each scenario of its tail adds to the mean that is an account's core; empty where errors are bounds"""
    names: tuple[str, ...]
    outcome_dependence: Any
    count: int


@dataclass(frozen=True)
class Step:
    """Parts that changed together, and what that did."""

    parts: tuple[str, ...]
    share: dict[str, dict[str, float]]
    """account -> change of every figure"""
    error: dict[str, float]
    """of the change of the core, by account"""
    total_error: float
    """of the change of all accounts' cores together"""
    bound: bool
    """errors are bounds"""

    @property
    def name(self) -> str:
        """"trades", or "trades and market" where they could not be parted."""
        return " and ".join(self.parts)


@dataclass(frozen=True)
class Difference:
    """From one run to another; the steps' shares and the program's add up to the change."""

    before: Side
    after: Side
    order: tuple[str, ...]
    accounts: tuple[str, ...]
    steps: tuple[Step, ...]
    program: dict[str, dict[str, float]]
    """account -> what is the program's"""
    notes: tuple[str, ...]

    def change(self, account: str, figure: str) -> float:
        """What the second run wrote less what the first did; an account that a run lacks has 0."""
        return self.after.margins.get(account, {}).get(figure, 0.0) - self.before.margins.get(account, {}).get(figure, 0.0)


def difference(first: Path, second: Path, order: Sequence[str] = PARTS) -> Difference:
    """Part the change from one finished run to another.

    Raises UsageError for what is no finished run and an order that is none, InputError for two reporting currencies and where the second run's own inputs cannot be margined, IntegrityError for changed files.
    """
    if sorted(order) != sorted(PARTS):
        raise UsageError("UPM-CF-171", f"--order {','.join(order)!a}: name each of {', '.join(PARTS)} once, the first to change first.")
    before, after = read_side(first), read_side(second)
    currencies = [str(s.manifest.get("reporting_currency", "USD")) for s in (before, after)]
    if currencies[0] != currencies[1]:
        raise InputError("UPM-RN-091", f"the runs report in {currencies[0]} and {currencies[1]}: a difference has one currency. Run one of them again in the other's.")
    differ = {"trades": before.hashes("book/") != after.hashes("book/"), "market": before.hashes("market/") != after.hashes("market/"), "model": before.law() != after.law(),
              "sampling": before.sampling() != after.sampling(), "methodology": before.hashes("methodology") != after.hashes("methodology")}
    notes: list[str] = []
    now = dict.fromkeys(PARTS, before)
    start = point = computed(now, notes)
    steps, waiting = [], list[str]()
    changing = [p for p in order if differ[p]]
    for part in changing:
        now[part] = after
        waiting.append(part)
        try:
            found = computed(now, notes)
        except InputError as refused:
            if part == changing[-1]:
                raise
            notes.append(f"{' and '.join(waiting)} cannot be margined without what changes next, and is one step with it: {refused}")
            continue
        steps.append(step(tuple(waiting), point, found))
        point, waiting = found, []
    accounts = tuple(sorted({*before.margins, *after.margins}))
    program = {a: {f: (_of(start.figures, a, f) - _of(before.margins, a, f)) + (_of(after.margins, a, f) - _of(point.figures, a, f)) for f in FIGURES} for a in accounts}
    return Difference(before, after, tuple(order), accounts, tuple(steps), program, tuple(dict.fromkeys(notes)))


def read_side(path: Path) -> Side:
    """A finished run with its inputs. Raises as `open_run` does."""
    from upm_gpu.config import load_config, scenario_spec
    from upm_gpu.margin.methodology import load_methodology
    from upm_gpu.report.read import read_table
    from upm_gpu.run.folder import INPUTS
    from upm_gpu.run.verify import check_folder, read_manifest, verify_run

    folder = check_folder(path)
    verify_run(folder)
    manifest = read_manifest(folder)
    config, files = load_config(folder / INPUTS / "config.toml", {}), kept_inputs(folder / INPUTS)
    config = with_kept(config, files)
    table = read_table(folder / "margin.parquet")
    if table is None:
        raise InputError("UPM-RN-047", f"{folder / 'margin.parquet'} is missing: no account can be explained. Run the margin again.")
    charges = [k for k in table if k.startswith("charge_")]
    rows = zip(table["account_id"].tolist(), table["initial_margin"].tolist(), table["core"].tolist(), np.sum([table[c] for c in charges], axis=0).tolist() if charges else [0.0] * len(table["core"]),
               table["equity"].tolist(), strict=True)
    margins = {str(a): dict(zip(FIGURES, values, strict=True)) for a, *values in rows}
    return Side(folder, manifest, files, config.book.max_reject_share, scenario_spec(config), load_methodology(files.methodology), config.compute.threads, margins)


def computed(now: dict[str, Side], notes: list[str]) -> Point:
    """Margins where each part is of the side that `now` says."""
    from upm_gpu.domain.reader import load_book
    from upm_gpu.market.reader import load_market

    market = load_market(now["market"].files.market)
    book = load_book(now["trades"].files.book, market.valuation_time, now["trades"].max_reject_share)
    sampling = now["sampling"]
    spec = replace(now["model"].spec, **{n: getattr(sampling.spec, n) for n in SAMPLING})
    plan = make_plan(book, market, spec, now["methodology"].methodology)
    return _point(compute_outcome(plan, _choice(sampling, notes), 0, in_memory()))


def _choice(side: Side, notes: list[str]) -> Choice:
    """The backend of the run; where it cannot be had here, another one, which is said."""
    try:
        return choose(str(side.manifest["backend"]), str(side.manifest["precision"]), side.threads)
    except DeviceError as error:
        found = choose("auto", str(side.manifest["precision"]), side.threads)
        notes.append(f"computed on {found.name}, {side.folder.name} was on {side.manifest['backend']} ({error.code}): last digits may differ, and are in the part {PROGRAM}.")
        return found


def _point(outcome: Outcome) -> Point:
    plan, table, tail = outcome.plan, outcome.result.table, outcome.tail
    charges = [c for c in table.columns if c.startswith("charge_")]
    added = table[charges].to_numpy().sum(axis=1) if charges else np.zeros(len(table))
    names = tuple(a.account_id for a in plan.book.accounts)
    columns = (table["initial_margin"].to_numpy(), table["core"].to_numpy(), added, table["equity"].to_numpy())
    figures = {name: dict(zip(FIGURES, (float(c[n]) for c in columns), strict=True)) for n, name in enumerate(names)}
    shares, of, unit = account_shares(names, plan.units, outcome.result.contributions["contribution"].to_numpy())
    measured = outcome.result.measured
    own = sum_by(of, np.abs(shares) * np.where(measured.core > 0.0, measured.core_standard_error, 0.0)[unit], len(names))  # a bound
    plain = plan.methodology.core.measure == "expected_shortfall" and plan.core.tail_share == 0.0 and outcome.weights is None
    account, scenario, influence = np.zeros(0, np.int64), np.zeros(0, np.uint32), np.zeros(0)
    if plain:
        h, core = plan.horizon(plan.core.horizon), measured.measures[plan.core]
        excess = np.maximum(-tail.pnl[h] - core.value_at_risk[:, None], 0.0) * (core.expected_shortfall > 0.0)[:, None]
        scale = shares * plan.methodology.core.multiplier / (1.0 - plan.core.level)
        depth = excess.shape[1]
        account, scenario, influence = np.repeat(of.astype(np.int64), depth), tail.scenario[h][unit].ravel(), (scale[:, None] * excess[unit]).ravel()
        kept = influence != 0.0
        account, scenario, influence = account[kept], scenario[kept], influence[kept]
    spec = plan.spec
    draws = (plain, plan.scenarios.count, spec.seed, spec.stream, spec.sampler, spec.scrambling, spec.sobol_order, spec.variance_reduction)
    point = Point(figures, dict(zip(names, own.tolist(), strict=True)), draws, account, scenario, influence, names, dependence_of(plan.scenarios), plan.scenarios.count)
    return replace(point, error=dict(zip(names, _errors(account, scenario, influence, len(names), point), strict=True))) if plain else point


def step(parts: tuple[str, ...], before: Point, after: Point) -> Step:
    """The change from one point to the next."""
    names = tuple(sorted({*before.names, *after.names}))
    share = {a: {f: _of(after.figures, a, f) - _of(before.figures, a, f) for f in FIGURES} for a in names}
    apart = {a: (before.error.get(a, 0.0), after.error.get(a, 0.0)) for a in names}
    if not (before.draws[0] and after.draws[0]):
        return Step(parts, share, {a: x + y for a, (x, y) in apart.items()}, float(sum(x + y for x, y in apart.values())), True)
    if before.draws != after.draws:
        return Step(parts, share, {a: float(np.hypot(x, y)) for a, (x, y) in apart.items()}, float(np.hypot(_total_error(before), _total_error(after))), False)
    place = {a: n for n, a in enumerate(names)}
    account = np.concatenate([np.array([place[a] for a in p.names] or [0], np.int64)[p.account] for p in (before, after)])
    scenario, influence = np.concatenate([before.scenario, after.scenario]), np.concatenate([-before.influence, after.influence])
    by_account = _errors(account, scenario, influence, len(names), after)
    total = _errors(np.zeros(len(account), np.int64), scenario, influence, 1, after)
    return Step(parts, share, dict(zip(names, by_account, strict=True)), total[0], False)


def _total_error(point: Point) -> float:
    return _errors(np.zeros(len(point.account), np.int64), point.scenario, point.influence, 1, point)[0]


def _errors(account: NDArray[np.int64], scenario: NDArray[np.uint32], influence: NDArray[np.float64], count: int, point: Point) -> list[float]:
    """Standard error of the mean of the summed influences of each account."""
    key = account * (1 << 32) + scenario
    distinct, place = np.unique(key, return_inverse=True)
    value = sum_by(place, influence, len(distinct))
    first = np.searchsorted(distinct, np.arange(count + 1, dtype=np.int64) * (1 << 32))
    found = []
    for a in range(count):
        own = slice(int(first[a]), int(first[a + 1]))
        ids = (distinct[own] % (1 << 32)).astype(np.uint32)
        found.append(float(np.sqrt(variance_of_mean(value[own], ids, point.count, point.outcome_dependence))) if len(ids) else 0.0)
    return found


def _of(figures: dict[str, dict[str, float]], account: str, figure: str) -> float:
    return figures.get(account, {}).get(figure, 0.0)
