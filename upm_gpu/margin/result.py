"""From measures to margin: core, charges, equity, status, calls. Definitions: docs/design/conventions.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from upm_gpu.domain.book import Book
from upm_gpu.domain.instrument import Future, Instrument, Option, Perpetual, Spot
from upm_gpu.margin.collateral import Posted
from upm_gpu.margin.requests import Charge, Measure, Measured, MeasureRequest
from upm_gpu.margin.units import Units, sum_by
from upm_gpu.market.levels import exchange_rate, quote_price, spot_price
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.pricing.compiled import Compiled
from upm_gpu.risk.dependence import Dependence
from upm_gpu.risk.joint_error import Parts, joint_error, tail_effects
from upm_gpu.risk.tail_state import TailState

OK, CALL, LIQUIDATION = "ok", "call", "liquidation"


@dataclass(frozen=True)
class Equity:
    """Per account (A,), reporting currency."""

    collateral_value: NDArray[np.float64]
    """what counts: `market_value` less `haircut` less `liabilities`"""
    unrealised: NDArray[np.float64]
    option_value: NDArray[np.float64]
    market_value: NDArray[np.float64]
    """of collateral and spot positions that are not owed"""
    haircut: NDArray[np.float64]
    """what of it does not count: haircuts and limits"""
    liabilities: NDArray[np.float64]
    """negative balances and spot positions sold short, with their premiums; at least 0"""

    @property
    def total(self) -> NDArray[np.float64]:
        """(A,) the sum of the first three."""
        return self.collateral_value + self.unrealised + self.option_value


def account_equity(book: Book, market: MarketSnapshot, posted: Posted, unit_value: dict[str, float]) -> Equity:
    """Collateral (simulated at market, others after haircut), unrealised futures P&L since entry, net option value.

    `unit_value` is the value today of one unit of each held option that counts in equity (upfront premium), by instrument id.
    Spot positions stand with the collateral at market, sold ones among the liabilities: they are always simulated, so no haircut, tier or limit is theirs.
    """
    return equity_of(position_values(book, market, unit_value), book.positions.account, posted, len(book.accounts))


@dataclass(frozen=True)
class PositionValues:
    """What positions (P,) add to equity, reporting currency."""

    unrealised: NDArray[np.float64]
    assets: NDArray[np.float64]
    """spot at market"""
    options: NDArray[np.float64]


def position_values(book: Book, market: MarketSnapshot, unit_value: dict[str, float]) -> PositionValues:
    """Of every position of a book."""
    positions = book.positions
    gain_now, gain_entry, value = (np.zeros(len(book.instruments)) for _ in range(3))
    spot = np.zeros(len(book.instruments))
    for n in np.unique(positions.instrument):
        gain_now[n], gain_entry[n], spot[n], value[n] = equity_factors(book.instruments[n], market, unit_value)
    i = positions.instrument
    return PositionValues(positions.entry_quantity * gain_now[i] + positions.entry_cost * gain_entry[i], positions.quantity * spot[i], positions.quantity * value[i])


def equity_factors(instrument: Instrument, market: MarketSnapshot, unit_value: dict[str, float]) -> tuple[float, float, float, float]:
    """Factors of an instrument on entry_quantity, entry_cost, and of spot and of options on quantity."""
    if isinstance(instrument, Spot):
        return 0.0, 0.0, spot_price(market, instrument.underlying, instrument.instrument_id), 0.0
    if isinstance(instrument, Future | Perpetual):
        return (*gain_factors(instrument, market), 0.0, 0.0)
    return 0.0, 0.0, 0.0, unit_value[instrument.instrument_id]


def equity_of(values: PositionValues, account: NDArray[np.integer], posted: Posted, count: int) -> Equity:
    """Equity of `count` accounts from their positions, of `account` (P,), and their collateral."""
    collateral = sum_by(posted.account, posted.counted, count)
    assets = values.assets

    def added(amount: NDArray[np.float64]) -> NDArray[np.float64]:
        at = np.flatnonzero(amount)  # few positions have more than one kind of value, and nothing changes no sum
        return sum_by(account[at], amount[at], count)

    market_value, liabilities = (sum_by(posted.account, of_posted, count) + added(np.maximum(of_spot, 0.0))
                                 for of_posted, of_spot in ((np.maximum(posted.value, 0.0), assets), (np.maximum(-posted.counted, 0.0), -assets)))
    haircut = sum_by(posted.account, np.maximum(posted.value, 0.0) - np.maximum(posted.counted, 0.0), count)
    return Equity(collateral + added(assets), added(values.unrealised), added(values.options), market_value, haircut, liabilities)


def gain_factors(instrument: Future | Perpetual, market: MarketSnapshot) -> tuple[float, float]:
    """Factors (on entry_quantity, on entry_cost) of the gain since entry in the reporting currency.

    Linear: q (F_0 - entry) = q F_0 - cost. Inverse: q (1/entry - 1/F_0) S_0 = cost S_0 - q S_0 / F_0.
    """
    rate, price = exchange_rate(market, instrument), quote_price(market, instrument)
    spot = market.spots[instrument.underlying]
    if instrument.settlement == "linear":
        return price * rate, -rate
    return -spot / price, spot


@dataclass(frozen=True)
class MarginResult:
    """What an account must post, and why. `table` has one row an account, columns as in margin.csv."""

    table: pd.DataFrame
    units: pd.DataFrame
    """one row a margined unit"""
    contributions: pd.DataFrame
    """account_id, instrument_id, contribution; they sum to the expected shortfall of the account"""
    calls: pd.DataFrame
    measured: Measured
    charges: tuple[Charge, ...]
    provenance: dict

    def to_pandas(self) -> pd.DataFrame:
        """The margin table, one row an account."""
        return self.table.copy()


def margin_table(book: Book, units: Units, measured: Measured, core: MeasureRequest, charges: Sequence[Charge], equity: Equity,
                 shares: NDArray[np.float64], share_account: NDArray[np.int32], share_unit: NDArray[np.int32],
                 maintenance_ratio: float, common: Common) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables by account and by unit, of `margin_columns`."""
    accounts, by_unit = margin_columns(book, units, measured, core, charges, equity, shares, share_account, share_unit, maintenance_ratio, common)
    return pd.DataFrame(accounts), pd.DataFrame(by_unit)


def margin_columns(book: Book, units: Units, measured: Measured, core: MeasureRequest, charges: Sequence[Charge], equity: Equity,
                   shares: NDArray[np.float64], share_account: NDArray[np.int32], share_unit: NDArray[np.int32],
                   maintenance_ratio: float, common: Common) -> tuple[dict[str, Any], dict[str, Any]]:
    """Columns (A,) by account and (U,) by unit.

    `shares` are the parts (share_account, share_unit) an account bears of a unit: 1 where it is alone in it, its Euler share of a pool. Standard errors of accounts in several units are of the `common` scenarios.
    """
    count = len(book.accounts)

    def to_accounts(per_unit: NDArray[np.float64]) -> NDArray[np.float64]:
        return sum_by(share_account, shares * per_unit[share_unit], count)

    measure = measured.measures[core]
    error, quantile_error = account_errors(measure, common, Parts(shares, share_account, share_unit), count)
    per_unit = {c.name: c.amount for c in charges}
    initial_unit = measured.core + sum(per_unit.values())
    unit_table = {
        "unit": units.names, "member_id": units.member, "netting_set": units.netting_set, "initial_margin": initial_unit,
        "maintenance_margin": maintenance_ratio * initial_unit, "core": measured.core, "expected_shortfall": measure.expected_shortfall,
        "expected_shortfall_standard_error": measure.expected_shortfall_standard_error, "value_at_risk": measure.value_at_risk,
        **({} if measure.tail is None else {"tail_index": measure.tail.index, "tail_threshold": measure.tail.threshold, "tail_fitted": measure.tail.fitted}),
        **{f"charge_{k}": v for k, v in per_unit.items()}}
    errors = [c.standard_error for c in charges if c.standard_error is not None]  # bounds add up to a bound
    initial = to_accounts(initial_unit)
    maintenance = maintenance_ratio * initial
    total = equity.total
    unreliable = sum_by(share_account, (~measure.reliable[share_unit]).astype(float), count) > 0.0
    status = np.where(total >= initial, OK, np.where(total >= maintenance, CALL, LIQUIDATION))
    ratio = np.divide(total, maintenance, out=np.full(count, np.nan), where=maintenance > 0.0)
    return {
        "account_id": [a.account_id for a in book.accounts], "initial_margin": initial, "maintenance_margin": maintenance,
        "core": to_accounts(measured.core), "expected_shortfall": to_accounts(measure.expected_shortfall),
        "expected_shortfall_standard_error": error, "value_at_risk": to_accounts(measure.value_at_risk),
        "value_at_risk_standard_error": quantile_error,
        "standard_error_reliable": ~unreliable,
        **({} if measure.variance_ratio is None else {"variance_ratio": _smallest(measure.variance_ratio, share_account, share_unit, count)}),
        **({} if measure.tail is None else {"tail_index": _largest(measure.tail.index, share_account, share_unit, count), "tail_threshold": to_accounts(measure.tail.threshold),
                                            "tail_fitted": _all(measure.tail.fitted, share_account, share_unit, count)}),
        **{f"charge_{k}": to_accounts(v) for k, v in per_unit.items()},
        **({"charges_standard_error": sum_by(share_account, np.abs(shares) * np.asarray(sum(errors))[share_unit], count)} if errors else {}),
        "collateral_market_value": equity.market_value, "collateral_haircut": equity.haircut, "liabilities": equity.liabilities,
        "collateral_value": equity.collateral_value, "unrealised_pnl": equity.unrealised, "option_value": equity.option_value,
        "equity": total, "excess": total - initial, "margin_ratio": ratio, "status": status}, unit_table


@dataclass(frozen=True)
class Common:
    """The tails of all units on the scenarios that they share."""

    tail: TailState
    horizon: int
    """of the core, in the tail"""
    dependence: Dependence
    weights: NDArray[np.float64] | None = None
    """(S,) of importance sampling"""


def account_errors(measure: Measure, common: Common, parts: Parts, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(A,) standard errors of expected shortfall and value-at-risk."""
    quantile = measure.value_at_risk if measure.tail is None else measure.tail.plain_quantile
    shortfall, beyond = tail_effects(common.tail, common.horizon, quantile) if len(parts.several) else (np.zeros((0, 0)),) * 2
    scenario = common.tail.scenario[common.horizon]

    def joint(own: NDArray[np.float64], effect: NDArray[np.float64]) -> NDArray[np.float64]:
        return joint_error(parts, count, own, effect, scenario, common.tail.count, common.dependence, common.weights)

    return joint(measure.expected_shortfall_standard_error, shortfall), joint(measure.value_at_risk_standard_error, beyond)


def _smallest(per_unit: NDArray[np.float64], account: NDArray[np.int32], unit: NDArray[np.int32], count: int) -> NDArray[np.float64]:
    """(A,) the smallest over the units of an account; NaN where it has none with risk."""
    found = np.full(count, np.nan)
    np.fmin.at(found, account, per_unit[unit])
    return found


def _largest(per_unit: NDArray[np.float64], account: NDArray[np.int32], unit: NDArray[np.int32], count: int) -> NDArray[np.float64]:
    """(A,) the largest over the units of an account; NaN where it has none."""
    found = np.full(count, np.nan)
    np.fmax.at(found, account, per_unit[unit])
    return found


def _all(per_unit: NDArray[np.bool_], account: NDArray[np.int32], unit: NDArray[np.int32], count: int) -> NDArray[np.bool_]:
    """(A,) whether it holds for every unit of an account; False where it has none."""
    held, of = sum_by(account, per_unit[unit].astype(float), count), np.bincount(account, minlength=count)
    result: NDArray[np.bool_] = (of > 0) & (held == of)
    return result


def calls_table(table: pd.DataFrame) -> pd.DataFrame:
    """Accounts that must post or are liquidated; amount = initial margin - equity."""
    short = table[table["status"] != OK]
    return pd.DataFrame({"account_id": short["account_id"], "status": short["status"], "amount": short["initial_margin"] - short["equity"],
                         "equity": short["equity"], "initial_margin": short["initial_margin"], "maintenance_margin": short["maintenance_margin"]}).reset_index(drop=True)


def repeated(names: Sequence[str], index: NDArray[np.integer]) -> pd.Categorical:
    """`names[i]` for every i of `index`, as codes: a million lines repeat a few thousand ids."""
    distinct, place = np.unique(np.array(names, object), return_inverse=True)
    return pd.Categorical.from_codes(place[index], distinct)


def account_shares(accounts: Sequence[str], units: Units, line_contribution: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int32]]:
    """(shares, account, unit): 1 for an account alone in a unit, else its Euler contribution over the pool's.

    A pool whose contributions sum to 0 is shared equally: there is nothing to attribute. An account without anything that moves bears its own unit, whose charges on what is posted or owed are its.
    """
    lines = units.lines
    begins = np.ones(len(lines.unit), bool)  # lines ascend by (unit, account)
    begins[1:] = (lines.unit[1:] != lines.unit[:-1]) | (lines.account[1:] != lines.account[:-1])
    unit, account = lines.unit[begins], lines.account[begins]
    amount = sum_by(np.cumsum(begins) - 1, line_contribution, len(unit))
    members = np.bincount(unit, minlength=len(units.names))
    total = sum_by(unit, amount, len(units.names))[unit]
    safe = np.where(total == 0.0, 1.0, total)
    share = np.where(members[unit] == 1, 1.0, np.where(total == 0.0, 1.0 / np.maximum(members[unit], 1), amount / safe))
    still = np.setdiff1d(np.arange(len(accounts)), account)
    if not len(still):
        return share, account, unit
    number = {name: u for u, name in enumerate(units.names) if not units.netting_set[u]}
    own = np.array([number.get(accounts[a], -1) for a in still], np.int32)
    still, own = still[own >= 0], own[own >= 0]
    return np.concatenate([share, np.ones(len(still))]), np.concatenate([account, still]).astype(np.int32), np.concatenate([unit, own]).astype(np.int32)


def model_values(compiled: Compiled, instruments: Sequence[Instrument], value0: NDArray[np.float64]) -> dict[str, float]:
    """Model value today of one unit of every option, reporting currency."""
    return {i.instrument_id: float(value0[compiled.instrument_column[n] - compiled.linear]) for n, i in enumerate(instruments) if isinstance(i, Option)}


def option_values(compiled: Compiled, instruments: Sequence[Instrument], value0: NDArray[np.float64]) -> dict[str, float]:
    """The part of it that counts in equity: nothing under futures-style premium, which is settled daily."""
    settled = {i.instrument_id for i in instruments if isinstance(i, Option) and i.premium == "futures"}
    return {name: 0.0 if name in settled else value for name, value in model_values(compiled, instruments, value0).items()}
