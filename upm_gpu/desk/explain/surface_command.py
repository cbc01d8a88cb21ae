"""`upm surface`: from the command line to tables and heat maps and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.desk.explain.surface import ALL, PnlSurface, pnl_surface
from upm_gpu.errors import UsageError
from upm_gpu.exhibits import PRICE_MOVES, VOLATILITY_MOVES
from upm_gpu.report.explain import printable
from upm_gpu.report.page import document, heading, heat, refuse_existing, section
from upm_gpu.report.words import full, moment, percent, short


def surface_command(path: Path, account: str, underlying: str, price: str, volatility: str, days: float, page: Path | None) -> tuple[dict[str, Any], str]:
    """(plain data, text for a person); a page is written to `page`. Raises what reading a run and `pnl_surface` raise, UsageError for a range that cannot be read or a page that is there already."""
    from upm_gpu.backend.select import choose
    from upm_gpu.inputs_again import inputs_again
    from upm_gpu.plan import make_plan
    from upm_gpu.run.verify import check_folder, read_manifest

    prices, volatilities = steps(price, "--price", PRICE_MOVES), steps(volatility, "--volatility", VOLATILITY_MOVES)
    refuse_existing(page)
    folder = check_folder(path)
    manifest = read_manifest(folder)
    again = inputs_again(folder, manifest)
    plan = make_plan(again.book, again.market, again.spec, again.methodology)
    choice = choose(str(manifest["backend"]), str(manifest["precision"]), again.threads)
    found = pnl_surface(plan, choice, account, underlying, prices, volatilities, days)
    currency, time = plan.market.reporting_currency, plan.market.valuation_time.isoformat()
    data = {"run": str(path), "account_id": account, "currency": currency, "valuation_time": time, "days": days,
            "surfaces": [{"underlying": s.underlying, "price_moves": s.price, "volatility_moves": s.volatility, "pnl": s.pnl.tolist()} for s in found]}
    if page is not None:
        page.write_bytes(surface_page(found, account, currency, time))
    return data, "\n\n".join(render(s, currency) for s in found) or f"Account {printable(account)} holds nothing that moves."


def steps(text: str, option: str, otherwise: Sequence[float]) -> tuple[float, ...]:
    """Moves of LOW:HIGH:COUNT in percent, or a list of percents with commas; blank: those of the report.

    >>> steps("-20:20:5", "--price", ())
    (-0.2, -0.1, 0.0, 0.1, 0.2)
    """
    if not text:
        return tuple(otherwise)
    try:
        if ":" in text:
            low, high, count = text.split(":")
            number = int(count)
            if not 2 <= number <= 1000:
                raise ValueError(count)
            moves = [float(low) + (float(high) - float(low)) * i / (number - 1) for i in range(number)]
        else:
            moves = [float(m) for m in text.split(",")]
        if not all(math.isfinite(m) for m in moves):
            raise ValueError(text)
    except ValueError:
        raise UsageError("UPM-CF-170", f"{option} {text!a}: is neither LOW:HIGH:COUNT nor a list in percent. Write for example {option} -40:40:17 or {option} -20,-10,0,10,20.") from None
    return tuple(round(m / 100.0, 12) for m in moves)


def title(surface: PnlSurface) -> str:
    """What a surface is called: "BTC moves at once", "All underlyings move together, and 2 days pass"."""
    what = "all underlyings move together" if surface.underlying == ALL else f"{printable(surface.underlying)} moves"
    return what + (" at once" if surface.days == 0.0 else f" and {surface.days:g} days pass")


def render(surface: PnlSurface, currency: str) -> str:
    """A table for a person: volatility moves down, price moves across; ASCII."""
    width = 9
    lines = [f"Account {printable(surface.account_id)}: P&L in {currency} if {title(surface)} (price across, volatility down)"]
    lines.append(f"{'':>9}" + "".join(f"{percent(p, '-').replace('.0 %', ' %').replace(' ', ''):>{width}}" for p in surface.price))
    for name, row in zip(surface.volatility, surface.pnl, strict=True):
        lines.append(f"{percent(name, '-').replace('.0 %', ' %').replace(' ', ''):>9}" + "".join(f"{short(float(v), '-').replace(' ', ''):>{width}}" for v in row))
    worst = np.unravel_index(int(np.argmin(surface.pnl)), surface.pnl.shape)
    lines.append(f"worst cell: {full(float(surface.pnl[worst]), 2, '-')} at price {percent(surface.price[worst[1]], '-')}, volatility {percent(surface.volatility[worst[0]], '-')}")
    return "\n".join(lines)


def surface_page(surfaces: Sequence[PnlSurface], account: str, currency: str, valuation_time: str) -> bytes:
    """The page of an account's surfaces."""
    body = [heading(["P&L surface", moment(valuation_time), currency], f"Account {account}", "What the account gains or loses if prices and volatilities move, through the engine's own pricing.")]
    for s in surfaces:
        today = (s.volatility.index(0.0), s.price.index(0.0)) if 0.0 in s.volatility and 0.0 in s.price else None
        worst = np.unravel_index(int(np.argmin(s.pnl)), s.pnl.shape)
        note = (f"Price across, volatility down, both relative. Worst cell: {full(float(s.pnl[worst]))} {currency} at price {percent(s.price[worst[1]])}, volatility {percent(s.volatility[worst[0]])}. "
                "The frame is where the market is.")
        body.append(section(title(s)[:1].upper() + title(s)[1:], [heat([_short(p) for p in s.price], [_short(v) for v in s.volatility], s.pnl.tolist(), [[short(float(v)) for v in row] for row in s.pnl], today)], note))
    return document(f"P&L surface of {account}", body)


def _short(move: float) -> str:
    return percent(move).replace(".0\u00a0%", "\u00a0%")
