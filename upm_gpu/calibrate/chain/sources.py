"""Where the chains of a fit come from: a market folder (or sample:NAME), a table of chain snapshots (one chain a timestamp), or a table of cases as `upm price` reads; and what arbitrage their quotes hold.

Verified: tests/end_to_end/test_calibrate_chains.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.calibrate.chain.moments import chain_model
from upm_gpu.calibrate.chain.quotes import Chain
from upm_gpu.calibrate.chain.summary import when
from upm_gpu.errors import CalibrationError

ARBITRAGE = ("report", "refuse")


@dataclass(frozen=True)
class Read:
    """Chains by underlying, ascending in time, and what came with them."""

    chains: dict[str, list[Chain]]
    warnings: tuple[str, ...]
    history: Any
    """closes of the last market folder; None where no source has any"""
    time: datetime | None


def read_chains(sources: Sequence[str], model: str, underlyings: Sequence[str] = (), expiries: tuple[str, ...] = (), **limits: Any) -> Read:
    """The chains of every source; `expiries`: beginnings of the labels to keep, none keeps all; `limits` as `make_chain`. Raises as its readers do, `CalibrationError` UPM-CA-210."""
    from upm_gpu.shipped import resolve_sample

    least = len(chain_model(model).parameters)
    limits["unknowns"] = least
    chains: dict[str, list[Chain]] = {}
    warnings: list[str] = []
    history, time = None, None
    for source in sources:
        path = resolve_sample(source, "market")
        found: dict[str, list[Chain]]
        if path.is_dir():
            found, history, time = _of_market(path, underlyings, limits)
        elif is_snapshot(path):
            from upm_gpu.calibrate.chain.days import read_days

            found, refused = read_days(path, tuple(underlyings), **limits)
            warnings += [f"UPM-CA-214 left out: {line}" for line in refused]
        else:
            from upm_gpu.calibrate.chain.table import read_case_chain

            chain = read_case_chain(path, **limits)
            found = {chain.underlying: [chain]}
        for u, more in found.items():
            chains.setdefault(u, []).extend(more)
    kept = {u: [_kept(c, expiries, least) for c in found] for u, found in chains.items()}
    order = {u: sorted(found, key=lambda c: (c.valuation_time is not None, c.valuation_time.timestamp() if c.valuation_time else 0.0)) for u, found in kept.items()}
    return Read(order, tuple(warnings), history, time)


def arbitrage_lines(chains: Mapping[str, Sequence[Chain]], rule: str) -> list[str]:
    """What the quotes of each chain violate, as one line each; refused where asked."""
    from upm_gpu.calibrate.chain.quotes import quote_lines
    from upm_gpu.market.arbitrage import line_violations

    lines = []
    for u, found in chains.items():
        for chain in found:
            rows = line_violations(quote_lines(chain), u)
            if not rows:
                continue
            total = rows[-1]
            beyond = total["vertical_beyond_spread"] + total["butterfly_beyond_spread"]
            text = (f"{u} {when(chain)}: arbitrage in the quotes: {total['vertical']} verticals, {total['butterfly']} butterflies ({beyond} beyond the spread), {total['calendar']} calendars of {total['quotes']} quotes")
            if rule == "refuse":
                raise CalibrationError("UPM-CA-211", f"{text}. Correct the quotes, or let them be counted with --arbitrage report.")
            if beyond or total["vertical"]:
                lines.append(f"UPM-CA-214 {text}")
    return lines


def _of_market(path: Path, underlyings: Sequence[str], limits: dict[str, Any]) -> tuple[dict[str, list[Chain]], Any, datetime]:
    from upm_gpu.calibrate.chain.quotes import market_chain, with_units
    from upm_gpu.market.marks import check_marks
    from upm_gpu.market.reader import load_market

    market = with_units(load_market(path))
    keep = ~check_marks(market).quarantined
    names = [u for u in sorted(set(map(str, market.quotes.underlying))) if not underlyings or u in underlyings]
    return {u: [market_chain(market, u, keep, **limits)] for u in names}, market.history, market.valuation_time


def is_snapshot(path: Path) -> bool:
    """Does the table name instruments, as an exchange's snapshot does?"""
    if path.name.endswith(".parquet"):
        return True
    import gzip

    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.name.endswith(".gz") else path.open(encoding="utf-8") as stream:
            return "instrument_name" in stream.readline()
    except (OSError, UnicodeDecodeError):
        return False


def _kept(chain: Chain, expiries: tuple[str, ...], least: int) -> Chain:
    if not expiries:
        return chain
    keep = np.array([label.startswith(expiries) for label in chain.labels])[chain.expiry]
    if np.count_nonzero(keep) <= least:
        raise CalibrationError("UPM-CA-210", f"{chain.underlying}: too few quotes, {np.count_nonzero(keep)} in the expiries that begin with {' or '.join(expiries)} for {least} parameters. "
                               f"Expiries are {', '.join(chain.labels)}.")
    return chain.only(keep)
