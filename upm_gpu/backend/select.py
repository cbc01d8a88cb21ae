"""Which backend runs, and why."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from types import ModuleType

from upm_gpu.errors import DeviceError, UsageError

ASKED = "asked for"
NAMES = ("cuda", "cpu", "reference")
"""in the order `auto` tries them"""


@dataclass(frozen=True)
class Choice:
    """A backend module with how it runs."""

    module: ModuleType
    precision: str
    threads: int
    reason: str
    """why this one: said in the manifest"""

    @property
    def name(self) -> str:
        """Name of the backend."""
        return self.module.name

    @property
    def warning(self) -> str:
        """What must be said aloud when the choice is a slow one that nobody asked for; "" otherwise."""
        if self.reason != ASKED and self.name == "reference":
            return f"UPM-DV-098 device auto takes reference, which is slow and meant for checks. {self.reason}"
        if self.name == "cpu" and self.module.isas()[0] == "plain":
            return "UPM-DV-018 this processor has no AVX2: the compiled engine runs its plain code, which is correct and many times slower."
        return ""


def module(name: str) -> ModuleType:
    """The backend module `name`."""
    return importlib.import_module(f"upm_gpu.backend.{name}")


def usable_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose(name: str, precision: str = "mixed", threads: int = 0) -> Choice:
    """The backend asked for, or for `auto` the first that runs here. Raises DeviceError with its reason code when it cannot run."""
    threads = threads or usable_cores()
    if precision == "fast" and name in ("cpu", "reference"):
        raise UsageError("UPM-CF-063", f"precision fast is for device cuda, not {name}. Use mixed.")
    if precision not in ("double", "mixed"):
        raise UsageError("UPM-CF-068", f'precision "{precision}" is not offered. Use double or mixed.')
    if name != "auto":
        if name not in NAMES:
            raise UsageError("UPM-CF-069", f'device "{name}" does not exist. Use auto, {", ".join(NAMES)}.')
        chosen = module(name)
        runs, code, text = chosen.available()
        if not runs:
            raise DeviceError(code, f"device {name} cannot run here: {text}")
        return Choice(chosen, precision, threads, ASKED)
    reasons: list[str] = []
    for candidate in NAMES:
        chosen = module(candidate)
        runs, code, text = chosen.available()
        if runs:
            return Choice(chosen, precision, threads, "; ".join(reasons) or "first choice")
        reasons.append(f"{candidate}: {code} {text}")
    raise DeviceError("UPM-DV-099", "no backend runs here: " + "; ".join(reasons))
