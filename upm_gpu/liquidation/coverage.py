"""Value tables of a market that moves in steps: made once for where it stands and a little beyond, not again at every step.

A table covers a range of states. Here that range is the one that given states span together with those that a cascade begins with (`anchor`), each end rounded outward to a multiple of `REACH`: a pure function
of the scenario and of where the market stands, so which cascades were run before changes no bit, and a market pushed by a per cent asks for the tables it has. Tables of single groups are kept by what they are a function of (`pricing/tables.py`), so where one underlying leaves its
range its own are made and no others. Verified by tests/end_to_end/test_liquidation_tables.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from upm_gpu.backend.select import Choice
from upm_gpu.pricing.compiled import Compiled, ValueTable
from upm_gpu.pricing.tables import Ranges, state_ranges, with_tables
from upm_gpu.scenario.sets import Explicit, ScenarioSet

REACH = 0.125
"""of every state: four steps of the first lattice of a table in ln(F / K) and one in ln sigma; what liquidations push prices by is less, as a rule"""


@dataclass
class Memory:
    """A shelf that lasts as long as the cascades of one question."""

    made: dict[str, tuple[ValueTable, float]] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    """keys of the scenario at hand"""

    def take(self, key: str) -> tuple[ValueTable, float] | None:
        """The table kept under a key and its largest error."""
        self.asked.add(key)
        return self.made.get(key)

    def keep(self, key: str, table: ValueTable, error: float) -> None:
        """Keep a table that was just made."""
        self.made[key] = table, error

    def turn(self) -> None:
        """The next scenario: what the one before did not ask for goes, so that a long tail stays small."""
        self.made = {key: table for key, table in self.made.items() if key in self.asked}
        self.asked.clear()


@dataclass
class Coverage:
    """Programs with the value tables made for them so far."""

    choice: Choice
    shelf: Memory = field(default_factory=Memory)
    covered: dict[tuple[int, bytes], tuple[Compiled, Compiled]] = field(default_factory=dict)
    """by program and range: the program itself, which keeps its identity in use, and it with tables"""
    anchors: dict[int, Ranges] = field(default_factory=dict)
    """by program: least and largest states that its tables always reach over"""

    def anchor(self, compiled: Compiled, sets: Sequence[ScenarioSet]) -> None:
        """Let the tables of a program reach over given scenarios from the first on."""
        if any(p.table_requests for p in compiled.programs):
            found = [state_ranges(given, self.choice.module, self.choice.threads) for given in sets]
            self.anchors[id(compiled)] = np.min([low for low, _ in found], axis=0), np.max([high for _, high in found], axis=0)

    def of(self, compiled: Compiled, given: ScenarioSet) -> Compiled:
        """A program with value tables that reach over given scenarios; itself where it needs none. Raises what `with_tables` does."""
        if not any(p.table_requests for p in compiled.programs):
            return compiled
        low, high = state_ranges(given, self.choice.module, self.choice.threads)
        if id(compiled) in self.anchors:
            low, high = np.minimum(low, self.anchors[id(compiled)][0]), np.maximum(high, self.anchors[id(compiled)][1])
        ends = np.stack([REACH * np.floor(low / REACH), REACH * np.ceil(high / REACH)], axis=2)
        key = id(compiled), ends.tobytes()
        if key not in self.covered:
            corners = Explicit(tuple(given.state_names), given.dates, ends)
            self.covered[key] = compiled, with_tables(compiled, (corners,), self.choice.module, self.choice.threads, self.shelf)[0]
        return self.covered[key][1]
