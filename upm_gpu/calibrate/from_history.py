"""Models that are made from the market's own history at the start of a run: windows, filtered residuals, GARCH under a copula."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.covariance import CovarianceFit
from upm_gpu.calibrate.garch_given import Given, given_recursions
from upm_gpu.calibrate.panel import Filtered, Panel, fill, filter_panel, history_panel, in_unit_residuals
from upm_gpu.calibrate.series import kendall
from upm_gpu.calibrate.spreads import HOUSE_DEGREES, half_lives
from upm_gpu.calibrate.tail_body import fit_body
from upm_gpu.calibrate.tail_fit import copula_degrees_of_freedom, marginal_degrees_of_freedom
from upm_gpu.errors import CalibrationError
from upm_gpu.model.filtered_historical import FilteredHistoricalParameters, refuse_correlation
from upm_gpu.model.garch import Dynamics, GarchParameters, factor_model
from upm_gpu.model.gbm import is_price
from upm_gpu.model.historical import HistoricalParameters
from upm_gpu.model.innovations import Innovation, hansen
from upm_gpu.model.psd import nearest_correlation
from upm_gpu.model.recursion import Garch, Recursion

if TYPE_CHECKING:
    import pandas as pd

    from upm_gpu.scenario.spec import ScenarioSpec


def model_from_history(history: pd.DataFrame, factors: Sequence[str], valuation_time: datetime, spec: ScenarioSpec,
                       slide: Mapping[str, float] | None = None) -> tuple[Any, CovarianceFit]:
    """historical, scaled_historical, filtered_historical or garch, and what its calibration has to say. Raises `CalibrationError`."""
    if spec.parameters and spec.model in ("historical", "scaled_historical"):
        raise CalibrationError("UPM-CA-141", f"model {spec.model} is made from the market's history, and model.parameters names {spec.parameters}. Leave model.parameters blank.")
    windows = spec.model in ("historical", "scaled_historical")  # their changes revert as the history did
    panel = history_panel(history, factors, valuation_time, spec.ewma_lambda, slide, spec.volatility_shift == "additive", spec.trading_clock(valuation_time),
                          None if windows else half_lives(factors, spec))
    cap = np.array([spec.max_log_move_price if is_price(f) else spec.max_log_move_volatility for f in factors])
    if windows:
        refuse_correlation(spec, spec.model)
        return _windows(panel, spec, cap)
    given: tuple[Given | None, ...] = ()
    if spec.parameters:
        given, notes = given_recursions(spec.parameters, factors, valuation_time, spec.filter, spec.clock)
        panel = replace(panel, warnings=(*panel.warnings, *notes))
    filtered = filter_panel(panel, spec.filter, spec.ewma_lambda, [(g.kind, g.model) if g else None for g in given])
    if spec.model == "filtered_historical":
        refuse_correlation(spec, spec.model)
        residuals, panel = fill(filtered.residuals, panel)
        mean = np.array([np.nanmean(panel.changes[:, k]) for k in range(len(factors))])
        filtered = in_unit_residuals(replace(filtered, residuals=residuals))
        dynamics = Dynamics(filtered.kind, filtered.model, filtered.next_variance, cap)
        return (FilteredHistoricalParameters(tuple(factors), dynamics, filtered.residuals, measure=spec.measure, drift=mean, labels=panel.labels),
                _report(panel, filtered.next_variance, valuation_time, spec))
    return _garch(panel, filtered, spec, cap, valuation_time, given)


def _windows(panel: Panel, spec: ScenarioSpec, cap: NDArray[np.float64]) -> tuple[HistoricalParameters, CovarianceFit]:
    if spec.model == "historical":
        changes, panel = fill(panel.changes, panel)
        following = None
    else:
        filtered = filter_panel(panel, "ewma", spec.ewma_lambda)
        residuals, panel = fill(filtered.residuals, panel)
        following = filtered.next_variance
        changes = residuals * np.sqrt(following)
    made = HistoricalParameters(panel.factors, changes, panel.segment, cap, measure=spec.measure, labels=panel.labels, variance=following)
    return made, _report(panel, made.daily_volatility**2, None, spec)


def _garch(panel: Panel, filtered: Filtered, spec: ScenarioSpec, cap: NDArray[np.float64], valuation_time: datetime,
           given: Sequence[Given | None] = ()) -> tuple[GarchParameters, CovarianceFit]:
    filtered = in_unit_residuals(filtered, [kind != "ewma" for kind in filtered.kind])
    size, residuals, warnings = len(panel.factors), filtered.residuals, list(panel.warnings)
    laws = []
    for k, name in enumerate(panel.factors):
        e = residuals[np.isfinite(residuals[:, k]), k]
        own = given[k] if given else None
        if own is not None and own.distribution == spec.marginal and not spec.degrees_of_freedom:
            laws.append(Innovation(own.distribution, own.nu, own.skewness))
            continue
        law, more = innovation(e, name, spec.marginal, spec.degrees_of_freedom)
        laws.append(law)
        warnings += more
    correlation, counts = residual_correlation(residuals, panel.factors, spec.correlation)
    repair = nearest_correlation(correlation, panel.factors)
    group = None
    degrees: tuple[float, ...] = ()
    if spec.copula != "gaussian":
        names = [f.partition("[")[2] for f in panel.factors] if spec.copula == "grouped_t" else ["all"] * size
        order = list(dict.fromkeys(names))
        group = np.array([order.index(n) for n in names], np.int32)
        degrees = tuple(_copula_degrees(residuals[:, group == g], repair.correlation[np.ix_(group == g, group == g)], spec.copula_degrees_of_freedom) for g in range(len(order)))
    dynamics = Dynamics(filtered.kind, filtered.model, filtered.next_variance, cap)
    loading = factor_model(repair.correlation, spec.common_factors) if spec.common_factors else None
    made = GarchParameters(panel.factors, dynamics, tuple(laws), None if loading is not None else repair.correlation, loading, group, degrees, measure=spec.measure,
                           drift=np.array([np.nanmean(panel.changes[:, k]) for k in range(size)]))
    fit = CovarianceFit(panel.factors, valuation_time, made.daily_volatility, repair.correlation, spec.filter, spec.ewma_lambda, dependence=spec.correlation,
                        repair_distance=repair.distance, observations=counts, first=panel.first, degrees_of_freedom=np.array([law.degrees_of_freedom for law in laws]),
                        copula_degrees_of_freedom=degrees[0] if degrees else float("nan"), proxies=panel.proxies, warnings=tuple(warnings), residuals=residuals, residual_times=panel.labels)
    return made, fit


def with_independent_factors(made: GarchParameters, volatility: Mapping[str, float], spec: ScenarioSpec) -> GarchParameters:
    """The model with factors of constant volatility that move on their own, after the others: their driving normals are theirs alone."""
    if not volatility:
        return made
    size, more = len(made.state_names), len(volatility)
    variance, d = np.array(list(volatility.values())) ** 2, made.dynamics
    constant: list[Recursion] = ["garch"] * more
    dynamics = Dynamics((*d.kind, *constant), (*d.model, *(Garch(float(v), 0.0, 0.0) for v in variance)), np.concatenate([d.variance, variance]),
                        np.concatenate([d.max_log_move, np.full(more, spec.max_log_move_volatility)]))
    law = Innovation() if spec.marginal == "gaussian" else Innovation("student_t", spec.degrees_of_freedom or HOUSE_DEGREES)
    correlation, loading, group = made.correlation, made.loading, made.group
    if correlation is not None:
        correlation = np.eye(size + more)
        correlation[:size, :size] = made.correlation
    if loading is not None:
        loading = np.concatenate([loading, np.zeros((more, loading.shape[1]))])
    if group is not None:
        first = [f.partition("[")[2] for f in made.state_names]
        names = [f.partition("[")[2] for f in volatility]
        group = np.concatenate([group, [group[first.index(n)] if n in first else 0 for n in names]]).astype(np.int32)
    drift = None if made.drift is None else np.concatenate([made.drift, np.zeros(more)])
    return replace(made, state_names=(*made.state_names, *volatility), dynamics=dynamics, innovation=(*made.innovation, *(law,) * more), correlation=correlation, loading=loading,
                   group=group, drift=drift)


def residual_correlation(residuals: NDArray[np.float64], factors: Sequence[str], dependence: str, least: int = 30) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(K, K) pairwise correlations of (N, K) residuals on the dates both factors have, and their number; not repaired."""
    size = len(factors)
    correlation, counts = np.eye(size), np.zeros((size, size), np.int64)
    for i in range(size):
        for j in range(i + 1):
            both = np.isfinite(residuals[:, i]) & np.isfinite(residuals[:, j])
            counts[i, j] = counts[j, i] = np.count_nonzero(both)
            if i == j:
                continue
            if counts[i, j] < least:
                raise CalibrationError("UPM-CA-107", f"history of {factors[i]} and {factors[j]} together: {counts[i, j]} residuals, at least {least} are needed. Lengthen the history or the period.")
            a, b = residuals[both, i], residuals[both, j]
            correlation[i, j] = correlation[j, i] = kendall(a, b) if dependence == "kendall" else float(np.mean(a * b) / np.sqrt(np.mean(a * a) * np.mean(b * b)))
    return correlation, counts


def innovation(residuals: NDArray[np.float64], name: str, law: str, degrees_of_freedom: float) -> tuple[Innovation, tuple[str, ...]]:
    """The law of standardised residuals (T,): `degrees_of_freedom` 0 asks for the likeliest; skewness and tails are always fitted."""
    if law == "gaussian":
        return Innovation(), ()
    if law == "empirical":
        return fit_body(residuals, name)
    if law == "student_t":
        nu = degrees_of_freedom or marginal_degrees_of_freedom(residuals)
        if not np.isfinite(nu):
            raise CalibrationError("UPM-CA-142", f"{name}: too few residuals for degrees of freedom. Give degrees_of_freedom, or lengthen the history.")
        return Innovation("student_t", float(nu)), ()
    if law == "skewed_t":
        return skewed_t(residuals, degrees_of_freedom), ()
    raise CalibrationError("UPM-CA-126", f"marginal {law!r} of {name}: known are gaussian, student_t, skewed_t and empirical.")


def skewed_t(residuals: NDArray[np.float64], degrees_of_freedom: float = 0.0) -> Innovation:
    """Hansen's law by maximum likelihood; `degrees_of_freedom` above 0 is held."""
    from scipy.optimize import minimize

    def laws(v: NDArray[np.float64]) -> tuple[float, float]:
        return degrees_of_freedom or 2.1 + float(np.exp(np.clip(v[1], -5.0, 5.0))), float(0.95 * np.tanh(v[0]))

    def loss(v: NDArray[np.float64]) -> float:
        eta, skewness = laws(v)
        a, b, c = hansen(eta, skewness)
        s = (b * residuals + a) / np.where(residuals < -a / b, 1.0 - skewness, 1.0 + skewness)
        return float(-np.log(b * c) + 0.5 * (eta + 1.0) * np.mean(np.log1p(s * s / (eta - 2.0))))

    found = minimize(loss, np.array([0.0, 1.0][: 1 if degrees_of_freedom else 2]), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10})
    eta, skewness = laws(found.x)
    return Innovation("skewed_t", round(eta, 4), round(skewness, 6))


def _copula_degrees(residuals: NDArray[np.float64], correlation: NDArray[np.float64], given: float) -> float:
    """The value given, or the likeliest on the ranks of the dates that have all factors of the group."""
    if given > 0.0:
        return float(given)
    complete = residuals[np.all(np.isfinite(residuals), axis=1)]
    if complete.shape[1] < 2:
        return 30.0  # one factor has no dependence to estimate
    rank = np.argsort(np.argsort(complete, axis=0), axis=0) + 0.5
    return copula_degrees_of_freedom(rank / len(complete), correlation)


def _report(panel: Panel, variance: NDArray[np.float64], valuation_time: datetime | None, spec: ScenarioSpec) -> CovarianceFit:
    seen = np.isfinite(panel.changes)
    count = (seen.T.astype(np.int64)) @ seen.astype(np.int64)
    return CovarianceFit(panel.factors, valuation_time, np.sqrt(variance), np.eye(len(panel.factors)), spec.model, spec.ewma_lambda, dependence="dates",  # type: ignore[arg-type]
                         observations=count, first=panel.first, proxies=panel.proxies, warnings=panel.warnings)
