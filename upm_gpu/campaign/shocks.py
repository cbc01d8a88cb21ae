"""Every shock of a campaign as a change of the model's states, and what it is called.

Sources: two days of the history (`calibrate/dated.py`), hypothetical relative moves, full grids, and draws from the model's law on the condition of a move
(`law.py`). A grid with a leader moves the others by their beta to it, b_a = rho_a sigma_a / sigma_leader in log-levels, rho_a the share of the way to one that
the grid says. Clock and calendar stand still: a shock comes at once. Verified by tests/properties/test_campaign_shocks.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.dated import asset_of_state, past_move
from upm_gpu.campaign.config import Campaign, Event, Family, Grid, Hypothetical, Moves
from upm_gpu.campaign.law import Law, conditional
from upm_gpu.errors import InputError
from upm_gpu.scenario.derived import base_of

if TYPE_CHECKING:
    from upm_gpu.market.snapshot import MarketSnapshot
    from upm_gpu.plan import Plan

STATE_OF = {"price": ("log_level", "log_fx"), "volatility": ("volatility_shift",), "basis": ("log_basis",)}
"""what a relative move changes: the states of these kinds, by ln(1 + move)"""


@dataclass(frozen=True)
class Shocks:
    """Arrays over S shocks in the order of the campaign."""

    names: tuple[str, ...]
    """(S,)"""
    entry: tuple[str, ...]
    """(S,) name of the entry that made it"""
    kind: tuple[str, ...]
    """(S,) event, move, grid or family"""
    states: tuple[str, ...]
    """(K,) that the model draws"""
    moves: NDArray[np.float64]
    """(K, S) changes of states"""
    correlation: NDArray[np.float64]
    """(S,) share of the way to one"""
    liquidity: NDArray[np.float64]
    """(S,) times the cost of closing out"""
    place: NDArray[np.float64]
    """(3, S) price, volatility and basis of a grid; NaN of other kinds"""
    distance: NDArray[np.float64]
    """(S,) Mahalanobis distance under the model's law over the margin period: how far from what it expects"""

    @property
    def count(self) -> int:
        return len(self.names)


def make_shocks(campaign: Campaign, plan: Plan, law: Law) -> Shocks:
    """The shocks of a campaign for one book. Raises InputError UPM-ST-002 for an asset or a basis that the model does not draw, `CalibrationError` UPM-CA-195 for a day its history lacks."""
    states = tuple(base_of(plan.scenarios).state_names)
    inverse = tuple(plan.spec.inverse_assets)
    names, entries, kinds, parts, places, correlation, liquidity = list[str](), list[str](), list[str](), [], [], list[float](), list[float]()
    for _, _, entry in campaign.entries:
        if isinstance(entry, Event):
            found, own, share, cost = np.array([list(past_move(entry.name, entry.start, entry.end, entry.stand_in, states, market_then(entry.history, plan.market), plan.spec, plan.surfaces).values())]).T, [entry.name], [0.0], [1.0]
        elif isinstance(entry, Hypothetical):
            found, own, share, cost = column(states, entry.moves, entry.name), [entry.name], [0.0], [entry.liquidity]
        elif isinstance(entry, Grid):
            found, place, own, share, cost = grid(entry, states, law, inverse)
        else:
            given = {s: float(x) for s, x in zip(states, column(states, entry.given, entry.name)[:, 0], strict=True) if _named(s, entry.given)}
            found = conditional(law.toward_one(entry.correlation, inverse), given, entry.count, entry.seed, entry.degrees_of_freedom)
            own, share, cost = [f"{entry.name} {n}" for n in range(entry.count)], [entry.correlation] * entry.count, [entry.liquidity] * entry.count
        names += own
        entries += [entry.name] * len(own)
        kinds += [{Event: "event", Hypothetical: "move", Grid: "grid", Family: "family"}[type(entry)]] * len(own)
        parts.append(found)
        places.append(place if isinstance(entry, Grid) else np.full((3, found.shape[1]), np.nan))
        correlation += share
        liquidity += cost
    moves = np.concatenate(parts, axis=1)
    return Shocks(tuple(names), tuple(entries), tuple(kinds), states, moves, np.array(correlation), np.array(liquidity), np.concatenate(places, axis=1), law.distance(moves))


def market_then(history: str, market: MarketSnapshot) -> MarketSnapshot:
    """The market with the closes of another history in the place of its own; the market itself where none is named. Raises InputError UPM-BT-014 for a file that is not there."""
    from upm_gpu.backtest.folder import history_file, read_closes

    if not history:
        return market
    closes = read_closes(history_file(history)).sort_values(["asset", "timestamp"], kind="stable")
    return replace(market, history=closes[closes["timestamp"] <= market.valuation_time].reset_index(drop=True))


def column(states: Sequence[str], moves: Moves, name: str) -> NDArray[np.float64]:
    """(K, 1) changes of states by relative moves of assets, "*" every asset not named."""
    known = {asset_of_state(s) for s in states}
    unknown = sorted(set(moves) - known - {"*"})
    if unknown:
        raise InputError("UPM-ST-002", f"{name}: the model moves no {unknown[0]}. It draws {', '.join(sorted(known))}; add closes of {unknown[0]} to the market's history, or leave it out.")
    for asset, sizes in moves.items():
        for what, size in sizes.items():
            of = [s for s in states if s.partition("[")[0] in STATE_OF[what] and (asset == "*" or asset_of_state(s) == asset)]
            if size != 0.0 and not of:
                raise InputError("UPM-ST-002", f"{name}: the model draws no {what} of {'any asset' if asset == '*' else asset}. "
                                 + ("Set model.basis = true in the run configuration, with its volatility, or leave the basis out." if what == "basis" else f"Leave {what} out, or add its series to the market's history."))
    return np.array([[float(np.log1p(_size(s, moves)))] for s in states])


def _size(state: str, moves: Mapping[str, Mapping[str, float]]) -> float:
    of = moves.get(asset_of_state(state), moves.get("*", {}))
    return next((of[what] for what, kinds in STATE_OF.items() if state.partition("[")[0] in kinds and what in of), 0.0)


def _named(state: str, moves: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether moves say what a state does, if only that it stays."""
    of = moves.get(asset_of_state(state), moves.get("*", {}))
    return any(state.partition("[")[0] in STATE_OF[what] for what in of)


def grid(entry: Grid, states: Sequence[str], law: Law, inverse: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str], list[float], list[float]]:
    """(K, S) moves of a grid, (3, S) price, volatility and basis, names, shares of correlation and costs, the last list running fastest."""
    price = np.array([s.partition("[")[0] in STATE_OF["price"] for s in states])
    leader = f"log_level[{entry.leader}]"
    if entry.leader and leader not in states:
        raise InputError("UPM-ST-002", f"{entry.name}: the model draws no price of the leader {entry.leader}. Name one of {', '.join(asset_of_state(s) for s in states if s.startswith('log_level['))}.")
    betas = {share: _betas(law.toward_one(share, tuple(inverse)), leader) if entry.leader else np.ones(len(states)) for share in set(entry.correlation)}
    rest = {(v, b): column(states, {"*": {k: x for k, x in (("volatility", v), ("basis", b)) if x}}, entry.name)[:, 0] for v in set(entry.volatility) for b in set(entry.basis)}
    found, places, names, shares, costs = [], [], [], [], []
    for p, v, c, b, cost in product(entry.price, entry.volatility, entry.correlation, entry.basis, entry.liquidity):
        found.append(np.where(price, betas[c] * np.log1p(p), rest[v, b]))
        said = [f"{what} {x:+g}" for what, x, values in (("price", p, entry.price), ("volatility", v, entry.volatility), ("correlation", c, entry.correlation), ("basis", b, entry.basis)) if len(values) > 1 or x]
        names.append(f"{entry.name}: {', '.join(said + ([f'liquidity x{cost:g}'] if cost != 1.0 else [])) or 'nothing moves'}")
        places.append((p, v, b))
        shares.append(c)
        costs.append(cost)
    return np.stack(found, axis=1), np.array(places).T, names, shares, costs


def _betas(law: Law, leader: str) -> NDArray[np.float64]:
    """(K,) regression of every state on the leader's."""
    at = law.names.index(leader)
    return law.covariance[:, at] / law.covariance[at, at]
