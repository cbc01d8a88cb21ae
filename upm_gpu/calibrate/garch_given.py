"""A file of `upm calibrate garch` read strictly: recursions of a run that are given instead of fitted at its start.

The file's numbers are those of percent returns; here they are decimals. Dependence, and laws that the configuration does not leave to the file, come
from the history as without a file. Verified: tests/end_to_end/test_garch_file.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from upm_gpu.calibrate.garch_file import CLOCKS, PERCENT, SCHEMA_VERSION
from upm_gpu.calibrate.garch_likelihood import DISTRIBUTIONS, KEYS, KINDS
from upm_gpu.errors import InputError
from upm_gpu.model.recursion import Garch, Recursion, check
from upm_gpu.strict_toml import read_parameter_file

HEAD = ("schema_version", "kind", "valuation_time", "units", "assets", "provenance")
OWN = ("asset", "model", "mean", "distribution", "clock", *KEYS, "log_likelihood", "bounds", "standard_errors", "standard_errors_robust", "standard_errors_hessian", "fit")


@dataclass(frozen=True)
class Given:
    """The recursion and law of one asset as a file gives them, in decimals."""

    kind: Recursion
    model: Garch
    distribution: str
    nu: float
    skewness: float
    clock: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class GivenFile:
    """A parameter file of the GARCH family."""

    name: str
    valuation_time: datetime
    assets: dict[str, Given]
    """by series name: BTC, BTC.IV30, ..."""

    def of(self, factor: str) -> Given | None:
        """The entry that moves a factor: `log_level[BTC]` reads BTC, `volatility_shift[BTC]` reads BTC.IV30."""
        return self.assets.get(series_name(factor))


def series_name(factor: str) -> str:
    """The history's name of a factor's series.

    >>> series_name("volatility_shift[BTC]")
    'BTC.IV30'
    """
    kind, _, rest = factor.partition("[")
    return rest.removesuffix("]") + (".IV30" if kind == "volatility_shift" else "")


def read_garch(path: Path | str) -> GivenFile:
    """A file of `upm calibrate garch`, strictly. Raises `InputError` UPM-CA-184 (file or key), `CalibrationError` 120 and 121 (coefficients), 127 and 050 (law)."""
    name = Path(path).name
    data = read_parameter_file(path, "UPM-CA-184", "parameter file", "Make one with `upm calibrate garch`.", "Make one with `upm calibrate garch`.")
    if data.get("schema_version") != SCHEMA_VERSION or data.get("kind") != "garch":
        raise InputError("UPM-CA-184", f"{name}: schema_version {data.get('schema_version')!r} kind {data.get('kind')!r}; the models garch and filtered_historical read version "
                         f"{SCHEMA_VERSION} of kind 'garch'. Make one with `upm calibrate garch`.")
    if data.get("units") != "percent":
        raise InputError("UPM-CA-184", f"{name} key units: {data.get('units')!r}. The numbers must be those of percent returns and say so: units = \"percent\".")
    single = "assets" not in data
    _known(name, data, HEAD + (OWN if single else ()), "")
    try:
        time = datetime.fromisoformat(str(data["valuation_time"]).replace("Z", "+00:00"))
        if time.tzinfo is None:
            raise ValueError
    except (KeyError, ValueError):
        raise InputError("UPM-CA-184", f"{name} key valuation_time: {data.get('valuation_time')!r} is no time with its zone. Write it such as \"2026-02-05T09:36:47Z\".") from None
    tables = data.get("assets")
    if single:
        if not isinstance(data.get("asset"), str) or not data["asset"]:
            raise InputError("UPM-CA-184", f"{name} key asset: {data.get('asset')!r} is no name of a series. Write it in quotes, such as \"BTC\".")
        tables = {data["asset"]: data}
    if not isinstance(tables, dict) or not tables or not all(isinstance(t, dict) for t in tables.values()):
        raise InputError("UPM-CA-184", f"{name} key assets: a table for each asset is needed, [assets.BTC]. Make the file with `upm calibrate garch --asset BTC,ETH`.")
    return GivenFile(name, time, {asset: _entry(name, asset, table, single) for asset, table in tables.items()})


def _entry(name: str, asset: str, table: Mapping[str, Any], single: bool) -> Given:
    here = "" if single else f"assets.{asset}."
    if not single:
        _known(name, table, OWN, here)
    words = {"model": KINDS, "distribution": DISTRIBUTIONS, "clock": CLOCKS[1:]}
    for key, known in words.items():
        if table.get(key) not in known:
            raise InputError("UPM-CA-184", f"{name} key {here}{key}: {table.get(key)!r}. Use one of {', '.join(known)}.")
    value: dict[str, float] = {}
    for key in KEYS:
        default = {"gamma": 0.0, "mu": 0.0, "nu": math.inf, "skewness": 0.0}.get(key)
        found = table.get(key, default)
        if isinstance(found, bool) or not isinstance(found, (int, float)) or math.isnan(found) or (math.isinf(found) and key != "nu"):
            raise InputError("UPM-CA-184", f"{name} key {here}{key}: {found!r} is not a finite number." + (" It is missing: add it." if key not in table else " Correct it."))
        value[key] = float(found)
    model = Garch(value["omega"] / PERCENT**2, value["alpha"], value["beta"], value["gamma"], value["mu"] / PERCENT)
    if table["model"] == "garch" and model.gamma != 0.0:
        raise InputError("UPM-CA-184", f"{name} key {here}gamma: {model.gamma:g} under model garch, which has none. Use 0, or model = \"gjr\".")
    check(model, f"{asset} in {name}")
    law = table["distribution"]
    if law != "normal" and not 2.0 < value["nu"] < math.inf:
        raise InputError("UPM-CA-184", f"{name} key {here}nu: {value['nu']:g} degrees of freedom under {law}. Give a number above 2.")
    if law == "skewed_t" and not -1.0 < value["skewness"] < 1.0:
        raise InputError("UPM-CA-184", f"{name} key {here}skewness: {value['skewness']:g}. Give a number between -1 and 1.")
    kept = table.get("fit", {})
    warnings = tuple(str(w) for w in kept.get("warnings", ())) if isinstance(kept, dict) else ()
    return Given(table["model"], model, law, value["nu"], value["skewness"], table["clock"], warnings)


def _known(name: str, table: Mapping[str, Any], known: Sequence[str], here: str) -> None:
    for key in table:
        if key not in known:
            near = get_close_matches(key, known, 1)
            raise InputError("UPM-CA-184", f"{name}: unknown key {here + key!r}. " + (f"Did you mean {near[0]}?" if near else f"Known are {', '.join(known)}."))


def given_recursions(path: str, factors: Sequence[str], valuation_time: datetime, otherwise: str, clock: str = "calendar") -> tuple[tuple[Given | None, ...], tuple[str, ...]]:
    """(K,) what a file gives each factor, None where it is silent, and warnings. Raises as `read_garch`, and UPM-CA-185 for a series that moves no factor.

    Factors it does not name are filtered by `otherwise` at the start of the run; that is said.
    """
    file = read_garch(path)
    wanted = {series_name(f): f for f in factors}
    for asset, entry in file.assets.items():
        if asset not in wanted:
            near = get_close_matches(asset, wanted, 1)
            raise InputError("UPM-CA-185", f"{file.name}: {asset} moves no factor of this run" + (f"; did you mean {near[0]}?" if near else "") +
                             f" The factors read {', '.join(wanted)}. Leave it out of the file, or add its closes to the market's history.")
        if entry.clock != clock:
            raise InputError("UPM-CA-185", f"{file.name} key clock of {asset}: fitted to days of the clock {entry.clock}, and this run counts {clock} (model.clock). Calibrate with --clock {clock}.")
    notes = [f"UPM-CA-186 {file.name}: {asset}: {w}" for asset, entry in file.assets.items() for w in entry.warnings]
    missing = [f for f in factors if file.of(f) is None]
    if missing:
        notes.append(f"UPM-CA-187 {file.name} gives no recursion of {', '.join(missing)}: filter {otherwise} at the start of the run")
    if file.valuation_time > valuation_time:
        notes.append(f"UPM-CA-110 {file.name} was calibrated at {file.valuation_time.isoformat()}, after the market's {valuation_time.isoformat()}: it knows the future")
    return tuple(file.of(f) for f in factors), tuple(notes)
