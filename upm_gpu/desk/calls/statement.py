"""A statement of one account: what it holds, what counts, what it must post, what it is called for, and why. One page ready to be printed, and a CSV.

Every figure is the run's own (`margin.parquet`, `contributions.parquet`, `worst_scenarios.parquet`) or computed from its inputs by the functions of a run, line by line: gains since entry, option values and collateral add up to the
equity of the run. A statement is made from the rows of its account alone and names no other; of a pool it shows the account's own share.
Verified by tests/end_to_end/test_statement.py.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import numpy as np

from upm_gpu.desk.calls.ladder import Call
from upm_gpu.desk.change import sub_book
from upm_gpu.domain.book import Account, Book, Collateral
from upm_gpu.margin.collateral import posted_of
from upm_gpu.margin.methodology import simulated_assets
from upm_gpu.margin.result import account_equity, option_values
from upm_gpu.margin.units import COLLATERAL_PREFIX
from upm_gpu.plan import Plan
from upm_gpu.report.accounts import charge_title
from upm_gpu.report.page import document, escape, heading, section, table
from upm_gpu.report.words import MINUS, full, moment

LONGEST_NAME = 120
"""letters of a file name before it is cut and told apart by a hash: file systems take 255 bytes"""


@dataclass(frozen=True)
class Position:
    """One line of what is held, reporting currency."""

    instrument_id: str
    netting_set: str
    contracts: float
    value: float
    """model value of options with an upfront premium and of spot: what counts in equity"""
    gain: float
    """of futures and perpetuals since entry"""
    contribution: float
    """to the core measure; 0 for cash"""


@dataclass(frozen=True)
class Posted:
    """One line of collateral."""

    asset: str
    quantity: float
    value: float
    counted: float
    contribution: float
    """to the core measure, where its price is simulated"""


@dataclass(frozen=True)
class Statement:
    """All a page shows."""

    account_id: str
    currency: str
    valuation_time: str
    methodology: str
    measure: str
    """"ES 99 % over 2 days": what the core is"""
    margin: dict[str, Any]
    """columns of margin.csv"""
    positions: tuple[Position, ...]
    collateral: tuple[Posted, ...]
    call: Call | None
    told: tuple[str, ...]


@dataclass(frozen=True)
class Rows:
    """What the run folder holds of one account."""

    explained: dict[str, Any]
    """`report.explain`"""
    contributions: tuple[float, ...]
    """rows of contributions.parquet, in its order: that of the plan's lines"""
    call: Call | None = None


def unit_values(plan: Plan, backend: Any, threads: int) -> dict[str, float]:
    """Value today of one unit of every option, as equity counts it."""
    from upm_gpu.exhibits import compile_today, cover, explicit_moves
    from upm_gpu.margin.units import build_rows

    today = compile_today(plan.instruments, plan.market, plan.surfaces, plan.compiled.drawn_names, plan.dynamics)
    today = cover(backend, today, (explicit_moves(today.drawn_names, [{}]),), threads)
    with backend.prepare(today, build_rows(plan.units, today)[0], "double", threads) as prepared:
        return option_values(today, plan.instruments, np.array(prepared.value0))


def statement(plan: Plan, values: dict[str, float], rows: Rows, methodology: str) -> Statement:
    """The statement of an account of the run behind `plan`; `values` are those of one unit of each option today."""
    explained = rows.explained
    account = next(n for n, a in enumerate(plan.book.accounts) if a.account_id == explained["account_id"])
    book, lines = sub_book(plan.book, [account]), plan.units.lines
    shares = {(plan.units.netting_set[lines.unit[n]], plan.instruments[lines.instrument[n]].instrument_id): value
              for n, value in zip(np.flatnonzero(lines.account == account).tolist(), rows.contributions, strict=True)}
    apart, p = _line_by_line(book), book.positions
    equity = account_equity(apart, plan.market, posted_of(apart, plan.market, plan.methodology.collateral, set()), values)
    positions = []
    for n, (i, s) in enumerate(zip(p.instrument.tolist(), p.netting_set.tolist(), strict=True)):
        name, netting_set = book.instruments[i].instrument_id, book.netting_sets[s]
        positions.append(Position(name, netting_set, float(p.contracts[n]), float(equity.option_value[n] + equity.collateral_value[n]), float(equity.unrealised[n]), shares.get((netting_set, name), 0.0)))
    posted = posted_of(book, plan.market, plan.methodology.collateral, simulated_assets(plan.methodology, plan.book))
    collateral = tuple(Posted(posted.assets[int(a)], float(q), float(v), float(c), shares.get(("", COLLATERAL_PREFIX + posted.assets[int(a)]), 0.0))
                       for a, q, v, c in zip(posted.asset, posted.quantity, posted.value, posted.counted, strict=True))
    known = explained["level"] is not None and explained["period"]
    measure = f"{'VaR' if explained['core_measure'] == 'value_at_risk' else 'ES'} {100.0 * explained['level']:g} % over {explained['period']}" if known else "core measure"
    margin = {k: v for k, v in explained.items() if isinstance(v, str | int | float | bool | type(None))} | dict(explained["charges"])
    return Statement(explained["account_id"], plan.market.reporting_currency, plan.market.valuation_time.isoformat(), methodology, measure, margin, tuple(positions), collateral, rows.call,
                     tuple(explained["told"]["sentences"]))


def _line_by_line(book: Book) -> Book:
    """The book with an account for every position and nothing posted: its equity is that of every line."""
    count = len(book.positions.instrument)
    return replace(book, accounts=tuple(Account(str(n)) for n in range(count)), positions=replace(book.positions, account=np.arange(count, dtype=np.int32)),
                   collateral=Collateral(np.zeros(0, np.int32), (), np.zeros(0)))


def file_stem(account_id: str) -> str:
    """A file name for an account that no id can lead out of its folder or onto another's.

    >>> file_stem("A-1"), file_stem("../x"), file_stem("a/b")
    ('statement-A-1', 'statement-..%2Fx', 'statement-a%2Fb')
    """
    name = quote(account_id, safe="", errors="surrogatepass")
    digest = hashlib.sha256(account_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"statement-{name}" if len(name) <= LONGEST_NAME else f"statement-{name[:LONGEST_NAME]}-{digest}"


def page(found: Statement) -> bytes:
    """The page of a statement."""
    m, currency = found.margin, found.currency
    lead = f"{_word(m['status'])}: equity {full(_number(m['equity']))} against an initial margin of {full(_number(m['initial_margin']))} {currency}."
    body = [heading(["Margin statement", moment(found.valuation_time), f"methodology {found.methodology}", currency], f"Account {found.account_id}", lead)]
    call = found.call
    if call is not None:
        due = f"due {moment(call.due_at.isoformat())}" if call.due_at is not None else "no deadline"
        body.append(section("Call", [table(["Stage", f"Called, {currency}", "Issued", "Due", "What happens"],
                                           [[call.stage, full(call.amount, 2), "" if call.issued_at is None else moment(call.issued_at.isoformat()), due, call.action]], [1])], f"Why: {call.reason}."))
    error = m.get("expected_shortfall_standard_error")
    body.append(section("Margin", [table(["", currency], [[f"Core ({found.measure})", _money(m["core"])], *[[charge_title(k), _money(v)] for k, v in _charges(m)], ["Initial margin", _money(m["initial_margin"])]], [1], True)],
                        "" if error is None else f"Standard error of the expected shortfall, from the number of scenarios: {full(float(error), 2)} {currency}. Maintenance margin: {full(_number(m['maintenance_margin']), 2)} {currency}."))
    body.append(section("Equity", [table(["", currency], [["Collateral and spot at market", _money(m.get("collateral_market_value"))], ["Haircuts and limits", _less(m.get("collateral_haircut"))], ["Liabilities", _less(m.get("liabilities"))],
                                          ["Open profit and loss", _money(m.get("unrealised_pnl"))], ["Option value", _money(m.get("option_value"))], ["Equity", _money(m["equity"])]], [1], True),
                                   table(["", currency], [["Equity", _money(m["equity"])], ["Less initial margin", _less(m["initial_margin"])], ["Excess" if _number(m["excess"]) >= 0.0 else "Shortfall", _money(m["excess"])]], [1], True)]))
    if found.positions:
        rows = [[p.instrument_id + (f" ({p.netting_set})" if p.netting_set else ""), _plain(p.contracts), _money(p.value), _money(p.gain), _money(p.contribution)] for p in found.positions]
        total = ["Sum", "", *(_money(math.fsum(getattr(p, n) for p in found.positions)) for n in ("value", "gain", "contribution"))]
        body.append(section("Positions", [table(["Instrument", "Contracts", "Value", "Gain since entry", "Share of the core measure"], [*rows, total], [1, 2, 3, 4], True)],
                            "Value counts options paid for at once and spot; a negative share is a hedge."))
    if found.collateral:
        rows = [[c.asset, _plain(c.quantity), _money(c.value), _money(c.counted), _money(c.contribution)] for c in found.collateral]
        total = ["Sum", "", *(_money(math.fsum(getattr(c, n) for c in found.collateral)) for n in ("value", "counted", "contribution"))]
        body.append(section("Collateral", [table(["Asset", "Quantity", "At market", "Counted", "Share of the core measure"], [*rows, total], [1, 2, 3, 4], True)]))
    if found.told:
        body.append(section("What would hurt", ["".join(f"<p>{line}</p>" for line in map(escape, found.told))]))
    return document(f"Margin statement {found.account_id}", body)


def as_csv(found: Statement) -> str:
    """Every figure: section, item, netting_set, quantity, amount, detail."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["section", "item", "netting_set", "quantity", "amount", "detail"])
    for key, value in (("account_id", found.account_id), ("valuation_time", found.valuation_time), ("currency", found.currency), ("methodology", found.methodology), ("measure", found.measure)):
        writer.writerow(["statement", key, "", "", "", value])
    for key in sorted(k for k, v in found.margin.items() if isinstance(v, float | int) and not isinstance(v, bool)):
        writer.writerow(["margin", key, "", "", repr(found.margin[key]), ""])
    writer.writerow(["margin", "status", "", "", "", found.margin["status"]])
    if found.call is not None:
        due = "" if found.call.due_at is None else found.call.due_at.isoformat().replace("+00:00", "Z")
        writer.writerow(["call", found.call.stage, "", "", repr(found.call.amount), f"due {due}" if due else ""])
    for p in found.positions:
        for name in ("value", "gain", "contribution"):
            writer.writerow(["position", p.instrument_id, p.netting_set, repr(p.contracts), repr(getattr(p, name)), name])
    for c in found.collateral:
        for name in ("value", "counted", "contribution"):
            writer.writerow(["collateral", c.asset, "", repr(c.quantity), repr(getattr(c, name)), name])
    return out.getvalue()


def _charges(margin: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(k, v) for k, v in margin.items() if k.startswith("charge_") and k != "charge_core" and v]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _money(value: Any) -> str:
    return full(_number(value), 2)


def _less(value: Any) -> str:
    text = full(_number(value), 2)
    return MINUS + text if any(c in "123456789" for c in text) and not text.startswith(MINUS) else text


def _plain(value: float) -> str:
    return f"{value:,.12g}".replace("-", MINUS)


def _word(status: Any) -> str:
    return {"ok": "In order", "call": "Margin call", "liquidation": "Below maintenance margin"}.get(str(status), str(status))
