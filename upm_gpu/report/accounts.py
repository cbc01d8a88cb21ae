"""What the accounts must post: the table of all accounts, the totals of the house, and which accounts are shown in detail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.report.read import Columns, length

DETAIL = 25
"""accounts shown in detail at most: what keeps the file small and the selector readable"""

SEVERITY = {"liquidation": 0, "call": 1}

TITLES = {
    "account_id": "Account",
    "status": "Status",
    "initial_margin": "Initial margin",
    "expected_shortfall_standard_error": "\u00b1 s.e. of ES",
    "core": "Core",
    "maintenance_margin": "Maintenance",
    "equity": "Equity",
    "excess": "Excess",
    "margin_ratio": "Equity / maint.",
    "collateral_value": "Collateral",
    "expected_shortfall": "ES",
    "value_at_risk": "VaR",
    "variance_ratio": "Variance ratio",
}


@dataclass(frozen=True)
class Totals:
    """Sums over all accounts, in the reporting currency."""

    accounts: int
    initial_margin: float
    maintenance_margin: float
    core: float
    expected_shortfall: float
    equity: float
    collateral_value: float
    excess: float
    calls: int
    call_amount: float
    liquidations: int
    liquidation_amount: float
    standard_error: float
    """of the total initial margin"""
    standard_error_is_bound: bool
    """True: the sum of the accounts' standard errors, which is the truth only if all err together, and never less"""


def charge_names(margin: Columns) -> list[str]:
    """The `charge_*` columns in file order, also those that charge nobody here; the core is not one of them."""
    return [name for name in margin if name.startswith("charge_") and name != "charge_core"]


def core_margin(margin: Columns) -> NDArray[np.float64]:
    """The core of each account: its own column where there is one, else initial margin less the charges."""
    for name in ("core", "core_margin", "charge_core"):
        if name in margin:
            return margin[name]
    charges = [values for name, values in margin.items() if name.startswith("charge_")]
    return margin["initial_margin"] - np.sum(charges, axis=0) if charges else margin["initial_margin"]


def totals(margin: Columns, manifest: dict) -> Totals:
    """Totals of the house. The standard error is the run's own where the manifest states it (`totals.initial_margin_standard_error`).

    Accounts share their scenarios, so their errors are dependent and do not add in quadrature. Without the run's own
    figure the sum of the accounts' errors is given, an upper bound (Minkowski) that is reached under perfect dependence.
    """
    status = margin["status"]
    shortfall = np.maximum(-np.nan_to_num(margin["excess"]), 0.0)
    called, liquidated = status == "call", status == "liquidation"
    own = manifest.get("totals", {}).get("initial_margin_standard_error") if isinstance(manifest.get("totals"), dict) else None
    multiplier = _multiplier(margin)
    bound = float(np.nansum(margin["expected_shortfall_standard_error"] * multiplier))
    return Totals(
        accounts=length(margin),
        initial_margin=_total(margin["initial_margin"]),
        maintenance_margin=_total(margin["maintenance_margin"]),
        core=_total(core_margin(margin)),
        expected_shortfall=_total(margin["expected_shortfall"]),
        equity=_total(margin["equity"]),
        collateral_value=_total(margin["collateral_value"]),
        excess=_total(margin["excess"]),
        calls=int(called.sum()),
        call_amount=float(shortfall[called].sum()),
        liquidations=int(liquidated.sum()),
        liquidation_amount=float(shortfall[liquidated].sum()),
        standard_error=bound if own is None else float(own),
        standard_error_is_bound=own is None,
    )


def detail_accounts(margin: Columns, histograms: Columns | None) -> list[str]:
    """At most `DETAIL` accounts, largest initial margin first: those the run kept a P&L histogram of, else the largest."""
    kept = set() if histograms is None else set(histograms["account_id"]) - {""}
    order = np.argsort(-np.nan_to_num(margin["initial_margin"]), kind="stable")
    ids = [str(margin["account_id"][index]) for index in order]
    return [account for account in ids if not kept or account in kept][:DETAIL]


def account_table(margin: Columns, rows: int, decimals: int) -> dict:
    """The table of accounts as columns of equal length, largest margin first; past `rows` accounts, breaches come before size."""
    initial = np.nan_to_num(margin["initial_margin"])
    severity = np.array([SEVERITY.get(status, 2) for status in margin["status"]])
    by_size = np.argsort(-initial, kind="stable")
    if len(initial) > rows:
        chosen = np.lexsort((-initial, severity))[:rows]
        by_size = chosen[np.argsort(-initial[chosen], kind="stable")]
    shown = dict(margin) | {"core": core_margin(margin)}
    charges = charge_names(margin)
    names = ["account_id", "status", "initial_margin", "expected_shortfall_standard_error", "core", *charges, "maintenance_margin",
             "collateral_value", "equity", "excess", "margin_ratio", "value_at_risk"]
    if not np.array_equal(shown["core"], margin["expected_shortfall"]):
        names.append("expected_shortfall")
    if "variance_ratio" in margin:
        names.append("variance_ratio")
    columns = []
    for name in names:
        kind = "text" if name in ("account_id", "status") else "ratio" if name in ("margin_ratio", "variance_ratio") else "money"
        values = shown[name][by_size]
        data = [str(value) for value in values] if kind == "text" else rounded(values, 3 if kind == "ratio" else decimals)
        columns.append({"name": name, "title": TITLES.get(name) or charge_title(name), "kind": kind, "values": data})
    return {"columns": columns, "rows": len(by_size), "of": len(initial), "decimals": decimals}


def charge_title(name: str) -> str:
    """What a `charge_*` column is called on the page."""
    return name.removeprefix("charge_").replace("_", " ").capitalize()


def money_decimals(margin: Columns) -> int:
    """Whole units once an account posts 10,000; else hundredths."""
    initial = np.nan_to_num(margin["initial_margin"])
    return 0 if len(initial) and float(np.max(np.abs(initial))) >= 1e4 else 2


def rounded(values: NDArray, decimals: int) -> list:
    """As JSON numbers, rounded to what is drawn; NaN and infinities are None, whole numbers are integers, zero has no sign."""
    result: list[float | int | None] = []
    for value in np.round(np.asarray(values, dtype=np.float64), decimals).tolist():
        if value != value or value in (float("inf"), float("-inf")):
            result.append(None)
        else:
            result.append(int(value) if value == int(value) else value)
    return result


def _multiplier(margin: Columns) -> NDArray[np.float64]:
    """Core over expected shortfall: what the standard error is multiplied by on its way into the margin."""
    shortfall = margin["expected_shortfall"]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(shortfall > 0.0, core_margin(margin) / shortfall, 0.0)


def _total(values: NDArray) -> float:
    return float(np.nansum(values))
