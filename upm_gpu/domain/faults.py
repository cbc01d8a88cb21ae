"""A cell of a table that cannot be used."""

from __future__ import annotations

from upm_gpu.domain.cells import CellFault


class ColumnFault(CellFault):
    """A cell that cannot be used, with its column."""

    def __init__(self, column: str, number: int, message: str) -> None:
        super().__init__(number, message)
        self.column = column
