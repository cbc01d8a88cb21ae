"""`campaign.html`: worst shocks, heat maps of the grids, who breaks first, the most plausible breaking moves, the worst cells opened up; from the folder of a campaign alone.

One file without script: charts are SVG, the policy allows the one style by its hash and nothing else. Same folder, same bytes. Verified by tests/end_to_end/test_stress_command.py.
"""

from __future__ import annotations

import base64
import hashlib
import html
import math
from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.errors import UsageError
from upm_gpu.report.read import Columns, read_json, read_table

SHOWN = 25
"""lines of every table; all are in the Parquet files"""
CELL_WIDTH, CELL_HEIGHT, LEFT, TOP = 96.0, 24.0, 64.0, 22.0
KINDS = {"account": "account", "member": "member", "default_fund": "default fund"}


def render_campaign(folder: Path) -> bytes:
    """The page of a folder. Raises UsageError where it is no campaign or jinja2 is not installed."""
    try:
        import jinja2
    except ImportError:
        raise UsageError("UPM-CF-040", "the campaign's page needs jinja2, which is not installed. Install it with `pip install 'upm-gpu[report]'`, or set output.report = false.") from None
    manifest, shocks, accounts = read_json(folder / "manifest.json"), read_table(folder / "by_shock.parquet"), read_table(folder / "by_account.parquet")
    cells = read_table(folder / "worst_cells.parquet")
    if manifest is None or shocks is None or accounts is None or cells is None:
        raise UsageError("UPM-RN-045", f"{folder} is no campaign: a table is missing. Run the campaign again.")
    here = Path(__file__).parent
    style = here.joinpath("report.css").read_text(encoding="utf-8")
    policy = f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode('ascii')}'; base-uri 'none'; form-action 'none'"
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"money": money, "one": lambda x: "" if x != x else f"{x:.1f}", "share": lambda x: "" if x != x else f"{100 * x:.0f} %"}
    worst = np.lexsort((shocks["pnl"], -shocks["uncovered_loss"]))[:SHOWN]
    broken = np.flatnonzero(accounts["times_broken"] > 0)
    page = environment.from_string(here.joinpath("campaign.html.j2").read_text(encoding="utf-8")).render(
        policy=policy, style=jinja2.utils.markupsafe.Markup(style), manifest=manifest, worst=_rows(shocks, worst), maps=heat_maps(shocks), markup=jinja2.utils.markupsafe.Markup,
        first=_rows(accounts, broken[:SHOWN]), broken=len(broken), reverse=_reverse(read_table(folder / "reverse.parquet")), paths=_paths(read_table(folder / "paths.parquet")), cells=_cells(cells), shown=SHOWN).encode("utf-8", errors="xmlcharrefreplace")
    return bytes(page)


def money(value: float) -> str:
    """Whole units, thousands apart.

    >>> money(-1234567.8)
    '-1,234,568'
    """
    return "" if value != value else f"{value:,.0f}"


def _rows(columns: Columns, at: Any) -> list[dict[str, Any]]:
    return [{name: values[i] for name, values in columns.items()} for i in at]


def heat_maps(shocks: Columns) -> list[dict[str, Any]]:
    """For every grid of more than one price or volatility, and every share of correlation: uncovered losses, price down and volatility across, at the dearest closing-out."""
    found = []
    keys = [(b, e, c, z) for b, e, c, z, k in zip(shocks["book"], shocks["entry"], shocks["correlation"], shocks["basis"], shocks["kind"], strict=True) if k == "grid"]
    for book, entry, share, basis in dict.fromkeys(keys):
        own = np.flatnonzero((shocks["book"] == book) & (shocks["entry"] == entry) & (shocks["correlation"] == share) & (shocks["basis"] == basis))
        own = own[shocks["liquidity"][own] == shocks["liquidity"][own].max()]
        if len(own) > 1:
            said = f"{book}, {entry}" + (f", correlation {share:+.0%} of the way to one" if share else "") + (f", basis {basis:+.1%}" if basis else "")
            found.append({"title": said, "svg": heat_svg(*(shocks[n][own] for n in ("price", "volatility", "uncovered_loss", "accounts_broken", "pnl"))), "liquidity": float(shocks["liquidity"][own[0]])})
    return found


def heat_svg(price: Any, volatility: Any, uncovered: Any, broken: Any, pnl: Any) -> str:
    """A cell a shock: shade and number its uncovered loss, the title what else there is to say."""
    prices, volatilities = sorted(set(price)), sorted(set(volatility))
    width, height = LEFT + CELL_WIDTH * len(volatilities) + 4, TOP + CELL_HEIGHT * len(prices) + 4
    top = max(float(np.max(uncovered)), 1.0)
    parts = [f'<svg class="chart" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="uncovered losses by price and volatility">']
    parts += [f'<text x="{LEFT + CELL_WIDTH * (i + 0.5):.0f}" y="{TOP - 7:.0f}" text-anchor="middle">vol {v:+.0%}</text>' for i, v in enumerate(volatilities)]
    parts += [f'<text x="{LEFT - 6:.0f}" y="{TOP + CELL_HEIGHT * (i + 0.5) + 4:.0f}" text-anchor="end">{p:+.0%}</text>' for i, p in enumerate(prices)]
    for p, v, u, b, x in zip(price, volatility, uncovered, broken, pnl, strict=True):
        left, at = LEFT + CELL_WIDTH * volatilities.index(v), TOP + CELL_HEIGHT * prices.index(p)
        shade = math.sqrt(u / top)
        parts.append(f'<rect class="fill-loss" x="{left + 1:.0f}" y="{at + 1:.0f}" width="{CELL_WIDTH - 2:.0f}" height="{CELL_HEIGHT - 2:.0f}" fill-opacity="{0.08 + 0.85 * shade:.2f}">'
                     f"<title>{html.escape(f'price {p:+.0%}, volatility {v:+.0%}: uncovered {u:,.0f}, {b:.0f} accounts broken, P&L of all {x:,.0f}')}</title></rect>"
                     f'<text class="{"inverse" if shade > 0.6 else "ink"}" x="{left + CELL_WIDTH / 2:.0f}" y="{at + CELL_HEIGHT / 2 + 4:.0f}" text-anchor="middle">{short(u)}</text>')
    return "".join([*parts, "</svg>"])


def short(value: float) -> str:
    """An amount in three or four letters.

    >>> short(1234567.0), short(0.0), short(45_600.0)
    ('1.2m', '0', '46k')
    """
    for size, letter in ((1e9, "bn"), (1e6, "m"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f}{letter}" if value < 10 * size else f"{value / size:.0f}{letter}"
    return f"{value:.0f}"


def move_words(states: dict[str, float]) -> str:
    """A move in words: prices and volatilities in percent.

    >>> move_words({"log_level[BTC]": -0.2231435513142097, "volatility_shift[BTC]": 0.1})
    'BTC -20.0 %, BTC volatility +10.5 %'
    """
    said = []
    for state, size in states.items():
        kind, _, of = state.rstrip("]").partition("[")
        what = {"log_level": "", "log_fx": "", "volatility_shift": " volatility", "log_basis": " basis"}.get(kind)
        if size == size and abs(size) > 5e-5:
            said.append(f"{of}{what} {100.0 * math.expm1(size):+.1f} %" if what is not None else f"{kind} {of} {size:+.3f}")
    return ", ".join(said) or "nothing"


def _reverse(table: Columns | None) -> list[dict[str, Any]]:
    """The nearest SHOWN of every kind, their moves in words."""
    if table is None:
        return []
    states = [n for n in table if "[" in n]
    found = []
    for kind, title in KINDS.items():
        own = np.flatnonzero((table["kind"] == kind) & np.isfinite(table["distance"]))
        for i in own[np.argsort(table["distance"][own], kind="stable")][:SHOWN]:
            found.append({"kind": title, "book": table["book"][i], "name": table["name"][i], "distance": table["distance"][i], "left": table["left_today"][i], "move": move_words({s: float(table[s][i]) for s in states})})
    return found


def _paths(table: Columns | None) -> list[dict[str, Any]]:
    """Every path with its days."""
    found: dict[tuple, dict[str, Any]] = {}
    for row in _rows(table, range(len(table["day"]))) if table is not None else []:
        found.setdefault((row["book"], row["path"]), {"book": row["book"], "name": row["path"], "days": []})["days"].append(row)
    return list(found.values())


def _cells(table: Columns) -> list[dict[str, Any]]:
    """Cells in order, each with its positions."""
    found: dict[tuple, dict[str, Any]] = {}
    for i in range(len(table["shock"])):
        key = (table["book"][i], table["shock"][i], table["account_id"][i])
        cell = found.setdefault(key, {"book": key[0], "name": table["name"][i], "account": key[2], "equity": table["equity"][i], "positions": [], "pnl": 0.0})
        cell["positions"].append({"instrument": table["instrument_id"][i], "quantity": table["quantity"][i], "pnl": table["pnl"][i]})
        cell["pnl"] += table["pnl"][i]
    return list(found.values())
