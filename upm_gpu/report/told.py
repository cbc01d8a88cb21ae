"""The worst scenarios of an account told in words and numbers: "BTC -14 %, volatility +38 points, ETH -19 %".

A price moves in percent; a volatility in points of the 30-day volatility at the money, which the manifest of a run keeps (`volatility_30d`; a run without it tells percent of the volatility). Where
volatilities move by expiry, the expiry nearest to 30 days is told. Only what the account depends on is told: the underlyings it holds.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from upm_gpu.report.read import Columns, length
from upm_gpu.report.words import MINUS, parts_of_state

PRICE, VOLATILITY = "log_level", "volatility_shift"
DAYS = 30.0
TOLD = 10
"""scenarios that the second sentence speaks of"""


@dataclass(frozen=True)
class Move:
    """What one factor of an asset did in every scenario told."""

    asset: str
    kind: str
    size: NDArray[np.float64]
    """fractions of a price or a volatility; volatility points over 100 where `points`"""
    points: bool

    def text(self, value: float, minus: str) -> str:
        """One figure with its unit."""
        return signed(100.0 * value, minus) + (" points" if self.points else " %")


def signed(value: float, minus: str) -> str:
    """Whole numbers from 1 on, tenths below: "+38", "-0.4"."""
    decimals = 0 if abs(value) >= 0.95 else 1
    size = f"{abs(value):,.{decimals}f}"
    return size if float(size.replace(",", "")) == 0.0 else ("+" if value > 0 else minus) + size


def moves(worst: Columns, manifest: dict, held: Collection[str] | None) -> list[Move]:
    """Price and volatility of every underlying in `held` (None: all), those of the largest price move of the worst scenario first. `worst` is sorted by rank."""
    levels, additive = manifest.get("volatility_30d") or {}, manifest.get("volatility_shift") == "additive"
    found: dict[str, dict[str, Move]] = {}
    for name, (kind, asset, date) in {n: p for n in worst if (p := parts_of_state(n)) is not None}.items():
        if kind not in (PRICE, VOLATILITY) or (held is not None and asset not in held) or not np.all(np.isfinite(worst[name])):
            continue
        if date is not None and name != _nearest(worst, asset, manifest):
            continue
        points = kind == VOLATILITY and (additive or asset in levels)
        size = worst[name] if kind == VOLATILITY and additive else np.expm1(worst[name]) * (float(levels[asset]) if points else 1.0)
        found.setdefault(asset, {})[kind] = Move(asset, kind, np.asarray(size, np.float64), points)
    first = {asset: abs(float(kinds[PRICE].size[0])) if PRICE in kinds and length(worst) else 0.0 for asset, kinds in found.items()}
    return [kinds[kind] for asset, kinds in sorted(found.items(), key=lambda x: (-first[x[0]], x[0])) for kind in (PRICE, VOLATILITY) if kind in kinds]


def _nearest(worst: Columns, asset: str, manifest: dict) -> str:
    """The volatility state of an asset whose expiry is nearest to 30 days away; the first where dates cannot be read."""
    dated = [(n, p[2]) for n in worst if (p := parts_of_state(n)) is not None and p[:2] == (VOLATILITY, asset) and p[2]]
    try:
        wanted = datetime.fromisoformat(str(manifest["valuation_time"]).replace("Z", "+00:00")) + timedelta(days=DAYS)
        return min(dated, key=lambda x: abs(_time(str(x[1])) - wanted))[0]
    except (KeyError, ValueError):
        return dated[0][0]


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def told_scenario(found: list[Move], place: int, minus: str = MINUS) -> str:
    """One scenario: "BTC -14 %, volatility +38 points, ETH -19 %"; an asset whose price is no factor is named at its volatility."""
    words, last = [], ""
    for move in found:
        subject = "volatility" if move.kind == VOLATILITY else move.asset
        if move.kind == VOLATILITY and last != move.asset:
            subject = f"{move.asset} volatility"
        words.append(f"{subject} {move.text(float(move.size[place]), minus)}")
        last = move.asset
    return ", ".join(words)


def told_together(found: list[Move], count: int, minus: str = MINUS) -> str:
    """What the worst scenarios have in common: "BTC falls in all 10 (-13 % on average), its volatility rises in 9 of 10 (+31 points)"."""
    words, last = [], ""
    for move in found:
        size = move.size[:count]
        up, down = int(np.count_nonzero(size > 0.0)), int(np.count_nonzero(size < 0.0))
        subject = "its volatility" if move.kind == VOLATILITY and last == move.asset else f"{move.asset} volatility" if move.kind == VOLATILITY else move.asset
        last = move.asset
        if not up and not down:
            words.append(f"{subject} stands still")
        elif up and down:
            sides = sorted((("rises", up, size > 0.0), ("falls", down, size < 0.0)), key=lambda side: -side[1])
            words.append(subject + " " + " and ".join(f"{verb} in {n} ({move.text(float(np.mean(size[way])), minus)})" for verb, n, way in sides))
        else:
            words.append(f"{subject} {'rises' if up else 'falls'} in {'all ' if up + down == len(size) else ''}{up + down} ({move.text(float(np.mean(size)), minus)} on average)")
    return ", ".join(words)


def told(worst: Columns | None, manifest: dict, held: Collection[str] | None = None, minus: str = MINUS) -> dict:
    """{"scenarios": a line for each of the worst, "sentences": two for a page}; empty where no scenario or no move is kept."""
    if worst is None or not length(worst):
        return {"scenarios": [], "sentences": []}
    order = np.argsort(worst["rank"], kind="stable")
    sorted_ = {name: values[order] for name, values in worst.items()}
    found = moves(sorted_, manifest, held)
    if not found:
        return {"scenarios": [], "sentences": []}
    lines = [told_scenario(found, n, minus) for n in range(length(sorted_))]
    count, pnl = min(TOLD, length(sorted_)), float(sorted_["pnl"][0])
    of = f" of {int(manifest['scenarios']):,} scenarios" if isinstance(manifest.get("scenarios"), int) else ""
    result = f"a loss of {-pnl:,.0f}" if pnl < 0.0 else f"a gain of {pnl:,.0f}" if pnl > 0.0 else "no loss"
    sentences = [f"The worst{of}: {lines[0]}: {result if math.isfinite(pnl) else 'no figure'} {manifest.get('reporting_currency') or 'USD'}."]
    if count > 1:
        sentences.append(f"In its {count} worst {told_together(found, count, minus)}.")
    return {"scenarios": lines, "sentences": sentences}
