"""`upm compare`: one book under one or several methodologies, or under two versions of one, and why they differ.

The rows are margined units: an account, or a (member, netting set) where a book has such; they are the same under every methodology.
Differences are against the first methodology asked for.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from upm_gpu.backend.select import Choice, choose
from upm_gpu.domain.book import Book
from upm_gpu.errors import UsageError
from upm_gpu.margin.methodology import Methodology
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.methodologies import load_any, methodology_file
from upm_gpu.rulebook import RuleBook
from upm_gpu.rulebook.frame.held import Held, hold

CORE = "core"


@dataclass(frozen=True)
class Margined:
    """A book under one methodology."""

    title: str
    """name and version"""
    file: str
    monte_carlo: bool
    table: pd.DataFrame
    """one row a unit, indexed by its name: initial_margin, maintenance_margin, standard_error (0 for rule books), worst_scenario"""
    charges: pd.DataFrame
    """same rows, one column a charge; they sum to the initial margin"""
    parameters: dict[str, Any]
    """flat, by dotted key"""
    seconds: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Every methodology over the same units, in the order asked for."""

    currency: str
    valuation_time: str
    backend: str
    margined: tuple[Margined, ...]
    inputs: dict[str, str]
    """SHA-256 of every file read"""
    warnings: tuple[str, ...]

    @property
    def base(self) -> Margined:
        """What the others are compared with."""
        return self.margined[0]


def compare(config: Any, asked: list[str]) -> Comparison:
    """Margin the book of a configuration under every methodology of `asked` (files or shipped names, one or more)."""
    from upm_gpu.domain.reader import load_book
    from upm_gpu.market.reader import load_market
    from upm_gpu.shipped import resolve_sample

    files = [methodology_file(name) for name in asked]
    if len({f.resolve() for f in files}) < max(len(files), 1):
        raise UsageError("UPM-CF-124", "--methodologies: give one methodology or several different ones, separated by commas, such as house,derive_pmrm2.")
    methodologies = [load_any(f) for f in files]
    choice = choose(config.compute.device, config.compute.precision, config.compute.threads)
    market = load_market(resolve_sample(config.market.path, "market"))
    book = load_book(resolve_sample(config.book.path, "book"), market.valuation_time, config.book.max_reject_share)
    held = hold(book, market)[0] if any(isinstance(m, RuleBook) for m in methodologies) else None
    done: list[Margined] = []
    for file, methodology in zip(files, methodologies, strict=True):
        started = time.perf_counter()
        if isinstance(methodology, RuleBook):
            assert held is not None
            found = under_rule_book(methodology, held, choice)
        else:
            found = under_monte_carlo(methodology, book, market, config, choice)
        title = found[0] if found[0] not in {m.title for m in done} else f"{found[0]} ({file.stem})"
        done.append(Margined(title, file.name, not isinstance(methodology, RuleBook), *found[1:4], time.perf_counter() - started, found[4]))
    hashes = {f"book/{k}": v for k, v in book.hashes.items()} | {f"market/{k}": v for k, v in market.hashes.items()}
    hashes |= {f"methodology/{f.name}": hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
    rows = sorted(set().union(*(m.table.index for m in done)))
    aligned = tuple(Margined(m.title, m.file, m.monte_carlo, _filled(m.table, rows), m.charges.reindex(rows, fill_value=0.0), m.parameters, m.seconds, m.notes) for m in done)
    return Comparison(market.reporting_currency, market.valuation_time.isoformat().replace("+00:00", "Z"), choice.name, aligned, hashes, (*book.warnings, *market.warnings))


def _filled(table: pd.DataFrame, rows: list[str]) -> pd.DataFrame:
    wide = table.reindex(rows)
    return wide.fillna({c: "" if c == "worst_scenario" else 0.0 for c in wide.columns})


Found = tuple[str, pd.DataFrame, pd.DataFrame, dict[str, Any], tuple[str, ...]]
"""title, table, charges, parameters, notes"""


def under_rule_book(rules: RuleBook, held: Held, choice: Choice) -> Found:
    """A book under a rule book."""
    found = rules.module.margin(held, rules.parameters, choice.module.values)
    rows = pd.Index(found.units, name="unit")
    table = pd.DataFrame({"initial_margin": found.initial, "maintenance_margin": found.maintenance, "standard_error": np.zeros(len(rows)), "worst_scenario": list(found.worst)}, index=rows)
    return rules.title, table, pd.DataFrame(dict(found.charges), index=rows), flat(rules.parameters.model_dump(mode="json")), found.notes


def under_monte_carlo(methodology: Methodology, book: Book, market: MarketSnapshot, config: Any, choice: Choice) -> Found:
    """A book under a Monte Carlo methodology, with the model and scenarios of the configuration."""
    from upm_gpu.config import scenario_spec
    from upm_gpu.engine import margin_run

    spec = scenario_spec(config)
    units = margin_run(book, market, spec, methodology, choice.name, precision=choice.precision, threads=choice.threads).units
    rows = pd.Index(units["unit"].astype(str), name="unit")
    error = units["expected_shortfall_standard_error"].to_numpy() * methodology.core.multiplier
    table = pd.DataFrame({"initial_margin": units["initial_margin"].to_numpy(), "maintenance_margin": units["maintenance_margin"].to_numpy(), "standard_error": error,
                          "worst_scenario": [""] * len(rows)}, index=rows)
    charges = {CORE: units["core"].to_numpy()} | {c.removeprefix("charge_"): units[c].to_numpy() for c in units.columns if c.startswith("charge_")}
    return f"{methodology.name} {methodology.version}", table, pd.DataFrame(charges, index=rows), flat(methodology.model_dump(mode="json")), (f"{spec.count:,} scenarios, model {spec.model}",)


HEAD = ("schema_version", "name", "version", "effective_date")


def flat(tables: Any, prefix: str = "") -> dict[str, Any]:
    """Nested parameters by dotted key; entries of a list by their number.

    >>> flat({"a": {"b": [1, 2]}})
    {'a.b.0': 1, 'a.b.1': 2}
    """
    items = tables.items() if isinstance(tables, dict) else enumerate(tables) if isinstance(tables, list) else None
    if items is None:
        return {prefix: tables}
    out: dict[str, Any] = {}
    for key, value in items:
        if prefix or key not in HEAD:
            out |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return out


def write(comparison: Comparison, out: Path) -> list[str]:
    """margins.csv, charges.csv, explanation.txt, compare.json and SHA256SUMS in a new folder; returns the names. Raises UsageError for a folder that holds anything."""
    from upm_gpu.compare_words import charges_table, lines, margins_table, summary
    from upm_gpu.domain.text import csv_text
    from upm_gpu.run import durable
    from upm_gpu.run.finish import sums_bytes
    from upm_gpu.run.folder import SUMS, check_target, json_bytes

    check_target(out)
    out.mkdir(parents=True, exist_ok=True)
    margins, charges = margins_table(comparison), charges_table(comparison)
    contents = {"margins.csv": csv_text(list(margins), margins.itertuples(index=False)).encode(), "charges.csv": csv_text(list(charges), charges.itertuples(index=False)).encode(),
                "explanation.txt": ("\n".join(lines(comparison)) + "\n").encode(),
                "compare.json": json_bytes(summary(comparison) | {"inputs": comparison.inputs, "warnings": list(comparison.warnings)})}
    hashes = {name: durable.write_file(out / name, content) for name, content in contents.items()}
    durable.write_file(out / SUMS, sums_bytes(hashes))
    return [*contents, SUMS]
