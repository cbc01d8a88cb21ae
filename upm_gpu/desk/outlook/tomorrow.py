"""What a fresh run at a date of one path would read: the market (`moved_market.py`), the law (`law.py`) and the book.

What an option is worth at the start of the fresh run is what the path said. What has expired is out of the book, its payoff is collateral: coins where it is paid in coins, cash elsewhere. Refused by name: options whose
path decides (barriers, averages, forward starts), a diffusion whose volatility moves by expiry, scenarios guided by where the book loses today.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.outlook.beside import gains
from upm_gpu.desk.outlook.law import Law, Whole, law_of, law_then
from upm_gpu.desk.outlook.model_quotes import model_quotes, with_quotes
from upm_gpu.desk.outlook.moved_market import Moves, Today, moved_market, today_of
from upm_gpu.desk.outlook.paths import Paths
from upm_gpu.domain.book import Book, Collateral, Positions
from upm_gpu.domain.instrument import Exotic, Future, Option, Perpetual, expiry_of, paid_in
from upm_gpu.errors import InputError
from upm_gpu.market.levels import exchange_rate, payment_rate, quote_price
from upm_gpu.market.snapshot import MarketSnapshot, days_between
from upm_gpu.market.surface import Surface
from upm_gpu.model.merton import MertonParameters
from upm_gpu.model.regimes import asset_of
from upm_gpu.plan import Plan
from upm_gpu.pricing.two_assets import options_read


@dataclass(frozen=True)
class Tomorrow:
    """Inputs of a fresh run."""

    book: Book
    market: MarketSnapshot
    model: Any
    surfaces: dict[str, Surface]


@dataclass(frozen=True, eq=False)
class Outset:
    """What all paths start from, read once."""

    paths: Paths
    today: Today
    law: Law
    factors: tuple[str, ...]
    """what `factors_read` finds"""


def outset_of(paths: Paths) -> Outset:
    """Raises InputError UPM-IN-182 for what tomorrow's run cannot be given."""
    check_can_move(paths.plan)
    return Outset(paths, today_of(paths.plan), law_of(paths.plan), factors_read(paths.plan))


def check_can_move(plan: Plan) -> None:
    """Refuse what tomorrow's run cannot be given: InputError UPM-IN-182."""
    spec = plan.spec
    exotic = [i.instrument_id for i in plan.instruments if isinstance(i, Exotic)]
    by_expiry = isinstance(plan.model, MertonParameters) and spec.repricing == "model" and (spec.volatility_decay_short, spec.volatility_decay_long) != (0.0, 0.0) and any(
        n.startswith("volatility_shift[") for n in plan.model.state_names)
    for bad, what, remedy in (
            (by_expiry, "its options are priced by a diffusion whose volatility on a path moves by expiry (volatility_decay_short, volatility_decay_long), and tomorrow's run has one for all expiries",
             "Run with repricing quoted, with both decays 0, or with a parameter file without volatility_shift"),
            (spec.sampler == "importance", "its scenarios are guided by where the book loses today", "Run with sampler philox or sobol"),
            (bool(exotic), f"{exotic[0] if exotic else ''} is an exotic option, whose value tomorrow depends on its path", "Name accounts that hold none with --account")):
        if bad:
            raise InputError("UPM-IN-182", f"tomorrow's margin cannot be had for this run: {what}. {remedy}.")


def factors_read(plan: Plan) -> tuple[str, ...]:
    """Drawn states of what the book holds, but for variances and what follows them."""
    market, held = plan.market, {i.underlying for i in (*plan.instruments, *options_read(plan.instruments))}
    held |= {c for i in plan.instruments if isinstance(i, Future | Option | Perpetual) for c in (i.quote_currency, paid_in(i))}
    held |= {*plan.book.collateral.asset}
    held |= {market.spot_currency.get(a, market.reporting_currency) for a in held}
    found = tuple(n for n in plan.compiled.drawn_names if asset_of(n) in held and not n.startswith("variance[") and "," not in n)
    return found or plan.compiled.drawn_names[:1]


def tomorrow(outset: Outset, states: NDArray[np.float64], step: int) -> Tomorrow:
    """At a step of one path; `states` (D, K) are its states on all path dates."""
    paths = outset.paths
    plan, names = paths.plan, paths.plan.compiled.state_names
    elapsed = float(plan.horizons[paths.horizon[step]])
    now = dict(zip(names, states[paths.date[step]].tolist(), strict=True))
    market, surfaces = moved_market(plan, outset.today, now, elapsed)
    if plan.spec.repricing == "model":
        market = replace(market, quotes=with_quotes(market.quotes, model_quotes(plan, paths.horizon[step], states)))
    model = law_then(outset.law, whole_steps(paths, states, step), now)
    if isinstance(model, MertonParameters) and plan.spec.repricing == "model":  # the volatility that options are priced at is the diffusion's
        own = [now.get(n.replace("log_level[", "volatility_shift["), 0.0) if n.startswith("log_level[") else 0.0 for n in model.state_names]
        model = replace(model, daily_volatility=np.asarray(model.daily_volatility, np.float64) * np.exp(own))
    return Tomorrow(_book(plan, paths.book, states, paths.date[step], elapsed, _funding(plan, market, states, paths.horizon[step])), market, model, surfaces)


def whole_steps(paths: Paths, states: NDArray[np.float64], step: int) -> Whole:
    """Of the model's factors up to a step, `states` (D, K, ...)."""
    plan = paths.plan
    names, base = plan.compiled.state_names, plan.spec.base_step_days
    rows = np.array([names.index(n) for n in getattr(plan.model, "state_names", ())], np.int64)
    done = int(np.floor(paths.days[step] / base + 1e-9))
    at = list(paths.whole[:done])
    part = paths.days[step] / base - done
    return Whole(states[at][:, rows], states[paths.date[step]][rows], 0.0 if part < 1e-9 else part)


def _funding(plan: Plan, then: MarketSnapshot, states: NDArray[np.float64], horizon: int) -> dict[str, tuple[str, float]]:
    """What a unit of each perpetual was paid on the way: (asset, amount of it) by instrument, its return on the path less what its price gained."""
    found: dict[str, tuple[str, float]] = {}
    if plan.dynamics.funding == "zero":
        return found
    compiled, program = plan.compiled, plan.compiled.programs[horizon]
    for n, i in enumerate(plan.instruments):
        if isinstance(i, Perpetual):
            column = int(compiled.instrument_column[n])
            value = states[program.linear_date[column], program.linear_state[column]]
            total = float(compiled.instrument_coefficient[n]) * float(value if program.linear_form is not None and program.linear_form[column] else np.expm1(value))
            before, after, spot = quote_price(plan.market, i), quote_price(then, i), then.spots[i.underlying]
            gained = (1.0 / before - 1.0 / after) * spot if i.settlement == "inverse" else (after - before) * exchange_rate(then, i)
            found[i.instrument_id] = (i.underlying, (total - gained) / spot) if i.settlement == "inverse" else (plan.market.reporting_currency, total - gained)
    return found


def _book(plan: Plan, book: Book, states: NDArray[np.float64], now: int, elapsed: float, funding: dict[str, tuple[str, float]]) -> Book:
    """Without what has expired; its payoff and the funding paid among the collateral. A future without an entry price is carried at today's."""
    book = _entered(book, plan.market)
    market, p = plan.market, book.positions
    left = np.array([np.inf if (e := expiry_of(i)) is None else days_between(market.valuation_time, e) for i in book.instruments])
    alive = left[p.instrument] > elapsed
    if bool(np.all(alive)) and not funding:
        return book
    paid: dict[tuple[int, str], float] = {}
    dates, names = np.asarray(plan.compiled.dates, np.float64), plan.compiled.state_names
    moves = [Moves(market, dict(zip(names, row.tolist(), strict=True))) for row in states]
    unit: dict[int, tuple[str, float]] = {}
    since = gains(book, market)
    for n in np.flatnonzero(~alive).tolist():
        i = int(p.instrument[n])
        if i not in unit:
            unit[i] = _payoff(book.instruments[i], market, moves[int(np.argmin(np.abs(dates - left[i])))], moves[now])
        asset, amount = unit[i]
        key = (int(p.account[n]), asset)
        in_asset = 1.0 / market.spots[asset] if asset != market.reporting_currency else float(np.exp(moves[now].exchange(book.instruments[i].quote_currency)))  # of what was gained since entry
        paid[key] = paid.get(key, 0.0) + float(p.quantity[n]) * amount + float(since[n]) * in_asset
    for n in np.flatnonzero(alive).tolist() if funding else ():
        asset, amount = funding.get(book.instruments[int(p.instrument[n])].instrument_id, ("", 0.0))
        if amount:
            key = (int(p.account[n]), asset)
            paid[key] = paid.get(key, 0.0) + float(p.quantity[n]) * amount
    c = book.collateral
    lines = {(int(a), name): float(x) for a, name, x in zip(c.account, c.asset, c.quantity, strict=True)}
    for key, amount in paid.items():
        if amount != 0.0:
            lines[key] = lines.get(key, 0.0) + amount
    ordered = sorted(lines)
    collateral = Collateral(np.array([k[0] for k in ordered], np.int32), tuple(k[1] for k in ordered), np.array([lines[k] for k in ordered], np.float64))
    kept = np.flatnonzero(alive)
    return replace(book, positions=Positions(*(getattr(p, f)[kept] for f in ("account", "netting_set", "instrument", "contracts", "quantity", "entry_quantity", "entry_cost"))), collateral=collateral)


def _entered(book: Book, market: MarketSnapshot) -> Book:
    p, more = book.positions, np.zeros(len(book.positions.instrument))
    for n in np.unique(p.instrument).tolist():
        instrument = book.instruments[n]
        if isinstance(instrument, Future | Perpetual):
            price, mine = quote_price(market, instrument), p.instrument == n
            blank = p.quantity[mine] - p.entry_quantity[mine]
            more[mine] = blank * price if instrument.settlement == "linear" else blank / price
    futures = np.array([isinstance(i, Future | Perpetual) for i in book.instruments], bool)[p.instrument]
    return replace(book, positions=replace(p, entry_quantity=np.where(futures, p.quantity, p.entry_quantity), entry_cost=p.entry_cost + more))


def _payoff(instrument: Any, market: MarketSnapshot, then: Moves, now: Moves) -> tuple[str, float]:
    """(asset, amount of it) that one unit pays when it expires; futures pay what they gained since the run. What is paid in a currency is kept in it and valued at the date."""
    rate = exchange_rate(market, instrument)
    level = market.spots[instrument.underlying] / rate * float(np.exp(then.level_in(instrument.underlying, instrument.quote_currency)))
    if isinstance(instrument, Option):
        gain = max((level - instrument.strike) * (1.0 if instrument.option_type == "call" else -1.0), 0.0)
    else:
        assert isinstance(instrument, Future)
        gain = level - quote_price(market, instrument)
        if instrument.settlement == "inverse":
            return instrument.underlying, 1.0 / quote_price(market, instrument) - 1.0 / level
    if instrument.settlement == "inverse":
        return instrument.underlying, gain / level
    return market.reporting_currency, gain * payment_rate(market, instrument) * float(np.exp(now.exchange(paid_in(instrument))))


__all__ = ["Outset", "Tomorrow", "check_can_move", "outset_of", "tomorrow", "whole_steps"]
