"""Volatilities of options that a run prices under its own model, as it has them on a path: the quotes that a fresh run there would read.

sigma = ratio of today's quote to the model x the model's volatility at the path's moneyness, variance and time left (`pricing/model_tables.py`): with it the fresh run's own ratio keeps the value that the path said.
Verified: tests/statistics/test_tomorrow.py.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.instrument import Option
from upm_gpu.formula.value_table import table_values
from upm_gpu.market.snapshot import Quotes
from upm_gpu.plan import Plan
from upm_gpu.pricing.compiled import GROUP_INTEGERS, GROUP_REALS, TERM_REALS, Family

Key = tuple[str, datetime, float]
"""underlying, expiry, strike"""


def model_quotes(plan: Plan, horizon: int, states: NDArray[np.float64]) -> dict[Key, float]:
    """At a horizon of one path (D, K); empty where the model prices nothing."""
    compiled, program, found = plan.compiled, plan.compiled.programs[horizon], dict[Key, float]()
    columns = {int(c): n for n, c in enumerate(compiled.instrument_column) if c >= compiled.linear}
    at = {name: i for i, name in enumerate(TERM_REALS)}
    for integers, reals in zip(program.group_integers, program.group_reals, strict=True):
        group, real = dict(zip(GROUP_INTEGERS, integers.tolist(), strict=True)), dict(zip(GROUP_REALS, reals.tolist(), strict=True))
        if group["family"] != Family.MODEL_VOLATILITY:
            continue
        members = range(group["first"], group["first"] + group["count"])
        terms = compiled.terms[:, members.start - compiled.linear : members.stop - compiled.linear]
        now, table = states[group["date"]], program.tables[group["table"]]
        moneyness = terms[at["log_moneyness"]] - now[group["forward_state"]]
        place = np.full(len(members), now[group["volatility_state"]] * real["volatility_loading"])
        sigma = terms[at["residual"]] * table_values(table.low, table.inverse_step, table.values, -moneyness, place)
        for column, value in zip(members, sigma.tolist(), strict=True):
            option = plan.instruments[columns[column]]
            assert isinstance(option, Option)
            found[option.underlying, option.expiry, option.strike] = value
    return found


def with_quotes(quotes: Quotes, more: dict[Key, float]) -> Quotes:
    """Quotes with some given outright, in the place of their own or beside them."""
    if not more:
        return quotes
    keys = list(zip(quotes.underlying.tolist(), quotes.expiry, quotes.strike.tolist(), strict=True))
    volatility = np.array([more.get(k, v) for k, v in zip(keys, quotes.implied_volatility.tolist(), strict=True)], np.float64)
    added = sorted(set(more) - set(keys))
    order = sorted(range(len(keys) + len(added)), key=[*keys, *added].__getitem__)
    all_keys, unknown = [*keys, *added], np.full(len(added), np.nan)

    def column(own: NDArray, new: NDArray) -> NDArray:
        joined: NDArray = np.concatenate([own, new])[order]
        return joined

    text = np.array([""] * len(added), dtype=object)
    return replace(quotes, underlying=np.array([all_keys[i][0] for i in order], dtype=object), expiry=tuple(all_keys[i][1] for i in order), strike=np.array([all_keys[i][2] for i in order], np.float64),
                   implied_volatility=column(volatility, np.array([more[k] for k in added], np.float64)), bid=column(quotes.bid, unknown), ask=column(quotes.ask, unknown), mark=column(quotes.mark, unknown),
                   mark_type=column(quotes.mark_type, text), open_interest=column(quotes.open_interest, unknown), volume=column(quotes.volume, unknown))


__all__ = ["model_quotes", "with_quotes"]
