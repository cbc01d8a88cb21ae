"""upm_gpu: Monte Carlo portfolio margin.

    import upm_gpu as upm
    book, market = upm.load_book("sample:crypto"), upm.load_market("sample:crypto")
    result = upm.margin_run(book, market)
    result.to_pandas()

Names are loaded on first use (PEP 562), so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_NAMES = {
    "load_book": "upm_gpu.domain.reader",
    "load_market": "upm_gpu.market.reader",
    "margin_run": "upm_gpu.engine",
    "account_pnl": "upm_gpu.histogram",
    "ScenarioSpec": "upm_gpu.scenario.spec",
    "load_methodology": "upm_gpu.margin.methodology",
}
_ROOMS = ("backtest", "rng", "risk")
__all__ = ["ScenarioSpec", "account_pnl", "backtest", "load_book", "load_market", "load_methodology", "margin_run", "risk", "rng"]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"upm_gpu.{name}")
    raise AttributeError(f"module 'upm_gpu' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
