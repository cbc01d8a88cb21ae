"""`upm calibrate heston|merton|bates`: chains in, parameters, standard errors, a table, a page and a verdict out.

The last time of every underlying is what the parameter file holds. Fitted prices are compared with the engine's own pricing operation, another contour with another rule. Verified: tests/end_to_end/test_calibrate_chains.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.chain.engines import ENGINES, engine_words
from upm_gpu.calibrate.chain.fit import ChainFit, FitOptions, fit_chains
from upm_gpu.calibrate.chain.intervals import Intervals, profile_intervals
from upm_gpu.calibrate.chain.objective import OBJECTIVES, WEIGHTS
from upm_gpu.calibrate.chain.sources import ARBITRAGE, Read, arbitrage_lines, read_chains
from upm_gpu.calibrate.chain.summary import course, day_table, fit_summary, fit_warnings, smiles, when
from upm_gpu.errors import CalibrationError
from upm_gpu.fits.output import write_output

ENGINE_TOLERANCE = 1e-5
"""standard deviations at the money: some 2.5e-5 of a volatility; a fit whose prices the engine does not repeat is refused"""


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
    """whose prices the fit is compared with"""
    engine: str = "compiled"
    command: tuple[str, ...] = ()


def calibrate_chains(request: Request) -> dict[str, Any]:
    """Fit, write, and return the summary as plain values.

    Raises `CalibrationError` UPM-CA-210 (too few quotes), 211 (arbitrage), 212 (no convergence), 213 (the engine differs), 215 (an unknown choice), 217 (correlation), 230 (JAX is not installed), `InputError` 218 (start)."""
    options = _options(request)
    read = read_chains(request.sources, request.model, request.underlyings, request.expiries, reach=request.reach, least_days=request.least_days)
    if not read.chains:
        raise CalibrationError("UPM-CA-210", f"{', '.join(request.sources)}: too few quotes, no usable chain{' of ' + ', '.join(request.underlyings) if request.underlyings else ''}. Give whole chains; "
                               + ("; ".join(read.warnings[:3]) or "none was found") + ".")
    warnings = list(read.warnings) + arbitrage_lines(read.chains, request.arbitrage)
    fits = {u: fit_chains(chains, options, None if request.start is None else _start(request, u)) for u, chains in read.chains.items()}
    last = {u: f[-1] for u, f in fits.items()}
    for u, fit in last.items():
        if not fit.converged:
            raise CalibrationError("UPM-CA-212", f"{u} {when(fit.chain)}: the fit of {request.model} did not converge in {fit.iterations} steps (weighted sum of squares {2.0 * fit.cost:.6g}). "
                                   "Start from an earlier fit with --start, or fit fewer expiries.")
    spans = {}
    for u in last:
        last[u], spans[u] = _spanned(last[u], options)
        fits[u][-1] = last[u]
    difference = {u: _engine_differences(found, request.device) for u, found in fits.items()}
    by_expiry = {u: fit_chains([f.chain.only(f.chain.expiry == e) for e in range(len(f.chain.years)) if np.count_nonzero(f.chain.expiry == e) > len(f.parameters)], options)
                 for u, f in last.items()} if request.per_expiry else {}
    for u, found in fits.items():
        for fit in found:
            warnings += fit_warnings(fit, spans[u] if fit is last[u] else None)
    from upm_gpu.calibrate.chain.files import write_chain_parameters

    write_chain_parameters(request.out, last, _covariance(request, read, list(last)), _provenance(request, last, difference), spans)
    summary = {"out": str(request.out), "model": request.model, "objective": request.objective, "weights": request.weights, "feller": request.feller, "engine": engine_words(request.engine),
               "fits": {u: fit_summary(f, spans[u]) | {"engine_difference": difference[u][-1], "days": len(fits[u]), "not_converged": sum(not x.converged for x in fits[u])} for u, f in last.items()},
               "per_expiry": {u: [fit_summary(f) for f in found] for u, found in by_expiry.items()}, "warnings": warnings}
    if request.table is not None:
        write_output(request.table, day_table(fits))
    if request.page is not None:
        from upm_gpu.report.calibration_page import render_calibration

        write_output(request.page, render_calibration(summary, {u: smiles(f) for u, f in last.items()}, {u: course(found) for u, found in fits.items()}, _provenance(request, last, difference)))
    return summary


def _spanned(fit: ChainFit, options: FitOptions) -> tuple[ChainFit, Intervals]:
    """The fit with its intervals; fitted once more where their search came upon a lower sum of squares."""
    spans = profile_intervals(fit)
    if spans.better is not None:
        fit = fit_chains([fit.chain], options, spans.better)[0]
        spans = profile_intervals(fit)
    return fit, spans


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
            raise CalibrationError("UPM-CA-213", f"{fit.chain.underlying} {when(fit.chain)}: prices of the fit and of the engine differ by {found[-1]:.3g} standard deviations (at most {ENGINE_TOLERANCE:g}); parameters "
                                   f"{', '.join(f'{v:.6g}' for v in fit.parameters)}. Fit fewer expiries or another model.")
    return found


def _options(request: Request) -> FitOptions:
    for what, value, known in (("--objective", request.objective, OBJECTIVES), ("--weights", request.weights, WEIGHTS), ("--arbitrage", request.arbitrage, ARBITRAGE), ("--engine", request.engine, ENGINES)):
        if value not in known:
            raise CalibrationError("UPM-CA-215", f"{what} {value!r} is not known. Use one of {', '.join(known)}.")
    if request.feller and request.model == "merton":
        raise CalibrationError("UPM-CA-215", "--feller is not known to merton, which has no variance of its own. Leave it out.")
    return FitOptions(request.model, request.objective, request.weights, request.feller, engine=request.engine)  # type: ignore[arg-type]


def _start(request: Request, underlying: str) -> NDArray[np.float64]:
    from upm_gpu.calibrate.chain.files import read_start

    assert request.start is not None
    return read_start(request.start, request.model, underlying)


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
            "engine": engine_words(request.engine), "reach_standard_deviations": request.reach, "engine_difference": max(d[-1] for d in difference.values()), "upm_gpu": versions()["upm_gpu"], "numpy": versions()["numpy"],
            "kernels_sha256": kernels_sha256(), "command": list(request.command), "warnings": [w for f in last.values() for w in fit_warnings(f)]}
