"""Which files a run reads: resolved from a configuration, or from the copies a run folder keeps."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from upm_gpu.errors import InputError, UsageError

SAMPLES = {"crypto": "sample/crypto"}
TABLES = ("instruments", "positions", "collateral", "accounts", "spots", "forwards", "implied_vols", "rates", "history", "settlements", "snapshot")
SUFFIXES = (".csv", ".parquet", ".csv.gz", ".csv.zst", ".parquet.gz", ".parquet.zst", ".toml")


@dataclass(frozen=True)
class RunInputs:
    """Folders and files a run reads, and every file by its name under `inputs/`."""

    book: Path
    market: Path
    methodology: Path
    next_market: Path | None
    parameters: Path | None
    paths: dict[str, Path]


def package_file(name: str) -> Path:
    """A file or folder that ships with the package (configs, kernels, sample): wheel, editable install or checkout."""
    package = Path(str(resources.files("upm_gpu").joinpath("errors.py"))).parent
    for root in (package, package.parent):
        if (root / name).exists():
            return root / name
    raise UsageError("UPM-CF-073", f"{name} does not ship with this installation. Install the package again.")


def sample_folder(path: str, part: str) -> Path:
    """The folder behind `sample:NAME` (or a plain path, unchanged); `part` is book, market or next_day."""
    if not path.startswith("sample:"):
        return Path(path)
    name = path.removeprefix("sample:")
    if name not in SAMPLES:
        raise InputError("UPM-CF-074", f'there is no sample "{name}". Use sample:{", sample:".join(SAMPLES)}.')
    return package_file(SAMPLES[name]) / part


def gather(config: Any) -> RunInputs:
    """Resolve a configuration's paths and list every file that is read."""
    from upm_gpu.config import find_file

    book, market = sample_folder(config.book.path, "book"), sample_folder(config.market.path, "market")
    methodology = find_file(config.methodology.file)
    later = sample_folder(config.market.next_path, "next_day") if config.market.next_path else None
    paths = {"methodology.toml": methodology}
    for name, folder in (("book", book), ("market", market), ("next_market", later)):
        if folder is not None:
            paths |= {f"{name}/{p.name}": p for p in _tables(folder)}
    if config.model.parameters:
        paths["parameters.toml"] = Path(config.model.parameters)
    return RunInputs(book, market, methodology, later, paths.get("parameters.toml"), paths)


def kept_inputs(folder: Path) -> RunInputs:
    """The copies a run folder keeps under `inputs/`."""
    later = folder / "next_market"
    return RunInputs(folder / "book", folder / "market", folder / "methodology.toml", later if later.is_dir() else None, folder / "parameters.toml", {})


def _tables(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_file() and any(p.name == t + s for t in TABLES for s in SUFFIXES))
