"""`upm calibrate factors`: a factor model of a history's correlations, as a covariance file that `upm run` reads, with a table and a page.

Factors of the run stay what they are, prices and volatilities where the history has them; the file's correlation is that of the model, L L' + diag(psi), its volatilities are those of the same common days. Verified: tests/end_to_end/test_calibrate_factors.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.calibrate.covariance import CovarianceFit
from upm_gpu.calibrate.estimates import estimate_lines, estimate_row
from upm_gpu.calibrate.factor_estimate import FactorFit, fit_factors, most_factors
from upm_gpu.domain.text import instant_text
from upm_gpu.fits.output import history_provenance, write_output
from upm_gpu.strict_toml import toml_value

LARGEST = 12
"""residual correlations that the page lists"""


def calibrate_factors(history: str, out: Path, assets: Sequence[str] = (), factors: int = 0, estimator: str = "ewma", ewma_lambda: float = 0.97, shrinkage: str = "", page: Path | None = None,
                      command: Sequence[str] = ()) -> dict[str, Any]:
    """Fit, write, and return a summary of plain values. Raises `CalibrationError` UPM-CA-101 to 107, 228, 229."""
    from upm_gpu.calibrate.covariance import calibrate_covariance
    from upm_gpu.calibrate.history_files import factors_of
    from upm_gpu.calibrate.parameter_file import write_parameters
    from upm_gpu.calibrate.series import common_returns

    frame, time, names, series = factors_of(history, assets)
    base = calibrate_covariance(frame, names, time, estimator, ewma_lambda, shrinkage or None)
    fit = fit_factors(common_returns(series), names, factors, ewma_lambda if estimator == "ewma" else 1.0, base.shrinkage)
    made = replace(base, daily_volatility=fit.volatility, correlation=fit.implied, shrinkage_intensity=fit.shrinkage_intensity, repair_distance=0.0)
    own = [len(x.time) for x in series]
    few = min(range(len(own)), key=own.__getitem__)
    late = [f"UPM-CA-231 {names[few]} has {own[few]} closes and {names[int(np.argmax(own))]} {max(own)}: {len(fit.days.days)} returns are common to all. Leave it out with --assets for a longer sample"] if len(fit.days.days) < max(own) / 2 else []
    warnings = [*base.warnings, *late, *_warnings(names, fit)]
    provenance = history_provenance(history, command) | {"estimator": estimator, "shrinkage": base.shrinkage, "shrinkage_intensity": fit.shrinkage_intensity, "factors": fit.loading.shape[1],
                                                         "common_days": len(fit.days.days), "effective_days": round(fit.days.effective, 1), "edge_of_noise": fit.edge}
    write_parameters(made, out, _more(fit, provenance))
    rows = _rows(names, fit)
    summary = {"out": str(out), "valuation_time": instant_text(time), "factors": list(names), "estimator": estimator, "shrinkage": base.shrinkage, "shrinkage_intensity": fit.shrinkage_intensity,
               "common_factors": fit.loading.shape[1], "observations": len(fit.days.days), "effective_observations": fit.days.effective, "explained": float(fit.explained.sum()),
               "eigenvalues": fit.eigenvalues.tolist(), "edge_of_noise": fit.edge, "largest_residual_correlation": float(np.max(np.abs(fit.residual))), "parameters": rows, "warnings": warnings}
    if page is not None:
        _page(page, names, made, fit, summary, provenance)
    return summary


def render_factors(summary: Mapping[str, Any]) -> str:
    """The summary as a table a person reads."""
    head = (f"{len(summary['factors'])} series to {summary['valuation_time']}, {summary['observations']} common returns ({summary['effective_observations']:.0f} effective, {summary['estimator']}); "
            f"{summary['common_factors']} factors explain {100.0 * summary['explained']:.1f} % of the variance; largest residual correlation {summary['largest_residual_correlation']:.2f}")
    return "\n".join([head, *estimate_lines(summary["parameters"]), *summary["warnings"], summary["out"]])


def _rows(names: Sequence[str], fit: FactorFit) -> dict[str, dict[str, Any]]:
    found = {f"explained by factor {f + 1}": estimate_row(float(v), float(e)) for f, (v, e) in enumerate(zip(fit.explained, fit.explained_error, strict=True))}
    for f in range(fit.loading.shape[1]):
        found |= {f"loading {f + 1} {n}": estimate_row(float(v), float(e)) for n, v, e in zip(names, fit.loading[:, f], fit.loading_error[:, f], strict=True)}
    found |= {f"specific share {n}": estimate_row(float(v), float(e), b) for n, v, e, b in zip(names, fit.specific, fit.specific_error, fit.bounds, strict=True)}
    return found | {f"daily volatility {n}": estimate_row(float(v), float(e)) for n, v, e in zip(names, fit.volatility, fit.volatility_error, strict=True)}


def _warnings(names: Sequence[str], fit: FactorFit) -> list[str]:
    found = [f"UPM-CA-224 specific share {n} sits on its lower bound ({p:.3g}): the series is a factor by itself; it has no standard error" for n, p, b in zip(names, fit.specific, fit.bounds, strict=True) if b]
    i, j = divmod(int(np.argmax(np.abs(fit.residual))), len(names))
    noise = 2.0 * (1.0 - fit.implied[i, j] ** 2) / np.sqrt(fit.days.effective)
    if abs(fit.residual[i, j]) > max(noise, 0.1):
        advice = "ask for more with --factors" if fit.loading.shape[1] < most_factors(len(names)) else "so few series tell no more of them, upm calibrate covariance keeps every correlation"
        found.append(f"UPM-CA-239 the factors leave a correlation of {fit.residual[i, j]:+.2f} between {names[i]} and {names[j]}, more than the noise of {fit.days.effective:.0f} effective days: {advice}")
    return found


def _more(fit: FactorFit, provenance: Mapping[str, Any]) -> list[str]:
    """What the covariance file keeps of the model."""
    return ["", "[provenance.factor_model]", "# correlation = L L' + diag(specific), rows in the order of states", "loading = [", *(f"  {toml_value(row)}," for row in fit.loading), "]", f"specific = {toml_value(fit.specific)}",
            "loading_standard_error = [", *(f"  {toml_value(row)}," for row in fit.loading_error), "]", "# nan: held by its bound", f"specific_standard_error = {toml_value(fit.specific_error)}",
            f"daily_volatility_standard_error = {toml_value(fit.volatility_error)}", *(f"{k} = {toml_value(v)}" for k, v in provenance.items())]


def _page(path: Path, names: Sequence[str], made: CovarianceFit, fit: FactorFit, summary: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
    from upm_gpu.report.study_charts import bars_svg
    from upm_gpu.report.study_page import Part, Study, Table, render_study

    short = [f"{n.partition('[')[2].rstrip(']')}{' IV' if n.startswith('volatility') else ''}" for n in names]
    nothing = np.zeros(len(names))
    m = fit.loading.shape[1]
    residual = fit.residual
    pairs = sorted(((abs(residual[i, j]), i, j) for i in range(len(names)) for j in range(i)), reverse=True)[:LARGEST]
    charts = [(f"Factor {f + 1}", "loadings, in deviations of each series; lines: two standard errors", bars_svg(short, fit.loading[:, f].tolist(), fit.loading_error[:, f].tolist(), f"loadings of factor {f + 1}")) for f in range(m)]
    charts.append(("Specific share", "of each variance that no factor explains", bars_svg(short, fit.specific.tolist(), fit.specific_error.tolist(), "specific shares")))
    charts.append(("Eigenvalues", "of the correlation; line: edge of pure noise", bars_svg([str(i + 1) for i in range(len(names))], fit.eigenvalues.tolist(), nothing.tolist(), "eigenvalues", fit.edge)))
    tables = [Table("Largest residual correlations", ("Pair", "estimated", "of the model", "residual"), [(f"{short[i]} and {short[j]}", float(fit.correlation[i, j]), float(fit.implied[i, j]), float(residual[i, j])) for _, i, j in pairs])]
    share = " + ".join(f"{100.0 * v:.1f}" for v in fit.explained)
    write_output(path, render_study(Study(
        "Factor model of a history", (f"to {summary['valuation_time']}", f"{summary['observations']} common returns", f"{made.estimator} weights" + (f", shrinkage {made.shrinkage}" if made.shrinkage != "none" else "")),
        f"{m} {'factor explains' if m == 1 else 'factors explain'} {100.0 * fit.explained.sum():.1f} % of the variance of {len(names)} series.",
        f"By factor {share} %. The weights leave {fit.days.effective:.0f} effective days. The largest correlation that the factors leave is {summary['largest_residual_correlation']:.2f}. A run that reads the file draws with the correlation of the model.",
        (Part("Loadings and what is left", "", charts, tables),), summary["parameters"], "Standard errors leave out blocks of days of equal weight.", summary["warnings"], provenance)))
