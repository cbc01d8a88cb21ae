"""Surfaces read from a file that `upm calibrate surface` wrote, instead of fitted at the start of a run (`market.surface_file`).

A file belongs to one market: its valuation time is the market's, every slice has quotes there, and every underlying whose options are priced has slices. It must be free of static arbitrage, between |k| = 3: no total variance below that of the expiry before,
no negative density (`arbitrage.py`). What a fit does silently to its own slices, lifting one over another, would be an edit of somebody's numbers here. Expiries the market quotes and the file lacks are interpolated, and said. Numbers read back to the same bits,
so that the file of a joint fit gives the run that fits by itself. Verified: tests/end_to_end/test_surface_file.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.domain.text import instant_text
from upm_gpu.errors import InputError, MarketDataError
from upm_gpu.market.arbitrage import surface_violations
from upm_gpu.market.marks import check_marks
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.market.surface import Surface, surface_of, usable_quotes
from upm_gpu.strict_toml import read_parameter_file

RAW = ("a", "b", "rho", "m", "s")
ROUNDING = 1e-10
"""of total variance: what a slice may lie below the one before it, a hundred-thousandth of a volatility point at 50 % and a month"""


def given_surfaces(path: Path | str, market: MarketSnapshot, underlyings: Iterable[str]) -> tuple[dict[str, Surface], tuple[str, ...]]:
    """Surfaces of the underlyings that the market quotes, and what is to be said of them. Raises `InputError` UPM-MD-149 (no such file of slices), `MarketDataError` 150 (another market's), 151 (arbitrage)."""
    name = Path(path).name
    data = _read(path)
    made = str(data.get("valuation_time", ""))
    if made != instant_text(market.valuation_time):
        raise MarketDataError("UPM-MD-150", f"{name}: the surfaces are those of {made or 'no time'}, and the market is of {instant_text(market.valuation_time)}. Calibrate them on this market with `upm calibrate surface`.")
    quoted, keep = set(map(str, market.quotes.underlying)), ~check_marks(market).quarantined
    found, notes = {}, []
    for u in sorted(set(underlyings) & quoted):
        if u not in data["slices"]:
            raise MarketDataError("UPM-MD-150", f"{name}: no surface of {u}, whose options are priced; the file holds {', '.join(sorted(data['slices'])) or 'none'}. Calibrate with {u} among the underlyings.")
        found[u], absent = _surface(name, u, data["slices"][u], market, keep)
        if absent:
            notes.append(f"UPM-MD-152 {name}: no slice of {u} {', '.join(absent)}: interpolated between the expiries of the file")
    return found, tuple(notes)


def _surface(name: str, underlying: str, rows: Any, market: MarketSnapshot, keep: Any) -> tuple[Surface, list[str]]:
    expiries, years, moneyness, volatility, _ = usable_quotes(market, underlying, keep)
    place = {instant_text(e): i for i, e in enumerate(expiries)}
    at: list[int] = []
    raw: list[list[float]] = []
    for number, row in enumerate(rows, 1):
        where = f"{name} slices.{underlying} {number}"
        if not isinstance(row, Mapping) or any(not isinstance(row.get(n), float | int) for n in RAW) or not isinstance(row.get("expiry"), str):
            raise InputError("UPM-MD-149", f"{where}: a slice is an expiry and the numbers {', '.join(RAW)}. Calibrate again.")
        if row["expiry"] not in place:
            raise MarketDataError("UPM-MD-150", f"{where}: the market has no usable quote of {underlying} {row['expiry']}; it has {', '.join(place)}. Calibrate on this market.")
        values = [float(row[n]) for n in RAW]
        if not np.all(np.isfinite(values)) or not (values[1] >= 0.0 and abs(values[2]) <= 1.0 and values[4] > 0.0):
            raise InputError("UPM-MD-149", f"{where}: a slice has b >= 0, |rho| <= 1 and s > 0, and this one {', '.join(f'{n} {v:g}' for n, v in zip(RAW, values, strict=True))}. Calibrate again.")
        if at and place[row["expiry"]] <= at[-1]:
            raise InputError("UPM-MD-149", f"{where}: {row['expiry']} does not come after the slice before it. Give each expiry once, ascending.")
        at.append(place[row["expiry"]])
        raw.append(values)
    surface = surface_of(underlying, market.valuation_time, [expiries[i] for i in at], [years[i] for i in at], np.array(raw), [moneyness[i] for i in at], [volatility[i] for i in at])
    _check(name, surface)
    return surface, [instant_text(e) for i, e in enumerate(expiries) if i not in at]


def _check(name: str, surface: Surface) -> None:
    """Raises UPM-MD-151 with the first violation, a calendar before a butterfly."""
    for fit in surface.fits:
        if fit.lift > ROUNDING:
            what = f"lies {fit.violation:.3g} of total variance below the expiry before it" if fit.violation > ROUNDING else "has a total variance that is not above 0"
            raise MarketDataError("UPM-MD-151", f"{name}: the slice of {surface.underlying} {instant_text(fit.expiry)} {what}: calendar arbitrage. Calibrate with --fit joint, or another --family.")
    butterflies = [row for row in surface_violations(surface) if row["violation"] == "butterfly"]
    if butterflies:
        worst = min(butterflies, key=lambda row: float(row["worst"]))
        raise MarketDataError("UPM-MD-151", f"{name}: {len(butterflies)} slices of {surface.underlying} imply a negative density, the worst {worst['expiry']} from ln(K / F) {worst['from_log_moneyness']:.3g} to {worst['to_log_moneyness']:.3g} "
                              f"(g down to {worst['worst']:.3g}): butterfly arbitrage. Calibrate with --family ssvi_power_law or ssvi_heston.")


def _read(path: Path | str) -> dict[str, Any]:
    data = read_parameter_file(path, "UPM-MD-149", "file of surfaces", "Make one with `upm calibrate surface`, or leave market.surface_file blank.", "Make one with `upm calibrate surface`.")
    if data.get("schema_version") != 1 or data.get("kind") != "surface" or not isinstance(data.get("slices"), dict) or not all(isinstance(rows, list) and rows for rows in data["slices"].values()):
        raise InputError("UPM-MD-149", f"{path}: schema_version {data.get('schema_version')!r} kind {data.get('kind')!r}; version 1 of kind 'surface' with tables of slices is read here. Make one with `upm calibrate surface`.")
    return data


def file_family(path: Path | str) -> str:
    """What a file of surfaces says of how it was made, for a manifest."""
    data = _read(path)
    return f"{data.get('family', '')}, {data.get('fit', '')} fit"
