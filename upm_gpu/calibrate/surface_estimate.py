"""`upm calibrate surface`: the SVI slices of a chain with standard errors, raw and as jump wings.

Two fits. `joint` (default) is the surface that a run uses, all expiries together without calendar arbitrage (`market/svi_fit.py`), or SSVI without static arbitrage (`market/ssvi.py`). `slices` fits every expiry alone, plain least squares of implied volatility in a box
(`chain/solver.py`), from the joint fit: nearest to the quotes, free to cross. Standard errors of either are s^2 (J'J)^-1 of the slice's quotes at its parameters.

Jump wings (J. Gatheral, A. Jacquier, "Arbitrage-free SVI volatility surfaces", 2014), of a slice at time t with w = v t its total variance at the money:
  v = (a + b (-rho m + sqrt(m^2 + s^2))) / t,   psi = b (rho - m / sqrt(m^2 + s^2)) / (2 sqrt(w)),   p = b (1 - rho) / sqrt(w),   c = b (1 + rho) / sqrt(w),   vtilde = (a + b s sqrt(1 - rho^2)) / t;
a slice with butterflies gives way to c' = p + 2 psi, vtilde' = 4 v p c' / (p + c')^2, which has none. Verified: tests/known_answers/test_surface_estimate.py (topic 9), tests/end_to_end/test_calibrate_surface.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.chain.solver import solve
from upm_gpu.calibrate.estimates import listed
from upm_gpu.calibrate.ssvi_errors import ssvi_errors, tied_names
from upm_gpu.domain.text import instant_text
from upm_gpu.errors import CalibrationError
from upm_gpu.market.arbitrage import quote_violations, surface_violations
from upm_gpu.market.marks import check_marks
from upm_gpu.market.snapshot import MarketSnapshot, years_between
from upm_gpu.market.ssvi import Ssvi, fit_ssvi
from upm_gpu.market.surface import (
    MAX_LOG_MONEYNESS,
    SviSlice,
    density_sign,
    fit_surface,
    implied_volatility,
    total_variance,
)
from upm_gpu.strict_toml import toml_value

RAW = ("a", "b", "rho", "m", "s")
WINGS = ("v", "psi", "p", "c", "vtilde")
LEAST_QUOTES = 6


def jump_wings(svi: SviSlice) -> dict[str, float]:
    """The slice's jump-wing parameters.

    >>> round(jump_wings(SviSlice(None, 1.0, -0.041, 0.1331, 0.306, 0.3586, 0.4153))["v"], 8)
    0.01742625
    """
    root = float(np.hypot(svi.m, svi.s))
    total = svi.a + svi.b * (root - svi.rho * svi.m)
    unit = float(np.sqrt(total))
    return {"v": total / svi.expiry_years, "psi": svi.b * (svi.rho - svi.m / root) / (2.0 * unit), "p": svi.b * (1.0 - svi.rho) / unit, "c": svi.b * (1.0 + svi.rho) / unit,
            "vtilde": (svi.a + svi.b * svi.s * float(np.sqrt(1.0 - svi.rho**2))) / svi.expiry_years}


def without_butterflies(wings: Mapping[str, float]) -> dict[str, float]:
    """The nearest wings of Gatheral and Jacquier's family that hold no butterfly: v, psi and p stay."""
    v, psi, p = wings["v"], wings["psi"], wings["p"]
    c = p + 2.0 * psi
    return {"v": v, "psi": psi, "p": p, "c": c, "vtilde": 4.0 * v * p * c / (p + c) ** 2}


def fit_slice(years: float, k: NDArray[np.float64], volatility: NDArray[np.float64], weight: NDArray[np.float64], start: NDArray[np.float64]) -> tuple[NDArray[np.float64], bool]:
    """Raw SVI (5,) nearest to the quotes of one expiry, and whether the fit converged. The unknowns are a, ln b, rho, m and ln s."""
    level = float(np.interp(0.0, np.sort(k), volatility[np.argsort(k, kind="stable")])) ** 2 * years
    low = np.array([-4.0 * level, np.log(1e-4 * level), -0.9999, float(k.min()) - 0.5, np.log(1e-4)])
    high = np.array([float(np.max(volatility)) ** 2 * years, np.log(50.0 * np.sqrt(level)), 0.9999, float(k.max()) + 0.5, np.log(5.0)])

    def evaluate(_: NDArray[np.int64], z: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        total, by = _total_variance(np.column_stack([z[:, 0], np.exp(z[:, 1]), z[:, 2:4], np.exp(z[:, 4])]), k)
        held = np.maximum(total, 1e-8 * level)
        sigma = np.sqrt(held / years)
        slope = weight / (2.0 * sigma * years)
        by = by * np.stack([np.ones(len(z)), np.exp(z[:, 1]), np.ones(len(z)), np.ones(len(z)), np.exp(z[:, 4])], axis=1)[:, None]
        return weight * (sigma - volatility) + slope * (total - held), slope[..., None] * by

    a, b, rho, m, s = start
    found = solve(evaluate, np.array([[a, np.log(max(b, 1e-8)), rho, m, np.log(max(s, 1e-4))]]), low, high, 300, 1e-13, 1e-24 * np.sum((weight * volatility) ** 2))
    z = found.z[0]
    return np.array([z[0], np.exp(z[1]), z[2], z[3], np.exp(z[4])]), bool(found.converged[0])


def slice_errors(svi: SviSlice, k: NDArray[np.float64], volatility: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """(5,) standard errors of the raw parameters; NaN where the quotes do not tell them."""
    total, by = _total_variance(np.array([[svi.a, svi.b, svi.rho, svi.m, svi.s]]), k)
    sigma = np.sqrt(np.maximum(total[0], 1e-12) / svi.expiry_years)
    j = weight[:, None] * by[0] / (2.0 * sigma * svi.expiry_years)[:, None]
    length = np.linalg.norm(j, axis=0)
    if len(k) <= len(RAW) or not np.all(length > 0.0):
        return np.full(len(RAW), np.nan)
    _, size, turned = np.linalg.svd(j / length, full_matrices=False)
    if not size[-1] > 1e-10 * size[0]:
        return np.full(len(RAW), np.nan)
    error = weight * (sigma - volatility)
    return np.asarray(np.sqrt(np.diag((turned.T / size**2) @ turned) * float(error @ error) / (len(k) - len(RAW))) / length)


def calibrate_surface(market: MarketSnapshot, out: Path, underlyings: Sequence[str] = (), how: str = "joint", ssvi: Callable[..., Ssvi] | None = None) -> dict[str, Any]:
    """Fit (`ssvi` stands for `fit_ssvi`), write the TOML of slices, and return a summary of plain values with the smiles of every expiry under `smiles`. Raises `CalibrationError` UPM-CA-225 (an unknown fit, no chain), 226 (a slice that does not converge), 109."""
    if how not in ("joint", "slices"):
        raise CalibrationError("UPM-CA-225", f"--fit {how!r} is not known. Use joint or slices.")
    quoted = sorted(set(map(str, market.quotes.underlying)))
    names = [u for u in quoted if not underlyings or u in underlyings]
    if not names:
        raise CalibrationError("UPM-CA-225", f"no chain of {', '.join(underlyings)} is in the market, which quotes {', '.join(quoted) or 'none'}. Name one of them with --underlying.")
    keep = ~check_marks(market).quarantined
    tied: dict[str, tuple[Any, ...]] = {}
    surfaces = {u: fit_surface(market, u, keep, _kept(tied, u, ssvi or fit_ssvi)) for u in names}
    tables: dict[str, list[dict[str, Any]]] = {}
    smiles: dict[str, list[dict[str, Any]]] = {}
    fitted: dict[str, list[SviSlice]] = {}
    for u, surface in surfaces.items():
        for svi in surface.slices:
            k, sigma, weight = _quotes(market, u, svi, keep)
            if how == "slices" and len(k) >= LEAST_QUOTES:
                raw, good = fit_slice(svi.expiry_years, k, sigma, weight, np.array([svi.a, svi.b, svi.rho, svi.m, svi.s]))
                if not good:
                    raise CalibrationError("UPM-CA-226", f"{u} {instant_text(svi.expiry)}: the slice did not converge over {len(k)} quotes. Use --fit joint.")
                svi = SviSlice(svi.expiry, svi.expiry_years, *(float(x) for x in raw))
            fitted.setdefault(u, []).append(svi)
            error = implied_volatility(svi, k) - sigma
            tables.setdefault(u, []).append({
                "expiry": instant_text(svi.expiry), "years": svi.expiry_years, "quotes": len(k), "root_mean_square_volatility_error": float(np.sqrt(np.mean(error**2))),
                "parameters": listed(RAW, np.array([svi.a, svi.b, svi.rho, svi.m, svi.s]), slice_errors(svi, k, sigma, weight), [""] * len(RAW)), "jump_wings": jump_wings(svi)})
            unit = float(np.sqrt(max(svi.a + svi.b * (np.hypot(svi.m, svi.s) - svi.rho * svi.m), 1e-12)))
            smiles.setdefault(u, []).append({"label": instant_text(svi.expiry), "years": svi.expiry_years, "x": k / unit, "strike": np.exp(k), "quoted": sigma, "model": sigma + error})
    violations = {u: [*(surface_violations(surfaces[u]) if how == "joint" else _violations(u, found)), *quote_violations(market, u)] for u, found in fitted.items()}
    _write(out, market, how, tables, fitted)
    return {"out": str(out), "valuation_time": instant_text(market.valuation_time), "fit": how, "family": market.surface_family, "surfaces": tables, "violations": violations, "smiles": smiles,
            "tied": {u: _tied(*found) for u, found in tied.items()}}


def _kept(tied: dict[str, tuple[Any, ...]], underlying: str, ssvi: Callable[..., Ssvi]) -> Callable[..., Ssvi]:
    """The fit, whose surface and quotes stay in `tied`."""

    def fit(*quotes: Any) -> Ssvi:
        tied[underlying] = (ssvi(*quotes), *quotes[:4])
        return cast(Ssvi, tied[underlying][0])

    return fit


def _tied(ssvi: Ssvi, *quotes: Any) -> dict[str, Any]:
    """What all expiries of an SSVI surface share, with standard errors."""
    names = tied_names(ssvi.phi)
    values, errors, bounds = ssvi_errors(ssvi, *quotes)
    return listed(names, values[: len(names)], errors[: len(names)], bounds[: len(names)])


def _violations(underlying: str, slices: Sequence[SviSlice]) -> list[dict[str, Any]]:
    """Of slices fitted alone: a negative density, and less total variance than the expiry before, between |k| = 3."""
    k = np.linspace(-MAX_LOG_MONEYNESS, MAX_LOG_MONEYNESS, 1201)
    found: list[dict[str, Any]] = []
    for i, svi in enumerate(slices):
        at = {"underlying": underlying, "expiry": instant_text(svi.expiry)}
        lowest = float(np.min(density_sign(svi, k)))
        fall = float(np.max(total_variance(slices[i - 1], k) - total_variance(svi, k))) if i else 0.0
        found += [at | {"violation": name, "worst": worst} for name, worst, broken in (("butterfly", lowest, lowest < 0.0), ("calendar", fall, fall > 1e-9)) if broken]
    return found


def _total_variance(raw: NDArray[np.float64], k: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """w (B, Q) of raw parameters (B, 5), and its derivatives (B, Q, 5)."""
    a, b, rho, m, s = (raw[:, i, None] for i in range(5))
    d = k - m
    root = np.sqrt(d * d + s * s)
    return a + b * (rho * d + root), np.stack([np.ones_like(root), rho * d + root, b * d, -b * (rho + d / root), b * s / root], axis=-1)


def _quotes(market: MarketSnapshot, underlying: str, svi: SviSlice, keep: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """ln(K / F), volatilities and weights (vega, 1 at the money) of one expiry, ascending in strike."""
    q = market.quotes
    rows = np.array([i for i in np.flatnonzero((q.underlying == underlying) & keep) if q.expiry[i] == svi.expiry and 0.005 <= q.implied_volatility[i] <= 10.0], np.int64)
    years = years_between(market.valuation_time, svi.expiry)
    k, sigma = np.log(q.strike[rows] / market.forwards[(underlying, svi.expiry)]), q.implied_volatility[rows]
    return k, sigma, np.maximum(np.exp(-0.5 * (k / (sigma * np.sqrt(years))) ** 2), 0.03)


def _write(path: Path, market: MarketSnapshot, how: str, tables: Mapping[str, Sequence[Mapping[str, Any]]], fitted: Mapping[str, Sequence[SviSlice]]) -> None:
    rows = ["schema_version = 1", 'kind = "surface"', f'valuation_time = "{instant_text(market.valuation_time)}"', f'family = "{market.surface_family}"', f'fit = "{how}"',
            "# total variance w(k) = a + b (rho (k - m) + sqrt((k - m)^2 + s^2)), k = ln(K / F); a run on this market reads them from market.surface_file"]
    for u, slices in tables.items():
        for found, svi in zip(slices, fitted[u], strict=True):
            rows += ["", f"[[slices.{toml_value(u)}]]", f'expiry = "{found["expiry"]}"', f"years = {toml_value(found['years'])}", f"quotes = {found['quotes']}",
                     f"root_mean_square_volatility_error = {toml_value(found['root_mean_square_volatility_error'])}"]
            rows += [f"{n} = {toml_value(float(getattr(svi, n)))}" for n in RAW]
            rows += [f"{n}_standard_error = {'nan' if row['standard_error'] is None else toml_value(row['standard_error'])}" for n, row in found["parameters"].items()]
            rows.append(f"jump_wings = {toml_value(found['jump_wings'])}")
    try:
        path.write_text("\n".join(rows) + "\n", encoding="utf-8", newline="\n")
    except OSError as error:
        raise CalibrationError("UPM-CA-109", f"{path}: cannot be written ({error.strerror}). Give another --out file.") from None
