"""Shared fixtures. That this file is here also puts `tests/` on the import path, for its helper packages."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import pytest

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
