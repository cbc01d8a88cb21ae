"""Daily chains as a history: from a table of chain snapshots the closes that `upm import` would add day by day, the index and the level, skew and slope of each day's surface.

Every chain is fitted as a run fits it (`market/surface.py`), without the expiries within a day of their end. A chain with fewer than two expiries, or with too few quotes, is left out and named. Verified: tests/end_to_end/test_calibrate_dynamics.py.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np

from upm_gpu.calibrate.chain.days import read_days
from upm_gpu.calibrate.chain.quotes import LEAST_DAYS, REACH, Chain
from upm_gpu.domain.text import instant_text
from upm_gpu.errors import MarketDataError
from upm_gpu.market.surface import Surface, fit_slices, quote_weights
from upm_gpu.market.surface_series import surface_series

LEAST_EXPIRIES = 2
"""one expiry has no slope"""

Row = tuple[str, str, float]
"""time, asset, close"""


def chain_series(path: Path, underlyings: tuple[str, ...] = (), progress: Callable[[int, int], None] | None = None) -> tuple[list[Row], dict[str, Surface], list[str]]:
    """Closes ascending in asset and time, the last surface of each underlying, and what was left out. Raises as `read_days` and `MarketDataError` UPM-MD-102 without an index."""
    chains, refused = read_days(path, underlyings, reach=REACH, least_days=LEAST_DAYS, unknowns=5)
    rows = _index(path, set(chains))
    last: dict[str, Surface] = {}
    total, done = sum(map(len, chains.values())), 0
    for u, found in chains.items():
        for chain in found:
            done += 1
            if progress is not None:
                progress(done, total)
            if len(chain.years) < LEAST_EXPIRIES:
                refused.append(f"{_time(chain)}: {u} has {len(chain.years)} expiry beyond a day")
                continue
            last[u] = chain_surface(chain)
            rows += [(_time(chain), asset, close) for asset, close in surface_series(last[u]).items()]
    return sorted(rows, key=lambda r: (r[1], r[0])), last, refused


def chain_surface(chain: Chain) -> Surface:
    """The surface of a chain, its quotes weighted as a run weighs them."""
    assert chain.valuation_time is not None
    own = [chain.expiry == e for e in range(len(chain.years))]
    moneyness, volatility = [-chain.log_moneyness[q] for q in own], [chain.volatility[q] for q in own]
    weight = [quote_weights(k, sigma, float(t), chain.spread[q]) for k, sigma, t, q in zip(moneyness, volatility, chain.years, own, strict=True)]
    expiries = [chain.valuation_time + timedelta(days=365.0 * float(t)) for t in chain.years]
    return fit_slices(chain.underlying, chain.valuation_time, expiries, chain.years.tolist(), moneyness, volatility, weight)


def _index(path: Path, underlyings: set[str]) -> list[Row]:
    """The median index of each chain."""
    import pandas as pd

    columns = ["timestamp", "instrument_name", "index_price"]
    try:
        frame = pd.read_parquet(path, columns=columns) if path.name.endswith(".parquet") else pd.read_csv(path, usecols=columns)
    except (ValueError, KeyError):
        raise MarketDataError("UPM-MD-102", f"{path.name}: column index_price is missing, the price that the surfaces move with. A chain has {', '.join(columns)}.") from None
    price = pd.to_numeric(frame["index_price"], errors="coerce")
    time = pd.to_datetime(frame["timestamp"], utc=True, errors="coerce")
    frame = pd.DataFrame({"u": frame["instrument_name"].astype(str).str.partition("-")[0], "t": time, "p": price})
    middle = frame[np.isfinite(price) & (price > 0.0) & time.notna() & frame["u"].isin(underlyings)].groupby(["u", "t"])["p"].median()
    return [(instant_text(t.to_pydatetime()), str(u), float(p)) for (u, t), p in middle.items()]


def _time(chain: Chain) -> str:
    assert chain.valuation_time is not None
    return instant_text(chain.valuation_time)
