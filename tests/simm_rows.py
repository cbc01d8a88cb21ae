"""Small CRIFs for the tests of ISDA SIMM."""

from __future__ import annotations

from pathlib import Path

from upm_gpu.rulebook.simm.crif import read_crif
from upm_gpu.rulebook.simm.margin import PortfolioMargin, Side, simm
from upm_gpu.rulebook.simm.parameters import Period, load_calibration

COLUMNS = ("RiskType", "Qualifier", "Bucket", "Label1", "Label2", "AmountUSD")
Row = tuple[str | float, ...]


def write_crif(folder: Path, rows: list[Row], columns: tuple[str, ...] = COLUMNS) -> Path:
    """A CRIF of the rows."""
    path = folder / "crif.csv"
    path.write_text("\n".join(",".join(repr(c) if isinstance(c, float) else str(c) for c in row) for row in (columns, *rows)) + "\n")
    return path


def margins(folder: Path, rows: list[Row], version: str = "2.6", days: Period = 10, side: Side = "call", columns: tuple[str, ...] = COLUMNS, currency: str = "USD") -> list[PortfolioMargin]:
    """The margins of the rows, through a file."""
    calibration = load_calibration(version)
    return list(simm(read_crif(write_crif(folder, rows, columns), calibration), calibration, days, currency, side))


def measure(folder: Path, rows: list[Row], name: str, days: Period = 10, side: Side = "call", currency: str = "USD") -> float:
    """One measure's margin of rows that are all of one risk class."""
    (portfolio,) = margins(folder, rows, days=days, side=side, currency=currency)
    (product,) = portfolio.product_classes
    (risk,) = product.risk_classes
    return risk.measures[name].margin
