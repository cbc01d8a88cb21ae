"""The difference of two runs for a person: what changed in each part, the shares in a text, a CSV and a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.desk.explain.difference import FIGURES, PROGRAM, Difference, Side
from upm_gpu.report.explain import printable
from upm_gpu.report.page import document, heading, section, table
from upm_gpu.report.words import MINUS, full, moment, percent

LISTED = 25
"""accounts on a terminal; a page has ten times as many; JSON and CSV have all"""
NAMED = 12
"""things that changed, named one by one"""


def plain(found: Difference) -> dict[str, Any]:
    """Everything as plain data for JSON."""
    steps = [{"parts": list(s.parts), "total": {f: _total(s.share, f) for f in FIGURES}, "total_standard_error": s.total_error, "standard_errors_are_bounds": s.bound} for s in found.steps]
    return {"before": str(found.before.folder), "after": str(found.after.folder), "currency": found.after.manifest.get("reporting_currency", "USD"), "order": list(found.order), "steps": steps,
            "program": {f: _total(found.program, f) for f in FIGURES}, "changed": {p: changed(found, p) for p in found.order}, "notes": list(found.notes),
            "accounts": [{"account_id": a, "before": found.before.margins.get(a), "after": found.after.margins.get(a), "change": {f: found.change(a, f) for f in FIGURES},
                          "shares": {s.name: s.share.get(a, dict.fromkeys(FIGURES, 0.0)) for s in found.steps} | {PROGRAM: found.program[a]},
                          "standard_errors": {s.name: s.error.get(a, 0.0) for s in found.steps}} for a in found.accounts]}


def changed(found: Difference, part: str) -> list[str]:
    """What is not the same in a part of the two runs, in words; the first `NAMED`."""
    a, b = found.before, found.after
    if part == "trades":
        said = _files(a.hashes("book/"), b.hashes("book/"))
        new, gone = len(set(b.margins) - set(a.margins)), len(set(a.margins) - set(b.margins))
        said += [f"{n} account{'s' * (n != 1)} {what}" for n, what in ((new, "new"), (gone, "gone")) if n]
    elif part == "market":
        times = [str(s.manifest.get("valuation_time", "")) for s in (a, b)]
        said = ([f"valuation time {moment(times[0])} to {moment(times[1])}"] if times[0] != times[1] else []) + _prices(a, b) + _files(a.hashes("market/"), b.hashes("market/"))
    elif part == "model":
        said = _values(a.law(), b.law())
    elif part == "sampling":
        said = _values(a.sampling(), b.sampling())
    else:
        one, two = (str(s.manifest.get("methodology", "")) for s in (a, b))
        said = [f"{one} to {two}"] if one != two else []
        if a.hashes("methodology") != b.hashes("methodology"):
            said += _methodology(a.methodology.model_dump(mode="json"), b.methodology.model_dump(mode="json"))
    return said[:NAMED] + ([f"and {len(said) - NAMED} more"] if len(said) > NAMED else [])


def _files(a: Mapping[str, str], b: Mapping[str, str]) -> list[str]:
    return [f"{name.partition('/')[2]} {'added' if name not in a else 'removed' if name not in b else 'changed'}" for name in sorted({*a, *b}) if a.get(name) != b.get(name)]


def _values(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    return [f"{k}: {_brief(a.get(k, 'absent'))} to {_brief(b.get(k, 'absent'))}" for k in sorted({*a, *b}) if a.get(k, "absent") != b.get(k, "absent")]


def _brief(value: Any) -> str:
    text = str(value) if value != "" else "none"
    return text if len(text) <= 40 else text[:37] + "..."


def _methodology(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Charges added and removed by name, then every key that has another value."""
    charges = [{c["name"]: {k: v for k, v in c.items() if k != "name"} for c in m.pop("charges", [])} for m in (a, b)]
    said = [f"charge{'s' * (len(n) != 1)} {what}: {', '.join(n)}" for n, what in ((sorted(set(charges[1]) - set(charges[0])), "added"), (sorted(set(charges[0]) - set(charges[1])), "removed")) if n]
    both = sorted(set(charges[0]) & set(charges[1]))
    one, two = ({**_flat(m), **{f"{n}.{k}": v for n in both for k, v in _flat(c[n]).items()}} for m, c in zip((a, b), charges, strict=True))
    return said + _values({k: v for k, v in one.items() if k not in ("name", "version")}, {k: v for k, v in two.items() if k not in ("name", "version")})


def _flat(value: Any, inside: str = "") -> dict[str, Any]:
    """Nested tables as dotted keys."""
    if isinstance(value, dict):
        return {k: v for key, each in value.items() for k, v in _flat(each, f"{inside}.{key}" if inside else str(key)).items()}
    return {inside: value}


def _prices(a: Side, b: Side) -> list[str]:
    """Moves of the spots, and of 30-day volatilities where both manifests have them."""
    from upm_gpu.market.reader import load_market

    one, two = (load_market(s.files.market).spots for s in (a, b))
    said = [f"{asset} {percent(two[asset] / one[asset] - 1.0, '-')}" for asset in sorted(set(one) & set(two)) if one[asset] != two[asset]]
    levels = [s.manifest.get("volatility_30d") or {} for s in (a, b)]
    return said + [f"{u} volatility {100.0 * levels[0][u]:.1f} to {100.0 * levels[1][u]:.1f} points" for u in sorted(set(levels[0]) & set(levels[1])) if levels[0][u] != levels[1][u]]


def _total(share: Mapping[str, Mapping[str, float]], figure: str) -> float:
    return float(np.sum([v[figure] for v in share.values()])) if share else 0.0


def ranked(found: Difference) -> list[str]:
    """Accounts, the largest change of the initial margin first."""
    return sorted(found.accounts, key=lambda a: (-abs(found.change(a, "initial_margin")), a))


def columns(found: Difference) -> list[str]:
    """Names of the parts with a share: the steps, and the program where it has any."""
    has = any(any(v.values()) for v in found.program.values())
    return [*(s.name for s in found.steps), *([PROGRAM] if has else [])]


def share_of(found: Difference, account: str, name: str, figure: str = "initial_margin") -> float:
    """The share of a part by its name."""
    if name == PROGRAM:
        return found.program[account][figure]
    return next(s for s in found.steps if s.name == name).share.get(account, {}).get(figure, 0.0)


def render(found: Difference) -> str:
    """Text for a person; ASCII."""
    currency, names = found.after.manifest.get("reporting_currency", "USD"), columns(found)
    before, after = (sum(m["initial_margin"] for m in s.margins.values()) for s in (found.before, found.after))
    lines = [f"Initial margin of all accounts: {before:,.2f} to {after:,.2f} {currency}, change {after - before:+,.2f}", "", f"{'Part':<28}{'initial margin':>18}{'+- s.e. (core)':>16}{'equity':>18}"]
    for s in found.steps:
        lines.append(f"{s.name[:27]:<28}{_total(s.share, 'initial_margin'):>+18,.2f}{('<=' if s.bound else '') + format(s.total_error, ',.2f'):>16}{_total(s.share, 'equity'):>+18,.2f}")
        lines += [f"    {printable(line)}" for part in s.parts for line in changed(found, part)]
    if PROGRAM in names:
        lines.append(f"{PROGRAM:<28}{_total(found.program, 'initial_margin'):>+18,.2f}{'':>16}{_total(found.program, 'equity'):>+18,.2f}")
    if not names:
        lines.append("nothing changed")
    equity = sum(m["equity"] for m in found.after.margins.values()) - sum(m["equity"] for m in found.before.margins.values())
    lines += [f"{'Sum':<28}{after - before:>+18,.2f}{'':>16}{equity:>+18,.2f}", "", f"order: {', '.join(found.order)}; what parts make together is in the one that changes later. The shares add up exactly: no residual."]
    if names:
        lines += ["", f"{'Account':<20}{'before':>15}{'after':>15}{'change':>15}" + "".join(f"{n[:14]:>15}" for n in names)]
        for a in ranked(found)[:LISTED]:
            was, now = (s.margins.get(a, {}).get("initial_margin", 0.0) for s in (found.before, found.after))
            lines.append(f"{printable(a)[:19]:<20}{was:>15,.2f}{now:>15,.2f}{found.change(a, 'initial_margin'):>+15,.2f}" + "".join(f"{share_of(found, a, n):>+15,.2f}" for n in names))
        if len(found.accounts) > LISTED:
            lines.append(f"{len(found.accounts) - LISTED} more accounts in --json and --out")
    return "\n".join([*lines, *(printable(n) for n in found.notes)])


def as_csv(found: Difference) -> str:
    """One row an account: before, after, change, then of every part its share of initial margin, core, charges and equity and the error of the core's."""
    names = [*(s.name for s in found.steps), PROGRAM]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["account_id", *(f"{f}_{w}" for f in FIGURES for w in ("before", "after", "change")), *(f"{f}_{n.replace(' ', '_')}" for n in names for f in FIGURES),
                     *(f"core_{s.name.replace(' ', '_')}_standard_error" for s in found.steps)])
    for a in found.accounts:
        figures = [(s.margins.get(a, {}).get(f, 0.0)) for f in FIGURES for s in (found.before, found.after)]
        three = [x for f, was, now in zip(FIGURES, figures[::2], figures[1::2], strict=True) for x in (was, now, found.change(a, f))]
        writer.writerow([a, *map(repr, three), *(repr(share_of(found, a, n, f)) for n in names for f in FIGURES), *(repr(s.error.get(a, 0.0)) for s in found.steps)])
    return out.getvalue()


def page(found: Difference) -> bytes:
    """The page of a difference."""
    currency, names = str(found.after.manifest.get("reporting_currency", "USD")), columns(found)
    before, after = (sum(m["initial_margin"] for m in s.margins.values()) for s in (found.before, found.after))
    times = [moment(str(s.manifest.get("valuation_time", ""))) for s in (found.before, found.after)]
    equity = sum(m["equity"] for m in found.after.margins.values()) - sum(m["equity"] for m in found.before.margins.values())
    rows = [[s.name, _signed(_total(s.share, "initial_margin")), ("\u2264 " if s.bound else "\u00b1 ") + full(s.total_error), _signed(_total(s.share, "core")), _signed(_total(s.share, "charges")),
             _signed(_total(s.share, "equity")), "; ".join(x for part in s.parts for x in changed(found, part))] for s in found.steps]
    if PROGRAM in names:
        rows.append([PROGRAM, *(x for f in ("initial_margin",) for x in (_signed(_total(found.program, f)), "")), *(_signed(_total(found.program, f)) for f in FIGURES[1:]), "versions of the program"])
    rows.append(["Sum", _signed(after - before), "", *(_signed(sum(found.change(a, f) for a in found.accounts)) for f in ("core", "charges")), _signed(equity), ""])
    shown = ranked(found)[: 10 * LISTED]
    body = [heading(["Difference of two runs", f"{times[0]} to {times[1]}", currency], f"{full(before)} to {full(after)} {currency}", f"The initial margin of all accounts changed by {_signed(after - before)} {currency}."),
            section("What changed it", [table(["Part", "Initial margin", "s.e. (core)", "Core", "Charges", "Equity", "What is different"], rows, [1, 2, 3, 4, 5], True)],
                    f"Parts changed one after another, in the order {', '.join(found.order)}; what they make together is in the one that changes later. Shares add up exactly."),
            section("Every account", [table(["Account", "Before", "After", "Change", *names], [[a, *(full(s.margins[a]["initial_margin"]) if a in s.margins else "none" for s in (found.before, found.after)),
                    _signed(found.change(a, "initial_margin")), *(_signed(share_of(found, a, n)) for n in names)] for a in shown], list(range(1, 4 + len(names))))],
                    f"Initial margin, the largest change first{f'; {len(found.accounts) - len(shown)} more accounts are in difference.csv' if len(shown) < len(found.accounts) else ''}.")]
    body += [section("Notes", ["".join(f"<p>{line}</p>" for line in map(_escaped, found.notes))])] if found.notes else []
    return document("Difference of two runs", body)


def _escaped(text: str) -> str:
    from upm_gpu.report.page import escape

    return escape(text)


def _signed(value: float) -> str:
    text = full(abs(value))
    return text if not any(c in "123456789" for c in text) else ("+" if value > 0 else MINUS) + text


def write(found: Difference, out: Path, data: dict[str, Any]) -> None:
    """difference.html, difference.csv and difference.json in a new folder."""
    import json

    out.mkdir(parents=True)
    out.joinpath("difference.html").write_bytes(page(found))
    out.joinpath("difference.csv").write_text(as_csv(found), encoding="utf-8")
    out.joinpath("difference.json").write_text(json.dumps(data, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def difference_command(first: Path, second: Path, order: str, out: Path | None) -> tuple[dict[str, Any], str]:
    """`upm diff`: (plain data, text); files go to `out`. Raises what `difference` raises, UsageError for a folder that is there."""
    from upm_gpu.desk.explain.difference import difference
    from upm_gpu.errors import UsageError

    if out is not None and out.exists():
        raise UsageError("UPM-CF-171", f"--out {out}: is there already, and nothing is written over. Give the name of a new folder for the difference.")
    found = difference(first, second, tuple(p.strip() for p in order.split(",")))
    data = plain(found)
    if out is not None:
        write(found, out, data)
    return data, render(found)
