"""Which files a run reads: resolved from a configuration, or from the copies a run folder keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upm_gpu.domain.blocks import SUFFIXES
from upm_gpu.shipped import find_file, resolve_sample

TABLES = ("instruments", "positions", "collateral", "accounts", "margin_means", "spots", "forwards", "implied_vols", "rates", "history", "settlements", "snapshot")

LIBRARY = "tables.upm"
SURFACES = "surfaces.toml"


@dataclass(frozen=True)
class RunInputs:
    """Folders and files a run reads, and every file by its name under `inputs/`."""

    book: Path
    market: Path
    methodology: Path
    next_market: Path | None
    parameters: Path | None
    library: Path | None
    """of value tables"""
    surfaces: Path | None
    paths: dict[str, Path]


def gather(config: Any) -> RunInputs:
    """Resolve a configuration's paths and list every file that is read."""
    book, market = resolve_sample(config.book.path, "book"), resolve_sample(config.market.path, "market")
    methodology = find_file(config.methodology.file)
    later = resolve_sample(config.market.next_path, "next_day") if config.market.next_path else None
    paths = {"methodology.toml": methodology}
    for name, folder in (("book", book), ("market", market), ("next_market", later)):
        if folder is not None:
            paths |= {f"{name}/{p.name}": p for p in _tables(folder)}
    if config.model.parameters:
        paths["parameters.toml"] = Path(config.model.parameters)
    if config.compute.tables:
        paths[LIBRARY] = Path(config.compute.tables)
    if config.market.surface_file:
        paths[SURFACES] = Path(config.market.surface_file)
    return RunInputs(book, market, methodology, later, paths.get("parameters.toml"), paths.get(LIBRARY), paths.get(SURFACES), paths)


def kept_inputs(folder: Path) -> RunInputs:
    """The copies a run folder keeps under `inputs/`."""
    later = folder / "next_market"
    return RunInputs(folder / "book", folder / "market", folder / "methodology.toml", later if later.is_dir() else None, folder / "parameters.toml", folder / LIBRARY if (folder / LIBRARY).is_file() else None,
                     folder / SURFACES, {})


def with_kept(config: Any, files: RunInputs) -> Any:
    """A configuration whose parameter and surface files are the copies a run folder keeps."""
    if config.model.parameters:
        config = config.model_copy(update={"model": config.model.model_copy(update={"parameters": str(files.parameters)})})
    if config.market.surface_file:
        config = config.model_copy(update={"market": config.market.model_copy(update={"surface_file": str(files.surfaces)})})
    return config


def read_library(path: Path | None) -> Any:
    """The library of value tables in a file; None for none. Raises InputError UPM-PR-115."""
    from upm_gpu.errors import InputError
    from upm_gpu.pricing.table_library import library_of

    if path is None:
        return None
    try:
        return library_of(path.read_bytes())
    except OSError as error:
        raise InputError("UPM-PR-115", f"{path}: cannot be read ({error.strerror}). Give the file that `upm tables` wrote, or leave compute.tables out.") from None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError("UPM-PR-115", f"{path}: {error}. Make it again with `upm tables`, or leave compute.tables out.") from None


def _tables(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_file() and any(p.name == t + s for t in TABLES for s in (*SUFFIXES, ".toml")))
