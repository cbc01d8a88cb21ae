"""European options under the scenarios' own model: a table of implied volatilities for every group of an underlying and expiry.

Under Merton, Heston and Bates the price over min(F, K) of the out-of-the-money option depends on m = ln(F / K), the time left and the path's own variance alone. Its implied
volatility is kept rather than the price: it varies slowly where prices fall over hundreds of orders, one table serves calls and puts, and today's quote has a place in it. With I(m, y; tau) the
model's implied volatility (y the volatility state, see `model/pricing_law.py`), Q today's quote,

  sigma = Q / I(m_0, 0; T) x I(m_h, y_h; tau),   value = Black76(F_h, K, sigma, tau):

the quote's ratio to the model is kept, option by option; options quoted as the model prices them are worth the model's price in every scenario, and V(0) is Black's value at the quote.
I is that of the price plus `LIFT` of min(F, K): far wings, where a price says nothing in double precision, have a volatility too, and no price moves by more than `LIFT`.

A table covers every scenario of the set; nodes lie on a fixed lattice in m and on one in y that begins where the variance is zero. Steps are halved until the price at the centres of
sampled cells is within `TOLERANCE` of strike. Verified by `tests/properties/test_model_repricing.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import CapacityError, InputError
from upm_gpu.formula.black import black_undiscounted
from upm_gpu.formula.families import VOLATILITY_CAP, VOLATILITY_FLOOR
from upm_gpu.formula.value_table import table_values
from upm_gpu.pricing.compiled import TERM_REALS, ModelRequest, ValueTable

TOLERANCE = 1e-5
"""per unit of strike, as the other tables"""
LIFT = 1e-12
"""of min(F, K): above the rounding of any backend's price, a ten-millionth of `TOLERANCE`"""
FIRST_STEPS = (1.0 / 32.0, 1.0 / 8.0)
"""of m and of y"""
FEWEST_CELLS = 4
"""of y across the range of the scenarios"""
HALVINGS = 6
"""near the money and close to expiry the smile of a jump turns within a standard deviation"""
MOST_NODES = 1_000_000
SAMPLED_CELLS = 400
ROWS_AT_A_TIME = 16
"""of nodes, between looks at whether their prices have ended"""

Array = NDArray[np.float64]
Box = tuple[tuple[float, float], tuple[float, float]]
"""ranges of m and of y"""


def model_volatility(request: ModelRequest, m: Array, y: Array, backend: ModuleType, today: bool = False) -> Array:
    """(n,) implied volatility I of the model at points of (ln(F / K), y), the time left that of the horizon or of `today`.

    Raises InputError UPM-PR-081 where the model has no price.
    """
    years = request.years_today if today else request.years
    return _lifted(m, _relative_price(request, m, y, years, backend), years, backend)


def _relative_price(request: ModelRequest, m: Array, y: Array, years: float, backend: ModuleType) -> Array:
    """(n,) price of the out-of-the-money option over min(F, K), undiscounted."""
    forward = np.exp(m)
    terms = {"forward": forward, "strike": np.ones_like(m), "time_to_expiry": np.full_like(m, years), "sign": np.where(m <= 0.0, 1.0, -1.0)}
    moving = np.maximum((np.exp(request.power * y) - request.base) / request.slope, 0.0)
    found = backend.values(request.operation, {**terms, **{name: np.full_like(m, value) for name, value in request.inputs}, request.moving: moving})
    bad = np.flatnonzero((found["status"] != 0.0) | ~np.isfinite(found["price"]))
    if bad.size:
        i = int(bad[0])
        raise InputError("UPM-PR-081", f"{request.name}: no {request.operation} price at forward / strike {forward[i]:.6g} and {request.moving} {moving[i]:.6g} (status {found['status'][i]:g}). "
                         "Check the model's parameters for explosive ones, or set model.repricing to quoted.")
    return np.asarray(np.maximum(found["price"], 0.0) / np.minimum(forward, 1.0))


def _lifted(m: Array, relative: Array, years: float, backend: ModuleType) -> Array:
    """(n,) implied volatility of relative prices plus `LIFT`."""
    forward = np.exp(m)
    price = np.minimum(relative + LIFT, 1.0 - LIFT) * np.minimum(forward, 1.0)
    terms = {"forward": forward, "strike": np.ones_like(m), "time_to_expiry": np.full_like(m, years), "sign": np.where(m <= 0.0, 1.0, -1.0)}
    volatility: Array = backend.values("european", {**terms, "market_price": price})["implied_volatility"]
    assert np.isfinite(volatility).all(), "a price inside its bounds has a volatility"
    return volatility


def box_of(request: ModelRequest, group: Mapping[str, float], log_moneyness: Array, low: Array, high: Array) -> Box:
    """Ranges of m and y that the options of a group meet where states (K,) lie between `low` and `high`, m rounded outward to its lattice."""
    forward, volatility, loading = int(group["forward_state"]), int(group["volatility_state"]), group["volatility_loading"]
    step = FIRST_STEPS[0]
    m = (-float(log_moneyness.max()) + float(low[forward]), -float(log_moneyness.min()) + float(high[forward]))
    least = _zero(request)
    y = max(float(low[volatility]) * loading, least), max(float(high[volatility]) * loading, least)
    coarse = FIRST_STEPS[1]
    return (float(np.floor(m[0] / step) * step), float(np.ceil(m[1] / step) * step)), (float(max(np.floor(y[0] / coarse) * coarse, least)), float(np.ceil(y[1] / coarse) * coarse))


def table_key(request: ModelRequest, box: Box) -> str:
    """SHA-256 of all that a table is a function of."""
    asked = {k: v for k, v in asdict(request).items() if k not in ("name", "group", "finer", "years_today")}
    return hashlib.sha256(json.dumps(["model", asked, box, TOLERANCE * 0.1**request.finer, LIFT, FIRST_STEPS, FEWEST_CELLS, HALVINGS, MOST_NODES, SAMPLED_CELLS], sort_keys=True).encode("ascii")).hexdigest()


def build(request: ModelRequest, box: Box, backend: ModuleType) -> tuple[ValueTable, float]:
    """The table and the largest error of a price found at sampled cell centres, per unit of strike."""
    steps, wanted = [step * 0.5**request.finer for step in FIRST_STEPS], TOLERANCE * 0.1**request.finer
    while steps[1] * FEWEST_CELLS > box[1][1] - box[1][0] > 1e-3:
        steps[1] *= 0.5
    for halving in range(HALVINGS + 1):
        table, worthless = _fill(request, box, (steps[0], steps[1]), backend)
        errors = _errors(table, worthless, request, box, backend)
        if max(errors) <= wanted or halving == HALVINGS or (request.finer and 4 * table.values.size > MOST_NODES):
            break
        for axis in (0, 1):
            if errors[axis] > 0.5 * wanted:
                steps[axis] *= 0.5
    return table, max(errors)


def set_ratios(request: ModelRequest, terms: Array, backend: ModuleType) -> None:
    """The ratio of each quote to the model today into `residual` of `terms` (len(TERM_REALS), n), the options of a group."""
    row = {key: terms[i] for i, key in enumerate(TERM_REALS)}
    quoted = np.clip(row["volatility"], VOLATILITY_FLOOR, VOLATILITY_CAP)  # as V(0) is
    row["residual"][:] = quoted / model_volatility(request, -row["log_moneyness"], np.zeros(len(quoted)), backend, today=True)


def _zero(request: ModelRequest) -> float:
    """y of a moving input of 0."""
    return float(np.log(request.base) / request.power) if request.base > 0.0 else -np.inf


def _fill(request: ModelRequest, box: Box, steps: tuple[float, float], backend: ModuleType) -> tuple[ValueTable, NDArray[np.bool_]]:
    """The table, and the nodes (M, Y) whose price is none."""
    (m0, m1), (y0, y1) = box
    first, last = int(np.floor(m0 / steps[0])) - 1, int(np.ceil(m1 / steps[0])) + 1  # a node beyond either end, so that no cubic is one-sided
    origin = _zero(request)
    if np.isfinite(origin):  # none below a variance of zero
        begin, end = max(int(np.floor((y0 - origin) / steps[1])) - 1, 0), int(np.ceil((y1 - origin) / steps[1])) + 1
    else:
        origin, begin, end = 0.0, int(np.floor(y0 / steps[1])) - 1, int(np.ceil(y1 / steps[1])) + 1
    m = np.asarray(steps[0] * np.arange(first, max(last, first + 3) + 1), np.float64)
    y = np.asarray(origin + steps[1] * np.arange(begin, max(end, begin + 3) + 1), np.float64)
    if len(m) * len(y) > MOST_NODES:
        raise CapacityError("UPM-CP-070", f"{request.name}: a table of {len(m)} x {len(y)} nodes for log-moneyness {box[0]} and log-volatility {box[1]}. Check the model's parameters: its scenarios reach too far.")
    relative = _node_prices(request, m, y, backend)
    values = _lifted(np.repeat(m, len(y)), relative.ravel(), request.years, backend).reshape(relative.shape)
    return ValueTable((float(m[0]), float(y[0])), (1.0 / steps[0], 1.0 / steps[1]), np.ascontiguousarray(values)), relative == 0.0


def _node_prices(request: ModelRequest, m: Array, y: Array, backend: ModuleType) -> Array:
    """(M, Y) relative prices, from the money outward: they fall with the distance to it, and beyond a thousandth of `LIFT` they are 0 and cost nothing."""
    out = np.zeros((len(m), len(y)))
    middle = int(np.searchsorted(m, 0.0, side="right"))
    for rows in np.arange(middle)[::-1], np.arange(middle, len(m)):
        worth = np.arange(len(y))
        for start in range(0, len(rows), ROWS_AT_A_TIME):
            block = rows[start : start + ROWS_AT_A_TIME]
            at = np.meshgrid(block, worth, indexing="ij")
            found = _relative_price(request, m[at[0]].ravel(), y[at[1]].ravel(), request.years, backend).reshape(at[0].shape)
            out[at[0], at[1]] = np.where(found < 1e-3 * LIFT, 0.0, found)
            worth = worth[found[-1] >= 1e-3 * LIFT]
            if not len(worth):
                break
    return out


def _errors(table: ValueTable, worthless: NDArray[np.bool_], request: ModelRequest, box: Box, backend: ModuleType) -> tuple[float, float]:
    """Largest error of a price half-way between nodes along m and along y, over cells spread evenly over the box; those with a price at no corner are left out."""
    spans = []
    for axis, (low, high) in enumerate(box):
        p = (np.array([low, high]) - table.low[axis]) * table.inverse_step[axis]
        spans.append((max(int(np.floor(p[0] + 1e-9)), 0), max(int(np.ceil(p[1] - 1e-9)), int(np.floor(p[0])) + 1)))
    i, j = (a.ravel() for a in np.meshgrid(np.arange(*spans[0]), np.arange(*spans[1]), indexing="ij"))
    corners = [worthless[i + a, np.minimum(j + b, worthless.shape[1] - 1)] for a in (0, 1) for b in (0, 1)]
    live = np.flatnonzero(~np.logical_and.reduce(corners))
    if not len(live):
        return 0.0, 0.0
    at = live[np.unique(np.linspace(0, len(live) - 1, min(len(live), SAMPLED_CELLS)).astype(np.int64))]
    i, j = i[at], j[at]
    root, worst = float(np.sqrt(request.years)), []
    for along in (0.5, 0.0), (0.0, 0.5):
        m = np.asarray(table.low[0] + (i + along[0]) / table.inverse_step[0], np.float64)
        y = np.asarray(table.low[1] + (j + along[1]) / table.inverse_step[1], np.float64)
        read = table_values(table.low, table.inverse_step, table.values, m, y)
        sign = np.where(m <= 0.0, 1.0, -1.0)
        prices = [black_undiscounted(np.exp(m), 1.0, m, sigma * root, sign) for sigma in (read, model_volatility(request, m, y, backend))]
        worst.append(float(np.max(np.abs(prices[0] - prices[1]))))
    return worst[0], worst[1]


__all__ = ["box_of", "build", "model_volatility", "set_ratios", "table_key"]
