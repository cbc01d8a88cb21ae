"""Operations on single cases: one table in C++ and Python, and the same errors."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from upm_gpu.backend import cpu, reference
from upm_gpu.backend.cpu.library import check, load
from upm_gpu.errors import DeviceError
from upm_gpu.formula.operation import Operation, operation_columns
from upm_gpu.formula.operations import PLACES, operation_named

from .conftest import cpu_backend, cuda_backend
from .exotic_cases import exotic_cases

LISTED = re.findall(r"^UPM_(HOST_)?OPERATION\((\d+), (\w+)(?:, \d+)?\)$", (Path(__file__).parents[2] / "kernels" / "operations.def").read_text(), re.MULTILINE)


def test_the_tables_agree() -> None:
    """Numbers, names and where they run are the same in kernels/operations.def and formula/operations.py."""
    assert {(int(number), name, not host) for host, number, name in LISTED} == {(o.number, o.name, o.on_device) for o in map(operation_named, PLACES)}
    assert len({number for _, number, _ in LISTED}) == len(LISTED) == len(PLACES)


@pytest.mark.parametrize("name", PLACES)
def test_no_cases(backend: Any, name: str) -> None:
    operation = operation_named(name)
    columns = {c: np.zeros(0) for c in operation.inputs} | {c: np.zeros((0, 0)) for c in operation.repeated}
    got = backend.values(name, columns)
    assert tuple(got) == operation.outputs and all(v.shape == (0,) for v in got.values())


def test_columns_of_variable_length() -> None:
    """A case has as many times as come before its first NaN; they lie time by time behind the fixed inputs."""
    operation = Operation(9, "toy", ("strike", "fixings"), ("price",), {"strike": 5.0}, dict, repeated=("time", "weight"), count="fixings")
    got = operation_columns(operation, {"time": np.array([[1.0, 2.0], [3.0, np.nan]]), "weight": np.array([[0.1, 0.2], [0.3, np.nan]])})
    np.testing.assert_array_equal(got, [[5.0, 5.0], [2.0, 1.0], [1.0, 2.0], [0.1, 0.2], [3.0, np.nan], [0.3, np.nan]])
    with pytest.raises(KeyError):
        operation_columns(operation, {"strike": np.ones(2)})


def test_the_engine_refuses_other_shapes() -> None:
    """Lengths that do not fit the operation, and operations that do not exist, are statuses and not reads beyond an array."""
    runs, code, text = cpu.available()
    if not runs:
        pytest.skip(f"{code} {text}")
    library, european = load(), operation_named("european")
    cases, out = np.zeros((len(european.inputs), 2)), np.zeros((len(european.outputs), 2))
    check(library.upm_values(-1, 0, 2, cases, cases.size, out, out.size, 1), "values")
    for number, count, length, room in ((999, 2, cases.size, out.size), (0, 3, cases.size, out.size), (0, 2, cases.size - 1, out.size), (0, 2, cases.size, out.size - 1),
                                        (0, -1, cases.size, out.size)):
        with pytest.raises(DeviceError, match="UPM-DV-014"):
            check(library.upm_values(-1, number, count, cases, length, out, room, 1), "values")


# price and Greeks against the twin, in units of the level: what the twin's method and its differences leave
NEAR = {"single_barrier": (1e-11, 2e-6), "double_barrier": (1e-11, 2e-6), "forward_start": (1e-12, 1e-7), "geometric_asian": (1e-11, 1e-6),
        "arithmetic_asian": (2e-6, 2e-3), "two_asset": (1e-11, 1e-6), "heston_geometric_asian": (1e-8, 1e-5)}


@pytest.mark.parametrize("name", NEAR)
def test_against_the_twin(backend: Any, name: str) -> None:
    count = 5 if name.endswith("c_asian") else 40
    if backend is reference:
        pytest.skip("it is the twin")
    columns = exotic_cases(name, count)
    got, expected = backend.values(name, columns), _twin(name, count)
    assert tuple(got) == operation_named(name).outputs and not got["status"].any()
    price, greeks = NEAR[name]
    for key, value in got.items():
        assert value.dtype == np.float64 and value.shape == (count,)
        np.testing.assert_allclose(value, expected[key], rtol=0.0, atol=100.0 * (price if key in ("price", "status") else greeks), err_msg=key)


@cache
def _twin(name: str, count: int) -> dict[str, Any]:
    return reference.values(name, exotic_cases(name, count))


@pytest.mark.parametrize("name", NEAR)
def test_engine_and_device_agree_to_the_bit(name: str) -> None:
    """Instruction sets, threads and the emulated device."""
    columns = exotic_cases(name, 70)
    first = cpu_backend("plain").values(name, columns)
    for other in (cpu.values(name, columns, 1), cpu.values(name, columns, 2), cuda_backend("emulated").values(name, columns)):
        for key in first:
            np.testing.assert_array_equal(other[key], first[key], err_msg=key)


def test_a_case_outside_its_domain_has_a_status(backend: Any) -> None:
    """And leaves its neighbours alone."""
    for name in NEAR:
        count = 2 if name == "heston_geometric_asian" else 4
        columns = exotic_cases(name, count)
        whole = backend.values(name, columns)
        spoilt = "volatility" if "volatility" in columns else "vol_of_vol"
        columns[spoilt] = np.array([columns[spoilt][0], -0.1, *columns[spoilt][2:]])
        broken = backend.values(name, columns)
        assert broken["status"].tolist() == [0.0, 4.0, 0.0, 0.0][:count] and np.isnan(broken["price"][1])
        np.testing.assert_array_equal(np.delete(broken["price"], 1), np.delete(whole["price"], 1))
