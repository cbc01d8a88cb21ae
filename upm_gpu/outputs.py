"""What a run leaves: result tables, exhibits, provenance and the one-line summary, from the outcome of the engine."""

from __future__ import annotations

import hashlib
import json
import time
import tomllib
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from upm_gpu import exhibits
from upm_gpu.correlation_used import correlation_provenance, correlation_table
from upm_gpu.engine import Outcome
from upm_gpu.margin.result import CALL, LIQUIDATION
from upm_gpu.margin.units import build_rows
from upm_gpu.market.arbitrage import arbitrage_tables
from upm_gpu.market.consistency import implied_carry
from upm_gpu.market.parity_violations import parity_table
from upm_gpu.market.surface import at_the_money_volatility
from upm_gpu.next_market import NextMarket, realised
from upm_gpu.plan import Plan
from upm_gpu.portfolio_haircuts import portfolio_haircuts
from upm_gpu.pricing.compiled import GROUP_INTEGERS, Family
from upm_gpu.pricing.table_refinement import record
from upm_gpu.pricing.tables import Shelf
from upm_gpu.risk.dependence import dependence_of, variance_of_mean
from upm_gpu.risk.extreme_value import with_extreme_values
from upm_gpu.risk.tail import finish
from upm_gpu.run.kept_tables import KeptTables
from upm_gpu.run.manifest import Provenance, kernels_sha256
from upm_gpu.run.results import Results
from upm_gpu.scenario.derived import Derived, base_of, events_of
from upm_gpu.shipped import package_file

DETAILED = 25
"""accounts shown in detail: those with the largest margin"""
WORST = 10
ROWS_TOGETHER = 128
"""rows whose tails are copied at once: weighted ones are thousands of scenarios deep"""
EXTRA_LEVEL = 0.995
STRESSES = "configs/scenario/standard_stress.toml"


def collect(outcome: Outcome, folder: Any, next_market: NextMarket | None, timings: dict[str, float], started: float, now: datetime) -> tuple[Results, Provenance, dict]:
    """Tables and provenance of a finished computation."""
    plan, table = outcome.plan, outcome.result.table
    begin = time.perf_counter()
    report, warnings = _exhibits(outcome, next_market, KeptTables(folder))
    timings = {**timings, "exhibits": time.perf_counter() - begin}
    begin = time.perf_counter()
    haircuts = portfolio_haircuts(outcome)
    timings = {**timings, "portfolio_haircuts": time.perf_counter() - begin, "total": time.perf_counter() - started}
    quarantined = len(plan.compile_report.quarantined)
    calls = outcome.result.calls
    totals = {"initial_margin": float(table["initial_margin"].sum()), "initial_margin_standard_error": total_standard_error(outcome),
              "equity": float(table["equity"].sum())}
    summary = {"accounts": len(table), **totals, "calls": int((calls["status"] == CALL).sum()), "liquidations": int((calls["status"] == LIQUIDATION).sum()),
               "call_amount": float(calls["amount"].sum()), "rejects": len(plan.book.rejects), "quarantined": quarantined}
    results = Results(
        margin=_columns(table), contributions=_columns(outcome.result.contributions), worst_scenarios=_columns(worst_scenarios(outcome)),
        calls=_columns(calls), rejects=plan.book.rejects,
        margin_by_netting_set=_columns(outcome.result.units) if any(plan.units.netting_set) else None,
        greeks=_columns(exhibits.greeks(outcome.choice.module, plan.instruments, plan.compiled, plan.units, [a.account_id for a in plan.book.accounts], plan.market)),
        portfolio_haircuts=_columns(haircuts), report=report)
    return results, _provenance(outcome, folder, timings, summary, totals, warnings, now, report["quality.json"]["surface_arbitrage"]), summary


def total_standard_error(outcome: Outcome) -> float:
    """Standard error of the sum of all units' cores: the scenarios are common, so the excesses are added first. Where the core is a value-at-risk or fitted: a bound, the sum of the errors.

    Variance of the mean over scenarios of the sum over units of max(L - VaR, 0), over (1 - level)^2; times the multiplier.
    """
    plan, tail = outcome.plan, outcome.tail
    if plan.methodology.core.measure == "value_at_risk" or plan.core.tail_share:
        measured = outcome.result.measured
        return float(np.sum(measured.core_standard_error[measured.core > 0.0]))
    h = plan.horizon(plan.core.horizon)
    measure = outcome.result.measured.measures[plan.core]
    total = np.zeros(plan.scenarios.count)
    for first in range(0, tail.pnl.shape[1], ROWS_TOGETHER):  # in order, so that the sums are those of all rows at once
        some = slice(first, first + ROWS_TOGETHER)
        excess = np.maximum(-tail.pnl[h, some] - measure.value_at_risk[some, None], 0.0)
        excess[measure.expected_shortfall[some] <= 0.0] = 0.0
        inside = excess > 0.0
        np.add.at(total, tail.scenario[h, some][inside], excess[inside])
    if outcome.weights is not None:
        w = outcome.weights
        mean = float(np.sum(w * total) / np.sum(w))
        spread = np.sqrt(len(w) / (len(w) - 1.0) * np.sum((w * (total - mean)) ** 2)) / np.sum(w)
        return float(spread / (1.0 - plan.core.level) * plan.methodology.core.multiplier)
    variance = variance_of_mean(total, np.arange(plan.scenarios.count, dtype=np.uint32), plan.scenarios.count, dependence_of(plan.scenarios))
    return float(np.sqrt(variance) / (1.0 - plan.core.level) * plan.methodology.core.multiplier)


def worst_scenarios(outcome: Outcome) -> pd.DataFrame:
    """The ten worst scenarios of every account (of its largest unit) with the log-moves of every state at the horizon."""
    plan, tail = outcome.plan, outcome.tail
    h = plan.horizon(plan.core.horizon)
    chosen = _unit_of_account(outcome)
    accounts = np.flatnonzero(chosen >= 0)
    names = np.array([a.account_id for a in plan.book.accounts], object)[accounts]
    return _with_moves(outcome, h, names, tail.pnl[h, chosen[accounts], :WORST], tail.scenario[h, chosen[accounts], :WORST])


def _with_moves(outcome: Outcome, horizon: int, names: np.ndarray, pnl: np.ndarray, scenario: np.ndarray) -> pd.DataFrame:
    """The worst scenarios of named rows, (names, depth) ascending, with the states at the horizon."""
    depth = min(WORST, pnl.shape[1])
    pnl, scenario = pnl[:, :depth], scenario[:, :depth]
    distinct, index = np.unique(scenario, return_inverse=True)
    moves = _states_at(outcome, horizon, distinct)
    frame = pd.DataFrame({"account_id": np.repeat(names, depth), "rank": np.tile(np.arange(1, depth + 1, dtype=np.int32), len(names)),
                          "scenario": scenario.ravel(), "pnl": pnl.ravel()})
    drawn = set(base_of(outcome.plan.scenarios).state_names)
    if outcome.weights is not None:
        frame["weight"] = outcome.weights[scenario.ravel()]
    for k, name in enumerate(outcome.plan.scenarios.state_names):
        if name.startswith("volatility_") and name not in drawn:
            continue  # made of the drawn ones, expiry by expiry
        frame[name] = moves[k, index.ravel()]
    return frame


def _unit_of_account(outcome: Outcome) -> np.ndarray:
    """(A,) the unit of each account with the largest core, -1 where it has none."""
    plan = outcome.plan
    lines = plan.units.lines
    chosen = np.full(len(plan.book.accounts), -1)
    pairs = np.unique(np.stack([lines.account, lines.unit]), axis=1)
    core = outcome.result.measured.core
    for account, unit in pairs.T:
        if chosen[account] < 0 or core[unit] > core[chosen[account]]:
            chosen[account] = unit
    return chosen


def _states_at(outcome: Outcome, horizon: int, scenarios: np.ndarray) -> np.ndarray:
    """(K, len(scenarios)) states at a horizon for ascending scenario ids."""
    plan, choice = outcome.plan, outcome.choice
    date = int(np.searchsorted(plan.compiled.dates, plan.horizons[horizon]))
    parts = []
    with choice.module.prepare(plan.compiled, plan.rows, choice.precision, choice.threads) as prepared:
        for first in range(0, plan.scenarios.count, 65_536):
            last = min(first + 65_536, plan.scenarios.count, int(scenarios[-1]) + 1)
            wanted = scenarios[np.searchsorted(scenarios, first): np.searchsorted(scenarios, last)]
            if len(wanted):
                parts.append(choice.module.states(prepared, plan.scenarios, first, last)[date][:, wanted - first])
    return np.concatenate(parts, axis=1)


def _exhibits(outcome: Outcome, next_market: NextMarket | None, shelf: Shelf) -> tuple[dict[str, Any], list[str]]:
    """Everything under report/."""
    plan, choice = outcome.plan, outcome.choice
    backend, threads = choice.module, choice.threads
    order = np.argsort(-outcome.result.measured.core, kind="stable")[:DETAILED]
    names = [plan.units.names[u] for u in order]
    chosen = exhibits.select_rows(plan.rows, [int(u) for u in order])
    both = exhibits.with_house(plan.rows, chosen, plan.compiled.columns)
    report: dict[str, Any] = {}
    histogram, house = exhibits.histograms(backend, plan.compiled, both, [*names, exhibits.HOUSE], plan.scenarios, choice.precision, threads,
                                           range(len(plan.horizons)), outcome.tail.pnl.shape[2], outcome.weights)
    report["histograms.parquet"] = _columns(histogram)
    report["tails.parquet"] = _columns(tail_table(plan, outcome.tail, house, outcome.weights))
    h = plan.horizon(plan.core.horizon)
    report["house_worst_scenarios.parquet"] = _columns(_with_moves(outcome, h, np.array([exhibits.HOUSE], object), house.pnl[h], house.scenario[h]))
    today = exhibits.compile_today(plan.instruments, plan.market, plan.surfaces, plan.compiled.drawn_names, plan.dynamics)
    stresses = tomllib.loads(package_file(STRESSES).read_text())["stress"]
    everything = sorted({i.underlying for i in plan.instruments if f"log_level[{i.underlying}]" in today.drawn_names})
    today = exhibits.cover(backend, today, (exhibits.grid_moves(today, everything), exhibits.stress_moves(today, stresses)), threads, exhibits.SHOWN_TOLERANCE, shelf)
    rows_today, _ = build_rows(plan.units, today)
    shown = exhibits.with_house(rows_today, exhibits.select_rows(rows_today, [int(u) for u in order]), today.columns)
    underlyings = sorted({i.underlying for i in plan.instruments})
    report["heatmap.parquet"] = _columns(exhibits.heat_maps(backend, today, shown, [*names, exhibits.HOUSE], underlyings, threads))
    everyone = exhibits.with_house(rows_today, rows_today, today.columns)
    report["stress.parquet"] = _columns(exhibits.stress_table(backend, today, everyone, [*plan.units.names, exhibits.HOUSE], stresses, threads))
    warnings: list[str] = []
    if next_market is not None:
        table, note = realised(outcome, next_market)
        report["realised.parquet"] = _columns(table)
        warnings.append(note)
    report["quality.json"] = quality(plan, warnings) | {"surface_arbitrage": _plain(_surface_arbitrage(outcome))}
    return report, warnings


def _surface_arbitrage(outcome: Outcome) -> list[dict[str, Any]]:
    """What moved surfaces hold of arbitrage, looked for in the first scenarios unless the configuration ignores it; what was corrected."""
    from upm_gpu.surface_exhibit import CORRECTED, SCENARIOS, surface_arbitrage

    plan = outcome.plan
    if plan.spec.arbitrage == "ignore":
        return []
    first = np.arange(min(CORRECTED if plan.dynamics.project else SCENARIOS, plan.scenarios.count))
    return surface_arbitrage(plan, _states_at(outcome, plan.horizon(plan.core.horizon), first))


def tail_table(plan: Plan, tail: Any, house: Any, weights: np.ndarray | None = None) -> pd.DataFrame:
    """VaR and ES with their errors for every unit and the house, at every horizon and level."""
    levels = sorted({*(r.level for r in plan.requests), max(EXTRA_LEVEL, max(r.level for r in plan.requests))})
    parts = []
    for names, state in ((plan.units.names, tail), ((exhibits.HOUSE,), house)):
        for level, estimate in finish(state, levels, dependence_of(plan.scenarios), weights).items():
            for h, days in enumerate(plan.horizons):
                parts.append(pd.DataFrame({
                    "account_id": list(names), "horizon_days": days, "level": level, "value_at_risk": estimate.value_at_risk[h],
                    "value_at_risk_standard_error": estimate.value_at_risk_standard_error[h], "expected_shortfall": estimate.expected_shortfall[h],
                    "expected_shortfall_standard_error": estimate.expected_shortfall_standard_error[h], "reliable": estimate.reliable[h]}))
    return pd.concat(parts, ignore_index=True)


def quality(plan: Plan, notes: list[str]) -> dict[str, Any]:
    """What was noticed about the data, as JSON."""
    rejects: dict[str, int] = {}
    for reject in plan.book.rejects:
        rejects[reject.code] = rejects.get(reject.code, 0) + 1
    return _plain({
        "warnings": [*plan.warnings, *notes],
        "quarantined": list(plan.compile_report.quarantined), "surface": list(plan.compile_report.surfaces),
        "model_minus_mark": plan.compile_report.model_minus_mark, "rejects": rejects, "factors": _factors(plan),
        "correlation_regimes": correlation_table(plan.regimes, plan.scenarios, plan.fit), **arbitrage_tables(plan.market, list(plan.surfaces.values())), "parity_violations": parity_table(plan.market, plan.instruments), "implied_carry": implied_carry(plan.market)})


def _factors(plan: Plan) -> list[dict[str, Any]]:
    """What the model moves and how it was estimated."""
    fit, volatility = plan.fit, dict(zip(getattr(plan.model, "state_names", ()), getattr(plan.model, "daily_volatility", ()), strict=False))
    return [{"factor": name, "daily_volatility": float(volatility[name]) if name in volatility else None, "returns_used": int(fit.observations[k, k]) if fit is not None and np.ndim(fit.observations) == 2 else None,
             "first": fit.first[k] if fit is not None and len(fit.first) > k else None, "proxy": bool(fit is not None and name in fit.proxies),
             "correlation_repair_distance": float(fit.repair_distance) if fit is not None else None} for k, name in enumerate(base_of(plan.scenarios).state_names)]


def _provenance(outcome: Outcome, folder: Any, timings: dict[str, float], summary: dict, totals: dict, notes: list[str], now: datetime, surfaces: list[dict[str, Any]]) -> Provenance:
    plan, choice = outcome.plan, outcome.choice
    inputs = {name: kept["sha256"] for name, kept in folder.plan["inputs"].items()}
    market = {k: v for k, v in inputs.items() if k.startswith("market/")}
    isa = choice.module.isas()[0] if hasattr(choice.module, "isas") else ""
    estimate = finish(outcome.tail, [plan.core.level], dependence_of(plan.scenarios), outcome.weights)[plan.core.level]
    if plan.core.tail_share:
        estimate, _ = with_extreme_values(estimate, outcome.tail, plan.core.tail_share, dependence_of(plan.scenarios))
    clipped, events = events_of(plan.scenarios, outcome.tail.clipped)
    counts = {k: int(summary[k]) for k in ("accounts", "calls", "liquidations", "rejects", "quarantined")}
    counts |= {"instruments": len(plan.instruments), "positions": len(plan.book.positions.instrument), "rows_read": plan.book.rows_read,
               "columns": plan.compiled.columns, "units": len(plan.units.names), "draws_clipped": int(clipped.sum()), "chunks": len(outcome.ranges)}
    law = asdict(plan.spec)
    return Provenance(
        snapshot_sha256=_hash(market), spec_sha256=_hash(law), methodology_sha256=inputs["methodology.toml"], kernels_sha256=kernels_sha256(),
        inputs=inputs, seed=plan.spec.seed, backend=choice.name, device=choice.name, device_reason=choice.reason, precision=choice.precision,
        scenarios=plan.spec.count, chunk=outcome.ranges[0][1] - outcome.ranges[0][0], threads=choice.threads, isa=isa, counts=counts,
        timings={k: round(float(v), 4) for k, v in timings.items()}, error_formula=estimate.error_formula,
        command=tuple(folder.settings.get("command", ())), valuation_time=plan.market.valuation_time.isoformat().replace("+00:00", "Z"),
        reporting_currency=plan.market.reporting_currency, methodology=f"{plan.methodology.name} {plan.methodology.version}",
        warnings=(*folder.warnings, *plan.warnings, *notes),
        extra={**({"surface_arbitrage": surfaces} if surfaces else {}), **({"derived_states": list(plan.scenarios.names), "derived_events": events} if isinstance(plan.scenarios, Derived) else {}), "totals": totals, "horizons_days": list(plan.horizons), "level": plan.core.level, "core_measure": plan.methodology.core.measure, "margin_horizon_days": plan.horizons[plan.horizon(plan.core.horizon)], **({"margin_horizon_sessions": plan.core.horizon} if plan.spec.clock == "sessions" else {}), "model": _plain(law), "scenario_cap": outcome.cap,
               "age_minutes": round((now - plan.market.valuation_time).total_seconds() / 60.0, 1), "volatility_shift": plan.spec.volatility_shift, "volatility_30d": {u: round(at_the_money_volatility(s), 6) for u, s in sorted(plan.surfaces.items())}, **_importance(outcome), **_fitted_tails(outcome), **_surface_file(plan, inputs),
               "correlation_regimes": _plain(correlation_provenance(plan.regimes, plan.scenarios, plan.fit)),
               **({"value_tables": _tables(outcome)} if outcome.tables else {}), **_charges(outcome)})


def _surface_file(plan: Any, inputs: dict[str, str]) -> dict[str, Any]:
    """Where the surfaces of today are not fitted to the quotes: the file they are from."""
    from upm_gpu.inputs import SURFACES
    from upm_gpu.market.surface_given import file_family

    return {"surface_file": {"made_as": file_family(plan.spec.surface_file), "sha256": inputs[SURFACES], "underlyings": sorted(plan.surfaces)}} if plan.spec.surface_file else {}


def _charges(outcome: Outcome) -> dict[str, Any]:
    """What every charge comes to over all units and why, and the passes they asked for; nothing for a methodology without charges."""
    found = [{"charge": c.name, "reason": c.reason, "amount": float(c.amount.sum()), "units_charged": int(np.count_nonzero(c.amount)),
              "left_to_a_larger_charge": None if c.not_counted is None else float(c.not_counted.sum()), "below_zero": float(c.floored.sum()),
              "standard_error_at_most": None if c.standard_error is None else float(c.standard_error.sum())} for c in outcome.result.charges]
    return {"charges": _plain(found), "further_passes": _plain(list(outcome.passes))} if found else {}


def _importance(outcome: Outcome) -> dict[str, Any]:
    """What importance sampling drew from and what it gained; nothing for other samplers."""
    mixture = getattr(base_of(outcome.plan.scenarios), "mixture", None)
    if outcome.weights is None or mixture is None:
        return {}
    ratio = outcome.result.measured.measures[outcome.plan.core].variance_ratio
    known = ratio[np.isfinite(ratio)] if ratio is not None else np.zeros(0)
    w = outcome.weights
    return {"importance": {
        "components": len(mixture.chance) - 1, "plain_share": float(mixture.chance[0]), "chance": mixture.chance.tolist(), "shift_norm": np.sqrt((mixture.shift**2).sum(axis=(1, 2))).tolist(),
        "weight_mean": float(w.mean()), "weight_largest": float(w.max()), "effective_scenarios": float(w.sum() ** 2 / (w * w).sum()), "tail_kept": outcome.plan.depth,
        "variance_ratio_smallest": float(known.min()) if len(known) else None, "variance_ratio_median": float(np.median(known)) if len(known) else None}}


def _fitted_tails(outcome: Outcome) -> dict[str, Any]:
    """What the extreme-value estimator fitted; nothing for the plain one."""
    law = outcome.result.measured.measures[outcome.plan.core].tail
    if law is None:
        return {}
    known = law.index[law.fitted]
    quantiles = {name: float(np.quantile(known, q)) if len(known) else None for name, q in (("smallest", 0.0), ("median", 0.5), ("largest", 1.0))}
    return {"extreme_value": {"tail_share": outcome.plan.core.tail_share, "excesses": int(outcome.plan.spec.count * outcome.plan.core.tail_share), "units_fitted": int(law.fitted.sum()), "units": len(law.fitted),
                              "tail_index": quantiles}}


def _tables(outcome: Outcome) -> dict[str, Any]:
    """How many value tables there are, the worst error found while building them, and what they change in the tails."""
    library = {} if outcome.plan.library is None else {"library": {"sha256": outcome.plan.library.sha256, "tables_taken": sum(t.reused for t in outcome.tables)}}
    finer = record(outcome.plan.compiled, outcome.plan.horizon(outcome.plan.core.horizon))
    return {"tables": len(outcome.tables), **library, "nodes": int(sum(t.nodes[0] * t.nodes[1] for t in outcome.tables)), "largest_error_per_strike": max(t.error for t in outcome.tables),
            "tail_check": _plain(asdict(outcome.table_check)) if outcome.table_check else None, **({"finer": finer} if finer else {}),
            **({"options_repriced_under_the_model": _under_model(outcome)} if outcome.plan.spec.repricing == "model" else {})}


def _under_model(outcome: Outcome) -> int:
    """Options of the book that are priced by the scenarios' own model at the margin horizon."""
    program = outcome.plan.compiled.programs[outcome.plan.horizon(outcome.plan.core.horizon)]
    integers = dict(zip(GROUP_INTEGERS, program.group_integers.T, strict=True))
    return int(integers["count"][integers["family"] == Family.MODEL_VOLATILITY].sum())


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """NumPy scalars, tuples and undefined numbers as JSON knows them."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)


def _columns(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    return {str(name): frame[name].to_numpy() for name in frame.columns}
