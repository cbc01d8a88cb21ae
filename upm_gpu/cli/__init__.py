"""The command line: `upm`. stdout is data, stderr is progress and messages.

Only typer is imported here and in the command modules, so that `upm --help` answers at once; every command imports the room it needs. A new command
is a function in the module of its kind, or a new module listed here; `upm --help` shows them in this order.
"""

from upm_gpu.cli import (  # noqa: I001  (their commands register themselves, in this order)
    runs,  # noqa: F401
    tables,  # noqa: F401
    desk,  # noqa: F401
    why,  # noqa: F401
    calls,  # noqa: F401
    hedges,  # noqa: F401
    liquidation,  # noqa: F401
    methodologies,  # noqa: F401
    research,  # noqa: F401
    chains,  # noqa: F401
    histories,  # noqa: F401
    inputs,  # noqa: F401
)
from upm_gpu.cli.app import app
from upm_gpu.cli.entry import main

__all__ = ["app", "main"]
