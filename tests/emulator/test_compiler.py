"""NVRTC without a device: cubins for every architecture, a cache that never serves stale text, and its folder."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from upm_gpu.backend.cuda import compiler
from upm_gpu.errors import DeviceError


@pytest.fixture(autouse=True)
def nvrtc_is_here() -> None:
    try:
        compiler.nvrtc()
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("capability", [80, *(pytest.param(c, marks=pytest.mark.slow) for c in (90, 100, 120))])
@pytest.mark.parametrize("module", compiler.MODULES)
def test_every_kernel_compiles_to_a_cubin(capability: int, module: str) -> None:
    """The oldest architecture in every run; sm_90 is compiled by test_device.py there, all by the slow tests."""
    if capability not in compiler.supported_architectures():
        pytest.skip(f"this NVRTC does not know sm_{capability}")
    texts = compiler.kernel_texts()
    cubin = compiler.compile_module(compiler.nvrtc(), texts, module, f"sm_{capability}")
    assert cubin.startswith(b"\x7fELF")
    kernels = re.findall(r"^UPM_GLOBAL\s+UPM_LAUNCH_BOUNDS\([^)]*\)\s*(\w+)", texts[f"{module}.cu"], re.MULTILINE)
    assert kernels
    for kernel in kernels:
        assert f".text.{kernel}\0".encode() in cubin


def test_every_kernel_file_is_a_module() -> None:
    assert sorted(compiler.MODULES) == sorted(name[:-3] for name in compiler.kernel_texts() if name.endswith(".cu"))


def copied(folder: Path) -> Path:
    folder.mkdir()
    for name, text in compiler.kernel_texts().items():
        (folder / name).write_text(text)
    return folder


def test_an_edited_header_is_never_served_stale(tmp_path: Path) -> None:
    kernels, cache = copied(tmp_path / "kernels"), tmp_path / "cache"
    cache.mkdir()
    first = compiler.compile_kernels("sm_90", ("attribution",), kernels, cache)["attribution"]
    made = first.stat().st_mtime_ns
    assert compiler.compile_kernels("sm_90", ("attribution",), kernels, cache)["attribution"] == first
    assert first.stat().st_mtime_ns == made
    header = kernels / "platform.cuh"
    header.write_text(header.read_text() + "\n// edited\n")
    second = compiler.compile_kernels("sm_90", ("attribution",), kernels, cache)["attribution"]
    assert second != first and compiler.compile_kernels("sm_80", ("attribution",), kernels, cache)["attribution"] not in (first, second)


def test_a_damaged_cubin_is_compiled_again(tmp_path: Path) -> None:
    path = compiler.compile_kernels("sm_90", ("attribution",), cache=tmp_path)["attribution"]
    whole = path.read_bytes()
    path.write_bytes(b"")
    assert compiler.compile_kernels("sm_90", ("attribution",), cache=tmp_path)["attribution"].read_bytes() == whole
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_text_that_does_not_compile_is_a_device_error(tmp_path: Path) -> None:
    kernels = copied(tmp_path / "kernels")
    (kernels / "values.cu").write_text("UPM_GLOBAL broken(;")
    with pytest.raises(DeviceError, match=r"UPM-DV-006 kernels/values.cu does not compile for sm_90: values.cu\(1\)"):
        compiler.compile_kernels("sm_90", ("values",), kernels, tmp_path)


def test_the_cache_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = compiler.cache_folder()
    assert folder == tmp_path / "cache" / "upm-gpu" / "kernels"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("home", [None, "relative", "/proc/nobody"])
def test_without_a_home_the_cache_is_in_the_temporary_folder(home: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    if home:
        monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(compiler.tempfile, "gettempdir", lambda: str(tmp_path))
    assert compiler.cache_folder() == tmp_path / f"upm-gpu-{os.getuid()}"


@pytest.mark.parametrize("trap", ["open", "link"])
def test_a_folder_that_others_could_write_is_not_used(trap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = tmp_path / "upm-gpu" / "kernels"
    if trap == "open":
        planted.mkdir(parents=True)
        planted.chmod(0o777)
    else:
        planted.parent.mkdir()
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        planted.symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert compiler.cache_folder() != planted
