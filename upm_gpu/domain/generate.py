"""Synthetic books over real instruments: accounts of recognisable kinds, sizes following open interest.

Every draw is addressed by (kind, number within the kind, draw), so an account keeps its positions when others are
added, and the same seed gives the same bytes. Collateral is drawn as a multiple of a plain loss, the worst of a price grid of
-15 % to +15 % at unchanged volatilities: independent of any margin model, so that a margin run can find accounts in trouble.

Verified by `tests/end_to_end/test_generate_book.py`.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import InputError, MarketDataError

if TYPE_CHECKING:
    from upm_gpu.domain.book_kinds import Draws, Holding

GRID = np.array([-0.15, -0.10, -0.05, 0.0, 0.05, 0.10, 0.15])
# Smallest traded amount in contracts (the exchange's contract specifications): options in coins.
OPTION_LOT = {"BTC": 0.1, "ETH": 1.0}
MIN_LOSS = 250.0
"""US dollars: an account whose positions lose nothing on the grid still posts something"""


@dataclass(frozen=True)
class CollateralFactor:
    """Distribution of collateral over plain loss: low + (high - low) u^shape, u uniform.

    Shape 1 is uniform; above 1 more accounts are thin, below 1 fewer. 1.6 puts some 6 % of the sample's accounts in call or
    liquidation under the house methodology.
    """

    low: float = 0.7
    high: float = 4.0
    shape: float = 1.6

    def at(self, u: float) -> float:
        return self.low + (self.high - self.low) * u**self.shape


@dataclass(frozen=True)
class Universe:
    """What can be traded; arrays have shape (N,), `grid` (N, len(GRID)). Values are US dollars a contract."""

    instrument_id: tuple[str, ...]
    kind: NDArray[np.object_]
    underlying: NDArray[np.object_]
    contract_size: NDArray[np.float64]
    years: NDArray[np.float64]
    """time to expiry; infinite for a perpetual"""
    strike: NDArray[np.float64]
    sign: NDArray[np.float64]
    """+1 call, -1 put, 0 otherwise"""
    forward: NDArray[np.float64]
    spot: NDArray[np.float64]
    value: NDArray[np.float64]
    """present value of a contract; 0 for futures"""
    delta: NDArray[np.float64]
    """change of the value of a contract for a relative price move of 1, from the first grid steps to either side"""
    grid: NDArray[np.float64]
    """profit of a contract at every grid move"""
    interest: NDArray[np.float64]
    """open interest of the strike in contracts, shared between call and put"""

    def where(self, kind: str, underlying: str) -> NDArray[np.int64]:
        return np.flatnonzero((self.kind == kind) & (self.underlying == underlying))

    def index(self, instrument_id: str) -> int:
        return self.instrument_id.index(instrument_id)


def generate_book(
    market_dir: Path | str,
    accounts: int,
    seed: int,
    out: Path | str,
    collateral_factor: CollateralFactor | None = None,
) -> dict[str, object]:
    """Write positions.csv and collateral.csv (and instruments.csv where OUT has none) for `accounts` accounts.

    Returns a summary of plain values. `market_dir` is a market folder or `sample:crypto`; its instruments are looked for in it, then in `book` beside it. Raises
    InputError UPM-IN-101 to 104.
    """
    from upm_gpu.domain.book_kinds import KINDS, Draws, account_counts, draw_account
    from upm_gpu.shipped import resolve_sample

    if not 1 <= accounts <= 1_000_000:
        raise InputError("UPM-IN-101", f"accounts {accounts} is outside 1 to 1000000. Choose a number in between.")
    folder, target = resolve_sample(market_dir, "market"), Path(out)
    if (folder / "market").is_dir():
        folder = folder / "market"
    for name in ("positions", "collateral"):
        if list(target.glob(f"{name}.*")):
            raise InputError("UPM-IN-102", f"{target}: holds {name} already. Give a new --out folder.")
    instruments = _instrument_folder(folder)
    universe = read_universe(folder, instruments)
    factor = collateral_factor or CollateralFactor()
    counts = account_counts(accounts)
    position_rows: list[Sequence[object]] = []
    collateral_rows: list[Sequence[object]] = []
    for kind in KINDS:
        for number in range(1, counts[kind.prefix] + 1):
            name = f"{kind.prefix}-{number:04d}"
            draws = Draws(seed, KINDS.index(kind), number)
            holding = draw_account(kind, universe, draws)
            lines = holding.lines
            entries = _entry_prices(universe, [i for i in sorted(lines) if universe.sign[i] == 0.0], draws)
            posted = _collateral(universe, holding, entries, factor.at(draws.uniform()))
            position_rows.extend((name, universe.instrument_id[i], lines[i], entries.get(i, "")) for i in sorted(lines))
            collateral_rows.extend((name, asset, quantity) for asset, quantity in posted)
    target.mkdir(parents=True, exist_ok=True)
    _write(target / "positions.csv", ("account_id", "instrument_id", "quantity", "entry_price"), position_rows)
    _write(target / "collateral.csv", ("account_id", "asset", "quantity"), collateral_rows)
    if not list(target.glob("instruments.*")):
        source = _find(instruments, "instruments")
        (target / source.name).write_bytes(source.read_bytes())
    return {"book": str(target), "accounts": accounts, "positions": len(position_rows), **counts}


def read_universe(market: Path, instruments: Path) -> Universe:
    """Instruments with their prices, from the files of `upm import deribit` (inverse options, futures, perpetuals)."""
    from upm_gpu.formula.black import black_undiscounted

    spot_rows = _table(market, "spots")
    spots = {r["asset"]: float(r["price"]) for r in spot_rows}
    now = _time(spot_rows[0]["timestamp"])
    forwards = {(r["underlying"], r["expiry"]): float(r["forward"]) for r in _table(market, "forwards")}
    quotes = {(r["underlying"], r["expiry"], float(r["strike"])): r for r in _table(market, "implied_vols")}
    rows, prices = [], []
    for r in sorted(_table(instruments, "instruments"), key=lambda r: r["instrument_id"]):
        u, expiry = r["underlying"], r["expiry"]
        if r["settlement"] != "inverse" or u not in OPTION_LOT or u not in spots or (u, expiry) not in forwards:
            continue
        quote = quotes.get((u, expiry, float(r["strike"]))) if r["kind"] == "option" else None
        life = (_time(expiry) - now).total_seconds() / (365.0 * 86400.0) if expiry else math.inf
        if life <= 0.0 or (r["kind"] == "option" and quote is None):
            continue
        rows.append(r)
        prices.append((spots[u], forwards[u, expiry], life, quote))
    if not any(r["kind"] == "option" for r in rows) or not any(r["kind"] == "perpetual" for r in rows):
        raise InputError("UPM-IN-103", f"{instruments}: no quoted inverse option and perpetual to trade. Make the folder with `upm import deribit`.")
    n = len(rows)
    size = np.array([float(r["contract_size"]) for r in rows])
    spot, forward, years = (np.array([p[j] for p in prices]) for j in range(3))
    strike = np.array([float(r["strike"]) if r["strike"] else math.nan for r in rows])
    sign = np.array([{"call": 1.0, "put": -1.0}.get(r["option_type"], 0.0) for r in rows])
    interest = np.zeros(n)
    move = 1.0 + GRID
    value, grid = np.zeros(n), np.zeros((n, len(GRID)))
    for i in range(n):
        quote = prices[i][3]
        if quote is None:
            # Inverse future: C (1/F_0 - 1/F) coins, each worth S.
            grid[i] = size[i] * (1.0 / forward[i] - 1.0 / (forward[i] * move)) * spot[i] * move
            continue
        deviation = float(quote["implied_volatility"]) * math.sqrt(years[i])
        f = forward[i] * move
        worth = size[i] * black_undiscounted(f, strike[i], np.log(f / strike[i]), deviation, sign[i]) * spot[i] / forward[i]
        middle = len(GRID) // 2
        value[i] = worth[middle]
        grid[i] = worth - worth[middle]
        # Listed interest counts both types of a strike; most of it sits on the out-of-the-money side.
        outside = (sign[i] > 0.0) == (strike[i] >= forward[i])
        interest[i] = float(quote.get("open_interest") or 0.0) * (0.8 if outside else 0.2)
    middle = len(GRID) // 2
    delta = (grid[:, middle + 1] - grid[:, middle - 1]) / (GRID[middle + 1] - GRID[middle - 1])
    text = {c: np.array([r[c] for r in rows], object) for c in ("kind", "underlying")}
    return Universe(tuple(r["instrument_id"] for r in rows), text["kind"], text["underlying"], size, years, strike, sign, forward, spot,
                    value, delta, grid, interest)


def plain_loss(universe: Universe, lines: Mapping[int, float], coin_value: float = 0.0) -> float:
    """Worst loss on the price grid, US dollars, of positions and of coins worth `coin_value`; both coins move alike."""
    profit = coin_value * GRID
    for i in sorted(lines):
        profit = profit + lines[i] * universe.grid[i]
    return max(float(-np.min(profit)), 0.0)


def _entry_prices(universe: Universe, futures: Sequence[int], draws: Draws) -> dict[int, float]:
    """An account's futures were entered together, around today's prices: 6 % common, 0.3 % each; rounded to the tick of 0.5 or 0.05."""
    common = 0.06 * max(-3.0, min(3.0, draws.normal()))
    entries = {}
    for i in futures:
        price = universe.forward[i] * math.exp(common + 0.003 * max(-3.0, min(3.0, draws.normal())))
        tick = 0.5 if universe.forward[i] > 10_000.0 else 0.05
        entries[i] = round(round(price / tick) * tick, 2)
    return entries


def _collateral(universe: Universe, holding: Holding, entries: Mapping[int, float], factor: float) -> list[tuple[str, float]]:
    """Coins and dollars worth factor x plain loss (coins included), plus what short options and losses since entry owe.

    Sellers of covered calls and of futures against coins hold those coins in any case.
    """
    lines, coin_share = holding.lines, holding.coin_share
    owed = 0.0
    for i in sorted(lines):
        owed -= lines[i] * universe.value[i]
        if i in entries:
            owed -= lines[i] * universe.contract_size[i] * (1.0 / entries[i] - 1.0 / universe.forward[i]) * universe.spot[i]
    owed = max(owed, 0.0)
    total = 0.0
    # The coins' own fall is part of the loss; each round shrinks the error by factor x 0.15 x share, at most 0.6.
    for _ in range(60):
        total = factor * max(plain_loss(universe, lines, coin_share * total), holding.least_loss, MIN_LOSS) + owed
    posted = []
    if coin_share > 0.0:
        spot = float(universe.spot[np.flatnonzero(universe.underlying == holding.coin)[0]])
        posted.append((holding.coin, max(round(max(coin_share * total / spot, holding.least_coins), 4), 0.0001)))
    if coin_share < 1.0:
        posted.append(("USD", max(round((1.0 - coin_share) * total, 2), 0.01)))
    return sorted(posted)


def _instrument_folder(market: Path) -> Path:
    for folder in (market, market.parent / "book", market.parent):
        if folder.is_dir() and list(folder.glob("instruments.*")):
            return folder
    raise InputError("UPM-IN-103", f"{market}: no instruments file in it or in {market.parent / 'book'}. Make the folder with `upm import deribit`.")


def _find(folder: Path, name: str) -> Path:
    for ending in (".csv", ".csv.gz", ".parquet"):
        if (folder / f"{name}{ending}").is_file():
            return folder / f"{name}{ending}"
    raise MarketDataError("UPM-MD-101", f"{folder}: no {name}.csv. Make the folder with `upm import deribit`.")


def _table(folder: Path, name: str) -> list[dict[str, str]]:
    path = _find(folder, name)
    if path.suffix == ".parquet":
        import pyarrow.parquet

        return [{k: "" if v is None else str(v) for k, v in row.items()} for row in pyarrow.parquet.read_table(path).to_pylist()]
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    if not rows:
        raise MarketDataError("UPM-MD-101", f"{path}: holds no row. Make the folder with `upm import deribit`.")
    return rows


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(v) for v in row] for row in rows)
    path.write_bytes(text.getvalue().encode("utf-8"))
    return path


def _cell(value: object) -> str:
    if isinstance(value, float):
        return str(int(value)) if value == int(value) else repr(float(value))
    return str(value)
