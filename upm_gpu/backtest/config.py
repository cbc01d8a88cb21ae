"""What a rolling back-test is told: a strict TOML of history, groups of assets, portfolios, models and windows.

Verified: tests/faults/test_backtest_config.py.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field

from upm_gpu.errors import InputError
from upm_gpu.shipped import find_file
from upm_gpu.strict_toml import Rule, Strict, build, check, place, read_toml

ModelName = Literal["gbm", "filtered_historical", "historical", "scaled_historical", "garch"]
PortfolioKind = Literal["single", "pair", "basket", "random", "straddle"]


class History(Strict):
    """[history]"""

    path: str = Field(default="sample:coins", description="history file (timestamp or date, asset, close), a folder that holds one, or sample:NAME")
    clock: Literal["calendar", "sessions"] = Field(default="calendar", description="what a day is: every day, or sessions of an exchange")


class Windows(Strict):
    """[windows]"""

    start: str = Field(default="", description="first valuation day; blank: as soon as a group has its least history")
    end: str = Field(default="", description="last day that is read; blank: the end of the history")
    horizon_days: int = Field(default=1, description="days a loss is measured over")
    step_days: int = Field(default=1, description="days from one valuation to the next; at least horizon_days, so that windows never overlap")
    least_history_days: int = Field(default=365, description="days every asset of a group must have been listed before the first valuation")


class Scenarios(Strict):
    """[scenarios]"""

    count: int = Field(default=10_000, description="scenarios a day")
    seed: int = Field(default=20_260_205, description="64-bit; every valuation day draws under a seed of its own, made from this one and the date")


class Margin(Strict):
    """[margin]"""

    levels: list[float] = Field(default=[0.99], description="confidence levels of value-at-risk and expected shortfall; the margin is the expected shortfall at each")
    multiplier: float = Field(default=1.0, description="margin over expected shortfall")


class Money(Strict):
    """[money]: what a loss per unit of gross notional is in the ISO 20022 report."""

    currency: str = Field(default="USD", description="ISO 4217 code of the closes' currency")
    notional: float = Field(default=1_000_000.0, description="gross notional every portfolio holds anew on each day (house choice: a round number)")


class Group(Strict):
    """[[groups]]: assets whose law is estimated together; every date of a group needs all of them."""

    name: str
    assets: list[str]
    volatility: list[str] = Field(default=[], description="assets of the group whose 30-day volatility is a factor too (ASSET.IV30; realised volatility, marked proxy, where the history has none)")


class Portfolios(Strict):
    """[[portfolios]]: one entry makes several."""

    kind: PortfolioKind
    groups: list[str]
    sides: list[Literal["long", "short"]] = Field(default=["long", "short"])
    count: int = Field(default=0, description="of random books")
    seed: int = Field(default=1, description="of random books")


class ModelEntry(Strict):
    """[[models]]"""

    name: str
    model: ModelName
    recalibrate_days: int = Field(default=30, description="days until the law is estimated again; the volatility in force is brought up to date every day")
    filter: Literal["ewma", "garch", "gjr"] = Field(default="ewma", description="volatility recursion of garch and filtered_historical")
    ewma_lambda: float = Field(default=0.97, description="decay of every EWMA")
    copula: Literal["gaussian", "student_t", "grouped_t"] = "student_t"
    copula_degrees_of_freedom: float = Field(default=4.0, description="0: estimated")
    marginal: Literal["gaussian", "student_t", "skewed_t", "empirical"] = "student_t"
    degrees_of_freedom: float = Field(default=4.0, description="0: estimated")
    methodology: str = Field(default="", description="methodology file whose initial margin stands beside the margin tested; blank: none, and the days cost a tenth")
    across_dates: Literal["refused", "rearranged"] = Field(default="refused", description="perfect and zero correlation that its charges ask of a model of dates, as in a run")


class Compute(Strict):
    """[compute]"""

    device: str = "auto"
    threads: int = 0


class Output(Strict):
    """[output]"""

    path: str = Field(default="backtest", description="folder to create")
    report: bool = True


class BacktestConfig(Strict):
    """A rolling back-test."""

    schema_version: int
    history: History = History()
    windows: Windows = Windows()
    scenarios: Scenarios = Scenarios()
    margin: Margin = Margin()
    money: Money = Money()
    groups: list[Group]
    portfolios: list[Portfolios]
    models: list[ModelEntry]
    compute: Compute = Compute()
    output: Output = Output()


def load_backtest(path: Path, out: Path | None = None) -> tuple[BacktestConfig, str]:
    """The configuration of a file and its text; `out` is put in the place of output.path. A history path that exists beside the file is taken from there.

    Raises InputError: UPM-CF-056 and following for keys and values, UPM-BT-010 to 013 for what cannot be back-tested.
    """
    file = find_file(path)
    tables, text = read_toml(file, "back-test")
    config = build(BacktestConfig, tables, file.name, text, {})
    check(_rules(config), file.name, text)
    _groups(config, file.name, text)
    if config.windows.step_days < config.windows.horizon_days:
        raise InputError("UPM-BT-010", f"{place(file.name, text, 'windows.step_days')}: windows of {config.windows.horizon_days} days that begin every {config.windows.step_days} overlap, and the tests of exceptions "
                         f"have no law for such. Use step_days {config.windows.horizon_days}, or a shorter horizon.")
    beside = file.parent / config.history.path
    history = config.history.model_copy(update={"path": str(beside)}) if not config.history.path.startswith("sample:") and beside.exists() else config.history
    output = config.output.model_copy(update={"path": str(out)}) if out is not None else config.output
    models = [m.model_copy(update={"methodology": str(near)}) if m.methodology and (near := file.parent / m.methodology).exists() else m for m in config.models]
    return config.model_copy(update={"history": history, "models": models, "output": output}), text


def day(text: str) -> date | None:
    """A day written YYYY-MM-DD; None for blank.

    >>> day("2020-03-12").year
    2020
    """
    return date.fromisoformat(text) if text else None


def _is_day(text: str) -> bool:
    try:
        day(text)
    except ValueError:
        return False
    return True


def _rules(config: BacktestConfig) -> list[Rule]:
    w, s, m = config.windows, config.scenarios, config.margin
    rules: list[Rule] = [
        ("windows.start", 56, _is_day(w.start), f"{w.start!r} is no day. Write one such as 2020-03-12, or leave it blank."),
        ("windows.end", 56, _is_day(w.end), f"{w.end!r} is no day. Write one such as 2024-06-30, or leave it blank."),
        ("windows.horizon_days", 56, 1 <= w.horizon_days <= 30, f"{w.horizon_days} days is outside 1 to 30."),
        ("windows.step_days", 56, w.step_days >= 1, f"{w.step_days} is below 1."),
        ("windows.least_history_days", 56, w.least_history_days >= 100, f"{w.least_history_days} days: a law is estimated from at least 100."),
        ("scenarios.count", 56, 200 <= s.count <= 1_000_000, f"{s.count} is outside 200 to 1000000."),
        ("scenarios.seed", 56, 0 <= s.seed < 2**64, f"{s.seed} is no 64-bit number."),
        ("margin.levels", 56, bool(m.levels) and all(0.5 <= x < 1.0 for x in m.levels) and len(set(m.levels)) == len(m.levels), f"{m.levels}: give different levels from 0.5 to below 1, such as 0.99."),
        ("margin.multiplier", 56, m.multiplier > 0.0, f"{m.multiplier} is not above 0."),
        ("money.currency", 56, len(config.money.currency) == 3 and config.money.currency.isascii() and config.money.currency.isalpha() and config.money.currency.isupper(),
         f"{config.money.currency!r} is no currency code. Write three capital letters, such as USD."),
        ("money.notional", 56, 0.0 < config.money.notional <= 1e12, f"{config.money.notional:g} is outside 0 to 1e12."),
        ("groups", 56, bool(config.groups), "name at least one group of assets."),
        ("portfolios", 56, bool(config.portfolios), "give at least one [[portfolios]]."),
        ("models", 56, bool(config.models) and len({x.name for x in config.models}) == len(config.models), "give at least one [[models]], each under a name of its own."),
    ]
    for i, x in enumerate(config.models):
        rules += [(f"models.{i}.recalibrate_days", 56, x.recalibrate_days >= 1, f"{x.recalibrate_days} is below 1."),
                  (f"models.{i}.ewma_lambda", 56, 0.0 < x.ewma_lambda < 1.0, f"{x.ewma_lambda} is not between 0 and 1."),
                  (f"models.{i}.marginal", 56, x.model != "gbm" or x.marginal in ("gaussian", "student_t"), f"{x.marginal} is a law of model garch; gbm has gaussian and student_t."),
                  (f"models.{i}.copula", 56, x.model != "gbm" or x.copula != "grouped_t", "grouped_t is a copula of model garch; gbm has gaussian and student_t.")]
    return rules


def _groups(config: BacktestConfig, name: str, text: str) -> None:
    """Refuse groups and portfolios that cannot be: UPM-BT-011."""
    known = [g.name for g in config.groups]
    for i, g in enumerate(config.groups):
        extra = sorted(set(g.volatility) - set(g.assets))
        if not g.assets or len(set(g.assets)) != len(g.assets) or known.count(g.name) > 1 or extra:
            raise InputError("UPM-BT-011", f"{place(name, text, f'groups.{i}')}: group {g.name!r} needs a name of its own and at least one asset, each once"
                             + (f", and volatilities of its own assets ({', '.join(extra)} is not among them)." if extra else "."))
    by_name = {g.name: g for g in config.groups}
    for i, p in enumerate(config.portfolios):
        for wanted in p.groups:
            where = place(name, text, f"portfolios.{i}")
            if wanted not in by_name:
                raise InputError("UPM-BT-011", f"{where}: there is no group {wanted!r}. Use one of {', '.join(known)}.")
            g = by_name[wanted]
            if p.kind in ("pair", "basket", "random") and len(g.assets) < 2:
                raise InputError("UPM-BT-011", f"{where}: a {p.kind} needs two assets, and group {wanted} has one. Use kind single, or add an asset.")
            if p.kind == "straddle" and not g.volatility:
                raise InputError("UPM-BT-011", f"{where}: straddles need a volatility, and group {wanted} names none. Add volatility = [...] to the group.")
        if p.kind == "random" and p.count < 1:
            raise InputError("UPM-BT-011", f"{place(name, text, f'portfolios.{i}')}: portfolios of {p.count} random books. Give a count of at least 1.")
        if not p.groups or not p.sides:
            raise InputError("UPM-BT-011", f"{place(name, text, f'portfolios.{i}')}: name at least one group and one side.")
