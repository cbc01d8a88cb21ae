"""Files of a fit beside its parameters: tables and pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from upm_gpu.errors import CalibrationError


def history_provenance(source: str, command: Sequence[str]) -> dict[str, Any]:
    """What a file or page of a history's estimates says of where they are from: the source, its hash where it is one file, versions and the command."""
    import hashlib

    from upm_gpu.run.manifest import versions

    path = Path(source)
    sha256 = {"source_sha256": hashlib.sha256(path.read_bytes()).hexdigest()} if path.is_file() else {}
    return {"source": path.name or source} | sha256 | {"upm_gpu": versions()["upm_gpu"], "numpy": versions()["numpy"], "command": [Path(a).name if a.startswith("/") else a for a in command]}


def write_output(path: Path, text: str | bytes) -> None:
    """Raises `CalibrationError` UPM-CA-109 where it cannot be written."""
    try:
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    except OSError as error:
        raise CalibrationError("UPM-CA-109", f"{path}: cannot be written ({error.strerror}). Give another file.") from None
