"""Parameter files of fits to chains: written for `upm run` (kinds heston, bates, merton), and read back as the start of the next fit.

The keys are those of `model/heston.py`, `bates.py` and `merton.py`; what is known of each value stands under [provenance]. Verified: tests/end_to_end/test_calibrate_chains.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.chain.fit import ChainFit
from upm_gpu.calibrate.chain.intervals import Intervals
from upm_gpu.calibrate.chain.moments import DIFFUSION, JUMPS, chain_model
from upm_gpu.calibrate.covariance import CovarianceFit
from upm_gpu.domain.text import instant_text
from upm_gpu.errors import CalibrationError, InputError
from upm_gpu.model.jumps import YEAR_DAYS
from upm_gpu.strict_toml import toml_value

SCHEMA_VERSION = 1
KEYS = dict(zip(DIFFUSION, ("initial_variance", "mean_reversion", "long_variance", "volatility_of_variance", "rho"), strict=True))
"""parameter of a fit -> key of a heston file"""
OWN = dict(zip(JUMPS, ("intensity", "mean", "deviation"), strict=True))
"""the same of the section [own]"""


def write_chain_parameters(path: Path, fits: Mapping[str, ChainFit], covariance: CovarianceFit | None, provenance: Mapping[str, Any],
                           intervals: Mapping[str, Intervals] | None = None) -> None:
    """The file of one fit an underlying; `covariance` joins several and gives the volatilities their own motion under merton. Raises `CalibrationError` UPM-CA-217 without what several need, 109."""
    names = list(fits)
    kind = next(iter(fits.values())).model.name
    time = max((f.chain.valuation_time for f in fits.values() if f.chain.valuation_time is not None), default=None)
    rows = [f"schema_version = {SCHEMA_VERSION}", f'kind = "{kind}"', *([] if time is None else [f'valuation_time = "{instant_text(time)}"'])]
    rows += _merton(fits, covariance) if kind == "merton" else _variance(fits, covariance)
    if kind != "heston":
        empty = [0.0] * (len(_states(covariance, names)) - len(names)) if kind == "merton" else []
        rows += ["", "[own]"]
        for name, key in OWN.items():
            rows.append(f"{key} = {toml_value([*(f.value(name) for f in fits.values()), *empty])}")
    rows += ["", "[provenance]", *(f"{k} = {toml_value(v)}" for k, v in provenance.items())]
    for name, fit in fits.items():
        rows += ["", f"[provenance.fit.{toml_value(name)}]", f"quotes = {len(fit.chain.strike)}", f"expiries = {len(fit.chain.years)}",
                 f"root_mean_square_volatility_error = {toml_value(float(np.sqrt(np.mean(fit.residual**2))))}", f"condition_number = {toml_value(fit.condition)}",
                 "# nan: held by its bound", *(f"{p} = {toml_value(v)}" for p, v in zip((f"{p}_standard_error" for p in fit.model.parameters), fit.standard_errors, strict=True)),
                 *(f"{p}_interval_95 = {toml_value(v)}" for p, v in zip(fit.model.parameters, [] if intervals is None else intervals[name].ends.tolist(), strict=intervals is not None)),
                 f"bounds = {toml_value([f'{p}: {b}' for p, b in zip(fit.model.parameters, fit.bounds, strict=True) if b])}"]
    try:
        path.write_text("\n".join(rows) + "\n", encoding="utf-8", newline="\n")
    except OSError as error:
        raise CalibrationError("UPM-CA-109", f"{path}: cannot be written ({error.strerror}). Give another --out file.") from None


def read_start(path: Path, kind: str, underlying: str) -> NDArray[np.float64]:
    """Parameters of the last fit of an underlying, in the order of `chain_model(kind).parameters`. Raises `InputError` UPM-CA-072 to 074, 218 where the underlying is not in it."""
    from upm_gpu.model import bates, heston, merton
    from upm_gpu.model.parameter_table import read_table

    known: Sequence[str] = {"heston": heston.KEYS, "bates": (*heston.KEYS, *merton.JUMP_KEYS), "merton": merton.KEYS}[kind] if bates else ()
    table = read_table(path, kind, known)
    names = table.text("states" if kind == "merton" else "underlyings")
    label = f"log_level[{underlying}]" if kind == "merton" else underlying
    if label not in names:
        raise InputError("UPM-CA-218", f"{path}: {label} is not in the file to start from, which has {', '.join(names)}. Give the file of an earlier fit of {underlying}, or leave --start out.")
    at, shape = names.index(label), (len(names),)
    found = {}
    for parameter in chain_model(kind).parameters:
        key = KEYS.get(parameter) or (f"own.{OWN[parameter]}" if parameter in OWN else "daily_volatility")
        value = float(table.numbers(key, shape)[at])
        found[parameter] = value * float(np.sqrt(YEAR_DAYS)) if key == "daily_volatility" else value
    return np.array(list(found.values()))


def _variance(fits: Mapping[str, ChainFit], covariance: CovarianceFit | None) -> list[str]:
    correlation = _correlation([f"log_level[{n}]" for n in fits], covariance)
    rows = [f"underlyings = {toml_value(list(fits))}", "# a year of 365 days, of the law that prices the chain"]
    rows += [f"{key} = {toml_value([f.value(name) for f in fits.values()])}" for name, key in KEYS.items()]
    return [*rows, "# of the price motions across underlyings", "correlation = [", *(f"  {toml_value(row)}," for row in correlation), "]"]


def _states(covariance: CovarianceFit | None, names: Sequence[str]) -> list[str]:
    shifts = [] if covariance is None else [f for f in (f"volatility_shift[{n}]" for n in names) if f in covariance.factors]
    return [*(f"log_level[{n}]" for n in names), *shifts]


def _merton(fits: Mapping[str, ChainFit], covariance: CovarianceFit | None) -> list[str]:
    states = _states(covariance, list(fits))
    daily = [f.value("volatility") / float(np.sqrt(YEAR_DAYS)) for f in fits.values()]
    if covariance is not None:
        daily += [float(covariance.daily_volatility[covariance.factors.index(s)]) for s in states[len(daily):]]
    return [f"states = {toml_value(states)}", "# of the diffusion, over one day", f"daily_volatility = {toml_value(daily)}", "correlation = [", *(f"  {toml_value(row)}," for row in _correlation(states, covariance)), "]"]


def _correlation(states: Sequence[str], covariance: CovarianceFit | None) -> NDArray[np.float64]:
    """Of the history where there is one; a single state needs none."""
    if len(states) == 1:
        return np.ones((1, 1))
    missing = [s for s in states if covariance is None or s not in covariance.factors]
    if covariance is None or missing:
        raise CalibrationError("UPM-CA-217", f"the correlation of {', '.join(states)} is not in the chains and the history has none of {', '.join(missing)}. Give --history, or one --underlying.")
    at = [covariance.factors.index(s) for s in states]
    return np.asarray(covariance.correlation[np.ix_(at, at)])
