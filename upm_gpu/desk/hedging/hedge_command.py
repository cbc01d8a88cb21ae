"""`upm reduce`: from the command line to the trades and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from upm_gpu.desk.hedging.hedge import Reduction, reduce
from upm_gpu.desk.hedging.hedge_desk import Goal, Hedge
from upm_gpu.desk.hedging.trading import Trading, load_trading
from upm_gpu.desk.opening import open_run
from upm_gpu.desk.resident import require_columns
from upm_gpu.errors import UsageError

FIGURES = ("initial_margin", "maintenance_margin", "core", "equity", "excess", "margin_ratio", "status")


def reduce_command(path: Path, account: str, free: float | None, ratio: float | None, passes: bool, netting_set: str, trading: Path | None, only: Sequence[str], also: Sequence[str], trades: int,
                   ticket: float) -> tuple[dict[str, Any], str]:
    """(plain data, page for a person). Raises what `open_run` and `reduce` raise, UsageError for a command with no goal or several."""
    if sum((free is not None, ratio is not None, passes)) != 1:
        raise UsageError("UPM-CF-165", "give one goal: --free AMOUNT of initial margin, --ratio R of equity over maintenance margin, or --pass (equity covers the initial margin).")
    terms = load_trading() if trading is None else load_trading(trading)
    resident = open_run(path, {*only, *also})
    require_columns(resident, {*only, *also})
    found = reduce(resident, account, Goal(free, ratio, passes), netting_set=netting_set, trading=terms, only=only, trades=trades, ticket=ticket)
    currency = resident.plan.market.reporting_currency
    return {"run": str(path), "currency": currency, "scenarios": resident.plan.scenarios.count, **plain(found, terms)}, "\n".join(render(found, terms, currency))


def plain(found: Reduction, terms: Trading) -> dict[str, Any]:
    """A reduction as plain data for JSON."""
    return {"account_id": found.account_id, "goal": {k: v for k, v in asdict(found.goal).items() if v not in (None, False)}, "reached": found.reached, "trading": f"{terms.name} {terms.version}",
            "instruments": found.instruments, "before": found.before, "after": found.after, "relief": float(found.before["initial_margin"]) - float(found.after["initial_margin"]),
            "hedge": _hedge(found.hedge), "best_single": None if found.single is None else _hedge(found.single), "cost_bound": found.bound, "optimality_gap": found.gap,
            "least_initial_margin": found.least_margin, "notes": list(found.notes)}


def _hedge(hedge: Hedge) -> dict[str, Any]:
    error = None if hedge.answer is None else hedge.answer.difference_standard_error
    return {"trades": [asdict(t) | {"cost": t.cost} for t in hedge.trades], "cost": hedge.cost, "difference_standard_error": error}


def render(found: Reduction, terms: Trading, currency: str) -> list[str]:
    """Lines for a person; ASCII."""
    from upm_gpu.report.explain import printable

    goal = found.goal
    what = f"free {goal.free:,.2f} {currency} of initial margin" if goal.free is not None else f"a margin ratio of {goal.ratio:g}" if goal.ratio is not None else "equity covers the initial margin"
    lines = [f"Account {printable(found.account_id)}: {what}. {'Reached' if found.reached else 'NOT reached'}, {found.instruments:,} instruments that may be traded, terms {terms.name} {terms.version}."]
    if found.hedge.trades:
        lines.append(f"{'order':<32}{'contracts':>14}{'half spread':>14}{'fee':>12}{'limit':>14}")
        lines += [f"{printable(t.instrument_id)[:31]:<32}{t.contracts:>+14,.10g}{t.half_spread:>14,.2f}{t.fee:>12,.2f}{t.limit:>14,.10g}" for t in found.hedge.trades]
    lines.append(f"{'':<32}{'before':>18}{'after':>18}")
    for key in FIGURES:
        lines.append(f"{key.replace('_', ' '):<32}{_shown(found.before[key]):>18}{_shown(found.after[key]):>18}")
    lines.append(f"cost {found.hedge.cost:,.2f} {currency}" + (f"; no trades cost less than {found.bound:,.2f}: optimality gap {found.gap:.2%}" if found.bound is not None and found.gap is not None else ""))
    if found.single is not None and len(found.hedge.trades) > 1:
        (trade,) = found.single.trades
        lines.append(f"best single instrument: {printable(trade.instrument_id)} {trade.contracts:+,.10g}, cost {trade.cost:,.2f} {currency}")
    if found.least_margin is not None:
        lines.append(f"no trades bring the initial margin below {max(found.least_margin, 0.0):,.2f} {currency}")
    if found.hedge.answer is not None and found.hedge.answer.difference_standard_error is not None:
        lines.append(f"relief {float(found.before['initial_margin']) - float(found.after['initial_margin']):,.2f} {currency}, standard error of the core's difference {found.hedge.answer.difference_standard_error:,.2f}")
    return [*lines, *(printable(n) for n in found.notes)]


def _shown(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else f"{value:,.4f}" if abs(value) < 1e4 else f"{value:,.2f}"
