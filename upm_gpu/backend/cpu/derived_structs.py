"""Derived states as the C struct of libupm_host."""

from __future__ import annotations

import ctypes

import numpy as np

from upm_gpu.backend.cpu.library import Keep, ScenariosStruct
from upm_gpu.scenario.derived import Derived

KIND = 20
"""of `kernels/models.def`"""
_POINTER, _I64 = ctypes.c_void_p, ctypes.c_int64


class DerivedStruct(ctypes.Structure):
    """UpmDerived of kernels/host/abi.h."""

    _fields_ = (
        ("base", ctypes.POINTER(ScenariosStruct)), ("operations", _I64), ("operation", _POINTER), ("first_output", _POINTER), ("first_input", _POINTER),
        ("input", _POINTER), ("first_real", _POINTER), ("real", _POINTER), ("days", _POINTER), ("lent", _I64),
    )


def derived_struct(derived: Derived, base: ScenariosStruct, keep: Keep) -> ScenariosStruct:
    """UpmScenarios of a Derived over the struct of its base."""
    operations = len(derived.operation)
    keep.arrays.append(base)
    model = DerivedStruct(
        base=ctypes.pointer(base), operations=operations, operation=keep(derived.operation, np.int32, (operations,)),
        first_output=keep(derived.first_output, np.int32, (operations + 1,)), first_input=keep(derived.first_input, np.int32, (operations + 1,)),
        input=keep(derived.input, np.int32, (int(derived.first_input[-1]),)), first_real=keep(derived.first_real, np.int32, (operations + 1,)),
        real=keep(derived.real, np.float64, (int(derived.first_real[-1]),)), days=keep(derived.dates, np.float64, (base.dates,)), lent=derived.scratch)
    keep.arrays.append(model)
    return ScenariosStruct(kind=KIND, states=base.states + len(derived.names), dates=base.dates, count=base.count, seed=base.seed, legs=base.legs, terms=base.terms,
                           scratch=base.dates * base.states + max(base.scratch, derived.scratch), model=ctypes.addressof(model))
