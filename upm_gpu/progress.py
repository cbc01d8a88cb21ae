"""Long work tells how far it is: a line on stderr, rewritten on a terminal, every tenth elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

Tell = Callable[[int, int, str], None]


def told(unit: str) -> Tell:
    """A function of (done, total, what is at work) that says how much of `unit` is done and how long the rest may take."""
    started, live, said = time.perf_counter(), sys.stderr.isatty(), [0]

    def tell(done: int, total: int, what: str) -> None:
        step = done * (100 if live else 10) // total
        if step == said[0]:
            return
        said[0] = step
        left = (time.perf_counter() - started) * (total - done) / done
        print(f"{done:,} of {total:,} {unit} ({what}), about {left:,.0f} s left", file=sys.stderr, end="\r" if live and done < total else "\n", flush=True)

    return tell


def line() -> Callable[[str], None]:
    """A function that says what is at work: a line rewritten on a terminal, one after the other elsewhere."""
    live = sys.stderr.isatty()
    return lambda text: print(f"\r{text:<78}" if live else text, file=sys.stderr, end="" if live else "\n", flush=True)


def silent(done: int, total: int, what: str) -> None:
    """Says nothing."""
