"""What every factor did between two days of the history: dated stresses.

A day means its close, 24:00Z. The move of a price is the log-change of its closes, of a volatility that of its 30-day series (points where shifts are additive), net of the slide
along a smile where the model's factor is. A volatility series that does not reach back takes the realised volatility of its price (EWMA), a skew or slope that does not stays where it is; so do
bases, funding, rates and what no history tells. An asset without closes on both days takes the moves of a stand-in that is named, else the date is refused. Verified by
tests/end_to_end/test_stress_charge.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from upm_gpu.calibrate.series import MAX_GAP_DAYS, Series, factor_series, realised_volatility
from upm_gpu.calibrate.surface_factors import slides_of
from upm_gpu.errors import CalibrationError

if TYPE_CHECKING:
    from upm_gpu.market.snapshot import MarketSnapshot
    from upm_gpu.market.surface import Surface
    from upm_gpu.scenario.spec import ScenarioSpec

MOVED = ("log_level", "volatility_shift", "volatility_skew", "volatility_slope")


def asset_of_state(state: str) -> str:
    """The asset a state belongs to, its expiry left out.

    >>> asset_of_state("volatility_shift[BTC,2026-02-27T08:00Z]")
    'BTC'
    """
    return state.partition("[")[2].rstrip("]").partition(",")[0]


def past_move(name: str, start: str, end: str, stand_in: str, states: Sequence[str], market: MarketSnapshot, spec: ScenarioSpec,
              surfaces: Mapping[str, Surface] | None = None, assets: Collection[str] | None = None) -> dict[str, float]:
    """Move of every state of `states` between the closes of two days; those of assets not in `assets` (None: all are) stay. Raises `CalibrationError` UPM-CA-195."""
    clock, additive = spec.trading_clock(market.valuation_time), spec.volatility_shift == "additive"
    days = [_close(text, name) for text in (start, end)]
    if not days[0] < days[1] <= market.valuation_time:
        raise CalibrationError("UPM-CA-195", f"dated stress {name!r}: {start} to {end} is no past period of the valuation at {market.valuation_time.isoformat()}. Give two days in order, both closed by then.")
    at = clock.at(np.array([t.timestamp() / 86_400.0 for t in days]))
    wanted = {s: f"{s.partition('[')[0]}[{asset_of_state(s)}]" for s in states if s.partition("[")[0] in MOVED and (assets is None or asset_of_state(s) in assets)}
    known = {str(a) for a in market.history["asset"].unique()}
    own = {asset: asset for asset in {asset_of_state(s) for s in wanted}}

    def series_of(asset: str) -> dict[str, Series]:
        kinds = sorted({f.partition("[")[0] for f in wanted.values() if asset_of_state(f) in (asset, *(a for a in own if own[a] == asset))}, key=MOVED.index)
        shapes = {"volatility_skew": "SKEW30", "volatility_slope": "SLOPE30"}
        factors = [f"{k}[{asset}]" for k in dict.fromkeys(["log_level", *kinds]) if k not in shapes or f"{asset}.{shapes[k]}" in known]
        found, _, _ = factor_series(market.history, factors, market.valuation_time, spec.ewma_lambda, slides_of(spec, surfaces), additive, clock)
        return dict(zip((f.partition("[")[0] for f in factors), found, strict=True))

    def change(series: Series) -> float | None:
        place = np.searchsorted(series.time, at + 1e-9, side="right") - 1
        if np.any(place < 0) or np.any(at - series.time[np.maximum(place, 0)] > MAX_GAP_DAYS):
            return None
        return float(series.value[place[1]] - series.value[place[0]])

    moves: dict[str, float] = dict.fromkeys(states, 0.0)
    for asset in sorted(own):
        found = series_of(asset) if asset in known else {}
        if not found or change(found["log_level"]) is None:
            if not stand_in:
                raise CalibrationError("UPM-CA-195", f"dated stress {name!r}: the history has no closes of {asset} at both {start} and {end}. Lengthen its history, leave the date out, or name a stand_in, an asset "
                                       "whose moves it takes.")
            own[asset] = stand_in
            found = series_of(stand_in) if stand_in in known else {}
            if not found or change(found["log_level"]) is None:
                raise CalibrationError("UPM-CA-195", f"dated stress {name!r}: the history has no closes of the stand_in {stand_in} at both {start} and {end}. Name another asset, or leave the date out.")
        for state, factor in wanted.items():
            kind = factor.partition("[")[0]
            if asset_of_state(state) != asset or kind not in found:
                continue
            moved = change(found[kind])
            if moved is None and kind == "volatility_shift":
                realised = realised_volatility(found["log_level"], spec.ewma_lambda, clock.days_per_year)
                moved = change(Series(realised.time, np.exp(realised.value)) if additive else realised)
            moves[state] = moved or 0.0
    return moves


def _close(text: str, name: str) -> datetime:
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise CalibrationError("UPM-CA-195", f"dated stress {name!r}: {text!r} is no date. Write a day such as 2020-03-12.") from None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return found if "T" in text or " " in text else found + timedelta(days=1)
