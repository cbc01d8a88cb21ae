"""Small random books, rows and scenario sets that use every family, smile rule, settlement and law."""

from __future__ import annotations

import numpy as np

from upm_gpu.model.filtered_historical import FilteredHistoricalParameters
from upm_gpu.model.garch import Dynamics, GarchParameters
from upm_gpu.model.gbm import GbmParameters, walk
from upm_gpu.model.heston import HestonParameters
from upm_gpu.model.historical import HistoricalParameters
from upm_gpu.model.innovations import Innovation
from upm_gpu.model.jumps import JumpParameters
from upm_gpu.model.merton import MertonParameters
from upm_gpu.model.recursion import Garch, ewma
from upm_gpu.pricing.compiled import (
    GROUP_INTEGERS,
    GROUP_REALS,
    TERM_REALS,
    Compiled,
    Family,
    ModelRequest,
    Program,
    Rows,
    TableRequest,
    ValueTable,
)
from upm_gpu.scenario.sets import Explicit, Heston, Walk
from upm_gpu.scenario.spec import ScenarioSpec
from upm_gpu.scenario.volatility_sets import GarchWalk, Resample

UNDERLYINGS = 3
STATE_NAMES = tuple(f"{kind}[U{u}]" for u in range(UNDERLYINGS) for kind in ("log_level", "volatility_shift"))
DATES = np.array([0.25, 1.0, 1.5, 2.0])
HORIZONS = (0, 1, 3)
"""indices into DATES"""
SETTLES = 2
"""index of the expiry inside the longest horizon"""
YEAR = 365.0

GROUPS = (
    # family, underlying, days to expiry, inverse, sticky moneyness, additive
    (Family.EUROPEAN, 0, 30.0, 1, 1, 0),
    (Family.EUROPEAN, 0, 7.0, 1, 0, 1),
    (Family.EUROPEAN, 1, 180.0, 0, 0, 0),
    (Family.EUROPEAN, 2, 2.0, 0, 1, 1),  # no time left at the last horizon
    (Family.SETTLED_OPTION, 1, 1.5, 1, 1, 0),
    (Family.SETTLED_OPTION, 2, 1.5, 0, 0, 0),
    (Family.INVERSE_FUTURE, 0, 1.5, 1, 0, 0),
    (Family.EXOTIC, 1, 30.0, 0, 1, 0),  # reads the table
    (Family.EXOTIC, 2, 9.0, 0, 0, 0),
    (Family.SETTLED_EXOTIC, 2, 1.5, 0, 0, 0),
    (Family.MODEL_VOLATILITY, 0, 45.0, 1, 0, 0),
    (Family.MODEL_VOLATILITY, 1, 5.0, 0, 0, 0),
    (Family.AVERAGE, 1, 30.0, 0, 1, 0),  # reads the table
    (Family.FIXED_AVERAGE, 2, 9.0, 0, 0, 0),
    (Family.TWO_ASSET, 0, 30.0, 0, 0, 0),
    (Family.TWO_ASSET, 1, 60.0, 0, 1, 0),
    (Family.SETTLED_TWO_ASSET, 2, 1.5, 0, 1, 1),
)


PAIRS = (Family.TWO_ASSET, Family.SETTLED_TWO_ASSET)
SECOND = {g: len(GROUPS) + i for i, g in enumerate(g for g, row in enumerate(GROUPS) if row[0] in PAIRS)}
"""group of the second asset of each group on two: beside the first groups, of the family EUROPEAN"""
TABLED, EXOTIC_TABLED, AVERAGE_TABLED = 2, 7, 12
"""groups that read a value table"""
REQUEST = TableRequest("I", TABLED, "american", True, 1.0, 1.0, (), 0.5, 1.0, (), 0.5, 1.0)
TABLE = ValueTable((-2.0, -2.5), (8.0, 4.0), 1e-2 * np.sin(np.add.outer(0.7 * np.arange(33.0), 0.4 * np.arange(15.0))))
"""from log-moneyness -2 to 2, ln sigma -2.5 to 1: wings lie beyond its ends"""
MODEL = (10, 11)
"""groups that read a table of volatilities"""
MODEL_REQUEST = ModelRequest("M", MODEL[0], "heston_price", (), "initial_variance", 2.0, 0.2, 2.0, 0.5, 0.5)
VOLATILITIES = ValueTable((-2.0, -2.5), (8.0, 4.0), 0.6 + 20.0 * TABLE.values)


def make_compiled(seed: int = 1, per_group: int = 5) -> Compiled:
    """A book of every family; SETTLED_OPTION groups are European until their expiry."""
    rng = np.random.default_rng(seed)
    spots = 100.0 * np.exp(rng.normal(0.0, 1.0, UNDERLYINGS))
    linear_keys = [(2 * u, None) for u in range(UNDERLYINGS)] + [(0, SETTLES)]
    linear, options = len(linear_keys), per_group * len(GROUPS)
    forwards = np.array([spots[u] * np.exp(0.05 * days / YEAR) for _, u, days, *_ in GROUPS])
    moneyness = rng.normal(0.0, 0.2, options)
    moneyness[::per_group] *= 12.0  # far wings
    moneyness[1] = 0.0
    moneyness = np.clip(moneyness, -4.0, 4.0)
    strike = np.repeat(forwards, per_group) * np.exp(moneyness)
    terms = np.stack([strike, moneyness, rng.uniform(0.2, 1.4, options), rng.normal(0.0, 0.02, options), rng.choice([-1.0, 1.0], options), np.zeros(options)])
    terms[5, per_group * TABLED : per_group * (TABLED + 1)] = 1e-3 * strike[per_group * TABLED : per_group * (TABLED + 1)]
    models = slice(per_group * MODEL[0], per_group * (MODEL[-1] + 1))
    terms[3, models] += 1.0  # the ratio of a quote to the model
    assert len(terms) == len(TERM_REALS)
    programs = tuple(_program(h, linear, linear_keys, per_group, spots, forwards) for h in HORIZONS)
    instruments = linear + options
    return Compiled(
        instrument_ids=tuple(f"I{n:04d}" for n in range(instruments)), instrument_column=np.arange(instruments, dtype=np.int32),
        instrument_coefficient=np.ones(instruments), state_names=STATE_NAMES, dates=DATES, linear=linear,
        terms=terms, programs=programs,
    )


def _program(horizon: int, linear: int, keys: list, per_group: int, spots: np.ndarray, forwards: np.ndarray) -> Program:
    integers, reals = [], []
    for g, (family, u, days, inverse, sticky, additive) in enumerate(GROUPS):
        settled = days < DATES[horizon]
        now = family if settled else {Family.SETTLED_OPTION: Family.EUROPEAN, Family.SETTLED_EXOTIC: Family.EXOTIC, Family.SETTLED_TWO_ASSET: Family.TWO_ASSET}.get(family, family)
        future = family == Family.INVERSE_FUTURE
        settle = SETTLES if settled else horizon if future else -1
        forward = spots[u] if future and settled else forwards[g]
        years = days / YEAR
        values = {"family": now, "first": linear + g * per_group, "count": per_group, "date": horizon, "settle_date": settle, "level_state": 2 * u,
                  "forward_state": 2 * u, "volatility_state": 2 * u + 1, "inverse": inverse, "sticky_moneyness": sticky, "additive_volatility": additive,
                  "scale_state": -1 if inverse or g == 2 else 2 * ((u + 1) % UNDERLYINGS), "skew_state": -1, "stretch_state": -1, "table": 0 if g in (TABLED, EXOTIC_TABLED, AVERAGE_TABLED) else 1 if g in MODEL else -1, "path_state": 2 * ((u + 1) % UNDERLYINGS),
                  "second": SECOND[g] if family in PAIRS else -1, "payoff": g % 3, "half_nodes": 8}
        integers.append([int(values[k]) for k in GROUP_INTEGERS])
        left = max(days - DATES[horizon], 0.0) / YEAR
        values = {"spot0": spots[u], "forward0": forward, "expiry_years": years, "remaining_years": left, "discount0": 1.0 if inverse else np.exp(-0.03 * years),
                  "discount": 1.0 if inverse else np.exp(-0.03 * left), "volatility_loading": (30.0 / max(days, 1.0)) ** 0.2,
                  "svi_a": 0.1 * years, "svi_b": 0.2 * years, "svi_rho": -0.3, "svi_m": 0.02, "svi_s": 0.15,
                  "svi_tilt": 2.0 * np.sqrt(0.13 * years)}
        values |= {"average_past": 0.3, "average_weight": 0.4 if family == Family.AVERAGE else 3.0, "average_log": 0.05, "average_share": 0.8, "average_shift": 0.3, "average_bend": -0.02,
                   "average_scale": 1.3, "average_years": 0.6 * left, "average_cash": 0.98}
        values["fixing_shift"] = 0.01 if family == Family.EXOTIC and g != EXOTIC_TABLED else 0.0
        values |= dict.fromkeys(("barrier", "barrier_side", "miss_black", "miss_cash", "miss_index", "hit_black", "hit_cash", "hit_index", "region_cash", "region_index"), 0.0)
        if family in (Family.EXOTIC, Family.SETTLED_EXOTIC):
            side = 1.0 if g % 2 else -1.0
            values |= {"barrier": 0.02 * side, "barrier_side": side, "miss_black": 0.7, "miss_cash": 0.1 * spots[u], "miss_index": 0.2, "hit_black": 0.3, "hit_cash": 0.4 * spots[u],
                       "hit_index": 0.5, "region_cash": 0.0 if g == EXOTIC_TABLED else 0.6 * spots[u], "region_index": 0.0 if g == EXOTIC_TABLED else 0.8}
        values["quanto_drift"] = 0.0
        values |= {"leg_moneyness": 0.05, "leg_volatility": 0.6, "leg_residual": 0.01, "correlation": -0.3 if g % 2 else 0.6, "node_step": 0.22}
        reals.append([float(values[k]) for k in GROUP_REALS])
    for g in SECOND.values():  # the second assets: a group on another underlying, its columns left out
        integers.append([c if k != "count" else 0 for k, c in zip(GROUP_INTEGERS, integers[g - len(GROUPS)], strict=True)])
        reals.append(reals[g - len(GROUPS)])
    dates = [horizon if at is None else min(at, horizon) for _, at in keys]
    return Program(float(DATES[horizon]), np.array([s for s, _ in keys], np.int32), np.array(dates, np.int32), np.array(integers, np.int32), np.array(reals), np.array([0] * (len(keys) - 1) + [1], np.int32),
                   (REQUEST, MODEL_REQUEST), (TABLE, VOLATILITIES))


def make_rows(compiled: Compiled, rows: int = 37, seed: int = 2) -> Rows:
    """Sparse portfolios of 0 to all columns, sizes over six decades, one row empty, one with every column, two equal."""
    rng = np.random.default_rng(seed)
    columns = []
    for r in range(rows):
        size = 0 if r == 0 else compiled.columns if r == 1 else int(rng.integers(1, compiled.columns // 2))
        columns.append(np.sort(rng.choice(compiled.columns, size, replace=False)))
    quantities = [rng.normal(0.0, 1.0, len(c)) * 10.0 ** rng.uniform(-3, 3) for c in columns]
    columns[-1], quantities[-1] = columns[-2], quantities[-2]
    first = np.concatenate([[0], np.cumsum([len(c) for c in columns])]).astype(np.int64)
    return Rows(first, np.concatenate(columns).astype(np.int32), np.concatenate(quantities))


def make_walk(law: str = "gaussian", count: int = 5000, seed: int = 7, dates: np.ndarray = DATES) -> Walk:
    """`gaussian`, `t_copula` (with Gaussian marginals), `tables` (t marginals under a Gaussian copula), `t_both`, `jumps` or `reverting` (a t law with
    half-lives); dates inside base steps included."""
    size = len(STATE_NAMES)
    rng = np.random.default_rng(3)
    loadings = rng.normal(0.0, 1.0, (size, size + 2))
    covariance = loadings @ loadings.T
    scale = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(scale, scale)
    np.fill_diagonal(correlation, 1.0)
    if law == "jumps":
        own = np.array([150.0, 0.0, 40.0, 300.0, 0.0, 0.0])  # jumps a year: some clocks silent
        jumps = JumpParameters(120.0, -0.04, 0.06, np.tile([1.2, -0.5], UNDERLYINGS), own, np.full(size, 0.01), np.linspace(0.0, 0.05, size))
        given = MertonParameters(STATE_NAMES, np.tile([0.05, 0.08], UNDERLYINGS), (correlation + correlation.T) / 2.0, jumps)
        return given.scenarios(dates, ScenarioSpec(count=count, seed=seed))
    parameters = GbmParameters(
        state_names=STATE_NAMES, daily_volatility=np.tile([0.05, 0.08], UNDERLYINGS), correlation=(correlation + correlation.T) / 2.0,
        copula="student_t" if law in ("t_copula", "t_both", "reverting") else "gaussian", copula_degrees_of_freedom=4.0,
        marginal=("student_t",) * size if law in ("tables", "t_both", "reverting") else (),
        marginal_degrees_of_freedom=np.full(size, 3.0) if law in ("tables", "t_both", "reverting") else None, max_log_move=np.full(size, 0.3),
        half_life_days=np.array([0.0, 0.7, 4.0, 1e-3, 0.0, 30.0]) if law == "reverting" else None,
    )
    return walk(parameters, dates, seed, 0, count)


def make_heston(law: str = "heston", count: int = 5000, seed: int = 7, dates: np.ndarray = DATES) -> Heston:
    """`heston`, `t_copula` (of the price motions) or `bates`, three underlyings of which one meets zero variance, two expiries; dates inside substeps included."""
    correlation = np.array([[1.0, 0.7, 0.2], [0.7, 1.0, -0.1], [0.2, -0.1, 1.0]])
    jumps = None if law in ("heston", "t_copula") else JumpParameters(120.0, -0.04, 0.06, np.array([1.0, 1.3, 0.0]), np.array([0.0, 200.0, 90.0]), np.full(3, 0.01), np.full(3, 0.03))
    copula = ("student_t", 3.0) if law == "t_copula" else ("gaussian", float("inf"))
    given = HestonParameters(tuple(f"U{u}" for u in range(UNDERLYINGS)), np.array([0.4, 0.6, 0.001]), np.array([3.0, 1.0, 0.5]), np.array([0.5, 0.4, 0.05]),
                             np.array([1.2, 2.5, 3.0]), np.array([-0.7, 0.3, 0.0]), correlation, jumps, substeps=3, copula=copula[0], copula_degrees_of_freedom=copula[1])
    return given.scenarios(dates, ScenarioSpec(count=count, seed=seed, expiries=(("U0", "E30", 30.0), ("U2", "E7", 7.0))))


def make_explicit(count: int = 300, seed: int = 4) -> Explicit:
    """Given states: the unshocked scenario first, then large moves, ties (every fifth repeats the one before it)."""
    values = np.random.default_rng(seed).normal(0.0, 0.3, (len(DATES), len(STATE_NAMES), count))
    values[:, :, 0] = 0.0
    values[:, :, 5::5] = values[:, :, 4:-1:5][:, :, : values[:, :, 5::5].shape[2]]
    return Explicit(STATE_NAMES, DATES, values)


def make_garch(kind: str = "resampled", count: int = 5000, seed: int = 7, dates: np.ndarray = DATES) -> GarchWalk:
    """`resampled` (residuals of dates), `grouped_t` (full matrix, every law), `factor_model` (common factors, t copula), or `reverting` (the latter, volatilities with half-lives)."""
    size = len(STATE_NAMES)
    rng = np.random.default_rng(11)
    models = (Garch(2e-4, 0.05, 0.8, 0.1), Garch(3e-4, 0.1, 0.8), ewma(0.94), Garch(0.0, 0.0, 1.0), Garch(4e-4, 0.2, 0.5), Garch(1e-3, 0.0, 0.7, 0.3))
    dynamics = Dynamics(("gjr", "garch", "ewma", "ewma", "garch", "gjr"), models, np.tile([0.0025, 0.0064], UNDERLYINGS), np.full(size, 0.15))
    spec = ScenarioSpec(count=count, seed=seed)
    if kind == "resampled":
        residuals = rng.standard_t(4, (150, size))
        residuals -= residuals.mean(axis=0)
        return FilteredHistoricalParameters(STATE_NAMES, dynamics, residuals / residuals.std(axis=0)).scenarios(dates, spec)
    laws = (Innovation("skewed_t", 5.0, -0.4), Innovation("student_t", 4.0), Innovation("gaussian"), Innovation("skewed_t", 3.0, 0.2), Innovation("student_t", 3.0),
            Innovation("gaussian"))
    loading = rng.uniform(-0.65, 0.65, (size, 2))
    if kind in ("factor_model", "reverting"):
        half_life = np.array([0.0, 0.7, 0.0, 3.0, 0.0, 30.0]) if kind == "reverting" else None
        return GarchParameters(STATE_NAMES, dynamics, laws, loading=loading, copula_degrees_of_freedom=(4.0,), half_life_days=half_life).scenarios(dates, spec)
    correlation = loading @ loading.T
    np.fill_diagonal(correlation, 1.0)
    return GarchParameters(STATE_NAMES, dynamics, laws, correlation=correlation, group=np.array([0, 1, 0, 1, 0, 1], np.int32),
                           copula_degrees_of_freedom=(4.0, 7.0)).scenarios(dates, spec)


def make_resample(count: int = 5000, seed: int = 7, dates: np.ndarray = DATES) -> Resample:
    """Windows of a random history with a gap and moves beyond the cap."""
    changes = np.random.default_rng(12).standard_t(3, (200, len(STATE_NAMES))) * 0.05
    segment = (np.arange(200) >= 60).astype(np.int64)
    return HistoricalParameters(STATE_NAMES, changes, segment, np.full(len(STATE_NAMES), 0.2)).scenarios(dates, ScenarioSpec(count=count, seed=seed))
