"""`upm margin-at-risk` and `upm liquidation-probability`: from the command line to the figures of tomorrow and back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.desk.outlook.margin_at_risk import (
    LEVELS,
    OUTER,
    Distribution,
    MarginAtRisk,
    Regression,
    fit_margin,
    maintenance_along,
    margin_at_risk,
)
from upm_gpu.desk.outlook.passage import Passage, first_passage
from upm_gpu.desk.outlook.paths import Paths, paths_of
from upm_gpu.desk.resident import open_run
from upm_gpu.errors import UsageError


def margin_at_risk_command(path: Path, accounts: Sequence[str], days: float, paths: int, points: int, inner: int, top: int) -> tuple[dict[str, Any], str]:
    """(plain data, page for a person). Raises what `open_run`, `paths_of` and `fit_margin` raise."""
    resident = open_run(path)
    walked = paths_of(resident, days, 1, accounts, paths or min(OUTER, resident.plan.scenarios.count))
    found = margin_at_risk(resident, walked, fit_margin(resident, walked, points, inner, _told))
    currency = resident.plan.market.reporting_currency
    data = {"run": str(path), "currency": currency, "days": days, "scenarios": found.scenarios, "points": found.points, "levels": list(LEVELS),
            "accounts": [_account(found, a) for a in range(len(found.accounts))], "house": {"margin_today": float(np.sum(found.today)), "margin": _row(found.house_margin, 0), "called": _row(found.house_called, 0),
                                                                                            "regression_error": found.house_error}}
    return data, "\n".join(_page(found, currency, top))


def _row(d: Distribution, a: int) -> dict[str, Any]:
    return {"mean": float(d.mean[a]), "mean_standard_error": float(d.mean_error[a]), "quantiles": d.quantile[a].tolist(), "quantile_standard_errors": d.quantile_error[a].tolist()}


def _account(found: MarginAtRisk, a: int) -> dict[str, Any]:
    return {"account_id": found.accounts[a], "margin_today": float(found.today[a]), "margin": _row(found.margin, a), "margin_at_risk": float(found.margin.quantile[a, -1] - found.today[a]),
            "called": _row(found.called, a), "call_probability": float(found.call_probability[a]), "call_probability_standard_error": float(found.call_probability_error[a]),
            "regression_error": float(found.regression_error[a]), "regression_error_far": float(found.far_error[a])}


def _page(found: MarginAtRisk, currency: str, top: int) -> list[str]:
    from upm_gpu.report.explain import printable

    rise = found.margin.quantile[:, -1] - found.today
    order = np.argsort(-found.called.quantile[:, -1], kind="stable")[: max(top, 1)]
    lines = [f"Margin at risk in {found.days:g} days, {currency}: {len(found.accounts):,} accounts, {found.scenarios:,} scenarios, {found.points} fresh runs of tomorrow and a regression between them.",
             f"{'account':<20}{'margin today':>16}{'median':>16}{'99 %':>16}{'at risk':>14}{'error':>12}{'P(call)':>9}{'called 99 %':>16}"]
    for a in order.tolist():
        lines.append(f"{printable(found.accounts[a])[:19]:<20}{found.today[a]:>16,.2f}{found.margin.quantile[a, 0]:>16,.2f}{found.margin.quantile[a, -1]:>16,.2f}{rise[a]:>+14,.2f}"
                     f"{np.hypot(found.regression_error[a], found.margin.quantile_error[a, -1]):>12,.2f}{found.call_probability[a]:>9.2%}{found.called.quantile[a, -1]:>16,.2f}")
    if len(found.accounts) > len(order):
        lines.append(f"... and {len(found.accounts) - len(order):,} more accounts (--json has them all); listed by what is called at 99 %")
    house = found.house_margin
    lines.append(f"house: margin today {np.sum(found.today):,.2f}, median {house.quantile[0, 0]:,.2f}, 99 % {house.quantile[0, -1]:,.2f} (standard error {house.quantile_error[0, -1]:,.2f}, regression {found.house_error:,.2f})")
    lines.append(f"house: called, mean {found.house_called.mean[0]:,.2f} (standard error {found.house_called.mean_error[0]:,.2f}), 95 % {found.house_called.quantile[0, 1]:,.2f}, 99 % {found.house_called.quantile[0, -1]:,.2f}")
    lines.append("error: regression against fresh runs left out of it, and sampling of the 99 % quantile; at risk: 99 % less today")
    return lines


def liquidation_command(path: Path, accounts: Sequence[str], days: float, steps: int, paths: int, maintenance: str, points: int, inner: int, top: int) -> tuple[dict[str, Any], str]:
    """(plain data, page for a person). Raises as `margin_at_risk_command`, UsageError for an unknown maintenance."""
    if maintenance not in ("constant", "regressed"):
        raise UsageError("UPM-CF-166", f"--maintenance {maintenance!a} is not known. Use regressed (margin follows the market, by fresh runs of tomorrow) or constant (today's margin all along).")
    resident = open_run(path)
    walked = paths_of(resident, days, steps, accounts, paths or min(OUTER, resident.plan.scenarios.count))
    regression = fit_margin(resident, walked, points, inner, _told) if maintenance == "regressed" else None
    found = first_passage(resident, walked, None if regression is None else maintenance_along(resident, walked, regression))
    currency = resident.plan.market.reporting_currency
    data = {"run": str(path), "currency": currency, "scenarios": found.scenarios, "days": list(found.days), "maintenance": maintenance,
            "accounts": [_passage(found, walked, regression, a) for a in range(len(found.accounts))]}
    return data, "\n".join(_warning(found, walked, regression, maintenance, currency, top))


def _told(done: int, total: int) -> None:
    """One line on stderr, rewritten; nothing where nobody looks."""
    if sys.stderr.isatty():
        print(f"\rfresh run of tomorrow {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _passage(found: Passage, walked: Paths, regression: Regression | None, a: int) -> dict[str, Any]:
    none = bool(np.isnan(found.deficit[a]))
    return {"account_id": found.accounts[a], "equity": float(walked.figures["equity"][a]), "maintenance_margin": float(walked.figures["maintenance_margin"][a]), "in_liquidation_today": bool(found.broken[a]),
            "probability": found.probability[a].tolist(), "standard_error": found.standard_error[a].tolist(), "at_most_95": float(found.at_most[a]), "bankrupt_probability": float(found.bankrupt[a]),
            "bankrupt_standard_error": float(found.bankrupt_error[a]), "mean_deficit_at_breach": None if none else float(found.deficit[a]),
            "maintenance_regression_error": None if regression is None else float(regression.error[a])}


def _warning(found: Passage, walked: Paths, regression: Regression | None, maintenance: str, currency: str, top: int) -> list[str]:
    """The early-warning list: accounts by probability, those in liquidation today counted and not listed."""
    from upm_gpu.report.explain import printable

    last = found.probability[:, -1]
    alive = np.flatnonzero(~found.broken)
    order = alive[np.lexsort((alive, -last[alive]))][: max(top, 1)]
    lines = [f"Liquidation within {found.days[-1]:g} days, seen at {len(found.days)} dates, {found.scenarios:,} scenarios, maintenance margin {maintenance}: {len(found.accounts):,} accounts, "
             f"{int(found.broken.sum()):,} of them below it today.",
             f"{'account':<20}{'equity':>16}{'maintenance':>16}{'probability':>13}{'error':>9}{'at most':>9}{'P(bankrupt)':>13}{'deficit then':>14}"]
    for a in order.tolist():
        deficit = "-" if np.isnan(found.deficit[a]) else f"{found.deficit[a]:,.2f}"
        lines.append(f"{printable(found.accounts[a])[:19]:<20}{walked.figures['equity'][a]:>16,.2f}{walked.figures['maintenance_margin'][a]:>16,.2f}{last[a]:>13.3%}{found.standard_error[a, -1]:>9.3%}"
                     f"{found.at_most[a]:>9.3%}{found.bankrupt[a]:>13.3%}{deficit:>14}")
    expected = float(np.sum(last[~found.broken]))
    lines.append(f"expected number of accounts that break: {expected:,.1f} beside those below today; a breach between two dates is not seen; at most: one-sided 95 %; amounts in {currency}")
    if regression is not None:
        share = np.divide(regression.error, walked.figures["initial_margin"], out=np.zeros(len(found.accounts)), where=walked.figures["initial_margin"] > 0.0)
        lines.append(f"margin along the path: regression on {len(regression.scenario)} fresh runs, error {np.median(share):.2%} of the margin (median account; leave-one-out)")
    return lines
