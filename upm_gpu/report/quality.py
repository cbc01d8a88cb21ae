"""How far the data can be trusted, and how to make the same figures again.

`report/quality.json` is one object; every key is optional:

* ``age_minutes``: how old the market data is, against the valuation time or the time of the run;
* ``warnings``: list of sentences;
* ``quarantined``: list of quotes set aside, objects with equal keys (instrument_id, reason, mark, model, ...);
* ``surface``: list of fits, one object an expiry (underlying, expiry, quotes, root_mean_square, ...);
* ``surface_violations``: list of fitted slices with a negative density or lifted over the one before, and of broken conditions of an SSVI surface;
* ``implied_carry``: list of forwards against spot and rates, with the carry a year that explains the rest and whether it is out of bounds;
* ``quote_violations``: list of counts by expiry of verticals, butterflies and calendars that the quotes violate, at their volatilities and beyond the spread;
* ``parity_violations``: list of expiries whose calls and puts at one strike break put-call parity (American chains: its bounds), with counts and the worst;
* ``surface_arbitrage``: list of objects, one an underlying: shares of scenarios whose moved surface holds arbitrage, largest corrections where they were projected;
* ``model_minus_mark``: object of figures, or of objects of figures (one an underlying);
* ``correlation_regimes``: list of the correlations scenarios moved by, one object a regime (regime, probability, scenarios_drawn, mean_price_price, ...);
* ``charges``: of a methodology with charges: what each comes to over all units and why, what is left out because a larger one of its group counts, what was below zero;
* ``value_tables``: of a run that priced by tables: how many, their nodes, their largest error, what direct prices in the tails changed;
* ``rejects``: object of counts by file or code, where there is more to say than `rejects.csv` does.
"""

from __future__ import annotations

import shlex

from upm_gpu.report.words import full

ROWS = 40
"""rows shown of any list; the rest is counted"""

FIRST = ("command", "upm_gpu", "seed", "scenarios", "precision", "backend", "device", "device_reason", "isa", "threads", "chunk", "methodology",
         "valuation_time", "reporting_currency", "error_formula", "snapshot_sha256", "spec_sha256", "methodology_sha256", "kernels_sha256",
         "timings")
"""keys of the manifest that come first in the reproducibility box"""

REGIME_COLUMNS = ("regime", "toward", "source", "probability", "scenarios_drawn", "share", "mean_price_price", "mean_price_volatility", "mean_volatility_volatility", "lowest",
                  "highest", "repair_distance")

Table = dict[str, object]


def quality_tables(quality: dict, rejects: list[dict[str, str]] | None) -> list[Table]:
    """The tables of the data-quality section: title, heads, rows as text, how many were left out, and a remark if empty."""
    tables = [reject_table(rejects, quality.get("rejects"))]
    for key, title, empty in (
        ("quarantined", "Quarantined quotes", "No quote was set aside."),
        ("surface", "Surface fit", "The run kept no surface fit."),
        ("surface_violations", "Arbitrage in fitted surfaces", "None found: no negative density, no falling total variance."),
        ("implied_carry", "Forwards against spots and rates", "No forward is quoted."),
        ("quote_violations", "Arbitrage in quotes", "None found in verticals, butterflies and calendars."),
        ("parity_violations", "Put-call parity of quotes", "None found where a strike has both sides."),
        ("surface_arbitrage", "Arbitrage in moved surfaces", "Not looked for."),
        ("model_minus_mark", "Model minus mark", "The run kept no comparison of model values with marks."),
    ):
        tables.append(any_table(title, quality.get(key), empty))
    tables.append(any_table("Correlation used", in_order(quality.get("correlation_regimes")), "The model draws whole dates of the history: it has no correlation of its own."))
    if quality.get("charges"):
        tables.append(any_table("Charges", quality["charges"], ""))
    if quality.get("value_tables"):
        tables.append(any_table("Value tables", in_words(quality["value_tables"]), ""))
    return tables


def in_words(tables: object) -> object:
    """What pricing by tables cost in precision, in words; amounts in the reporting currency."""
    if not isinstance(tables, dict):
        return tables
    check = tables.get("tail_check")
    found = {"tables": _count(tables.get("tables")), "nodes in all": _count(tables.get("nodes")), "largest error where looked, per unit of strike": tables.get("largest_error_per_strike")}
    if "options_repriced_under_the_model" in tables:
        found |= {"options repriced under the scenarios' own model": _count(tables["options_repriced_under_the_model"])}
    if tables.get("finer"):
        found |= {"tables made finer for portfolios that felt them": len(tables["finer"])}
    if isinstance(check, dict):
        share = check.get("largest_share")
        found |= {"portfolios whose tails were priced directly": _count(check.get("units")), "direct prices": _count(check.get("prices")),
                  "largest change of an expected shortfall": check.get("largest_change"),
                  "largest share of its standard error (0.1 allowed)": share}
    return found


def _count(value: object) -> object:
    return f"{value:,}" if isinstance(value, int) else value


def in_order(rows: object) -> object:
    """The correlation regimes with their columns in the order they are read: how likely, how far, what came of it."""
    if not isinstance(rows, list):
        return rows
    return [{name: row[name] for name in (*REGIME_COLUMNS, *row) if name in row} if isinstance(row, dict) else row for row in rows]


def reject_table(rejects: list[dict[str, str]] | None, counts: object) -> Table:
    """Rejected rows: place, code, message and the raw text."""
    if not rejects:
        return any_table("Rejected rows", counts, "No input row was rejected.")
    heads = [name for name in ("file", "line", "column", "code", "message", "raw") if name in rejects[0]]
    rows = [[(row.get(name) or "")[:300] for name in heads] for row in rejects[:ROWS]]
    return {"title": "Rejected rows", "heads": heads, "rows": rows, "more": len(rejects) - len(rows), "empty": "", "count": len(rejects)}


def any_table(title: str, content: object, empty: str) -> Table:
    """A table of a list of objects, a list of values, an object of figures or an object of objects."""
    heads: list[str] = []
    rows: list[list[str]] = []
    if isinstance(content, dict) and content and all(isinstance(value, dict) for value in content.values()):
        content = [{"": key} | value for key, value in content.items()]
    if isinstance(content, dict):
        rows = [[_words(key), cell(value)] for key, value in content.items()]
    elif isinstance(content, list) and any(isinstance(item, dict) for item in content):
        names = list(dict.fromkeys(name for item in content if isinstance(item, dict) for name in item))
        names.sort(key=lambda name: not any(isinstance(item, dict) and isinstance(item.get(name), str) for item in content))
        heads = [_words(name) for name in names]
        rows = [[cell(item.get(name)) for name in names] if isinstance(item, dict) else [cell(item)] for item in content]
    elif isinstance(content, list):
        rows = [[cell(item)] for item in content]
    return {"title": title, "heads": heads, "rows": rows[:ROWS], "more": max(0, len(rows) - ROWS), "empty": empty, "count": len(rows)}


def reproduction(manifest: dict) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The manifest as lines of (name, value): what a second run needs, then everything else."""
    first = [line for key in FIRST if key in manifest for line in _lines(key, manifest[key])]
    rest = [line for key, value in manifest.items() if key not in FIRST for line in _lines(key, value)]
    return first, rest


def cell(value: object) -> str:
    """One value as text: five significant figures for a float, thousands separators only from 100,000 on."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return full(value) if abs(value) >= 1e5 else f"{value:.5g}"
    if isinstance(value, list | dict):
        return "; ".join(f"{_words(k)} {cell(v)}" for k, v in value.items()) if isinstance(value, dict) else ", ".join(map(cell, value))
    return str(value)


def _lines(key: str, value: object) -> list[tuple[str, str]]:
    if key == "command" and isinstance(value, list):
        return [("command", shlex.join(map(str, value)))]
    if isinstance(value, dict):
        return [(f"{_words(key)}: {name}", text) for inner, item in value.items() for name, text in _named(str(inner), item)]
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return [line for number, item in enumerate(value, 1) for line in _lines(f"{key} {number}", item)]
    return [(_words(key), exact(value))] if value not in ("", None, [], {}) else []


def _named(key: str, value: object) -> list[tuple[str, str]]:
    """The lines of an inner value; names below the first level may be file names and stay as they are."""
    return _lines(key, value) if isinstance(value, dict | list) else [(key, exact(value))]


def exact(value: object) -> str:
    """A value that a second run must be able to copy: no rounding, no separators."""
    if isinstance(value, bool) or value is None:
        return cell(value)
    if isinstance(value, float):
        return repr(value)
    return ", ".join(map(exact, value)) if isinstance(value, list) else str(value)


def _words(key: str) -> str:
    return key.replace("_", " ")
