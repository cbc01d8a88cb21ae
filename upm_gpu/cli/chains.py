"""Models against option chains: `upm calibrate heston`, `merton`, `bates`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from upm_gpu.cli.app import Json, calibrate_app, print_result

Sources = Annotated[list[str], typer.Argument(help="Market folder or sample:NAME, table of chain snapshots (one chain a timestamp), or table of cases as upm price reads; several are days of one call.")]
Out = Annotated[Path, typer.Option(help="Parameter TOML to write.")]
Underlying = Annotated[str, typer.Option(help="Underlyings, separated by commas; blank takes all.")]
Objective = Annotated[str, typer.Option(help="volatility or price: whose errors are made small.")]
Weights = Annotated[str, typer.Option(help="vega, spread or equal.")]
Expiry = Annotated[str, typer.Option(help="Beginnings of the expiries to keep, such as 2026-03, separated by commas; blank takes the whole chain.")]
PerExpiry = Annotated[bool, typer.Option("--per-expiry", help="Fit each expiry alone as well.")]
Feller = Annotated[bool, typer.Option("--feller", help="Hold Feller's condition, 2 kappa theta >= vol of vol squared.")]
Start = Annotated[Path | None, typer.Option(help="Parameter TOML of the last fit to start from, instead of the global phase.")]
History = Annotated[str | None, typer.Option(help="History file or market folder: correlation of several underlyings, motion of volatilities under merton.")]
Table = Annotated[Path | None, typer.Option(help="CSV to write: one row a chain.")]
Page = Annotated[Path | None, typer.Option(help="HTML page to write: smiles and residuals.")]
Reach = Annotated[float, typer.Option(help="Quotes beyond so many standard deviations at the money are left out.", min=0.5)]
LeastDays = Annotated[float, typer.Option("--least-days", help="Expiries nearer than this are left out.", min=0.0)]
Arbitrage = Annotated[str, typer.Option(help="report or refuse quotes that hold arbitrage.")]
Device = Annotated[str, typer.Option(help="Whose prices the fit is compared with: auto, cpu, cuda or reference.")]
Engine = Annotated[str, typer.Option(help="compiled, or jax: derivatives made automatically, all chains at once on the GPU that JAX sees (extra calibration).")]


@calibrate_app.command("heston")
def heston(sources: Sources, out: Out, underlying: Underlying = "", objective: Objective = "volatility", weights: Weights = "vega", expiry: Expiry = "", per_expiry: PerExpiry = False,
           feller: Feller = False, start: Start = None, history: History = None, table: Table = None, page: Page = None, reach: Reach = 5.0, least_days: LeastDays = 1.0,
           arbitrage: Arbitrage = "report", device: Device = "auto", engine: Engine = "compiled", json: Json = False) -> None:
    """Heston's stochastic variance to option chains."""
    _calibrate("heston", sources, out, underlying, objective, weights, expiry, per_expiry, feller, start, history, table, page, reach, least_days, arbitrage, device, engine, json)


@calibrate_app.command("bates")
def bates(sources: Sources, out: Out, underlying: Underlying = "", objective: Objective = "volatility", weights: Weights = "vega", expiry: Expiry = "", per_expiry: PerExpiry = False,
          feller: Feller = False, start: Start = None, history: History = None, table: Table = None, page: Page = None, reach: Reach = 5.0, least_days: LeastDays = 1.0,
          arbitrage: Arbitrage = "report", device: Device = "auto", engine: Engine = "compiled", json: Json = False) -> None:
    """Bates, stochastic variance with jumps, to option chains."""
    _calibrate("bates", sources, out, underlying, objective, weights, expiry, per_expiry, feller, start, history, table, page, reach, least_days, arbitrage, device, engine, json)


@calibrate_app.command("merton")
def merton(sources: Sources, out: Out, underlying: Underlying = "", objective: Objective = "volatility", weights: Weights = "vega", expiry: Expiry = "", per_expiry: PerExpiry = False,
           start: Start = None, history: History = None, table: Table = None, page: Page = None, reach: Reach = 5.0, least_days: LeastDays = 1.0, arbitrage: Arbitrage = "report",
           device: Device = "auto", engine: Engine = "compiled", json: Json = False) -> None:
    """Merton's jump diffusion to option chains."""
    _calibrate("merton", sources, out, underlying, objective, weights, expiry, per_expiry, False, start, history, table, page, reach, least_days, arbitrage, device, engine, json)


@calibrate_app.command("surface")
def surface(market: Annotated[str, typer.Argument(help="Market folder or sample:NAME.")], out: Out, underlying: Underlying = "",
            family: Annotated[str, typer.Option(help="svi, ssvi_power_law or ssvi_heston.")] = "svi",
            fit: Annotated[str, typer.Option(help="joint: all expiries together, as a run does; slices: each alone, free to cross.")] = "joint", page: Page = None,
            engine: Annotated[str, typer.Option(help="compiled, or jax for the ssvi families: derivatives made automatically (extra calibration).")] = "compiled", json: Json = False) -> None:
    """Volatility surfaces to option chains: slices with standard errors, jump wings, arbitrage."""
    from upm_gpu.fits.surfaces import calibrate_surfaces, render_surfaces

    summary = calibrate_surfaces(market, out, _names(underlying), family, fit, page, tuple(sys.argv), engine)
    print_result(summary, json, "" if json else render_surfaces(summary))


def _calibrate(model: str, sources: list[str], out: Path, underlying: str, objective: str, weights: str, expiry: str, per_expiry: bool, feller: bool, start: Path | None, history: str | None,
               table: Path | None, page: Path | None, reach: float, least_days: float, arbitrage: str, device: str, engine: str, json: bool) -> None:
    from upm_gpu.calibrate.chain.summary import render_summary
    from upm_gpu.fits.chains import Request, calibrate_chains

    summary = calibrate_chains(Request(model, tuple(sources), out, _names(underlying), objective, weights, _names(expiry), per_expiry, feller, start, history, table, page, reach, least_days, arbitrage,
                                       device, engine, tuple(sys.argv)))
    print_result(summary, json, "" if json else render_summary(summary))


def _names(text: str) -> tuple[str, ...]:
    return tuple(n.strip() for n in text.split(",") if n.strip())
