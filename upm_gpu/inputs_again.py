"""The inputs of a finished run, read again from the copies its folder keeps: what a histogram or a desk computes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upm_gpu.domain.book import Book
from upm_gpu.errors import IntegrityError
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.scenario.spec import ScenarioSpec


@dataclass(frozen=True)
class InputsAgain:
    """What `make_plan` was given by the run."""

    book: Book
    market: MarketSnapshot
    spec: ScenarioSpec
    methodology: Any
    threads: int
    library: Any = None
    """of value tables"""
    finer: Mapping[int, int] = field(default_factory=dict)
    """tables that the run made finer (`pricing/table_refinement.py`)"""


def inputs_again(path: Path, manifest: dict[str, Any]) -> InputsAgain:
    """Book, market, specification and methodology of the run from `inputs/`, each file compared with its hash in the manifest (IntegrityError where one differs)."""
    from upm_gpu.config import load_config, scenario_spec
    from upm_gpu.domain.reader import load_book
    from upm_gpu.inputs import kept_inputs, read_library, with_kept
    from upm_gpu.margin.methodology import load_methodology
    from upm_gpu.market.reader import load_market
    from upm_gpu.pricing.table_refinement import recorded
    from upm_gpu.run.durable import sha256_of
    from upm_gpu.run.folder import INPUTS

    folder = path / INPUTS
    for name, digest in manifest["inputs"].items():
        if not (folder / name).is_file() or sha256_of(folder / name) != digest:
            raise IntegrityError("UPM-RN-049", f"{folder / name} is not the file the run was made from. Restore it from a copy, or run again.")
    config, files = load_config(folder / "config.toml", {}), kept_inputs(folder)
    config = with_kept(config, files)
    market = load_market(files.market)
    book = load_book(files.book, market.valuation_time, config.book.max_reject_share)
    return InputsAgain(book, market, scenario_spec(config), load_methodology(files.methodology), config.compute.threads, read_library(files.library), recorded(manifest))
