"""`python -m upm_gpu` and the command `upm`: the command line, guarded before its libraries are imported."""

from __future__ import annotations

import signal
import sys


class Early(BaseException):
    """SIGINT or SIGTERM while the command line itself is loading."""


def main() -> None:
    """Hand over to `upm_gpu.cli`; a stop before that leaves with exit code 8 too."""

    def stop(number: int, frame: object) -> None:
        raise Early

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        from upm_gpu.cli import main as command

        command()
    except Early:
        print("UPM-RN-070 stopped on request; nothing was begun.", file=sys.stderr)
        sys.exit(8)


if __name__ == "__main__":
    main()
