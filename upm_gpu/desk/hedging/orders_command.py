"""`upm largest-order` and `upm collateral`: from the command line to the answers and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.desk.hedging.allocation import Allocation, allocate
from upm_gpu.desk.hedging.orders import LargestOrder, Switch, best_switch, largest_order
from upm_gpu.desk.hedging.trading import load_trading
from upm_gpu.desk.opening import open_run

FIGURES = ("initial_margin", "equity", "excess", "status")


def largest_order_command(path: Path, account: str, instrument: str, side: str, netting_set: str, trading: Path | None) -> tuple[dict[str, Any], str]:
    """(plain data, page for a person). Raises what `open_run` and `largest_order` raise."""
    resident = open_run(path, [instrument])
    terms = load_trading() if trading is None else load_trading(trading)
    found = largest_order(resident, account, instrument, side, netting_set=netting_set, trading=terms)
    data = {"run": str(path), "currency": resident.plan.market.reporting_currency, "account_id": account, "instrument_id": instrument, "side": side, "contracts": found.contracts,
            "smallest_contracts": found.smallest, "market_limit": found.market_limit, "one_lot_more_fails": found.next_fails, "after": None if found.answer is None else found.answer.after, "notes": list(found.notes)}
    return data, "\n".join(_largest_page(found, resident.plan.market.reporting_currency))


def _largest_page(found: LargestOrder, currency: str) -> list[str]:
    from upm_gpu.report.explain import printable

    name, account = printable(found.instrument_id), printable(found.account_id)
    if found.contracts is None:
        lines = [f"Account {account}: no {found.side} order in {name} passes."]
    else:
        lines = [f"Account {account}: the largest {found.side} order in {name} that passes is {found.contracts:+,.10g} contracts" + ("; one lot more does not pass." if found.next_fails else ".")]
        if found.smallest is not None:
            lines.append(f"the smallest that makes it pass: {found.smallest:+,.10g}")
    if found.answer is not None:
        lines += [f"{k.replace('_', ' '):<18}{_shown(found.answer.before[k]):>18} -> {_shown(found.answer.after[k]):>18}" for k in FIGURES]
        lines.append(f"amounts in {currency}, half spread and fee paid")
    return [*lines, *(printable(n) for n in found.notes)]


def collateral_command(path: Path, account: str, trading: Path | None) -> tuple[dict[str, Any], str]:
    """(plain data, page for a person): exchanges that help, and where collateral stands best. Raises what `open_run`, `best_switch` and `allocate` raise."""
    resident = open_run(path)
    terms = load_trading() if trading is None else load_trading(trading)
    switches, placed = best_switch(resident, account, trading=terms), allocate(resident, account)
    data = {"run": str(path), "currency": resident.plan.market.reporting_currency, "account_id": account,
            "switches": [{"give": s.give, "quantity": s.quantity, "take": s.take, "received": s.received, "cost": s.cost, "gain": s.gain, "after": s.answer.after} for s in switches],
            "allocation": {"netting_sets": list(placed.sets), "assets": list(placed.assets), "quantity": placed.quantity.tolist(), "core": placed.core.tolist(), "core_before": placed.core_before.tolist(),
                           "shortfall": placed.shortfall.tolist(), "shortfall_before": placed.shortfall_before.tolist(), "bound": placed.bound, "notes": list(placed.notes)}}
    return data, "\n".join([*_switch_page(switches, account), *_allocation_page(placed), f"amounts in {resident.plan.market.reporting_currency}"])


def _switch_page(switches: tuple[Switch, ...], account: str) -> list[str]:
    from upm_gpu.report.explain import printable

    if not switches:
        return [f"Account {printable(account)}: no exchange of collateral raises the excess."]
    lines = [f"Account {printable(account)}: exchanges of collateral that raise equity less initial margin, costs paid"]
    return lines + [f"  give {s.quantity:,.10g} {printable(s.give)}, take {s.received:,.10g} {printable(s.take)}: excess {s.gain:+,.2f}, cost {s.cost:,.2f}, then {s.answer.after['status']}" for s in switches]


def _allocation_page(placed: Allocation) -> list[str]:
    from upm_gpu.report.explain import printable

    lines = [f"Collateral over {len(placed.sets)} netting set{'s' * (len(placed.sets) > 1)}: cores {np.sum(placed.core):,.2f} (all in the blank set: {np.sum(placed.core_before):,.2f}; no allocation below {placed.bound:,.2f})"]
    for n, name in enumerate(placed.sets):
        held = ", ".join(f"{placed.quantity[a, n]:,.8g} {printable(asset)}" for a, asset in enumerate(placed.assets) if placed.quantity[a, n] > 0.0) or "nothing"
        short = f", short of {placed.shortfall[n]:,.2f}" if placed.shortfall[n] > 0.0 else ""
        lines.append(f"  {printable(name) or '(blank)'}: {held}; core {placed.core[n]:,.2f}{short} (before: core {placed.core_before[n]:,.2f}, short of {placed.shortfall_before[n]:,.2f})")
    return [*lines, *placed.notes]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:,.2f}"
