"""`upm calibrate copula` and `upm calibrate jumps`: a history in, a parameter file of the model gbm or merton and a summary out.

Factors are those of `upm calibrate covariance`: prices, and volatilities where the history has them. Verified: tests/end_to_end/test_calibrate_history.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.copula_estimate import FILTERS, fit_copula, fit_marginal
from upm_gpu.calibrate.covariance import CovarianceFit, calibrate_covariance, factor_names, price_series
from upm_gpu.calibrate.estimates import estimate_lines, estimate_row, listed
from upm_gpu.calibrate.jump_estimate import JumpFit, fit_jumps
from upm_gpu.calibrate.residuals import jump_law, residuals, student_t_law
from upm_gpu.calibrate.series import Series, common_returns, factor_series, returns
from upm_gpu.calibrate.tail_fit import filtered
from upm_gpu.domain.text import instant_text
from upm_gpu.errors import CalibrationError
from upm_gpu.strict_toml import toml_value

ONE_DAY = 0.05
"""days that a span of one day may be longer or shorter by"""


def calibrate_copula(history: Path | str, out: Path | str, assets: Sequence[str] = (), how: str = "ewma") -> dict[str, Any]:
    """Degrees of freedom of every factor and of their copula, written as a covariance file: with `model.degrees_of_freedom = 0` and `model.copula_degrees_of_freedom = 0` a gbm run takes them. The summary holds plain values, and under `residuals` what a page draws.

    Raises `CalibrationError` UPM-CA-222 (too short), 223 (an unknown filter)."""
    from upm_gpu.calibrate.parameter_file import write_parameters

    if how not in FILTERS:
        raise CalibrationError("UPM-CA-223", f"--filter {how!r} is not known. Use one of {', '.join(FILTERS)}.")
    fit, series = _covariance(history, assets)
    marginals = [fit_marginal(returns(s), f, how) for s, f in zip(series, fit.factors, strict=True)]  # type: ignore[arg-type]
    copula = fit_copula(common_returns(series), fit.factors, how)  # type: ignore[arg-type]
    nu = np.array([m.degrees_of_freedom for m in marginals])
    write_parameters(replace(fit, degrees_of_freedom=nu, copula_degrees_of_freedom=copula.degrees_of_freedom, correlation=copula.correlation, dependence="kendall", repair_distance=copula.repair_distance), Path(out))
    rows = {f"degrees_of_freedom {f}": estimate_row(m.degrees_of_freedom, m.degrees_error, m.bound) for f, m in zip(fit.factors, marginals, strict=True)}
    rows["copula_degrees_of_freedom"] = estimate_row(copula.degrees_of_freedom, copula.error, copula.bound)
    i, j = np.tril_indices(len(fit.factors), -1)
    for a, b in zip(i, j, strict=True):
        rows[f"{_pair(fit.factors[b], fit.factors[a])}"] = estimate_row(float(copula.correlation[a, b]), float(copula.correlation_error[a, b]))
    seen = [residuals(f, filtered(returns(s)) if how == "ewma" else returns(s), student_t_law(m.scale, m.degrees_of_freedom)) for s, f, m in zip(series, fit.factors, marginals, strict=True)]
    return _summary(out, fit, rows) | {"filter": how, "observations": copula.observations, "residuals": seen}


def calibrate_jumps(history: Path | str, out: Path | str, assets: Sequence[str] = ()) -> dict[str, Any]:
    """Jump clocks of the prices, written as a file of the model merton; volatilities move with the diffusion. Raises `CalibrationError` UPM-CA-220, 221."""
    fit, series = _covariance(history, assets)
    names = tuple(f[len("log_level["):-1] for f in fit.factors if f.startswith("log_level["))
    changes = _one_day(series[: len(names)])
    jumps = fit_jumps(changes, names)
    _write_merton(Path(out), fit, jumps, str(history))
    rows = listed(jumps.names, jumps.values, jumps.errors, jumps.bounds)
    return _summary(out, fit, rows) | {"log_likelihood": jumps.log_likelihood, "log_likelihood_without_jumps": jumps.normal_log_likelihood, "observations": jumps.observations,
                                          "residuals": [residuals(name, changes[:, k], jump_law(jumps, k)) for k, name in enumerate(names)]}


def render_history_summary(summary: Mapping[str, Any]) -> str:
    """The summary as a table a person reads."""
    head = f"{', '.join(summary['factors'])}: {summary['observations']} common returns to {summary['valuation_time']}"
    if "log_likelihood" in summary:
        head += f"; log-likelihood {summary['log_likelihood']:.2f}, without jumps {summary['log_likelihood_without_jumps']:.2f}"
    return "\n".join([head, *estimate_lines(summary["parameters"]), *summary["warnings"], summary["out"]])


def _covariance(history: Path | str, assets: Sequence[str]) -> tuple[CovarianceFit, list[Series]]:
    """The covariance fit of prices and of the volatilities that the history holds, and their series."""
    frame, time, kept, series = factors_of(history, assets)
    return calibrate_covariance(frame, kept, time), series


def factors_of(history: Path | str, assets: Sequence[str]) -> tuple[Any, datetime, tuple[str, ...], list[Series]]:
    """History and its time; factors of the prices, and of the volatilities that the history holds, with their series. Raises `CalibrationError` UPM-CA-103."""
    from upm_gpu.calibrate.parameter_file import read_history

    frame, time = read_history(str(history))
    names = list(assets) or list(price_series(frame))
    known = set(map(str, frame["asset"].unique()))
    factors = tuple(f for f in factor_names(names) if f.startswith("log_level[") or f"{f[len('volatility_shift['):-1]}.IV30" in known)
    if not factors:
        raise CalibrationError("UPM-CA-103", f"{history}: the history holds no price series. Add closes.")
    series, proxies, _ = factor_series(frame, factors, time, 0.97, {}, False)
    kept = tuple(f for f in factors if f not in proxies)
    return frame, time, kept, [s for s, f in zip(series, factors, strict=True) if f in kept]


def _one_day(series: Sequence[Series]) -> NDArray[np.float64]:
    """(T, K) log-changes over the spans of one day that all series have."""
    time = series[0].time
    for s in series[1:]:
        time = np.intersect1d(time, s.time)
    values = np.stack([s.value[np.searchsorted(s.time, time)] for s in series], axis=1)
    return np.asarray(np.diff(values, axis=0)[np.abs(np.diff(time) - 1.0) <= ONE_DAY])


def _write_merton(path: Path, fit: CovarianceFit, jumps: JumpFit, source: str) -> None:
    """States are those of the covariance; the prices' block of its correlation gives way to that of the diffusion."""
    from upm_gpu.model.psd import nearest_correlation

    k = len(jumps.assets)
    correlation = fit.correlation.copy()
    correlation[:k, :k] = jumps.correlation
    repair = nearest_correlation(correlation, fit.factors)
    rest = [0.0] * (len(fit.factors) - k)
    rows = ["schema_version = 1", 'kind = "merton"', f'valuation_time = "{instant_text(fit.valuation_time)}"', f"states = {toml_value(fit.factors)}", "# of the diffusion, over one day",
            f"daily_volatility = {toml_value([*jumps.volatility.tolist(), *fit.daily_volatility[k:].tolist()])}", "correlation = [", *(f"  {toml_value(row)}," for row in repair.correlation), "]"]
    if k > 1:
        rows += ["", "# intensities a year, means and deviations of one log jump", "[systemic]", *(f"{n} = {toml_value(v)}" for n, v in zip(("intensity", "mean", "deviation"), jumps.systemic.tolist(), strict=True)),
                 f"loading = {toml_value([*jumps.loading.tolist(), *rest])}"]
    rows += ["", "[own]", *(f"{n} = {toml_value([*v, *rest])}" for n, v in zip(("intensity", "mean", "deviation"), jumps.own.tolist(), strict=True))]
    rows += ["", "[provenance]", f"history = {toml_value(Path(source).name)}", f"observations = {jumps.observations}", f"log_likelihood = {toml_value(jumps.log_likelihood)}",
             f"log_likelihood_without_jumps = {toml_value(jumps.normal_log_likelihood)}", f"repair_distance = {toml_value(repair.distance)}",
             "", "[provenance.standard_errors]", "# nan: held by its bound", *(f"{toml_value(n)} = {toml_value(float(e))}" for n, e in zip(jumps.names, jumps.errors, strict=True))]
    try:
        path.write_text("\n".join(rows) + "\n", encoding="utf-8", newline="\n")
    except OSError as error:
        raise CalibrationError("UPM-CA-109", f"{path}: cannot be written ({error.strerror}). Give another --out file.") from None


def _summary(out: Path | str, fit: CovarianceFit, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    warnings = [f"UPM-CA-224 {name} sits on its {row['bound']} bound ({row['value']:.6g}); it has no standard error" for name, row in rows.items() if row["bound"]]
    return {"out": str(out), "valuation_time": instant_text(fit.valuation_time), "factors": list(fit.factors), "parameters": dict(rows), "warnings": [*warnings, *fit.warnings]}


def _pair(a: str, b: str) -> str:
    """What the correlation of two factors is called; that of a price with its own volatility has a name of its own.

    >>> _pair("log_level[BTC]", "volatility_shift[BTC]")
    'spot-volatility correlation BTC'
    """
    (one, _, x), (two, _, y) = a.partition("["), b.partition("[")
    return f"spot-volatility correlation {x[:-1]}" if x == y and {one, two} == {"log_level", "volatility_shift"} else f"correlation {a} {b}"
