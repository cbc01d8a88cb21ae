"""Value tables in a run folder: `tables/KEY.upm`, made once, read again by a resumed run.

KEY is the SHA-256 of all that a table is a function of (its request and the corners of its box on the lattice, see `pricing/tables.py`). A file is `UPMTABLE`, version and header
length (uint32 each, little endian), a JSON header (low corner, inverse steps, nodes a side, largest error, SHA-256 of the nodes), then the nodes, little-endian float64, row by row.
Nothing in it is executed when it is read. A file that is not whole is made again and said aloud; a finished run's SHA256SUMS covers them all.

Verified by `tests/faults/test_real_run_killed.py` and `tests/properties/test_value_tables.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import dataclass, field

import numpy as np

from upm_gpu.pricing.compiled import ValueTable
from upm_gpu.run import durable
from upm_gpu.run.folder import RunFolder

MAGIC = b"UPMTABLE"
VERSION = 1
TABLES = "tables"


@dataclass
class KeptTables:
    """The tables of one open run folder, as `pricing.tables.with_tables` asks for them."""

    run: RunFolder
    read: int = 0
    made: int = 0
    _folder: bool = field(default=False, repr=False)

    def take(self, key: str) -> tuple[ValueTable, float] | None:
        """The table kept under a key with its largest error; None where there is none, or none that is whole."""
        path = durable.inside(self.run.path, f"{TABLES}/{key}.upm")
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.run.warn(f"UPM-RN-051 {TABLES}/{path.name}: cannot be read ({error.strerror}). It is made again.")
            return None
        try:
            found = _parsed(content)
        except (ValueError, KeyError, TypeError, struct.error) as error:
            self.run.warn(f"UPM-RN-051 {TABLES}/{path.name}: is not the table that was kept ({error}). It is made again.")
            return None
        self.read += 1
        return found

    def keep(self, key: str, table: ValueTable, error: float) -> None:
        """Make a table durable under its key. Raises CapacityError on a full disk."""
        if not self._folder:
            durable.make_folder(self.run.path / TABLES)
            self._folder = True
        nodes = np.ascontiguousarray(table.values, "<f8")
        header = json.dumps({"low": table.low, "inverse_step": table.inverse_step, "nodes": nodes.shape, "error": error,
                             "sha256": hashlib.sha256(nodes.data).hexdigest()}, sort_keys=True).encode("ascii")
        durable.write_file(durable.inside(self.run.path, f"{TABLES}/{key}.upm"), MAGIC + struct.pack("<II", VERSION, len(header)) + header, nodes)
        self.made += 1


def _parsed(content: bytes) -> tuple[ValueTable, float]:
    """A table file's content; ValueError says what is wrong with it."""
    version, length = struct.unpack_from("<II", content, len(MAGIC))
    start = len(MAGIC) + 8
    if content[: len(MAGIC)] != MAGIC or version != VERSION:
        raise ValueError("unknown format")
    header = json.loads(content[start : start + length])
    rows, columns = header["nodes"]
    raw = content[start + length :]
    if len(raw) != 8 * rows * columns or hashlib.sha256(raw).hexdigest() != header["sha256"]:
        raise ValueError("its nodes do not match their checksum")
    (low, other), (inverse, second) = header["low"], header["inverse_step"]
    numbers = [float(x) for x in (low, other, inverse, second, header["error"])]
    if min(rows, columns) < 4 or not all(map(math.isfinite, numbers)):
        raise ValueError("its header is no table's")
    return ValueTable((numbers[0], numbers[1]), (numbers[2], numbers[3]), np.frombuffer(raw, "<f8").astype(np.float64).reshape(rows, columns)), numbers[4]
