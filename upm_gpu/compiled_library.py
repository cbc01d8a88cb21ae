"""libupm_host: finding it and opening it.

The library is part of the wheel (`upm_gpu/lib/libupm_host.so`). A pure-Python install has none; a stale one has another ABI version. Both are said aloud,
with a reason code, and never guessed around. Below all rooms, because the generators use it too; the structs of the engine are `backend/cpu/library.py`.
"""

from __future__ import annotations

import ctypes
from importlib.resources import files
from pathlib import Path

from upm_gpu.errors import DeviceError

ABI_VERSION = 10


def library_path() -> Path:
    """Where the wheel or an editable install keeps the library."""
    return Path(str(files("upm_gpu") / "lib" / "libupm_host.so"))


def open_library(where: Path) -> ctypes.CDLL:
    """The library at `where`, of this package's ABI. Raises DeviceError: UPM-DV-010 missing, 011 cannot be opened, 012 another ABI."""
    if not where.is_file():
        raise DeviceError("UPM-DV-010", f"the compiled engine {where} is missing (a pure-Python install). Install a C++ compiler and install again, or use --device reference.")
    if _cut_short(where):
        raise DeviceError("UPM-DV-011", f"the compiled engine {where} is cut short: the file ends before its own table of contents. Install again, or use --device reference.")
    try:
        library = ctypes.CDLL(str(where))
    except OSError as error:
        raise DeviceError("UPM-DV-011", f"the compiled engine {where} cannot be opened: {error}. Install again, or use --device reference.") from error
    remedy = "It belongs to another version: install again, or use --device reference."
    try:
        version, _ = library.upm_abi_version, library.upm_struct_bytes
    except AttributeError as error:
        raise DeviceError("UPM-DV-012", f"{where} is not the compiled engine: it has no upm_abi_version. {remedy}") from error
    version.restype = ctypes.c_int32
    if version() != ABI_VERSION:
        raise DeviceError("UPM-DV-012", f"the compiled engine {where} has ABI {version()}, this package needs {ABI_VERSION}. {remedy}")
    return library


def _cut_short(path: Path) -> bool:
    """Whether an ELF file ends before its section table, which is its last part: to map such a file ends the process with a bus error."""
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except OSError:  # the loader has a message for it
        return False
    if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":  # 64 bits, little endian; and for anything else
        return False
    table, size, number = int.from_bytes(head[40:48], "little"), int.from_bytes(head[58:60], "little"), int.from_bytes(head[60:62], "little")
    return path.stat().st_size < table + size * number
