"""`upm calibrate covariance`: a history in, a parameter file and a summary out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from upm_gpu.calibrate.covariance import calibrate_covariance, factor_names, price_series
from upm_gpu.domain.text import instant_text
from upm_gpu.errors import CalibrationError


def calibrate_file(
    history: Path | str, out: Path | str, assets: Sequence[str] = (), estimator: str = "ewma", ewma_lambda: float = 0.97, correlation: str = "sample"
) -> dict[str, Any]:
    """`upm calibrate covariance`: a history file or market folder to a parameter file, and a summary of plain values.

    Without `assets`, every underlying of the history that is no volatility series, in name order. A history file is taken
    as known up to its last time.
    """
    from upm_gpu.calibrate.parameter_file import read_history, write_parameters

    frame, valuation_time = read_history(str(history))
    names = list(assets) or price_series(frame)
    if not names:
        raise CalibrationError("UPM-CA-103", f"{history}: the history holds no price series. Add closes.")
    fit = calibrate_covariance(frame, factor_names(names), valuation_time, estimator, ewma_lambda, dependence=correlation)
    write_parameters(fit, Path(out))
    return {
        "out": str(out),
        "valuation_time": instant_text(valuation_time),
        "factors": list(fit.factors),
        "daily_volatility": [round(float(v), 6) for v in fit.daily_volatility],
        "degrees_of_freedom": [float(v) for v in fit.degrees_of_freedom],
        "copula_degrees_of_freedom": fit.copula_degrees_of_freedom,
        "repair_distance": fit.repair_distance,
        "shrinkage_intensity": fit.shrinkage_intensity,
        "notes": [f"daily volatility {f} {v:.4f}" for f, v in zip(fit.factors, fit.daily_volatility, strict=True)] + list(fit.warnings),
    }
