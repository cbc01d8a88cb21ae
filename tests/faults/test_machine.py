"""Section D at the level of the command: the compiled engine missing, foreign or damaged; locale, time zone, home, terminal, umask.

A run falls back and says so aloud, or is refused with a reason code; and nothing about the machine moves a byte of a result.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import CONFIG, PROMISED, Said, environment, small_run, upm

import upm_gpu
from upm_gpu.backend import cpu
from upm_gpu.backend.cpu import library
from upm_gpu.compiled_library import ABI_VERSION

PACKAGE = Path(upm_gpu.__file__).parent
FOREIGN = 'extern "C" int upm_abi_version() {{ return {version}; }} extern "C" long long upm_struct_bytes(int) {{ return {size}; }}'


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.mktemp("small"), config=CONFIG + "[output]\nreport = false\n")


@pytest.fixture(scope="module")
def plain(small: Path) -> dict[str, bytes]:
    """The result files of a run under ordinary circumstances."""
    assert upm("run", small / "run.toml", "--out", small / "plain", "--quiet").code == 0
    return results(small / "plain")


def results(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in PROMISED}


# ---- the compiled engine


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package, for tests that damage its library."""
    if not cpu.available()[0]:
        pytest.skip("the compiled engine is not installed here")
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, folder / "upm_gpu", ignore=shutil.ignore_patterns("__pycache__", "sample", "lib"))
    for room in ("kernels", "configs"):
        if not (PACKAGE / room).is_dir():  # a checkout has them beside the package
            shutil.copytree(PACKAGE.parent / room, folder / room)
    (folder / "upm_gpu" / "lib").mkdir()
    return folder


def damaged(copy: Path, kind: str) -> None:
    """Put a library of that kind into the copy of the package."""
    target = copy / "upm_gpu" / "lib" / "libupm_host.so"
    target.unlink(missing_ok=True)
    sound = library.library_path().read_bytes()
    if kind == "text":
        target.write_text("not a library")
    elif kind == "empty":
        target.write_bytes(b"")
    elif kind == "half":
        target.write_bytes(sound[: len(sound) // 2])
    elif kind == "last byte missing":
        target.write_bytes(sound[:-1])
    elif kind == "another library":
        shutil.copy(some_library(), target)
    elif kind in ("another version", "other structs"):
        compiler = shutil.which("g++") or shutil.which("c++")
        if compiler is None:
            pytest.skip("no C++ compiler to build a foreign library with")
        source = copy / "foreign.cpp"
        source.write_text(FOREIGN.format(version=999 if kind == "another version" else ABI_VERSION, size=8))
        subprocess.run([compiler, "-shared", "-fPIC", str(source), "-o", str(target)], check=True)
    else:
        assert kind == "missing"


def some_library() -> Path:
    """A shared library that is not ours: one of NumPy's."""
    return min(Path(np.__file__).parent.rglob("_pcg64*.so"))


def copied(copy: Path, *arguments: object) -> Said:
    env = environment()
    return upm(*arguments, env=env | {"PYTHONPATH": os.pathsep.join([str(copy), env["PYTHONPATH"]])})


@pytest.mark.parametrize(("kind", "code"), [
    ("missing", "UPM-DV-010"), ("half", "UPM-DV-011"), ("last byte missing", "UPM-DV-011"), ("text", "UPM-DV-011"), ("empty", "UPM-DV-011"),
    ("another library", "UPM-DV-012"), ("another version", "UPM-DV-012"), ("other structs", "UPM-DV-012"),
])
def test_80_a_compiled_engine_that_cannot_be_used(copy: Path, small: Path, tmp_path: Path, kind: str, code: str) -> None:
    """`--device cpu` is refused with its reason code."""
    damaged(copy, kind)
    said = copied(copy, "run", small / "run.toml", "--device", "cpu", "--out", tmp_path / "run")
    said.refused(7, code, "device cpu cannot run here", str(copy / "upm_gpu" / "lib" / "libupm_host.so"), "--device reference")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("kind", "code"), [("missing", "UPM-DV-010"), ("half", "UPM-DV-011")])
def test_80_auto_falls_back_and_says_so(copy: Path, small: Path, tmp_path: Path, kind: str, code: str) -> None:
    """One warning before the computation, in the manifest and in the log; not in --quiet. The doctor names the reason."""
    damaged(copy, kind)
    found = json.loads(copied(copy, "doctor", "--json").out)
    assert (found["backends"]["cpu"]["runs"], found["backends"]["cpu"]["code"]) == (False, code) and "isa" not in found
    if found["default_device"] == "cuda":
        pytest.skip("auto takes the CUDA device here")
    said = copied(copy, "run", small / "run.toml", "--out", tmp_path / "run")
    assert said.code == 0
    told = [line for line in said.err.splitlines() if "UPM-DV" in line]
    assert len(told) == 1 and told[0].startswith("UPM-DV-098 device auto takes reference") and code in told[0]
    assert "scenarios on reference in" in said.out
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert (manifest["backend"], manifest["isa"]) == ("reference", "")
    assert code in manifest["device_reason"] and told[0] in manifest["warnings"]
    assert "UPM-DV-098" in (tmp_path / "run" / "run.log.jsonl").read_text()
    assert copied(copy, "run", small / "run.toml", "--out", tmp_path / "quiet", "--quiet") == Said(0, "", "")
    assert results(tmp_path / "quiet") == results(tmp_path / "run")


def test_80_a_run_begun_on_the_compiled_engine_is_not_gone_on_with_on_another(copy: Path, small: Path, tmp_path: Path) -> None:
    """Its figures would differ in the last digits: refused until the engine is back."""
    damaged(copy, "missing")
    if json.loads(upm("doctor", "--json").out)["default_device"] != "cpu":
        pytest.skip("auto does not take the compiled engine here")
    run = tmp_path / "run"
    shutil.copytree(small / "plain", run) if (small / "plain").is_dir() else upm("run", small / "run.toml", "--out", run, "--quiet")
    (run / "SHA256SUMS").unlink()
    copied(copy, "resume", run, "--quiet").refused(7, "UPM-DV-010", "device cpu cannot run here")
    assert upm("resume", run, "--quiet").code == 0
    assert upm("verify", run).code == 0


# ---- everything else about the machine


@pytest.mark.parametrize("changes", [
    {"TZ": None, "HOME": None, "XDG_CACHE_HOME": None, "USER": None, "LOGNAME": None}, {"TZ": "IST-5:30", "HOME": "/proc/1/nowhere", "LC_ALL": "xx_YY.UTF-8"},
    {"TZ": "Asia/Kolkata", "PYTHONHASHSEED": "4711", "PYTHONOPTIMIZE": "2", "PATH": "/nowhere"},
    {"TZ": "Nowhere/Else", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TMPDIR": "/proc/1/nowhere"},
], ids=lambda c: " ".join(f"{k}={v}" for k, v in c.items()))
def test_81_surroundings_move_no_byte(small: Path, plain: dict[str, bytes], tmp_path: Path, changes: dict[str, str | None]) -> None:
    said = upm("run", small / "run.toml", "--out", tmp_path / "run", "--quiet", env=environment(**changes))
    assert said == Said(0, "", "")
    assert results(tmp_path / "run") == plain


COMMA = """
import locale, sys
locale.setlocale(locale.LC_ALL, {name!r})
assert locale.format_string("%.1f", 1.5) == "1,5"
sys.argv = ["upm", *{arguments!r}]
from upm_gpu.cli import main
main()
"""


def test_81_a_locale_with_a_decimal_comma(small: Path, plain: dict[str, bytes], tmp_path: Path) -> None:
    """German numbers in force in the process: values are read and written with a point all the same."""
    name = comma_locale(tmp_path)
    if name is None:
        pytest.skip("no locale with a decimal comma here, and localedef cannot make one")
    text = COMMA.format(name=name, arguments=["run", str(small / "run.toml"), "--out", str(tmp_path / "run"), "--quiet"])
    done = subprocess.run([sys.executable, "-c", text], env=environment(LOCPATH=str(tmp_path), LC_ALL=name), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert results(tmp_path / "run") == plain


def comma_locale(folder: Path) -> str | None:
    """A locale that writes 1,5: made here from the system's own sources, so that it need not be installed."""
    name = "de_DE.UTF-8"
    if shutil.which("localedef"):
        subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", str(folder / name)], capture_output=True)
    probe = f"import locale; locale.setlocale(locale.LC_ALL, {name!r})"
    for path in (str(folder), None):
        if subprocess.run([sys.executable, "-c", probe], env=environment(LOCPATH=path), capture_output=True).returncode == 0:
            return name
    return None


def test_81_no_terminal_no_stdin_no_stdout(small: Path, plain: dict[str, bytes], tmp_path: Path) -> None:
    """As a daemon starts it: all three streams closed, no controlling terminal."""
    command = f'exec "{sys.executable}" -m upm_gpu run "{small / "run.toml"}" --out "{tmp_path / "run"}" <&- >&- 2>&-'
    done = subprocess.run(["bash", "-c", command], env=environment(), start_new_session=True)
    assert done.returncode == 0
    assert results(tmp_path / "run") == plain


def test_81_a_run_is_private_whatever_the_umask(small: Path, plain: dict[str, bytes], tmp_path: Path) -> None:
    """Positions are nobody else's business: no bit for group and others; and a umask that takes everything stops nothing."""
    for mask in ("000", "277"):
        run = tmp_path / mask
        done = subprocess.run(["bash", "-c", f'umask {mask}; exec "{sys.executable}" -m upm_gpu run "{small / "run.toml"}" --out "{run}" --quiet'], env=environment(),
                              capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert results(run) == plain
        assert not [p for p in (run, *run.rglob("*")) if stat.S_IMODE(p.stat().st_mode) & 0o077], mask


def test_81_one_core(small: Path, plain: dict[str, bytes], tmp_path: Path) -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("processes cannot be bound to cores here")
    core = min(os.sched_getaffinity(0))
    text = f"import os, sys; os.sched_setaffinity(0, {{{core}}}); sys.argv = {['upm', 'run', str(small / 'run.toml'), '--out', str(tmp_path / 'run'), '--quiet']!r}; from upm_gpu.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", text], env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["threads"] == 1
    assert results(tmp_path / "run") == plain


def test_81_a_working_folder_that_is_gone(small: Path, plain: dict[str, bytes], tmp_path: Path) -> None:
    """Absolute paths work from a deleted folder, relative ones are refused by name."""
    gone = f'mkdir "{tmp_path}/gone"; cd "{tmp_path}/gone"; rmdir "{tmp_path}/gone"; exec "{sys.executable}" -P -m upm_gpu run "{small / "run.toml"}" --quiet --out '
    done = subprocess.run(["bash", "-c", f'{gone} "{tmp_path / "run"}"'], env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert results(tmp_path / "run") == plain
    done = subprocess.run(["bash", "-c", f"{gone} run"], env=environment(), capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("UPM-RN-005 run: "), done
