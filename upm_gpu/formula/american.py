"""American options by another discretisation of the same integral equation; the oracle of `kernels/american.cuh`.

Everything is a put of strike 1 with time in units of T: x = S / K, r = rate T, q = yield T, s = volatility sqrt(T); a call is the put of spot
1 / x with rate and yield exchanged (McDonald and Schroder 1998, "A parity result for American options", Journal of Computational Finance 1).

The kernel puts a known shape of the boundary under 16 points; here 64 points carry it all, with other quadratures, SciPy's
special functions and Greeks that are differences of prices. `tests/known_answers/test_american.py` holds both to published values, and to a
binomial tree that knows nothing of a boundary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.formula.black import european_values
from upm_gpu.formula.implied_volatility import ABOVE_BOUND, BELOW_PAYOFF, FOUND, NO_TIME_VALUE, UNDEFINED
from upm_gpu.formula.normal import normal_cdf, normal_density
from upm_gpu.formula.operation import GREEKS, Columns, Operation, operation_columns

AMERICAN_INPUTS = ("spot", "forward", "strike", "time_to_expiry", "rate", "dividend_yield", "volatility", "market_price", "sign", "price_only")
AMERICAN_OUTPUTS = (*GREEKS, "implied_volatility", "exercise_boundary", "status")
"""Column order shared with `kernels/american.cuh`"""

TWO_BOUNDARIES, NOT_SOLVED = 30, 31
"""Statuses beyond those of `formula/implied_volatility.py`; the numbers of `AmericanStatus`."""

CERTAIN = 1e-7
"""Total standard deviation below which the price is that of the best fixed date: the difference is below 4e-8 of the strike."""

SMALLEST = 1e-13
"""Interest r T below which exercising for it is worth nothing: the premium is at most r T of the strike."""

POINTS, ANGLES, STEPS, TOGETHER = 64, 48, 16, 32
"""Points of the boundary, of each integral of its equation, most Newton steps, cases solved together. At 40 points prices are within 3e-9 of the strike."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class UnitPut:
    """Boundary of puts of strike 1: h = ln(b(0+) / b), b(0+) = min(1, r / q), at `root`^2 of the scaled time to expiry."""

    r: Array
    q: Array
    s: Array
    h: Array
    """(cases, points)"""


@cache
def _nodes() -> tuple[Array, Array, Array, Array]:
    """Boundary points, roots of elapsed and of remaining time in units of the point's, weights of dv. Gauss-Legendre in the angle."""
    root = (1.0 + np.cos(2.0 * np.pi * np.arange(POINTS) / (2 * POINTS - 1))) / 2.0
    u, weight = np.polynomial.legendre.leggauss(ANGLES)
    angle = np.pi / 4.0 * (1.0 + u)
    return root, np.sin(angle), np.cos(angle), weight * np.pi / 4.0 * np.sin(2.0 * angle)


def _spread(root: Array, at: Array) -> Array:
    """(len(at), points): h at `at` from h at the points, by the polynomial of h / sqrt(t)."""
    base = np.polynomial.chebyshev.chebvander(2.0 * root - 1.0, POINTS - 1)
    spread: Array = np.polynomial.chebyshev.chebvander(2.0 * at - 1.0, POINTS - 1) @ np.linalg.inv(base) * at[:, None] / root
    return spread


def _start(r: Array, q: Array) -> Array:
    return np.where(q > r, r / np.where(q > r, q, 1.0), 1.0)


def _depth(r: Array, q: Array, s: Array) -> Array:
    """ln(b(0+) / b(infinity)) of the perpetual put (McKean 1965), at most 60."""
    m = (r - q) / s**2 - 0.5
    root = np.sqrt(m * m + 2.0 * r / s**2)
    power = np.where(m > 0.0, m + root, 2.0 * r / s**2 / np.where(m > 0.0, 1.0, root - m))
    return np.minimum(np.log(_start(r, q)) + np.log1p(1.0 / power), 60.0)


def boundary(r: Array, q: Array, s: Array) -> UnitPut:
    """Exercise boundary of unit puts, (cases,) each, r > 0 or r = 0 > q: smooth pasting (Andersen, Lake and Offengenden 2016, "High-performance
    American option pricing", Journal of Computational Finance 20, their form A) at POINTS points, by Newton's method on its logarithm. NaN where it
    does not converge.
    """
    parts = [_boundary(r[i:i + TOGETHER], q[i:i + TOGETHER], s[i:i + TOGETHER]) for i in range(0, len(r), TOGETHER)]
    return UnitPut(r, q, s, np.concatenate(parts))


def _boundary(r: Array, q: Array, s: Array) -> Array:
    """(cases, points) h of UnitPut."""
    root, sine, cosine, weight = _nodes()
    spread = _spread(root, (root[:, None] * cosine).ravel()).reshape(POINTS, ANGLES, POINTS)
    start, depth = _start(r, q)[:, None], _depth(r, q, s)[:, None]
    slope = np.where(q > r, 0.8, 1.6)[:, None]
    h = -depth * np.expm1(-slope * s[:, None] * root / depth)
    r3, q3, s3 = r[:, None, None], q[:, None, None], s[:, None, None]
    width = s3 * root[:, None] * sine
    v = (root[:, None] * sine) ** 2
    paid, held = weight * root[:, None] ** 2 * np.exp(-r3 * v), weight * root[:, None] ** 2 * np.exp(-q3 * v)
    moved = np.full(r.shape, np.inf)
    for _ in range(STEPS):
        reached = (h @ spread.reshape(-1, POINTS).T).reshape(-1, POINTS, ANGLES)
        minus = (reached - h[:, :, None] + (r3 - q3) * v) / width - 0.5 * width
        density = paid * normal_density(minus) / width
        bound = start * np.exp(-h)
        fall = start[:, :, None] * np.expm1(-reached)
        flow = density * (r3 - q3 * start[:, :, None] - q3 * fall)
        kept = q3 * (start[:, :, None] + fall) * density
        edge = (np.log(start) - h + (r - q)[:, None] * root**2) / (s[:, None] * root) + 0.5 * s[:, None] * root
        growth = np.exp(-q[:, None] * root**2)
        left = flow.sum(axis=2)
        right = bound * (growth * normal_cdf(edge) + q[:, None] * (held * normal_cdf(minus + width)).sum(axis=2))
        pull = minus / width * flow / left[:, :, None]
        own = -pull.sum(axis=2) - 1.0 - (bound * growth * normal_density(edge) / (s[:, None] * root) + kept.sum(axis=2)) / right
        other = pull + kept * (1.0 / right - 1.0 / left)[:, :, None]
        jacobian = np.ascontiguousarray((other.transpose(1, 0, 2) @ spread).transpose(1, 0, 2))
        jacobian[:, range(POINTS), range(POINTS)] += own
        miss = np.log(left / right)
        usable = np.isfinite(jacobian).all(axis=(1, 2)) & np.isfinite(miss).all(axis=1)
        jacobian[~usable], miss[~usable] = np.eye(POINTS), 0.0
        scale = np.abs(jacobian).max(axis=2)
        change = np.linalg.solve(jacobian / scale[:, :, None], (miss / scale)[:, :, None])[:, :, 0] / h
        ratio = np.where((q > r)[:, None], np.exp(np.clip(change, -1.1, 1.1)), np.clip(1.0 + change, 1.0 / 3.0, 3.0))
        moved = np.where(usable, np.abs(ratio - 1.0).max(axis=1), np.inf)
        h = h * ratio
        if np.all((moved < 1e-9) | ~usable):
            break
    solved: Array = np.where((moved < 1e-8)[:, None], h, np.nan)
    return solved


def premium(put: UnitPut, x: Array, points: int = 241) -> Array:
    """Early exercise premium at x above the boundary (Kim 1990): tanh-sinh quadrature of the payments r - q x in the exercise region."""
    u = np.linspace(-3.4, 3.4, points)
    w = 1.0 / (1.0 + np.exp(-np.pi * np.sinh(u)))
    w = np.minimum(w, 1.0 - 1e-15)
    weight = (u[1] - u[0]) * np.pi * np.cosh(u) * w * (1.0 - w) * 2.0 * w
    left = np.sqrt((1.0 - w) * (1.0 + w))
    r, q, s = (c[:, None] for c in (put.r, put.q, put.s))
    h = put.h @ _spread(_nodes()[0], left).T
    minus = (np.log(x)[:, None] - np.log(_start(r, q)) + h + (r - q) * w * w) / (s * w) - 0.5 * s * w
    flow = r * np.exp(-r * w * w) * normal_cdf(-minus) - q * np.exp(-q * w * w) * x[:, None] * normal_cdf(-minus - s * w)
    total: Array = (weight * flow).sum(axis=1)
    return total


def _unit_terms(sign: Array, rate: Array, dividend_yield: Array, volatility: Array, years: Array) -> tuple[Array, Array, Array]:
    """(r, q, s), at most (9 volatility / drift)^2 years where the spot drifts away from the boundary: nothing is paid later."""
    r, q = np.where(sign > 0.0, dividend_yield, rate), np.where(sign > 0.0, rate, dividend_yield)
    away = r - q - 0.5 * volatility**2
    horizon = np.where(away > 0.0, 9.0 * volatility / np.where(away > 0.0, away, 1.0), np.inf) ** 2
    years = np.minimum(years, horizon)
    return r * years, q * years, volatility * np.sqrt(years)


def certain_price(level: Array, strike: Array, years: Array, rate: Array, dividend_yield: Array, sign: Array) -> Array:
    """Price without volatility: the best of exercise now, at expiry, and where the value is stationary in time; a lower bound of every price."""
    with np.errstate(all="ignore"):
        turn = np.log(dividend_yield * level / (rate * strike)) / (dividend_yield - rate)
        turn = np.where((turn > 0.0) & (turn < years), turn, 0.0)
        values = [sign * (level * np.exp(-dividend_yield * t) - strike * np.exp(-rate * t)) for t in (0.0 * years, years, turn)]
    return np.maximum(np.maximum.reduce(values), 0.0)


def american_price(level: Array, strike: Array, years: Array, rate: Array, dividend_yield: Array, volatility: Array, sign: Array,
                   *, shift: float = 0.0) -> tuple[Array, Array, Array]:
    """(price, exercise boundary, status), (cases,). `shift` moves the spot by that many total standard deviations, on the unshifted boundary.

    The price is the payoff exactly where exercise is due. Two boundaries (exercise pays only between two levels, which needs a negative rate) are
    a status, not a price.
    """
    def european(now: Array) -> Array:
        return european_values({"spot": now, "strike": strike, "time_to_expiry": years, "rate": rate, "dividend_yield": dividend_yield,
                                "volatility": volatility, "sign": sign})["price"]

    root = np.sqrt(years)
    moved = level * np.exp(shift * volatility * root)
    r, q = np.where(sign > 0.0, dividend_yield, rate), np.where(sign > 0.0, rate, dividend_yield)
    early, between = (r * years > SMALLEST) | ((r >= 0.0) & (q < 0.0)), (r < 0.0) & (q < r)
    certain = (volatility * root < CERTAIN) | (level == 0.0) | (strike == 0.0)
    price = np.where(certain, certain_price(moved, strike, years, rate, dividend_yield, sign), np.nan)
    edge = np.where(certain, np.nan, np.where(sign > 0.0, np.inf, 0.0))
    status = np.where(between & ~certain, TWO_BOUNDARIES, FOUND)
    plain = ~certain & ~early & ~between
    price = np.where(plain, european(np.where(moved > 0.0, moved, np.nan)), price)
    edge = np.where(between & ~certain, np.nan, edge)
    at = np.flatnonzero(early & ~certain)
    if len(at):
        terms = _unit_terms(sign[at], rate[at], dividend_yield[at], volatility[at], years[at])
        put = boundary(*terms)
        call = sign[at] > 0.0
        x = np.where(call, strike[at] / moved[at], moved[at] / strike[at])
        level_at = _start(*terms[:2]) * np.exp(-put.h[:, 0])
        payoff = sign[at] * (moved[at] - strike[at])
        held = european(moved)[at] + np.where(call, moved[at], strike[at]) * premium(put, np.maximum(x, level_at))
        price[at] = np.where(x <= level_at, payoff, np.maximum(held, payoff))
        edge[at] = np.where(call, strike[at] / level_at, strike[at] * level_at)
        status[at] = np.where(np.isnan(level_at), NOT_SOLVED, FOUND)
        price[at] = np.where(np.isnan(level_at), np.nan, price[at])
    return price, edge, status


def implied_american(level: Array, strike: Array, years: Array, rate: Array, dividend_yield: Array, sign: Array, price: Array) -> tuple[Array, Array]:
    """(volatility, status) by bisection on its logarithm; NaN where none gives the price."""
    floor = certain_price(level, strike, years, rate, dividend_yield, sign)
    bound = np.where(sign > 0.0, level, strike)
    rounding = 4.0 * np.finfo(float).eps * (np.maximum(sign * (level - strike), 0.0) + 1e-3 * bound)
    low, high = np.log(CERTAIN / np.sqrt(years)), np.log(20.0 / np.sqrt(years))
    args = (level, strike, years, rate, dividend_yield)
    top, _, solved = american_price(*args, np.exp(high), sign)
    status = np.select([~((level > 0.0) & (strike > 0.0) & (years > 0.0) & ~np.isnan(price)), price < floor - rounding, price <= floor + rounding,
                        solved != FOUND, price > top], [UNDEFINED, BELOW_PAYOFF, NO_TIME_VALUE, solved, ABOVE_BOUND], FOUND)
    for _ in range(48):
        middle = 0.5 * (low + high)
        under = american_price(*args, np.exp(middle), sign)[0] < price
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    return np.where(status == FOUND, np.exp(0.5 * (low + high)), np.nan), status


def american_values(columns: dict[str, Any]) -> Columns:
    """Prices and Greeks of American options: columns of AMERICAN_INPUTS, (cases,) -> columns of AMERICAN_OUTPUTS, (cases,).

    Either `spot` or `forward` is given, the other NaN: an option on a future has the yield of its rate, exercise pays the future less the strike. Greeks
    as in `european_values`, by central differences (error about 1e-6 of their scale): delta and gamma in the spot on one boundary, theta, vega and the
    rhos with a boundary for each. In the exercise region the payoff and its derivatives. `exercise_boundary` is the level at which exercise
    begins today, 0 or infinity where it never pays. Where `volatility` is NaN and `market_price` is not, the volatility is implied first.

    `price_only` leaves vega and the rhos NaN. Verified: tests/known_answers/test_american.py.

    >>> put = {"spot": 40.0, "strike": 40.0, "time_to_expiry": 1.0, "rate": 0.06, "volatility": 0.4, "sign": -1.0}
    >>> round(float(american_values(put)["price"][0]), 6)
    5.318294
    """
    c = dict(zip(AMERICAN_INPUTS, operation_columns(AMERICAN, columns), strict=True))
    with np.errstate(all="ignore"):
        return _values(c)


def _values(c: Columns) -> Columns:
    on_forward = ~np.isnan(c["forward"])
    level, strike, years, sign, rate = np.where(on_forward, c["forward"], c["spot"]), c["strike"], c["time_to_expiry"], c["sign"], c["rate"]
    dividend_yield = np.where(on_forward, rate, c["dividend_yield"])
    asked = np.isnan(c["volatility"]) & ~np.isnan(c["market_price"])
    implied, status = np.full(level.shape, np.nan), np.zeros(level.shape)
    if asked.any():
        found = implied_american(*(v[asked] for v in (level, strike, years, rate, dividend_yield, sign, c["market_price"])))
        implied[asked], status[asked] = found
    volatility = np.where(asked, implied, c["volatility"])
    defined = (level >= 0.0) & (strike >= 0.0) & (years >= 0.0) & ((volatility >= 0.0) | (status != FOUND)) & ~np.isnan(rate + dividend_yield)
    status = np.where(defined, status, UNDEFINED)
    out = {name: np.full(level.shape, np.nan) for name in AMERICAN_OUTPUTS} | {"status": status, "implied_volatility": implied}
    good = np.flatnonzero(status == FOUND)
    if not len(good):
        return out
    args = [v[good] for v in (level, strike, years, rate, dividend_yield, volatility, sign)]
    price, edge, solved = american_price(*args)
    found_greeks = _greeks(args, price, on_forward[good], c["price_only"][good] != 0.0)
    for name, value in {"price": price, "exercise_boundary": edge, "status": solved.astype(float), **found_greeks}.items():
        out[name][good] = value
    return out


def _greeks(args: list[Array], price: Array, on_forward: Array, price_only: Array) -> Columns:
    """Central differences of `american_price`; steps are shortened where they would leave the regime of the rate."""
    level, strike, years, rate, dividend_yield, volatility, sign = args
    stdev = volatility * np.sqrt(years)
    payoff = sign * (level - strike)
    exercised = price == payoff
    live = stdev >= CERTAIN

    def priced(**changed: Array) -> Array:
        names = ("level", "strike", "years", "rate", "dividend_yield", "volatility", "sign")
        return american_price(*(changed.get(n, a) for n, a in zip(names, args, strict=True)))[0]

    h = 0.02
    up, down, up2, down2 = (american_price(*args, shift=k * h)[0] for k in (1, -1, 2, -2))
    first, second = (8.0 * (up - down) - (up2 - down2)) / (12.0 * h * stdev), (16.0 * (up + down) - up2 - down2 - 30.0 * price) / (12.0 * (h * stdev) ** 2)
    delta, gamma = first / level, (second - first) / level**2
    bump, small = 1e-3 * volatility, np.clip(5e-3 * volatility**2, 1e-9, 1e-4)
    step = np.where(rate == 0.0, small, np.minimum(small, 0.5 * np.abs(rate)))
    step_yield = np.where(dividend_yield == 0.0, small, np.minimum(small, 0.5 * np.abs(dividend_yield)))
    vega = (priced(volatility=volatility + bump) - priced(volatility=volatility - bump)) / (2.0 * bump)
    tie = np.where(on_forward, 1.0, 0.0)
    rho = (priced(rate=rate + step, dividend_yield=dividend_yield + tie * step)
           - priced(rate=rate - step, dividend_yield=dividend_yield - tie * step)) / (2.0 * step)
    dividend_rho = (priced(dividend_yield=dividend_yield + step_yield) - priced(dividend_yield=dividend_yield - step_yield)) / (2.0 * step_yield)
    theta = -(priced(years=years * 1.001) - priced(years=years * 0.999)) / (0.002 * years)
    found = {"delta": np.where(exercised, sign, delta), "gamma": np.where(exercised, 0.0, gamma), "theta": np.where(exercised, 0.0, theta),
             "vega": np.where(exercised, 0.0, vega), "rho": np.where(exercised, 0.0, rho),
             "dividend_rho": np.where(on_forward, np.nan, np.where(exercised, 0.0, dividend_rho))}
    found = {name: np.where(live, value, np.nan) for name, value in found.items()}
    return found | {name: np.where(price_only, np.nan, found[name]) for name in ("vega", "rho", "dividend_rho")}


_ABSENT = {"spot": np.nan, "forward": np.nan, "rate": 0.0, "dividend_yield": 0.0, "volatility": np.nan, "market_price": np.nan, "price_only": 0.0}

AMERICAN = Operation(20, "american", AMERICAN_INPUTS, AMERICAN_OUTPUTS, _ABSENT, american_values, cases_a_call=1 << 12, on_device=False)
"""`kernels/american.cuh`"""
