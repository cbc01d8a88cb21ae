"""The C types and signatures of libupm_host (`upm_gpu/compiled_library.py` finds and opens it).

A stale library has other struct sizes: said aloud by `load`, with a reason code, and never guessed around.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.ctypeslib import ndpointer
from numpy.typing import NDArray

from upm_gpu.compiled_library import library_path, open_library
from upm_gpu.errors import CapacityError, DeviceError

OK, BAD_ARGUMENT, NO_MEMORY, NO_ISA = 0, 1, 2, 3

_POINTER = ctypes.c_void_p
_I32, _I64, _U64, _F64 = ctypes.c_int32, ctypes.c_int64, ctypes.c_uint64, ctypes.c_double


class ValueTableStruct(ctypes.Structure):
    """UpmValueTable of kernels/host/abi.h."""

    _fields_ = (("low", _F64 * 2), ("inverse_step", _F64 * 2), ("nodes", _I64 * 2), ("value", _POINTER))


class ProgramStruct(ctypes.Structure):
    """UpmProgram of kernels/host/abi.h."""

    _fields_ = (("groups", _I64), ("linear_state", _POINTER), ("linear_date", _POINTER), ("linear_form", _POINTER), ("group_integers", _POINTER), ("group_reals", _POINTER), ("tables", _I64), ("table", _POINTER))


class BookStruct(ctypes.Structure):
    """UpmBook."""

    _fields_ = (
        ("columns", _I64), ("linear", _I64), ("dates", _I64), ("states", _I64), ("horizons", _I64), ("rows", _I64), ("entries", _I64),
        ("terms", _POINTER), ("programs", ctypes.POINTER(ProgramStruct)), ("row_first", _POINTER), ("row_column", _POINTER),
        ("row_quantity", _POINTER), ("store_float32", _I32), ("reserved", _I32),
    )


class TableStruct(ctypes.Structure):
    """UpmTable."""

    _fields_ = (("low", _F64), ("inverse_width", _F64), ("cells", _I64), ("coefficients", _POINTER))


class JumpsStruct(ctypes.Structure):
    """UpmJumps."""

    _fields_ = (
        ("clocks", _I64), ("most", _I64), ("splits", _I64), ("tables", _I64), ("stream", _I64), ("address", _POINTER), ("mean", _POINTER),
        ("deviation", _POINTER), ("threshold", _POINTER), ("leg_first_split", _POINTER), ("split_stream", _POINTER), ("split_step", _POINTER),
        ("split_side", _POINTER), ("split_table", _POINTER), ("split_threshold", _POINTER), ("first_entry", _POINTER), ("entry_clock", _POINTER),
        ("entry_loading", _POINTER),
    )


class RegimesStruct(ctypes.Structure):
    """UpmRegimes."""

    _fields_ = (("count", _I64), ("size", _I64), ("stream", ctypes.c_uint32), ("shift", ctypes.c_uint32), ("threshold", _POINTER), ("root", _POINTER))


class HestonStruct(ctypes.Structure):
    """UpmHeston."""

    _fields_ = (
        ("underlyings", _I64), ("classes", _I64), ("shifts", _I64), ("variance0", _POINTER), ("rho", _POINTER), ("constants", _POINTER),
        ("leg_class", _POINTER), ("shift_underlying", _POINTER), ("shift_base", _POINTER), ("shift_slope", _POINTER),
        ("copula_substeps", _I64), ("copula_stream", ctypes.c_uint32), ("reserved", ctypes.c_uint32), ("copula_marginal", TableStruct), ("copula_weight", _POINTER),
        ("draws", _POINTER),
    )


class ScenariosStruct(ctypes.Structure):
    """UpmScenarios."""

    _fields_ = (
        ("kind", _I32), ("has_mixing", _I32), ("states", _I64), ("dates", _I64), ("count", _I64), ("scratch", _I64), ("model", _POINTER), ("jumps", ctypes.POINTER(JumpsStruct)), ("values", _POINTER), ("seed", _U64),
        ("cholesky", _POINTER), ("scale", _POINTER), ("max_log_move", _POINTER), ("marginal", _POINTER), ("tables", ctypes.POINTER(TableStruct)),
        ("table_count", _I64), ("mixing", TableStruct), ("mixing_stream", _I64), ("legs", _I64), ("terms", _I64), ("leg_step", _POINTER),
        ("leg_root", _POINTER), ("leg_first_term", _POINTER), ("term_stream", _POINTER), ("term_step", _POINTER), ("term_weight", _POINTER),
        ("date_whole", _POINTER), ("date_leg", _POINTER), ("centre", _POINTER), ("regimes", ctypes.POINTER(RegimesStruct)),
        ("persistence", _POINTER), ("date_persistence", _POINTER),
    )


class KeptStruct(ctypes.Structure):
    """UpmKept."""

    _fields_ = (("columns", _I64), ("scenarios", _I64), ("entries", _I64), ("worst", _I64), ("unit", _POINTER), ("column", _POINTER), ("quantity", _POINTER), ("order", _POINTER),
                ("ascending", _POINTER), ("pnl", _POINTER), ("rank", _POINTER), ("block", _POINTER), ("partial", _POINTER), ("steepest", _POINTER), ("float32", _I32), ("reserved", _I32))


class RowChangesStruct(ctypes.Structure):
    """UpmRowChanges."""

    _fields_ = (("items", _I64), ("entries", _I64), ("first", _POINTER), ("place", _POINTER), ("kind", _POINTER), ("column", _POINTER), ("quantity", _POINTER), ("difference", _POINTER),
                ("guard", _POINTER), ("least", _POINTER))


STRUCTS = (ProgramStruct, BookStruct, TableStruct, ScenariosStruct, JumpsStruct, HestonStruct, RegimesStruct, KeptStruct, RowChangesStruct)
"""in the order of upm_struct_bytes"""


def _array(dtype: type, dimensions: int, *, writable: bool = False) -> type:
    return ndpointer(dtype, ndim=dimensions, flags=("C_CONTIGUOUS", "WRITEABLE") if writable else "C_CONTIGUOUS")


def _signatures() -> dict[str, tuple[Any, tuple[Any, ...]]]:
    f64, u32, i64 = np.float64, np.uint32, np.int64
    book, scenarios = ctypes.POINTER(BookStruct), ctypes.POINTER(ScenariosStruct)
    where = (_POINTER, scenarios, _I64, _I64)
    out = {"writable": True}
    kept, changes = ctypes.POINTER(KeptStruct), ctypes.POINTER(RowChangesStruct)
    return {
        "upm_isa_count": (_I32, ()),
        "upm_isa_name": (ctypes.c_char_p, (_I32,)),
        "upm_isa_runs": (_I32, (_I32,)),
        "upm_prepare": (_I32, (book, _I32, _I64, ctypes.POINTER(_POINTER), _array(f64, 1, **out), _I64)),
        "upm_release": (None, (_POINTER,)),
        "upm_prepared_isa": (_I32, (_POINTER,)),
        "upm_cost": (_F64, (_POINTER, scenarios)),
        "upm_timings": (_I32, (_POINTER, _array(f64, 1, **out), _I64)),
        "upm_states": (_I32, (*where, _I32, _array(f64, 3, **out), _I64)),
        "upm_unit_pnl": (_I32, (*where, _I64, _I32, _POINTER, _I64)),
        "upm_row_pnl": (_I32, (*where, _I64, _I32, _array(f64, 2, **out), _I64)),
        "upm_row_tail": (_I32, (*where, _I64, _POINTER, _I32, _array(f64, 3, **out), _array(u32, 3, **out), _I64, _array(f64, 4, **out), _I64,
                                _array(i64, 1, **out), _I64, ctypes.POINTER(_I64))),
        "upm_attribution": (_I32, (*where, _I64, _array(i64, 1), _array(u32, 1), _array(f64, 1), _I64, _I32, _array(f64, 1, **out), _I64)),
        "upm_values": (_I32, (_I32, _I32, _I64, _array(f64, 2), _I64, _array(f64, 2, **out), _I64, _I32)),
        "upm_merge_tails": (_I32, (_I64, _array(f64, 3), _array(u32, 3), _I64, _array(f64, 3), _array(u32, 3), _I64, _array(f64, 3, **out),
                                   _array(u32, 3, **out), _I64, _I32)),
        "upm_kept_sums": (_I32, (_I32, kept, _POINTER, _I64, _I32, _array(f64, 1, **out))),
        "upm_kept_block": (_I32, (_I32, kept, _I32)),
        "upm_changed_tails": (_I32, (_I32, kept, changes, _I64, _I32, _array(f64, 2, **out), _array(u32, 2, **out), _I64)),
    }


@lru_cache(maxsize=4)
def load(path: Path | None = None) -> ctypes.CDLL:
    """The checked library. Raises DeviceError as `open_library` does, and UPM-DV-012 for other struct sizes."""
    where = path or library_path()
    library = open_library(where)
    size = library.upm_struct_bytes
    size.restype, size.argtypes = _I64, (_I32,)
    for i, struct in enumerate(STRUCTS):
        if size(i) != ctypes.sizeof(struct):
            raise DeviceError("UPM-DV-012", f"the compiled engine {where}: {struct.__name__} has {size(i)} bytes, this package has {ctypes.sizeof(struct)}. "
                              "It belongs to another version: install again, or use --device reference.")
    for name, (result, arguments) in _signatures().items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def check(status: int, what: str) -> None:
    """Turn a status into the error of the tree."""
    if status == OK:
        return
    if status == NO_MEMORY:
        raise CapacityError("UPM-CP-010", f"{what}: not enough memory. Use a smaller chunk, fewer scenarios or fewer threads.")
    if status == NO_ISA:
        raise DeviceError("UPM-DV-013", f"{what}: this processor lacks the instruction set asked for. Leave it to the engine, or ask for plain.")
    if status == BAD_ARGUMENT:
        raise DeviceError("UPM-DV-014", f"{what}: the compiled engine refused its arguments (shapes, ranges or indices do not agree).")
    raise DeviceError("UPM-DV-015", f"{what}: the compiled engine failed (status {status}).")


class Keep:
    """Arrays lent to C as bare pointers, kept alive beside the struct that holds them."""

    def __init__(self) -> None:
        self.arrays: list[Any] = []

    def __call__(self, array: Any, dtype: type, shape: tuple[int, ...]) -> int:
        """Address of a contiguous array of exactly this dtype and shape."""
        held: NDArray = np.ascontiguousarray(array, dtype)
        if held.shape != shape:
            raise DeviceError("UPM-DV-014", f"an array of the compiled book or scenario set has shape {held.shape}, expected {shape}.")
        self.arrays.append(held)
        return held.ctypes.data
