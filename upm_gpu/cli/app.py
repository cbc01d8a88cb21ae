"""What the command modules share: the application and its groups, the options every command has, and how a result is printed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

app = typer.Typer(name="upm", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="Monte Carlo portfolio margin: one risk-based requirement for the whole account.")
calibrate_app = typer.Typer(no_args_is_help=True, help="Data in, parameters out.")
import_app = typer.Typer(no_args_is_help=True, help="Exchange files to a market and instruments.")
generate_app = typer.Typer(no_args_is_help=True, help="Synthetic inputs.")
app.add_typer(calibrate_app, name="calibrate")
app.add_typer(import_app, name="import")
app.add_typer(generate_app, name="generate")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, no messages but errors.")]


def finish(outcome: Any, json: bool, quiet: bool) -> None:
    """Print the summary of a run and leave with its exit code."""
    if json:
        print_result(outcome.summary, True, "")
    elif not quiet:
        for line in outcome.lines:
            typer.echo(line)
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


def print_result(value: Any, json: bool, text: str) -> None:
    """The value as JSON, or the text, on stdout."""
    if not json:
        typer.echo(text)
        return
    import json as codec

    typer.echo(codec.dumps(value, indent=2, sort_keys=True, default=str, allow_nan=False))
