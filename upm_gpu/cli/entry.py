"""The way in and the way out of `upm`: every failure a user can meet becomes one message and an exit code, never a traceback."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import typer

from upm_gpu.cli.app import app


class Stopped(BaseException):
    """SIGINT or SIGTERM outside an open run folder. Not KeyboardInterrupt: the command parser turns that into an exit code of its own."""


def main() -> None:
    """Entry point: every failure a user can meet becomes one message and an exit code, never a traceback."""
    import signal

    def stop(number: int, frame: object) -> None:
        raise Stopped

    _open_streams()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # an id that the terminal cannot show is no failure
        code = _run_app()
    except (Stopped, KeyboardInterrupt):
        code = _fail("UPM-RN-070 stopped on request before a run folder was begun or after it was finished; nothing is half written. Give the command again.", 8)
    finally:
        for number, old in before.items():
            signal.signal(number, old)
    sys.exit(code)


def _open_streams() -> None:
    """Streams that were closed by whoever started this: open them to nowhere, lest a result file get their number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _run_app() -> int:
    """The exit code of the command line, its failures told on stderr."""
    from upm_gpu.errors import UpmError

    try:
        try:
            code = app(prog_name="upm", standalone_mode=False)
        except SystemExit as error:
            if isinstance(error.__context__, BrokenPipeError):
                raise error.__context__ from None
            raise
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except UpmError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:  # whoever read the output has seen enough
        _discard_stdout()
        return 0
    except MemoryError:
        return _fail("UPM-CP-001 out of memory. Give a smaller --chunk, fewer --paths or a smaller book.", 7)
    except Exception as error:
        if hasattr(error, "format_message"):  # the command parser's own complaints
            return _usage(error)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _discard_stdout()
            return _fail(f"UPM-CP-002 {error.filename or 'standard output'}: no space left. Free some and give the command again.", 7)
        if os.environ.get("UPM_DEBUG"):
            raise
        return _fail(f"UPM-XX-001 internal fault ({type(error).__name__}: {error}). Nothing finished is lost. Set UPM_DEBUG=1 for the traceback and report it.", 1)


def _usage(error: Any) -> int:
    """A command line that cannot be parsed: what is wrong and where to look."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "upm"
    text = error.format_message().strip()
    if type(error).__name__ == "NoArgsIsHelpError":  # the help has been shown
        return 2
    return _fail(f"UPM-CF-075 {command}: {text.rstrip('.')}. `{command} --help` lists what it takes.", 2)


def _fail(message: str, code: int) -> int:
    """One message on stderr, control characters made visible."""
    typer.echo("".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in message), err=True)
    return code


def _discard_stdout() -> None:
    """What is still buffered cannot be written: send it nowhere, so that the interpreter does not complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
