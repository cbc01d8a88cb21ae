"""One fixture, `backend`: every way the operations of `backend/contract.py` are carried out on this machine."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

import pytest

from upm_gpu.backend import cpu, reference

ISAS = ("avx512", "avx2", "plain")


@dataclass(frozen=True)
class CpuBackend:
    """The cpu backend held to one instruction set."""

    isa: str
    name: str = "cpu"

    states = staticmethod(cpu.states)
    unit_pnl = staticmethod(cpu.unit_pnl)
    row_pnl = staticmethod(cpu.row_pnl)
    row_tail = staticmethod(cpu.row_tail)
    attribution = staticmethod(cpu.attribution)

    def prepare(self, compiled: Any, rows: Any, precision: Any, threads: int = 2) -> cpu.Prepared:
        return cpu.prepare(compiled, rows, precision, threads, isa=self.isa)

    def values(self, columns: dict[str, Any]) -> dict[str, Any]:
        return cpu.values(columns, isa=self.isa)


def cpu_backend(isa: str) -> CpuBackend:
    """The cpu backend, or a skip with its reason: no compiler here, or a processor without the instruction set."""
    runs, code, text = cpu.available()
    if not runs and not any(shutil.which(c) for c in ("c++", "g++", "clang++")):
        pytest.skip(f"{code} {text}")
    assert runs, f"{code} {text}"
    if isa not in cpu.isas():
        pytest.skip(f"this processor or build has no {isa}")
    return CpuBackend(isa)


@pytest.fixture(scope="session", params=["reference", *(f"cpu-{isa}" for isa in ISAS)])
def backend(request: pytest.FixtureRequest) -> Any:
    kind, _, isa = request.param.partition("-")
    return reference if kind == "reference" else cpu_backend(isa)
