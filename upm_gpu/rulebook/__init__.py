"""Deterministic rule books of venues: one file each, one parameter file a published version.

A rule book is a module of this folder with `Parameters` (a `RuleParameters`: strict, ranges checked) and `margin(held, parameters, values) -> RuleMargin`:
`held` is a book with its market (`frame/held.py`), `values` a backend's operation that prices columns. Adding a rule book is adding its file here and its
numbers to `configs/methodology/`, which name it by `rule_book`.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from upm_gpu.errors import InputError
from upm_gpu.shipped import find_file
from upm_gpu.strict_toml import build, near_key, place, read_toml


def names() -> tuple[str, ...]:
    """The rule books on offer."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.ispkg))


@dataclass(frozen=True)
class RuleBook:
    """A rule book with the parameters of one file."""

    module: ModuleType
    parameters: Any

    @property
    def title(self) -> str:
        """Name and version, as in the file."""
        return f"{self.parameters.name} {self.parameters.version}"


def load_rule_book(path: str | Path) -> RuleBook:
    """A parameter file with its rule book. Raises InputError UPM-CF-120 for one that does not exist, and as `strict_toml.build` does with every complaint."""
    file = find_file(path)
    tables, text = read_toml(file, "methodology")
    asked = tables.get("rule_book")
    if asked not in names():
        near = near_key(str(asked), list(names()))
        raise InputError("UPM-CF-120", f"{place(file.name, text, 'rule_book')}: rule book {asked!r} does not exist.{f' Did you mean {near}?' if near else ''} On offer: {', '.join(names())}.")
    module = importlib.import_module(f"{__name__}.{asked}")
    made = build(module.Parameters, tables, file.name, text, {"schema_version": 67})
    if hasattr(module, "check"):
        module.check(made, file.name, text)
    return RuleBook(module, made)
