"""Greeks of options on two assets: of the first, and of the second as those of the same option with the assets exchanged."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from upm_gpu.domain.instrument import Exotic, Instrument
from upm_gpu.formula.pair import SPREAD
from upm_gpu.pricing.compiled import GROUP_INTEGERS, TERM_REALS, Compiled
from upm_gpu.pricing.tables import group_of

NAMES = ("delta", "gamma", "vega", "theta")


def two_asset_greeks(backend: ModuleType, compiled: Compiled, second: bool = False) -> dict[int, dict[str, float]]:
    """By instrument: delta and gamma in the forward of the first asset (or of the `second`), vega in its volatility, theta a year; and `forward`, that forward."""
    program = compiled.programs[0]
    index = {k: GROUP_INTEGERS.index(k) for k in ("first", "second")}
    found = {}
    for g in np.flatnonzero(program.group_integers[:, index["second"]] >= 0):
        own, other = group_of(program, int(g)), group_of(program, int(program.group_integers[g, index["second"]]))
        terms = dict(zip(TERM_REALS, compiled.terms[:, int(own["first"]) - compiled.linear].tolist(), strict=True))
        assets = [(own["forward0"], terms["volatility"]), (other["forward0"], other["leg_volatility"])]
        (level, volatility), (level_2, volatility_2) = assets[::-1] if second else assets
        turn = -1.0 if second and own["payoff"] == SPREAD else 1.0  # S1 - S2 - K is -(S2 - S1 + K)
        rate = -np.log(own["discount0"]) / own["expiry_years"]
        case = {"spot": level, "volatility": volatility, "spot_2": level_2, "volatility_2": volatility_2, "correlation": own["correlation"], "kind": own["payoff"],
                "strike": turn * terms["strike"], "sign": turn * terms["sign"], "time_to_expiry": own["expiry_years"], "rate": rate, "dividend_yield": rate, "dividend_yield_2": rate}
        value = backend.values("two_asset", {k: np.array([float(v)]) for k, v in case.items()})
        n = int(np.flatnonzero(compiled.instrument_column == int(own["first"]))[0])
        found[n] = {"forward": float(level), **{k: float(value[k][0]) for k in NAMES}} if second else {k: float(value[k][0]) for k in NAMES}
    return found


def second_asset_lines(table: pd.DataFrame, backend: ModuleType, instruments: Sequence[Instrument], compiled: Compiled, instrument: NDArray[np.int32],
                       quantity: NDArray[np.float64]) -> pd.DataFrame:
    """The Greeks `table` of `exhibits.greeks` with a line more for each line of an option on two assets; theta is told with the first."""
    found = two_asset_greeks(backend, compiled, second=True)
    if not found:
        return table
    held = np.flatnonzero(np.isin(instrument, list(found)))
    options = [instruments[int(n)] for n in instrument[held]]
    other = table.iloc[held].assign(underlying=[i.underlying_2 if isinstance(i, Exotic) else "" for i in options], theta=0.0)
    for name, power, unit in (("delta", 1, 1.0), ("gamma", 2, 0.01), ("vega", 0, 0.01)):
        other[name] = quantity[held] * unit * np.array([g[name] * g["forward"] ** power for g in (found[int(n)] for n in instrument[held])])
    return pd.concat([table, other], ignore_index=True)


__all__ = ["second_asset_lines", "two_asset_greeks"]
