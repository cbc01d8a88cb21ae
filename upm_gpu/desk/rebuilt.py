"""Changes of what is held in books where one instrument may change what another is worth: value tables sized by what is in them, states numbered by who asks for them.

The scenarios kept are of the run's own holdings. Where a trade set brings an instrument or an asset that nobody holds, or takes the last of one away, the book after it is made resident as a fresh run of
it would price it: its own plan, tables and order of sums. Columns that are the same to the bit, in their terms, the numbers of their group and the nodes of their table, are taken from the scenarios kept; the
others are priced again. Every further question with the same holdings is answered from there. Instruments that the book does not list (`hypothetical.py`) come in by the same door.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from upm_gpu.desk.change import Change, changed_book
from upm_gpu.desk.felt_tables import others_feel
from upm_gpu.desk.keeping import keep
from upm_gpu.desk.ledger import Ledger, Touched
from upm_gpu.desk.resident import Resident
from upm_gpu.errors import InputError
from upm_gpu.margin.units import COLLATERAL_PREFIX
from upm_gpu.pricing.table_refinement import finer_of

Holdings = frozenset[tuple[str, bool]]
"""instruments, and assets of simulated collateral, that are held for the first time (True) or by nobody any more (False)"""


def other_holdings(resident: Resident, ledger: Ledger, touched: Touched) -> Holdings:
    """What a trade set changes in what the whole book holds."""
    more: dict[str, int] = {}
    for key, after in touched.positions.items():
        change, instrument = int(after is not None) - int(ledger.place(key)[1]), resident.plan.book.instruments[ledger.parts(key)[2]]
        if change and not resident.is_cash(instrument):
            more[instrument.instrument_id] = more.get(instrument.instrument_id, 0) + change
    for posted in touched.collateral:
        if posted[1] in resident.simulable and not ledger.place_posted(posted)[1]:
            name = COLLATERAL_PREFIX + posted[1]
            more[name] = more.get(name, 0) + 1
    before = {name: resident.holders_of.get(name, 0) for name in more}
    return frozenset((name, change > 0) for name, change in more.items() if (before[name] > 0) != (before[name] + change > 0))


def with_holdings(resident: Resident, holdings: Holdings, changes: Sequence[Change]) -> Resident:
    """The resident of a book with other holdings; `changes` are a trade set that leads to them. The last one made is kept."""
    if holdings not in resident.rebuilt:
        plan = resident.plan
        book = changed_book(plan.book, plan.market, changes, resident.known, "none")
        made = keep(book, plan.market, replace(plan.spec, count=resident.cap), plan.methodology, resident.choice, model=resident.model, count=plan.spec.count, library=plan.library,
                    like=resident)
        core = plan.horizon(plan.core.horizon)
        made.doubtful = bool(finer_of(plan.compiled, core)) or others_feel(made)
        resident.rebuilt.clear()
        resident.rebuilt[holdings] = made
    return resident.rebuilt[holdings]


def refused(holdings: Holdings) -> InputError:
    """Where a question would need the book to be priced again and is not worth it."""
    name, first = min(holdings)
    return InputError("UPM-IN-149", f"after the trades {name} is held by {'somebody for the first time' if first else 'nobody any more'}, and this book holds products that another instrument may change "
                      "(value tables, or states made for them): the book must be priced again. Ask `upm whatif`, or leave a small position.")


__all__ = ["Holdings", "other_holdings", "refused", "with_holdings"]
