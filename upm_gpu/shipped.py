"""Files that ship with the package (configs, kernels, samples): wheel, editable install or checkout."""

from __future__ import annotations

from pathlib import Path

from upm_gpu import errors
from upm_gpu.errors import InputError, UsageError


def package_file(name: str) -> Path:
    """A file or folder by its place, such as `kernels`, inside the package or, in a checkout, beside it. Raises UsageError UPM-CF-073."""
    package = Path(errors.__file__).parent
    for root in (package, package.parent):
        if (root / name).exists():
            return root / name
    raise UsageError("UPM-CF-073", f"{name} does not ship with this installation. Install the package again.")


def find_file(name: str | Path) -> Path:
    """A file as given; where there is none, `configs/...` is the one of that name that ships with the package."""
    path = Path(name)
    if path.exists() or path.is_absolute() or path.parts[:1] != ("configs",) or ".." in path.parts:
        return path
    try:
        return package_file(path.as_posix())
    except UsageError:
        return path


def resolve_sample(path: str | Path, part: str) -> Path:
    """The folder behind `sample:NAME` (`part` is book, market or next_day); any other path as given, `~` expanded.

    Raises InputError UPM-CF-074 for a sample that is not there.
    """
    text = str(path)
    if not text.startswith("sample:"):
        return Path(text).expanduser()
    name, root = text.removeprefix("sample:"), package_file("sample")
    known = sorted(p.name for p in root.iterdir() if (p / part).is_dir())
    if name not in known:
        raise InputError("UPM-CF-074", f"there is no sample {name!a}. Use {', '.join(f'sample:{n}' for n in known)}.")
    return root / name / part
