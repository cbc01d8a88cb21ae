"""Value tables: cubic interpolation, the error they promise, what they leave of an American option, and who notices a wrong one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upm_gpu.backend import cpu
from upm_gpu.errors import InputError
from upm_gpu.formula.value_table import table_values
from upm_gpu.pricing import tables
from upm_gpu.pricing.compiled import TableRequest

T, RATE = 0.25, 0.03


def request_of(sign: float, years: float = T, rate: float = RATE, dividend: float = 0.0) -> TableRequest:
    inputs = (("rate", rate), ("dividend_yield", dividend), ("sign", sign), ("time_to_expiry", years))
    return TableRequest("X", 0, "american", True, sign, float(np.exp(-(rate - dividend) * years)), inputs, years, float(np.exp(-rate * years)), inputs, years, float(np.exp(-rate * years)))


@given(st.lists(st.floats(-5.0, 5.0), min_size=16, max_size=16), st.floats(0.0, 3.0), st.floats(0.0, 3.0))
def test_a_cubic_in_both_coordinates_comes_back(coefficients, x, y):
    c = np.array(coefficients).reshape(4, 4)
    nodes = np.arange(4.0)
    values = np.polynomial.polynomial.polygrid2d(nodes, nodes, c)
    expected = np.polynomial.polynomial.polyval2d(x, y, c)
    assert table_values((0.0, 0.0), (1.0, 1.0), values, x, y) == pytest.approx(expected, abs=1e-9 * (1.0 + np.abs(values).max()))


def test_beyond_the_ends_the_end_is_read():
    values = np.add.outer(np.arange(6.0), 10.0 * np.arange(5.0))
    assert table_values((0.0, 0.0), (1.0, 1.0), values, -3.0, 9.0) == 40.0


@settings(max_examples=8, deadline=None)
@given(st.sampled_from([-1.0, 1.0]), st.floats(0.02, 1.5), st.floats(0.0, 0.08), st.floats(0.0, 0.06), st.floats(0.1, 0.9))
def test_the_promised_error_holds_at_points_that_were_not_looked_at(sign, years, rate, dividend, volatility):
    request = request_of(sign, years, rate, dividend)
    box = ((-0.4, 0.4), (float(np.log(0.7 * volatility)), float(np.log(1.5 * volatility))))
    table, error = tables._build(request, box, cpu)
    assert error <= tables.TOLERANCE
    rng = np.random.default_rng(7)
    m, y = rng.uniform(*box[0], 400), rng.uniform(*box[1], 400)
    direct = tables.direct_values(request, m, np.exp(y), cpu)
    # centres of sampled cells were measured: between them a fourth derivative or the exercise boundary may do four times as much
    assert np.max(np.abs(table_values(table.low, table.inverse_step, table.values, m, y) - direct)) <= 4.0 * tables.TOLERANCE
    assert direct.min() >= -1e-9  # early exercise never costs


AMERICAN = "".join(f"ETH-{t[0].upper()}{k}{e[0].upper()},option,ETH,linear,USD,1,2026-02-27T08:00:00Z,{k},{t},{e}\n"
                   for k in (1600, 2000, 2600) for t in ("call", "put") for e in ("american", "european"))
RATES = "currency,tenor_days,zero_rate\nUSD,30,0.3\n"
"""a rate at which early exercise is worth something within three weeks"""


def margin(tmp_path, positions, count=8_192, **changes):
    from small_book import GAUSSIAN, INSTRUMENTS, VALUATION, methodology, read, write

    from upm_gpu.domain.reader import load_book
    from upm_gpu.engine import margin_run
    from upm_gpu.scenario.spec import ScenarioSpec

    folder = write(tmp_path, "account_id,instrument_id,quantity\n" + positions, market={"rates.csv": RATES})
    (folder / "book" / "instruments.csv").write_text(INSTRUMENTS + AMERICAN)
    _, market = read(folder)
    return margin_run(load_book(folder / "book", VALUATION), market, ScenarioSpec(count=count, horizons=(2.0,)), methodology(), "cpu", precision="double", model=GAUSSIAN, **changes)


def test_american_margins_are_those_of_direct_prices(tmp_path):
    """The tail of a short put, revalued scenario by scenario with the direct formula."""
    from small_book import GAUSSIAN

    from upm_gpu.model.registry import reference_states
    from upm_gpu.scenario.spec import ScenarioSpec

    result = margin(tmp_path, "A,ETH-P2600A,-1\n")
    spec = ScenarioSpec(count=8_192, horizons=(2.0,))
    states, _ = reference_states(GAUSSIAN.scenarios(np.array([2.0]), spec), 0, 8_192)
    days = (datetime(2026, 2, 27, 8, tzinfo=UTC) - datetime(2026, 2, 5, 9, tzinfo=UTC)) / timedelta(days=1)
    # a strike beyond the quotes: its volatility is the surface's
    surface = _eth_smile(tmp_path)
    x, v = states[0, 1], states[0, 3]
    loading = (30.0 / days) ** 0.30
    sigma = np.clip(surface(np.log(2600.0 / 2005.0) - x) * np.exp(v * loading), 0.05, 5.0)
    carry = np.log(2005.0 / 2000.0) / (days / 365.0)

    def price(spot, vol, years):
        columns = {"spot": spot, "strike": 2600.0, "time_to_expiry": years, "rate": 0.3, "dividend_yield": 0.3 - carry, "volatility": vol, "sign": -1.0, "price_only": 1.0}
        return cpu.values("american", {k: np.broadcast_to(np.asarray(c, float), np.shape(spot)) for k, c in columns.items()})["price"]

    today = price(np.array([2000.0]), surface(np.array([np.log(2600.0 / 2005.0)])), days / 365.0)[0]
    loss = np.sort(price(2000.0 * np.exp(x), sigma, (days - 2.0) / 365.0) - today)[::-1]
    k = 0.01 * len(loss)
    shortfall = (loss[: int(k)].sum() + (k - int(k)) * loss[int(k)]) / k
    assert result.table["expected_shortfall"][0] == pytest.approx(shortfall, abs=2.0 * tables.TOLERANCE * 2600.0)
    assert result.table["expected_shortfall"][0] > 0.0


def _eth_smile(folder):
    from small_book import read

    from upm_gpu.formula.families import svi_total_variance
    from upm_gpu.market.surface import fit_surfaces, slice_at

    _, market = read(folder)
    expiry = datetime(2026, 2, 27, 8, tzinfo=UTC)
    s = slice_at(fit_surfaces(market, {"ETH"})["ETH"], expiry)
    years = (expiry - market.valuation_time) / timedelta(days=365)
    return lambda k: np.sqrt(svi_total_variance(np.asarray(k, float), s.a, s.b, s.rho, s.m, s.s) / years)


def test_early_exercise_is_worth_something_and_a_call_without_yield_nothing(tmp_path):
    result = margin(tmp_path, "A,ETH-P2600A,1\nE,ETH-P2600E,1\n")
    value = result.table.set_index("account_id")["equity"]
    assert value["A"] > 1.01 * value["E"]
    assert value["A"] >= 600.0 - 1e-9


def test_a_table_that_is_felt_stops_the_run_by_name(tmp_path, monkeypatch):
    plain = tables.fill

    def bent(*arguments):
        table = plain(*arguments)
        return replace(table, values=table.values + 0.05)

    monkeypatch.setattr(tables, "fill", bent)
    monkeypatch.setattr(tables, "TOLERANCE", 1.0)
    with pytest.raises(InputError, match=r"UPM-PR-082 ETH-P2600A: .* expected shortfall of A "):
        margin(tmp_path, "A,ETH-P2600A,-1\n")


def test_chunks_threads_and_a_second_account_move_no_margin(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = margin(tmp_path / "one", "A,ETH-P2000A,-3\n", chunk=4_096, threads=1)
    two = margin(tmp_path / "two", "A,ETH-P2000A,-3\nB,BTC-PERP,5\n", chunk=8_192, threads=2)
    assert one.table["initial_margin"][0] == two.table["initial_margin"][0]


class Shelf:
    """Tables in memory, by key."""

    def __init__(self):
        self.kept = {}

    def take(self, key):
        return self.kept.get(key)

    def keep(self, key, table, error):
        self.kept[key] = table, error


@given(st.floats(-0.9, -0.01), st.floats(0.01, 0.9), st.floats(0.1, 0.5), st.floats(0.6, 2.0))
def test_a_table_is_found_again_until_the_market_leaves_its_box(low, high, least, most):
    """Same request, a box whose corners round to the same lattice points: the same key. Another discount factor, name or corner: another table, the same one, another."""
    request = request_of(-1.0)

    def key(request, *box):
        (a, b), (c, d) = ((np.floor(x / s) * s, np.ceil(y / s) * s) for (x, y), s in zip(box, tables.FIRST_STEPS, strict=True))
        return tables.table_key(request, ((float(a), float(b)), (float(c), float(d))))

    first = key(request, (low, high), (np.log(least), np.log(most)))
    assert first == key(replace(request, name="Y", group=3, years_today=9.0), (low, high), (np.log(least), np.log(most)))
    assert first != key(replace(request, discount=0.5), (low, high), (np.log(least), np.log(most)))
    assert first != key(request, (low - 1.0 / 32.0, high), (np.log(least), np.log(most)))


@pytest.mark.parametrize("inside", [(-np.inf, np.inf), (-np.inf, 0.2), (-0.2, np.inf)])
def test_a_finer_table_takes_what_the_coarser_one_has(inside):
    """To the bit what is priced afresh, and three quarters fewer prices where both steps are halved."""
    request, box, asked = replace(request_of(-1.0), inside=inside), ((-0.25, 0.25), (-1.5, -0.5)), []

    class Counted:
        @staticmethod
        def values(operation, columns):
            asked.append(len(columns["spot"]))
            return cpu.values(operation, columns)

    coarse = tables.fill(request, box, (1 / 32, 1 / 8), cpu)
    fresh, taken = tables.fill(request, box, (1 / 64, 1 / 16), cpu), tables.fill(request, box, (1 / 64, 1 / 16), Counted, coarse)
    assert (taken.low, taken.inverse_step) == (fresh.low, fresh.inverse_step) and np.array_equal(taken.values, fresh.values)
    assert asked[0] < 0.8 * fresh.values.size


def test_a_shelf_is_asked_before_a_table_is_made(monkeypatch):
    request, box, shelf = request_of(-1.0), ((-0.25, 0.25), (-1.5, -0.5)), Shelf()
    made = tables._made(request, box, cpu, shelf)
    plain = tables._build(request, box, cpu)
    assert np.array_equal(made[0].values, plain[0].values) and made[1] == plain[1]
    monkeypatch.setattr(tables, "_build", None)
    assert tables._made(request, box, cpu, shelf)[0] is made[0]


@pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b[:-8] + bytes(8), lambda b: b"UPMCHUNK" + b[8:], lambda b: b[:20], lambda b: b"", lambda b: b[:8] + b"\x02" + b[9:],
                                   lambda b: b.replace(b'"low": [', b'"low": [NaN, '), lambda b: b.replace(b'"error"', b'"eror"')])
def test_a_kept_table_comes_back_to_the_bit_or_not_at_all(tmp_path, spoil):
    from upm_gpu.pricing.compiled import ValueTable
    from upm_gpu.run.folder import create_run
    from upm_gpu.run.kept_tables import KeptTables

    table = ValueTable((-0.5, -1.25), (32.0, 8.0), np.random.default_rng(3).normal(size=(7, 5)))
    with create_run(tmp_path / "run", inputs={"config.toml": b""}, settings={}, identity={}) as run:
        kept = KeptTables(run)
        assert kept.take("ab" * 32) is None and not run.warnings
        kept.keep("ab" * 32, table, 3e-6)
        again, error = kept.take("ab" * 32)
        assert (again.low, again.inverse_step, error) == (table.low, table.inverse_step, 3e-6) and np.array_equal(again.values, table.values)
        file = tmp_path / "run" / "tables" / ("ab" * 32 + ".upm")
        file.write_bytes(spoil(file.read_bytes()))
        assert kept.take("ab" * 32) is None
        assert run.warnings[0].startswith("UPM-RN-051 tables/abab")


def test_the_report_says_what_tables_changed():
    from upm_gpu.report.quality import quality_tables

    found = quality_tables({"value_tables": {"tables": 2, "nodes": 12345, "largest_error_per_strike": 9.5e-6,
                                             "tail_check": {"units": 7, "prices": 54350, "largest_change": 0.67, "largest_share": 0.0047}}}, None)[-1]
    assert found["title"] == "Value tables"
    assert [row[1] for row in found["rows"]] == ["2", "12,345", "9.5e-06", "7", "54,350", "0.67", "0.0047"]
    assert quality_tables({}, None)[-1]["title"] != "Value tables"
