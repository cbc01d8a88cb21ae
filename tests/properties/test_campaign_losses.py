"""P&L and equity after a move are those of the book in the market after the move; rankings and open cells add up."""

from __future__ import annotations

import numpy as np
import pytest
from campaigns import CAMPAIGN, small_campaign
from small_book import methodology

from upm_gpu.campaign import chunks
from upm_gpu.campaign.cells import worst_cells
from upm_gpu.campaign.ranking import rank
from upm_gpu.campaign.shocked import shocked_market
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import InputError, UpmError
from upm_gpu.margin.result import model_values
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return small_campaign(tmp_path_factory.mktemp("campaign"))


def in_the_shocked_market(book, moves):
    """The outcome of the same book, law and methodology in the market after the move."""
    plan = book.outcome.plan
    market, surfaces = shocked_market(plan, moves, book.choice.module)
    return compute_outcome(make_plan(plan.book, market, plan.spec, plan.methodology, plan.model, surfaces), book.choice, 0, in_memory(None))


def test_equity_after_a_move_is_that_of_the_book_in_the_market_after_it(small):
    _, book = small
    for s in (0, 1, 4, book.shocks.count - 1):
        moves = dict(zip(book.shocks.states, book.shocks.moves[:, s].tolist(), strict=True))
        there = in_the_shocked_market(book, moves).result.table.set_index("account_id").loc[list(book.accounts), "equity"].to_numpy()
        assert book.values(s, s + 1)[1][:, 0] == pytest.approx(there, rel=1e-11, abs=1e-6)
    assert np.ptp(book.standing) > 100.0 and book.standing.shape == (4, 2), "gains since entry stand in BTC and ETH"


def test_collateral_after_a_haircut_moves_with_its_asset(tmp_path):
    from upm_gpu.margin.methodology import Methodology

    rules = Methodology(name="test", version="1", effective_date=methodology().effective_date, collateral={"haircuts": {"USDC": 0.1, "BTC": 0.2, "ETH": 0.25}})
    _, book = small_campaign(tmp_path, rules=rules)
    assert book.standing[0, 0] == pytest.approx(0.8 * 70_000.0) and book.standing[3, 1] == pytest.approx(0.75 * 12 * 2_000.0 - 190.47619)
    moves = dict(zip(book.shocks.states, book.shocks.moves[:, 1].tolist(), strict=True))
    there = in_the_shocked_market(book, moves).result.table.set_index("account_id").loc[list(book.accounts), "equity"].to_numpy()
    assert book.values(1, 2)[1][:, 0] == pytest.approx(there, rel=1e-11)


@pytest.mark.parametrize("spec", [{}, {"volatility_dynamics": "sticky_strike"}, {"volatility_shift": "additive"}, {"volatility_dynamics": "sticky_delta"}, {"basis": True, "basis_volatility": 0.001}],
                         ids=["moneyness", "strike", "additive", "delta", "basis"])
def test_values_in_the_shocked_market_are_values_before_and_what_the_move_made(tmp_path, spec):
    """Every option, whatever moves volatility: the quotes of the shocked market are the volatilities that the pricing program has in the scenario."""
    _, book = small_campaign(tmp_path, **spec)
    plan = book.outcome.plan
    sizes = {"log_level[BTC]": -0.25, "log_level[ETH]": 0.2, "volatility_shift[BTC]": 0.2, "volatility_shift[ETH]": -0.1, "log_basis[BTC]": 0.01}
    moves = {s: sizes.get(s, 0.0) for s in book.shocks.states}
    after = in_the_shocked_market(book, moves)
    before = model_values(plan.compiled, plan.instruments, book.outcome.value0)
    came = model_values(after.plan.compiled, after.plan.instruments, after.value0)
    for name in ("BTC-C70", "BTC-P60", "BTC-C75D", "ETH-C20L"):
        n = [i.instrument_id for i in plan.instruments].index(name)
        from upm_gpu import exhibits
        from upm_gpu.campaign.stressed_book import at_once
        from upm_gpu.pricing.compiled import Rows

        row = Rows(np.array([0, 1], np.int64), book.today.instrument_column[[n]].astype(np.int32), np.ones(1))
        pnl = exhibits.row_values(book.choice.module, book.today, row, at_once(book.today, np.array([[moves[s]] for s in book.shocks.states])), 1)[0, 0]
        assert abs(pnl) > 1.0
        assert came[name] - before[name] == pytest.approx(pnl, rel=1e-9)
    if "basis" in spec:
        assert after.plan.market.forwards["BTC", None] == pytest.approx(70_000.0 * np.exp(-0.25 + 0.01), rel=1e-14)
        assert after.plan.market.forwards["ETH", None] == pytest.approx(2_000.0 * np.exp(0.2), rel=1e-14)


@pytest.mark.parametrize("dynamics", ["sticky_moneyness", "sticky_strike"])
def test_a_moved_surface_misses_its_quotes_by_as_much_as_before(tmp_path, dynamics):
    """What a quote lies above the surface is carried through the move and scaled by it: so the surface itself moved as the quotes did."""
    from upm_gpu.formula.families import svi_total_variance
    from upm_gpu.market.surface import slice_at

    _, book = small_campaign(tmp_path, volatility_dynamics=dynamics)
    plan = book.outcome.plan
    moves = {"log_level[BTC]": -0.25, "log_level[ETH]": 0.2, "volatility_shift[BTC]": 0.2, "volatility_shift[ETH]": -0.1}
    market, surfaces = shocked_market(plan, moves, book.choice.module)

    def missed(market, surfaces):
        found = {}
        for u, e, k, sigma in zip(market.quotes.underlying, market.quotes.expiry, market.quotes.strike, market.quotes.implied_volatility, strict=True):
            s = slice_at(surfaces[u], e)
            found[u, e, k] = sigma - np.sqrt(svi_total_variance(np.log(k / market.forwards[u, e]), s.a, s.b, s.rho, s.m, s.s) / s.expiry_years), s.expiry_years * 365.0
        return found

    before, after = missed(plan.market, plan.surfaces), missed(market, surfaces)
    assert max(abs(m) for m, _ in before.values()) > 1e-5
    for key, (was, days) in before.items():
        assert after[key][0] == pytest.approx(was * np.exp(plan.dynamics.loading(days) * moves[f"volatility_shift[{key[0]}]"]), abs=1e-10)


def test_rankings_are_sums_and_extremes_of_the_cells(small):
    campaign, book = small
    pnl, equity = book.values(0, book.shocks.count)
    half = book.shocks.count // 2
    by_shock, by_account = rank(book, [(0, half, pnl[:, :half], equity[:, :half]), (half, book.shocks.count, pnl[:, half:], equity[:, half:])], campaign.losses.default_fund)
    left = equity - book.closing_cost[:, None] * book.shocks.liquidity
    short = np.maximum(-left, 0.0)
    members = {"one": short[0] + short[1], "two": short[2], "D": short[3]}
    assert (book.closing_cost > 0.0).all() and set(book.shocks.liquidity) == {1.0, 2.0}
    for s, line in by_shock.iterrows():
        ordered = sorted(members.values(), key=lambda m, s=s: -m[s])
        assert line["pnl"] == pytest.approx(pnl[:, s].sum(), rel=1e-12, abs=1e-6)
        assert line["uncovered_loss"] == pytest.approx(short[:, s].sum(), rel=1e-12, abs=1e-6)
        assert line["accounts_broken"] == (left[:, s] < 0.0).sum()
        assert line["cover_1"] == pytest.approx(ordered[0][s], abs=1e-6) and line["cover_2"] == pytest.approx(ordered[0][s] + ordered[1][s], abs=1e-6)
        assert line["cover_2_of_default_fund"] == pytest.approx(line["cover_2"] / 1000.0)
        if line["cover_1"]:
            assert members[line["cover_1_member"]][s] == pytest.approx(line["cover_1"])
    assert by_shock["accounts_broken"].max() > 0 and by_shock["accounts_broken"].min() < 4
    for _, line in by_account.iterrows():
        a = book.accounts.index(line["account_id"])
        assert (line["times_broken"], line["worst_pnl"], line["worst_shock"]) == ((left[a] < 0.0).sum(), pnl[a].min(), pnl[a].argmin())
        if line["times_broken"]:
            broken = np.where(left[a] < 0.0, book.shocks.distance, np.inf)
            assert line["distance_to_default"] == broken.min() and line["nearest_break"] == book.shocks.names[broken.argmin()]
        else:
            assert np.isnan(line["distance_to_default"]) and line["nearest_break"] == ""


def test_an_open_cell_sums_to_what_its_account_lost(small):
    campaign, book = small
    pnl, equity = book.values(0, book.shocks.count)
    by_shock, _ = rank(book, [(0, book.shocks.count, pnl, equity)], campaign.losses.default_fund)
    cells = worst_cells(book, by_shock)
    assert cells["shock"].nunique() == 5
    for (shock, account), own in cells.groupby(["shock", "account_id"]):
        a = book.accounts.index(account)
        assert own["pnl"].sum() == pytest.approx(pnl[a, shock], rel=1e-11, abs=1e-7)
        assert own["equity"].iloc[0] == equity[a, shock]


def test_margins_again_are_runs_in_the_shocked_market(small):
    _, book = small
    table = chunks.margins(book, 1, 3).to_pandas()
    assert list(table["shock"]) == [1] * 4 + [2] * 4
    for s in (1, 2):
        moves = dict(zip(book.shocks.states, book.shocks.moves[:, s].tolist(), strict=True))
        there = in_the_shocked_market(book, moves).result.table.set_index("account_id").loc[list(book.accounts)]
        own = table[table["shock"] == s].set_index("account_id")
        assert (own["initial_margin"].to_numpy() == there["initial_margin"].to_numpy()).all() and (own["status"].astype(str).to_numpy() == there["status"].to_numpy()).all()
        assert (own["call"].to_numpy() == np.maximum(-there["excess"].to_numpy(), 0.0)).all()
    calm, crash = table[table["shock"] == 2]["initial_margin"].sum(), table[table["shock"] == 1]["initial_margin"].sum()
    assert calm != crash > 0.0


def test_what_no_market_quotes_cannot_be_margined_again(small):
    _, book = small
    with pytest.raises(InputError, match="UPM-ST-010"):
        shocked_market(book.outcome.plan, {"funding_rate[BTC]": 0.1}, book.choice.module)


def test_a_move_beyond_float64_is_refused_by_name(tmp_path):
    _, book = small_campaign(tmp_path, CAMPAIGN.replace("price = -0.3, volatility = 0.5", "price = 1e305, volatility = 0.5"))
    with pytest.raises(UpmError, match="UPM-ST-011 shock 'crash'"):
        chunks.losses(book, 0, 2)
