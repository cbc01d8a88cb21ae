"""Charges on top of the core measure: one file each.

A charge is a module of this folder with `NAME`, `requests(core, parameters) -> list[MeasureRequest]` and
`charge(measured, core, multiplier, parameters) -> Charge`: pure arithmetic on what the engine measured. A methodology file names it in its
`charges` list. Adding a charge is adding a file.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from upm_gpu.errors import InputError


def names() -> tuple[str, ...]:
    """The charges on offer."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__)))


def load(name: str) -> ModuleType:
    """The module of a charge; InputError UPM-CF-070 for a name that is not a file of this folder."""
    if name not in names():
        raise InputError("UPM-CF-070", f'charge "{name}" does not exist. On offer: {", ".join(names())}.')
    return importlib.import_module(f"{__name__}.{name}")
