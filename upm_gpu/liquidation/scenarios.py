"""Which scenario a cascade begins with: a named stress, moves in words, a scenario of the run by its number, or its worst ones for the house."""

from __future__ import annotations

import re
import tomllib

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import UsageError
from upm_gpu.liquidation.case import Case, names_near
from upm_gpu.liquidation.starts import Start, scenario_start, stress_start
from upm_gpu.margin.units import sum_by
from upm_gpu.outputs import STRESSES
from upm_gpu.passes import chunk_ranges
from upm_gpu.pricing.compiled import Rows
from upm_gpu.pricing.tables import with_tables
from upm_gpu.risk.measures import tail_size
from upm_gpu.shipped import package_file

MOVE = re.compile(r"\s*(?P<asset>[^\s,]+)\s*(?P<what>volatility\b)?\s*(?P<size>[+-]\s*\d+(?:\.\d*)?)\s*%\s*", re.IGNORECASE)


def start_of(case: Case, text: str) -> Start:
    """The start that a text names. Raises UsageError UPM-CF-190 for a text that is none of them, UPM-CF-191 for a number or asset the run does not have."""
    known = {s["name"]: s["moves"] for s in tomllib.loads(package_file(STRESSES).read_text())["stress"]}
    if text in known:
        return stress_start(case.now, text, known[text])
    if re.fullmatch(r"\d+", text):
        number = int(text)
        if number >= case.plan.scenarios.count:
            raise UsageError("UPM-CF-191", f"--scenario {text}: the run has the scenarios 0 to {case.plan.scenarios.count - 1}. worst_scenarios.parquet lists the worst of every account.")
        return scenario_start(case.plan, case.choice, number)
    return stress_start(case.now, text, _moves(case, text, list(known)))


def _moves(case: Case, text: str, known: list[str]) -> dict[str, dict[str, float]]:
    """Moves by asset of a text such as "BTC -40 %, volatility +60 %"; "volatility" alone and "everything" mean every asset."""
    assets = {i.underlying for i in case.plan.instruments}
    found: dict[str, dict[str, float]] = {}
    for part in text.split(","):
        match = MOVE.fullmatch(part)
        if match is None:
            raise UsageError("UPM-CF-190", f"--scenario {text!a}: {part.strip()!a} is no move.{names_near(text, known)} Write \"BTC -40 %\", \"BTC -40 %, BTC volatility +60 %\", \"everything -20 %, volatility +50 %\", "
                             "the number of a scenario of the run, or the name of a stress of the report.")
        asset, what, size = match["asset"], "volatility" if match["what"] else "price", float(match["size"].replace(" ", "")) / 100.0
        if asset.lower() == "volatility" and not match["what"]:
            asset, what = "*", "volatility"
        elif asset.lower() in ("everything", "all"):
            asset = "*"
        elif asset not in assets:
            raise UsageError("UPM-CF-191", f"--scenario {text!a}: {asset!a} is no underlying of the run.{names_near(asset, sorted(assets))} It has {', '.join(sorted(assets)[:12])}.")
        if size <= -1.0:
            raise UsageError("UPM-CF-190", f"--scenario {text!a}: a fall by {-100.0 * size:g} % leaves nothing. Give less than 100 %.")
        found.setdefault(asset, {})[what] = size
    every = found.get("*", {})  # an asset named for one thing keeps what everything does in the other
    return {a: {**every, **m} for a, m in found.items()}


def house_tail(case: Case, count: int | None) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The `count` scenarios in which all accounts together lose most at the core's horizon, worst first, and their P&L; None: as many as the tail of the core's level has. Raises UsageError UPM-CF-192 where the run has fewer."""
    plan, backend = case.plan, case.choice.module
    if count is None:
        count = int(np.ceil(tail_size(plan.scenarios.count, plan.core.level)))
    if not 0 < count <= plan.scenarios.count:
        raise UsageError("UPM-CF-192", f"--tail {count}: the run has {plan.scenarios.count} scenarios. Give 1 to that many, such as 20.")
    total = sum_by(plan.rows.column, plan.rows.quantity, plan.compiled.columns)
    held = np.flatnonzero(total).astype(np.int32)
    house = Rows(np.array([0, len(held)], np.int64), held, total[held])
    compiled, _ = with_tables(plan.compiled, (plan.scenarios,), backend, case.choice.threads)
    with backend.prepare(compiled, house, case.choice.precision, case.choice.threads) as prepared:
        pnl = np.concatenate([backend.row_pnl(prepared, plan.scenarios, a, b, plan.horizon(plan.core.horizon))[0] for a, b in chunk_ranges(plan, 16_384, backend, prepared)])
    order = np.lexsort((np.arange(len(pnl)), pnl))[:count]
    return order.astype(np.int64), pnl[order]
