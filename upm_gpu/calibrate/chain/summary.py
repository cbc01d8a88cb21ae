"""A fit as plain values, as text, as smiles and as a table of days: what the command prints, the page draws and the parameter file keeps.

Verified: tests/end_to_end/test_calibrate_chains.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.chain.fit import ChainFit
from upm_gpu.calibrate.chain.intervals import Intervals
from upm_gpu.calibrate.chain.quotes import Chain
from upm_gpu.domain.text import instant_text

SIDES = ("lower", "upper")


def fit_summary(fit: ChainFit, intervals: Intervals | None = None) -> dict[str, Any]:
    """Value, standard errors, t, bound and, where given, interval of every parameter, and how well the smile is met; null where there is none."""
    table: dict[str, dict[str, Any]] = {}
    for i, name in enumerate(fit.model.parameters):
        value, error, clustered = float(fit.parameters[i]), float(fit.standard_errors[i]), float(fit.clustered_errors[i])
        table[name] = {"value": _digits(value), "standard_error": _digits(error), "t": _digits(value / error) if error > 0.0 else None,
                       "standard_error_by_expiry": _digits(clustered), "bound": fit.bounds[i] or None}
        if intervals is not None:
            table[name] |= {"interval_95": [_digits(float(x)) for x in intervals.ends[i]], "interval_open": [side for side, free in zip(SIDES, intervals.open[i], strict=True) if free]}
    found = {"valuation_time": when(fit.chain) or None, "expiries": list(fit.chain.labels), "quotes": len(fit.chain.strike), "left_out": dict(fit.chain.left_out), "parameters": table,
             "root_mean_square_volatility_error": _digits(float(np.sqrt(np.mean(fit.residual**2)))), "sum_of_squares_volatility_points": _digits(float(np.sum((100.0 * fit.residual) ** 2))),
             "weighted_sum_of_squares": _digits(2.0 * fit.cost), "condition_number": _digits(fit.condition), "converged": fit.converged, "iterations": fit.iterations}
    if fit.model.name != "merton":
        found["feller_ratio"] = _digits(2.0 * fit.value("mean_reversion") * fit.value("long_run_variance") / fit.value("vol_of_vol") ** 2)
    return found


def fit_warnings(fit: ChainFit, intervals: Intervals | None = None) -> list[str]:
    """What a reader of the parameters must know."""
    where = f"{fit.chain.underlying} {when(fit.chain)}".strip()
    found = [f"UPM-CA-214 {where}: {name} sits on its {bound if bound != 'feller' else 'Feller'} bound ({fit.value(name):.6g}); it has no standard error and the quotes ask for more"
             for name, bound in zip(fit.model.parameters, fit.bounds, strict=True) if bound]
    if fit.weakest:
        found.append(f"UPM-CA-214 {where}: condition number {fit.condition:.3g}: the quotes do not tell {', '.join(fit.weakest)} apart")
    if intervals is not None:
        found += [f"UPM-CA-214 {where}: the quotes put no {side} end to {name}: its 95 % interval reaches the bound {intervals.ends[i, s]:.6g}"
                  for i, name in enumerate(fit.model.parameters) for s, side in enumerate(SIDES) if intervals.open[i, s] and not fit.bounds[i]]
    if not fit.converged:
        found.append(f"UPM-CA-214 {where}: no convergence in {fit.iterations} steps")
    return found


def render_summary(summary: Mapping[str, Any]) -> str:
    """The summary as tables a person reads."""
    lines = []
    for name, fit in summary["fits"].items():
        which = (f", {fit['valuation_time']}" if fit["valuation_time"] else "") + (f", last of {fit['days']} chains" if fit["days"] > 1 else "")
        lines.append(f"{name}: {summary['model']}, {fit['quotes']} quotes of {len(fit['expiries'])} expiries{which}; root mean square error {100.0 * fit['root_mean_square_volatility_error']:.2f} volatility points; {fit['iterations']} steps{'' if summary['engine'] == 'compiled' else ', ' + summary['engine']}")
        lines.append(f"  {'':18}{'value':>12}{'std. error':>12}{'t':>10}{'by expiry':>12}  {'95 % interval':>24}  bound")
        for key, row in fit["parameters"].items():
            cells = "".join(f"{'-' if row[c] is None else format(row[c], f):>{w}}" for c, w, f in (("value", 12, ".5g"), ("standard_error", 12, ".3g"), ("t", 10, ".4g"), ("standard_error_by_expiry", 12, ".3g")))
            lines.append(f"  {key:18}{cells}  {_span(row):>24}  {row['bound'] or ''}".rstrip())
    for name, found in summary["per_expiry"].items():
        for fit in found:
            values = ", ".join(f"{k} {row['value']:.4g}" for k, row in fit["parameters"].items())
            lines.append(f"  {name} {fit['expiries'][0]}: {values}; {100.0 * fit['root_mean_square_volatility_error']:.2f} volatility points of {fit['quotes']} quotes")
    shown = summary["warnings"][:12]
    hidden = len(summary["warnings"]) - len(shown)
    return "\n".join([*lines, *shown, *([f"{hidden} more warnings with --json"] if hidden else []), str(summary["out"])])


def _span(row: Mapping[str, Any]) -> str:
    """An interval as text; an end that is the box's in brackets."""
    if None in row.get("interval_95", [None]):
        return "-"
    low, high = (f"({x:.5g})" if side in row["interval_open"] else f"{x:.5g}" for side, x in zip(SIDES, row["interval_95"], strict=True))
    return f"{low} to {high}"


def smiles(fit: ChainFit) -> list[dict[str, Any]]:
    """By expiry, ascending in strike: label, standard deviations at the money from the forward, quoted volatilities and the model's."""
    found = []
    for e, label in enumerate(fit.chain.labels):
        own = np.flatnonzero(fit.chain.expiry == e)
        own = own[np.argsort(fit.chain.strike[own], kind="stable")]
        found.append({"label": label, "years": float(fit.chain.years[e]), "x": -fit.chain.log_moneyness[own] / fit.chain.deviation[e], "strike": fit.chain.strike[own], "quoted": fit.chain.volatility[own], "model": fit.volatility[own]})
    return found


def course(fits: Sequence[ChainFit]) -> dict[str, NDArray[np.float64]]:
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
            rows.append(",".join([u, when(f.chain), str(len(f.chain.strike)), "converged" if f.converged else "not_converged", *("" if math.isnan(x) else repr(x) for x in numbers),
                                  " ".join(f"{n}:{b}" for n, b in zip(names, f.bounds, strict=True) if b)]))
    return "\n".join(rows) + "\n"


def when(chain: Chain) -> str:
    """The chain's time as text; empty where it has none."""
    return "" if chain.valuation_time is None else instant_text(chain.valuation_time)


def _digits(value: float) -> float | None:
    return float(f"{value:.8g}") if math.isfinite(value) else None
