"""`upm calibrate dynamics`: how volatility surfaces moved from day to day, as a covariance file that `upm run` reads, with a table and a page.

A source is a table of daily chains, whose surfaces are fitted day by day, or a history (market folder, sample:NAME, file) that holds the series `IV30`, `SKEW30`, `SLOPE30`; several are joined. The file has the states log_level, volatility_shift, volatility_skew and volatility_slope of each
underlying, their volatilities, correlations and half-lives. Verified: tests/end_to_end/test_calibrate_dynamics.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from upm_gpu.calibrate.dynamics_estimate import RULES, DynamicsFit, Rule, fit_dynamics
from upm_gpu.calibrate.estimates import estimate_lines, estimate_row
from upm_gpu.calibrate.series import Series, factor_series
from upm_gpu.calibrate.surface_factors import SERIES_OF, slides_of
from upm_gpu.domain.text import instant_text
from upm_gpu.errors import CalibrationError
from upm_gpu.fits.output import history_provenance, write_output
from upm_gpu.scenario.spec import ScenarioSpec

if TYPE_CHECKING:
    import pandas as pd

    from upm_gpu.market.surface import Surface

DYNAMICS = ("sticky_moneyness", "sticky_strike", "sticky_delta")
WORDS = {"log_level": "spot", "volatility_shift": "volatility", "volatility_skew": "skew", "volatility_slope": "slope"}


@dataclass(frozen=True)
class Request:
    """What the command was asked for."""

    sources: tuple[str, ...]
    out: Path
    underlyings: tuple[str, ...] = ()
    estimator: str = "ewma"
    ewma_lambda: float = 0.97
    volatility_dynamics: str = "sticky_moneyness"
    reversion: str = "tested"
    series: Path | None = None
    page: Path | None = None
    command: tuple[str, ...] = ()


def calibrate_dynamics(request: Request, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Fit, write, and return a summary of plain values. Raises `CalibrationError` UPM-CA-232 (too few days), 233 (an unknown choice, no volatility series, no surface to slide along)."""
    from upm_gpu.calibrate.covariance import calibrate_covariance
    from upm_gpu.calibrate.parameter_file import write_parameters

    _check(request)
    frame, surfaces, left_out = _history(request, progress)
    time: datetime = frame["timestamp"].max().to_pydatetime()
    names, factors = _factors(frame, request)
    spec = ScenarioSpec(volatility_dynamics=request.volatility_dynamics, surface_factors=("level", "skew", "slope"))
    if request.volatility_dynamics == "sticky_strike" and not set(names) <= set(surfaces):
        raise CalibrationError("UPM-CA-233", f"--volatility-dynamics sticky_strike takes the slide along today's smile out of the series, and {', '.join(sorted(set(names) - set(surfaces)))} has no surface in the sources. "
                               "Give a table of chains or a market folder with quotes.")
    slide = slides_of(spec, {u: surfaces[u] for u in names if u in surfaces})
    series, _, _ = factor_series(frame, factors, time, request.ewma_lambda, slide, False)
    decay = request.ewma_lambda if request.estimator == "ewma" else 1.0
    fit = fit_dynamics(series, factors, decay, request.reversion)  # type: ignore[arg-type]
    base = calibrate_covariance(frame, factors, time, request.estimator, request.ewma_lambda, slide=slide, half_life_days=fit.half_life)
    made = replace(base, daily_volatility=fit.volatility, correlation=fit.correlation, repair_distance=0.0, half_life_days=fit.half_life, volatility_dynamics=request.volatility_dynamics)
    provenance = history_provenance(request.sources[0], request.command) | {"sources": [Path(s).name or s for s in request.sources], "days": len(fit.days.days), "effective_days": round(fit.days.effective, 1), "reversion": request.reversion,
                                                                            "volatility_dynamics": request.volatility_dynamics, "estimator": request.estimator}
    write_parameters(made, request.out, _more(fit, provenance))
    if request.series is not None:
        write_output(request.series, "timestamp,asset,close\n" + "".join(f"{instant_text(t.to_pydatetime())},{a},{c!r}\n" for t, a, c in zip(frame["timestamp"], frame["asset"], frame["close"].tolist(), strict=True)))
    warnings = [*base.warnings, *(f"UPM-CA-214 left out: {line}" for line in left_out), *_warnings(fit, request.reversion)]
    summary = {"out": str(request.out), "valuation_time": instant_text(time), "factors": list(factors), "estimator": request.estimator, "observations": len(fit.days.days), "effective_observations": fit.days.effective,
               "volatility_dynamics": request.volatility_dynamics, "parameters": _rows(fit), "warnings": warnings}
    if request.page is not None:
        _page(request.page, series, fit, summary, provenance)
    return summary


def render_dynamics(summary: Mapping[str, Any]) -> str:
    """The summary as a table a person reads."""
    head = f"{len(summary['factors'])} factors to {summary['valuation_time']}, {summary['observations']} daily changes ({summary['effective_observations']:.0f} effective, {summary['estimator']}), {summary['volatility_dynamics']}"
    return "\n".join([head, *estimate_lines(summary["parameters"]), *summary["warnings"][:12], summary["out"]])


def _check(request: Request) -> None:
    for name, value, known in (("--volatility-dynamics", request.volatility_dynamics, DYNAMICS), ("--reversion", request.reversion, RULES), ("--estimator", request.estimator, ("ewma", "equal"))):
        if value not in known:
            raise CalibrationError("UPM-CA-233", f"{name} {value!r} is not a known choice. Use one of {', '.join(known)}.")


def _history(request: Request, progress: Callable[[int, int], None] | None) -> tuple[pd.DataFrame, dict[str, Surface], list[str]]:
    """Closes of all sources in order of asset and time, today's surfaces by underlying, and chains left out."""
    import pandas as pd

    from upm_gpu.calibrate.chain.series import chain_series
    from upm_gpu.calibrate.chain.sources import is_snapshot
    from upm_gpu.calibrate.parameter_file import read_history
    from upm_gpu.market.reader import load_market
    from upm_gpu.market.surface import fit_surfaces
    from upm_gpu.shipped import resolve_sample

    frames, surfaces, left_out = [], dict[str, Any](), list[str]()
    for source in request.sources:
        path = resolve_sample(source, "market")
        if path.is_dir():
            market = load_market(path)
            frames.append(market.history)
            if request.volatility_dynamics == "sticky_strike":
                surfaces |= fit_surfaces(market, set(map(str, market.quotes.underlying)))
        elif is_snapshot(path):
            rows, last, refused = chain_series(path, request.underlyings, progress)
            frame = pd.DataFrame(rows, columns=["timestamp", "asset", "close"])
            frame["timestamp"] = pd.to_datetime(frame["timestamp"], utc=True).astype("datetime64[ns, UTC]")
            frames.append(frame)
            surfaces |= last
            left_out += refused
        else:
            frames.append(read_history(source)[0])
    joined = pd.concat(frames, ignore_index=True).drop_duplicates(["timestamp", "asset"], keep="last")
    return joined.sort_values(["asset", "timestamp"], kind="stable").reset_index(drop=True), surfaces, left_out


def _factors(frame: pd.DataFrame, request: Request) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Underlyings with a volatility series, and their factors: prices, levels, then the skews and slopes that the history holds."""
    known = set(map(str, frame["asset"].unique()))
    quoted = sorted(a.removesuffix(".IV30") for a in known if a.endswith(".IV30") and a.removesuffix(".IV30") in known)
    names = [u for u in quoted if not request.underlyings or u in request.underlyings]
    absent = [u for u in request.underlyings if u not in quoted]
    if not names or absent:
        raise CalibrationError("UPM-CA-233", f"the sources hold no price and IV30 series of {', '.join(absent) or 'any underlying'}; they hold {', '.join(quoted) or 'none'}. Give a table of daily chains, or a history with them.")
    kinds = ("log_level", *SERIES_OF)
    return tuple(names), tuple(f"{kind}[{u}]" for kind in kinds for u in names if kind == "log_level" or u + SERIES_OF[kind] in known)


def _name(factor: str) -> str:
    kind, _, u = factor.partition("[")
    return f"{WORDS[kind]} {u.rstrip(']')}"


def _pair(a: str, b: str) -> str:
    """`spot-volatility correlation BTC` of one underlying, `correlation volatility BTC, volatility ETH` of two."""
    (one, _, x), (two, _, y) = a.partition("["), b.partition("[")
    return f"{WORDS[one]}-{WORDS[two]} correlation {x.rstrip(']')}" if x == y else f"correlation {_name(a)}, {_name(b)}"


def _rows(fit: DynamicsFit) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(fit.factors):
        found[f"daily volatility {_name(name)}"] = estimate_row(float(fit.volatility[k]), float(fit.volatility_error[k]))
        r = fit.reversion[k]
        if r is not None:
            found[f"reversion a day {_name(name)}"] = estimate_row(r.rate, r.error, r.bound)
    found |= {f"volatility a unit of log price {u}": estimate_row(*values) for u, values in fit.slope.items()}
    for i in range(len(fit.factors)):
        found |= {_pair(fit.factors[j], fit.factors[i]): estimate_row(float(fit.correlation[i, j]), float(fit.correlation_error[i, j])) for j in range(i)}
    return found


def _warnings(fit: DynamicsFit, rule: str) -> list[str]:
    found = []
    for name, r in zip(fit.factors, fit.reversion, strict=True):
        if r is None:
            continue
        if r.bound:
            found.append(f"UPM-CA-224 reversion a day {_name(name)} sits on its {r.bound} bound ({r.rate:.4g}) and has no standard error{'; no half-life is in the file' if not r.in_force else ''}")
        elif rule == "tested" and not r.in_force:
            found.append(f"UPM-CA-234 {_name(name)}: a random walk is not rejected (t {r.t:.2f}, 5 % point {r.critical:.2f}): no half-life is in the file; --reversion estimated writes the {np.log(2.0) / r.rate:.1f} days estimated")
    return found


def _more(fit: DynamicsFit, provenance: Mapping[str, Any]) -> list[str]:
    """What the covariance file keeps of the estimates."""
    from upm_gpu.strict_toml import toml_value

    rates, errors = ([0.0 if r is None else getattr(r, n) for r in fit.reversion] for n in ("rate", "error"))
    return ["", "[provenance.dynamics]", "# nan: held by its bound", f"reversion_a_day = {toml_value(rates)}", f"reversion_standard_error = {toml_value(errors)}", f"daily_volatility_standard_error = {toml_value(fit.volatility_error)}",
            "correlation_standard_error = [", *(f"  {toml_value(row)}," for row in fit.correlation_error), "]", *(f"{k} = {toml_value(v)}" for k, v in provenance.items())]


def _page(path: Path, series: Sequence[Series], fit: DynamicsFit, summary: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
    from upm_gpu.report.smiles import course_svg
    from upm_gpu.report.study_charts import cloud_svg
    from upm_gpu.report.study_page import Part, Study, Table, render_study

    place = {f: k for k, f in enumerate(fit.factors)}
    unit = fit.days.days / np.sqrt(np.mean(fit.days.days**2, axis=0))
    drawn = {"log_level": ("Price", 1.0), "volatility_shift": ("Volatility at 30 days, at the money", 1.0), "volatility_skew": ("Skew: d ln sigma by deviation at 30 days", 0.0), "volatility_slope": ("Slope: d ln sigma by d ln T, 7 to 90 days, net of the level's", 0.0)}
    parts, said = [], []
    for u, (slope, error) in fit.slope.items():
        own = [f for f in fit.factors if f.endswith(f"[{u}]")]
        p, v = place[f"log_level[{u}]"], place[f"volatility_shift[{u}]"]
        charts = []
        for f in own:
            title, power = drawn[f.partition("[")[0]]
            x = series[place[f]]
            charts.append((title, "day by day", course_svg(x.time, np.exp(x.value) if power else x.value, f)))
        charts.append(("Price and volatility", "daily changes in deviations; line: their regression", cloud_svg(unit[:, p], unit[:, v], float(np.mean(unit[:, p] * unit[:, v])), f"changes of {u} and of its volatility")))
        head = ("Correlation", *(WORDS[f.partition("[")[0]] for f in own))
        table = Table("Correlations of daily changes", head, [(WORDS[f.partition("[")[0]], *(float(fit.correlation[place[f], place[g]]) for g in own)) for f in own])
        halves = Table("Motion of a day", ("Factor", "volatility", "half-life estimated, days", "in the file"), [
            (WORDS[f.partition("[")[0]], float(fit.volatility[place[f]]), "" if r is None or not r.rate else float(np.log(2.0) / r.rate), "" if r is None else float(r.in_force) if r.in_force else "none") for f in own for r in (fit.reversion[place[f]],)])
        parts.append(Part(u, f"A price that falls by 1 % moves volatility by {-slope:+.2f} % (standard error {error:.2f}).", charts, (table, halves)))
        said.append(f"{u} {fit.correlation[p, v]:+.2f}")
    write_output(path, render_study(Study("Dynamics of volatility surfaces", (f"to {summary['valuation_time']}", f"{summary['observations']} daily changes", f"{summary['estimator']} weights", summary["volatility_dynamics"].replace("_", " ")),
                            f"Spot and volatility: correlation {', '.join(said)}.",
                            f"Negative is wrong way for whoever is short puts: what loses is worth more volatility as well. Level, skew and slope of the surface are factors of their own; the weights leave {fit.days.effective:.0f} effective days.",
                            parts, summary["parameters"], "Volatilities and correlations: leaving out blocks of days of equal weight. Reversion: robust to changing volatility.", summary["warnings"], provenance)))


__all__ = ["Request", "Rule", "calibrate_dynamics", "render_dynamics"]
