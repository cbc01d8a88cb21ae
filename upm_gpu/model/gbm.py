"""Correlated log-factors with independent base steps: Gaussian or Student-t copula, Gaussian or truncated t marginals.

The law belongs to one base step of `step_days`: a factor moves by x = clip(s g(y), -M, M), s its volatility over the
step, y the latent variable of the copula, g the map to a marginal of unit variance. Whole steps are independent; a
date inside a step reads x = sqrt(f) clip(s g(y_f), -M, M), f the part of the step, y_f = B(f) / sqrt(f) of a Brownian
bridge that ends at the step's own normal and shares its mixing variable. So variance grows with time, the shape of the
law does not change, and neither a date nor a step count changes a figure elsewhere.

Under a t copula of nu degrees y = z sqrt(nu / chi2_nu), z correlated normals (Demarta and McNeil, "The t copula and
related copulas", 2005). The copula matrix is the correlation given, not re-mapped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import CalibrationError, InputError
from upm_gpu.model.centring import gaussian_centring, student_t_centring
from upm_gpu.model.legs import Legs, path_legs
from upm_gpu.model.psd import correlation_cholesky
from upm_gpu.model.regime_twin import Root, square_root
from upm_gpu.model.reversion import date_persistence, persistence_of, reverted_days, weights
from upm_gpu.model.tables import check_degrees_of_freedom, evaluate_table, marginal_table, mixing_table, unit_scale
from upm_gpu.rng.normal import normal_quantile, uniform_at
from upm_gpu.rng.streams import MIXING, key_words, stream_word
from upm_gpu.scenario.sets import Heston, ScenarioSet, SmoothTable, Walk
from upm_gpu.scenario.spec import CopulaLaw, MarginalLaw, Measure, ScenarioSpec

MAX_LOG_MOVE = 1.5
"""house default of the truncation, for log-prices and for log-volatilities: a factor 4.5 in one base step"""
PRICE_STATES = ("log_level", "log_forward", "log_fx")
SPREAD_STATES = ("log_basis", "funding_rate", "rate_level", "rate_slope")
"""differences and rates: zero mean, as log-volatilities"""
VOLATILITY_STATES = ("volatility_shift", "volatility_skew", "volatility_slope")


@dataclass(frozen=True)
class GbmParameters:
    """The model file as arrays; K factors in the order of the file, which fixes their random numbers."""

    state_names: tuple[str, ...]
    """(K,) `log_level[BTC]`, `volatility_shift[BTC]`, ..."""
    daily_volatility: NDArray[np.float64]
    """(K,) standard deviation of the log-change over one day"""
    correlation: NDArray[np.float64]
    """(K, K) positive semidefinite, see `psd.nearest_correlation`"""
    copula: CopulaLaw = "gaussian"
    copula_degrees_of_freedom: float = float("inf")
    marginal: tuple[MarginalLaw, ...] = ()
    """(K,); empty: all gaussian"""
    marginal_degrees_of_freedom: NDArray[np.float64] | None = None
    """(K,); read where the marginal is student_t"""
    max_log_move: NDArray[np.float64] | None = None
    """(K,) truncation of a base step's move, read where the marginal is student_t; None: MAX_LOG_MOVE"""
    step_days: float = 1.0
    measure: Measure = "margin"
    drift: NDArray[np.float64] | None = None
    """(K,) a day. `pricing`: log E[S_h / S_0] = drift h; `historical`: mean log-change = drift h; not read under `margin`"""
    half_life_days: NDArray[np.float64] | None = None
    """(K,) of the reversion of a state to today's value, see `reversion.py`; 0 or None: none"""
    stressed_correlation: NDArray[np.float64] | None = None
    """(K, K) of a correlation regime, see `regimes.py`"""

    def scenarios(self, dates_days: NDArray[np.float64], spec: ScenarioSpec) -> ScenarioSet:
        """The walk of a scenario specification: its seed, stream, count and sampler."""
        from upm_gpu.model.sampling import sample

        return sample(walk(self, dates_days, spec.seed, spec.stream, spec.count), spec)


def is_price(state: str) -> bool:
    """Whether a state is a log-price (centred) or a log-volatility (zero mean); refuses other states.

    >>> is_price("log_level[BTC]"), is_price("volatility_shift[BTC]")
    (True, False)
    """
    kind = state.partition("[")[0]
    if kind not in PRICE_STATES + VOLATILITY_STATES + SPREAD_STATES:
        raise InputError("UPM-CA-052", f"state {state}: the gbm model makes {', '.join(PRICE_STATES + VOLATILITY_STATES + SPREAD_STATES)}. Name the states of the model file so.")
    return kind in PRICE_STATES


def walk(parameters: GbmParameters, dates_days: NDArray[np.float64], seed: int, stream: int, count: int) -> Walk:
    """Compile the model to arrays that every backend reads.

    `dates_days` (D,): elapsed days since the valuation time, ascending, above 0; `count` scenarios (ids 0 to count - 1).
    Raises `CalibrationError` for parameters outside their range and `InputError` for dates, seed, stream or count.
    """
    size = len(parameters.state_names)
    dates = _check(parameters, np.asarray(dates_days, np.float64), count)
    key_words(seed)
    marginal_nu = _marginal_degrees(parameters)
    copula_nu = float(parameters.copula_degrees_of_freedom) if parameters.copula == "student_t" else float("inf")
    volatility = np.asarray(parameters.daily_volatility, np.float64) * np.sqrt(parameters.step_days)
    limit = np.full(size, MAX_LOG_MOVE) if parameters.max_log_move is None else np.asarray(parameters.max_log_move, np.float64)
    limit = np.where(np.isfinite(marginal_nu), limit, np.inf)

    scale, index, tables = volatility.copy(), np.full(size, -1, np.int32), list[SmoothTable]()
    known: dict[float, int] = {}
    for k, nu in enumerate(marginal_nu):
        if nu == copula_nu:
            scale[k] *= unit_scale(nu) if np.isfinite(nu) else 1.0
        else:
            if nu not in known:
                known[nu] = len(tables)
                tables.append(marginal_table(nu, copula_nu))
            index[k] = known[nu]

    legs = path_legs(dates, parameters.step_days, stream)
    persistence = persistence_of(parameters.half_life_days, parameters.state_names, parameters.step_days)
    return Walk(
        state_names=tuple(parameters.state_names), seed=int(seed), count=int(count),
        cholesky=correlation_cholesky(parameters.correlation, parameters.state_names),
        scale=scale, max_log_move=limit, marginal=index, tables=tuple(tables),
        mixing=mixing_table(copula_nu) if np.isfinite(copula_nu) else None,
        mixing_stream=stream_word(stream, MIXING),
        leg_step=legs.step, leg_root=legs.root, leg_first_term=legs.first_term,
        term_stream=legs.term_stream, term_step=legs.term_step, term_weight=legs.term_weight,
        dates=dates, date_whole=legs.date_whole, date_leg=legs.date_leg,
        centre=_centre(parameters, volatility, marginal_nu, limit, dates, legs, persistence),
        persistence=persistence, date_persistence=date_persistence(persistence, legs),
    )


def _centre(parameters: GbmParameters, volatility: NDArray[np.float64], marginal_nu: NDArray[np.float64], limit: NDArray[np.float64],
            dates: NDArray[np.float64], legs: Legs, persistence: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """(D, K): n c_1 + c_f for log-prices, plus the drift where the measure has one; with reversion each step's own c of what is left of its move."""
    centre = np.zeros((dates.size, volatility.size))
    for k, name in enumerate(parameters.state_names):
        if not is_price(name) or parameters.measure == "historical":
            continue
        if np.isfinite(marginal_nu[k]):
            def c(length: float, left: float = 1.0, k: int = k) -> float:
                return student_t_centring(left * volatility[k], marginal_nu[k], left * limit[k], length)
        else:
            def c(length: float, left: float = 1.0, k: int = k) -> float:
                return gaussian_centring(left * volatility[k], length)
        one, phi = c(1.0), 1.0 if persistence is None else float(persistence[k])
        for d, (n, f) in enumerate(zip(legs.date_whole, legs.part, strict=True)):
            steps = float(n) * one if phi == 1.0 else sum(c(1.0, float(left)) for left in weights(phi, int(n), float(f)))
            centre[d, k] = steps + (c(float(f)) if f > 0.0 else 0.0)
    if parameters.measure != "margin" and parameters.drift is not None:
        centre += reverted_days(persistence, legs, dates, parameters.step_days, len(volatility)) * np.asarray(parameters.drift, np.float64)
    return centre


def _marginal_degrees(parameters: GbmParameters) -> NDArray[np.float64]:
    """(K,) degrees of freedom, infinite for a Gaussian marginal."""
    size = len(parameters.state_names)
    nu = np.full(size, np.inf)
    for k, law in enumerate(parameters.marginal):
        if law == "student_t":
            given = parameters.marginal_degrees_of_freedom
            nu[k] = np.nan if given is None else float(np.asarray(given, np.float64)[k])
            check_degrees_of_freedom(nu[k], f"marginal of {parameters.state_names[k]}")
        elif law != "gaussian":
            raise CalibrationError("UPM-CA-058", f"marginal {law!r} of {parameters.state_names[k]}: known are gaussian and student_t.")
    return nu


def _check(parameters: GbmParameters, dates: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    size = len(parameters.state_names)
    shapes = {"daily_volatility": (parameters.daily_volatility, (size,)), "correlation": (parameters.correlation, (size, size)),
              "marginal_degrees_of_freedom": (parameters.marginal_degrees_of_freedom, (size,)),
              "max_log_move": (parameters.max_log_move, (size,)), "drift": (parameters.drift, (size,)), "half_life_days": (parameters.half_life_days, (size,)),
              "marginal": (parameters.marginal or None, (size,))}
    for key, (value, shape) in shapes.items():
        if value is not None and np.shape(value) != shape:
            raise CalibrationError("UPM-CA-059", f"{key} has shape {np.shape(value)}, {size} states need {shape}. Give one value per state, in the order of the states.")
    if len(set(parameters.state_names)) != size:
        raise CalibrationError("UPM-CA-059", "a state is named twice in the model. Name each state once.")
    volatility = np.asarray(parameters.daily_volatility, np.float64)
    for k in np.flatnonzero(~(np.isfinite(volatility) & (volatility >= 0.0))):
        raise CalibrationError("UPM-CA-060", f"daily volatility {volatility[k]} of {parameters.state_names[k]} is not a number of at least 0. Correct the model file.")
    limit = np.full(size, MAX_LOG_MOVE) if parameters.max_log_move is None else np.asarray(parameters.max_log_move, np.float64)
    for name, law, most in zip(parameters.state_names, parameters.marginal, limit, strict=False):
        if law == "student_t" and not 0.0 < most < np.inf:
            raise CalibrationError("UPM-CA-053", f"max_log_move {most} of {name}: without a finite truncation the expected "
                                   f"price under a Student-t log-return is infinite. Use a positive number such as {MAX_LOG_MOVE}.")
    if parameters.copula not in ("gaussian", "student_t"):
        raise CalibrationError("UPM-CA-058", f"copula {parameters.copula!r}: known are gaussian and student_t.")
    if parameters.measure not in ("margin", "pricing", "historical"):
        raise InputError("UPM-CA-061", f"measure {parameters.measure!r}: known are margin, pricing and historical.")
    return check_dates(dates, parameters.step_days, count)


def check_dates(dates: NDArray[np.float64], step_days: float, count: int) -> NDArray[np.float64]:
    """Path dates as given, or `InputError` for dates, a base step or a count outside their range."""
    if not 0.0 < step_days < np.inf:
        raise InputError("UPM-CF-085", f"a base step of {step_days} days. Use a positive number of days, such as 1.")
    if dates.ndim != 1 or not dates.size or not np.all(np.isfinite(dates)) or dates[0] <= 0.0 or np.any(np.diff(dates) <= 0.0):
        raise InputError("UPM-CF-086", f"path dates {dates.tolist()} are not ascending numbers of days above 0. Give each horizon once, at least one, above 0 days.")
    if not 0 < count <= 0xFFFFFFFF:
        raise InputError("UPM-CF-087", f"{count} scenarios: ids are 32-bit, so 1 to 4294967295. Choose a count in that range.")
    return dates


class PlainDraws:
    """The draws of a walk by address; a sampler replaces them, see `sampling.py`."""

    dense = False
    """whether `cholesky` is a full square root of the correlation instead of a triangular one"""

    def __init__(self, walk: Walk | Heston) -> None:
        self.walk: Any = walk

    def normal(self, scenarios: NDArray[np.uint32], factor: int, term: int) -> NDArray[np.float64]:
        """The normals of a factor at the address of a term."""
        walk = self.walk
        return normal_quantile(uniform_at(walk.seed, scenarios, factor, int(walk.term_step[term]), int(walk.term_stream[term])))

    def mixing(self, scenarios: NDArray[np.uint32], leg: int) -> NDArray[np.float64]:
        """The normal scores of a leg's mixing uniform."""
        return normal_quantile(uniform_at(self.walk.seed, scenarios, 0, int(self.walk.leg_step[leg]), self.walk.mixing_stream))


def reference_states(walk: Walk, first: int, last: int, draws: PlainDraws | None = None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """States (D, K, S) of scenarios [first, last) and clip counts (K,): the plain twin of every backend's walk.

    Order of operations, all in float64, which a kernel repeats: for each leg
      n_f = 0; n_f += weight x normal(scenario, f, step, stream) over the leg's terms in order;
      z_k = 0; z_k += L[k, f] x n_f for f = 0..k, L that of the scenario's regime where there are regimes;
      y_k = z_k x exp(mixing(q)) under a t copula, q the normal score of the uniform at (scenario, 0, leg_step, mixing_stream);
      g = y, or copysign(table(asinh |y|), y); x_k = root x min(max(scale x g, -M), M), counted where |scale x g| > M; x += the jumps of its clocks (`model/jumps.py`).
    A date: t = 0; t = persistence t + x for the whole legs in step order; t = date_persistence t + x of its own part; t += centre (a
    persistence that is not given is 1). Every leg is counted once, however many dates read it.
    """
    scenarios = np.arange(first, last, dtype=np.uint32)
    size, legs = len(walk.state_names), len(walk.leg_step)
    from upm_gpu.model.jumps import add_jumps, reference_jumps

    root = square_root(walk.cholesky, walk.regimes, walk.seed, scenarios)
    moves = np.empty((legs, size, scenarios.size))
    clipped = np.zeros(size, np.int64)
    for leg in range(legs):
        moves[leg] = _leg(walk, leg, scenarios, clipped, draws or PlainDraws(walk), root)
        if walk.jumps is not None:
            add_jumps(walk.jumps, reference_jumps(walk.jumps, walk.seed, scenarios, leg, int(walk.leg_step[leg])), moves[leg])
    states = np.zeros((walk.dates.size, size, scenarios.size))
    keep = 1.0 if walk.persistence is None else walk.persistence[:, None]
    for d in range(walk.dates.size):
        for leg in range(int(walk.date_whole[d])):
            states[d] = keep * states[d] + moves[leg]
        if walk.date_leg[d] >= 0:
            states[d] = (1.0 if walk.date_persistence is None else walk.date_persistence[d][:, None]) * states[d] + moves[walk.date_leg[d]]
        states[d] += walk.centre[d][:, None]
    return states, clipped


def _leg(walk: Walk, leg: int, scenarios: NDArray[np.uint32], clipped: NDArray[np.int64], draws: PlainDraws, root: Root) -> NDArray[np.float64]:
    """(K, S) moves of one leg."""
    size = len(walk.state_names)
    terms = range(int(walk.leg_first_term[leg]), int(walk.leg_first_term[leg + 1]))
    independent = np.zeros((size, scenarios.size))
    for f in range(size):
        for m in terms:
            independent[f] += walk.term_weight[m] * draws.normal(scenarios, f, m)
    stretch = None
    if walk.mixing is not None:
        stretch = np.exp(evaluate_table(walk.mixing, draws.mixing(scenarios, leg)))
    moves = np.empty((size, scenarios.size))
    for k in range(size):
        y = np.zeros(scenarios.size)
        for f in range(size if draws.dense else k + 1):
            y += root(k, f) * independent[f]
        if stretch is not None:
            y = y * stretch
        if walk.marginal[k] >= 0:
            y = np.copysign(evaluate_table(walk.tables[walk.marginal[k]], np.arcsinh(np.abs(y))), y)
        raw = walk.scale[k] * y
        clipped[k] += int(np.count_nonzero(np.abs(raw) > walk.max_log_move[k]))
        moves[k] = walk.leg_root[leg] * np.minimum(np.maximum(raw, -walk.max_log_move[k]), walk.max_log_move[k])
    return moves
