"""Going on with a run that was stopped: what it was asked, and whether this program may finish it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from upm_gpu.errors import IntegrityError, UsageError
from upm_gpu.run import durable
from upm_gpu.run.folder import INPUTS, PLAN, RunFolder
from upm_gpu.run.ledger import remove_chunks
from upm_gpu.run.lock import acquire
from upm_gpu.run.manifest import identity as current_identity
from upm_gpu.run.verify import check_folder, check_format


def _changed_inputs(folder: Path, inputs: Mapping[str, Mapping[str, object]]) -> list[str]:
    changed = []
    for name, kept in sorted(inputs.items()):
        path = durable.inside(folder / INPUTS, name)
        try:
            if durable.sha256_of(path) != kept["sha256"]:
                changed.append(f"{INPUTS}/{name} changed")
        except OSError:
            changed.append(f"{INPUTS}/{name} missing")
    here = {p.relative_to(folder / INPUTS).as_posix() for p in (folder / INPUTS).rglob("*") if not p.is_dir()}
    return changed + [f"{INPUTS}/{ascii(name)[1:-1]} added" for name in sorted(here - set(inputs))]


def open_for_resume(path: str | Path, identity: Mapping[str, str] | None = None) -> RunFolder:
    """Lock a run folder and give back what it was asked, in `plan` (settings, inputs, identity).

    The run reads `inputs/` and nothing else, so a folder that was moved to another machine can be resumed there. Where
    `finished` is true there is nothing to do. Raises UsageError (no run, never started, in use, another program: each
    difference named) or IntegrityError (an input changed: each named).
    """
    folder = check_folder(path)
    if Path(path).is_symlink():
        raise UsageError("UPM-RN-004", f"{path} is a symbolic link. Give the folder itself.")
    lock = acquire(folder)
    try:
        try:
            plan = json.loads((folder / PLAN).read_bytes())
        except FileNotFoundError:
            raise UsageError("UPM-RN-009", f"{path}: {PLAN} is missing: the run never started, so there is nothing to go on with. Start it again in a "
                                           f"new folder.") from None
        except (OSError, ValueError) as error:
            raise IntegrityError("UPM-RN-014", f"{path}: {PLAN} cannot be read ({error}). Start the run again in a new folder.") from None
        check_format(PLAN, plan)
        run = RunFolder(folder, str(path), plan, lock)
        if lock.taken_over is not None:
            run.warn(f"{path}: took over the lock of process {lock.taken_over.pid}, which has ended.")
        if run.finished:
            remove_chunks(folder)
            durable.remove_parts(folder)
            return run
        changed = _changed_inputs(folder, plan["inputs"])
        if changed:
            raise IntegrityError("UPM-RN-014", f"{path}: the run cannot go on, its inputs are not those it began with: {'; '.join(changed)}. Restore "
                                               f"them, or start a new run.")
        now = dict(current_identity() if identity is None else identity)
        before = plan["identity"]
        differ = [f"{name} was {before.get(name, 'absent')}, is {now.get(name, 'absent')}" for name in sorted(before.keys() | now.keys())
                  if before.get(name) != now.get(name)]
        if differ:
            raise UsageError("UPM-RN-015", f"{path}: begun by another version, whose figures may differ: {'; '.join(differ)}. Finish it with that "
                                           f"version, or start a new run.")
        durable.remove_parts(folder)
        return run
    except BaseException:
        lock.release()
        raise

