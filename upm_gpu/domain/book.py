"""What is held: instruments, accounts, positions netted per (account, netting set, instrument), collateral.

The contract size is applied here once: `quantity` is contracts x contract_size, so that the rest of the house
multiplies prices of one unit. Arrays are columns of equal length (P positions, L collateral lines).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.instrument import Instrument


@dataclass(frozen=True)
class Account:
    """An account; `member_id` "" means it stands alone, `limit` None means none was given."""

    account_id: str
    member_id: str = ""
    limit: float | None = None


@dataclass(frozen=True)
class Positions:
    """Netted positions, sorted by (account, netting_set, instrument); every array has shape (P,)."""

    account: NDArray[np.int32]
    """index into Book.accounts"""
    netting_set: NDArray[np.int32]
    """index into Book.netting_sets"""
    instrument: NDArray[np.int32]
    """index into Book.instruments"""
    contracts: NDArray[np.float64]
    """signed contracts, netted exactly (math.fsum), so that splitting a position changes no bit"""
    quantity: NDArray[np.float64]
    """contracts x contract_size"""
    entry_quantity: NDArray[np.float64]
    """the part of `quantity` that came with an entry price"""
    entry_cost: NDArray[np.float64]
    """sum over those lots of quantity x entry_price (linear) or quantity / entry_price (inverse futures)"""


@dataclass(frozen=True)
class Collateral:
    """Posted assets, summed per (account, asset) and sorted so; every array has shape (L,)."""

    account: NDArray[np.int32]
    asset: tuple[str, ...]
    quantity: NDArray[np.float64]


@dataclass(frozen=True)
class Reject:
    """An input row that was set aside. `line` counts from 1 with the header as line 1."""

    file: str
    line: int
    column: str
    code: str
    message: str
    raw: str


@dataclass(frozen=True)
class Book:
    """Instruments and accounts are sorted by id (plain code-point order); netting_sets[0] is always ""."""

    instruments: tuple[Instrument, ...]
    accounts: tuple[Account, ...]
    netting_sets: tuple[str, ...]
    positions: Positions
    collateral: Collateral
    rejects: tuple[Reject, ...] = ()
    warnings: tuple[str, ...] = ()
    rows_read: int = 0
    hashes: dict[str, str] = field(default_factory=dict)
    """SHA-256 of every file read, by file name"""
    margin_means: dict[str, float] = field(default_factory=dict)
    """one-year mean of the core by margined unit, where the folder has them: what an anti-procyclicality buffer is used up against"""
