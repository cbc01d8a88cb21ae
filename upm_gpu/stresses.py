"""Moves that charges give outright: what states they are, found before the first draw, and the P&L of every unit under them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from upm_gpu import exhibits
from upm_gpu.backend.select import Choice
from upm_gpu.calibrate.dated import past_move
from upm_gpu.margin.requests import PastMove, Stressed, StressRequest
from upm_gpu.margin.units import build_rows

if TYPE_CHECKING:
    from upm_gpu.market.snapshot import MarketSnapshot
    from upm_gpu.market.surface import Surface
    from upm_gpu.plan import Plan
    from upm_gpu.pricing.tables import Shelf
    from upm_gpu.scenario.spec import ScenarioSpec

Moves = tuple[dict[str, float], ...]
"""a state -> its change, for each move"""


def moves_of(request: StressRequest, states: Sequence[str], market: MarketSnapshot, spec: ScenarioSpec, surfaces: Mapping[str, Surface], assets: Collection[str]) -> Moves:
    """The moves of a request as changes of states; the past of `assets` alone is asked for. Raises `CalibrationError` UPM-CA-195 for a date the history does not hold."""
    found = []
    for stress in request.stresses:
        if isinstance(stress, PastMove):
            found.append(past_move(stress.name, stress.start, stress.end, stress.stand_in, states, market, spec, surfaces, assets))
        else:
            found.append(exhibits.state_moves(states, {asset: {"price": price, "volatility": volatility} for asset, price, volatility in stress.moves}))
    return tuple(found)


def stressed(plan: Plan, choice: Choice, request: StressRequest, shelf: Shelf | None = None) -> Stressed:
    """P&L of every unit under the moves of a request, in float64."""
    names, moves = tuple(s.name for s in request.stresses), plan.moves[request]
    if not moves:
        return Stressed((), np.zeros((len(plan.units.names), 0)))
    today = exhibits.compile_today(plan.instruments, plan.market, plan.surfaces, plan.compiled.drawn_names, plan.dynamics)
    given = exhibits.explicit_moves(today.drawn_names, moves, names)
    today = exhibits.cover(choice.module, today, (given,), choice.threads, shelf=shelf)
    rows, _ = build_rows(plan.units, today)
    return Stressed(names, exhibits.row_values(choice.module, today, rows, given, choice.threads))
