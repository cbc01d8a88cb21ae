"""`manifest.json`: everything needed to explain a run and to repeat it, and what must be equal to resume one."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from upm_gpu.errors import UpmError, UsageError
from upm_gpu.run.folder import FORMAT
from upm_gpu.shipped import package_file

SCHEMA_VERSION = 1
"""of the columns in the result files"""
_KERNEL_SUFFIXES = frozenset({".cuh", ".cu", ".cpp", ".h", ".hpp", ".def"})


@cache
def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def program_version() -> str:
    """Version of this package."""
    from upm_gpu import __version__

    return __version__


def versions() -> dict[str, str]:
    """Versions of the interpreter and of the libraries that touch a figure; nothing is imported for it."""
    found = {"python": ".".join(str(n) for n in sys.version_info[:3]), "upm_gpu": program_version()}
    return found | {name: _version(name) for name in ("numpy", "scipy", "pandas", "pyarrow")}


def kernels_sha256(folder: Path | None = None) -> str:
    """SHA-256 over (name, text) of every kernel source, in name order; "" where none is installed."""
    try:
        folder = folder or package_file("kernels")
    except UsageError:
        return ""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in _KERNEL_SUFFIXES and p.is_file()):
        text = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(text)}\0".encode() + text)
    return digest.hexdigest()


def identity() -> dict[str, str]:
    """What a resumed run must share with the one that began: a different program may give different bits."""
    return {"upm_gpu": program_version(), "kernels_sha256": kernels_sha256()}


@dataclass(frozen=True)
class Provenance:
    """The manifest. Hashes are SHA-256 in hex, times in seconds; `extra` holds what a later part of the house adds."""

    snapshot_sha256: str
    """of the market snapshot"""
    spec_sha256: str
    """of the scenario specification"""
    methodology_sha256: str
    kernels_sha256: str
    inputs: Mapping[str, str]
    """file name under inputs/ -> hash"""
    seed: int
    backend: str
    device: str
    device_reason: str
    """why this device: asked for, or why not a better one"""
    precision: str
    scenarios: int
    chunk: int
    threads: int
    isa: str
    counts: Mapping[str, int]
    """accounts, instruments, positions, rows read, rejects, calls ..."""
    timings: Mapping[str, float]
    """engine, and within it simulate, price, aggregate, tail; total ..."""
    error_formula: str
    """how the standard errors were estimated"""
    command: tuple[str, ...]
    valuation_time: str
    reporting_currency: str
    methodology: str = ""
    """name and version"""
    libraries: Mapping[str, str] = field(default_factory=versions)
    warnings: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The content of manifest.json; raises UpmError where a hash or a number could not have been meant."""
        for name in ("snapshot_sha256", "spec_sha256", "methodology_sha256", *(f"inputs/{n}" for n in self.inputs)):
            value = self.inputs[name[7:]] if name.startswith("inputs/") else getattr(self, name)
            if len(value) != 64 or set(value) - set("0123456789abcdef"):
                raise UpmError("UPM-RN-023", f"manifest: {name} is {value!a}, not a SHA-256. Please report this.")
        bad = [n for n, v in self.timings.items() if not (math.isfinite(v) and v >= 0)]
        if bad or not 0 <= self.seed < 2**64 or self.scenarios < 0:
            raise UpmError("UPM-RN-023", f"manifest: undefined timings {bad}, seed {self.seed} or scenarios {self.scenarios}. Please report this.")
        content = asdict(self)
        extra = content.pop("extra")
        return extra | content | {"format": FORMAT, "schema_version": SCHEMA_VERSION, "command": list(self.command),
                                  "warnings": list(self.warnings), "upm_gpu": self.libraries.get("upm_gpu", "")}
