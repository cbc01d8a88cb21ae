"""What SIMM asks as a tree for people and for programs: portfolio, product class, risk class, measure, bucket.

`upm simm` prints it. Verified: tests/end_to_end/test_simm_command.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from upm_gpu.errors import UsageError
from upm_gpu.rulebook.simm.crif import read_crif
from upm_gpu.rulebook.simm.margin import PortfolioMargin, Side, simm
from upm_gpu.rulebook.simm.parameters import MARGIN_PERIODS, Period, load_calibration


def simm_report(crif: Path, version: str = "2.6", days: int = 10, currency: str = "USD", side: str = "call") -> dict[str, Any]:
    """The whole tree of a CRIF file, amounts in USD. Raises UsageError UPM-CF-102 for options that cannot be, InputError for the files."""
    if days not in MARGIN_PERIODS:
        raise UsageError("UPM-CF-102", f"--days {days}: the margin period of the model is 10 or 1 days.")
    if side not in ("call", "post"):
        raise UsageError("UPM-CF-102", f"--side {side!a}: give call (margin to collect) or post.")
    if not (len(currency) == 3 and currency.isascii() and currency.isalpha()):
        raise UsageError("UPM-CF-102", f"--currency {currency!a}: the calculation currency is a code of three letters, such as USD.")
    calibration = load_calibration(version)
    rows = read_crif(crif, calibration)
    made = simm(rows, calibration, cast(Period, days), currency.upper(), cast(Side, side))
    return {"model": calibration.name, "version": calibration.version, "effective_date": calibration.effective_date.isoformat(), "margin_period_days": days,
            "calculation_currency": currency.upper(), "side": side, "sensitivities": len(rows.sensitivities), "portfolios": [_portfolio(p) for p in made]}


def _portfolio(made: PortfolioMargin) -> dict[str, Any]:
    return {"portfolio": made.portfolio, "margin": made.margin, "add_on": made.add_on, "product_classes": [
        {"name": p.name, "margin": p.margin, "multiplier": p.multiplier, "risk_classes": [
            {"name": c.name, "margin": c.margin, **{measure: {"margin": m.margin, "buckets": [
                {"name": b.name, "margin": b.margin, "net": b.net, "concentration": b.concentration} for b in m.buckets]}
                for measure, m in c.measures.items()}}
            for c in p.risk_classes]}
        for p in made.product_classes]}


def render(report: dict[str, Any]) -> str:
    """The tree as text, a line a node, amounts at its right."""
    head = (f"{report['model']} {report['version']} (effective {report['effective_date']}), {report['margin_period_days']}-day, {report['side']} side, "
            f"calculation currency {report['calculation_currency']}, {report['sensitivities']} sensitivities")
    lines = [head, f"{'':<46}{'USD':>24}"]
    for portfolio in report["portfolios"]:
        lines.append(_line(0, f"portfolio {portfolio['portfolio']}".rstrip(), portfolio["margin"]))
        if portfolio["add_on"]:
            lines.append(_line(1, "add-on", portfolio["add_on"]))
        for product in portfolio["product_classes"]:
            times = f" (x {product['multiplier']:g})" if product["multiplier"] != 1.0 else ""
            lines.append(_line(1, product["name"] + times, product["margin"]))
            for risk in product["risk_classes"]:
                lines.append(_line(2, risk["name"].replace("_", " "), risk["margin"]))
                for measure in ("delta", "vega", "curvature", "base_correlation"):
                    if measure in risk:
                        lines.append(_line(3, measure.replace("_", " "), risk[measure]["margin"]))
                        lines += [_line(4, _bucket_name(b), b["margin"]) for b in risk[measure]["buckets"]]
    return "\n".join(lines) + "\n"


def _bucket_name(bucket: dict[str, Any]) -> str:
    crowd = f", concentration {bucket['concentration']:.4g}" if bucket["concentration"] > 1.0 else ""
    return f"bucket {bucket['name']}".rstrip() + crowd


def _line(depth: int, name: str, amount: float) -> str:
    return f"{'  ' * depth + name:<46}{amount:>24,.2f}"
