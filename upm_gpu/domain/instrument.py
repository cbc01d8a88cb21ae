"""What can be held: terms only, one small class a product. Prices and quantities live elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Settlement = Literal["linear", "inverse", "quanto"]
TWO_ASSETS = ("spread", "maximum_of_two", "minimum_of_two")


@dataclass(frozen=True, slots=True)
class Quanto:
    """What is paid in another currency at a fixed rate."""

    currency: str
    rate: float
    """units of it for each unit of the quote currency"""
    volatility: float | None = None
    """a square-root year, of a unit of the quote currency in the other; None: the model's"""
    correlation: float | None = None
    """of that value with the underlying in its quote currency; None: the model's"""


@dataclass(frozen=True, slots=True)
class Spot:
    """One unit of an asset: a coin, a share, or a currency held as cash."""

    instrument_id: str
    underlying: str
    quote_currency: str
    contract_size: float = 1.0


@dataclass(frozen=True, slots=True)
class Future:
    """A dated future. Linear: pays C (F_h - F_0) in the quote currency. Inverse: C is an amount of quote currency, pays C (1/F_0 - 1/F_h) coins."""

    instrument_id: str
    underlying: str
    settlement: Settlement
    quote_currency: str
    contract_size: float
    expiry: datetime


@dataclass(frozen=True, slots=True)
class Perpetual:
    """A future without expiry. Funding is zero unless the configuration accrues it along the path."""

    instrument_id: str
    underlying: str
    settlement: Settlement
    quote_currency: str
    contract_size: float


@dataclass(frozen=True, slots=True)
class Option:
    """An option on the forward of its expiry, or on a future that ends later. Inverse: C coins a contract, paid in coins."""

    instrument_id: str
    underlying: str
    settlement: Settlement
    quote_currency: str
    contract_size: float
    expiry: datetime
    strike: float
    option_type: Literal["call", "put"]
    exercise: Literal["european", "american"] = "european"
    premium: Literal["upfront", "futures"] = "upfront"
    future_expiry: datetime | None = None
    """of the dated future that it is exercised into; None where it is on the index or stock itself"""
    quanto: Quanto | None = None
    """given where the settlement is quanto, and only there"""


@dataclass(frozen=True, slots=True)
class Exotic(Option):
    """An option with further terms, by the names of `upm price`, linear or inverse; amounts in the quote currency. A touch has its barrier as strike, which is where its volatility is read."""

    product: Literal["digital", "barrier", "one_touch", "no_touch", "asian", "spread", "maximum_of_two", "minimum_of_two", "forward_start", "double_barrier"] = "digital"
    barrier: float = 0.0
    barrier_type: str = ""
    """up_out, up_in, down_out, down_in; of a touch up, down; of two barriers knock_out, knock_in. Looked at all the time, or where there are fixings on those"""
    lower_barrier: float = 0.0
    upper_barrier: float = 0.0
    """of a double barrier, which has no `barrier`"""
    rebate: float = 0.0
    payout_type: str = ""
    payout: float = 0.0
    """cash, or units of the asset"""
    payout_time: str = ""
    asian_average: str = ""
    fixings: tuple[datetime, ...] = ()
    """to come, of an average or a barrier"""
    fixings_so_far: int = 0
    average_so_far: float = 0.0
    underlying_2: str = ""
    """of an option on two assets: S1 - S2 - K, or the better or the worse of the two; both in the quote currency"""
    correlation: float | None = None
    """of the two; None: the model's"""
    moneyness: float = 0.0
    """of a forward start: strike over the level at its start, which is its one fixing; `strike` is the same number"""


Instrument = Spot | Future | Perpetual | Option


def paid_in(instrument: Future | Perpetual | Option) -> str:
    """The currency a linear or quanto contract pays in."""
    quanto = instrument.quanto if isinstance(instrument, Option) else None
    return instrument.quote_currency if quanto is None else quanto.currency


def expiry_of(instrument: Instrument) -> datetime | None:
    """When it ends; None for what has no end (spot, perpetual)."""
    return instrument.expiry if isinstance(instrument, Future | Option) else None
