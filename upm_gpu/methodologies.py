"""One door for every methodology file: a Monte Carlo methodology, or a rule book with its parameters."""

from __future__ import annotations

import re
from pathlib import Path

from upm_gpu.errors import InputError
from upm_gpu.margin.methodology import Methodology, load_methodology
from upm_gpu.rulebook import RuleBook, load_rule_book
from upm_gpu.shipped import find_file, package_file
from upm_gpu.strict_toml import read_toml

FOLDER = "configs/methodology"


def methodology_file(asked: str) -> Path:
    """The file behind what was asked for: a path, the name of a file of `configs/methodology` (`house_v1`), or its beginning (`house`: the latest version).

    Raises InputError UPM-CF-123 that lists what is on offer.
    """
    path = find_file(Path(asked).expanduser())
    if path.suffix or path.exists():
        return path
    shipped = {p.stem: p for p in package_file(FOLDER).glob("*.toml")}
    if asked in shipped:
        return shipped[asked]
    versions = sorted((tuple(map(int, re.findall(r"\d+", found[1]))), stem) for stem in shipped if (found := re.fullmatch(re.escape(asked) + r"_v([\d_]+)", stem)))
    if not versions:
        raise InputError("UPM-CF-123", f'methodology "{asked}" is neither a file nor one that ships: {", ".join(sorted(shipped))}.')
    return shipped[versions[-1][1]]


def load_any(path: str | Path) -> Methodology | RuleBook:
    """The methodology of a file, by whether it names a rule book. Raises InputError with every complaint."""
    file = find_file(path)
    tables, _ = read_toml(file, "methodology")
    return load_rule_book(file) if "rule_book" in tables else load_methodology(file)
