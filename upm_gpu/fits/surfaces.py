"""`upm calibrate surface`: the slices of a market's chains, their table and page. Verified: tests/end_to_end/test_calibrate_surface.py."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from upm_gpu.calibrate.chain.engines import ENGINES, engine_of, engine_words
from upm_gpu.errors import CalibrationError
from upm_gpu.fits.output import write_output


def calibrate_surfaces(source: str, out: Path, underlyings: Sequence[str], family: str, fit: str, page: Path | None, command: tuple[str, ...] = (), engine: str = "compiled") -> dict[str, Any]:
    """`upm calibrate surface`. Raises `CalibrationError` UPM-CA-225, 226, 230, `MarketDataError` 120."""
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
    summary = calibrate_surface(market, out, underlyings, fit, _engine(engine, family))
    summary["engine"] = engine_words(engine)
    drawn = summary.pop("smiles")
    if page is not None:
        from upm_gpu.report.calibration_page import render_calibration

        tables = summary["surfaces"]
        fits = {u: {"root_mean_square_volatility_error": _overall(rows), "valuation_time": summary["valuation_time"], "quotes": sum(r["quotes"] for r in rows), "expiries": [r["expiry"] for r in rows],
                    "left_out": {}, "parameters": {n: {"standard_error_by_expiry": None} | p for n, p in summary["tied"].get(u, {}).items()}} for u, rows in tables.items()}
        per_expiry = {u: [r | {"expiries": [r["expiry"]], "condition_number": None} for r in rows] for u, rows in tables.items()}
        lines = [", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()) for rows in summary["violations"].values() for row in rows]
        shown = {"model": f"{family} surface", "objective": "volatility", "weights": "", "feller": False, "fits": fits, "per_expiry": per_expiry, "warnings": lines}
        write_output(page, render_calibration(shown, drawn, {u: {} for u in drawn}, {"source": source, "fit": fit, "family": family, "engine": summary["engine"], "command": list(command)}))
    return summary


def _engine(engine: str, family: str) -> Any:
    """What fits SSVI instead of the compiled one; None for that. Raises `CalibrationError` UPM-CA-225, 230."""
    if engine not in ENGINES:
        raise CalibrationError("UPM-CA-225", f"--engine {engine!r} is not known. Use one of {', '.join(ENGINES)}.")
    if engine == "compiled":
        return None
    if family == "svi":
        raise CalibrationError("UPM-CA-225", "--engine jax fits the families ssvi_power_law and ssvi_heston, not svi, whose slices are tied by a penalty. Leave --engine out.")
    from upm_gpu.calibrate.automatic.ssvi import fit_ssvi_surfaces

    engine_of(engine)
    return lambda years, k, volatility, weight, phi: fit_ssvi_surfaces([(years, k, volatility, weight)], phi)[0]


def render_surfaces(summary: Mapping[str, Any]) -> str:
    """The slices as a table a person reads."""
    lines = []
    for u, rows in summary["surfaces"].items():
        lines.append(f"{u}: {summary['family']}, {summary['fit']}, {summary['valuation_time']}; {100.0 * _overall(rows):.2f} volatility points over {sum(r['quotes'] for r in rows)} quotes")
        lines.append(f"  {'expiry':22}{'quotes':>7}{'points':>8}" + "".join(f"{n:>13}{'error':>10}" for n in rows[0]["parameters"]))
        for row in rows:
            cells = "".join(f"{p['value']:>13.5g}{'-' if p['standard_error'] is None else format(p['standard_error'], '.2g'):>10}" for p in row["parameters"].values())
            lines.append(f"  {row['expiry']:22}{row['quotes']:>7}{100.0 * row['root_mean_square_volatility_error']:>8.2f}{cells}")
        for name, p in summary["tied"].get(u, {}).items():
            lines.append(f"  {name:22}{p['value']:>15.5g}{'-' if p['standard_error'] is None else format(p['standard_error'], '.2g'):>10}{'  ' + p['bound'] if p['bound'] else ''}")
        found = summary["violations"][u]
        lines.append(f"  {len(found)} lines of arbitrage in quotes and slices, with --json" if found else "  no arbitrage in quotes or slices")
    return "\n".join([*lines, str(summary["out"])])


def _overall(rows: Sequence[Mapping[str, Any]]) -> float:
    """Root mean square error over the quotes of all expiries."""
    count = sum(r["quotes"] for r in rows)
    return math.sqrt(sum(r["quotes"] * r["root_mean_square_volatility_error"] ** 2 for r in rows) / max(count, 1))
