"""The systemic table: what one scenario does to all accounts, with and without sequencing, and what the tail of the run does.

Figures over tail scenarios are conditional means over the worst scenarios of the house, each with its standard error: the spread between scenarios over the root of their number. Where the
run's draws are dependent (antithetic pairs, Sobol points) it is an approximation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from upm_gpu.liquidation.bankruptcy import bankruptcy_moves
from upm_gpu.liquidation.cascade import Tell, cascade
from upm_gpu.liquidation.case import Case
from upm_gpu.liquidation.margins import margins_of
from upm_gpu.liquidation.money import money
from upm_gpu.liquidation.parameters import Parameters
from upm_gpu.liquidation.record import Cascade
from upm_gpu.liquidation.scenarios import house_tail, start_of
from upm_gpu.liquidation.sequencing import Order
from upm_gpu.liquidation.starts import scenario_start
from upm_gpu.liquidation.waterfall import UNPAID
from upm_gpu.progress import Tell as Progress
from upm_gpu.progress import silent

VARIANTS: tuple[tuple[str, Order, bool], ...] = (("sequenced", "sequenced", False), ("pro rata", "pro_rata", False), ("by size", "by_size", False), ("auction, then sequenced", "sequenced", True))
"""name, order, whether whole books are offered first"""


FIGURES = ("accounts_in_liquidation", "accounts_lost", "depth", "closing_cost", "open_risk_after_first_round", "loss_beyond_margin", "fund_used", "uncovered")
"""of the table along the tail"""


@dataclass(frozen=True)
class Simulation:
    """One scenario under several ways of closing."""

    scenario: str
    parameters: Parameters
    cascades: dict[str, Cascade]
    margins: dict[str, Any]
    """how they were measured, and what was not computed again"""


def simulate(case: Case, scenario: str, parameters: Parameters, variants: Sequence[str] = ("sequenced", "pro rata", "auction, then sequenced"), tell: Callable[[str], None] | None = None) -> Simulation:
    """Run a scenario under each variant; who began liquidation under any is given its bankruptcy move. `tell` is told how far it is. Raises UsageError for a scenario that is none."""
    start, named, margins = start_of(case, scenario), {name: (order, auction) for name, order, auction in VARIANTS}, margins_of(case, parameters)

    def telling(name: str) -> Tell | None:
        return None if tell is None else lambda now, active: tell(f"{name}, round {now}: {active:,} account{'s' * (active != 1)} in liquidation")

    found = {name: cascade(case, start, parameters, *named[name], margins, telling(name)) for name in variants}
    place = {name: n for n, name in enumerate(case.parties.names)}
    defaults = [d for c in found.values() for d in c.defaults]
    chosen = sorted({place[d.party] for d in defaults})
    if tell is not None and chosen:
        tell(f"bankruptcy moves of {len(chosen):,} accounts")
    moves = dict(zip(chosen, bankruptcy_moves(case, margins.ground, chosen), strict=True))
    for d in defaults:
        d.bankruptcy_move = moves[place[d.party]]
    return Simulation(start.name, parameters, found, margins.said)


def summary(made: Cascade) -> dict[str, Any]:
    """One line of the systemic table; amounts in the reporting currency."""
    parties, first = {d.party for d in made.defaults}, made.rounds[0]
    used = {k: money(v) for k, v in made.funds.used.items()}
    return {
        "accounts_in_liquidation": len(parties), "before_the_scenario": len({d.party for d in made.defaults if d.before}), "accounts_lost": len({d.party for d in made.defaults if d.loss > 0.0}),
        "depth": made.depth, "rounds": len(made.rounds), "settled": made.settled, "margin_calls": first.calls, "call_amount": first.call_amount, "closing_cost": sum(d.cost for d in made.defaults),
        "open_risk_after_first_round": first.open_risk, "loss_beyond_margin": sum(d.loss for d in made.defaults), "fund_used": sum(v for k, v in used.items() if k != UNPAID), "uncovered": used.get(UNPAID, 0.0),
        "borne": used, "funds_at_start": {k: money(v) for k, v in made.opening_funds.items() if v}, "price_moved": made.price, "steps": len(made.steps), "conserved": made.conserved}


def along_the_tail(case: Case, count: int | None, parameters: Parameters, variants: Sequence[str] = ("sequenced", "pro rata"), tell: Progress = silent) -> dict[str, Any]:
    """The cascade along each of the worst `count` scenarios of the house (None: all of its tail): a line a path, and means with their standard errors."""
    scenarios, pnl = house_tail(case, count)
    named, margins = {name: (order, auction) for name, order, auction in VARIANTS}, margins_of(case, parameters)
    lines: list[dict[str, Any]] = []
    for s, house in zip(scenarios.tolist(), pnl.tolist(), strict=True):
        start = scenario_start(case.plan, case.choice, s)
        for name in variants:
            lines.append({"scenario": s, "house_pnl": house, "variant": name, **summary(cascade(case, start, parameters, *named[name], margins))})
            tell(len(lines), len(scenarios) * len(variants), f"scenario {s}, {name}")
    means = {name: {f: _spread([float(x[f]) for x in lines if x["variant"] == name]) for f in FIGURES} for name in variants}
    layers = list(dict.fromkeys(k for x in lines for k in x["borne"]))
    borne = {name: {k: _spread([x["borne"].get(k, 0.0) for x in lines if x["variant"] == name]) for k in layers} for name in variants}
    return {"paths": len(scenarios), "margins": margins.said, "lines": lines, "means": means, "borne": borne, "conserved": all(x["conserved"] for x in lines)}


def _spread(values: list[float]) -> dict[str, float | None]:
    """Mean, its standard error (None of one value alone) and the largest."""
    return {"mean": float(np.mean(values)), "standard_error": float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None, "worst": float(np.max(values))}
