"""What a back-test over real option chains is told: a strict TOML of daily chains, portfolios of that day's listed options, and models.

Verified: tests/faults/test_chain_backtest_config.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from upm_gpu.backtest.config import Output, day
from upm_gpu.config import ComputeSection, ModelSection, RunConfig, ScenariosSection
from upm_gpu.errors import InputError
from upm_gpu.shipped import find_file
from upm_gpu.strict_toml import Rule, Strict, build, check, place, read_toml

ChainKind = Literal["single", "straddle", "strangle", "spread", "butterfly", "calendar", "covered", "hedged", "market_maker"]


class Chains(Strict):
    """[chains]"""

    path: str = Field(default="sample:chains", description="daily chains (Parquet or CSV, one snapshot a timestamp, columns as upm import deribit reads), or sample:chains")
    history: str = Field(default="sample:crypto", description="closes before the first chain: a history file, a folder that holds one, or sample:NAME")
    settlements: str = Field(default="", description="folder with a settlements.csv of delivery prices; blank: what expires is settled at the next chain's index, marked proxy")
    start: str = Field(default="", description="first valuation day; blank: that of the first chain")
    end: str = Field(default="", description="last day whose chain is read; blank: the last chain's")
    underlyings: list[str] = Field(default=["BTC", "ETH"])


class ChainMargin(Strict):
    """[margin]"""

    multiplier: float = Field(default=1.0, description="margin over expected shortfall")


class ChainPortfolios(Strict):
    """[[portfolios]]: one entry makes several, of every underlying, tenor, delta and side."""

    kind: ChainKind
    tenor_days: list[float] = Field(default=[30.0], description="the listed expiry nearest to each")
    deltas: list[float] = Field(default=[0.25], description="of a call, and of a put without its sign")
    sides: list[Literal["long", "short"]] = Field(default=["long", "short"])
    count: int = Field(default=0, description="of market makers' books")
    legs: int = Field(default=20, description="options in a market maker's book")
    seed: int = Field(default=1, description="of market makers' books")


class ChainModel(Strict):
    """[[models]]: law and methodology as `upm run` takes them; the horizon of a day is the time to the next chain."""

    name: str
    methodology: str = "configs/methodology/house_v2.toml"
    model: ModelSection = ModelSection()


class ChainGoal(Strict):
    """[goal]"""

    most_misses: int = Field(default=3, description="days a portfolio may lose more than its margin")
    share: float = Field(default=0.9, description="of the portfolios, at least")
    end: str = Field(default="", description="last day that counts (of the chain that a loss is read from); blank: all")


class ChainConfig(Strict):
    """A back-test over chains."""

    schema_version: int
    chains: Chains
    scenarios: ScenariosSection = ScenariosSection(count=10_000)
    margin: ChainMargin = ChainMargin()
    goal: ChainGoal = ChainGoal()
    portfolios: list[ChainPortfolios]
    models: list[ChainModel]
    compute: ComputeSection = ComputeSection()
    output: Output = Output()


def load_chain_backtest(path: Path, out: Path | None = None) -> tuple[ChainConfig, str]:
    """The configuration of a file and its text; `out` is put in the place of output.path. Paths that exist beside the file are taken from there.

    Raises InputError: UPM-CF-056 and following for keys and values.
    """
    from upm_gpu.config import _rules as run_rules  # what a run refuses is refused here

    file = find_file(path)
    tables, text = read_toml(file, "back-test")
    config = build(ChainConfig, tables, file.name, text, {})
    check(_rules(config), file.name, text)
    for i, m in enumerate(config.models):
        faults = [r for r in run_rules(run_of(config, m)) if not r[2]]
        if faults:
            key, number, _, what = faults[0]
            where = f"models.{i}.{key}" if key.startswith("model.") else key
            raise InputError(f"UPM-CF-{number:03d}", f"{place(file.name, text, where)}: {what}")

    def beside(value: str) -> str:
        near = file.parent / value
        return str(near) if value and not value.startswith("sample:") and near.exists() else value

    chains = config.chains.model_copy(update={key: beside(getattr(config.chains, key)) for key in ("path", "history", "settlements")})
    models = [m.model_copy(update={"methodology": beside(m.methodology)}) for m in config.models]
    output = config.output.model_copy(update={"path": str(out)}) if out is not None else config.output
    return config.model_copy(update={"chains": chains, "models": models, "output": output}), text


def run_of(config: ChainConfig, entry: ChainModel, horizon_days: float = 1.0) -> RunConfig:
    """The run configuration that a day is margined by."""
    model = entry.model.model_copy(update={"horizons": [f"{horizon_days:.9f}d"]})
    return RunConfig(model=model, scenarios=config.scenarios, compute=config.compute)


def _rules(config: ChainConfig) -> list[Rule]:
    def is_day(text: str) -> bool:
        try:
            day(text)
        except ValueError:
            return False
        return True

    c, g = config.chains, config.goal
    rules: list[Rule] = [
        *((f"{section}.{key}", 56, is_day(text), f"{text!r} is no day. Write one such as 2026-02-06, or leave it blank.")
          for section, key, text in (("chains", "start", c.start), ("chains", "end", c.end), ("goal", "end", g.end))),
        ("chains.underlyings", 56, bool(c.underlyings) and len(set(c.underlyings)) == len(c.underlyings), "name at least one underlying, each once."),
        ("scenarios.sampler", 56, config.scenarios.sampler != "importance" and config.scenarios.target_relative_error == 0.0,
         "a back-test draws the same number of equally weighted scenarios every day. Use sampler philox or sobol and target_relative_error 0."),
        ("margin.multiplier", 56, config.margin.multiplier > 0.0, f"{config.margin.multiplier} is not above 0."),
        ("goal.most_misses", 56, g.most_misses >= 0, f"{g.most_misses} is below 0."),
        ("goal.share", 56, 0.0 <= g.share <= 1.0, f"{g.share:g} is no share between 0 and 1."),
        ("portfolios", 56, bool(config.portfolios), "give at least one [[portfolios]]."),
        ("models", 56, bool(config.models) and len({m.name for m in config.models}) == len(config.models), "give at least one [[models]], each under a name of its own."),
    ]
    for i, p in enumerate(config.portfolios):
        rules += [(f"portfolios.{i}.tenor_days", 56, bool(p.tenor_days) and all(0.0 < t <= 3650.0 for t in p.tenor_days) and sorted(set(p.tenor_days)) == p.tenor_days, f"{p.tenor_days}: give days above 0, ascending, each once."),
                  (f"portfolios.{i}.tenor_days", 56, p.kind != "calendar" or len(p.tenor_days) >= 2, "a calendar sells one tenor and buys the next. Give at least two."),
                  (f"portfolios.{i}.deltas", 56, bool(p.deltas) and all(0.0 < d <= 0.5 for d in p.deltas), f"{p.deltas}: give deltas above 0 to 0.5, such as 0.25."),
                  (f"portfolios.{i}.sides", 56, bool(p.sides), "name at least one side."),
                  (f"portfolios.{i}.count", 56, (p.kind == "market_maker") == (p.count > 0), "a count belongs to market_maker, and it needs one of at least 1."),
                  (f"portfolios.{i}.legs", 56, 1 <= p.legs <= 1000, f"{p.legs} legs; give 1 to 1000.")]
    return rules
