"""One chain from a table of cases, the file of `upm price`: option_type, spot or forward, strike, time_to_expiry, rate, dividend_yield, and a volatility or a market_price a row.

Prices are discounted, of the option named; bid and ask, where given, likewise. Verified: tests/end_to_end/test_calibrate_chains.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.chain.quotes import Chain, make_chain
from upm_gpu.errors import CalibrationError, MarketDataError
from upm_gpu.formula.implied_volatility import FOUND, implied_volatility

COLUMNS = ("option_type", "spot", "forward", "strike", "time_to_expiry", "rate", "dividend_yield", "volatility", "market_price", "bid", "ask")


def read_case_chain(path: Path, **limits: Any) -> Chain:
    """The chain of a file, named after it. Raises `MarketDataError` UPM-MD-101, 102, `CalibrationError` UPM-CA-210, and 211 where a price has no volatility."""
    import pandas as pd

    try:
        frame = pd.read_csv(path)
        columns = {c: np.asarray(pd.to_numeric(frame[c]), np.float64) if c in frame else np.full(len(frame), np.nan) for c in COLUMNS[1:]}
    except FileNotFoundError:
        raise MarketDataError("UPM-MD-101", f"{path}: no such file. Give a market folder, a chain snapshot or a table of cases.") from None
    except (OSError, ValueError) as error:
        raise MarketDataError("UPM-MD-101", f"{path}: cannot be read ({error}). Give a table with the columns {', '.join(COLUMNS)}.") from None
    for needed in (("strike",), ("time_to_expiry",), ("spot", "forward"), ("volatility", "market_price")):
        if not set(needed) & set(frame.columns):
            raise MarketDataError("UPM-MD-102", f"{path.name}: column {' or '.join(needed)} is missing. A chain has {', '.join(COLUMNS)}.")
    years, rate = columns["time_to_expiry"], np.nan_to_num(columns["rate"])
    forward = np.where(np.isnan(columns["forward"]), columns["spot"] * np.exp((rate - np.nan_to_num(columns["dividend_yield"])) * years), columns["forward"])
    growth = np.exp(rate * years)
    volatility = np.where(np.isnan(columns["volatility"]), _inverted(path.name, frame, columns, forward, growth), columns["volatility"])
    spread = (columns["ask"] - columns["bid"]) * growth / forward
    labels = [f"{t:.6g} years" for t in years]
    return make_chain(path.name.partition(".")[0], None, labels, years, forward, columns["strike"], volatility, np.where(spread > 0.0, spread, np.nan), **limits)


def _inverted(name: str, frame: Any, columns: dict[str, NDArray[np.float64]], forward: NDArray[np.float64], growth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Volatilities of the rows that have a price and none; NaN elsewhere."""
    asked = np.isnan(columns["volatility"]) & ~np.isnan(columns["market_price"])
    found = np.full(len(asked), np.nan)
    if not np.any(asked):
        return found
    if "option_type" not in frame:
        raise MarketDataError("UPM-MD-102", f"{name}: column option_type is missing, which a market_price needs. Add call or put.")
    sign = np.where(frame["option_type"] == "call", 1.0, -1.0)
    strike = columns["strike"]
    sigma, status = implied_volatility(forward[asked], strike[asked], np.log(forward[asked] / strike[asked]), columns["time_to_expiry"][asked], (columns["market_price"] * growth)[asked], sign[asked])
    if np.any(status != FOUND):
        at = int(np.flatnonzero(asked)[np.flatnonzero(status != FOUND)[0]])
        raise CalibrationError("UPM-CA-211", f"{name} line {at + 2} column market_price: {columns['market_price'][at]:g} is an arbitrage, no volatility gives it: at or below the payoff at the forward {forward[at]:g} "
                               f"or at its bound ({np.count_nonzero(status != FOUND)} such rows). Correct the price or remove the row.")
    found[asked] = sigma
    return found
