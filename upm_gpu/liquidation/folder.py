"""The folder of a simulation: tables, what they were made from, checksums and the page. It appears when it is whole; the same case gives the same bytes."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from upm_gpu.domain.text import csv_text
from upm_gpu.liquidation.money import money
from upm_gpu.liquidation.parameters import Parameters
from upm_gpu.liquidation.systemic import Simulation, summary
from upm_gpu.run import durable
from upm_gpu.run.finish import sums_bytes
from upm_gpu.run.folder import FORMAT, MANIFEST, SUMS, json_bytes
from upm_gpu.run.manifest import kernels_sha256, versions

PAGE = "liquidation.html"
STEP_COLUMNS = ("round", "party", "order", "kind", "name", "contracts", "cost", "required_before", "required_after")


def contents(made: Simulation, run: str, facts: dict[str, Any]) -> dict[str, bytes]:
    """Files by name; `facts` go into the manifest."""
    manifest = _manifest("liquidation", run, list(made.cascades), made.parameters, made.margins, {"scenario": made.scenario, **facts})
    assets = list(next(iter(made.cascades.values())).price)
    cascades = made.cascades.items()
    rounds = [[name, r.round, *(r.price[a] for a in assets), *(r.volatility[a] for a in assets), *(r.delta_traded[a] for a in assets), r.calls, r.call_amount, r.paid, r.new_defaults, r.liquidating, r.let_go,
               r.closed, r.cost, r.losses, r.fund_used, r.open_risk, r.initial_margin, r.charges] for name, c in cascades for r in c.rounds]
    heads = ["variant", "round", *(f"price_move_{a}" for a in assets), *(f"volatility_move_{a}" for a in assets), *(f"delta_traded_{a}" for a in assets), "calls", "call_amount", "call_paid", "new_defaults", "liquidating",
             "let_go", "closed", "cost", "losses", "fund_used", "open_risk", "initial_margin", "charges"]
    defaults = [[name, d.party, d.generation, d.entered, d.before, d.equity, d.required, d.steps, d.cost, d.how, d.end, d.left, d.loss, "" if d.bankruptcy_move is None else d.bankruptcy_move,
                 "; ".join(f"{k} {v:.2f}" for k, v in d.borne.items())] for name, c in cascades for d in c.defaults]
    steps = [[name, *("" if s[k] is None else s[k] for k in STEP_COLUMNS)] for name, c in cascades for s in c.steps]
    flows = [[name, f.round, f.kind, f.source, f.target, money(f.cents)] for name, c in cascades for f in c.ledger.flows]
    return {MANIFEST: json_bytes(manifest), "systemic.json": json_bytes({name: summary(c) for name, c in cascades}), "rounds.csv": _csv(heads, rounds),
            "defaults.csv": _csv(("variant", "party", "generation", "round", "before_the_scenario", "equity", "required", "steps", "cost", "how", "end", "end_round", "loss", "bankruptcy_move", "borne_by"), defaults),
            "steps.csv": _csv(("variant", *STEP_COLUMNS), steps), "flows.csv": _csv(("variant", "round", "kind", "source", "target", "amount"), flows)}


def tail_contents(found: dict[str, Any], parameters: Parameters, variants: list[str], run: str, facts: dict[str, Any]) -> dict[str, bytes]:
    """Files of a walk along the tail by name."""
    lines = found["lines"]
    layers = list(found["borne"][variants[0]])
    plain_keys = [k for k in lines[0] if k not in ("borne", "funds_at_start", "price_moved")]
    assets = list(lines[0]["price_moved"])
    rows = [[*(x[k] for k in plain_keys), *(x["borne"].get(k, 0.0) for k in layers), *(x["price_moved"][a] for a in assets)] for x in lines]
    means = {k: found[k] for k in ("paths", "means", "borne", "conserved")}
    return {MANIFEST: json_bytes(_manifest("liquidation_tail", run, variants, parameters, found["margins"], facts)), "tail.json": json_bytes(means),
            "paths.csv": _csv([*plain_keys, *(f"borne_by_{k}" for k in layers), *(f"price_move_{a}" for a in assets)], rows)}


def _manifest(kind: str, run: str, variants: list[str], parameters: Parameters, margins: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    return {"format": FORMAT, "kind": kind, "upm_gpu": versions()["upm_gpu"], "libraries": versions(), "kernels_sha256": kernels_sha256(), "run": run, "variants": variants,
            "rules": parameters.model_dump(), "margins": margins, **facts}


def write(target: Path, files: dict[str, bytes], page: Callable[[Path], bytes]) -> list[str]:
    """Write files, the page made from them and checksums; the names. Raises CapacityError where it cannot be written."""
    made = target.parent / f".{target.name}.{os.getpid()}{durable.PART_SUFFIX}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        durable.make_folder(made)
        hashes = {name: durable.write_file(made / name, content) for name, content in files.items()}
        hashes[PAGE] = durable.write_file(made / PAGE, page(made))
        durable.write_file(made / SUMS, sums_bytes(hashes))
        with contextlib.suppress(FileNotFoundError):
            target.rmdir()  # an empty folder asked for by name
        os.replace(made, target)
        durable.sync_folder(target.parent)
    except OSError as error:
        raise durable.storage_error(error, target) from None
    finally:
        if made.exists():
            shutil.rmtree(made, ignore_errors=True)
    return [*sorted(hashes), SUMS]


def plain(made: Simulation) -> dict[str, Any]:
    """A simulation as plain data for JSON."""
    return {"scenario": made.scenario, "rules": f"{made.parameters.name} {made.parameters.version}", "margins": made.margins, "systemic": {name: summary(c) for name, c in made.cascades.items()},
            "rounds": {name: [asdict(r) for r in c.rounds] for name, c in made.cascades.items()}, "defaults": {name: [asdict(d) for d in c.defaults] for name, c in made.cascades.items()}}


def _csv(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> bytes:
    return csv_text(header, rows).encode("utf-8")
