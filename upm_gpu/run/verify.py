"""`upm verify`: is every file of a finished run the one that was written?"""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from upm_gpu.errors import InputError, IntegrityError, UsageError
from upm_gpu.run import durable
from upm_gpu.run.folder import CHUNKS, FORMAT, MANIFEST, MARKS, PLAN, SUMS
from upm_gpu.run.lock import LOCK
from upm_gpu.run.log import LOG

_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9_][A-Za-z0-9._+-]*(?:/[A-Za-z0-9_][A-Za-z0-9._+-]*)*)")
_SHOWN = 20


def read_sums(folder: Path) -> dict[str, str]:
    """SHA256SUMS, parsed strictly: 64 lower-case hex digits, two spaces, a relative name, ascending, no name twice.

    Raises IntegrityError naming the file and line.
    """
    path = folder / SUMS
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise IntegrityError("UPM-RN-018", f"{path} is missing: the run was not finished, or the file was removed. An unfinished run goes "
                                           f"on with `upm resume`.") from None
    except OSError as error:
        raise IntegrityError("UPM-RN-018", f"{path} cannot be read ({os.strerror(error.errno or 0)}). Check its permissions, or restore it from a copy.") from None

    def malformed(line: int, why: str) -> IntegrityError:
        return IntegrityError("UPM-RN-019", f"{SUMS} line {line}: {why}; the file was changed after the run. Restore it from a copy.")

    lines = content.decode("latin-1").split("\n")
    if lines[-1] != "" or len(lines) < 2:
        raise malformed(len(lines), "does not end as it was written")
    sums: dict[str, str] = {}
    last = ""
    for number, line in enumerate(lines[:-1], 1):
        found = _LINE.fullmatch(line)
        if not found:
            raise malformed(number, "is not `<64 hex digits>  <name>`")
        digest, name = found.groups()
        if name <= last:
            raise malformed(number, f"{name} is out of order")
        sums[name] = digest
        last = name
    return sums


def check_folder(path: str | Path) -> Path:
    """The folder of a run, begun or finished; raises UsageError where there is none."""
    path = Path(path)
    if not path.is_dir():
        raise UsageError("UPM-RN-001", f"{path} is no folder. Give the folder that `upm run` wrote.")
    if not MARKS & set(os.listdir(path)):
        raise UsageError("UPM-RN-001", f"{path} holds no run (no {PLAN}, {MANIFEST} or {SUMS}). Give the folder that `upm run` wrote.")
    return path.resolve()


def check_format(name: str, content: object) -> None:
    """Refuse a manifest or plan of a format this version does not know, by name."""
    found = content.get("format") if isinstance(content, dict) else None
    if type(found) is not int or found != FORMAT:
        raise InputError("UPM-RN-016", f"{name}: format {found!a} is unknown; this version reads format {FORMAT}. Use the version of upm "
                                       f"that wrote the run.")


def read_manifest(path: str | Path) -> dict[str, Any]:
    """manifest.json of a run; raises IntegrityError where it is missing or unreadable, InputError for its format."""
    folder = check_folder(path)
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        if (folder / SUMS).exists():
            raise IntegrityError("UPM-RN-017", f"{folder}: {MANIFEST} is missing. Restore it from a copy, or run again.") from None
        raise IntegrityError("UPM-RN-017", f"{folder}: {MANIFEST} is missing: the run was not finished. Go on with `upm resume`.") from None
    except (OSError, ValueError) as error:
        raise IntegrityError("UPM-RN-017", f"{folder}: {MANIFEST} cannot be read ({error}). Restore it from a copy.") from None
    check_format(MANIFEST, content)
    return content


def _found(folder: Path) -> tuple[dict[str, int], list[str], list[str]]:
    """(size of every plain file by name, names that are no plain file, leftovers)."""
    files: dict[str, int] = {}
    odd, leftovers = [], []
    for root, folders, names in os.walk(folder):
        base = Path(root).relative_to(folder)
        odd += [(base / f).as_posix() for f in folders if (Path(root) / f).is_symlink()]
        for name in names:
            relative = (base / name).as_posix()
            entry = os.lstat(os.path.join(root, name))
            if not stat.S_ISREG(entry.st_mode):
                odd.append(relative)
            elif re.fullmatch(rf"{CHUNKS}/\d+-\d+-\d+\.upm|(.*/)?\.[^/]+\.part", relative):
                leftovers.append(relative)
            else:
                files[relative] = entry.st_size
    return files, odd, leftovers


def verify_run(path: str | Path, unread: str | None = None) -> dict[str, Any]:
    """Check a finished run against its SHA256SUMS; returns `path, files, bytes, format` and `leftovers`. Files whose names begin with `unread` must be there and are not hashed.

    Leftovers are temporary files that a kill after the end of the run left; `upm resume` removes them.

    Raises IntegrityError (exit 9) that names every file changed, missing or extra; InputError for an unknown format;
    UsageError where there is no run. `run.log.jsonl` and `run.lock` are no results and may change.
    """
    folder = check_folder(path)
    sums = read_sums(folder)
    files, odd, leftovers = _found(folder)
    for name in (SUMS, LOCK, LOG):
        files.pop(name, None)
    changed = []
    for name in sorted(sums.keys() & files.keys()):
        if unread is not None and name.startswith(unread):
            continue
        try:
            if durable.sha256_of(folder / name) != sums[name]:
                changed.append(name)
        except OSError:
            changed.append(name)
    missing = sorted(sums.keys() - files.keys() - set(odd))
    extra = sorted(files.keys() - sums.keys()) + sorted(set(odd) - {LOCK, LOG})
    if MANIFEST not in sums and MANIFEST not in files:
        missing.append(MANIFEST)
    if changed or missing or extra:
        said = [f"{what}: {', '.join(ascii(n)[1:-1] for n in names[:_SHOWN])}{f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''}"
                for what, names in (("changed", changed), ("missing", missing), ("extra", extra)) if names]
        raise IntegrityError("UPM-RN-020", f"{folder}: {len(changed) + len(missing) + len(extra)} of {len(sums.keys() | files.keys())} files are not "
                                           f"as they were written; {'; '.join(said)}. Restore them from a copy, or run again.")
    manifest = read_manifest(folder)
    return {"path": str(folder), "files": len(sums), "bytes": sum(files.values()), "format": manifest["format"], "leftovers": leftovers}
