"""What a trade in a listed instrument costs, how much of it the market takes, and in which steps: the terms that hedges and orders are held to.

Per contract, in the reporting currency: half of bid to ask, from the chain where the strike has both quotes (the other option of that strike: made from it and a future, by parity; unquoted
ones a share of their value and of the underlying), and the taker's fee. An order is at most a share of open interest and of the day's volume, of the strike's own quote; the position after it at most another share of open
interest, except that what is held may always be reduced. Numbers: `configs/desk/*.toml`, each with its source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from upm_gpu.domain.instrument import Future, Instrument, Option, Perpetual, Spot, expiry_of
from upm_gpu.margin.result import model_values
from upm_gpu.market.levels import exchange_rate, quote_price, spot_price
from upm_gpu.market.snapshot import MarketSnapshot, days_between
from upm_gpu.shipped import find_file
from upm_gpu.strict_toml import Strict, build, read_toml

if TYPE_CHECKING:
    from upm_gpu.desk.resident import Resident

SHIPPED = "configs/desk/trading_crypto_v1.toml"


class Fees(Strict):
    """[fees]"""

    option_share_of_underlying: float = Field(ge=0.0, le=1.0)
    option_cap_share_of_value: float = Field(ge=0.0, description="fees of an option are at most this share of its value; 0: no cap")
    option_per_contract: float = Field(ge=0.0, description="reporting currency")
    future_share_of_notional: float = Field(ge=0.0, le=1.0)
    future_per_contract: float = Field(ge=0.0)
    spot_share: float = Field(ge=0.0, le=1.0)


class HalfSpread(Strict):
    """[half_spread], where the chain has no bid or ask"""

    option_unquoted_share_of_value: float = Field(ge=0.0)
    option_unquoted_share_of_underlying: float = Field(ge=0.0)
    future_share: float = Field(ge=0.0)
    spot_share: float = Field(ge=0.0)


class Liquidity(Strict):
    """[liquidity]"""

    share_of_open_interest: float = Field(ge=0.0)
    share_of_volume: float = Field(ge=0.0)
    position_share_of_open_interest: float = Field(ge=0.0)
    linear_notional: float = Field(ge=0.0, description="reporting currency, of futures, perpetuals and spot, an order and a position each")


class Lots(Strict):
    """[lots], contracts"""

    option: float = Field(gt=0.0)
    future: float = Field(gt=0.0)
    spot: float = Field(gt=0.0)
    option_by_underlying: dict[str, float] = Field(default={})


class Trading(Strict):
    """Costs, limits and steps of orders."""

    schema_version: int
    name: str
    version: str
    effective_date: date
    fees: Fees
    half_spread: HalfSpread
    liquidity: Liquidity
    lots: Lots


def load_trading(path: str | Path = SHIPPED) -> Trading:
    """The terms of a file. Raises InputError UPM-CF-056 and following."""
    file = find_file(path)
    tables, text = read_toml(file, "trading terms")
    return build(Trading, tables, file.name, text, {})


@dataclass(frozen=True, eq=False)
class Tradable:
    """Instruments that an account may trade, arrays (J,), ascending by id; money in the reporting currency."""

    instruments: tuple[Instrument, ...]
    place: NDArray[np.int64]
    """in the plan of the resident"""
    half_spread: NDArray[np.float64]
    """a contract"""
    fee: NDArray[np.float64]
    """a contract"""
    buy: NDArray[np.float64]
    sell: NDArray[np.float64]
    """largest order, contracts, both at least 0 and whole steps"""
    lot: NDArray[np.float64]

    @property
    def cost(self) -> NDArray[np.float64]:
        """(J,) of a contract, bought or sold."""
        return self.half_spread + self.fee

    @property
    def names(self) -> tuple[str, ...]:
        """Instrument ids."""
        return tuple(i.instrument_id for i in self.instruments)


@dataclass(frozen=True)
class _Quote:
    half_spread: float
    """NaN where bid or ask is missing"""
    open_interest: float
    volume: float
    option_type: str


def _quotes(market: MarketSnapshot) -> dict[tuple[str, object, float], _Quote]:
    q = market.quotes
    half = np.where((q.bid > 0.0) & (q.ask >= q.bid), 0.5 * (q.ask - q.bid), np.nan)
    return {(str(q.underlying[n]), q.expiry[n], float(q.strike[n])): _Quote(float(half[n]), float(q.open_interest[n]), float(q.volume[n]), str(q.mark_type[n])) for n in range(len(q.strike))}


def tradable(resident: Resident, account: str, netting_set: str, trading: Trading, only: Sequence[str] = (), priced: Resident | None = None) -> Tradable:
    """What an account may trade of what is resident, with the market's and the terms' limits; `only` narrows it to some ids. `priced` is the resident whose
    instruments and values are meant, where it is not the one that says what is held (`desk/rebuilt.py`).

    An instrument that expires inside the margin period is no hedge of it: it may only be reduced. Combos are traded by their legs.
    """
    source = priced or resident
    plan = source.plan
    market, quotes = plan.market, _quotes(plan.market)
    period = plan.horizons[plan.horizon(plan.core.horizon)]
    held = held_contracts(resident, account, netting_set)
    wanted, values = set(only), model_values(plan.compiled, plan.instruments, source.value0)
    rows: list[tuple[Instrument, int, float, float, float, float, float]] = []
    for place, instrument in enumerate(plan.instruments):
        name = instrument.instrument_id
        if name not in resident.known.instruments or (wanted and name not in wanted):
            continue
        half, fee = _cost(instrument, market, quotes, trading, values.get(name, 0.0))
        lot = _lot(instrument, trading)
        order, position = _limits(instrument, market, quotes, trading)
        own = held.get(name, 0.0)
        expiry = expiry_of(instrument)
        if expiry is not None and days_between(market.valuation_time, expiry) <= period:
            position = 0.0
        buy = min(max(order, 0.0), max(position - own, 0.0, -own))
        sell = min(max(order, 0.0), max(position + own, 0.0, own))
        rows.append((instrument, place, half, fee, _whole(buy, lot), _whole(sell, lot), lot))
    columns = list(zip(*rows, strict=True)) if rows else [()] * 7
    return Tradable(tuple(columns[0]), np.array(columns[1], np.int64), *(np.array(c, np.float64) for c in columns[2:]))


def held_contracts(resident: Resident, account: str, netting_set: str) -> dict[str, float]:
    """Contracts held by an account in a netting set, by instrument id."""
    book = resident.plan.book
    p = book.positions
    if netting_set not in book.netting_sets:
        return {}
    mine = np.flatnonzero((p.account == resident.known.accounts[account]) & (p.netting_set == book.netting_sets.index(netting_set)))
    return {book.instruments[int(p.instrument[n])].instrument_id: float(p.contracts[n]) for n in mine}


def _whole(contracts: float, lot: float) -> float:
    """The largest multiple of the lot that is not above; 1e-9 of a step is rounding."""
    return round(math.floor(contracts / lot + 1e-9) * lot, 10)


def _lot(instrument: Instrument, trading: Trading) -> float:
    if isinstance(instrument, Option):
        return trading.lots.option_by_underlying.get(instrument.underlying, trading.lots.option)
    return trading.lots.spot if isinstance(instrument, Spot) else trading.lots.future


def _notional(instrument: Instrument, market: MarketSnapshot) -> float:
    """Of one contract, reporting currency."""
    if isinstance(instrument, Spot):
        return instrument.contract_size * spot_price(market, instrument.underlying, instrument.instrument_id)
    if isinstance(instrument, Option):
        return instrument.contract_size * spot_price(market, instrument.underlying, instrument.instrument_id)
    size = instrument.contract_size * exchange_rate(market, instrument)
    return size if instrument.settlement == "inverse" else size * quote_price(market, instrument)


def _cost(instrument: Instrument, market: MarketSnapshot, quotes: dict, trading: Trading, unit_value: float) -> tuple[float, float]:
    """(half spread, fee) of one contract."""
    fees, spread, notional = trading.fees, trading.half_spread, _notional(instrument, market)
    if isinstance(instrument, Spot):
        return spread.spot_share * notional, fees.spot_share * notional
    if isinstance(instrument, Future | Perpetual):
        return spread.future_share * notional, fees.future_share_of_notional * notional + fees.future_per_contract
    value = abs(unit_value) * instrument.contract_size
    fee = fees.option_share_of_underlying * notional + fees.option_per_contract
    if fees.option_cap_share_of_value > 0.0:
        fee = min(fee, fees.option_cap_share_of_value * value)
    quote: _Quote | None = quotes.get((instrument.underlying, instrument.expiry, instrument.strike))
    if quote is None or math.isnan(quote.half_spread):
        return max(spread.option_unquoted_share_of_value * value, spread.option_unquoted_share_of_underlying * notional), fee
    unit = spot_price(market, instrument.underlying, instrument.instrument_id) if instrument.settlement == "inverse" else exchange_rate(market, instrument)
    half = quote.half_spread * unit * instrument.contract_size
    synthetic = (spread.future_share + fees.future_share_of_notional) * notional
    return half + (0.0 if quote.option_type in ("", instrument.option_type) else synthetic), fee


def _limits(instrument: Instrument, market: MarketSnapshot, quotes: dict, trading: Trading) -> tuple[float, float]:
    """(order, position) in contracts, at most."""
    terms = trading.liquidity
    if not isinstance(instrument, Option):
        most = terms.linear_notional / max(_notional(instrument, market), 1e-300)
        return most, most
    quote: _Quote | None = quotes.get((instrument.underlying, instrument.expiry, instrument.strike))
    if quote is None:
        return 0.0, 0.0
    interest, volume = (0.0 if math.isnan(x) else x for x in (quote.open_interest, quote.volume))
    return min(terms.share_of_open_interest * interest, terms.share_of_volume * volume), terms.position_share_of_open_interest * interest
