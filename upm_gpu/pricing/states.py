"""Which states a book reads: those a model draws, and those made from them (`scenario/derived.py`).

A level is in the currency its spot is quoted in (so are its closes in the history). In another currency it moves by the difference of
their exchange rates, log_level[A] + log_fx[of A] - log_fx[of the quote]; what is paid in a currency C is worth exp(log_fx[C]) of what it was. The
exchange rate of C is the state log_fx[C], or log_level[C] where the history of C is one of the model's price series; where the model makes
neither it is constant, said once.

Switched on by the configuration (`Dynamics`): the basis of perpetuals, funding accrued along the path, rates that move. Verified by
tests/end_to_end/test_currencies.py, test_perpetuals.py, test_rates.py and path by path in tests/parity/test_derived.py.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.instrument import Future, Instrument, Option, Perpetual, Spot
from upm_gpu.errors import InputError
from upm_gpu.market.levels import daily_funding, exchange_rate, quote_price, spot_price
from upm_gpu.market.snapshot import MarketSnapshot, days_between
from upm_gpu.pricing.two_assets import options_read
from upm_gpu.scenario.derived import Funding, Operation, inverse_contract, linear_combination, linear_contract

if TYPE_CHECKING:
    from upm_gpu.pricing.dynamics import Dynamics

EXPONENTIAL, RETURN = 0, 1
"""Program.linear_form: what a linear column makes of its state"""
SLOPE_FROM, SLOPE_TO = 30.0, 365.0
"""days: rate_level is the move of the zero rate at the first, rate_slope that of the second over the first; linear between, flat outside"""


def expiry_label(expiry: datetime) -> str:
    """An expiry as names of states write it."""
    return f"{expiry.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


@dataclass
class States:
    """Names to indices, and the operations that the book turned out to need, in order."""

    market: MarketSnapshot
    dynamics: Dynamics
    dates: NDArray[np.float64]
    """(D,) days since the valuation time"""
    drawn: Sequence[str]
    operations: list[Operation] = field(default_factory=list)
    place: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.place = {name: k for k, name in enumerate(self.drawn)}

    @property
    def names(self) -> tuple[str, ...]:
        """Drawn, then made."""
        return tuple(self.place)

    def index(self, name: str) -> int:
        """Place of a state, -1 for none."""
        return self.place[name] if name else -1

    def level(self, asset: str) -> str:
        """The state of an asset's level in its own currency."""
        return next((n for n in (f"log_level[{asset}]", f"log_fx[{asset}]") if n in self.place), f"log_level[{asset}]")

    def exchange(self, currency: str) -> str:
        """The state of a currency's exchange rate; "" for the reporting currency and for one that does not move."""
        if currency == self.market.reporting_currency:
            return ""
        found = next((n for n in (f"log_fx[{currency}]", f"log_level[{currency}]") if n in self.place), "")
        if not found:
            self.warnings[f"UPM-PR-060 {currency}: the model has no factor of its exchange rate, which is constant in every scenario. Add closes of {currency} to the market's "
                          "history if positions in it should move with it."] = None
        return found

    def level_in(self, asset: str, currency: str) -> str:
        """The state of an asset's level in a currency."""
        own = self.market.spot_currency.get(asset, self.market.reporting_currency)
        weights: dict[str, float] = {}
        for state, weight in ((self.level(asset), 1.0), (self.exchange(own) if own != currency else "", 1.0), (self.exchange(currency) if own != currency else "", -1.0)):
            if state:
                weights[state] = weights.get(state, 0.0) + weight
        if list(weights.values()) == [1.0]:
            return next(iter(weights))
        return self.made(f"log_level[{asset},{currency}]", lambda name: linear_combination(name, weights, len(self.dates)))

    def value_of(self, asset: str) -> str:
        """The state of an asset's value in the reporting currency."""
        return self.level_in(asset, self.market.reporting_currency)

    def scale(self, currency: str, expiry: datetime | None) -> str:
        """The state of what a payment in a currency is worth: its exchange rate, with the discount factor to `expiry` where there is one and rates move."""
        exchange = self.exchange(currency)
        weights = self.rate_weights(currency, expiry) if expiry is not None and self.dynamics.rates else {}
        if not weights:
            return exchange
        if not exchange:
            return self.made(f"log_discount[{currency},{expiry_label(expiry)}]", lambda name: linear_combination(name, weights, len(self.dates)))  # type: ignore[arg-type]
        both = {exchange: np.ones(len(self.dates)), **weights}
        return self.made(f"log_value[{currency},{expiry_label(expiry)}]", lambda name: linear_combination(name, both, len(self.dates)))  # type: ignore[arg-type]

    def rate_weights(self, currency: str, expiry: datetime) -> dict[str, NDArray[np.float64]]:
        """Weights (D,) of the rate factors of a currency in the log discount factor from each date to an expiry."""
        level, slope = f"rate_level[{currency}]", f"rate_slope[{currency}]"
        if level not in self.place and slope not in self.place:
            raise InputError("UPM-PR-063", f"model.rates is moving and the model makes no rate_level[{currency}], which discounts options quoted in it. Add {currency}.RATE to the "
                             "market's history, name the state in the parameter file, set model.rate_volatility (models gbm and garch), or set model.rates to fixed.")
        left = np.maximum(days_between(self.market.valuation_time, expiry) - self.dates, 0.0)
        share = np.clip((left - SLOPE_FROM) / (SLOPE_TO - SLOPE_FROM), 0.0, 1.0)
        found = {level: -left / 365.0, slope: -left / 365.0 * share}
        return {name: weight for name, weight in found.items() if name in self.place}

    def contract(self, instrument: Future | Perpetual, settles: int) -> tuple[str, float, int]:
        """State, coefficient and form of the linear column of a future or perpetual: P&L = coefficient x (exp(state) - 1), or x state.

        `settles`: path date of its settlement, or -1.
        """
        market = self.market
        price, rate = quote_price(market, instrument), exchange_rate(market, instrument)
        spot = spot_price(market, instrument.underlying, instrument.instrument_id)
        index = spot / rate
        level, exchange = self.level_in(instrument.underlying, instrument.quote_currency), self.exchange(instrument.quote_currency)
        basis, funding = (self.basis(instrument), self.funding(instrument)) if isinstance(instrument, Perpetual) else ("", None)
        ending = "" if isinstance(instrument, Perpetual) else f",{expiry_label(instrument.expiry)}"
        name = f"return[{instrument.underlying},{instrument.quote_currency},{instrument.settlement}{ending}]"
        if instrument.settlement == "inverse":
            value = self.value_of(instrument.underlying)
            if not basis and funding is None and value == level:
                return level, spot / price, EXPONENTIAL
            return self.made(name, lambda n: inverse_contract(n, self.dates, value, level, basis, price / index, funding)), spot / price, RETURN
        if not basis and funding is None and not exchange and settles < 0:
            return level, price * rate, EXPONENTIAL
        after = np.arange(len(self.dates)) >= settles if settles >= 0 else np.zeros(len(self.dates), bool)
        read = np.where(after, settles, np.arange(len(self.dates)))
        made = self.made(name, lambda n: linear_contract(n, self.dates, level, basis, exchange, index / price, funding, np.where(after, index / price, 1.0), read.tolist()))
        return made, price * rate, RETURN

    def basis(self, instrument: Perpetual) -> str:
        """The state of a perpetual's basis; "" where it is switched off."""
        name = f"log_basis[{instrument.underlying}]"
        if not self.dynamics.basis:
            return ""
        if name not in self.place:
            raise InputError("UPM-PR-061", f"{instrument.instrument_id}: model.basis is on and the model makes no {name}. Add {instrument.underlying}.PERP to the market's history, "
                             "name the state in the parameter file, set model.basis_volatility (models gbm and garch), or set model.basis to false.")
        return name

    def funding(self, instrument: Perpetual) -> Funding | None:
        """How a perpetual is paid for; None where funding is zero."""
        if self.dynamics.funding == "zero":
            return None
        name, today = f"funding_rate[{instrument.underlying}]", daily_funding(self.market, instrument.underlying)
        if name not in self.place and today is None and self.dynamics.funding_rate == 0.0:
            raise InputError("UPM-PR-062", f"{instrument.instrument_id}: model.funding is path and nothing is known of its funding. Add {instrument.underlying}.FUNDING to the "
                             "market's history, set model.funding_rate, or set model.funding to zero.")
        if name not in self.place:
            self.warnings[f"UPM-PR-062 {instrument.underlying}: the model has no {name}; funding accrues at today's rate in every scenario."] = None
        return Funding(self.dynamics.step_days, self.dynamics.funding_rate if today is None else today, name if name in self.place else "")

    def add(self, operations: Sequence[Operation], warnings: Sequence[str]) -> None:
        """Operations whatever the book holds, and what there is to say of them."""
        for operation in operations:
            self.operations.append(operation)
            for name in operation.outputs:
                self.place[name] = len(self.place)
        self.warnings |= dict.fromkeys(warnings)

    def made(self, name: str, operation: object) -> str:
        """The name of a state, made by operation(name) the first time."""
        if name not in self.place:
            found: Operation = operation(name)  # type: ignore[operator]
            self.operations.append(found)
            self.place[name] = len(self.place)
        return name


def required_states(instruments: Sequence[Instrument], reporting_currency: str, made: Container[str] = ()) -> set[str]:
    """Names of the states a book reads for its levels and volatilities, given those a model makes."""
    names = set()
    for instrument in instruments:
        if isinstance(instrument, Spot) and instrument.underlying == reporting_currency:
            continue
        fx = f"log_fx[{instrument.underlying}]"
        names.add(fx if fx in made and f"log_level[{instrument.underlying}]" not in made else f"log_level[{instrument.underlying}]")
    for option in options_read(instruments):
        names.add(f"log_level[{option.underlying}]")
        own, common = volatility_states(option)
        names.add(own if own in made else common)
    return names


def volatility_states(option: Option) -> tuple[str, str]:
    """Names of the states an option's volatility may follow: its own expiry's, which acts in full, else the underlying's 30-day one."""
    return f"volatility_shift[{option.underlying},{expiry_label(option.expiry)}]", f"volatility_shift[{option.underlying}]"


def surface_states(option: Option) -> tuple[str, str]:
    """Names of the states by which the smile of an option's expiry tilts and stretches, where something makes them."""
    expiry = f"{option.underlying},{expiry_label(option.expiry)}"
    return f"volatility_skew[{expiry}]", f"volatility_stretch[{expiry}]"


def funding_dates(instruments: Sequence[Instrument], horizons: Sequence[float], dynamics: Dynamics) -> list[float]:
    """Path dates that the perpetuals of a book need."""
    return accrual_dates(horizons, dynamics) if any(isinstance(i, Perpetual) for i in instruments) else []


def accrual_dates(horizons: Sequence[float], dynamics: Dynamics) -> list[float]:
    """Dates on which funding accrues before the longest horizon."""
    if dynamics.funding == "zero":
        return []
    return [dynamics.step_days * (i + 1) for i in range(int(np.ceil(max(horizons) / dynamics.step_days - 1e-9)) - 1)]


def inspected(market: MarketSnapshot, drawn: Sequence[str], dates: NDArray[np.float64], dynamics: Dynamics) -> tuple[Operation, ...]:
    """The states made from those of a model without a book, for inspection: levels in the reporting currency, and a return of each perpetual whose basis or funding is on."""
    states = States(market, dynamics, dates, drawn)
    for asset in sorted(market.spots):
        if f"log_level[{asset}]" not in states.place or asset == market.reporting_currency:
            continue
        states.value_of(asset)
        if (asset, None) in market.forwards and (dynamics.funding != "zero" or (dynamics.basis and f"log_basis[{asset}]" in states.place)):
            currency = market.spot_currency.get(asset, market.reporting_currency)
            settlements: tuple[Literal["linear", "inverse"], ...] = ("linear", "inverse")
            for settlement in settlements:
                states.contract(Perpetual(f"{asset} perpetual", asset, settlement, currency, 1.0), -1)
    return tuple(states.operations)
