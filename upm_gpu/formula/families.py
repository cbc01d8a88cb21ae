"""The product families: value of one unit from states and terms. Twins of `kernels/families.cuh`.

Arrays broadcast; by convention terms are (C, 1) and states (S,), results (C, S). Values are in the reporting currency.
Verified against each other on every backend (tests/parity) and through Black-76 against published tables.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from upm_gpu.formula.black import black_undiscounted
from upm_gpu.formula.pair import LEAST_ROOT_YEARS, Pair, pair_value
from upm_gpu.formula.value_table import table_values

VOLATILITY_FLOOR = 0.05
VOLATILITY_CAP = 5.0
MONEYNESS_LIMIT = 3.0
VARIANCE_FLOOR = 1e-12
LEAST_LEFT = 1e-12
"""of a strike: below it all is fixed"""


def svi_total_variance(k: Any, a: Any, b: Any, rho: Any, m: Any, s: Any, xp: Any = np, tilt: Any = 0.0) -> Any:
    """Raw SVI total variance a + b (rho (k - m) + sqrt((k - m)^2 + s^2)), k = ln(strike / forward).

    Gatheral (2004), "A parsimonious arbitrage-free implied volatility parameterization". Outside [-3, 3] the value at the
    limit is used (no quote is that far out); the floor keeps the square root defined. `tilt` k is added: the raw SVI of rho + tilt / b
    and a + tilt m, whose value at the money is the same.
    """
    within = xp.minimum(xp.maximum(k, -MONEYNESS_LIMIT), MONEYNESS_LIMIT)
    d = within - m
    return xp.maximum(a + b * (rho * d + xp.sqrt(d * d + s * s)) + tilt * within, VARIANCE_FLOOR)


def shifted_volatility(base: Any, state: Any, loading: Any, additive: Any, xp: Any = np) -> Any:
    """Volatility of an option in a scenario: the at-the-money shift of its underlying, damped by `loading` for its expiry.

    relative: base exp(state loading); additive: base + state loading; clipped to [0.05, 5].
    """
    move = state * loading
    shifted = xp.where(additive != 0, base + move, base * xp.exp(move))
    return xp.minimum(xp.maximum(shifted, VOLATILITY_FLOOR), VOLATILITY_CAP)


def european_volatility(forward_move: Any, volatility_state: Any, log_moneyness: Any, volatility: Any, residual: Any, group: dict[str, Any], *,
                        skew: Any = 0.0, stretch: Any = 0.0, xp: Any = np) -> Any:
    """Volatility of an option in a scenario: that of its quote or of the surface at its moneyness, moved by level and skew. Arguments as in `european`."""
    tilt = group["svi_tilt"] * skew

    def surface(at: Any, c: Any) -> Any:
        variance = svi_total_variance(at, group["svi_a"], group["svi_b"], group["svi_rho"], group["svi_m"], group["svi_s"], xp, c)
        return xp.sqrt(variance / group["expiry_years"])

    if group["sticky_moneyness"]:
        base = surface((log_moneyness - forward_move) * xp.exp(-stretch), tilt) + residual
    else:
        base = volatility if group["skew_state"] < 0 else volatility + (surface(log_moneyness, tilt) - surface(log_moneyness, 0.0))
    return shifted_volatility(base, volatility_state, group["volatility_loading"], group["additive_volatility"], xp)


def european(level: Any, forward_move: Any, volatility_state: Any, strike: Any, log_moneyness: Any, volatility: Any, residual: Any,
             sign: Any, group: dict[str, Any], *, years: float, discount: float, scale: Any = None, skew: Any = 0.0, stretch: Any = 0.0, table: Any = None,
             xp: Any = np) -> Any:
    """Present value of one unit of a European option on the forward of its expiry (Black 1976).

    `level` and `forward_move` are the log-changes of index and forward, `years` the time left at the valuation date and
    `discount` its factor. An inverse option is paid in coins: Black76 / F coins, each worth S. What a linear one pays is worth exp(scale) of
    what it was (None: 1): the log-change of its currency, of its discount factor, or both. `skew` is the change of the slope of log-volatility a standard
    deviation of moneyness at the money, `stretch` the logarithm by which today's smile is drawn out in moneyness. A `table` (`pricing/compiled.py` ValueTable) adds what the option is worth above Black's value.
    """
    forward = group["forward0"] * xp.exp(forward_move)
    k = log_moneyness - forward_move
    sigma = european_volatility(forward_move, volatility_state, log_moneyness, volatility, residual, group, skew=skew, stretch=stretch, xp=xp)
    value = discount * black_undiscounted(forward, strike, -k, sigma * np.sqrt(years), sign)
    if table is not None:
        value = value + strike * table_values(table.low, table.inverse_step, table.values, -k, xp.log(sigma))
    coins = value * (group["spot0"] * xp.exp(level) / forward)
    return xp.where(group["inverse"] != 0, coins, value if scale is None else value * xp.exp(scale))


def quanto(forward_move: Any, volatility_state: Any, strike: Any, log_moneyness: Any, volatility: Any, residual: Any, sign: Any, group: dict[str, Any], *,
           years: float, discount: float, scale: Any = None, skew: Any = 0.0, stretch: Any = 0.0, xp: Any = np) -> Any:
    """Present value of one unit of a European option paid in another currency at a fixed rate: discount Black76(F exp(-c sigma years), K, sigma, years), c = `quanto_drift` of the
    group, the correlation of the asset with its own currency's value in the other times that value's volatility (Reiner 1992, "Quanto mechanics"). sigma is the option's own in the
    scenario. Others as in `european`."""
    sigma = european_volatility(forward_move, volatility_state, log_moneyness, volatility, residual, group, skew=skew, stretch=stretch, xp=xp)
    drift = -(group["quanto_drift"] * sigma * years)
    value = discount * black_undiscounted(group["forward0"] * xp.exp(forward_move) * xp.exp(drift), strike, forward_move - log_moneyness + drift, sigma * np.sqrt(years), sign)
    return value if scale is None else value * xp.exp(scale)


def model_option(level: Any, forward_move: Any, place: Any, strike: Any, log_moneyness: Any, ratio: Any, sign: Any, group: dict[str, Any], table: Any, *,
                 scale: Any = None, xp: Any = np) -> Any:
    """Present value of one unit of a European option at the volatility of the scenarios' own model: `ratio` times the table's at (ln(F / K), place), `place` the volatility
    state times the group's loading. Others as in `european`."""
    forward = group["forward0"] * xp.exp(forward_move)
    k = log_moneyness - forward_move
    sigma = ratio * table_values(table.low, table.inverse_step, table.values, -k, place)
    value = group["discount"] * black_undiscounted(forward, strike, -k, sigma * np.sqrt(group["remaining_years"]), sign)
    coins = value * (group["spot0"] * xp.exp(level) / forward)
    return xp.where(group["inverse"] != 0, coins, value if scale is None else value * xp.exp(scale))


def settled_option(level: Any, level_at_expiry: Any, strike: Any, sign: Any, group: dict[str, Any], scale: Any = None, xp: Any = np) -> Any:
    """An option that expired inside the horizon: payoff at the index of the expiry; coins or quote currency are held and valued at the horizon."""
    index = group["spot0"] * xp.exp(level_at_expiry)
    payoff = xp.maximum(sign * (index - strike), 0.0)
    coins = payoff * xp.exp(level - level_at_expiry)
    return xp.where(group["inverse"] != 0, coins, payoff if scale is None else payoff * xp.exp(scale))


def inverse_future(level: Any, level_at_settlement: Any, price0: Any, group: dict[str, Any], xp: Any = np) -> Any:
    """A dated inverse future that expires inside the longest horizon: (1/price0 - 1/F) coins per unit of quote currency, valued at S_h.

    F = forward0 exp(level at `settle_date`): while alive forward0 is today's forward and the date is the horizon; once
    settled forward0 is today's index and the date is the expiry.
    """
    settlement = group["forward0"] * xp.exp(level_at_settlement)
    return (1.0 / price0 - 1.0 / settlement) * (group["spot0"] * xp.exp(level))


def barrier_hit(path: Any, group: dict[str, Any], xp: Any = np) -> Any:
    """True where the running extreme of the log-level has reached the barrier; never without one."""
    return (group["barrier_side"] != 0.0) & (group["barrier_side"] * (path - group["barrier"]) >= 0.0)


def looked_at(forward_move: Any, sigma: Any, group: dict[str, Any]) -> Any:
    """Log-change of the forward by which an option with a barrier is read; where that is looked at on fixings only, less what moves it away (Broadie, Glasserman and Kou 1997)."""
    return forward_move - group["barrier_side"] * group["fixing_shift"] * sigma


def exotic_hit(path: Any, looked: Any, group: dict[str, Any], xp: Any = np) -> Any:
    """`barrier_hit` of an option alive; between fixings one that is beyond the barrier moved away is as good as hit."""
    return barrier_hit(path, group, xp) | ((group["fixing_shift"] != 0.0) & (group["barrier_side"] * (looked - group["barrier"]) >= 0.0))


def exotic(forward_move: Any, volatility_state: Any, path: Any, strike: Any, log_moneyness: Any, volatility: Any, residual: Any, sign: Any, group: dict[str, Any], *,
           scale: Any = None, skew: Any = 0.0, stretch: Any = 0.0, table: Any = None, xp: Any = np) -> Any:
    """An option with further terms, alive at the horizon; see `Program` in `pricing/compiled.py`. `path` is the running extreme of the log-level. Others as in `european`."""
    from upm_gpu.formula.normal import normal_cdf

    forward = group["forward0"] * xp.exp(forward_move)
    m = forward_move - log_moneyness
    sigma = european_volatility(forward_move, volatility_state, log_moneyness, volatility, residual, group, skew=skew, stretch=stretch, xp=xp)
    stdev = sigma * np.sqrt(group["remaining_years"])
    black = group["discount"] * black_undiscounted(forward, strike, m, stdev, sign)
    missed, looked = group["miss_black"] * black, looked_at(forward_move, sigma, group)
    if table is not None:
        missed = missed + strike * table_values(table.low, table.inverse_step, table.values, looked - log_moneyness, xp.log(sigma))
    if group["region_cash"] or group["region_index"]:
        d = m / stdev
        missed = missed + group["discount"] * (group["region_cash"] * normal_cdf(sign * (d - 0.5 * stdev)) + group["region_index"] * forward * normal_cdf(sign * (d + 0.5 * stdev)))
    value = xp.where(exotic_hit(path, looked, group, xp), group["hit_black"] * black + group["hit_cash"] + group["hit_index"] * forward, missed)
    return value if scale is None else value * xp.exp(scale)


def settled_exotic(level_at_expiry: Any, path: Any, strike: Any, sign: Any, group: dict[str, Any], scale: Any = None, xp: Any = np) -> Any:
    """An option with further terms that expired inside the horizon, paid at the index of the expiry; `path` is the running extreme until then."""
    index = group["spot0"] * xp.exp(level_at_expiry)
    payoff = xp.maximum(sign * (index - strike), 0.0)
    missed = group["miss_black"] * payoff + group["miss_cash"] + group["miss_index"] * index + xp.where(sign * (index - strike) > 0.0, group["region_cash"] + group["region_index"] * index, 0.0)
    value = xp.where(barrier_hit(path, group), group["hit_black"] * payoff + group["hit_cash"] + group["hit_index"] * index, missed)
    return value if scale is None else value * xp.exp(scale)


def average_place(forward_move: Any, path: Any, log_moneyness: Any, group: dict[str, Any], xp: Any = np) -> tuple[Any, Any]:
    """Where the table of an option on an average is read, and the share of the strike that the fixings so far leave to those to come: see `Program` in `pricing/compiled.py`."""
    left = 1.0 - (group["average_past"] + group["average_weight"] * path)
    return forward_move - log_moneyness - xp.log(xp.maximum(left, LEAST_LEFT) * group["average_scale"]), left


def average(forward_move: Any, volatility_state: Any, path: Any, strike: Any, log_moneyness: Any, volatility: Any, residual: Any, sign: Any, group: dict[str, Any], *,
            scale: Any = None, skew: Any = 0.0, stretch: Any = 0.0, table: Any = None, xp: Any = np) -> Any:
    """An option on an average, some of it fixed on the path and some to come. `path` is what the path's fixings add up to. Others as in `european`."""
    sigma = european_volatility(forward_move, volatility_state, log_moneyness, volatility, residual, group, skew=skew, stretch=stretch, xp=xp)
    place, left = average_place(forward_move, path, log_moneyness, group, xp)
    within = xp.maximum(left, LEAST_LEFT)
    log_forward = group["average_log"] + group["average_share"] * forward_move + group["average_shift"] * path + group["average_bend"] * (sigma * sigma)
    black = black_undiscounted(xp.exp(log_forward), within, log_forward - xp.log(within), sigma * np.sqrt(group["average_years"]), sign)
    value = group["average_cash"] * (black + xp.where(sign > 0.0, xp.maximum(-left, 0.0), 0.0))
    if table is not None:
        value = value + xp.maximum(left, 0.0) * table_values(table.low, table.inverse_step, table.values, place, xp.log(sigma))
    return strike * value if scale is None else strike * value * xp.exp(scale)


def fixed_average(path: Any, strike: Any, sign: Any, group: dict[str, Any], scale: Any = None, xp: Any = np) -> Any:
    """An option on an average that has all its fixings, paid at the horizon or later."""
    level = group["average_past"] + group["average_weight"] * path + group["average_share"] * xp.exp(group["average_log"] + group["average_shift"] * path)
    value = strike * xp.maximum(sign * (level - 1.0), 0.0) * group["average_cash"]
    return value if scale is None else value * xp.exp(scale)


def two_asset(forward_move: Any, volatility: Any, forward_move_2: Any, volatility_2: Any, strike: Any, sign: Any, group: dict[str, Any], second: dict[str, Any], *,
              years: float, discount: float, scale: Any = None, xp: Any = np) -> Any:
    """An option on two assets at their volatilities in the scenario (`european_volatility` of each group); others as in `european`."""
    root = np.maximum(np.sqrt(years), LEAST_ROOT_YEARS)
    pair = Pair(group["forward0"] * xp.exp(forward_move), second["forward0"] * xp.exp(forward_move_2), volatility * root, volatility_2 * root, group["correlation"],
                group["half_nodes"], group["node_step"])
    value = discount * pair_value(pair, strike, sign, group["payoff"])
    return value if scale is None else value * xp.exp(scale)
