"""What the laws of every rule book check alike, beside `venue_accounts.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from small_book import read, write
from venue_accounts import NAMES

from upm_gpu.rulebook.frame.held import Held, hold
from upm_gpu.rulebook.frame.result import RuleMargin

QUANTITIES = st.lists(st.sampled_from([-3.0, -1.0, -0.25, 0.0, 0.0, 0.5, 1.0, 2.0]), min_size=len(NAMES) + 1, max_size=len(NAMES) + 1)


def check_composition(got: RuleMargin, alone: RuleMargin, turned: RuleMargin) -> None:
    """No charge is negative, charges sum to the initial margin, maintenance is not above it; without the neighbours, and with scenarios in another order, the first unit changes no bit."""
    assert all((c >= 0.0).all() for c in got.charges.values())
    np.testing.assert_allclose(np.sum(list(got.charges.values()), axis=0), got.initial, rtol=1e-15)
    assert (got.maintenance <= got.initial * (1.0 + 1e-12)).all() and (got.maintenance >= 0.0).all()
    first = [(m.initial[0], m.maintenance[0], m.worst[0]) for m in (got, alone, turned)]
    assert first[1] == first[0] and first[2] == first[0]


def check_splits(margin: Callable[[Held], RuleMargin], folder: Path, collateral: str) -> RuleMargin:
    """Positions in parts and in another order change no bit; returns the margins."""
    whole = "account_id,instrument_id,quantity\nA,BTC-C70,-3.3\nA,BTC-PERP,7000\nB,ETH-C20L,5\nA,BTC-FUT,-20\n"
    split = "account_id,instrument_id,quantity\nA,BTC-FUT,-20\nB,ETH-C20L,2\nA,BTC-C70,-1.1\nA,BTC-PERP,7001\nA,BTC-C70,-2.2\nB,ETH-C20L,3\nA,BTC-PERP,-1\n"
    got = [margin(hold(*read(write(folder / name, text, "account_id,asset,quantity\n" + collateral)))[0]) for name, text in (("whole", whole), ("split", split))]
    np.testing.assert_array_equal(got[0].initial, got[1].initial)
    np.testing.assert_array_equal(got[0].maintenance, got[1].maintenance)
    assert got[0].worst == got[1].worst
    return got[0]
