"""The compiled engine missing, foreign, of another version, or asked for what it cannot do: a code and a remedy, no crash."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from parity.cases import DATES, STATE_NAMES, make_compiled, make_explicit, make_rows
from parity.conftest import cpu_backend

from upm_gpu.backend import cpu
from upm_gpu.backend.cpu import library
from upm_gpu.compiled_library import ABI_VERSION
from upm_gpu.errors import DeviceError
from upm_gpu.pricing.compiled import Rows
from upm_gpu.scenario.sets import Explicit


def refusal(path: Path) -> str:
    with pytest.raises(DeviceError) as caught:
        library.load(path)
    assert "--device reference" in str(caught.value) and caught.value.exit_code == 7
    return caught.value.code


def test_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(tmp_path / "libupm_host.so") == "UPM-DV-010"
    library.load.cache_clear()
    monkeypatch.setattr(library, "library_path", lambda: tmp_path / "libupm_host.so")
    runs, code, text = cpu.available()
    library.load.cache_clear()
    assert not runs and code == "UPM-DV-010" and "pure-Python" in text


def test_file_that_is_no_library(tmp_path: Path) -> None:
    path = tmp_path / "libupm_host.so"
    path.write_bytes(b"not a shared object")
    assert refusal(path) == "UPM-DV-011"


@pytest.mark.parametrize("text", ["int other;", 'extern "C" int upm_abi_version() { return 999; } extern "C" long long upm_struct_bytes(int) { return 0; }',
                                  f'extern "C" int upm_abi_version() {{ return {ABI_VERSION}; }} extern "C" long long upm_struct_bytes(int) {{ return 8; }}'])
def test_library_of_another_version(tmp_path: Path, text: str) -> None:
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler to build a foreign library with")
    source, path = tmp_path / "other.cpp", tmp_path / "libupm_host.so"
    source.write_text(text)
    subprocess.run([compiler, "-shared", "-fPIC", str(source), "-o", str(path)], check=True)
    assert refusal(path) == "UPM-DV-012"


def test_instruction_set_that_is_not_there() -> None:
    cpu_backend("plain")
    compiled = make_compiled()
    with pytest.raises(DeviceError, match="UPM-DV-013 instruction set amx"):
        cpu.prepare(compiled, make_rows(compiled), "mixed", isa="amx")


def test_closed_book_is_refused() -> None:
    cpu_backend("plain")
    compiled = make_compiled()
    with cpu.prepare(compiled, make_rows(compiled), "mixed") as prepared:
        pass
    prepared.close()
    with pytest.raises(DeviceError, match="UPM-DV-017"):
        cpu.states(prepared, make_explicit(), 0, 10)


def test_indices_outside_their_arrays_are_refused_before_they_are_used() -> None:
    cpu_backend("plain")
    compiled = make_compiled()
    rows = make_rows(compiled)
    beyond = Rows(rows.first, np.where(np.arange(len(rows.column)) == 5, compiled.columns, rows.column).astype(np.int32), rows.quantity)
    with pytest.raises(DeviceError, match="UPM-DV-014"):
        cpu.prepare(compiled, beyond, "mixed")
    short = Rows(rows.first, rows.column[:-1], rows.quantity)
    with pytest.raises(DeviceError, match="UPM-DV-014"):
        cpu.prepare(compiled, short, "mixed")
    integers = compiled.programs[0].group_integers.copy()
    integers[0, 3] = len(DATES)
    with pytest.raises(DeviceError, match="UPM-DV-014"):
        cpu.prepare(replace(compiled, programs=(replace(compiled.programs[0], group_integers=integers), *compiled.programs[1:])), rows, "mixed")
    with cpu.prepare(compiled, rows, "mixed") as prepared:
        few = Explicit(STATE_NAMES[:2], DATES, np.zeros((len(DATES), 2, 10)))
        for scenarios, first, last in ((few, 0, 10), (make_explicit(10), 0, 11), (make_explicit(10), 4, 4), (make_explicit(10), -1, 4)):
            with pytest.raises((DeviceError, ValueError)):
                cpu.states(prepared, scenarios, first, last)
        with pytest.raises(DeviceError, match="UPM-DV-014"):
            cpu.row_tail(prepared, make_explicit(200), 64, 200, 10)  # not at a block
        with pytest.raises(DeviceError, match="UPM-DV-014"):
            cpu.row_tail(prepared, make_explicit(200), 0, 200, 10, np.zeros((1, 1)))
