"""What a stress campaign is told: a strict TOML of books, shocks, and what is asked of each. Verified: tests/faults/test_campaign_config.py."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import product
from pathlib import Path

from pydantic import Field

from upm_gpu.errors import InputError
from upm_gpu.shipped import find_file
from upm_gpu.strict_toml import Rule, Strict, build, check, place, read_toml

Moves = dict[str, dict[str, float]]
"""asset, or "*" for every asset not named -> relative change of price, volatility (of the 30-day one), basis"""
MOST_SHOCKS = 1_000_000
MOVED = ("price", "volatility", "basis")


class Base(Strict):
    """[base]: the run that every book is margined by before its shocks."""

    config: str = Field(default="configs/quickstart.toml", description="run configuration: model, methodology, compute; a path beside the campaign, or one that ships")
    count: int = Field(default=10_000, description="scenarios of a margin, before a shock and after it")


class BookEntry(Strict):
    """[[books]]: what is stressed; blank keys are those of the run configuration."""

    name: str
    book: str = ""
    market: str = Field(default="", description="market folder: another date is another market")
    methodology: str = ""


class Cross(Strict):
    """[cross]: every book with every market and every methodology, each under a short name, in the place of [[books]]; what is left out is the run configuration's."""

    books: dict[str, str] = Field(default={}, description="name -> book folder")
    markets: dict[str, str] = Field(default={}, description="name -> market folder: another date is another market")
    methodologies: dict[str, str] = Field(default={}, description="name -> methodology file")

    @property
    def entries(self) -> list[BookEntry]:
        """The product, the last list running fastest; names are those of the parts joined by _."""
        parts = [list(d.items()) or [("", "")] for d in (self.books, self.markets, self.methodologies)]
        return [BookEntry(name="_".join(n for n, _ in each if n), book=each[0][1], market=each[1][1], methodology=each[2][1]) for each in product(*parts)]


class Event(Strict):
    """[[events]]: what every factor did between the closes of two days of the market's history, or of another history that reaches back to them."""

    name: str
    start: str
    end: str
    stand_in: str = Field(default="", description="asset whose moves are taken by assets that had no closes then")
    history: str = Field(default="", description="file of closes the days are in, a folder that holds one, or sample:NAME; blank: the market's own history")


class Hypothetical(Strict):
    """[[moves]]"""

    name: str
    moves: Moves
    liquidity: float = Field(default=1.0, description="times the cost of closing out")


class Grid(Strict):
    """[[grids]]: every combination of the lists."""

    name: str
    leader: str = Field(default="", description="asset that moves by `price`; the others follow by their beta to it; blank: all move alike")
    price: list[float] = Field(default=[0.0])
    volatility: list[float] = Field(default=[0.0], description="relative change of every 30-day volatility")
    correlation: list[float] = Field(default=[0.0], description="share of the way to one that the correlation with the leader goes before betas are taken")
    basis: list[float] = Field(default=[0.0], description="relative change of every perpetual over its index; the model must draw it")
    liquidity: list[float] = Field(default=[1.0], description="times the cost of closing out")


class Family(Strict):
    """[[families]]: some states are given, the rest is drawn from the model's law on that condition."""

    name: str
    given: Moves
    count: int = 1_000
    seed: int = 1
    degrees_of_freedom: float = Field(default=4.0, description="of the conditional Student-t law; 0: Gaussian")
    correlation: float = Field(default=0.0, description="share of the way to one that prices' correlations go first")
    liquidity: float = 1.0


class PathEntry(Strict):
    """[[paths]]: a move every day, with calls and liquidations on the way; the days of a period of the history, or given ones."""

    name: str
    start: str = Field(default="", description="ISO date: the path begins at its close")
    end: str = Field(default="", description="ISO date: the path ends at its close")
    stand_in: str = ""
    history: str = Field(default="", description="file of closes the days are in, a folder that holds one, or sample:NAME; blank: the market's own history")
    days: list[Moves] = Field(default=[], description="moves of every day, in the place of a period")
    calls_paid: bool = Field(default=True, description="whether calls are met the next day; who does not pay is closed out then")
    liquidity: float = Field(default=1.0, description="times the cost of closing out")


class Losses(Strict):
    """[losses]: who pays, and what closing out costs."""

    default_fund: float = Field(default=0.0, description="money that stands behind uncovered losses; 0: none")
    delta_cost: float = Field(default=0.0, description="cost of closing out a unit of net delta in an underlying, as a share of it")
    vega_cost: float = Field(default=0.0, description="volatility points paid on net vega in an underlying")


class Reverse(Strict):
    """[reverse]: the most plausible move that breaks an account, a member or the default fund."""

    accounts: bool = False
    members: bool = False
    default_fund: bool = False


class CampaignOutput(Strict):
    """[output]"""

    path: str = Field(default="campaign", description="folder to create")
    report: bool = True


class Campaign(Strict):
    """A stress campaign."""

    schema_version: int
    name: str
    base: Base = Base()
    books: list[BookEntry] = Field(default=[BookEntry(name="book")])
    cross: Cross = Cross()
    events: list[Event] = Field(default=[])
    moves: list[Hypothetical] = Field(default=[])
    grids: list[Grid] = Field(default=[])
    families: list[Family] = Field(default=[])
    paths: list[PathEntry] = Field(default=[])
    remargin: bool = Field(default=False, description="margin every account again after every shock")
    losses: Losses = Losses()
    reverse: Reverse = Reverse()
    output: CampaignOutput = CampaignOutput()

    @property
    def entries(self) -> list[tuple[str, int, Event | Hypothetical | Grid | Family]]:
        """(section, place in it, entry) of everything that makes shocks, in order."""
        sections: dict[str, Sequence[Event | Hypothetical | Grid | Family]] = {"events": self.events, "moves": self.moves, "grids": self.grids, "families": self.families}
        return [(section, i, entry) for section, entries in sections.items() for i, entry in enumerate(entries)]


def size(entry: Event | Hypothetical | Grid | Family) -> int:
    """How many shocks an entry makes."""
    if isinstance(entry, Family):
        return entry.count
    if isinstance(entry, Grid):
        return len(entry.price) * len(entry.volatility) * len(entry.correlation) * len(entry.basis) * len(entry.liquidity)
    return 1


def load_campaign(path: Path, out: Path | None = None) -> tuple[Campaign, str]:
    """The campaign of a file and its text; `out` is put in the place of output.path. Paths that exist beside the file are taken from there.

    Raises InputError: UPM-CF-056 and following for keys and values, UPM-ST-001 for shocks that cannot be.
    """
    file = find_file(path)
    tables, text = read_toml(file, "campaign")
    campaign = build(Campaign, tables, file.name, text, {})
    crossed = campaign.cross.entries
    if campaign.cross != Cross():
        check([("cross", 56, "books" not in tables, "a campaign has [[books]] or a [cross], not both. Name each book of the product in [cross].")], file.name, text)
        campaign = campaign.model_copy(update={"books": crossed})
    check(_rules(campaign), file.name, text)
    total = sum(size(entry) for *_, entry in campaign.entries)
    if not total or total > MOST_SHOCKS:
        raise InputError("UPM-ST-001", f"{file.name}: a campaign of {total:,} shocks. Give from 1 to {MOST_SHOCKS:,} as [[events]], [[moves]], [[grids]] or [[families]].")
    entries = [*campaign.entries, *(("paths", i, p) for i, p in enumerate(campaign.paths))]
    names = [entry.name for *_, entry in entries]
    for section, i, entry in entries:
        if names.count(entry.name) > 1:
            raise InputError("UPM-ST-001", f"{place(file.name, text, f'{section}.{i}')}: the name {entry.name!r} is given twice. Give every entry a name of its own.")

    def beside(name: str) -> str:
        near = file.parent / name
        return str(near) if name and not name.startswith("sample:") and near.exists() else name

    books = [b.model_copy(update={k: beside(getattr(b, k)) for k in ("book", "market", "methodology")}) for b in campaign.books]
    events = [e.model_copy(update={"history": beside(e.history)}) for e in campaign.events]
    paths = [p.model_copy(update={"history": beside(p.history)}) for p in campaign.paths]
    output = campaign.output.model_copy(update={"path": str(out)}) if out is not None else campaign.output
    return campaign.model_copy(update={"base": campaign.base.model_copy(update={"config": beside(campaign.base.config)}), "books": books, "events": events, "paths": paths, "output": output}), text


def _rules(campaign: Campaign) -> list[Rule]:
    c, lost = campaign, campaign.losses
    named = [b.name for b in c.books]
    rules: list[Rule] = [
        ("base.count", 56, 1_000 <= c.base.count <= 10_000_000, f"{c.base.count} is outside 1000 to 10000000."),
        ("cross" if c.cross != Cross() else "books", 56, bool(named) and len(set(named)) == len(named) and all(n.isidentifier() for n in named), "give at least one book, each under a name of its own made of letters, digits and _."),
        ("losses.default_fund", 56, lost.default_fund >= 0.0, f"{lost.default_fund} is below 0."),
        ("losses.delta_cost", 56, 0.0 <= lost.delta_cost < 1.0, f"{lost.delta_cost} is no share of delta from 0 to below 1."),
        ("losses.vega_cost", 56, lost.vega_cost >= 0.0, f"{lost.vega_cost} is below 0."),
        ("reverse.default_fund", 56, not c.reverse.default_fund or lost.default_fund > 0.0, "there is no default fund to break. Give losses.default_fund."),
    ]
    for i, g in enumerate(c.grids):
        rules += [(f"grids.{i}.price", 56, all(x > -1.0 for x in g.price), "a price cannot fall by all it is. Give changes above -1, such as -0.4."),
                  (f"grids.{i}.volatility", 56, all(x > -1.0 for x in g.volatility), "give relative changes above -1, such as 0.5."),
                  (f"grids.{i}.correlation", 56, all(0.0 <= x <= 1.0 for x in g.correlation), "give shares of the way to one, from 0 to 1."),
                  (f"grids.{i}.correlation", 56, bool(g.leader) or set(g.correlation) == {0.0}, "without a leader all prices move alike, and no correlation is read. Name a leader."),
                  (f"grids.{i}.liquidity", 56, all(x >= 0.0 for x in g.liquidity), "a cost cannot be below 0."),
                  (f"grids.{i}", 56, size(g) > 0, "an empty list makes no shock. Give at least one value.")]
    for section, entries in (("moves", [(m.moves, m.liquidity) for m in c.moves]), ("families", [(f.given, f.liquidity) for f in c.families])):
        for i, (moves, liquidity) in enumerate(entries):
            key = f"{section}.{i}.{'moves' if section == 'moves' else 'given'}"
            unknown = sorted({k for m in moves.values() for k in m} - set(MOVED))
            rules += [(key, 56, bool(moves), "name at least one asset, or \"*\"."), (key, 56, not unknown, f"{', '.join(unknown)}: an asset has {', '.join(MOVED)}."),
                      (key, 56, all(x > -1.0 for m in moves.values() for x in m.values()), "give relative changes above -1, such as -0.4."),
                      (f"{section}.{i}.liquidity", 56, liquidity >= 0.0, "a cost cannot be below 0.")]
    for i, p in enumerate(c.paths):
        unknown = sorted({k for day in p.days for m in day.values() for k in m} - set(MOVED))
        rules += [(f"paths.{i}", 56, bool(p.days) != bool(p.start and p.end), "give the days of a path, or start and end of a period of the history."),
                  (f"paths.{i}.start", 56, not p.start or _in_order(p.start, p.end), f"{p.start} to {p.end} is no period. Give two days in order, such as 2020-03-11 and 2020-03-16."),
                  (f"paths.{i}.days", 56, not unknown, f"{', '.join(unknown)}: an asset has {', '.join(MOVED)}."),
                  (f"paths.{i}.days", 56, all(x > -1.0 for day in p.days for m in day.values() for x in m.values()), "give relative changes above -1, such as -0.1."),
                  (f"paths.{i}.liquidity", 56, p.liquidity >= 0.0, "a cost cannot be below 0.")]
    for i, f in enumerate(c.families):
        rules += [(f"families.{i}.count", 56, f.count >= 1, f"{f.count} is below 1."), (f"families.{i}.seed", 56, 0 <= f.seed < 2**64, f"{f.seed} is no 64-bit number."),
                  (f"families.{i}.degrees_of_freedom", 56, f.degrees_of_freedom == 0.0 or f.degrees_of_freedom > 2.0, f"{f.degrees_of_freedom:g}: give 0 for a Gaussian law, or more than 2."),
                  (f"families.{i}.correlation", 56, 0.0 <= f.correlation < 1.0, f"{f.correlation:g} is no share of the way to one from 0 to below 1.")]
    return rules


def _in_order(start: str, end: str) -> bool:
    try:
        return date.fromisoformat(start) < date.fromisoformat(end)
    except ValueError:
        return False
