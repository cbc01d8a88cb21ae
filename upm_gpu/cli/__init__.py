"""The command line: `upm`. stdout is data, stderr is progress and messages.

Only typer is imported here and in the command modules, so that `upm --help` answers at once; every command imports the room it needs. A new command
is a function in the module of its kind, or a new module listed here; `upm --help` shows them in this order.
"""

from upm_gpu.cli import runs, tables, desk, why, hedges, liquidation, methodologies, research, chains, inputs  # noqa: F401, I001  (their commands register themselves, in this order)
from upm_gpu.cli.app import app
from upm_gpu.cli.entry import main

__all__ = ["app", "main"]
