"""Shared fixtures. That this file is here also puts `tests/` on the import path, for its helper packages."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import pytest

import upm_gpu

# Child processes import the package this process imports: the installed one, never the checkout they happen to stand in.
os.environ["PYTHONSAFEPATH"] = "1"
os.environ["PYTHONPATH"] = os.pathsep.join([os.path.dirname(os.path.dirname(upm_gpu.__file__)), *filter(None, [os.environ.get("PYTHONPATH")])])

if TYPE_CHECKING:
    from formula_harness import Kernels


@pytest.fixture(scope="session")
def formula_kernels(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Kernels]:
    """isa -> the formula headers built for it; skips where this processor lacks the instruction set."""
    from formula_harness import Kernels, offered

    folder = tmp_path_factory.mktemp("formula_kernels")

    @cache
    def load(isa: str) -> Kernels:
        return Kernels.load(isa, folder)

    def get(isa: str) -> Kernels:
        if isa not in offered():
            pytest.skip(f"this processor has no {isa}")
        return load(isa)

    return get


@pytest.fixture(scope="session")
def kernels(formula_kernels: Callable[[str], Kernels]) -> Kernels:
    """The formula headers built for the widest instruction set of this processor."""
    from formula_harness import offered

    return formula_kernels(offered()[-1])
