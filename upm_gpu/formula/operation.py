"""What an operation on single cases is: named float64 columns in, a price with its Greeks out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

GREEKS = ("price", "delta", "gamma", "vega", "theta", "rho", "dividend_rho")
"""delta and gamma in the spot, or in the forward where the forward is given; theta a year, vega a unit of volatility, rhos a unit of rate"""

Columns = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Operation:
    """One line of `kernels/operations.def`, its columns and its plain twin."""

    number: int
    name: str
    """prefix of its header in `kernels/`"""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    absent: Mapping[str, float]
    """input -> what stands for a column that is not given"""
    twin: Callable[[dict[str, Any]], Columns]
    """columns of `inputs`, (cases,), to columns of `outputs`, (cases,); a different, slower method is the better oracle"""
    repeated: tuple[str, ...] = ()
    """columns of shape (times, cases), such as fixings: a case has as many as come before its first NaN"""
    count: str = ""
    """the input that tells how many; it is counted here, never given"""
    cases_a_call: int = 1 << 16
    """cases a native call, so that it lasts well below a second"""
    on_device: bool = True
    """False for UPM_HOST_OPERATION"""


def operation_columns(operation: Operation, columns: dict[str, Any]) -> NDArray[np.float64]:
    """(inputs, cases) float64, C-contiguous: the columns in order, absent ones filled; then the repeated ones, time by time.

    Raises KeyError for an input that is neither given nor may be absent.
    """
    repeats = [np.asarray(columns[name], float) for name in operation.repeated]
    repeats = [block[:, None] if block.ndim == 1 else block for block in repeats]
    fixed = [np.asarray(columns[name] if name in columns else operation.absent[name], float) for name in operation.inputs if name != operation.count]
    shape = np.broadcast_shapes((1,), *(c.shape for c in fixed), *(block.shape[1:] for block in repeats))
    times = len(repeats[0]) if repeats else 0
    out = np.empty((len(operation.inputs) + len(repeats) * times, *shape))
    given = iter(fixed)
    for row, name in enumerate(operation.inputs):
        out[row] = np.cumprod(~np.isnan(repeats[0]), axis=0).sum(axis=0) if name == operation.count and name else next(given)
    for kind, block in enumerate(repeats):
        out[len(operation.inputs) + kind :: len(repeats)] = block
    return out
