"""The priced grid of rule books on every backend: the twin within rounding, the compiled ones to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_book import read, write

from upm_gpu.backend import cpu, reference
from upm_gpu.rulebook import load_rule_book
from upm_gpu.rulebook.frame.grid import parallel, pnl
from upm_gpu.rulebook.frame.held import Held, hold
from upm_gpu.rulebook.frame.volatility import MultiplicativeShock, shocked

MULTIPLIERS = np.array([0.34, 0.84, 1.0, 1.16, 3.0])
SHOCK = MultiplicativeShock(range_up=0.5, range_down=0.25, short_term_power=0.3, long_term_power=0.13)


def everything(folder: Any) -> Held:
    """One contract of every instrument of the small book."""
    names = ("BTC-PERP", "BTC-LINEAR", "ETH-PERP", "BTC-FUT", "BTC-C70", "BTC-P70", "BTC-P60", "BTC-C75D", "ETH-C20L")
    text = "account_id,instrument_id,quantity\n" + "".join(f"A,{n},1\n" for n in names)
    return hold(*read(write(folder, text, "account_id,asset,quantity\nA,BTC,1\n")))[0]


def priced(held: Held, values: Any) -> np.ndarray:
    volatility = shocked(held.terms.volatility, held.terms.days, np.array([1, -1, 0, 1, -1]), SHOCK)
    return pnl(held.terms, parallel(held.terms, MULTIPLIERS, volatility), values)


def test_every_backend_prices_the_grid(backend: Any, tmp_path: Any) -> None:
    held = everything(tmp_path / "small")
    got = priced(held, backend.values)
    assert got.shape == (held.terms.count, len(MULTIPLIERS)) and np.isfinite(got).all()
    scale = held.terms.index[:, None]
    np.testing.assert_allclose(got / scale, priced(held, reference.values) / scale, rtol=0.0, atol=1e-13)
    if backend.name != "reference" and cpu.available()[0]:
        np.testing.assert_array_equal(got, priced(held, cpu.values))


@pytest.mark.parametrize("name", ["derive_pmrm2_v2", "paradex_v1", "aevo_v1", "deribit_spm_v2024", "deribit_xpm_v2026", "okx_pm_v2025", "bybit_pm_v2025"])
def test_every_backend_carries_the_rule_book(backend: Any, tmp_path: Path, name: str) -> None:
    """Margins, charges and the scenario that decides: the twin within rounding, the compiled engines to the bit."""
    held, rules = everything(tmp_path / "small"), load_rule_book(f"configs/methodology/{name}.toml")
    got, plain = (rules.module.margin(held, rules.parameters, values) for values in (backend.values, reference.values))
    np.testing.assert_allclose(got.initial, plain.initial, rtol=1e-12)
    np.testing.assert_allclose(got.maintenance, plain.maintenance, rtol=1e-12)
    assert got.worst == plain.worst and got.initial[0] > 0.0
    if backend.name != "reference" and cpu.available()[0]:
        same = rules.module.margin(held, rules.parameters, cpu.values)
        for charge, amount in got.charges.items():
            np.testing.assert_array_equal(amount, same.charges[charge])
