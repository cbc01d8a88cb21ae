"""Unit P&L kept in the folder of a run (`output.store_pnl`), so that opening the desk is a memory map: two NumPy arrays a scenario set and horizon, without pickled objects.

    unit_pnl/core_1.npy          (C, S) as the backend stores it        unit_pnl/core_1.bounds.npy   (2, C) least and largest of each column

They are results like any other: SHA256SUMS covers them, and `open_run` verifies it. `fast` leaves the hashes of these files out, whose reading is most of an opening, and takes their sizes: the desk still
holds the first answer of each account to the margins the run wrote.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from upm_gpu.errors import IntegrityError
from upm_gpu.run import durable

FOLDER = "unit_pnl"

Stored = tuple[NDArray, NDArray[np.float64], NDArray[np.float64]]
"""unit P&L and the least and largest of each column"""


@dataclass(frozen=True)
class Writing:
    """Cubes are made in files of a run folder."""

    run: Path

    def take(self, key: str, shape: tuple[int, int], dtype: DTypeLike) -> Stored | None:
        """Nothing is there yet."""
        return None

    def place(self, key: str, shape: tuple[int, int], dtype: DTypeLike) -> NDArray:
        """The array that a cube is drawn into."""
        durable.make_folder(self.run / FOLDER)
        made: NDArray = np.lib.format.open_memmap(self.run / FOLDER / f"{key}.npy", "w+", dtype, shape)
        return made

    def done(self, key: str, unit: NDArray, lowest: NDArray[np.float64], highest: NDArray[np.float64]) -> None:
        """The cube is drawn."""
        if isinstance(unit, np.memmap):
            unit.flush()
        np.save(self.run / FOLDER / f"{key}.bounds.npy", np.stack([lowest, highest]), allow_pickle=False)


@dataclass(frozen=True)
class Reading:
    """Cubes of a finished run, where it keeps them."""

    run: Path

    def take(self, key: str, shape: tuple[int, int], dtype: DTypeLike) -> Stored | None:
        """The cube as a memory map. Raises IntegrityError UPM-RN-085 for one of another shape."""
        path = self.run / FOLDER / f"{key}.npy"
        if not path.is_file():
            return None
        try:
            unit = np.load(path, mmap_mode="r", allow_pickle=False)
            bounds = np.load(self.run / FOLDER / f"{key}.bounds.npy", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise IntegrityError("UPM-RN-085", f"{path} cannot be read ({error}). Restore the folder {FOLDER} from a copy, or run again.") from None
        if unit.shape != shape or unit.dtype != dtype or bounds.shape != (2, shape[0]) or bounds.dtype != np.float64:
            raise IntegrityError("UPM-RN-085", f"{path} holds {unit.dtype} {unit.shape}, the run's scenarios are {np.dtype(dtype)} {shape}. Restore the folder {FOLDER} from a copy, or run again.")
        return unit, bounds[0], bounds[1]

    def place(self, key: str, shape: tuple[int, int], dtype: DTypeLike) -> NDArray:
        """In memory."""
        return np.empty(shape, dtype)

    def done(self, key: str, unit: NDArray, lowest: NDArray[np.float64], highest: NDArray[np.float64]) -> None:
        """Nothing is written into a finished run."""


Store = Writing | Reading
