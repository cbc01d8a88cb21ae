"""A model's parameter file: TOML read strictly, every complaint with file, key, value and remedy.

    schema_version = 1
    kind = "merton"
    states = ["log_level[BTC]", "volatility_shift[BTC]"]
    daily_volatility = [0.03, 0.05]

A number given for a key that wants one value a state stands for all of them. Keys under [provenance] are free. Verified: tests/faults/test_model_files.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import InputError
from upm_gpu.strict_toml import read_parameter_file

SCHEMA_VERSION = 1
COMMON = ("schema_version", "kind", "valuation_time", "provenance")


@dataclass(frozen=True)
class ParameterTable:
    """The tables of a file whose keys are all known."""

    name: str
    values: dict[str, Any]
    """by dotted key"""

    def has(self, key: str) -> bool:
        return key in self.values

    def text(self, key: str) -> tuple[str, ...]:
        """A list of different names."""
        value = self._get(key)
        if not isinstance(value, list) or not value or not all(isinstance(v, str) and v for v in value) or len(set(value)) != len(value):
            raise InputError("UPM-CA-074", f"{self.name} key {key}: {value!r} is not a list of different names. Write each once, in quotes.")
        return tuple(value)

    def number(self, key: str, low: float = -np.inf, high: float = np.inf, default: float | None = None, above: bool = False) -> float:
        """One finite number in [low, high], or in (low, high] with `above`."""
        return float(self.numbers(key, (), low, high, default, above))

    def numbers(self, key: str, shape: tuple[int, ...], low: float = -np.inf, high: float = np.inf, default: float | None = None,
                above: bool = False) -> NDArray[np.float64]:
        """Finite numbers of `shape` in [low, high]; one number stands for a row of them, not for a matrix."""
        if key not in self.values and default is not None:
            return np.full(shape, default)
        value = self._get(key)
        try:
            found = np.array(value)
            if found.dtype.kind not in "if" or found.dtype == bool:
                raise ValueError
            found = found.astype(np.float64)
        except (ValueError, TypeError):
            raise InputError("UPM-CA-074", f"{self.name} key {key}: {_short(value)} are not numbers. Write them without quotes, rows of equal length.") from None
        if found.ndim == 0 and len(shape) == 1:
            found = np.full(shape, float(found))
        if found.shape != shape:
            wanted = " x ".join(map(str, shape)) or "one number"
            raise InputError("UPM-CA-074", f"{self.name} key {key}: {' x '.join(map(str, found.shape)) or 'one'} numbers, {wanted} needed. Give one for each state.")
        bad = ~np.isfinite(found) | (found < low) | (found > high) | (above & (found == low))
        if np.any(bad):
            first = found[bad].flat[0]
            place = f" at position {int(np.flatnonzero(bad)[0]) + 1}" if shape else ""
            bound = f"above {low:g}" if above else f"from {low:g}"
            raise InputError("UPM-CA-074", f"{self.name} key {key}: {first:g}{place} is outside its range. Give a finite number {bound} to {high:g}.")
        return found

    def word(self, key: str, default: str) -> str:
        """One name, `default` where the file has none."""
        value = self.values.get(key, default)
        if not isinstance(value, str) or not value:
            raise InputError("UPM-CA-074", f"{self.name} key {key}: {value!r} is not a name. Write one in quotes.")
        return value

    def stressed_correlation(self, size: int) -> NDArray[np.float64] | None:
        """The matrix that correlation regimes of a stressed period move to, where the file gives one."""
        return self.numbers("stressed_correlation", (size, size), -1.0, 1.0) if self.has("stressed_correlation") else None

    def _get(self, key: str) -> Any:
        if key not in self.values:
            raise InputError("UPM-CA-073", f"{self.name}: key {key} is missing. Add it.")
        return self.values[key]


def read_table(path: str | Path, kind: str, known: Sequence[str]) -> ParameterTable:
    """The file of a model of `kind` with the dotted keys `known`. Raises `InputError` UPM-CA-072 (file), 073 (key)."""
    name = Path(path).name
    tables = read_parameter_file(path, "UPM-CA-072", "parameter file", "Name an existing one in model.parameters.", "Write it as TOML.")
    if tables.get("schema_version") != SCHEMA_VERSION or tables.get("kind") != kind:
        raise InputError("UPM-CA-072", f"{name}: schema_version {tables.get('schema_version')!r} kind {tables.get('kind')!r}; the model {kind} reads schema_version "
                         f"{SCHEMA_VERSION} kind {kind!r}. Give its own file, or set model.name to the kind of this one.")
    values: dict[str, Any] = {}
    for key, value in tables.items():
        if key in COMMON:
            continue
        for dotted, one in {f"{key}.{k}": v for k, v in value.items()}.items() if isinstance(value, dict) else [(key, value)]:
            if dotted not in known:
                near = get_close_matches(dotted, known, 1)
                raise InputError("UPM-CA-073", f"{name}: unknown key {dotted!r}. " + (f"Did you mean {near[0]}?" if near else f"Known are {', '.join(known)}."))
            values[dotted] = one
    return ParameterTable(name, values)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
