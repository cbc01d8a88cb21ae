"""`upm margin-at-risk` and `upm liquidation-probability`: from the command line to the figures of tomorrow and back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.desk.opening import open_plan
from upm_gpu.desk.outlook.margin_at_risk import (
    LEVELS,
    OUTER,
    Distribution,
    Fitted,
    MarginAtRisk,
    fit_margin,
    maintenance_along,
    margin_at_risk,
)
from upm_gpu.desk.outlook.passage import Passage, first_passage
from upm_gpu.desk.outlook.paths import Paths, paths_of
from upm_gpu.errors import UsageError
from upm_gpu.report.outlook_page import margin_page, warning_page
from upm_gpu.report.page import refuse_existing


def margin_at_risk_command(path: Path, accounts: Sequence[str], days: float, paths: int, points: int, inner: int, top: int, page: Path | None = None) -> tuple[dict[str, Any], str]:
    """(plain data, text for a person); a page is written to `page`. Raises what `open_plan`, `paths_of` and `fit_margin` raise, UsageError for a page that is there already."""
    refuse_existing(page)
    resident = open_plan(path)
    walked = paths_of(resident, days, 1, accounts, paths or min(OUTER, resident.plan.scenarios.count))
    found = margin_at_risk(resident, walked, fit_margin(resident, walked, points, inner, _told))
    currency = resident.plan.market.reporting_currency
    short = np.maximum(found.today - walked.figures["equity"], 0.0)
    data = {"run": str(path), "currency": currency, "model": resident.plan.spec.model, "days": days, "scenarios": found.scenarios, "points": len(found.fitted.regression.scenario), "levels": list(LEVELS),
            "accounts": [_account(found, short, a) for a in range(len(found.accounts))],
            "house": {"margin_today": float(np.sum(found.today)), "called_today": float(np.sum(short)), "margin": _row(found.house_margin, 0), "called": _row(found.house_called, 0), "regression_error": found.house_error},
            "brute_force": _checked(found.fitted)}
    if page is not None:
        page.write_bytes(margin_page(data, found.house[0], found.house[1], _how(found.fitted), top))
    return data, "\n".join(_page(found, short, currency, resident.plan.spec.model, top, "together" if accounts else "house"))


def _checked(fitted: Fitted) -> dict[str, Any]:
    """The regression beside fresh runs that it has not seen."""
    check = fitted.check
    bias, error = check.house_bias
    return {"scenarios": check.scenario.tolist(), "outer_5_percent": check.far.tolist(), "house_margin_error": check.house(False), "house_margin_error_far": check.house(True), "house_margin_bias": bias,
            "house_margin_bias_standard_error": error, "median_account_error": _median_share(check.error(False), check.level(False)), "median_account_error_far": _median_share(check.error(True), check.level(True)),
            "largest_equity_gap": float(np.max(np.abs(check.equity)))}


def _median_share(error: np.ndarray, level: np.ndarray) -> float:
    """Of the accounts that have a margin."""
    some = level > 0.0
    return float(np.median(error[some] / level[some])) if some.any() else 0.0


def _row(d: Distribution, a: int) -> dict[str, Any]:
    return {"mean": float(d.mean[a]), "mean_standard_error": float(d.mean_error[a]), "quantiles": d.quantile[a].tolist(), "quantile_standard_errors": d.quantile_error[a].tolist()}


def _account(found: MarginAtRisk, short: np.ndarray, a: int) -> dict[str, Any]:
    regression, check = found.fitted.regression, found.fitted.check
    return {"account_id": found.accounts[a], "margin_today": float(found.today[a]), "called_today": float(short[a]), "margin": _row(found.margin, a), "margin_at_risk": float(found.margin.quantile[a, -1] - found.today[a]), "margin_at_risk_error": float(np.hypot(found.fitted.far_error[a], found.margin.quantile_error[a, -1])),
            "called": _row(found.called, a), "call_probability": float(found.call_probability[a]), "call_probability_standard_error": float(found.call_probability_error[a]),
            "regression_error": float(regression.error[a]), "regression_error_far": float(regression.far_error[a]), "brute_force_error": float(check.error(False)[a]), "brute_force_error_far": float(check.error(True)[a])}


def _page(found: MarginAtRisk, short: np.ndarray, currency: str, model: str, top: int, whole: str) -> list[str]:
    from upm_gpu.report.explain import printable

    far = found.fitted.far_error
    rise = found.margin.quantile[:, -1] - found.today
    order = np.argsort(-found.called.quantile[:, -1], kind="stable")[: max(top, 1)]
    lines = [f"Margin at risk {_days(found.days)} ahead, {currency}, model {model}: {len(found.accounts):,} account{'s' * (len(found.accounts) != 1)}, {found.scenarios:,} scenarios of the market then.",
             f"{'account':<20}{'margin today':>16}{'then, median':>16}{'then, 99 %':>16}{'at risk':>14}{'error':>12}{'called today':>16}{'P(call)':>9}{'called, 99 %':>16}"]
    for a in order.tolist():
        lines.append(f"{printable(found.accounts[a])[:19]:<20}{found.today[a]:>16,.2f}{found.margin.quantile[a, 0]:>16,.2f}{found.margin.quantile[a, -1]:>16,.2f}{rise[a]:>+14,.2f}"
                     f"{np.hypot(far[a], found.margin.quantile_error[a, -1]):>12,.2f}{short[a]:>16,.2f}{found.call_probability[a]:>9.2%}{found.called.quantile[a, -1]:>16,.2f}")
    if len(found.accounts) > len(order):
        lines.append(f"... and {len(found.accounts) - len(order):,} more accounts (--top N lists more, --json has them all); listed by what is called at 99 %")
    house, called = found.house_margin, found.house_called
    lines.append(f"{whole}, margin: today {np.sum(found.today):,.2f}, then median {house.quantile[0, 0]:,.2f}, 99 % {house.quantile[0, -1]:,.2f} (standard error {house.quantile_error[0, -1]:,.2f}, regression {found.house_error:,.2f})")
    lines.append(f"{whole}, called: today {np.sum(short):,.2f}, then mean {called.mean[0]:,.2f} (standard error {called.mean_error[0]:,.2f}), 95 % {called.quantile[0, 1]:,.2f}, 99 % {called.quantile[0, -1]:,.2f} "
                 f"(standard error {called.quantile_error[0, -1]:,.2f})")
    lines += _how(found.fitted)
    lines.append("at risk: 99 % less today. called: what margin lacks in equity. P(call): share of the scenarios in which it lacks any. error: of the regression in the outer 5 % and of the 99 % quantile. Nobody trades, pays in or takes out.")
    return lines


def _how(fitted: Fitted) -> list[str]:
    """The regression's standing against brute force."""
    regression, check = fitted.regression, fitted.check
    lines = [f"how: {len(regression.scenario)} scenarios run in full, a regression between them; its error where a run is left out {_median_share(regression.error, np.mean(regression.margin, axis=0)):.2%} of the margin (median account)"]
    bias, error = check.house_bias

    def off(far: bool) -> str:
        total = float(np.sum(check.level(far)))
        return f"{_median_share(check.error(far), check.level(far)):.2%} of the margin (median account), {check.house(far) / total if total else 0.0:.2%} of all together"

    near = int(np.sum(~check.far))
    lines.append(f"against brute force: {near} further scenarios run in full, spread over all: error {off(False)}; bias of all together {bias:+,.2f} (standard error {error:,.2f})")
    lines.append(f"against brute force: {len(check.far) - near} further scenarios of the outer 5 %: error {off(True)}; equity within {np.max(np.abs(check.equity)):,.2f} in all")
    return lines


def _days(days: float) -> str:
    return f"{days:g} day{'s' * (days != 1.0)}"


def liquidation_command(path: Path, accounts: Sequence[str], days: float, steps: int, paths: int, maintenance: str, points: int, inner: int, top: int, page: Path | None = None) -> tuple[dict[str, Any], str]:
    """(plain data, text for a person); a page is written to `page`. Raises as `margin_at_risk_command`, UsageError for an unknown maintenance."""
    refuse_existing(page)
    if maintenance not in ("constant", "regressed"):
        raise UsageError("UPM-CF-166", f"--maintenance {maintenance!a} is not known. Use regressed (margin follows the market, by fresh runs of tomorrow) or constant (today's margin all along).")
    resident = open_plan(path)
    walked = paths_of(resident, days, steps, accounts, paths or min(OUTER, resident.plan.scenarios.count))
    fitted = fit_margin(resident, walked, points, inner, _told) if maintenance == "regressed" else None
    found = first_passage(resident, walked, None if fitted is None else maintenance_along(resident, walked, fitted))
    currency = resident.plan.market.reporting_currency
    data = {"run": str(path), "currency": currency, "model": resident.plan.spec.model, "scenarios": found.scenarios, "days": list(found.days), "maintenance": maintenance,
            "accounts": [_passage(found, walked, fitted, a) for a in range(len(found.accounts))], "brute_force": None if fitted is None else _checked(fitted)}
    if page is not None:
        page.write_bytes(warning_page(data, [] if fitted is None else _how(fitted), top))
    return data, "\n".join(_warning(found, walked, fitted, maintenance, currency, resident.plan.spec.model, top))


def _told(done: int, total: int) -> None:
    """One line on stderr, rewritten; nothing where nobody looks."""
    if sys.stderr.isatty():
        print(f"\rfresh run of tomorrow {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _passage(found: Passage, walked: Paths, fitted: Fitted | None, a: int) -> dict[str, Any]:
    none = bool(np.isnan(found.deficit[a]))
    return {"account_id": found.accounts[a], "equity": float(walked.figures["equity"][a]), "maintenance_margin": float(walked.figures["maintenance_margin"][a]), "in_liquidation_today": bool(found.broken[a]),
            "probability": found.probability[a].tolist(), "standard_error": found.standard_error[a].tolist(), "at_most_95": float(found.at_most[a]), "bankrupt_probability": float(found.bankrupt[a]),
            "bankrupt_standard_error": float(found.bankrupt_error[a]), "mean_deficit_at_breach": None if none else float(found.deficit[a]),
            "maintenance_regression_error": None if fitted is None else float(fitted.regression.error[a])}


def _warning(found: Passage, walked: Paths, fitted: Fitted | None, maintenance: str, currency: str, model: str, top: int) -> list[str]:
    """The early-warning list: accounts by probability, those in liquidation today counted and not listed."""
    from upm_gpu.report.explain import printable

    last = found.probability[:, -1]
    alive = np.flatnonzero(~found.broken)
    order = alive[np.lexsort((alive, -last[alive]))][: max(top, 1)]
    follows = "that follows the market" if maintenance == "regressed" else "of today all along"
    lines = [f"Liquidation within {_days(found.days[-1])}: equity below a maintenance margin {follows}, looked at {len(found.days)} times, {found.scenarios:,} scenarios of model {model}.",
             f"{len(found.accounts):,} account{'s' * (len(found.accounts) != 1)}, {int(found.broken.sum()):,} of them below it today already and not listed.",
             f"{'account':<20}{'equity':>16}{'maintenance':>16}{'room':>16}{'probability':>13}{'error':>9}{'at most':>9}{'P(bankrupt)':>13}{'deficit then':>14}"]
    for a in order.tolist():
        deficit = "-" if np.isnan(found.deficit[a]) else f"{found.deficit[a]:,.2f}"
        equity, needed = walked.figures["equity"][a], walked.figures["maintenance_margin"][a]
        lines.append(f"{printable(found.accounts[a])[:19]:<20}{equity:>16,.2f}{needed:>16,.2f}{equity - needed:>16,.2f}{last[a]:>13.3%}{found.standard_error[a, -1]:>9.3%}"
                     f"{found.at_most[a]:>9.3%}{found.bankrupt[a]:>13.3%}{deficit:>14}")
    if len(alive) > len(order):
        lines.append(f"... and {len(alive) - len(order):,} more accounts (--top N lists more, --json has them all)")
    expected = float(np.sum(last[~found.broken]))
    lines.append(f"accounts that break, on average: {expected:,.1f} beside those below today")
    if fitted is not None:
        lines += _how(fitted)
    lines.append(f"amounts in {currency}. room: equity less maintenance. error: standard error of the probability; at most: its one-sided 95 % bound. deficit then: mean shortfall when the breach is seen. A breach between two looks is not seen.")
    return lines
