"""The pages of `upm calibrate garch`, `copula` and `jumps`: what the fitted law misses, series by series. Verified: tests/end_to_end/test_calibrate_history.py, test_garch_file.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from upm_gpu.calibrate.residuals import Residuals
from upm_gpu.fits.output import history_provenance, write_output

EYEBROWS = {"garch": "GARCH of a history", "copula": "Tails and copula of a history", "jumps": "Jumps of a history"}
UNITS = {"garch": "innovations, in deviations of their day", "copula": "returns, as the filter leaves them", "jumps": "daily log-changes"}


def write_law_page(path: Path, kind: str, verdict: str, lead: str, found: Sequence[Residuals], parameters: Mapping[str, Mapping[str, Any]], errors: str, warnings: Sequence[str], source: str, command: Sequence[str]) -> None:
    """Raises `CalibrationError` UPM-CA-109."""
    from upm_gpu.report.smiles import course_svg
    from upm_gpu.report.study_charts import diagonal_svg
    from upm_gpu.report.study_page import Part, Study, Table, render_study

    parts = []
    for r in found:
        charts = [("Quantiles", f"observed over those of the law; {UNITS[kind]}", diagonal_svg(r.model, r.observed, f"quantiles of {r.name}"))]
        if r.day is not None and r.volatility is not None:
            charts.append(("Volatility of a day", "percent, known the day before", course_svg(r.day, r.volatility, f"volatility of {r.name}")))
        parts.append(Part(r.name, "", charts, (Table("Quantiles", ("Probability", "observed", "of the law"), r.table),)))
    write_output(path, render_study(Study(EYEBROWS[kind], (), verdict, lead, parts, parameters, errors, warnings, history_provenance(source, command))))


def page_of_garch(path: Path, summary: Mapping[str, Any], found: Sequence[Residuals], source: str, command: Sequence[str]) -> None:
    """Every asset's innovations against its law, and its volatility over time."""
    rows = {f"{key} {name}" if len(summary["assets"]) > 1 else key: row | {"bound": "met" if key in fit["bounds"] else None} for name, fit in summary["assets"].items() for key, row in fit["parameters"].items()}
    warnings = [w for fit in summary["assets"].values() for w in fit["warnings"]]
    said = ", ".join(f"{name} {fit['persistence']:.4f}" for name, fit in summary["assets"].items())
    first = next(iter(summary["assets"].values()))
    write_law_page(path, "garch", f"Persistence {said}.", f"{first['model']} with {first['distribution'].replace('_', ' ')} innovations; percent returns. Points off the diagonal are what the law misses.", found, rows,
                   f"Standard errors: {summary['standard_errors']}.", warnings, source, command)


def page_of_copula(path: Path, summary: Mapping[str, Any], found: Sequence[Residuals], source: str, command: Sequence[str]) -> None:
    """Every factor's returns against its t law."""
    nu = summary["parameters"]["copula_degrees_of_freedom"]
    write_law_page(path, "copula", f"A t copula of {nu['value']:.1f} degrees of freedom.", f"{summary['observations']} common returns, filter {summary['filter']}; marginals are t laws of their own. Points off the diagonal are what a marginal misses.", found,
                   summary["parameters"], "Marginals: curvature of the likelihood. Copula and correlations: leaving out forty blocks of days.", summary["warnings"], source, command)


def page_of_jumps(path: Path, summary: Mapping[str, Any], found: Sequence[Residuals], source: str, command: Sequence[str]) -> None:
    """Every price's daily changes against the mixture."""
    gain = summary["log_likelihood"] - summary["log_likelihood_without_jumps"]
    write_law_page(path, "jumps", f"Jumps raise the log-likelihood of {summary['observations']} days by {gain:.1f}.", "Market-wide and own clocks, constant in time. Points off the diagonal are what the mixture misses.", found, summary["parameters"],
                   "Curvature of the likelihood.", summary["warnings"], source, command)
