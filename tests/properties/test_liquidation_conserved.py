"""Cash to the cent and positions to the lot, recounted from flows and steps alone: random equities, books, rules, funds, waterfalls, ways of closing and scenarios."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from liquidation_case import case, rules

from upm_gpu.liquidation import Cascade, Case, Parameters, cascade
from upm_gpu.liquidation.holdings import hold
from upm_gpu.liquidation.margins import margins_of
from upm_gpu.liquidation.money import MARKET, OWNERS, to_cents
from upm_gpu.liquidation.scenarios import start_of

LAYERS = ("defaulter_contribution", "own_capital", "survivor_contributions", "assessments", "insurance_fund", "socialised_loss", "auto_deleveraging")
SHARE = st.floats(0.0, 0.5)


@st.composite
def drawn_rules(draw) -> Parameters:
    base = rules()
    return base.model_copy(update={
        "impact": base.impact.model_copy(update={"coefficient": draw(st.sampled_from([0.0, 1.0, 3.0])), "permanent": draw(st.floats(0.0, 1.0)), "volume": {}, "default_volume": draw(st.sampled_from([3e6, 1e9]))}),
        "spreads": base.spreads.model_copy(update={"linear": draw(st.floats(0.0, 0.03))}),
        "pace": base.pace.model_copy(update={"share": draw(st.floats(0.05, 1.0)), "restore": draw(st.floats(0.8, 1.5)), "close_all": draw(st.booleans()), "rounds": draw(st.sampled_from([2, 40]))}),
        "margin": base.margin.model_copy(update={"scenarios": 256, "call_capacity": draw(st.sampled_from([0.0, 0.3]))}),
        "fund": base.fund.model_copy(update={"insurance": draw(SHARE), "contributions": draw(SHARE), "own_capital": draw(SHARE), "assessments": draw(st.floats(0.0, 2.0))}),
        "waterfall": draw(st.lists(st.sampled_from(LAYERS), min_size=1, max_size=7, unique=True))})


def case_with(equity: list[float], turned: list[int]) -> Case:
    """The book of `liquidation_case.py` with other equities, and some positions turned round or away."""
    base = case()
    lines = base.plan.units.lines
    quantity = lines.quantity * np.resize(np.array(turned), len(lines.quantity))
    plan = replace(base.plan, units=replace(base.plan.units, lines=replace(lines, quantity=quantity)))
    return replace(base, plan=plan, equity=np.round(base.initial * np.array(equity), 2))


def recounted(own: Case, made: Cascade) -> None:
    """Nothing of the ledger's own totals is used: only where the parties began, and what flowed."""
    opening = to_cents(own.equity)
    into = sum(f.cents for f in made.ledger.flows if f.target == "accounts" and f.source != "accounts")
    out = sum(f.cents for f in made.ledger.flows if f.source == "accounts" and f.target != "accounts")
    assert int(made.equity.sum()) - int(opening.sum()) == into - out
    for pot, cents in made.ledger.pots.items():
        moved = sum(f.cents for f in made.ledger.flows if f.target == pot) - sum(f.cents for f in made.ledger.flows if f.source == pot)
        assert cents - made.opening_funds.get(pot, 0) == moved
        assert cents >= 0 or pot in (MARKET, OWNERS)
    assert all(f.cents > 0 or f.source == f.target == "accounts" for f in made.ledger.flows)
    paid = sum(f.cents if f.target == MARKET else -f.cents for f in made.ledger.flows if f.kind == "closing cost")
    discount = sum(f.cents for f in made.ledger.flows if f.kind == "auction discount")
    assert paid + discount == sum(round(d.cost * 100.0) for d in made.defaults)
    assert sum(round(d.loss * 100.0) for d in made.defaults) == sum(made.funds.used.values())
    begun = hold(own.plan.units, own.plan.instruments)
    for n in range(len(begun.size)):
        held = sum(int(q) for i, q in zip(made.holdings.instrument.tolist(), made.holdings.lots.tolist(), strict=True) if i == n)
        assert held + int(made.holdings.market[n]) == sum(int(q) for i, q in zip(begun.instrument.tolist(), begun.lots.tolist(), strict=True) if i == n)
    assert made.conserved


@settings(max_examples=25, deadline=None)
@given(drawn_rules(), st.lists(st.floats(-0.5, 3.0), min_size=7, max_size=7), st.lists(st.sampled_from([1, 1, 1, -1, 0]), min_size=5, max_size=5), st.sampled_from(["sequenced", "pro_rata", "by_size"]), st.booleans(),
       st.floats(-60.0, 60.0), st.floats(-40.0, 80.0))
def test_nothing_is_made_or_lost(parameters, equity, turned, order, auction, price, volatility):
    own = case_with(equity, turned)
    margins = margins_of(own, parameters)
    made = cascade(own, start_of(own, f"everything {price:+.2f} %, volatility {volatility:+.2f} %"), parameters, order, auction, margins)
    recounted(own, made)
    over = {d.party for d in made.defaults if d.end != "open"}
    assert all(made.equity[p] >= 0 for p, name in enumerate(own.parties.names) if name in over)  # who is closed or let go owes nothing
    again = cascade(own, start_of(own, f"everything {price:+.2f} %, volatility {volatility:+.2f} %"), parameters, order, auction, margins)
    assert (again.equity.tobytes(), again.steps, again.ledger.flows, again.holdings.lots.tobytes()) == (made.equity.tobytes(), made.steps, made.ledger.flows, made.holdings.lots.tobytes())
