"""Portfolio-specific haircuts: the change of an account's margin per unit more of every asset it may post and every instrument it holds, from the scenarios of the run.

  h_n = d(core + charges - counted collateral) / d(quantity of n)

Core: `tail_slopes.py`; charges: `charge_haircuts.py`. Simulated assets and spots also count their price; other assets only the marginal rate of their schedule (`margin/collateral.py`), so without charges on collateral their h
is -price (1 - marginal haircut) without error. A negative h lowers the need. The daily figure by security and account is that of OCC's collateral in margin.

Verified: tests/end_to_end/test_portfolio_haircuts.py and test_charge_haircuts.py against full runs on the same scenarios, and the error against the spread of independent runs.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from upm_gpu.charge_haircuts import Directions, charge_haircuts
from upm_gpu.domain.instrument import Spot
from upm_gpu.engine import Outcome
from upm_gpu.margin.collateral import Posted, counted, posted_of
from upm_gpu.margin.methodology import simulated_assets
from upm_gpu.margin.units import COLLATERAL_PREFIX
from upm_gpu.market.levels import spot_price
from upm_gpu.tail_slopes import Figure, slopes_of


def portfolio_haircuts(outcome: Outcome) -> pd.DataFrame:
    """Columns account_id, netting_set, asset, instrument_id, haircut_per_unit, of which charges_per_unit, standard_error; money per unit of the asset or per contract, positive where one more needs more margin.

    One row an account and asset that anybody posts (`instrument_id` blank; in the account's own unit of the blank netting set), and one a position (`asset` blank). Of a pool: what the pool would need more.
    Empty where there is no derivative: a simulated asset where the unit holds nothing that moves, or an expected shortfall of exactly 0. `standard_error` is empty where the core is a value-at-risk, whose
    derivative is the loss in one scenario.
    """
    plan = outcome.plan
    book, market, units = plan.book, plan.market, plan.units
    simulated = simulated_assets(plan.methodology, book)
    posted = posted_of(book, market, plan.methodology.collateral, simulated)
    number = {i.instrument_id: n for n, i in enumerate(plan.instruments)}
    own = np.full(len(book.accounts), -1, np.int64)
    place = {a.account_id: k for k, a in enumerate(book.accounts)}
    for u, name in enumerate(units.names):
        if not units.netting_set[u] and name in place:
            own[place[name]] = u
    asset_instrument = np.array([number.get(COLLATERAL_PREFIX + a, -1) for a in posted.assets], np.int64)
    account, asset = (x.ravel() for x in np.meshgrid(np.arange(len(own)), np.arange(len(posted.assets)), indexing="ij"))
    lines = units.lines
    held = np.array([not i.instrument_id.startswith(COLLATERAL_PREFIX) for i in plan.instruments] or [True])
    positions = np.flatnonzero(held[lines.instrument])
    unit = np.concatenate([own[account], lines.unit[positions]])
    instrument = np.concatenate([asset_instrument[asset], lines.instrument[positions]])
    moves = instrument >= 0
    core, error = np.zeros(len(unit)), np.zeros(len(unit))
    known = np.flatnonzero(moves & (unit >= 0))
    slope, its = measure_slopes(outcome, unit[known], instrument[known])
    scaled = _inside(outcome)[unit[known]]
    core[known], error[known] = scaled * slope, scaled * its
    core[moves & (unit < 0)] = np.nan
    error[~np.isfinite(core)] = np.nan
    sign = np.concatenate([np.where(_posted_value(posted, account, asset) < 0.0, -1.0, 1.0) if len(asset) else np.zeros(0), np.where(lines.quantity[positions] < 0.0, -1.0, 1.0)])
    directions = Directions(unit, instrument, np.concatenate([account, lines.account[positions]]).astype(np.int64), np.concatenate([asset, np.full(len(positions), -1)]).astype(np.int64), sign)
    charges, charges_error = charge_haircuts(outcome, posted, directions, core, error, (known, slope, its))
    size = np.array([i.contract_size for i in plan.instruments] or [1.0])[instrument[len(account):]]
    worth = np.array([spot_price(market, i.underlying, i.instrument_id) if isinstance(i, Spot) else 0.0 for i in plan.instruments] or [0.0])[instrument[len(account):]]
    scale = np.concatenate([np.ones(len(account)), size])
    value = (core + charges) * scale - np.concatenate([posted.price[asset] * _slopes(posted, account, asset, len(own)) if len(asset) else np.zeros(0), worth * size])
    names, sets = np.array([a.account_id for a in book.accounts], object), np.array([*units.netting_set, ""], object)
    return pd.DataFrame({
        "account_id": names[np.concatenate([account, lines.account[positions]])], "netting_set": sets[np.where(np.arange(len(unit)) < len(account), len(units.names), unit)],
        "asset": np.array([*posted.assets, ""], object)[np.concatenate([asset, np.full(len(positions), -1)])],
        "instrument_id": np.array([*(i.instrument_id for i in plan.instruments), ""], object)[np.concatenate([np.full(len(account), -1), instrument[len(account):]])],
        "haircut_per_unit": value, "charges_per_unit": charges * scale, "standard_error": (error + charges_error) * scale})


def _slopes(posted: Posted, account: NDArray[np.int64], asset: NDArray[np.int64], accounts: int) -> NDArray[np.float64]:
    """Of `counted` at every (account, asset), posted or not; both ascending, accounts first."""
    return counted(posted.schedule, account, asset, _posted_value(posted, account, asset), accounts).slope


def _posted_value(posted: Posted, account: NDArray[np.int64], asset: NDArray[np.int64]) -> NDArray[np.float64]:
    value = np.zeros(len(account))
    value[posted.account * len(posted.assets) + posted.asset] = posted.value
    return value


def core_slopes(outcome: Outcome, unit: NDArray[np.int64], instrument: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(Q,) d core / d quantity of `instrument` in `unit`, with its standard error; NaN where there is no derivative. Q pairs, held or not."""
    slope, error = measure_slopes(outcome, unit, instrument)
    return _inside(outcome)[unit] * slope, _inside(outcome)[unit] * error


def measure_slopes(outcome: Outcome, unit: NDArray[np.int64], instrument: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(Q,) of the measure of the core, before floor and multiplier."""
    plan = outcome.plan
    quantile = plan.methodology.core.measure == "value_at_risk"
    return slopes_of(Figure(plan, outcome.choice, outcome.tail, plan.horizon(plan.core.horizon), plan.core.level, "quantile" if quantile else "shortfall", plan.core.tail_share, outcome.weights), unit, instrument)


def _inside(outcome: Outcome) -> NDArray[np.float64]:
    """(U,) d core / d measure."""
    core, own = outcome.plan.methodology.core, outcome.result.measured.measures[outcome.plan.core]
    size = own.value_at_risk if core.measure == "value_at_risk" else own.expected_shortfall
    return np.where(size > 0.0, core.multiplier, np.where(size < 0.0, 0.0, np.nan))  # at 0 the floor has a kink, and nothing to lose has no tail
