"""Synthetic books over real instruments: accounts of recognisable kinds, sizes following open interest.

Every draw is addressed by (kind, number within the kind, draw), so an account keeps its positions when others are
added, and the same seed gives the same bytes. Collateral is drawn as a multiple of a plain loss, the worst of a price grid of
-15 % to +15 % at unchanged volatilities: independent of any margin model, so that a margin run can find accounts in trouble.

Verified by `tests/end_to_end/test_generate_book.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from upm_gpu.domain.blocks import find_table
from upm_gpu.domain.text import write_csv
from upm_gpu.errors import InputError
from upm_gpu.generate.kinds import KINDS, Draws, Holding, account_counts, draw_account
from upm_gpu.generate.universe import Universe, plain_loss, read_universe
from upm_gpu.shipped import resolve_sample

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
        """The factor at a uniform u."""
        return self.low + (self.high - self.low) * u**self.shape


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
    write_csv(target / "positions.csv", ("account_id", "instrument_id", "quantity", "entry_price"), position_rows)
    write_csv(target / "collateral.csv", ("account_id", "asset", "quantity"), collateral_rows)
    if not list(target.glob("instruments.*")):
        source = find_table(instruments, "instruments", "IN")
        assert source is not None  # a required table
        (target / source.name).write_bytes(source.read_bytes())
    return {"book": str(target), "accounts": accounts, "positions": len(position_rows), **counts}


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
