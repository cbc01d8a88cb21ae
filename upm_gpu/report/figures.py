"""The figures of one account, or of the whole house (account_id ""), as plain JSON data rounded to what is drawn."""

from __future__ import annotations

import numpy as np

from upm_gpu.report.accounts import charge_names, charge_title, core_margin, rounded
from upm_gpu.report.read import Columns, length, select, where
from upm_gpu.report.told import told
from upm_gpu.report.words import factor_moves, is_state

CONTRIBUTORS = 12
"""positions named in a contributor chart; the rest is one bar"""


def waterfall(margin: Columns, decimals: int, measure: str = "expected_shortfall") -> list[dict]:
    """From the core's `measure`, a column, through core and charges to initial margin, and from collateral through equity to excess.

    `margin` holds the rows to be summed: one account or all of them. A step is a signed amount; a total restarts at 0.
    """
    shortfall, core = float(np.nansum(margin[measure])), float(np.nansum(core_margin(margin)))
    initial, collateral = float(np.nansum(margin["initial_margin"])), float(np.nansum(margin["collateral_value"]))
    equity, excess = float(np.nansum(margin["equity"])), float(np.nansum(margin["excess"]))
    bars: list[tuple[str, float, str]] = []
    if abs(core - shortfall) > 1e-9 * max(abs(core), abs(shortfall), 1.0):
        bars += [(measure.replace("_", " ").capitalize(), shortfall, "total"), ("Multiplier and floor", core - shortfall, "step")]
    bars.append(("Core margin", core, "total"))
    bars += [(charge_title(name), float(np.nansum(margin[name])), "step") for name in charge_names(margin)]
    bars.append(("Initial margin", initial, "sum"))
    cut, owed = (float(np.nansum(margin[name])) if name in margin else 0.0 for name in ("collateral_haircut", "liabilities"))
    if cut or owed:
        bars += [("Collateral at market", collateral + cut + owed, "total"), ("Haircuts and limits", -cut, "step"), ("Liabilities", -owed, "step"), ("Collateral counted", collateral, "sum")]
    else:
        bars.append(("Collateral", collateral, "total"))
    bars += [("Open profit and option value", equity - collateral, "step"), ("Equity", equity, "sum")]
    bars += [("Less initial margin", -initial, "step"), ("Excess" if excess >= 0 else "Shortfall", excess, "sum")]
    values = rounded(np.array([value for _, value, _ in bars]), decimals)
    return [{"label": label, "value": value, "kind": kind} for (label, _, kind), value in zip(bars, values, strict=True)]


def house_contributions(contributions: Columns) -> dict[str, float]:
    """Contribution of each instrument, summed over the accounts that hold it."""
    found: dict[str, float] = {}
    for instrument, value in zip(contributions["instrument_id"].tolist(), contributions["contribution"].tolist(), strict=True):
        found[instrument] = found.get(instrument, 0.0) + value
    return found


def account_contributions(contributions: Columns, account_id: str) -> dict[str, float]:
    """`house_contributions` of one account."""
    return house_contributions(select(contributions, account_id=account_id))


def contributors(found: dict[str, float], decimals: int) -> dict:
    """The largest contributions by size, those that add to the margin first, and what all others sum to."""
    by_size = sorted(found.items(), key=lambda item: (-abs(item[1]), item[0]))
    shown = sorted(by_size[:CONTRIBUTORS], key=lambda item: (-item[1], item[0]))
    others = [value for _, value in by_size[CONTRIBUTORS:]]
    return {
        "names": [_position(name) for name, _ in shown],
        "values": rounded(np.array([value for _, value in shown]), decimals),
        "others": rounded(np.array([sum(others)]), decimals)[0],
        "count": len(others),
        "total": rounded(np.array([sum(found.values())]), decimals)[0],
    }


def _position(name: str) -> str:
    """What a row is called on the page; assets posted as collateral move with the scenarios and contribute too."""
    return f"{name.removeprefix('collateral:')} collateral" if name.startswith("collateral:") else name


def distributions(histograms: Columns | None, tails: Columns | None, account_id: str, decimals: int) -> list[dict]:
    """Per horizon: the edges and counts of the P&L histogram and the tail measures at every level."""
    own, measures = where(histograms, account_id=account_id), where(tails, account_id=account_id)
    if own is None:
        return []
    found = []
    for days in np.unique(own["horizon_days"]).tolist():
        bins = select(own, horizon_days=days)
        order = np.argsort(bins["bin_left"], kind="stable")
        edges = np.append(bins["bin_left"][order], bins["bin_right"][order][-1])
        width = float(np.min(np.diff(edges))) if len(edges) > 1 else 0.0
        fine = decimals if width >= 10 else decimals + 2 if width >= 0.1 else 6
        found.append({
            "days": days,
            "edges": rounded(edges, fine),
            "counts": rounded(bins["count"][order], 0),
            "tails": tail_measures(where(measures, horizon_days=days), decimals),
        })
    return found


def tail_measures(measures: Columns | None, decimals: int) -> list[dict]:
    """VaR and ES at every level with their standard errors, ascending levels; losses are positive."""
    if measures is None:
        return []
    found = []
    for index in np.argsort(measures["level"], kind="stable"):
        names = ("value_at_risk", "value_at_risk_standard_error", "expected_shortfall", "expected_shortfall_standard_error")
        money = rounded(np.array([measures[name][index] for name in names]), decimals)
        reliable = bool(measures["reliable"][index]) if "reliable" in measures else True
        found.append({"level": float(measures["level"][index]), "var": money[0], "var_se": money[1], "es": money[2],
                      "es_se": money[3], "reliable": reliable})
    return found


def worst_scenarios(worst: Columns | None, account_id: str, decimals: int, count: int = 10, additive: bool = False) -> list[dict]:
    """The worst scenarios by rank: id, P&L and the factor moves in words; the weight where scenarios have one (plain: 1)."""
    own = where(worst, account_id=account_id)
    if own is None:
        return []
    names = [name for name in own if is_state(name)]
    found = []
    for index in np.argsort(own["rank"], kind="stable")[:count]:
        states = {name: float(own[name][index]) for name in names}
        pnl = rounded(own["pnl"][index : index + 1], decimals)[0]
        weight = {"weight": f"{float(own['weight'][index]):.2g}"} if "weight" in own else {}
        found.append({"rank": int(own["rank"][index]), "scenario": int(own["scenario"][index]), "pnl": pnl,
                      "moves": factor_moves(states, additive_volatility=additive), **weight})
    return found


def told_worst(worst: Columns | None, greeks: Columns | None, account_id: str, manifest: dict) -> list[str]:
    """Two sentences about the worst scenarios; of an account only what it holds."""
    held = where(greeks, account_id=account_id) if account_id else None
    sentences: list[str] = told(where(worst, account_id=account_id), manifest, None if held is None else set(held["underlying"]))["sentences"]
    return sentences


def heat_maps(heatmap: Columns | None, account_id: str, decimals: int) -> list[dict]:
    """Per underlying: price moves, volatility moves (fractions) and the P&L over them, rows by volatility."""
    own = where(heatmap, account_id=account_id)
    if own is None:
        return []
    found = []
    for underlying in sorted(set(own["underlying"])):
        cells = select(own, underlying=underlying)
        prices, price = np.unique(cells["price_move"], return_inverse=True)
        moves, move = np.unique(cells["volatility_move"], return_inverse=True)
        grid = np.full((len(moves), len(prices)), np.nan)
        grid[move, price] = cells["pnl"]
        found.append({"underlying": str(underlying), "prices": rounded(prices, 4), "volatilities": rounded(moves, 4),
                      "pnl": [rounded(row, decimals) for row in grid]})
    return found


def greeks(table: Columns | None, account_id: str) -> list[dict]:
    """Delta, gamma, vega and theta by underlying of one account; rows of single positions are summed into theirs."""
    own = where(table, account_id=account_id)
    if own is None:
        return []
    if "instrument_id" in own and np.any(own["instrument_id"] == ""):
        own = select(own, instrument_id="")
    found = []
    for underlying in sorted(set(own["underlying"])):
        rows = select(own, underlying=underlying)
        found.append({"underlying": str(underlying)} | {
            name: float(f"{np.nansum(rows[name]):.4g}") for name in ("delta", "gamma", "vega", "theta") if name in rows})
    return found


def margin_measure(manifest: dict, margin: Columns, tails: Columns | None) -> tuple[float | None, float | None]:
    """(level, horizon in days) the margin is taken at.

    As the manifest says (`level`, `margin_horizon_days`), else the pair whose ES equals the margin table's for most accounts.
    """
    level, days = manifest.get("level"), manifest.get("margin_horizon_days")
    if isinstance(level, int | float) and isinstance(days, int | float):
        return float(level), float(days)
    if tails is None:
        return None, None
    wanted = dict(zip(margin["account_id"].tolist(), margin["expected_shortfall"].tolist(), strict=True))
    votes: dict[tuple[float, float], int] = {}
    for index in range(length(tails)):
        value = wanted.get(tails["account_id"][index])
        if value is not None and abs(value - tails["expected_shortfall"][index]) <= 1e-9 * max(abs(value), 1e-12):
            pair = (float(tails["level"][index]), float(tails["horizon_days"][index]))
            votes[pair] = votes.get(pair, 0) + 1
    return max(sorted(votes), key=lambda pair: votes[pair]) if votes else (None, None)
