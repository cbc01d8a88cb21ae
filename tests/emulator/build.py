"""Builds kernel text into emulated libraries and sanitizer drivers with g++, cached by the hash of all that goes in."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
KERNELS = HERE.parents[1] / "kernels"
MODULES = ("walk", "resample", "garch", "sampled_walk", "jumps", "heston", "derived", "unit_pnl", "row_tail", "kept", "attribution", "values")
KERNEL = re.compile(r"^UPM_GLOBAL\s+UPM_LAUNCH_BOUNDS\(\s*([\w:]+)\s*,\s*\w+\s*\)\s*(\w+)\s*\(", re.MULTILINE)
FLAGS = ("-std=c++17", "-O1", "-g", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra", "-Wno-unknown-pragmas",
         "-Wno-unused-function", "-fno-omit-frame-pointer")


def unavailable() -> str | None:
    """Why kernels cannot be emulated here, or None."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return "the fibers of the emulator are x86-64 only"
    if not shutil.which("g++"):
        return "no g++"
    return None


def kernel_texts() -> dict[str, str]:
    """Every header and kernel file by its #include name."""
    return {p.name: p.read_text() for p in sorted(KERNELS.iterdir()) if p.suffix in (".cu", ".cuh", ".def")}


def table(texts: dict[str, str], modules: tuple[str, ...], driver: bool) -> str:
    """The generated file: the kernels, a table of their names, and the C interface (or the driver) around them."""
    found = [match for module in modules for match in KERNEL.findall(texts[f"{module}.cu"])]
    declared = sum(len(re.findall(r"^UPM_GLOBAL", texts[f"{module}.cu"], re.MULTILINE)) for module in modules)
    if len(found) != declared:
        raise ValueError("a kernel is not declared as `UPM_GLOBAL UPM_LAUNCH_BOUNDS(N, M) name(` at the start of a line")
    lines = ['#include "cuda_emulator.hpp"']
    lines += [f'#include "{module}.cu"' for module in modules]
    lines += ["namespace emulator {", "static const Kernel emulated_kernels[] = {"]
    lines += [f"    EMULATED_KERNEL({name}, {bound})," for bound, name in found]
    lines += ["};", "}", '#include "emulator_library.hpp"']
    if driver:
        lines.append('#include "driver.cpp"')
    return "\n".join(lines) + "\n"


def reachable(texts: dict[str, str], roots: list[str]) -> set[str]:
    """The files that `roots` include, themselves among them."""
    seen: set[str] = set()
    todo = list(roots)
    while todo:
        name = todo.pop()
        if name in texts and name not in seen:
            seen.add(name)
            todo += re.findall(r'#include "([^"]+)"', texts[name])
    return seen


def build(modules: tuple[str, ...] = MODULES, texts: dict[str, str] | None = None, sanitizer: str | None = None) -> Path:
    """The library of the kernels of `modules`, or with `sanitizer` (`thread`, `address,undefined`) the driver program.

    `texts` replaces kernel text, for tests that plant a fault.
    """
    texts = kernel_texts() if texts is None else texts
    driver = sanitizer is not None
    generated = table(texts, modules, driver)
    compiler = shutil.which("g++") or "g++"
    flags = [*FLAGS, *(["-fsanitize=" + sanitizer, "-fno-sanitize-recover=all"] if driver else ["-shared", "-fPIC", "-fvisibility=hidden"])]
    if driver:
        flags = [f for f in flags if f != "-fno-sanitize-recover=all" or "undefined" in (sanitizer or "")]
    if _has_fma():
        flags.append("-mfma")  # a software fma is a hundred times slower; contraction stays off
    own = {p.name: p.read_text() for p in (HERE / "cuda_emulator.hpp", HERE / "emulator_library.hpp", HERE / "driver.cpp")}
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    words = [version, *flags, generated]
    used = reachable(texts, [f"{module}.cu" for module in modules])
    for name in sorted([*own, *used]):
        words += [name, (own | texts)[name]]
    key = hashlib.sha256("\0".join(words).encode()).hexdigest()[:24]
    folder = cache_folder()
    target = folder / (f"driver-{key}" if driver else f"kernels-{key}.so")
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for name, text in (own | texts | {"generated.cpp": generated}).items():
            Path(scratch, name).write_text(text)
        made = Path(scratch, target.name)
        result = subprocess.run([compiler, *flags, "generated.cpp", "-o", str(made)], cwd=scratch, capture_output=True, text=True, check=False)
        if result.returncode:
            raise RuntimeError(f"g++ failed on {', '.join(modules)}:\n{result.stderr[:6000]}")
        os.replace(made, target)
    return target


def cache_folder() -> Path:
    """A private folder of this user for built libraries."""
    folder = Path(tempfile.gettempdir()) / f"upm-emulator-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o077:
        folder = Path(tempfile.mkdtemp(prefix="upm-emulator-"))
    return folder


def _has_fma() -> bool:
    try:
        return " fma " in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
