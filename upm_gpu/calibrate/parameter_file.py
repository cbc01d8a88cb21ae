"""Calibrated parameters as TOML, written and read back without loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.calibrate.covariance import CovarianceFit
from upm_gpu.domain.text import instant_text
from upm_gpu.errors import CalibrationError, InputError
from upm_gpu.strict_toml import read_parameter_file, toml_value

SCHEMA_VERSION = 1
KEYS = ("schema_version", "kind", "valuation_time", "states", "daily_volatility", "correlation", "degrees_of_freedom",
        "copula_degrees_of_freedom", "daily_mean", "stressed_correlation", "half_life_days", "volatility_dynamics", "provenance")


def write_parameters(fit: CovarianceFit, path: Path, more: Sequence[str] = ()) -> None:
    """The TOML file of a fit and the lines `more` of its provenance; numbers in the shortest form that reads back to the same bits."""
    rows = [
        f"schema_version = {SCHEMA_VERSION}",
        'kind = "covariance"',
        f'valuation_time = "{instant_text(fit.valuation_time)}"',
        f"states = {toml_value(fit.factors)}",
        "# standard deviation of the log-change over one day",
        f"daily_volatility = {toml_value(fit.daily_volatility)}",
        "# mean log-change a day; read under the historical measure only",
        f"daily_mean = {toml_value(fit.daily_mean)}",
        "correlation = [",
        *(f"  {toml_value(row)}," for row in fit.correlation),
        "]",
        *([] if fit.stressed_correlation is None else ["stressed_correlation = [", *(f"  {toml_value(row)}," for row in fit.stressed_correlation), "]"]),
        *(["# days in which half of a move is gone, 0: it stays; the configuration's half-lives come before them", f"half_life_days = {toml_value(fit.half_life_days)}"] if len(fit.half_life_days) else []),
        *([f'volatility_dynamics = "{fit.volatility_dynamics}"'] if fit.volatility_dynamics else []),
        "# maximum likelihood estimates; the laws in force are those of the run's configuration",
        f"degrees_of_freedom = {toml_value(fit.degrees_of_freedom)}",
        f"copula_degrees_of_freedom = {toml_value(fit.copula_degrees_of_freedom)}",
        "",
        "[provenance]",
        f'estimator = "{fit.estimator}"',
        f"ewma_lambda = {toml_value(fit.ewma_lambda)}",
        f'shrinkage = "{fit.shrinkage}"',
        f"shrinkage_intensity = {toml_value(fit.shrinkage_intensity)}",
        f'dependence = "{fit.dependence}"',
        f"repair_distance = {toml_value(fit.repair_distance)}",
        f"first_close = {toml_value(fit.first)}",
        "# returns used: of each factor on the diagonal, common to a pair beside it",
        "observations = [",
        *(f"  {toml_value(row)}," for row in fit.observations),
        "]",
        f"proxies = {toml_value(fit.proxies)}",
        f"warnings = {toml_value(fit.warnings)}",
        *more,
    ]
    try:
        path.write_text("\n".join(rows) + "\n", encoding="utf-8", newline="\n")
    except OSError as error:
        raise CalibrationError("UPM-CA-109", f"{path}: cannot be written ({error.strerror}). Give another --out file.") from None


def read_parameters(path: Path | str) -> CovarianceFit:
    """A parameter file back as a fit. Raises `InputError` UPM-CA-108."""
    from difflib import get_close_matches

    data = read_parameter_file(path, "UPM-CA-108", "parameter file", "Make one with `upm calibrate covariance`.", "Make one with `upm calibrate covariance`.")
    if data.get("schema_version") != SCHEMA_VERSION or data.get("kind") != "covariance":
        raise InputError("UPM-CA-108", f"{path}: schema_version {data.get('schema_version')!r} kind {data.get('kind')!r}; version {SCHEMA_VERSION} of kind 'covariance' "
                         "is read here. Calibrate again.")
    for key in data:
        if key not in KEYS:
            near = get_close_matches(key, KEYS, 1)
            raise InputError("UPM-CA-108", f"{path}: unknown key {key!r}" + (f"; did you mean {near[0]}?" if near else f"; known are {', '.join(KEYS)}."))
    try:
        factors = tuple(str(s) for s in data["states"])
        volatility = np.array(data["daily_volatility"], np.float64)
        correlation = np.array(data["correlation"], np.float64)
        valuation_time = datetime.fromisoformat(str(data["valuation_time"]).replace("Z", "+00:00"))
        degrees = np.array(data.get("degrees_of_freedom", [math.nan] * len(factors)), np.float64)
        copula = float(data.get("copula_degrees_of_freedom", math.nan))
        mean = np.array(data.get("daily_mean", []), np.float64)
        half_life = np.array(data.get("half_life_days", []), np.float64)
        stressed = np.array(data["stressed_correlation"], np.float64) if "stressed_correlation" in data else None
    except KeyError as error:
        raise InputError("UPM-CA-108", f"{path}: key {error.args[0]!r} is missing. Calibrate again.") from None
    except (TypeError, ValueError) as error:
        raise InputError("UPM-CA-108", f"{path}: a value has the wrong form ({error}). Calibrate again.") from None
    size = len(factors)
    if volatility.shape != (size,) or correlation.shape != (size, size) or degrees.shape != (size,) or mean.shape not in ((size,), (0,)):
        raise InputError("UPM-CA-108", f"{path}: {size} states need {size} volatilities and means, {size} degrees of freedom and a {size} x {size} correlation. Calibrate again.")
    if stressed is not None and stressed.shape != (size, size):
        raise InputError("UPM-CA-108", f"{path}: {size} states need a {size} x {size} stressed_correlation. Correct the matrix, or remove the key.")
    if half_life.shape not in ((size,), (0,)):
        raise InputError("UPM-CA-108", f"{path}: {size} states need {size} half_life_days. Calibrate again, or remove the key.")
    kept = data.get("provenance", {})
    observations = np.array(kept.get("observations", np.zeros((size, size))), np.int64)
    if observations.shape != (size, size):
        raise InputError("UPM-CA-108", f"{path}: {size} states need {size} x {size} observations. Calibrate again, or remove the key.")
    return CovarianceFit(
        factors=factors, valuation_time=valuation_time, daily_volatility=volatility, correlation=correlation,
        estimator=str(kept.get("estimator", "")), ewma_lambda=float(kept.get("ewma_lambda", math.nan)), shrinkage=str(kept.get("shrinkage", "none")),
        shrinkage_intensity=float(kept.get("shrinkage_intensity", 0.0)), dependence=str(kept.get("dependence", "sample")),
        repair_distance=float(kept.get("repair_distance", 0.0)), observations=observations, first=tuple(kept.get("first_close", ())), degrees_of_freedom=degrees,
        copula_degrees_of_freedom=copula, proxies=tuple(kept.get("proxies", ())), warnings=tuple(kept.get("warnings", ())), daily_mean=mean, stressed_correlation=stressed,
        half_life_days=half_life, volatility_dynamics=str(data.get("volatility_dynamics", "")))


def read_history(path: str) -> tuple[Any, datetime]:
    """History (timestamp, asset, close) and valuation time of a market folder, `sample:NAME`, or a history file."""
    from upm_gpu.shipped import resolve_sample

    folder = resolve_sample(path, "market")
    if folder.is_dir():
        from upm_gpu.market.reader import load_market

        market = load_market(folder)
        return market.history, market.valuation_time
    import pandas as pd

    from upm_gpu.market import deribit_files

    rows = deribit_files.read_history(Path(path))
    frame = pd.DataFrame(rows, columns=["timestamp", "asset", "close"])
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], utc=True).astype("datetime64[ns, UTC]")
    if frame.empty:
        raise CalibrationError("UPM-CA-103", f"{path}: the history holds no row. Add closes.")
    return frame, frame["timestamp"].max().to_pydatetime()
