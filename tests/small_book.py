"""A small hand-made book and market, written as files and read by the product's own readers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from upm_gpu.domain.reader import load_book
from upm_gpu.margin.methodology import Methodology
from upm_gpu.market.reader import load_market
from upm_gpu.model.gbm import GbmParameters

VALUATION = datetime(2026, 2, 5, 9, 0, tzinfo=UTC)
SPOT = {"BTC": 70_000.0, "ETH": 2_000.0}

INSTRUMENTS = """instrument_id,kind,underlying,settlement,quote_currency,contract_size,expiry,strike,option_type,exercise
BTC-PERP,perpetual,BTC,inverse,USD,10,,,,
BTC-LINEAR,perpetual,BTC,linear,USD,1,,,,
ETH-PERP,perpetual,ETH,inverse,USD,1,,,,
BTC-FUT,future,BTC,inverse,USD,10,2026-03-27T08:00:00Z,,,
BTC-C70,option,BTC,inverse,USD,1,2026-02-27T08:00:00Z,70000,call,european
BTC-P70,option,BTC,inverse,USD,1,2026-02-27T08:00:00Z,70000,put,european
BTC-P60,option,BTC,inverse,USD,1,2026-02-27T08:00:00Z,60000,put,european
BTC-C75D,option,BTC,inverse,USD,1,2026-02-06T08:00:00Z,75000,call,european
ETH-C20L,option,ETH,linear,USD,1,2026-02-27T08:00:00Z,2000,call,european
"""
MARKET = {
    "spots.csv": "asset,price,currency,timestamp\n" + "".join(f"{a},{p},USD,2026-02-05T09:00:00Z\n" for a, p in SPOT.items()),
    "forwards.csv": "underlying,expiry,forward\nBTC,,70000\nETH,,2000\nBTC,2026-02-06T08:00:00Z,70010\nBTC,2026-02-27T08:00:00Z,70200\n"
                    "BTC,2026-03-27T08:00:00Z,70700\nETH,2026-02-27T08:00:00Z,2005\n",
    "implied_vols.csv": "underlying,expiry,strike,implied_volatility\n" + "".join(
        f"{u},{e},{k},{v}\n" for u, e, f, base in (("BTC", "2026-02-06T08:00:00Z", 70010, 0.6), ("BTC", "2026-02-27T08:00:00Z", 70200, 0.55),
                                                   ("ETH", "2026-02-27T08:00:00Z", 2005, 0.75))
        for k, v in ((round(f * m, -1), base + 0.4 * (m - 1.0) ** 2 - 0.1 * (m - 1.0)) for m in (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3))),
}
GAUSSIAN = GbmParameters(("log_level[BTC]", "log_level[ETH]", "volatility_shift[BTC]", "volatility_shift[ETH]"), np.array([0.03, 0.04, 0.05, 0.05]),
                         np.array([[1.0, 0.8, -0.3, -0.2], [0.8, 1.0, -0.2, -0.3], [-0.3, -0.2, 1.0, 0.7], [-0.2, -0.3, 0.7, 1.0]]))
STUDENT = GbmParameters(GAUSSIAN.state_names, GAUSSIAN.daily_volatility, GAUSSIAN.correlation, copula="student_t", copula_degrees_of_freedom=4.0,
                        marginal=("student_t",) * 4, marginal_degrees_of_freedom=np.array([4.0, 3.5, 5.0, 5.0]))


def methodology(**changes):
    """2-day ES 99 %, BTC and ETH collateral simulated."""
    return Methodology(name="test", version="1", effective_date=VALUATION.date(), collateral={"modes": {"BTC": "simulated", "ETH": "simulated"},
                                                                                             "haircuts": {"USDC": 0.1}}, **changes)


def write(folder: Path, positions: str, collateral: str = "account_id,asset,quantity\n", accounts: str = "", market: dict[str, str] | None = None) -> Path:
    """Write a book and a market folder; positions and collateral are CSV text without their header's first columns."""
    (folder / "book").mkdir(parents=True)
    (folder / "market").mkdir()
    (folder / "book" / "instruments.csv").write_text(INSTRUMENTS)
    (folder / "book" / "positions.csv").write_text(positions)
    (folder / "book" / "collateral.csv").write_text(collateral)
    if accounts:
        (folder / "book" / "accounts.csv").write_text(accounts)
    for name, text in {**MARKET, **(market or {})}.items():
        (folder / "market" / name).write_text(text)
    return folder


def read(folder: Path):
    """(book, market) of what `write` wrote."""
    market = load_market(folder / "market")
    return load_book(folder / "book", market.valuation_time), market
