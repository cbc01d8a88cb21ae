"""load_market: a folder of quotes becomes one consistent MarketSnapshot, or an error at the door.

Unlike positions, market rows are never set aside: a price that is missing, NaN, zero or negative would move every
account, so the first bad rows are named and nothing is read. What is merely out of scope (data after the valuation
time, expired quotes, an option without a volatility) is left out with a warning that counts it.

Verified: tests/faults/test_market_files.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from upm_gpu.domain.blocks import check_folder, fail, file_hash, find_table
from upm_gpu.domain.cells import (
    CellFault,
    choice,
    currency,
    identifiers,
    instants,
    numbers,
    parse_date,
    reject_codes,
    require,
)
from upm_gpu.domain.tables import Chunk, Schema, Sheet, read_chunks, reject_text
from upm_gpu.domain.text import instant_text
from upm_gpu.errors import MarketDataError, StaleDataError
from upm_gpu.market.carry import (
    CARRY,
    DIVIDENDS,
    carried_forward,
    read_carry,
    read_dividends,
)
from upm_gpu.market.consistency import carry_warnings, implied_carry
from upm_gpu.market.snapshot import MarketSnapshot, Pairs, Quotes
from upm_gpu.shipped import resolve_sample

SPOTS = Schema("spots", ("asset", "price", "currency", "timestamp"), ids=frozenset({"asset", "currency"}), room="MD")
FORWARDS = Schema("forwards", ("underlying", "expiry", "forward"), ids=frozenset({"underlying"}), room="MD", may_be_empty=True)
VOLATILITIES = Schema(
    "implied_vols", ("underlying", "expiry", "strike", "implied_volatility"),
    ("bid", "ask", "open_interest", "volume", "mark", "option_type"), frozenset({"underlying"}), room="MD", may_be_empty=True,
)
RATES = Schema("rates", ("currency", "tenor_days", "zero_rate"), ids=frozenset({"currency"}), room="MD", may_be_empty=True)
HISTORY = Schema("history", ("asset", "close"), ("timestamp", "date"), frozenset({"asset"}), room="MD", may_be_empty=True)

SPOT_SPREAD = timedelta(minutes=5)
"""spots further apart in time are not one snapshot: crypto moves by percents in minutes when it matters"""
LARGEST_VOLATILITY = 10.0
"""1,000 %: beyond it the figure is in percent, or is not a quote"""
LARGEST_RATE = 1.0
SIGNED_SERIES = (".FUNDING", ".RATE", ".SLOPE")
"""series of the history that may be 0 or below: funding a day, a zero rate at 30 days, the one at a year less it"""


@dataclass(frozen=True)
class _Source:
    path: Path
    sheet: Sheet


def load_market(path: str | Path, reporting_currency: str = "USD") -> MarketSnapshot:
    """Read spots, forwards, implied_vols, and where there are any rates, carry, dividends and history, from a folder or `sample:NAME`.

    The valuation time is the latest spot timestamp; all spots must lie within five minutes of it. Raises MarketDataError.
    """
    folder = check_folder(resolve_sample(path, "market"), "MD", "market")
    hashes: dict[str, str] = {}
    sheets: list[Sheet] = []

    def source(schema: Schema, required: bool) -> _Source | None:
        file = find_table(folder, schema.name, "MD", required)
        if file is None:
            return None
        hashes[file.name] = file_hash(file, "MD")
        sheets.append(Sheet(file.name, "MD"))
        return _Source(file, sheets[-1])

    spots, valuation_time, spot_currency = read_spots(source(SPOTS, True), reporting_currency)  # type: ignore[arg-type]
    forwards = read_forwards(source(FORWARDS, True), spots, valuation_time)  # type: ignore[arg-type]
    rates_source = source(RATES, False)
    rates = read_rates(rates_source) if rates_source else {}
    carry, dividends = source(CARRY, False), source(DIVIDENDS, False)
    points = read_carry(carry.path, carry.sheet, spots) if carry else {}
    paid = read_dividends(dividends.path, dividends.sheet, spots, spot_currency, reporting_currency, valuation_time) if dividends else {}
    for held in filter(None, (carry, dividends)):
        _stop_on_rejects(held.sheet)

    def forward_of(underlying: str, expiry: datetime) -> float | None:
        return forwards.get((underlying, expiry)) or (carried_forward(known, underlying, expiry) if underlying in points or underlying in paid else None)

    known = MarketSnapshot(valuation_time, reporting_currency, spots, {}, read_volatilities(None, spots, {}, valuation_time), rates, read_history(None, valuation_time), (), {}, spot_currency,
                           dividends=paid, carry=points)
    quotes = read_volatilities(source(VOLATILITIES, False), spots, forwards, valuation_time, forward_of)
    made = sorted({(u, e) for u, e in zip(quotes.underlying.tolist(), quotes.expiry, strict=True)} - set(forwards))
    made = [(u, e) for u, e in made if u in points or u in paid]
    forwards = _ordered(forwards | {(u, e): carried_forward(known, u, e) for u, e in made})
    history = read_history(source(HISTORY, False), valuation_time)
    warnings = [w for s in sheets for w in s.warnings]
    if not rates:
        warnings.append("UPM-MD-054 no rates are given: zero rates are used in every currency.")
    snapshot = MarketSnapshot(valuation_time, reporting_currency, spots, forwards, quotes, rates, history, tuple(warnings), hashes, spot_currency, dividends=paid, carry=points,
                              carried_forwards=frozenset(made))
    return replace(snapshot, warnings=(*warnings, *carry_warnings(implied_carry(snapshot))))


def check_age(snapshot: MarketSnapshot, now: datetime, max_age_minutes: float | None) -> None:
    """Raise StaleDataError where the snapshot is older than allowed at `now` (None or 0: no limit), or lies in the future."""
    if not max_age_minutes:
        return
    age = (now - snapshot.valuation_time).total_seconds() / 60.0
    stamp = instant_text(snapshot.valuation_time)
    if age > max_age_minutes:
        raise StaleDataError("UPM-MD-041", f"market data of {stamp} are {age:.0f} minutes old; max_age_minutes is {max_age_minutes:g}. Take a new snapshot or raise the limit.")
    if age < -5.0:
        raise StaleDataError("UPM-MD-042", f"market data of {stamp} lie {-age:.0f} minutes in the future. Check the clock of the machine and of the source.")


def _stop_on_rejects(sheet: Sheet) -> None:
    if sheet.rejects:
        rejects = sorted(sheet.rejects, key=lambda r: r.line)
        more = f" ({len(rejects)} bad rows; the next are on lines {', '.join(str(r.line) for r in rejects[1:6])})" if len(rejects) > 1 else ""
        first = rejects[0]
        raise MarketDataError(first.code, reject_text(first).removeprefix(first.code + " ") + more)


def _positive(chunk: Chunk, column: str, what: str, blank: bool = False) -> np.ndarray:
    values = numbers(chunk, column, blank)
    require(chunk, column, values, values > 0.0, 43, lambda cell: f"{cell} is not a {what}. It must be above 0.")
    return values


def _codes(chunk: Chunk, column: str, what: str) -> tuple[np.ndarray, list[str]]:
    codes, names = identifiers(chunk, column)
    faults = {}
    for i, name in enumerate(names):
        try:
            currency(name, what)
        except CellFault as fault:
            faults[i] = fault
    reject_codes(chunk, column, codes, faults)
    return codes, names


def read_spots(source: _Source, reporting_currency: str) -> tuple[dict[str, float], datetime, dict[str, str]]:
    """Prices of one unit in the reporting currency, the valuation time, and the currency of each price that is in another one."""
    sheet, rows = source.sheet, []
    for chunk in read_chunks(source.path, SPOTS, sheet):
        asset, assets = identifiers(chunk, "asset")
        code, currencies = _codes(chunk, "currency", "currency")
        price = _positive(chunk, "price", "price")
        times = instants(chunk, "timestamp")
        for r, time in enumerate(times):
            if time is not None and not chunk.rejected[r]:
                rows.append((assets[asset[r]], float(price[r]), currencies[code[r]], time, int(chunk.lines[r])))
    _stop_on_rejects(sheet)
    seen: dict[str, int] = {}
    for name, value, _, _, line in rows:
        if name in seen:
            fail("MD", 48, f"{sheet.file} line {line} column asset: {name} is already on line {seen[name]}. Keep one price.")
        seen[name] = line
        if name == reporting_currency and value != 1.0:
            fail("MD", 43, f"{sheet.file} line {line} column price: {name} is the reporting currency; its price is 1, not {value:g}.")
    latest = max(rows, key=lambda r: r[3])
    oldest = min(rows, key=lambda r: r[3])
    if latest[3] - oldest[3] > SPOT_SPREAD:
        fail("MD", 44, f"{sheet.file} line {oldest[4]} column timestamp: {oldest[0]} is of {instant_text(oldest[3])} and {latest[0]} of {instant_text(latest[3])}, "
                       f"more than {SPOT_SPREAD.seconds // 60} minutes apart. Take all spots at one time.")
    by_asset = {name: (value, code, line) for name, value, code, _, line in rows}
    spots = {reporting_currency: 1.0}
    for name, (value, code, line) in by_asset.items():
        if code == reporting_currency:
            spots[name] = value
        elif code in by_asset and by_asset[code][1] == reporting_currency:
            spots[name] = value * by_asset[code][0]
        else:
            fail("MD", 34, f"{sheet.file} line {line} column currency: {name} is priced in {code}, and there is no spot of {code} in {reporting_currency}. Add one.")
    return dict(sorted(spots.items())), latest[3], {name: code for name, (_, code, _) in sorted(by_asset.items()) if code != reporting_currency}


def read_forwards(source: _Source, spots: dict[str, float], valuation_time: datetime) -> dict[tuple[str, datetime | None], float]:
    """(underlying, expiry) -> forward in the quote currency; a blank expiry is the perpetual."""
    sheet = source.sheet
    found: dict[tuple[str, datetime | None], float] = {}
    past = 0
    for chunk in read_chunks(source.path, FORWARDS, sheet):
        code, names = identifiers(chunk, "underlying")
        expiry = instants(chunk, "expiry", blank=True)
        forward = _positive(chunk, "forward", "forward price")
        for r in np.flatnonzero(~chunk.rejected).tolist():
            key = (names[code[r]], expiry[r])
            if key[0] not in spots:
                chunk.reject(r, "underlying", 51, f"{key[0]} has no spot price. Add it to spots.")
            elif key in found:
                chunk.reject(r, "expiry", 48, f"{key[0]} has two forwards of this expiry. Keep one.")
            elif key[1] is not None and key[1] <= valuation_time:
                past += 1
            else:
                found[key] = float(forward[r])
    _stop_on_rejects(sheet)
    if past:
        sheet.warnings.append(f"UPM-MD-029 {sheet.file}: {past} forwards had expired at the valuation time and are left out.")
    return _ordered(found)


def _ordered(forwards: dict[tuple[str, datetime | None], float]) -> dict[tuple[str, datetime | None], float]:
    return dict(sorted(forwards.items(), key=lambda item: (item[0][0], item[0][1] or datetime.min.replace(tzinfo=UTC))))


@dataclass(frozen=True)
class _Quote:
    volatility: float
    option_type: str
    bid: float
    ask: float
    mark: float
    open_interest: float
    volume: float


def read_volatilities(source: _Source | None, spots: dict[str, float], forwards: dict[tuple[str, datetime | None], float],
                      valuation_time: datetime, forward_of: Callable[[str, datetime], float | None] | None = None) -> Quotes:
    """One volatility a (underlying, expiry, strike): of a call and a put at one strike the out-of-the-money side is kept.

    Out of the money against the forward of the expiry (the spot where there is none): the call at or above it.
    """
    found: dict[tuple[str, datetime, float], dict[str, _Quote]] = {}
    past = without = crossed = 0
    if source is not None:
        sheet = source.sheet
        for chunk in read_chunks(source.path, VOLATILITIES, sheet):
            code, names = identifiers(chunk, "underlying")
            expiry = instants(chunk, "expiry")
            strike = _positive(chunk, "strike", "strike")
            volatility = _positive(chunk, "implied_volatility", "volatility", blank=True)
            require(chunk, "implied_volatility", volatility, volatility <= LARGEST_VOLATILITY, 50,
                    lambda cell: f"{cell} is above 1000 %. Volatilities are decimals: 0.65 is 65 %.")
            other = {c: numbers(chunk, c, blank=True) for c in ("bid", "ask", "mark", "open_interest", "volume")}
            for column, values in other.items():
                require(chunk, column, values, values >= 0.0, 43, lambda cell: f"{cell} is negative. It must be 0 or more, or blank.")
            types = chunk.columns["option_type"].to_pylist() if "option_type" in chunk.columns else [""] * len(chunk)
            for r, end in enumerate(expiry):
                if end is None or chunk.rejected[r]:
                    continue
                key = (names[code[r]], end, float(strike[r]))
                try:
                    side = choice(types[r], {"call": "call", "put": "put", "c": "call", "p": "put"}, "option type") if types[r].strip() else ""
                except CellFault as fault:
                    chunk.reject(r, "option_type", fault.number, fault.message)
                    continue
                sides = found.get(key, {})
                if key[0] not in spots:
                    chunk.reject(r, "underlying", 51, f"{key[0]} has no spot price. Add it to spots.")
                elif side in sides or (sides and not (side and "" not in sides)):
                    chunk.reject(r, "strike", 48, f"{key[0]} {instant_text(key[1])} strike {key[2]:g} is given twice. Keep one row an option.")
                elif key[1] <= valuation_time:
                    past += 1
                elif np.isnan(volatility[r]):
                    without += 1
                else:
                    crossed += int(other["bid"][r] > other["ask"][r] > 0.0)
                    found.setdefault(key, {})[side] = _Quote(float(volatility[r]), side, *(float(other[c][r]) for c in ("bid", "ask", "mark", "open_interest", "volume")))
        _stop_on_rejects(sheet)
        for count, what in ((past, "had expired at the valuation time"), (without, "have no volatility")):
            if count:
                sheet.warnings.append(f"UPM-MD-029 {sheet.file}: {count} quotes {what} and are left out.")
        if crossed:
            sheet.warnings.append(f"UPM-MD-043 {sheet.file}: {crossed} quotes have a bid above the ask.")
    keys = sorted(found)
    kept = [_out_of_the_money(found[k], k[2] >= ((forward_of(k[0], k[1]) if forward_of else forwards.get((k[0], k[1]))) or spots[k[0]])) for k in keys]
    return Quotes(
        underlying=np.array([k[0] for k in keys], dtype=object),
        expiry=tuple(k[1] for k in keys),
        strike=np.array([k[2] for k in keys], np.float64),
        implied_volatility=np.array([q.volatility for q in kept], np.float64),
        bid=np.array([q.bid for q in kept], np.float64),
        ask=np.array([q.ask for q in kept], np.float64),
        mark=np.array([q.mark for q in kept], np.float64),
        mark_type=np.array([q.option_type for q in kept], dtype=object),
        open_interest=np.array([q.open_interest for q in kept], np.float64),
        volume=np.array([q.volume for q in kept], np.float64),
        pairs=_pairs({k: found[k] for k in keys if {"call", "put"} <= set(found[k])}),
    )


def _pairs(found: dict[tuple[str, datetime, float], dict[str, _Quote]]) -> Pairs | None:
    if not found:
        return None
    sides = {f"{side}_{name}": np.array([getattr(q[side], name) for q in found.values()], np.float64) for side in ("call", "put") for name in ("volatility", "bid", "ask", "mark")}
    return Pairs(np.array([k[0] for k in found], dtype=object), tuple(k[1] for k in found), np.array([k[2] for k in found], np.float64), **sides)


def _out_of_the_money(sides: dict[str, _Quote], call: bool) -> _Quote:
    if len(sides) == 1:
        return next(iter(sides.values()))
    return sides["call" if call else "put"]


def read_rates(source: _Source) -> dict[str, tuple[tuple[float, float], ...]]:
    """currency -> ((tenor_days, zero_rate), ...) ascending."""
    sheet = source.sheet
    found: dict[str, dict[float, float]] = {}
    for chunk in read_chunks(source.path, RATES, sheet):
        code, names = _codes(chunk, "currency", "currency")
        tenor = _positive(chunk, "tenor_days", "tenor in days")
        rate = numbers(chunk, "zero_rate")
        require(chunk, "zero_rate", rate, np.abs(rate) < LARGEST_RATE, 56, lambda cell: f"{cell} is 100 % or more. Rates are decimals: 0.05 is 5 %.")
        for r in np.flatnonzero(~chunk.rejected).tolist():
            curve = found.setdefault(names[code[r]], {})
            if float(tenor[r]) in curve:
                chunk.reject(r, "tenor_days", 48, f"{names[code[r]]} has two rates of this tenor. Keep one.")
            else:
                curve[float(tenor[r])] = float(rate[r])
    _stop_on_rejects(sheet)
    return {name: tuple(sorted(curve.items())) for name, curve in sorted(found.items())}


def read_history(source: _Source | None, valuation_time: datetime) -> pd.DataFrame:
    """timestamp (UTC), asset, close; sorted by (asset, timestamp), nothing after the valuation time.

    A `date` D means its end, 24:00Z; where a row has both columns filled, `timestamp` wins. Raises MarketDataError for a close that
    is not above 0, a row without time, and two different closes of an asset at one time.
    """
    names: list[np.ndarray] = []
    stamps: list[np.ndarray] = []
    closes: list[np.ndarray] = []
    if source is not None:
        sheet = source.sheet
        for chunk in read_chunks(source.path, HISTORY, sheet):
            if not {"timestamp", "date"} & set(chunk.columns):
                fail("MD", 6, f"{sheet.file} line 1: missing column timestamp (or date). Needed: timestamp or date, asset, close.")
            code, assets = identifiers(chunk, "asset")
            close = numbers(chunk, "close")
            signed = np.array([name.endswith(SIGNED_SERIES) for name in assets] or [False])[code]
            require(chunk, "close", close, (close > 0.0) | signed, 43, lambda cell: f"{cell} is not a closing price. It must be above 0.")
            both = [a or b for a, b in zip(instants(chunk, "timestamp", blank=True), instants(chunk, "date", blank=True, parse=parse_date), strict=True)]
            for r in [r for r, t in enumerate(both) if t is None]:
                chunk.reject(r, "timestamp" if "timestamp" in chunk.columns else "date", 30, "the time is empty. Give a timestamp or a date.")
            keep = ~chunk.rejected
            names.append(np.array(assets, dtype=object)[code[keep]])
            closes.append(close[keep])
            stamps.append(np.array([t.replace(tzinfo=None) for t, k in zip(both, keep.tolist(), strict=True) if k and t], "datetime64[ns]"))
        _stop_on_rejects(sheet)
    frame = pd.DataFrame({
        "timestamp": pd.DatetimeIndex(np.concatenate(stamps) if stamps else np.zeros(0, "datetime64[ns]")).tz_localize("UTC"),
        "asset": pd.Series(np.concatenate(names) if names else np.zeros(0, object), dtype=object),
        "close": np.concatenate(closes) if closes else np.zeros(0),
    })
    late = frame["timestamp"] > pd.Timestamp(valuation_time)
    if source is not None and late.any():
        source.sheet.warnings.append(f"UPM-MD-042 {source.sheet.file}: {int(late.sum())} rows lie after the valuation time {instant_text(valuation_time)} and are left out.")
    frame = frame[~late].sort_values(["asset", "timestamp", "close"], kind="stable", ignore_index=True)
    same = frame.duplicated(["asset", "timestamp"])
    if source is not None and same.any():
        exact = frame.duplicated(["asset", "timestamp", "close"])
        clash = frame[same & ~exact]
        if len(clash):
            row = clash.iloc[0]
            fail("MD", 48, f"{source.sheet.file}: {row['asset']} has two closes at {row['timestamp'].isoformat()} ({len(clash)} such times). Keep one.")
        source.sheet.warnings.append(f"UPM-MD-048 {source.sheet.file}: {int(exact.sum())} rows repeat another row word for word; counted once.")
        frame = frame[~exact].reset_index(drop=True)
    return frame
