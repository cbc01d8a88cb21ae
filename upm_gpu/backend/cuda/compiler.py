"""Kernel text to cubins with NVRTC, without a driver or a device; cached in a private folder.

CuPy's own path asks for a device first, keys its cache without the included headers, and always adds -ftz=true; so the step
is ours. Headers are handed over in memory under the names the text includes; the key of the cache is the SHA-256 of all
text, options and versions, so an edited header never runs a stale cubin.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from upm_gpu.errors import DeviceError
from upm_gpu.shipped import package_file

MODULES = ("walk", "resample", "garch", "sampled_walk", "jumps", "heston", "derived", "unit_pnl", "row_tail", "kept", "attribution", "values")
OPTIONS = ("--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true", "--dopt=on", "--generate-line-info")
"""every fma is explicit in the text, so that CPU and GPU give the same bits; line info is what compute-sanitizer reports"""


def kernel_texts(folder: Path | None = None) -> dict[str, str]:
    """Every kernel file and header by the name it is included under."""
    folder = folder or package_file("kernels")
    return {path.name: path.read_text("ascii") for path in sorted(folder.iterdir()) if path.suffix in (".cu", ".cuh", ".def")}


def nvrtc() -> ModuleType:
    """The NVRTC binding, loaded. Raises DeviceError UPM-DV-002 where it or its library is missing."""
    try:
        from cuda.bindings import nvrtc as binding

        binding.nvrtcVersion()
    except (ImportError, RuntimeError, OSError) as error:
        raise DeviceError("UPM-DV-002", f"the kernel compiler NVRTC cannot be loaded ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}). "
                          "Install the extra cuda12 or cuda13 that matches the driver.") from None
    return binding


def supported_architectures() -> tuple[int, ...]:
    """Compute capabilities x 10 that this NVRTC compiles for, ascending."""
    binding = nvrtc()
    return tuple(sorted(_checked(binding, binding.nvrtcGetSupportedArchs())[1]))


def architecture_for(capability: int) -> str:
    """`sm_90` for capability 90; for a device newer than the compiler, the newest of its generation (cubins run on later minors)."""
    fitting = [arch for arch in supported_architectures() if arch // 10 == capability // 10 and arch <= capability]
    if not fitting:
        raise DeviceError("UPM-DV-007", f"the kernel compiler has no target for compute capability {capability / 10:.1f}. Install a CUDA toolkit that knows the device, or use --device cpu.")
    return f"sm_{max(fitting)}"


def compile_kernels(architecture: str, modules: tuple[str, ...] = MODULES, folder: Path | None = None, cache: Path | None = None) -> dict[str, Path]:
    """Cubin files of `modules` for an architecture such as `sm_90`, compiled where the cache lacks them."""
    texts, binding = kernel_texts(folder), nvrtc()
    cache = cache or cache_folder()
    result = {}
    for module in modules:
        result[module] = cache / f"{module}-{architecture}-{_key(binding, texts, module, architecture)}.cubin"
        if not _is_cubin(result[module]):
            _write(result[module], compile_module(binding, texts, module, architecture))
    return result


def compile_module(binding: ModuleType, texts: dict[str, str], module: str, architecture: str) -> bytes:
    """The cubin of one kernel file. Raises DeviceError UPM-DV-006 with the compiler's log."""
    headers = {name: text for name, text in texts.items() if not name.endswith(".cu")}
    program = _checked(binding, binding.nvrtcCreateProgram(
        texts[f"{module}.cu"].encode(), f"{module}.cu".encode(), len(headers), [text.encode() for text in headers.values()], [name.encode() for name in headers]))[1]
    try:
        options = [option.encode() for option in (f"--gpu-architecture={architecture}", *OPTIONS)]
        status = binding.nvrtcCompileProgram(program, len(options), options)[0]
        if int(status) != 0:
            log = b" " * _checked(binding, binding.nvrtcGetProgramLogSize(program))[1]
            _checked(binding, binding.nvrtcGetProgramLog(program, log))
            raise DeviceError("UPM-DV-006", f"kernels/{module}.cu does not compile for {architecture}: {log.decode(errors='replace').strip()[:2000]}\nUse --device cpu and report this.")
        cubin = b" " * _checked(binding, binding.nvrtcGetCUBINSize(program))[1]
        _checked(binding, binding.nvrtcGetCUBIN(program, cubin))
        return cubin
    finally:
        binding.nvrtcDestroyProgram(program)


def cache_folder() -> Path:
    """A folder only this user can enter: the user's cache, else one in the temporary folder."""
    base = os.environ.get("XDG_CACHE_HOME") or (os.path.join(os.environ["HOME"], ".cache") if os.environ.get("HOME") else "")
    candidates = [Path(base) / "upm-gpu" / "kernels"] if os.path.isabs(base) else []
    candidates.append(Path(tempfile.gettempdir()) / f"upm-gpu-{os.getuid()}")
    for folder in candidates:
        if _private(folder):
            return folder
    return Path(tempfile.mkdtemp(prefix="upm-gpu-"))


def _private(folder: Path) -> bool:
    """Make `folder` if need be; whether it is ours, closed to others, no link, and writable."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        return folder.is_dir() and not folder.is_symlink() and found.st_uid == os.getuid() and not found.st_mode & 0o077 and os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False


def _key(binding: ModuleType, texts: dict[str, str], module: str, architecture: str) -> str:
    version = _checked(binding, binding.nvrtcVersion())[1:]
    digest = hashlib.sha256(repr((version, architecture, OPTIONS, module)).encode())
    for name, text in sorted(texts.items()):
        if not name.endswith(".cu") or name == f"{module}.cu":
            digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()[:32]


def _is_cubin(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def _write(path: Path, content: bytes) -> None:
    """All or nothing: another process may compile the same."""
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    os.replace(name, path)


def _checked(binding: ModuleType, result: tuple[Any, ...]) -> tuple[Any, ...]:
    if int(result[0]) != 0:
        reason = binding.nvrtcGetErrorString(result[0])[1]
        raise DeviceError("UPM-DV-006", f"the kernel compiler failed: {reason.decode() if isinstance(reason, bytes) else reason}. Run `upm doctor`, or use --device cpu.")
    return result
