"""One book of a campaign: margined once, then its accounts' P&L and equity under any move.

Equity after a move is equity before it, plus the P&L of positions and simulated collateral, plus what the move does to amounts that stand in an asset or currency
and not in the P&L: collateral after its haircut (tiers as they were before the move), and gains since entry, which are settled in that currency.

    equity' = equity + pnl + sum over assets of amount x (exp(level) - 1)

Closing out costs liquidity x (delta_cost |net delta| + vega_cost |net vega|), summed over underlyings. Verified by tests/properties/test_campaign_losses.py
against the equity of the book in the market after the move.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from upm_gpu import exhibits
from upm_gpu.backend.select import Choice, choose
from upm_gpu.campaign.config import BookEntry, Campaign
from upm_gpu.campaign.law import Law, law_of
from upm_gpu.campaign.shocks import Shocks, make_shocks
from upm_gpu.domain.instrument import Future, Perpetual
from upm_gpu.margin.units import grouped_rows, sum_by
from upm_gpu.pricing.compiled import Rows
from upm_gpu.run.durable import sha256_of
from upm_gpu.scenario.sets import Explicit

if TYPE_CHECKING:
    import pandas as pd

    from upm_gpu.engine import Outcome
    from upm_gpu.plan import Plan
    from upm_gpu.pricing.compiled import Compiled


@dataclass(frozen=True)
class StressedBook:
    """A margined book, ready for moves. Arrays over A accounts; money in the reporting currency."""

    name: str
    outcome: Outcome
    choice: Choice
    law: Law
    shocks: Shocks
    bare: Compiled
    """priced at once, one horizon, now; without value tables"""
    today: Compiled
    """the same with tables over the campaign's moves"""
    rows: Rows
    """(A,) positions and simulated collateral of every account"""
    accounts: tuple[str, ...]
    member: NDArray[np.int64]
    """(A,) index into `members`"""
    members: tuple[str, ...]
    """an account without a member is its own"""
    margin: pd.DataFrame
    """of the accounts, before any shock"""
    standing: NDArray[np.float64]
    """(A, M) amounts that stand in an asset or currency"""
    standing_weight: NDArray[np.float64]
    """(M, K) what the log-level of each is made of"""
    closing_cost: NDArray[np.float64]
    """(A,) at liquidity 1"""
    hashes: dict[str, str]
    """SHA-256 of every file read"""

    @property
    def equity(self) -> NDArray[np.float64]:
        return self.margin["equity"].to_numpy(np.float64)

    def values(self, first: int, last: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(A, S) P&L and equity after shocks [first, last)."""
        return self.under(self.shocks.moves[:, first:last])

    def under(self, moves: NDArray[np.float64], chosen: NDArray[np.int64] | None = None, today: Compiled | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(A, S) P&L and equity after moves (K, S) of the drawn states; of accounts `chosen` alone where they are given. `today` where the moves go beyond the campaign's (`covering`)."""
        some = np.arange(len(self.accounts)) if chosen is None else chosen
        rows = self.rows if chosen is None else exhibits.select_rows(self.rows, [int(a) for a in some])
        compiled = today or self.today
        pnl = exhibits.row_values(self.choice.module, compiled, rows, at_once(compiled, moves), self.choice.threads)
        return pnl, self.equity[some, None] + pnl + self.standing[some] @ np.expm1(self.standing_weight @ moves)

    def covering(self, moves: NDArray[np.float64]) -> Compiled:
        """The book priced at once, its value tables reaching over moves (K, S)."""
        return exhibits.cover(self.choice.module, self.bare, (at_once(self.bare, moves),), self.choice.threads)


def at_once(today: Compiled, moves: NDArray[np.float64]) -> Explicit:
    """Scenarios of moves (K, S) of the drawn states."""
    return Explicit(today.drawn_names, np.array([0.0]), np.ascontiguousarray(moves)[None])


def stressed_book(entry: BookEntry, campaign: Campaign) -> StressedBook:
    """Read and margin a book, and make its shocks. Raises what a run raises, before anything is written."""
    from upm_gpu.backtest.folder import history_file
    from upm_gpu.config import load_config, scenario_spec
    from upm_gpu.domain.reader import load_book
    from upm_gpu.engine import compute_outcome
    from upm_gpu.inputs import SURFACES, gather
    from upm_gpu.margin.methodology import load_methodology
    from upm_gpu.market.reader import load_market
    from upm_gpu.passes import in_memory
    from upm_gpu.plan import make_plan
    from upm_gpu.shipped import find_file

    keys = {"scenarios.count": str(campaign.base.count), "book.path": entry.book, "market.path": entry.market, "methodology.file": entry.methodology}
    config = load_config(find_file(campaign.base.config), {k: v for k, v in keys.items() if v})
    choice = choose(config.compute.device, config.compute.precision, config.compute.threads)
    files = gather(config)
    market = load_market(files.market)
    book = load_book(files.book, market.valuation_time, config.book.max_reject_share)
    plan = make_plan(book, market, scenario_spec(config), load_methodology(files.methodology))
    hashes = {f"book/{k}": v for k, v in book.hashes.items()} | {f"market/{k}": v for k, v in market.hashes.items()} | {"methodology.toml": sha256_of(files.methodology)}
    if files.parameters:
        hashes["parameters.toml"] = sha256_of(files.parameters)
    if files.surfaces:
        hashes[SURFACES] = sha256_of(files.surfaces)
    for history in dict.fromkeys(h for h in (*(e.history for e in campaign.events), *(p.history for p in campaign.paths)) if h):
        hashes[f"events/{history}"] = sha256_of(history_file(history))
    law = law_of(plan, choice.module)
    shocks = make_shocks(campaign, plan, law)
    return prepared(entry.name, campaign, compute_outcome(plan, choice, config.compute.chunk, in_memory(None)), law, shocks, hashes)


def prepared(name: str, campaign: Campaign, outcome: Outcome, law: Law, shocks: Shocks, hashes: dict[str, str]) -> StressedBook:
    """Everything that shocks of a margined book read."""
    plan, choice = outcome.plan, outcome.choice
    bare = exhibits.compile_today(plan.instruments, plan.market, plan.surfaces, plan.compiled.drawn_names, plan.dynamics)
    today = exhibits.cover(choice.module, bare, (at_once(bare, shocks.moves),), choice.threads)
    accounts = tuple(a.account_id for a in plan.book.accounts)
    rows, _ = grouped_rows(plan.units.lines, plan.units.lines.account, len(accounts), today)
    members = tuple(dict.fromkeys(a.member_id or a.account_id for a in plan.book.accounts))
    place = {m: i for i, m in enumerate(members)}
    standing, weight = standing_amounts(plan)
    margin = outcome.result.table.set_index("account_id").loc[list(accounts)]
    return StressedBook(name, outcome, choice, law, shocks, bare, today, rows, accounts, np.array([place[a.member_id or a.account_id] for a in plan.book.accounts]), members, margin,
                        standing, weight, closing_cost(outcome, campaign.losses.delta_cost, campaign.losses.vega_cost), hashes)


def standing_amounts(plan: Plan) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(A, M) amounts in M assets and currencies that move with them outside the P&L, and (M, K) weights of drawn states in their log-levels."""
    from upm_gpu.margin.collateral import posted_of
    from upm_gpu.margin.methodology import simulated_assets
    from upm_gpu.margin.result import gain_factors

    book, market, count = plan.book, plan.market, len(plan.book.accounts)
    simulated = simulated_assets(plan.methodology, book)
    posted = posted_of(book, market, plan.methodology.collateral, simulated)
    found: dict[str, NDArray[np.float64]] = {}
    for m, asset in enumerate(posted.assets):
        if asset not in simulated:
            own = posted.asset == m
            found[asset] = found.get(asset, np.zeros(count)) + sum_by(posted.account[own], posted.counted[own], count)
    held = book.positions
    for n in np.unique(held.instrument):
        instrument = book.instruments[n]
        if isinstance(instrument, Future | Perpetual):
            paid = instrument.underlying if instrument.settlement == "inverse" else instrument.quote_currency
            now, entry = gain_factors(instrument, market)
            own = held.instrument == n
            found[paid] = found.get(paid, np.zeros(count)) + sum_by(held.account[own], held.entry_quantity[own] * now + held.entry_cost[own] * entry, count)
    drawn = plan.compiled.drawn_names
    place = {s: k for k, s in enumerate(drawn)}

    def weights(asset: str) -> NDArray[np.float64]:
        row = np.zeros(len(drawn))
        own = market.spot_currency.get(asset, market.reporting_currency)
        for a in (asset, *((own,) if own != market.reporting_currency else ())):
            state = next((s for s in (f"log_level[{a}]", f"log_fx[{a}]") if s in place), None)
            if state and a != market.reporting_currency:
                row[place[state]] += 1.0
        return row

    table = {a: (amount, weights(a)) for a, amount in found.items()}
    moving = [v for v in table.values() if v[1].any() and v[0].any()]
    if not moving:
        return np.zeros((count, 0)), np.zeros((0, len(drawn)))
    return np.stack([amount for amount, _ in moving], axis=1), np.stack([row for _, row in moving])


def closing_cost(outcome: Outcome, delta_cost: float, vega_cost: float) -> NDArray[np.float64]:
    """(A,) cost of closing out everything an account holds at liquidity 1."""
    plan = outcome.plan
    lines, count = plan.units.lines, len(plan.book.accounts)
    if not delta_cost and not vega_cost:
        return np.zeros(count)
    each = exhibits.unit_greeks(outcome.choice.module, plan.instruments, plan.compiled, plan.market)
    names = {u: i for i, u in enumerate(plan.underlyings)}
    of = np.array([names[i.underlying] for i in plan.instruments])[lines.instrument]
    group = lines.account.astype(np.int64) * len(names) + of
    net = {g: np.abs(sum_by(group, lines.quantity * each[g][lines.instrument], count * len(names))).reshape(count, -1).sum(axis=1) for g in ("delta", "vega")}
    return delta_cost * net["delta"] + vega_cost * net["vega"]
