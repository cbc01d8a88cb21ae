"""Heston's stochastic variance over many underlyings by Andersen's quadratic-exponential scheme with martingale correction.

  d ln S = (drift - v / 2) dt + sqrt(v) dW,   dv = kappa (theta - v) dt + epsilon sqrt(v) dB,   dW dB = rho dt,

time in years of 365 days. The price Brownian motions are correlated across underlyings by a matrix R; each variance hears the rest of the market only through its own price:
B = rho W + sqrt(1 - rho^2) E with E of its own. L. Andersen, "Simple and efficient simulation of the Heston stochastic volatility model", Journal of Computational
Finance 11 (2008): v' is drawn from a law with the exact mean m = c0 + c1 v and variance s^2 = d0 + d1 v of the step; with psi = s^2 / m^2 it is a (b + Z)^2 for psi <= 1.5
and an exponential with an atom at 0 beyond, both as the inverse distribution function of one normal score; central discretisation gamma1 = gamma2 = 1/2:

  ln S' - ln S = -ln M - k3 v / 2 + k2 v' + sqrt(k3 (v + v')) Z,  M = E[exp(a v') | v],  a = k2 + k3 / 2,  k2 = dt/2 (kappa rho / epsilon - 1/2) + rho / epsilon,  k3 = dt/2 (1 - rho^2),

so that E[S' | S, v] = S in every step. M exists where a < 1/g with g = epsilon^2 (1 - exp(-kappa dt)) / kappa: s^2 <= g m gives 1/(2 a_q) >= 1/g in the quadratic branch and beta >= 1.2/g in
the exponential one; it can fail only for rho > 0 and long steps, and is then refused.

Copula `student_t`: the increments of the price Brownian motions over a base step have a t copula across underlyings and stay standard normal each. With Z = L n the Gaussian
increments of the step over its root, T the map from the t law to the normal one and chi the step's mixing variable, each leg of weight w (root of its length in base steps) takes
L n + w (T(Z chi) - Z): the Brownian bridge L n - w Z of the step, which is independent of Z, plus w times a standard normal. So each asset's Brownian motion is exactly one, and its law and
martingale are those of the model without the copula, at every date; dates inside a step stay on the same path (docs/design/0024-copula-of-price-motions.md).

A base step has `substeps` equal steps. A date inside a substep takes a QE step of its own length from the last one, its two normals bridged to those of
the whole substep (docs/design/0022-heston.md). Quoted volatilities move by expiry: x = 1/2 ln(Vbar(T; v_h) / Vbar(T; v_0)), Vbar(T; v) = theta + (v - theta) (1 - e^{-kappa T}) / (kappa T)
plus the variance of jumps. Verified: tests/statistics/test_heston_law.py, tests/known_answers/test_stochastic_models.py, tests/parity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special

from upm_gpu.errors import CalibrationError, InputError
from upm_gpu.model.gbm import PlainDraws, check_dates
from upm_gpu.model.jumps import (
    YEAR_DAYS,
    JumpParameters,
    add_jumps,
    check_jumps,
    compile_jumps,
    growth,
    no_jumps,
    reference_jumps,
)
from upm_gpu.model.legs import Legs, path_legs
from upm_gpu.model.parameter_table import ParameterTable, read_table
from upm_gpu.model.psd import correlation_cholesky
from upm_gpu.model.regime_twin import Root, square_root
from upm_gpu.model.tables import evaluate_table, marginal_table, mixing_table
from upm_gpu.rng.normal import normal_quantile, uniform_at
from upm_gpu.rng.streams import FACTOR, MIXING, key_words, stream_word
from upm_gpu.scenario.sets import Heston, ScenarioSet, StepCopula
from upm_gpu.scenario.spec import Measure, ScenarioSpec

PSI_CRITICAL = 1.5
KEYS = ("underlyings", "initial_variance", "mean_reversion", "long_variance", "volatility_of_variance", "rho", "correlation", "stressed_correlation", "copula", "copula_degrees_of_freedom", "substeps", "drift")
MOST_SUBSTEPS = 10_000


@dataclass(frozen=True)
class HestonParameters:
    """U underlyings in the order of the file, which fixes their random numbers; variances and rates a year of 365 days."""

    underlyings: tuple[str, ...]
    initial_variance: NDArray[np.float64]
    mean_reversion: NDArray[np.float64]
    long_variance: NDArray[np.float64]
    volatility_of_variance: NDArray[np.float64]
    rho: NDArray[np.float64]
    """(U,) each"""
    correlation: NDArray[np.float64]
    """(U, U) of the price Brownian motions"""
    jumps: JumpParameters | None = None
    """over the U underlyings"""
    substeps: int = 8
    step_days: float = 1.0
    measure: Measure = "margin"
    drift: NDArray[np.float64] | None = None
    """(U,) a day. `pricing`: log E[S_h / S_0] = drift h; `historical`: mean log-change = drift h; not read under `margin`"""
    stressed_correlation: NDArray[np.float64] | None = None
    """(U, U) of a correlation regime, see `regimes.py`"""
    copula: str = "gaussian"
    """across underlyings, of the price Brownian motions over a base step: gaussian or student_t"""
    copula_degrees_of_freedom: float = float("inf")

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the log-prices."""
        return tuple(f"log_level[{u}]" for u in self.underlyings)

    @property
    def daily_volatility(self) -> NDArray[np.float64]:
        """(U,) standard deviation of the log-price over one day from today, jumps included."""
        return np.asarray(np.sqrt((mean_variance(self, 1.0 / YEAR_DAYS) + jump_variance(self.jumps, len(self.underlyings))) / YEAR_DAYS))

    def scenarios(self, dates_days: NDArray[np.float64], spec: ScenarioSpec) -> ScenarioSet:
        """Compile to arrays that every backend reads, with a volatility shift for every expiry of the specification. A sampler acts on both normals of a substep; jumps are plain."""
        from upm_gpu.model.sampling import sample

        _check(self)
        dates = check_dates(np.asarray(dates_days, np.float64), self.step_days, spec.count)
        key_words(spec.seed)
        legs = path_legs(dates, self.step_days / self.substeps, spec.stream)
        years = self.step_days / self.substeps / YEAR_DAYS
        parts = [float(legs.part[d]) for d in np.flatnonzero(legs.date_leg >= 0)]
        constants = np.stack([step_constants(self, years * f) for f in (1.0, *parts)])
        whole = len(legs.step) - len(parts)
        clocks = self.jumps or no_jumps(len(self.underlyings))
        known = {u: i for i, u in enumerate(self.underlyings)}
        shifts = [(known[u], f"volatility_shift[{u},{label}]", *variance_line(self, known[u], days / YEAR_DAYS)) for u, label, days in spec.expiries if u in known]
        names = tuple(f"{kind}[{u}]" for u in self.underlyings for kind in ("log_level", "variance")) + tuple(s[1] for s in shifts)
        return sample(Heston(
            state_names=names, seed=int(spec.seed), count=int(spec.count), cholesky=correlation_cholesky(self.correlation, names[: 2 * len(known) : 2]),
            variance0=_array(self.initial_variance), rho=_array(self.rho), constants=constants,
            leg_class=np.concatenate([np.zeros(whole), 1 + np.arange(len(parts))]).astype(np.int32),
            shift_underlying=np.array([s[0] for s in shifts], np.int32), shift_base=np.array([s[2] for s in shifts], np.float64),
            shift_slope=np.array([s[3] for s in shifts], np.float64), leg_step=legs.step, leg_first_term=legs.first_term, term_stream=legs.term_stream,
            term_step=legs.term_step, term_weight=legs.term_weight, dates=dates, date_whole=legs.date_whole, date_leg=legs.date_leg,
            centre=_centre(self, clocks, dates), jumps=_clocks(clocks, legs, dates, self.step_days / self.substeps, spec.stream, len(names)),
            copula=_copula(self, legs.root, spec.stream)), spec)


def _copula(p: HestonParameters, root: NDArray[np.float64], stream: int) -> StepCopula | None:
    """The copula of the price motions; `root` (G,) of the legs' lengths in substeps. Raises `CalibrationError` UPM-CA-154 for another one."""
    given = np.isfinite(p.copula_degrees_of_freedom)
    if p.copula == "gaussian" and not given:
        return None
    if p.copula in ("gaussian", "student_t") and given == (p.copula == "gaussian"):
        raise CalibrationError("UPM-CA-154", f"copula {p.copula} with copula_degrees_of_freedom {p.copula_degrees_of_freedom:g}: a student_t copula needs a finite number above 2, a gaussian one has none. "
                               "Correct the parameter file.")
    if p.copula != "student_t":
        raise CalibrationError("UPM-CA-154", f"copula {p.copula!r} of a model with stochastic variance: it joins the price Brownian motions across underlyings and is gaussian or student_t; each "
                               "keeps its own correlation with its variance. Use one of the two, or the model garch.")
    nu = float(p.copula_degrees_of_freedom)
    return StepCopula(p.substeps, stream_word(stream, FACTOR), marginal_table(float("inf"), nu), mixing_table(nu), stream_word(stream, MIXING), root / np.sqrt(float(p.substeps)))


def step_constants(p: HestonParameters, years: float) -> NDArray[np.float64]:
    """(U, 7) c0, c1, d0, d1, k2, k3, a of a step of `years`. Raises `CalibrationError` UPM-CA-078 where M does not exist."""
    kappa, theta, epsilon, rho = (_array(x) for x in (p.mean_reversion, p.long_variance, p.volatility_of_variance, p.rho))
    gone = -np.expm1(-kappa * years)
    k2 = 0.5 * years * (kappa * rho / epsilon - 0.5) + rho / epsilon
    k3 = 0.5 * years * (1.0 - rho * rho)
    a, g = k2 + 0.5 * k3, epsilon**2 * gone / kappa
    for u in np.flatnonzero(a * g >= 1.0):
        raise CalibrationError("UPM-CA-078", f"{p.underlyings[u]}: with correlation {rho[u]:g} of price and variance the expected price of one substep is infinite in the scheme. Use more substeps.")
    return np.stack([theta * gone, 1.0 - gone, theta * epsilon**2 * gone**2 / (2.0 * kappa), epsilon**2 * (1.0 - gone) * gone / kappa, k2, k3, a], axis=1)


def mean_variance(p: HestonParameters, years: float) -> NDArray[np.float64]:
    """(U,) expected average variance over `years` from today, jumps left out."""
    w = -np.expm1(-_array(p.mean_reversion) * years) / (_array(p.mean_reversion) * years)
    return _array(p.long_variance) + (_array(p.initial_variance) - _array(p.long_variance)) * w


def jump_variance(p: JumpParameters | None, size: int) -> NDArray[np.float64]:
    """(U,) variance a year of the jumps of a log-price."""
    if p is None:
        return np.zeros(size)
    return p.systemic_intensity * p.systemic_loading**2 * (p.systemic_mean**2 + p.systemic_deviation**2) + p.own_intensity * (p.own_mean**2 + p.own_deviation**2)


def variance_line(p: HestonParameters, u: int, years: float) -> tuple[float, float]:
    """base and slope of Vbar(T; v) / Vbar(T; v_0) as a line in v."""
    kappa, theta, jumps = float(p.mean_reversion[u]), float(p.long_variance[u]), float(jump_variance(p.jumps, len(p.underlyings))[u])
    w = float(-np.expm1(-kappa * years) / (kappa * years))
    today = theta + (float(p.initial_variance[u]) - theta) * w + jumps
    return (theta * (1.0 - w) + jumps) / today, w / today


def _centre(p: HestonParameters, clocks: JumpParameters, dates: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D, U): what the jumps bring on average is taken out; the drift where the measure has one."""
    centre = -dates[:, None] * growth(clocks, np.ones(len(p.underlyings), bool), logarithmic=p.measure == "historical")
    if p.measure == "historical":
        centre += np.stack([0.5 * mean_variance(p, d / YEAR_DAYS) * d / YEAR_DAYS for d in dates])
    if p.measure != "margin" and p.drift is not None:
        centre += dates[:, None] * _array(p.drift)
    return np.asarray(centre)


def _clocks(p: JumpParameters, legs: Legs, dates: NDArray[np.float64], step_days: float, stream: int, states: int):  # type: ignore[no-untyped-def]
    """The clocks of the underlyings as clocks of all states, silent but for the log-prices."""
    def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.zeros(states)
        out[: 2 * len(values) : 2] = values
        return out

    return compile_jumps(JumpParameters(p.systemic_intensity, p.systemic_mean, p.systemic_deviation, spread(p.systemic_loading), spread(p.own_intensity), spread(p.own_mean),
                                        spread(p.own_deviation)), legs, dates, step_days, stream)


def _array(values: object) -> NDArray[np.float64]:
    return np.asarray(values, np.float64)


def _check(p: HestonParameters) -> None:
    size = len(p.underlyings)
    for key, low, strict, high in (("initial_variance", 0.0, False, np.inf), ("mean_reversion", 0.0, True, np.inf), ("long_variance", 0.0, True, np.inf),
                                   ("volatility_of_variance", 0.0, True, np.inf), ("rho", -1.0, False, 1.0)):
        value = _array(getattr(p, key))
        if value.shape != (size,):
            raise CalibrationError("UPM-CA-077", f"{key} has shape {value.shape}; {size} numbers are needed, one for each of {', '.join(p.underlyings)}.")
        for u in np.flatnonzero(~(np.isfinite(value) & (value >= low) & (value <= high) & ~(strict & (value == low)))):
            raise CalibrationError("UPM-CA-077", f"{key} of {p.underlyings[u]} is {value[u]:g}. Give a finite number {'above' if strict else 'from'} {low:g}{' to 1' if high == 1.0 else ''}.")
    if p.measure not in ("margin", "pricing", "historical"):
        raise InputError("UPM-CA-061", f"measure {p.measure!r}: known are margin, pricing and historical.")
    if not 1 <= p.substeps <= MOST_SUBSTEPS or p.substeps != int(p.substeps):
        raise CalibrationError("UPM-CA-077", f"{p.substeps} substeps; give a whole number from 1 to {MOST_SUBSTEPS}.")
    if p.jumps is not None:
        check_jumps(p.jumps, p.underlyings)


def read(path: str, spec: ScenarioSpec) -> HestonParameters:
    """Parameters from a file of kind `heston`. Raises `InputError` UPM-CA-072 to 074, `CalibrationError` from the checks of the model."""
    return parameters_of(read_table(path, "heston", KEYS), spec)


def parameters_of(table: ParameterTable, spec: ScenarioSpec, jumps: JumpParameters | None = None) -> HestonParameters:
    """The diffusion part of a file."""
    names = table.text("underlyings")
    shape = (len(names),)
    substeps = table.number("substeps", 1, MOST_SUBSTEPS, default=8.0)
    if substeps != int(substeps):
        raise InputError("UPM-CA-074", f"{table.name} key substeps: {substeps:g} is not a whole number. Write digits only, such as 8.")
    return HestonParameters(
        names, table.numbers("initial_variance", shape, 0.0), table.numbers("mean_reversion", shape, 0.0, above=True),
        table.numbers("long_variance", shape, 0.0, above=True), table.numbers("volatility_of_variance", shape, 0.0, above=True),
        table.numbers("rho", shape, -1.0, 1.0), table.numbers("correlation", (*shape, *shape), -1.0, 1.0), jumps,
        int(substeps), spec.base_step_days, spec.measure, table.numbers("drift", shape) if table.has("drift") else None,
        table.stressed_correlation(len(names)), table.word("copula", "gaussian"), table.number("copula_degrees_of_freedom", default=float("inf")))


def reference_states(h: Heston, first: int, last: int, draws: PlainDraws | None = None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """States (D, K, S) of scenarios [first, last) and clip counts (none): the plain twin of `kernels/heston.cuh` and its callers."""
    scenarios = np.arange(first, last, dtype=np.uint32)
    size, count = len(h.variance0), scenarios.size
    states = np.zeros((h.dates.size, len(h.state_names), count))
    level, variance = np.zeros((size, count)), np.repeat(h.variance0[:, None], count, axis=1)
    whole, root = 0, square_root(h.cholesky, h.regimes, h.seed, scenarios)
    change = _step_changes(h, scenarios, root)
    draws = draws or PlainDraws(h)
    for d in range(h.dates.size):
        for step in range(whole, int(h.date_whole[d])):
            level, variance = _leg(h, step, scenarios, level, variance, root, change, draws)
        whole = int(h.date_whole[d])
        x, v = (level, variance) if h.date_leg[d] < 0 else _leg(h, int(h.date_leg[d]), scenarios, level, variance, root, change, draws)
        states[d, 0 : 2 * size : 2] = x + h.centre[d][:, None]
        states[d, 1 : 2 * size : 2] = v
        for e, u in enumerate(h.shift_underlying):
            states[d, 2 * size + e] = 0.5 * np.log(h.shift_base[e] + h.shift_slope[e] * v[u])
    return states, np.zeros(len(h.state_names), np.int64)


StepChange: TypeAlias = Callable[[int], NDArray[np.float64]]
"""base step -> (U, S) what the copula changes of the price Brownian motions over the step, over its root"""


def _step_changes(h: Heston, scenarios: NDArray[np.uint32], root: Root) -> StepChange:
    size, made = len(h.variance0), dict[int, NDArray[np.float64]]()

    def change(step: int) -> NDArray[np.float64]:
        c = h.copula
        assert c is not None
        if step not in made:
            q = normal_quantile(uniform_at(h.seed, scenarios, 0, step, c.mixing_stream))
            stretch = np.exp(evaluate_table(c.mixing, q))
            weight, normal = 1.0 / np.sqrt(float(c.substeps)), np.zeros((size, scenarios.size))
            for u in range(size):
                for i in range(c.substeps):
                    normal[u] += weight * normal_quantile(uniform_at(h.seed, scenarios, 2 * u, step * c.substeps + i, c.stream))
            made[step] = np.empty_like(normal)
            for u in range(size):
                z = np.zeros(scenarios.size)
                for f in range(u + 1):
                    z += root(u, f) * normal[f]
                y = z * stretch
                made[step][u] = np.copysign(evaluate_table(c.marginal, np.arcsinh(np.abs(y))), y) - z
        return made[step]

    return change


def _leg(h: Heston, leg: int, scenarios: NDArray[np.uint32], level: NDArray[np.float64], variance: NDArray[np.float64],
         root: Root, change: StepChange, draws: PlainDraws) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(U, S) log-prices and variances after a leg."""
    size = len(h.variance0)
    normal = np.zeros((2 * size, scenarios.size))
    for f in range(2 * size):
        for m in range(int(h.leg_first_term[leg]), int(h.leg_first_term[leg + 1])):
            normal[f] += h.term_weight[m] * draws.normal(scenarios, f, m)
    moves, after = np.zeros((len(h.state_names), scenarios.size)), np.empty_like(variance)
    for u in range(size):
        g = np.zeros(scenarios.size)
        for f in range(u + 1):
            g += root(u, f) * normal[2 * f]
        if h.copula is not None:
            g += h.copula.leg_weight[leg] * change(int(h.leg_step[leg]) // h.copula.substeps)[u]
        after[u], moves[2 * u] = qe_step(variance[u], g, normal[2 * u + 1], float(h.rho[u]), h.constants[h.leg_class[leg], u])
    if h.jumps is not None:
        add_jumps(h.jumps, reference_jumps(h.jumps, h.seed, scenarios, leg, int(h.leg_step[leg])), moves)
    return level + moves[0 : 2 * size : 2], after


def qe_step(v: NDArray[np.float64], g: NDArray[np.float64], e: NDArray[np.float64], rho: float,
            constants: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variance after a step and the move of the log-price; g the price's normal, e the variance's own."""
    c0, c1, d0, d1, k2, k3, a = constants
    rest = np.sqrt(1.0 - rho * rho)
    zv, z = rho * g + rest * e, rest * g - rho * e
    m, square = c0 + c1 * v, d0 + d1 * v
    psi = square / (m * m)
    t = 2.0 / np.minimum(psi, PSI_CRITICAL)
    b2 = (t - 1.0) + np.sqrt(t * (t - 1.0))
    scale = m / (1.0 + b2)
    smooth = scale * (np.sqrt(b2) + zv) ** 2
    h = 1.0 - 2.0 * a * scale
    above = 2.0 / (np.maximum(psi, PSI_CRITICAL) + 1.0)
    beta = above / m
    tail = special.ndtr(-zv)
    rare = np.where(tail < above, np.log(above / tail) / beta, 0.0)
    quadratic = psi <= PSI_CRITICAL
    log = np.log(np.where(quadratic, h, (1.0 - above) + beta * above / (beta - a)))
    log_m = np.where(quadratic, a * b2 * scale / h - 0.5 * log, log)
    after = np.where(quadratic, smooth, rare)
    return after, (k2 * after - 0.5 * k3 * v) - log_m + np.sqrt(k3 * (v + after)) * z
