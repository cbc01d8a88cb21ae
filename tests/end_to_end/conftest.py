"""What questions to a finished run begin with: the small book, run once, and the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Said, here, small_run

from upm_gpu import job


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the small book; who would change it copies it."""
    folder = small_run(tmp_path_factory.mktemp("desk"))
    assert job.run(folder / "run.toml", {"output.path": str(folder / "run")}, quiet=True).exit_code == 0
    return folder / "run"


@pytest.fixture
def upm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """The command line in this process."""
    return lambda *arguments: here(capsys, monkeypatch, *arguments)
