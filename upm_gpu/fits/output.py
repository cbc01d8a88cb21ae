"""Files of a fit beside its parameters: tables and pages."""

from __future__ import annotations

from pathlib import Path

from upm_gpu.errors import CalibrationError


def write_output(path: Path, text: str | bytes) -> None:
    """Raises `CalibrationError` UPM-CA-109 where it cannot be written."""
    try:
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    except OSError as error:
        raise CalibrationError("UPM-CA-109", f"{path}: cannot be written ({error.strerror}). Give another file.") from None
