"""The operations of `values`: prices and Greeks of single cases, by name. `kernels/operations.def` lists the same numbers and names.

A new one is a module with its columns, its twin and an `Operation`, a header in `kernels/`, and a line here and there.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from upm_gpu.formula.operation import Operation, operation_columns

__all__ = ["PLACES", "Operation", "operation_columns", "operation_named"]

PLACES = {
    "european": "black:EUROPEAN",
    "single_barrier": "single_barrier:SINGLE_BARRIER",
    "double_barrier": "double_barrier:DOUBLE_BARRIER",
    "forward_start": "forward_start:FORWARD_START",
    "geometric_asian": "geometric_asian:GEOMETRIC_ASIAN",
    "two_asset": "two_asset:TWO_ASSET",
    "arithmetic_asian": "arithmetic_asian:ARITHMETIC_ASIAN",
    "heston_geometric_asian": "heston_geometric_asian:HESTON_GEOMETRIC_ASIAN",
    "american": "american:AMERICAN",
    "cash_dividends": "cash_dividends:CASH_DIVIDENDS",
    "merton_price": "merton_price:MERTON_PRICE",
    "heston_price": "heston_price:HESTON_PRICE",
}
"""name -> module of this room and the name of its Operation there"""


@cache
def operation_named(name: str) -> Operation:
    """The operation `name`; KeyError where there is none, which no input can ask for."""
    module, _, member = PLACES[name].partition(":")
    operation = getattr(import_module(f"upm_gpu.formula.{module}"), member)
    assert isinstance(operation, Operation) and operation.name == name
    return operation
