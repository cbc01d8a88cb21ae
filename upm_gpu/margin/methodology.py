"""A methodology's questions: what the core asks for, which collateral moves with the book."""

from __future__ import annotations

from typing import Any

from upm_gpu.domain.book import Book
from upm_gpu.margin.requests import MeasureRequest

DEFAULT = "configs/methodology/house_v1.toml"


def default_methodology() -> Any:
    """The house methodology that ships with the package."""
    from upm_gpu.config import load_methodology
    from upm_gpu.inputs import package_file

    return load_methodology(package_file(DEFAULT))


def core_request(methodology: Any) -> MeasureRequest:
    """The measurement behind the core: expected shortfall at the methodology's level over its margin period of risk."""
    return MeasureRequest("base", methodology.core.horizon_days, methodology.core.level)


def simulated_assets(methodology: Any, book: Book) -> set[str]:
    """Collateral assets at full value whose moves enter the scenario P&L: mode `simulated` and also an underlying of the book."""
    underlyings = {i.underlying for i in book.instruments}
    return {a for a in set(book.collateral.asset) if methodology.collateral.modes.get(a, "haircut") == "simulated" and a in underlyings}
