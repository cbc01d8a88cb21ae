"""Book x market -> arrays. Nothing is priced here; what is missing, expired or unpriceable is named here.

A new instrument or account never changes a draw: states are looked up by name in the order the model gives them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from upm_gpu.domain.instrument import Exotic, Future, Instrument, Option, Perpetual, Spot, paid_in
from upm_gpu.errors import InputError, MarketDataError
from upm_gpu.market.levels import exchange_rate, payment_rate, quote_price, spot_price
from upm_gpu.market.marks import MarkCheck, check_marks
from upm_gpu.market.snapshot import MarketSnapshot, days_between
from upm_gpu.model.pricing_law import PricingLaw
from upm_gpu.pricing.compiled import (
    GROUP_INTEGERS,
    GROUP_REALS,
    TERM_REALS,
    Compiled,
    Family,
    ModelRequest,
    Program,
    TableRequest,
)
from upm_gpu.pricing.dividends import cash_dividends_of, dividend_request
from upm_gpu.pricing.dynamics import Dynamics, Periods
from upm_gpu.pricing.exotics import check_exotic, exotic_group
from upm_gpu.pricing.forward_starts import slice_between, start_states, starts_later, strike_today
from upm_gpu.pricing.model_repricing import AtQuotes, at_quotes_warning, model_request, why_at_quotes
from upm_gpu.pricing.quantos import drift_of
from upm_gpu.pricing.states import (
    EXPONENTIAL,
    States,
    required_states,
    surface_states,
    volatility_states,
)
from upm_gpu.pricing.styles import Beyond, beyond_surface, beyond_warning, early_exercise
from upm_gpu.pricing.surface_factors import surface_operations
from upm_gpu.pricing.two_assets import PAYOFFS, leg_at_its_smile, nodes, on_two
from upm_gpu.scenario.derived import Bridges

NO_DATE = -1
FREE_STRIKE = 1e-30
"""A linear future that settles inside the longest horizon is a call struck at next to nothing: worth the forward while it lives, the
index once it has settled. In units of its forward; 1e-30 is lost in the rounding of the forward."""


@dataclass(frozen=True)
class CompileReport:
    """What was noticed on the way: for the data-quality section of a report."""

    quarantined: tuple[dict, ...] = ()
    model_minus_mark: dict[str, float] = field(default_factory=dict)
    surfaces: tuple[dict, ...] = ()
    warnings: tuple[str, ...] = ()


def compile_book(instruments: Sequence[Instrument], market: MarketSnapshot, surfaces: dict, state_names: Sequence[str],
                 dates: np.ndarray, horizons: Sequence[float], dynamics: Dynamics, bridges: Bridges | None = None,
                 laws: Mapping[str, PricingLaw] | None = None, periods: Periods | None = None) -> tuple[Compiled, CompileReport]:
    """Arrays of every instrument for every horizon; at that of `periods` each instrument is read at its own date. `state_names` are those the model draws; the arrays name those made from them too, with the operations. With `laws`, those of the
    scenarios' own model by underlying, European options are priced under it at the horizon; without, at quoted volatilities that move.

    `instruments` ascend by id and exclude cash in the reporting currency. Raises InputError for a state the model does
    not make and for what cannot be priced, MarketDataError for a missing level, forward or currency.
    """
    missing = sorted(required_states(instruments, market.reporting_currency, state_names) - set(state_names))
    if missing:
        raise InputError("UPM-PR-001", f"the book reads {missing[0]}, which the model does not make. "
                         f"Add the asset's closes to the market's history, or the factor to the parameter file (made are {', '.join(state_names)}).")
    if not list(instruments):
        raise InputError("UPM-IN-039", "nothing to margin: no instrument is held. Check the positions and rejects.")
    date_index = {float(d): i for i, d in enumerate(dates)}
    states = States(market, dynamics, np.asarray(dates, float), state_names)
    states.add(*surface_operations(state_names, surfaces, dynamics))
    build = _Build(market, surfaces, states, date_index, tuple(horizons), dynamics, check_marks(market), bridges, laws, periods)
    for n, instrument in enumerate(instruments):
        build.add(n, instrument)
    return build.finish(tuple(instruments), np.asarray(dates, float))


@dataclass
class _Build:
    """Columns as they are found: linear keys first, then one pricing column an option, grouped."""

    market: MarketSnapshot
    surfaces: dict
    states: States
    date_index: dict[float, int]
    horizons: tuple[float, ...]
    dynamics: Dynamics
    marks: MarkCheck
    bridges: Bridges | None
    laws: Mapping[str, PricingLaw] | None = None
    periods: Periods | None = None
    linear_states: dict[tuple[int, int, float], list[tuple[int, float]]] = field(default_factory=dict)
    """(state, form, own date) -> its instruments and their coefficients"""
    groups: dict[tuple, list[tuple[int, Future | Option]]] = field(default_factory=dict)
    beyond: list[Beyond] = field(default_factory=list)
    at_quotes: AtQuotes = field(default_factory=dict)

    def own_date(self, n: int) -> float:
        """Days at which instrument `n` is read at the horizon of the periods; 0 where all are read at the horizon."""
        return self.periods.days[n] if self.periods is not None else 0.0

    def add(self, n: int, instrument: Instrument) -> None:
        """Give instrument `n` a linear key or a place in a pricing group."""
        if isinstance(instrument, Spot):
            self.linear(n, self.states.value_of(instrument.underlying), spot_price(self.market, instrument.underlying, instrument.instrument_id), EXPONENTIAL)
            return
        exchange_rate(self.market, instrument)
        if isinstance(instrument, Option):
            payment_rate(self.market, instrument)
            terms: tuple = (instrument.underlying, instrument.expiry, instrument.settlement, instrument.quote_currency, instrument.premium)
            if instrument.future_expiry is not None:
                terms = (*terms, instrument.future_expiry)
            if instrument.quanto is not None:
                terms = (*terms, instrument.quanto)
            if early_exercise(instrument):
                terms = (*terms, instrument.exercise, instrument.option_type)
            if isinstance(instrument, Exotic):
                spot = spot_price(self.market, instrument.underlying, instrument.instrument_id) / exchange_rate(self.market, instrument)
                check_exotic(instrument, spot, self.market.valuation_time)
                terms = (*terms, instrument.instrument_id)
            self.groups.setdefault((*terms, self.own_date(n)), []).append((n, instrument))
            return
        settles = self.expiry_date(instrument)
        moving = instrument.settlement == "linear" and self.states.exchange(instrument.quote_currency)
        if isinstance(instrument, Future) and settles != NO_DATE and not moving:
            key = (instrument.underlying, instrument.expiry, instrument.settlement, instrument.quote_currency, self.own_date(n))
            self.groups.setdefault(key, []).append((n, instrument))
        else:
            self.linear(n, *self.states.contract(instrument, settles))

    def linear(self, n: int, state: str, coefficient: float, form: int) -> None:
        """Fold into the column of its state: P&L = coefficient x (exp(state) - 1), or coefficient x state."""
        self.linear_states.setdefault((self.states.index(state), form, self.own_date(n)), []).append((n, coefficient))

    def expiry_date(self, instrument: Future | Option | Perpetual) -> int:
        """Index of the path date of the expiry, or NO_DATE when it lies beyond the longest horizon."""
        if isinstance(instrument, Perpetual):
            return NO_DATE
        days = days_between(self.market.valuation_time, instrument.expiry)
        if days <= 0.0:
            raise InputError("UPM-IN-029", f"{instrument.instrument_id} expired at {instrument.expiry.isoformat()}, before the valuation time "
                             f"{self.market.valuation_time.isoformat()}. Remove the position or value at an earlier time.")
        return self.date_index.get(days, NO_DATE) if days <= max(self.horizons) else NO_DATE

    def discount(self, currency: str, start_days: float, end_days: float) -> float:
        """exp(-integral of the zero curve) between two times; 1 without rates. Zero rates linear in tenor, flat outside."""
        curve = self.market.rates.get(currency, ())
        if not curve:
            return 1.0
        tenors, rates = zip(*curve, strict=True)
        exponent = [float(np.interp(t, tenors, rates)) * t / 365.0 for t in (start_days, end_days)]
        return math.exp(exponent[0] - exponent[1])

    def finish(self, instruments: tuple[Instrument, ...], dates: np.ndarray) -> tuple[Compiled, CompileReport]:
        """The arrays of all instruments added."""
        linear = sorted(self.linear_states)
        column = np.full(len(instruments), -1, np.int32)
        coefficient = np.ones(len(instruments))
        for c, state in enumerate(linear):
            for n, k in self.linear_states[state]:
                column[n], coefficient[n] = c, k
        terms = np.zeros((len(TERM_REALS), sum(map(len, self.groups.values()))))
        base, first, seconds = [], len(linear), []
        for group in self.groups.values():  # in the order of their first instrument; members keep instrument order
            last = first + len(group)
            column[[n for n, _ in group]] = np.arange(first, last)
            reals = self.group_terms([i for _, i in group], terms[:, first - len(linear): last - len(linear)])
            reals["own_date"] = self.own_date(group[0][0])
            base.append((first, len(group), group[0][1], reals))
            if isinstance(group[0][1], Exotic) and on_two(group[0][1]):
                seconds.append((len(base) - 1, group[0][1]))
            first = last
        for at, option in seconds:  # the other asset: a group without columns, behind all others
            leg, row = leg_at_its_smile(option, self.market), np.zeros((len(TERM_REALS), 1))
            reals = self.group_terms([leg], row)
            read = dict(zip(TERM_REALS, row[:, 0], strict=True))
            volatility = float(terms[TERM_REALS.index("volatility"), base[at][0] - len(linear)])
            half, step = nodes(option, volatility, read["volatility"], base[at][3]["expiry_years"])
            base[at][3].update(second=len(base), payoff=PAYOFFS[option.product], half_nodes=half, node_step=step, correlation=float(option.correlation or 0.0))
            base.append((first, 0, leg, {**reals, "own_date": base[at][3]["own_date"], "leg_moneyness": read["log_moneyness"], "leg_volatility": read["volatility"], "leg_residual": read["residual"]}))
        programs = tuple(self.program(h, linear, base) for h in self.horizons)
        compiled = Compiled(
            instrument_ids=tuple(i.instrument_id for i in instruments), instrument_column=column, instrument_coefficient=coefficient,
            state_names=self.states.names, dates=dates, linear=len(linear), terms=terms, programs=programs, operations=tuple(self.states.operations))
        used = sorted({i.underlying for i in instruments if isinstance(i, Option)})
        return compiled, CompileReport(
            quarantined=tuple(self.marks.listed(self.market)), model_minus_mark=self.marks.summary(),
            surfaces=tuple({"underlying": u, **self.surfaces[u].diagnostics} for u in used if u in self.surfaces), warnings=(*self.states.warnings, *([beyond_warning(self.beyond)] if self.beyond else []), *at_quotes_warning(self.at_quotes)))

    def group_terms(self, members: list[Future | Option], terms: np.ndarray) -> dict[str, float]:
        """Group reals that do not depend on the horizon; fills `terms` (TERM_REALS, members), all futures or all options."""
        spot, rate = spot_price(self.market, members[0].underlying, members[0].instrument_id), exchange_rate(self.market, members[0])
        forward = quote_price(self.market, members[0])
        options = [i for i in members if isinstance(i, Option)]
        if not options and members[0].settlement == "inverse":
            terms[TERM_REALS.index("strike")] = forward
            return {"spot0": spot, "forward0": forward, "index0": spot / rate}
        # from here in the reporting currency: Black's price is homogeneous in forward and strike, and a payoff needs one currency
        if not options:
            days = days_between(self.market.valuation_time, members[0].expiry)
            for i, value in enumerate((FREE_STRIKE * forward * rate, math.log(FREE_STRIKE), 1.0, 0.0, 1.0)):
                terms[i] = value
            return {"spot0": spot, "forward0": forward * rate, "expiry_years": days / 365.0, "expiry_days": days}
        first = options[0]
        if first.quanto is not None:  # every amount of the quote currency is paid at the fixed rate
            spot, rate = spot / rate * payment_rate(self.market, first), payment_rate(self.market, first)
        if first.future_expiry is not None:
            spot = forward * rate  # exercised into the future: its price is what is paid at expiry, and it carries nothing
        days = days_between(self.market.valuation_time, first.expiry)
        if days <= 0.0:
            self.expiry_date(first)
        surface = self.surfaces.get(first.underlying)
        if surface is None:
            raise MarketDataError("UPM-MD-053", f"{first.instrument_id}: no implied volatility of {first.underlying} at all. Add quotes to implied_vols.")
        from upm_gpu.formula.families import svi_total_variance
        from upm_gpu.market.surface import slice_at

        smile = slice_at(surface, first.expiry)
        years = days / 365.0
        strike = np.array([i.strike for i in options])
        sign = np.array([1.0 if i.option_type == "call" else -1.0 for i in options])
        seen = np.full(len(options), forward) if isinstance(first, Exotic) and first.product == "spread" else strike
        quoted = self.quoted(first, seen)
        if isinstance(first, Exotic) and starts_later(first):
            seen = strike = np.array([strike_today(first, self.market)])
            smile, quoted = slice_between(first, surface, math.log(strike[0] / forward)), np.full(1, np.nan)
            years = smile.expiry_years
        k = np.log(seen / forward)
        fitted = np.sqrt(svi_total_variance(k, smile.a, smile.b, smile.rho, smile.m, smile.s) / years)
        volatility = np.where(np.isfinite(quoted), quoted, fitted)
        self.beyond += beyond_surface(options, k, volatility, quoted)
        for i, row in enumerate((strike * rate, k, volatility, volatility - fitted, sign)):
            terms[i] = row
        drift = {"quanto_drift": drift_of(first)} if first.quanto is not None else {}
        return {"spot0": spot, "forward0": forward * rate, **drift, "expiry_years": years, "expiry_days": days, "volatility_loading": self.dynamics.loading(days),
                "svi_a": smile.a, "svi_b": smile.b, "svi_rho": smile.rho, "svi_m": smile.m, "svi_s": smile.s,
                "svi_tilt": 2.0 * math.sqrt(float(svi_total_variance(0.0, smile.a, smile.b, smile.rho, smile.m, smile.s)))}

    def quoted(self, group: Option, strike: np.ndarray) -> np.ndarray:
        """Quoted volatility of each strike of the group's expiry; NaN where there is none or it is quarantined."""
        quotes = self.market.quotes
        same = [q for q in np.flatnonzero((quotes.underlying == group.underlying) & ~self.marks.quarantined) if quotes.expiry[q] == group.expiry]
        found = {float(quotes.strike[q]): float(quotes.implied_volatility[q]) for q in same}
        return np.array([found.get(float(k), np.nan) for k in strike])

    def program(self, label: float, linear: list[tuple[int, int, float]], base: list[tuple[int, int, Future | Option, dict[str, float]]]) -> Program:
        """Every column at one horizon: constants of the groups, and the dates and states each reads."""
        by_class = self.periods is not None and label == self.periods.horizon
        days = sorted(self.date_index)
        integers = np.full((len(base), len(GROUP_INTEGERS)), -1, np.int32)
        requests: list[TableRequest | ModelRequest] = []
        reals = np.zeros((len(base), len(GROUP_REALS)))
        for g, (first, count, instrument, constants) in enumerate(base):
            horizon = constants["own_date"] if by_class else float(label)
            at = self.date_index[horizon]
            expiry = self.expiry_date(instrument)
            settled = expiry != NO_DATE and days[expiry] <= horizon
            values = {k: v for k, v in constants.items() if k in GROUP_REALS}
            names = {"first": first, "count": count, "date": at, "settle_date": -1, "scale_state": -1,
                     "level_state": self.states.index(self.states.value_of(instrument.underlying)),
                     "forward_state": self.states.index(self.states.level_in(instrument.underlying, instrument.quote_currency)),
                     "inverse": int(instrument.settlement == "inverse"),
                     "sticky_moneyness": int(self.dynamics.sticky_moneyness), "additive_volatility": int(self.dynamics.additive)}
            if "index0" in constants:
                names["family"] = Family.INVERSE_FUTURE
                names["settle_date"] = expiry if settled else at
                names["volatility_state"] = names["level_state"]
                values["forward0"] = constants["index0"] if settled else constants["forward0"]
                values["expiry_years"] = 1.0
            else:
                names["family"] = Family.EUROPEAN
                names["volatility_state"] = names["level_state"]
                if isinstance(instrument, Option):
                    own, common = volatility_states(instrument)
                    skew, stretch = (self.states.place.get(name, -1) for name in surface_states(instrument))
                    names |= {"skew_state": skew, "stretch_state": stretch}
                    names["volatility_state"] = self.states.index(own if own in self.states.place else common)
                    if own in self.states.place:
                        if self.dynamics.additive:
                            raise InputError("UPM-PR-007", f"{own} is a change of log-volatility and the configuration adds points. Set model.volatility_shift to relative.")
                        values["volatility_loading"] = 1.0
                end = constants["expiry_days"]
                discounted = isinstance(instrument, Option) and instrument.settlement != "inverse" and instrument.premium == "upfront"
                if instrument.settlement != "inverse":
                    names["scale_state"] = self.states.index(self.states.scale(paid_in(instrument), instrument.expiry if discounted else None))
                values["discount0"] = self.discount(paid_in(instrument), 0.0, end) if discounted else 1.0
                values["discount"] = self.discount(paid_in(instrument), horizon, end) if discounted else 1.0
                values["remaining_years"] = max(end - horizon, 0.0) / 365.0
                if values.get("quanto_drift"):
                    names["family"] = Family.QUANTO
                if settled:
                    names["family"], names["settle_date"] = Family.SETTLED_OPTION, expiry
            if self.laws is not None and count and isinstance(instrument, Option):
                kept = why_at_quotes(instrument, self.laws, self.states)
                if kept:
                    self.at_quotes.setdefault(kept, {})[instrument.instrument_id] = count
                elif not settled:
                    names |= {"family": Family.MODEL_VOLATILITY, "sticky_moneyness": 0, "skew_state": -1, "stretch_state": -1, "table": len(requests)}
                    requests.append(model_request(g, instrument, self.laws[instrument.underlying], values))
            if isinstance(instrument, Option) and early_exercise(instrument):
                if not settled:
                    names["table"] = len(requests)
                paid = cash_dividends_of(self.market, instrument)
                requests.append(dividend_request(g, instrument, values, not settled, horizon, paid) if paid else self.exercise_premium(g, instrument, values, not settled))
            if "second" in constants:
                names |= {k: int(constants[k]) for k in ("second", "payoff", "half_nodes")}
                names["family"] = Family.SETTLED_TWO_ASSET if settled else Family.TWO_ASSET
            elif count == 0:
                names["family"], names["settle_date"] = Family.EUROPEAN, NO_DATE
            elif isinstance(instrument, Exotic) and starts_later(instrument):
                level, scale = self.states.level_in(instrument.underlying, instrument.quote_currency), self.states.scale(instrument.quote_currency, instrument.expiry if instrument.premium == "upfront" else None)
                forward, moved = start_states(instrument, self.market.valuation_time, level, scale, self.states)
                names |= {"forward_state": self.states.index(forward), "scale_state": self.states.index(moved)}
                values["remaining_years"] = max(end - max(horizon, days_between(self.market.valuation_time, instrument.fixings[0])), 0.0) / 365.0
            elif isinstance(instrument, Exotic):
                found = exotic_group(g, instrument, values, exchange_rate(self.market, instrument), settled, horizon, self.market.valuation_time, self.states, self.bridges)
                values |= found.reals
                names["family"] = found.family
                names["path_state"] = self.states.index(found.path_state)
                if found.request.alive:
                    names["table"] = len(requests)
                requests.append(found.request)
            integers[g] = [names.get(k, -1) for k in GROUP_INTEGERS]
            reals[g] = [values.get(k, 0.0) for k in GROUP_REALS]
        state, form = np.array([key[:2] for key in linear], np.int32).reshape(-1, 2).T.copy()
        read = np.array([self.date_index[date if by_class else float(label)] for _, _, date in linear], np.int32)
        return Program(float(label), state, read, integers, reals, form, tuple(requests))

    @staticmethod
    def exercise_premium(group: int, option: Option, reals: dict[str, float], alive: bool) -> TableRequest:
        """What early exercise adds: rate and carry are those of today's discount factor and forward, the spot moves by the state of the forward."""
        years, left = reals["expiry_years"], reals["remaining_years"]
        rate = -math.log(reals["discount0"]) / years
        carry = math.log(reals["forward0"] / reals["spot0"]) / years
        sign = 1.0 if option.option_type == "call" else -1.0
        inputs = (("rate", rate), ("dividend_yield", rate - carry), ("sign", sign))
        return TableRequest(option.instrument_id, group, "american", alive, sign, reals["spot0"] / reals["forward0"],
                            (*inputs, ("time_to_expiry", left)), left, reals["discount"], (*inputs, ("time_to_expiry", years)), years, reals["discount0"])
