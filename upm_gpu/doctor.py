"""What runs here and, with a reason code, what does not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from typing import Any

from upm_gpu import __version__
from upm_gpu.backend.select import NAMES, module, usable_cores

LIBRARIES = ("numpy", "scipy", "pandas", "pyarrow", "pydantic", "typer", "rich")
OPTIONAL = {"report": ("plotly", "jinja2"), "cuda": ("cupy-cuda12x", "cupy-cuda13x", "cuda-bindings")}


def examine() -> dict[str, Any]:
    """Versions, machine and backends as one plain dictionary."""
    backends = {}
    for name in NAMES:
        runs, code, text = module(name).available()
        backends[name] = {"runs": runs, "code": code, "detail": text}
    runs_cpu = backends["cpu"]["runs"]
    found: dict[str, Any] = {
        "upm_gpu": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": usable_cores(),
        "memory_gib": round(_memory() / 2**30, 1),
        "backends": backends,
        "default_device": next((n for n in NAMES if backends[n]["runs"]), None),
        "libraries": {n: _version(n) for n in LIBRARIES},
        "extras": {extra: {n: _version(n) for n in names} for extra, names in OPTIONAL.items()},
    }
    if runs_cpu:
        names = list(module("cpu").isas())
        found["isa"] = {"in_use": names[0], "available": names}
    return found


def render(found: dict[str, Any]) -> None:
    """A table for people; fits 40 columns."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"upm_gpu {found['upm_gpu']} on Python {found['python']}, {found['system']}, {found['cores']} cores, {found['memory_gib']} GiB")
    table = Table(box=None, pad_edge=False)
    for heading in ("backend", "runs", "detail"):
        table.add_column(heading, overflow="fold")
    for name, state in found["backends"].items():
        table.add_row(name, "yes" if state["runs"] else "no", f"{state['code']} {state['detail']}".strip())
    console.print(table)
    if "isa" in found:
        console.print(f"vector instructions: {found['isa']['in_use']} (available: {', '.join(found['isa']['available'])})")
    console.print(f"--device auto takes: {found['default_device']}")
    missing = [f"{n} (extra {extra})" for extra, names in found["extras"].items() if extra != "cuda" for n in names if found["extras"][extra][n] is None]
    console.print("libraries: " + ", ".join(f"{n} {v}" for n, v in found["libraries"].items()))
    if missing:
        console.print("not installed: " + ", ".join(missing))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _memory() -> int:
    if sys.platform.startswith("linux"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0
