"""What a cascade starts from: a plan and the margins of its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu import exhibits
from upm_gpu.backend.select import Choice, choose
from upm_gpu.errors import InputError
from upm_gpu.liquidation.holdings import Parties, parties_of
from upm_gpu.margin.units import sum_by
from upm_gpu.plan import Plan
from upm_gpu.pricing.compiled import Compiled


@dataclass(frozen=True)
class Case:
    """A margined book whose market may move."""

    plan: Plan
    choice: Choice
    parties: Parties
    initial: NDArray[np.float64]
    """(P,) initial margin of the run, all charges included"""
    equity: NDArray[np.float64]
    """(P,)"""

    @cached_property
    def now(self) -> Compiled:
        """The plan's instruments compiled for moves at once."""
        plan = self.plan
        return exhibits.compile_today(plan.instruments, plan.market, plan.surfaces, plan.compiled.drawn_names, plan.dynamics)

    @property
    def units_of(self) -> list[list[int]]:
        """(P,) units of each party."""
        found: list[list[int]] = [[] for _ in self.parties.names]
        for unit, party in enumerate(self.parties.of_unit.tolist()):
            found[party].append(unit)
        return found


def case_of_run(path: str | Path) -> Case:
    """A finished run, its inputs read again and every checksum looked at. Raises as `desk.open_run` does."""
    from upm_gpu.desk.opening import same_program
    from upm_gpu.inputs_again import inputs_again
    from upm_gpu.plan import make_plan, with_count
    from upm_gpu.report.read import read_table
    from upm_gpu.run.verify import check_folder, read_manifest, verify_run

    folder = check_folder(path)
    verify_run(folder)
    manifest = read_manifest(folder)
    same_program(folder, manifest)
    again = inputs_again(folder, manifest)
    if again.spec.sampler == "importance":
        raise InputError("UPM-RN-081", "the scenarios of this run were guided by where its book loses (sampler importance), so margins of changed books cannot be measured on them. "
                         "Run with sampler philox or sobol.")
    choice = choose(str(manifest["backend"]), "double", again.threads)
    plan = with_count(make_plan(again.book, again.market, again.spec, again.methodology), int(manifest["scenarios"]))
    table = read_table(folder / "margin.parquet")
    if table is None:
        raise InputError("UPM-RN-047", f"{folder / 'margin.parquet'} is missing: no account can be liquidated. Run the margin again.")
    return case_of(plan, choice, table)


def case_of(plan: Plan, choice: Choice, table: Mapping[str, Any]) -> Case:
    """A plan with the margin table of its run: columns account_id, initial_margin, equity."""
    parties = parties_of(plan.book, plan.units)
    place = {str(a): n for n, a in enumerate(table["account_id"])}
    order = [place[a.account_id] for a in plan.book.accounts]

    def by_party(name: str) -> NDArray[np.float64]:
        return sum_by(parties.of_account, np.asarray(table[name], np.float64)[order], len(parties.names))

    return Case(plan, choice, parties, by_party("initial_margin"), by_party("equity"))


def names_near(name: str, known: Sequence[str]) -> str:
    """The nearest known name, as a hint."""
    from upm_gpu.domain.tables import nearest

    near = nearest(name, list(known))
    return f" Did you mean {near!a}?" if near else ""
