"""`upm price`: values each row of a table with the engine's own pricing functions, for model validation."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from upm_gpu.errors import UsageError


def price_cases(path: Path | str, device: str = "cpu", out: Path | str | None = None) -> str:
    """The table of `path` with its results, as CSV text; also written to `out` where given. Rows without a value are told on stderr.

    `device` is cpu, cuda, reference or auto. Raises InputError where the file cannot be used, DeviceError where the device cannot run.
    """
    from upm_gpu.backend.select import choose
    from upm_gpu.pricing.cases import case_text, read_cases, value_cases

    table = read_cases(Path(path))
    results, faults = value_cases(table, choose(device, "double").module.values)
    for fault in faults:
        print(f"{table.name} {fault}", file=sys.stderr)
    text = case_text(table, results)
    if out is not None:
        _write(Path(out), text)
    return text


def _write(out: Path, text: str) -> None:
    """Whole or not at all: written beside `out`, then renamed."""
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="")
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError("UPM-CF-090", f"{out}: cannot be written ({error.strerror or error}). Give a file in a folder that can be written.") from None
