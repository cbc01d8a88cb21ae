"""Runs recorded launches under a sanitizer."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from . import build as emulation

REPORTS = ("WARNING: ThreadSanitizer", "ERROR: AddressSanitizer", "runtime error:")


@dataclass(frozen=True)
class Verdict:
    clean: bool
    report: str


def run(case: Path, modules: tuple[str, ...], sanitizer: str, texts: dict[str, str] | None = None) -> Verdict:
    """Build the driver of `modules` under `sanitizer` and run a case file. Skips by name where it cannot start."""
    try:
        driver = emulation.build(modules, texts, sanitizer)
    except RuntimeError as error:
        if "fsanitize" in str(error) or "cannot find" in str(error):
            cannot_start(f"g++ has no {sanitizer} sanitizer: {error}")
        raise
    words = [str(driver), str(case)]
    result = _run(words)
    if "unexpected memory mapping" in result.stderr and shutil.which("setarch"):
        # ThreadSanitizer cannot map its shadow where the kernel randomises too many address bits.
        result = _run(["setarch", platform.machine(), "-R", *words])
    output = result.stdout + result.stderr
    if any(mark in output for mark in REPORTS):
        return Verdict(False, output)
    if result.returncode == 0:
        return Verdict(True, output)
    if result.returncode in (3, 4):
        raise RuntimeError(output)
    cannot_start(f"{sanitizer} sanitizer cannot start: exit {result.returncode}: {output[-500:]}")
    raise AssertionError


def _run(words: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TSAN_OPTIONS": "halt_on_error=1", "ASAN_OPTIONS": "detect_stack_use_after_return=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
    return subprocess.run(words, capture_output=True, text=True, env=environment, timeout=300, check=False)


def cannot_start(reason: str) -> None:
    if os.environ.get("UPM_REQUIRE_SANITIZERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
