"""Tomorrow on a page: how margins and calls of the house may turn out, which accounts they fall on, and who may break before then.

One file without script under the policy of the other pages. Same answer, same bytes. Verified by tests/end_to_end/test_outlook_page.py.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.report.liquidation_chart import rounds_svg, short
from upm_gpu.report.smiles import HEIGHT, LEFT, MARGIN, TOP, WIDTH
from upm_gpu.report.study_charts import bars_svg
from upm_gpu.report.study_page import Part, Study, Table, render_study

BARS = 16
"""accounts drawn at most"""
BINS = 48
FAR = 0.995
HOW = "How far to trust it"


def margin_page(data: Mapping[str, Any], margin: NDArray[np.float64], called: NDArray[np.float64], how: Sequence[str], top: int) -> bytes:
    """The page of `upm margin-at-risk`: its plain data, and margin and calls (S,) of all accounts together. Raises UsageError where jinja2 is not installed."""
    house, accounts, unit = data["house"], data["accounts"], data["currency"]
    order = sorted(range(len(accounts)), key=lambda n: (-accounts[n]["called"]["quantiles"][-1], n))
    rising = sorted(range(len(accounts)), key=lambda n: (-accounts[n]["margin_at_risk"], n))[:BARS]
    likely = [n for n in sorted(range(len(accounts)), key=lambda n: (-accounts[n]["call_probability"], n)) if accounts[n]["call_probability"] > 0.0 and accounts[n]["called_today"] == 0.0][:BARS]
    at = house["margin"]["quantiles"]
    charts = [("Margin of all together", f"{data['scenarios']:,} scenarios of the market then, {unit}", density_svg(margin, {"today": house["margin_today"], "99 %": at[-1]}, "margin then")),
              ("Called from all together", "what margins lack in equity", density_svg(called, {"today": house["called_today"], "99 %": house["called"]["quantiles"][-1]}, "called then")),
              ("Margin at risk by account", "99 % less today, with two standard errors", _bars(accounts, rising, "margin_at_risk", lambda a: a["margin_at_risk_error"]))]
    if likely:
        charts.append(("Chance of a call", "of accounts that are not called today: share of the scenarios, with two standard errors", _bars(accounts, likely, "call_probability", lambda a: a["call_probability_standard_error"])))
    rows = [(a["account_id"], *_money(a["margin_today"], a["margin"]["quantiles"][0], a["margin"]["quantiles"][-1], a["margin_at_risk"], a["margin_at_risk_error"], a["called_today"]), f"{a['call_probability']:.2%}",
             *_money(a["called"]["quantiles"][-1])) for a in (accounts[n] for n in order[:max(top, 1)])]
    head = ("account", "margin today", "then, median", "then, 99 %", "at risk", "std. error", "called today", "P(call)", "called, 99 %")
    rise = at[-1] - house["margin_today"]
    return render_study(Study(
        f"Margin at risk, {data['days']:g} day{'s' * (data['days'] != 1.0)} ahead", (f"{len(accounts):,} accounts", f"model {data['model']}", unit),
        f"In one of a hundred cases margins reach {short(at[-1])} {unit}, {'+' if rise >= 0.0 else '-'}{short(abs(rise))} on today, and {short(house['called']['quantiles'][-1])} {unit} is called.",
        f"Median margin then {_money(at[0])[0]}, standard error of the 99 % {_money(house['margin']['quantile_standard_errors'][-1])[0]}, of the regression {_money(house['regression_error'])[0]}. Nobody trades, pays in or takes out.",
        (Part("What may be asked", "", charts), Part("Accounts", _hidden(len(accounts), len(rows), "what is called at 99 %"), (), (Table("by what is called", head, rows),))), {}, "", list(how), {"run": data["run"], "scenarios": f"{data['scenarios']:,}", "fresh runs": f"{data['points']:,}"}, HOW))


def warning_page(data: Mapping[str, Any], how: Sequence[str], top: int) -> bytes:
    """The page of `upm liquidation-probability`: its plain data. Raises UsageError where jinja2 is not installed."""
    standing = [a for a in data["accounts"] if not a["in_liquidation_today"]]
    order = sorted(standing, key=lambda a: (-a["probability"][-1], a["account_id"]))
    named, unit = [n for n, a in enumerate(order[:BARS]) if a["probability"][-1] > 0.0], data["currency"]
    expected = [0.0, *(float(sum(a["probability"][k] for a in standing)) for k in range(len(data["days"])))]
    charts = [("Accounts that break", "on average, by look; those below the maintenance margin today are not counted", rounds_svg({"expected": expected}, "accounts that break", axis="look"))]
    if named:
        charts.append(("Likeliest", "probability, with two standard errors", _bars(order, named, "probability", lambda a: a["standard_error"][-1])))
    rows = [(a["account_id"], *_money(a["equity"], a["maintenance_margin"], a["equity"] - a["maintenance_margin"]), *(f"{a[k][-1] if isinstance(a[k], list) else a[k]:.3%}" for k in ("probability", "standard_error", "at_most_95", "bankrupt_probability")),
             "" if a["mean_deficit_at_breach"] is None else _money(a["mean_deficit_at_breach"])[0]) for a in order[:max(top, 1)]]
    head = ("account", "equity", "maintenance", "room", "probability", "std. error", "at most (95 %)", "P(bankrupt)", "deficit then")
    below, last = len(data["accounts"]) - len(standing), data["days"][-1]
    return render_study(Study(
        f"Early warning, {last:g} day{'s' * (last != 1.0)} ahead", (f"{len(data['accounts']):,} accounts", f"model {data['model']}", unit),
        f"{expected[-1]:,.1f} accounts break on average before then; {below:,} {'is' if below == 1 else 'are'} below {'its' if below == 1 else 'their'} maintenance margin today.",
        f"Equity is held to a maintenance margin {'that follows the market' if data['maintenance'] == 'regressed' else 'of today all along'}, {len(data['days'])} times on {data['scenarios']:,} scenarios; a breach between two looks is not seen.",
        (Part("When and who", "", charts), Part("Accounts", _hidden(len(standing), len(rows), "probability"), (), (Table("by probability", head, rows),))), {}, "", list(how), {"run": data["run"], "scenarios": f"{data['scenarios']:,}"}, HOW))


def density_svg(values: NDArray[np.float64], marks: Mapping[str, float], label: str) -> str:
    """Counts of values (S,) in equal steps from the least to the `FAR` quantile, what is beyond in the last; marks drawn with their names."""
    low, high = min(float(np.min(values)), *marks.values()), max(float(np.quantile(values, FAR)), *marks.values())
    high = high if high > low else low + max(abs(low), 1.0) * 1e-6
    counts = np.histogram(np.minimum(values, high), bins=BINS, range=(low, high))[0]
    right, wide = WIDTH - MARGIN, (WIDTH - MARGIN - LEFT) / BINS

    def across(x: float) -> float:
        return LEFT + (x - low) / (high - low) * (right - LEFT)

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH:.0f} {TOP + HEIGHT + 20:.0f}" role="img" aria-label="{html.escape(label, quote=True)}"><line class="axis" x1="{LEFT:.0f}" x2="{right:.0f}" y1="{TOP + HEIGHT:.1f}" y2="{TOP + HEIGHT:.1f}"/>']
    for n, count in enumerate(counts.tolist()):
        tall = count / max(int(counts.max()), 1) * (HEIGHT - 16.0)
        start = low + n * (high - low) / BINS
        parts.append(f'<rect class="fill-accent" x="{LEFT + n * wide + 0.5:.1f}" y="{TOP + HEIGHT - tall:.1f}" width="{wide - 1.0:.1f}" height="{tall:.1f}"><title>from {start:,.0f}: {count:,} of {len(values):,}</title></rect>')
    for n, (name, value) in enumerate(marks.items()):
        x = across(value)
        anchor = "end" if x > LEFT + 0.7 * (right - LEFT) else "start"
        parts.append(f'<line class="line-warn" stroke-width="1.4" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP + 14 * n:.1f}" y2="{TOP + HEIGHT:.1f}"/>'
                     f'<text class="text-warn" x="{x + (-5 if anchor == "end" else 5):.1f}" y="{TOP + 10 + 14 * n:.1f}" text-anchor="{anchor}">{html.escape(name)} {short(value)}</text>')
    for x, anchor in ((low, "start"), (0.5 * (low + high), "middle"), (high, "end")):
        beyond = " and more" if x == high and np.max(values) > high else ""
        parts.append(f'<text x="{across(x):.1f}" y="{TOP + HEIGHT + 14:.0f}" text-anchor="{anchor}">{short(x)}{beyond}</text>')
    return "".join([*parts, "</svg>"])


def _bars(accounts: Sequence[Mapping[str, Any]], some: Sequence[int], key: str, error: Any) -> str:
    found = [accounts[n] for n in some]
    values = [a[key][-1] if isinstance(a[key], list) else a[key] for a in found]
    return bars_svg([a["account_id"][:16] for a in found], values, [error(a) for a in found], key.replace("_", " "))


def _money(*values: float) -> tuple[str, ...]:
    return tuple(f"{v:,.0f}" for v in values)


def _hidden(count: int, shown: int, by: str) -> str:
    return "" if count <= shown else f"{shown:,} of {count:,}, by {by}; --top N lists more, --json has all."
