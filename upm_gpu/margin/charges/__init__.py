"""Charges on top of the core measure: one file each.

A charge is a module of this folder with

* `NAME`, the name of the file, by which a methodology names it in its `charges` list;
* `Parameters`, a strict model of its keys (unknown keys and values out of range are refused when the methodology is read);
* `requests(core, parameters) -> list[Request]`, what it needs to have measured;
* `charge(measured, core, multiplier, parameters) -> Charge`, pure arithmetic on what the engine measured.

Adding a charge is adding a file: docs/design/0070-charges.md.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, Protocol

from upm_gpu.errors import InputError
from upm_gpu.margin.requests import Charge, Measured, MeasureRequest, Request
from upm_gpu.strict_toml import Strict


class ChargeModule(Protocol):
    """What the file of a charge offers."""

    NAME: str
    Parameters: type[Strict]

    def requests(self, core: MeasureRequest, parameters: Any) -> list[Request]:
        """What is to be measured."""
        ...

    def charge(self, measured: Measured, core: MeasureRequest, multiplier: float, parameters: Any) -> Charge:
        """(U,) amounts in the reporting currency."""
        ...


def names() -> tuple[str, ...]:
    """The charges on offer."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__)))


def load(name: str, where: str = "") -> ChargeModule:
    """The module of a charge; InputError UPM-CF-070 for a name that is not a file of this folder. `where` begins the message."""
    if name not in names():
        raise InputError("UPM-CF-070", f'{where}charge "{name}" does not exist. On offer: {", ".join(names())}.')
    module: Any = importlib.import_module(f"{__name__}.{name}")
    loaded: ChargeModule = module
    return loaded
