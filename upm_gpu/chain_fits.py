"""`upm calibrate heston|merton|bates`: chains in, parameters, standard errors, a table, a page and a verdict out.

A source is a market folder (or sample:NAME), a table of chain snapshots (one chain a timestamp: hundreds of days in one call), or a table of cases as `upm price` reads. The last time of every underlying is what
the parameter file holds. Fitted prices are compared with the engine's own pricing operation, another contour with another rule. Verified: tests/end_to_end/test_calibrate_chains.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.chain.fit import ChainFit, FitOptions, fit_chains
from upm_gpu.calibrate.chain.moments import chain_model
from upm_gpu.calibrate.chain.objective import OBJECTIVES, WEIGHTS
from upm_gpu.calibrate.chain.quotes import Chain
from upm_gpu.domain.text import instant_text
from upm_gpu.errors import CalibrationError

ENGINE_TOLERANCE = 1e-5
"""standard deviations at the money: some 2.5e-5 of a volatility; a fit whose prices the engine does not repeat is refused"""
ARBITRAGE = ("report", "refuse")


@dataclass(frozen=True)
class Request:
    """What the command was asked for."""

    model: str
    sources: tuple[str, ...]
    out: Path
    underlyings: tuple[str, ...] = ()
    objective: str = "volatility"
    weights: str = "vega"
    expiries: tuple[str, ...] = ()
    """beginnings of the expiries to keep, such as 2026-03; none: all"""
    per_expiry: bool = False
    feller: bool = False
    start: Path | None = None
    history: str | None = None
    table: Path | None = None
    page: Path | None = None
    reach: float = 5.0
    least_days: float = 1.0
    arbitrage: str = "report"
    device: str = "auto"
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Read:
    """Chains by underlying, ascending in time, and what came with them."""

    chains: dict[str, list[Chain]]
    warnings: tuple[str, ...]
    history: Any
    """closes of the last market folder; None where no source has any"""
    time: datetime | None


def calibrate_chains(request: Request) -> dict[str, Any]:
    """Fit, write, and return the summary as plain values.

    Raises `CalibrationError` UPM-CA-210 (too few quotes), 211 (arbitrage), 212 (no convergence), 213 (the engine differs), 215 (an unknown choice), 217 (correlation), `InputError` 218 (start)."""
    options = _options(request)
    read = read_chains(request)
    if not read.chains:
        raise CalibrationError("UPM-CA-210", f"{', '.join(request.sources)}: too few quotes, no usable chain{' of ' + ', '.join(request.underlyings) if request.underlyings else ''}. Give whole chains; "
                               + ("; ".join(read.warnings[:3]) or "none was found") + ".")
    warnings = list(read.warnings) + _arbitrage(read.chains, request.arbitrage)
    fits = {u: fit_chains(chains, options, None if request.start is None else _start(request, u)) for u, chains in read.chains.items()}
    last = {u: f[-1] for u, f in fits.items()}
    for u, fit in last.items():
        if not fit.converged:
            raise CalibrationError("UPM-CA-212", f"{u} {_when(fit.chain)}: the fit of {request.model} did not converge in {fit.iterations} steps (weighted sum of squares {2.0 * fit.cost:.6g}). "
                                   "Start from an earlier fit with --start, or fit fewer expiries.")
    difference = {u: _engine_differences(found, request.device) for u, found in fits.items()}
    by_expiry = {u: fit_chains([f.chain.only(f.chain.expiry == e) for e in range(len(f.chain.years)) if np.count_nonzero(f.chain.expiry == e) > len(f.parameters)], options)
                 for u, f in last.items()} if request.per_expiry else {}
    for found in fits.values():
        for fit in found:
            warnings += fit_warnings(fit)
    from upm_gpu.calibrate.chain.files import write_chain_parameters

    write_chain_parameters(request.out, last, _covariance(request, read, list(last)), _provenance(request, last, difference))
    summary = {"out": str(request.out), "model": request.model, "objective": request.objective, "weights": request.weights, "feller": request.feller,
               "fits": {u: fit_summary(f) | {"engine_difference": difference[u][-1], "days": len(fits[u]), "not_converged": sum(not x.converged for x in fits[u])} for u, f in last.items()},
               "per_expiry": {u: [fit_summary(f) for f in found] for u, found in by_expiry.items()}, "warnings": warnings}
    if request.table is not None:
        _write(request.table, day_table(fits))
    if request.page is not None:
        from upm_gpu.report.calibration_page import render_calibration

        _write(request.page, render_calibration(summary, {u: smiles(f) for u, f in last.items()}, {u: _course(found) for u, found in fits.items()}, _provenance(request, last, difference)))
    return summary


def calibrate_surfaces(source: str, out: Path, underlyings: Sequence[str], family: str, fit: str, page: Path | None, command: tuple[str, ...] = ()) -> dict[str, Any]:
    """`upm calibrate surface`. Raises `CalibrationError` UPM-CA-225, 226, `MarketDataError` 120."""
    from dataclasses import replace
    from typing import get_args

    from upm_gpu.calibrate.chain.quotes import with_units
    from upm_gpu.calibrate.surface_estimate import calibrate_surface
    from upm_gpu.market.reader import load_market
    from upm_gpu.market.snapshot import SurfaceFamily
    from upm_gpu.shipped import resolve_sample

    if family not in get_args(SurfaceFamily):
        raise CalibrationError("UPM-CA-225", f"--family {family!r} is not known. Use one of {', '.join(get_args(SurfaceFamily))}.")
    market = replace(with_units(load_market(resolve_sample(source, "market"))), surface_family=family)  # type: ignore[arg-type]
    summary = calibrate_surface(market, out, underlyings, fit)
    drawn = summary.pop("smiles")
    if page is not None:
        from upm_gpu.report.calibration_page import render_calibration

        tables = summary["surfaces"]
        fits = {u: {"root_mean_square_volatility_error": _overall(rows), "valuation_time": summary["valuation_time"], "quotes": sum(r["quotes"] for r in rows), "expiries": [r["expiry"] for r in rows],
                    "left_out": {}, "parameters": {}} for u, rows in tables.items()}
        per_expiry = {u: [r | {"expiries": [r["expiry"]], "condition_number": None} for r in rows] for u, rows in tables.items()}
        lines = [", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()) for rows in summary["violations"].values() for row in rows]
        shown = {"model": f"{family} surface", "objective": "volatility", "weights": "", "feller": False, "fits": fits, "per_expiry": per_expiry, "warnings": lines}
        _write(page, render_calibration(shown, drawn, {u: {} for u in drawn}, {"source": source, "fit": fit, "family": family, "command": list(command)}))
    return summary


def render_surfaces(summary: Mapping[str, Any]) -> str:
    """The slices as a table a person reads."""
    lines = []
    for u, rows in summary["surfaces"].items():
        lines.append(f"{u}: {summary['family']}, {summary['fit']}, {summary['valuation_time']}; {100.0 * _overall(rows):.2f} volatility points over {sum(r['quotes'] for r in rows)} quotes")
        lines.append(f"  {'expiry':22}{'quotes':>7}{'points':>8}" + "".join(f"{n:>13}{'error':>10}" for n in rows[0]["parameters"]))
        for row in rows:
            cells = "".join(f"{p['value']:>13.5g}{'-' if p['standard_error'] is None else format(p['standard_error'], '.2g'):>10}" for p in row["parameters"].values())
            lines.append(f"  {row['expiry']:22}{row['quotes']:>7}{100.0 * row['root_mean_square_volatility_error']:>8.2f}{cells}")
        found = summary["violations"][u]
        lines.append(f"  {len(found)} lines of arbitrage in quotes and slices, with --json" if found else "  no arbitrage in quotes or slices")
    return "\n".join([*lines, str(summary["out"])])


def _overall(rows: Sequence[Mapping[str, Any]]) -> float:
    """Root mean square error over the quotes of all expiries."""
    count = sum(r["quotes"] for r in rows)
    return math.sqrt(sum(r["quotes"] * r["root_mean_square_volatility_error"] ** 2 for r in rows) / max(count, 1))


def read_chains(request: Request) -> Read:
    """The chains of every source."""
    from upm_gpu.shipped import resolve_sample

    limits: dict[str, Any] = {"reach": request.reach, "least_days": request.least_days, "unknowns": len(chain_model(request.model).parameters)}
    chains: dict[str, list[Chain]] = {}
    warnings: list[str] = []
    history, time = None, None
    for source in request.sources:
        path = resolve_sample(source, "market")
        found: dict[str, list[Chain]]
        if path.is_dir():
            found, history, time = _of_market(path, request, limits)
        elif _is_snapshot(path):
            from upm_gpu.calibrate.chain.days import read_days

            found, refused = read_days(path, request.underlyings, **limits)
            warnings += [f"UPM-CA-214 left out: {line}" for line in refused]
        else:
            from upm_gpu.calibrate.chain.table import read_case_chain

            chain = read_case_chain(path, **limits)
            found = {chain.underlying: [chain]}
        for u, more in found.items():
            chains.setdefault(u, []).extend(more)
    kept = {u: [_kept(c, request) for c in found] for u, found in chains.items()}
    order = {u: sorted(found, key=lambda c: (c.valuation_time is not None, c.valuation_time.timestamp() if c.valuation_time else 0.0)) for u, found in kept.items()}
    return Read(order, tuple(warnings), history, time)


def fit_warnings(fit: ChainFit) -> list[str]:
    """What a reader of the parameters must know."""
    where = f"{fit.chain.underlying} {_when(fit.chain)}".strip()
    found = [f"UPM-CA-214 {where}: {name} sits on its {bound if bound != 'feller' else 'Feller'} bound ({fit.value(name):.6g}); it has no standard error and the quotes ask for more"
             for name, bound in zip(fit.model.parameters, fit.bounds, strict=True) if bound]
    if fit.weakest:
        found.append(f"UPM-CA-214 {where}: condition number {fit.condition:.3g}: the quotes do not tell {', '.join(fit.weakest)} apart")
    if not fit.converged:
        found.append(f"UPM-CA-214 {where}: no convergence in {fit.iterations} steps")
    return found


def fit_summary(fit: ChainFit) -> dict[str, Any]:
    """Value, standard errors, t and bound of every parameter, and how well the smile is met; null where there is none."""
    table = {}
    for i, name in enumerate(fit.model.parameters):
        value, error, clustered = float(fit.parameters[i]), float(fit.standard_errors[i]), float(fit.clustered_errors[i])
        table[name] = {"value": _digits(value), "standard_error": _digits(error), "t": _digits(value / error) if error > 0.0 else None,
                       "standard_error_by_expiry": _digits(clustered), "bound": fit.bounds[i] or None}
    found = {"valuation_time": _when(fit.chain) or None, "expiries": list(fit.chain.labels), "quotes": len(fit.chain.strike), "left_out": dict(fit.chain.left_out), "parameters": table,
             "root_mean_square_volatility_error": _digits(float(np.sqrt(np.mean(fit.residual**2)))), "sum_of_squares_volatility_points": _digits(float(np.sum((100.0 * fit.residual) ** 2))),
             "weighted_sum_of_squares": _digits(2.0 * fit.cost), "condition_number": _digits(fit.condition), "converged": fit.converged, "iterations": fit.iterations}
    if fit.model.name != "merton":
        found["feller_ratio"] = _digits(2.0 * fit.value("mean_reversion") * fit.value("long_run_variance") / fit.value("vol_of_vol") ** 2)
    return found


def render_summary(summary: Mapping[str, Any]) -> str:
    """The summary as tables a person reads."""
    lines = []
    for name, fit in summary["fits"].items():
        which = (f", {fit['valuation_time']}" if fit["valuation_time"] else "") + (f", last of {fit['days']} chains" if fit["days"] > 1 else "")
        lines.append(f"{name}: {summary['model']}, {fit['quotes']} quotes of {len(fit['expiries'])} expiries{which}; root mean square error {100.0 * fit['root_mean_square_volatility_error']:.2f} volatility points; {fit['iterations']} steps")
        lines.append(f"  {'':18}{'value':>12}{'std. error':>12}{'t':>10}{'by expiry':>12}  bound")
        for key, row in fit["parameters"].items():
            cells = "".join(f"{'-' if row[c] is None else format(row[c], f):>{w}}" for c, w, f in (("value", 12, ".5g"), ("standard_error", 12, ".3g"), ("t", 10, ".4g"), ("standard_error_by_expiry", 12, ".3g")))
            lines.append(f"  {key:18}{cells}  {row['bound'] or ''}".rstrip())
    for name, found in summary["per_expiry"].items():
        for fit in found:
            values = ", ".join(f"{k} {row['value']:.4g}" for k, row in fit["parameters"].items())
            lines.append(f"  {name} {fit['expiries'][0]}: {values}; {100.0 * fit['root_mean_square_volatility_error']:.2f} volatility points of {fit['quotes']} quotes")
    shown = summary["warnings"][:12]
    hidden = len(summary["warnings"]) - len(shown)
    return "\n".join([*lines, *shown, *([f"{hidden} more warnings with --json"] if hidden else []), str(summary["out"])])


def smiles(fit: ChainFit) -> list[dict[str, Any]]:
    """By expiry, ascending in strike: label, standard deviations at the money from the forward, quoted volatilities and the model's."""
    found = []
    for e, label in enumerate(fit.chain.labels):
        own = np.flatnonzero(fit.chain.expiry == e)
        own = own[np.argsort(fit.chain.strike[own], kind="stable")]
        found.append({"label": label, "years": float(fit.chain.years[e]), "x": -fit.chain.log_moneyness[own] / fit.chain.deviation[e], "strike": fit.chain.strike[own], "quoted": fit.chain.volatility[own], "model": fit.volatility[own]})
    return found


def _course(fits: Sequence[ChainFit]) -> dict[str, NDArray[np.float64]]:
    """Parameters over time (T,) and their `day` since 1970; empty for a single chain."""
    dated = [f for f in fits if f.chain.valuation_time is not None]
    if len(dated) < 2:
        return {}
    found = {"day": np.array([f.chain.valuation_time.timestamp() / 86_400.0 for f in dated if f.chain.valuation_time is not None])}
    return found | {name: np.array([f.value(name) for f in dated]) for name in dated[0].model.parameters}


def day_table(fits: Mapping[str, Sequence[ChainFit]]) -> str:
    """One row a chain as CSV text: parameters, their standard errors, the error of the smile, and whether the fit converged."""
    first = next(iter(fits.values()))[0]
    names = first.model.parameters
    rows = [",".join(["underlying", "valuation_time", "quotes", "status", "root_mean_square_volatility_error", "condition_number", *names, *(f"{n}_standard_error" for n in names), "bounds"])]
    for u, found in fits.items():
        for f in found:
            numbers = [float(np.sqrt(np.mean(f.residual**2))), f.condition, *f.parameters.tolist(), *f.standard_errors.tolist()]
            rows.append(",".join([u, _when(f.chain), str(len(f.chain.strike)), "converged" if f.converged else "not_converged", *("" if math.isnan(x) else repr(x) for x in numbers),
                                  " ".join(f"{n}:{b}" for n, b in zip(names, f.bounds, strict=True) if b)]))
    return "\n".join(rows) + "\n"


def engine_prices(fit: ChainFit, module: Any) -> NDArray[np.float64]:
    """(Q,) prices over the forward of a backend's own operation at the fitted parameters."""
    k = fit.chain.log_moneyness
    columns = {"forward": np.ones(len(k)), "strike": np.exp(-k), "time_to_expiry": fit.chain.years[fit.chain.expiry], "sign": np.where(k <= 0.0, 1.0, -1.0)}
    columns |= {name: np.full(len(k), value) for name, value in zip(fit.model.parameters, fit.parameters.tolist(), strict=True)}
    return np.asarray(module.values("merton_price" if fit.model.name == "merton" else "heston_price", columns)["price"])


def _engine_differences(fits: Sequence[ChainFit], device: str) -> list[float]:
    """Largest difference of a fit's prices from the engine's, in standard deviations at the money."""
    from upm_gpu.backend.select import choose

    module = choose(device, "double").module
    found = []
    for fit in fits:
        gap = np.abs(engine_prices(fit, module) - fit.price) / fit.chain.deviation[fit.chain.expiry]
        found.append(float(np.max(gap)) if np.all(np.isfinite(gap)) else math.inf)
        if fit.converged and not found[-1] <= ENGINE_TOLERANCE:
            raise CalibrationError("UPM-CA-213", f"{fit.chain.underlying} {_when(fit.chain)}: prices of the fit and of the engine differ by {found[-1]:.3g} standard deviations (at most {ENGINE_TOLERANCE:g}); parameters "
                                   f"{', '.join(f'{v:.6g}' for v in fit.parameters)}. Fit fewer expiries or another model.")
    return found


def _options(request: Request) -> FitOptions:
    for what, value, known in (("--objective", request.objective, OBJECTIVES), ("--weights", request.weights, WEIGHTS), ("--arbitrage", request.arbitrage, ARBITRAGE)):
        if value not in known:
            raise CalibrationError("UPM-CA-215", f"{what} {value!r} is not known. Use one of {', '.join(known)}.")
    if request.feller and request.model == "merton":
        raise CalibrationError("UPM-CA-215", "--feller is not known to merton, which has no variance of its own. Leave it out.")
    return FitOptions(request.model, request.objective, request.weights, request.feller)  # type: ignore[arg-type]


def _start(request: Request, underlying: str) -> NDArray[np.float64]:
    from upm_gpu.calibrate.chain.files import read_start

    assert request.start is not None
    return read_start(request.start, request.model, underlying)


def _of_market(path: Path, request: Request, limits: dict[str, Any]) -> tuple[dict[str, list[Chain]], Any, datetime]:
    from upm_gpu.calibrate.chain.quotes import market_chain, with_units
    from upm_gpu.market.marks import check_marks
    from upm_gpu.market.reader import load_market

    market = with_units(load_market(path))
    keep = ~check_marks(market).quarantined
    names = [u for u in sorted(set(map(str, market.quotes.underlying))) if not request.underlyings or u in request.underlyings]
    return {u: [market_chain(market, u, keep, **limits)] for u in names}, market.history, market.valuation_time


def _is_snapshot(path: Path) -> bool:
    """Does the table name instruments, as an exchange's snapshot does?"""
    if path.name.endswith(".parquet"):
        return True
    import gzip

    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.name.endswith(".gz") else path.open(encoding="utf-8") as stream:
            return "instrument_name" in stream.readline()
    except (OSError, UnicodeDecodeError):
        return False


def _kept(chain: Chain, request: Request) -> Chain:
    if not request.expiries:
        return chain
    keep = np.array([label.startswith(request.expiries) for label in chain.labels])[chain.expiry]
    least = len(chain_model(request.model).parameters)
    if np.count_nonzero(keep) <= least:
        raise CalibrationError("UPM-CA-210", f"{chain.underlying}: too few quotes, {np.count_nonzero(keep)} in the expiries that begin with {' or '.join(request.expiries)} for {least} parameters. "
                               f"Expiries are {', '.join(chain.labels)}.")
    return chain.only(keep)


def _arbitrage(chains: Mapping[str, Sequence[Chain]], rule: str) -> list[str]:
    """What the quotes of each chain violate, as one line each; refused where asked."""
    from upm_gpu.calibrate.chain.quotes import quote_lines
    from upm_gpu.market.arbitrage import line_violations

    lines = []
    for u, found in chains.items():
        for chain in found:
            rows = line_violations(quote_lines(chain), u)
            if not rows:
                continue
            total = rows[-1]
            beyond = total["vertical_beyond_spread"] + total["butterfly_beyond_spread"]
            text = (f"{u} {_when(chain)}: arbitrage in the quotes: {total['vertical']} verticals, {total['butterfly']} butterflies ({beyond} beyond the spread), {total['calendar']} calendars of {total['quotes']} quotes")
            if rule == "refuse":
                raise CalibrationError("UPM-CA-211", f"{text}. Correct the quotes, or let them be counted with --arbitrage report.")
            if beyond or total["vertical"]:
                lines.append(f"UPM-CA-214 {text}")
    return lines


def _covariance(request: Request, read: Read, names: Sequence[str]) -> Any:
    """Correlations and volatility moves of the history up to the chains' time; None where there is no history."""
    from upm_gpu.calibrate.covariance import calibrate_covariance, factor_names
    from upm_gpu.calibrate.parameter_file import read_history

    history, time = (read.history, read.time) if request.history is None else read_history(request.history)
    if history is None or len(history) == 0 or (len(names) == 1 and request.model != "merton"):
        return None
    at = max((c.valuation_time for found in read.chains.values() for c in found if c.valuation_time is not None), default=time)
    assert at is not None
    known = set(map(str, history["asset"].unique()))
    if not set(names) <= known:
        return None
    return calibrate_covariance(history, factor_names(names), at)


def _provenance(request: Request, last: Mapping[str, ChainFit], difference: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    from upm_gpu.run.manifest import kernels_sha256, versions

    hashes = {}
    for source in request.sources:
        path = Path(source)
        if path.is_file():
            import hashlib

            hashes[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"sources": [Path(s).name or s for s in request.sources], "source_sha256": [f"{n} {h}" for n, h in hashes.items()], "objective": request.objective, "weights": request.weights, "feller": request.feller,
            "reach_standard_deviations": request.reach, "engine_difference": max(d[-1] for d in difference.values()), "upm_gpu": versions()["upm_gpu"], "numpy": versions()["numpy"],
            "kernels_sha256": kernels_sha256(), "command": list(request.command), "warnings": [w for f in last.values() for w in fit_warnings(f)]}


def _when(chain: Chain) -> str:
    return "" if chain.valuation_time is None else instant_text(chain.valuation_time)


def _digits(value: float) -> float | None:
    return float(f"{value:.8g}") if math.isfinite(value) else None


def _write(path: Path, text: str | bytes) -> None:
    try:
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    except OSError as error:
        raise CalibrationError("UPM-CA-109", f"{path}: cannot be written ({error.strerror}). Give another file.") from None
