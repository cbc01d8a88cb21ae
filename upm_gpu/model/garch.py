"""Log-factors with GARCH, GJR, EWMA or constant volatility under a copula: the recursion per factor, the law per innovation.

The law belongs to one base step: m = clip(sigma g, -M, M), sigma^2 = h, h' = min(omega + (alpha + gamma [m < 0]) m^2 + beta h, M^2), g an innovation of
unit variance (`innovations.py`) read from a Gaussian, Student-t or grouped-t copula of driving normals with a full correlation matrix
or k common factors and a specific one each. Under `margin` and `pricing` each step is centred given its own sigma, c(sigma) = -log E[exp m],
so that E[exp] is 1 step by step; log-volatilities are centred to mean zero. A date inside a step reads the step's bridge under the step's sigma.

T. Bollerslev, J. Econometrics 31 (1986); Glosten, Jagannathan, Runkle, J. Finance 48 (1993); E. Jondeau, M. Rockinger, J. Int. Money and
Finance 25 (2006), GARCH under copulas; grouped t: S. Daul, E. De Giorgi, F. Lindskog, A. McNeil, Risk 16 (2003). Verified by `tests/statistics/test_garch_law.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import CalibrationError, InputError
from upm_gpu.model.gbm import MAX_LOG_MOVE, is_price
from upm_gpu.model.innovations import Innovation, centring_table, check_innovation, law_table
from upm_gpu.model.legs import path_legs
from upm_gpu.model.psd import correlation_cholesky
from upm_gpu.model.recursion import Garch, Recursion, check
from upm_gpu.model.reversion import date_persistence, reverted_days, steady_prices
from upm_gpu.model.tables import check_degrees_of_freedom, mixing_table
from upm_gpu.rng.streams import MIXING, key_words, stream_word
from upm_gpu.scenario.sets import SmoothTable
from upm_gpu.scenario.spec import Measure, ScenarioSpec
from upm_gpu.scenario.volatility_sets import GarchWalk


@dataclass(frozen=True)
class Dynamics:
    """The variance recursion of K factors in units of one base step."""

    kind: tuple[Recursion, ...]
    model: tuple[Garch, ...]
    variance: NDArray[np.float64]
    """(K,) of the first step: today's forecast"""
    max_log_move: NDArray[np.float64]
    """(K,) cap M of a step's move, before the root of a part"""

    @property
    def top(self) -> NDArray[np.float64]:
        """(K,) largest variance: a step's volatility is at most the cap of its move."""
        return self.max_log_move * self.max_log_move

    def coefficients(self) -> dict[str, NDArray[np.float64]]:
        """omega, alpha, gamma, beta, each (K,)."""
        return {key: np.array([getattr(m, key) for m in self.model], np.float64) for key in ("omega", "alpha", "gamma", "beta")}


@dataclass(frozen=True)
class GarchParameters:
    """K factors in the order of their random numbers."""

    state_names: tuple[str, ...]
    dynamics: Dynamics
    innovation: tuple[Innovation, ...]
    """(K,)"""
    correlation: NDArray[np.float64] | None = None
    """(K, K) of the driving normals; None where `loading` is given"""
    loading: NDArray[np.float64] | None = None
    """(K, F) on independent common factors; the specific part makes up the rest of unit variance"""
    group: NDArray[np.int32] | None = None
    """(K,) mixing group; None: all in one"""
    copula_degrees_of_freedom: tuple[float, ...] = ()
    """(groups,) of a t or grouped-t copula; empty: Gaussian"""
    step_days: float = 1.0
    measure: Measure = "margin"
    drift: NDArray[np.float64] | None = None
    """(K,) a day, read under `pricing` and `historical`"""
    half_life_days: NDArray[np.float64] | None = None
    """(K,) of the reversion of a state to today's value, see `reversion.py`; 0 or None: none. Log-prices do not revert"""

    @property
    def daily_volatility(self) -> NDArray[np.float64]:
        """(K,) today's."""
        return np.sqrt(self.dynamics.variance / self.step_days)

    def scenarios(self, dates_days: NDArray[np.float64], spec: ScenarioSpec) -> GarchWalk:
        """The walk of a specification. Raises `CalibrationError` for parameters out of range, `InputError` for dates, seed, stream, count."""
        dates = check_request(np.asarray(dates_days, np.float64), spec, self.step_days)
        check_dynamics(self.state_names, self.dynamics)
        size, prices = len(self.state_names), [is_price(s) for s in self.state_names]
        for name, law, cap in zip(self.state_names, self.innovation, self.dynamics.max_log_move, strict=True):
            check_innovation(law, name)
            if law.law != "gaussian" and not np.isfinite(cap):
                raise CalibrationError("UPM-CA-053", f"max_log_move {cap} of {name}: without a finite truncation the expected price under a fat-tailed log-return is infinite. "
                                       f"Use a positive number such as {MAX_LOG_MOVE}.")
        nus = self.copula_degrees_of_freedom
        group = np.zeros(size, np.int32) if self.group is None else np.asarray(self.group, np.int32)
        for nu in nus:
            check_degrees_of_freedom(nu, "copula")
        if group.shape != (size,) or (nus and not (group.min() >= 0 and group.max() < len(nus))):
            raise CalibrationError("UPM-CA-132", f"copula groups {group.tolist()} for {size} factors and {len(nus)} degrees of freedom. Give every factor the number of its group, from 0.")
        legs = path_legs(dates, self.step_days, spec.stream)
        persistence = steady_prices(self.half_life_days, self.state_names, self.step_days)
        tables, odd, known = list[SmoothTable](), list[int](), dict[tuple[object, ...], int]()
        marginal = np.full(size, -1, np.int32)
        for k, law in enumerate(self.innovation):
            nu = float(nus[group[k]]) if nus else float("inf")
            key = (*_law_key(law), nu)
            if key not in known:
                made = law_table(law, nu)
                known[key] = -1 if made is None else len(tables)
                if made is not None:
                    tables.append(made[0])
                    odd.append(int(made[1]))
            marginal[k] = known[key]
        centring, index = list[SmoothTable](), np.full((len(legs.step), size), -1, np.int32)
        if self.measure != "historical":
            done: dict[tuple[object, ...], int] = {}
            for g, root in enumerate(legs.root):
                for k, law in enumerate(self.innovation):
                    cap = float(self.dynamics.max_log_move[k])
                    key = (*_law_key(law), float(root), cap, prices[k])
                    if key not in done:
                        table = centring_table(law, float(root), cap, prices[k])
                        done[key] = -1 if table is None else len(centring)
                        centring += [] if table is None else [table]
                    index[g, k] = done[key]
        cholesky, loading, specific = self._dependence()
        return GarchWalk(
            state_names=tuple(self.state_names), seed=int(spec.seed), count=int(spec.count), residuals=None, cholesky=cholesky, loading=loading, specific=specific, group=group,
            mixing=tuple(mixing_table(nu) for nu in nus), mixing_stream=stream_word(spec.stream, MIXING), marginal=marginal, tables=tuple(tables),
            odd=np.array(odd, np.int32), max_log_move=self.dynamics.max_log_move, **self.dynamics.coefficients(), variance=self.dynamics.variance,
            top=self.dynamics.top, centring=tuple(centring), centring_of=index, leg_step=legs.step, leg_root=legs.root, leg_first_term=legs.first_term,
            term_stream=legs.term_stream, term_step=legs.term_step, term_weight=legs.term_weight, dates=dates, date_whole=legs.date_whole,
            date_leg=legs.date_leg, drift=drift_of(self.drift, self.measure, reverted_days(persistence, legs, dates, self.step_days, size)),
            persistence=persistence, date_persistence=date_persistence(persistence, legs), regimes=None)

    def _dependence(self) -> tuple[NDArray[np.float64] | None, ...]:
        """Cholesky factor, loadings, specific parts; None where not used."""
        size = len(self.state_names)
        if self.loading is None:
            if self.correlation is None or self.correlation.shape != (size, size):
                raise CalibrationError("UPM-CA-133", f"a correlation matrix of {size} factors, or loadings on common factors, is needed.")
            return correlation_cholesky(self.correlation, self.state_names), None, None
        loading = np.asarray(self.loading, np.float64)
        if loading.ndim != 2 or len(loading) != size or not loading.shape[1] or not np.all(np.isfinite(loading)):
            raise CalibrationError("UPM-CA-133", f"loadings of shape {loading.shape} for {size} factors. Give one row a factor, one column a common factor.")
        rest = 1.0 - np.sum(loading * loading, axis=1)
        for k in np.flatnonzero(rest < -1e-12):
            raise CalibrationError("UPM-CA-134", f"loadings of {self.state_names[k]} explain {1.0 - rest[k]:.6g} of its variance. Squares of a row must sum to at most 1.")
        return None, loading, np.sqrt(np.maximum(rest, 0.0))


def factor_model(correlation: NDArray[np.float64], factors: int) -> NDArray[np.float64]:
    """(K, F) loadings of the common factors nearest to a correlation, by principal axes iterated on the communalities.

    Diagonal exact (the specific part takes the rest), off-diagonal in least squares: H. Harman, Modern Factor Analysis (1976).
    """
    size = len(correlation)
    if not 1 <= factors < max(size, 2):
        raise CalibrationError("UPM-CA-135", f"{factors} common factors for {size} series. Use at least 1 and fewer than the series.")
    reduced = np.array(correlation, np.float64)
    loading = np.zeros((size, factors))
    for _ in range(500):
        values, vectors = np.linalg.eigh(reduced)
        made = vectors[:, -factors:] * np.sqrt(np.maximum(values[-factors:], 0.0))
        total = np.sum(made * made, axis=1)
        made *= np.sqrt(np.minimum(1.0, 0.9999 / np.maximum(total, 1e-300)))[:, None]
        if np.max(np.abs(made @ made.T - loading @ loading.T)) < 1e-10:
            break
        loading = made
        np.fill_diagonal(reduced, np.sum(loading * loading, axis=1))
    return loading


def _law_key(law: Innovation) -> tuple[object, ...]:
    return law.law, law.degrees_of_freedom, law.skewness, id(law.body)


def drift_of(drift: NDArray[np.float64] | None, measure: Measure, days: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D, K) what a measure adds to the log-change; `days` (D, K), see `reversion.reverted_days`."""
    if drift is None or measure == "margin":
        return np.zeros(days.shape)
    return days * np.asarray(drift, np.float64)


def check_request(dates: NDArray[np.float64], spec: ScenarioSpec, step_days: float) -> NDArray[np.float64]:
    """Refuse dates, counts and seeds that no walk has, and a base step other than the one the model was fitted in."""
    key_words(spec.seed)
    if not 0.0 < step_days < np.inf:
        raise InputError("UPM-CF-085", f"a base step of {step_days} days. Use a positive number of days, such as 1.")
    if spec.base_step_days != step_days:
        raise InputError("UPM-CF-095", f"model.step_days {spec.base_step_days:g}: the volatility recursion was fitted in steps of {step_days:g} days and has no exact law in others. "
                         f"Use step_days {step_days:g}; dates inside a step need no shorter one.")
    if dates.ndim != 1 or not dates.size or not np.all(np.isfinite(dates)) or dates[0] <= 0.0 or np.any(np.diff(dates) <= 0.0):
        raise InputError("UPM-CF-086", f"path dates {dates.tolist()} are not ascending numbers of days above 0. Give each horizon once, at least one, above 0 days.")
    if not 0 < spec.count <= 0xFFFFFFFF:
        raise InputError("UPM-CF-087", f"{spec.count} scenarios: ids are 32-bit, so 1 to 4294967295. Choose a count in that range.")
    return dates


def check_dynamics(names: tuple[str, ...], dynamics: Dynamics) -> None:
    """Refuse recursions without a long-run variance, variances that are not positive, caps that are not."""
    if len(set(names)) != len(names) or not len(names) == len(dynamics.model) == len(dynamics.kind) == len(dynamics.variance) == len(dynamics.max_log_move):
        raise CalibrationError("UPM-CA-059", "a state is named twice, or the recursions are not one a state. Name each state once and give each its recursion.")
    for name, kind, model, h, cap in zip(names, dynamics.kind, dynamics.model, dynamics.variance, dynamics.max_log_move, strict=True):
        check(model, name, kind)
        if not (np.isfinite(h) and h >= 0.0):
            raise CalibrationError("UPM-CA-136", f"today's variance {h} of {name} is not a number of at least 0. Correct the parameters.")
        if not cap > 0.0:
            raise CalibrationError("UPM-CA-053", f"max_log_move {cap} of {name}: use a positive number such as {MAX_LOG_MOVE}.")
