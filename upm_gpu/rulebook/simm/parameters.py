"""The calibration of one version of ISDA SIMM as a strict model, and its arrays for a margin period.

Verified: tests/faults/test_simm_files.py, tests/known_answers/test_simm.py.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import UsageError
from upm_gpu.shipped import find_file, package_file
from upm_gpu.strict_toml import Rule, Strict, build, check, near_key, read_toml

FOLDER = "configs/methodology/simm"
TENORS = ("2w", "1m", "3m", "6m", "1y", "2y", "3y", "5y", "10y", "15y", "20y", "30y")
BUCKETS = {"credit_qualifying": 12, "credit_non_qualifying": 2, "equity": 12, "commodity": 17}
"""numbered buckets of a class; all but commodity have a residual bucket beside them"""
RISK_CLASSES = ("interest_rate", "credit_qualifying", "credit_non_qualifying", "equity", "commodity", "fx")
MARGIN_PERIODS = (10, 1)
"""days"""

Period = Literal[10, 1]


class Thresholds(Strict):
    """Concentration thresholds of a group of currencies, millions of USD; an empty group stands for every other currency."""

    currencies: list[str]
    delta: float
    vega: float


class InterestRate(Strict):
    """Weights are per basis point; lists run over TENORS."""

    regular_volatility: list[str]
    low_volatility: list[str]
    weight_regular_10d: list[float]
    weight_low_10d: list[float]
    weight_high_10d: list[float]
    weight_regular_1d: list[float]
    weight_low_1d: list[float]
    weight_high_1d: list[float]
    weight_inflation_10d: float
    weight_inflation_1d: float
    weight_basis_10d: float
    weight_basis_1d: float
    weight_vega_10d: float
    weight_vega_1d: float
    volatility_ratio_10d: float
    volatility_ratio_1d: float
    correlation_tenors: list[list[float]]
    correlation_curves: float
    correlation_inflation: float
    correlation_basis: float
    correlation_currencies: float
    thresholds: list[Thresholds]


class Credit(Strict):
    """A credit class; lists run over its buckets and end with the residual one."""

    weight_10d: list[float]
    weight_1d: list[float]
    weight_vega_10d: float
    weight_vega_1d: float
    weight_base_correlation_10d: float = 0.0
    weight_base_correlation_1d: float = 0.0
    threshold: list[float]
    threshold_vega: float
    correlation_same_name: float
    correlation_different_name: float
    correlation_residual: float
    correlation_base: float = 0.0
    correlation_buckets: list[list[float]]


class Named(Strict):
    """Equity or commodity; lists run over the buckets, equity's end with the residual one. One vega weight serves every bucket."""

    weight_10d: list[float]
    weight_1d: list[float]
    weight_vega_10d: float | list[float]
    weight_vega_1d: float | list[float]
    volatility_ratio_10d: float
    volatility_ratio_1d: float
    threshold: list[float]
    threshold_vega: list[float]
    correlation_inside: list[float]
    correlation_buckets: list[list[float]]


class ForeignExchange(Strict):
    """Groups by volatility and by category of size; see the file for the order of the lists."""

    high_volatility: list[str]
    weight_10d: list[float]
    weight_1d: list[float]
    weight_vega_10d: float
    weight_vega_1d: float
    volatility_ratio_10d: float
    volatility_ratio_1d: float
    correlation_regular: list[float]
    correlation_high: list[float]
    correlation_vega: float
    category_1: list[str]
    category_2: list[str]
    threshold: list[float]
    threshold_vega: list[float]


class RiskClasses(Strict):
    """Correlation between risk classes, upper triangle in the order of RISK_CLASSES."""

    correlation: list[list[float]]


class Calibration(Strict):
    """One published version of the standard model."""

    schema_version: Literal[1] = 1
    rule_book: Literal["simm"]
    name: str
    version: str
    effective_date: datetime.date
    interest_rate: InterestRate
    credit_qualifying: Credit
    credit_non_qualifying: Credit
    equity: Named
    commodity: Named
    fx: ForeignExchange
    risk_classes: RiskClasses


def load_calibration(version_or_file: str | Path = "2.6") -> Calibration:
    """A version that ships ("2.6") or a calibration file. Raises UsageError UPM-CF-101 for a version that is not there, InputError with every complaint."""
    text = str(version_or_file)
    if not text.endswith(".toml"):
        known = {p.stem.removeprefix("isda_simm_").replace("_", "."): p for p in sorted(package_file(FOLDER).glob("isda_simm_*.toml"))}
        if text not in known:
            raise UsageError("UPM-CF-101", f"SIMM version {text!a} does not ship. Known: {', '.join(known)}; or give a calibration file that ends in .toml.")
        file = known[text]
    else:
        file = find_file(version_or_file)
    tables, source = read_toml(file, "SIMM calibration")
    made = build(Calibration, tables, file.name, source, {"schema_version": 67})
    check(_rules(made), file.name, source)
    return made


def square(triangle: list[list[float]]) -> NDArray[np.float64]:
    """(n, n) the symmetric matrix of an upper triangle without its diagonal, which is 1."""
    n = len(triangle) + 1
    made = np.eye(n)
    for i, row in enumerate(triangle):
        made[i, i + 1:] = made[i + 1:, i] = row
    return made


def of_period(section: Strict, key: str, period: Period) -> NDArray[np.float64]:
    """The value of `key`_10d or `key`_1d."""
    return np.asarray(getattr(section, f"{key}_{period}d"), np.float64)


def _rules(made: Calibration) -> Iterator[Rule]:
    """Ranges and lengths, each with its key."""
    for name in (*RISK_CLASSES, "risk_classes"):
        section = getattr(made, name)
        buckets = BUCKETS.get(name, 0) + (name != "commodity")
        for key in type(section).model_fields:
            value = getattr(section, key)
            place = f"{name}.{key}"
            if key in ("correlation_tenors", "correlation_buckets", "correlation"):
                size = {"correlation_tenors": len(TENORS), "correlation_buckets": BUCKETS.get(name, 0), "correlation": len(RISK_CLASSES)}[key]
                shape = [len(row) for row in value] == list(range(size - 1, 0, -1))
                yield place, 56, shape, f"{key} is not the upper triangle of {size} by {size}: give rows of {size - 1} down to 1 numbers."
                yield from _between(place, [x for row in value for x in row], -1.0, 1.0)
                yield place, 56, not shape or float(np.linalg.eigvalsh(square(value))[0]) > -0.05, f"{key} is far from a correlation matrix: its smallest eigenvalue is below -0.05. See a typing error."
            elif key.startswith("correlation"):
                yield from _between(place, value if isinstance(value, list) else [value], -1.0, 1.0)
            elif key.startswith(("weight", "volatility_ratio")) or key in ("threshold", "threshold_vega"):
                yield from _positive(place, value if isinstance(value, list) else [value], zero=key.startswith("weight_base"))
            if isinstance(value, list) and name in BUCKETS and not (value and isinstance(value[0], list)):
                yield place, 56, len(value) == buckets, f"{key} has {len(value)} numbers; {name} has {buckets} buckets."
    for key in [k for k in InterestRate.model_fields if k.startswith(("weight_regular", "weight_low", "weight_high"))]:
        count = len(getattr(made.interest_rate, key))
        yield f"interest_rate.{key}", 56, count == len(TENORS), f"{key} has {count} numbers; there are {len(TENORS)} tenors."
    for key, size in (("weight_10d", 3), ("weight_1d", 3), ("correlation_regular", 3), ("correlation_high", 3), ("threshold", 3), ("threshold_vega", 6)):
        count = len(getattr(made.fx, key))
        yield f"fx.{key}", 56, count == size, f"{key} has {count} numbers; give {size}."
    yield from _group_rules(made)


def _group_rules(made: Calibration) -> Iterator[Rule]:
    """A currency stands in one group, and exactly one group of thresholds is for all others."""
    rates, exchange = made.interest_rate, made.fx
    groups = {"interest_rate.low_volatility": [*rates.regular_volatility, *rates.low_volatility], "fx.category_2": [*exchange.category_1, *exchange.category_2],
              "interest_rate.thresholds": [c for t in rates.thresholds for c in t.currencies]}
    for place, currencies in groups.items():
        twice = sorted({c for c in currencies if currencies.count(c) > 1})
        yield place, 56, not twice, f"{', '.join(twice)} stands in two groups of currencies. Keep one."
    others = sum(not t.currencies for t in rates.thresholds)
    yield "interest_rate.thresholds", 56, others == 1, f"{others} groups have no currencies; give exactly one, for every other currency."
    for t in rates.thresholds:
        yield from _positive("interest_rate.thresholds", [t.delta, t.vega])


def _between(place: str, values: list[float], low: float, high: float) -> Iterator[Rule]:
    bad = [x for x in values if not low <= x <= high]
    yield place, 56, not bad, f"{', '.join(f'{x:g}' for x in bad[:3])} is no correlation; give {low:g} to {high:g}."


def _positive(place: str, values: list[float], zero: bool = False) -> Iterator[Rule]:
    bad = [x for x in values if not (x > 0.0 or (zero and x == 0.0))]
    yield place, 56, not bad, f"{', '.join(f'{x:g}' for x in bad[:3])} is no weight, ratio or threshold; give a number above 0."


def threshold_group(rates: InterestRate, currency: str) -> Thresholds:
    """The thresholds of a currency."""
    return next((t for t in rates.thresholds if currency in t.currencies), next(t for t in rates.thresholds if not t.currencies))


def nearest_tenor(label: str) -> str:
    """The tenor a misspelt label may mean, or ""."""
    return near_key(label, list(TENORS))
