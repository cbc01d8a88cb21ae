"""Terms and parameters that have no price: each has its coded error, or a documented treatment that is flagged, in `upm price` and in a run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_book import GAUSSIAN, VALUATION, methodology, write

from upm_gpu.backend import cpu
from upm_gpu.domain.reader import load_book
from upm_gpu.errors import CalibrationError, InputError
from upm_gpu.market.reader import load_market
from upm_gpu.model.heston import HestonParameters
from upm_gpu.model.jumps import no_jumps
from upm_gpu.model.merton import MertonParameters
from upm_gpu.model.pricing_law import moment_warnings
from upm_gpu.plan import make_plan
from upm_gpu.pricing.cases import CaseTable, value_cases
from upm_gpu.scenario.spec import ScenarioSpec

FAR = "2026-02-27T08:00:00Z"
PLAIN = {"product": "european", "option_type": "call", "spot": 100.0, "strike": 100.0, "time_to_expiry": 0.5, "rate": 0.02, "volatility": 0.3}
BARRIER = {**PLAIN, "product": "barrier", "barrier": 90.0, "barrier_type": "down_out", "rebate": 3.0}
AVERAGE = {**PLAIN, "product": "asian", "asian_average": "arithmetic", "monitoring": "discrete", "fixings": "0.2;0.5"}
HESTON = {**PLAIN, "model": "heston", "volatility": "", "spot": "", "forward": 100.0, "initial_variance": 0.09, "mean_reversion": 2.0, "long_run_variance": 0.09, "vol_of_vol": 0.4, "correlation": -0.5}
MERTON = {**PLAIN, "model": "merton", "jump_intensity": 1.0, "jump_mean": -0.1, "jump_volatility": 0.2}


def valued(row):
    """Result and codes of one row of `upm price`."""
    results, faults = value_cases(CaseTable("cases.csv", tuple(row), (tuple(map(str, row.values())),), (2,)), cpu.values)
    return results[0], [f.code for f in faults]


@pytest.mark.parametrize(("row", "changed", "code"), [
    (PLAIN, {"strike": 0}, "UPM-PR-018"), (PLAIN, {"strike": -100}, "UPM-PR-018"), (BARRIER, {"barrier": 0}, "UPM-PR-018"), (PLAIN, {"volatility": -0.1}, "UPM-PR-018"),
    (AVERAGE, {"fixings": "-0.1;0.5"}, "UPM-PR-034"), (AVERAGE, {"fixings_so_far": 2}, "UPM-PR-034"), (HESTON, {"initial_variance": -0.01}, "UPM-PR-018"),
    (HESTON, {"correlation": -1.2}, "UPM-PR-035"), (MERTON, {"jump_mean": 90}, "UPM-PR-051"), (MERTON, {"jump_volatility": 60}, "UPM-PR-051"),
    (MERTON, {"jump_intensity": 1e7}, "UPM-PR-051"),
])
def test_a_row_has_its_code_and_no_price(row, changed, code):
    result, codes = valued({**row, **changed})
    assert codes == [code] and "price" not in result


def test_a_row_that_is_priced_all_the_same_says_so():
    """A barrier that has been hit is worth its rebate; a variance that reaches zero is priced by the same integral; the price is the martingale's whatever explodes beyond."""
    result, codes = valued({**BARRIER, "spot": 85.0})
    assert not codes and result["price"] == pytest.approx(3.0) and result["method"].endswith("_already_hit")
    result, codes = valued({**HESTON, "vol_of_vol": 1.5, "mean_reversion": 0.3})
    assert not codes and result["method"].endswith("_feller_violated") and 0.0 < result["price"] < 100.0
    result, codes = valued({**HESTON, "vol_of_vol": 3.0, "mean_reversion": 0.1, "correlation": 0.9, "time_to_expiry": 5.0})  # E S^p is infinite for every p a little above 1
    assert codes or (0.0 < result["price"] < 100.0 and result["method"].endswith("_infinite_variance"))


def test_a_price_without_a_variance_is_flagged_from_the_day_it_has_none():
    """E S^2 of these parameters ends at 0.4357 years (known_answers/test_moment_explosion.py); in coins E 1/S at 0.5436 with the correlation turned."""
    wild = {**HESTON, "vol_of_vol": 3.0, "mean_reversion": 0.1, "correlation": 0.9}
    for changed, flagged in (({"time_to_expiry": 0.43}, False), ({"time_to_expiry": 0.44}, True), ({"time_to_expiry": 0.44, "settlement": "inverse"}, False),
                             ({"time_to_expiry": 0.44, "correlation": -0.9}, False), ({"time_to_expiry": 0.54, "correlation": -0.9, "settlement": "inverse"}, False), ({"time_to_expiry": 0.55, "correlation": -0.9, "settlement": "inverse"}, True),
                             ({"time_to_expiry": 0.44, "initial_variance": 0, "long_run_variance": 0}, False)):
        result, codes = valued({**wild, **changed})
        assert not codes and result["method"].endswith("_infinite_variance") == flagged, changed


def book_with(tmp_path, instrument, quotes=""):
    head, _, rest = instrument.partition("\n")
    positions = "account_id,instrument_id,quantity\nA,X,1\n" + "".join(f"B{i},ETH-C20L,1\n" for i in range(9))
    folder = write(tmp_path, positions)
    (folder / "book" / "instruments.csv").write_text(head + "\n" + rest + f"ETH-C20L,option,ETH,linear,USD,1,{FAR},2000,call,european" + "," * (head.count(",") - 9) + "\n")
    if quotes:
        with (folder / "market" / "implied_vols.csv").open("a") as file:
            file.write(quotes)
    return load_book(folder / "book", VALUATION, 0.5), load_market(folder / "market")


HEAD = "instrument_id,kind,underlying,settlement,quote_currency,contract_size,expiry,strike,option_type,exercise,product,barrier,barrier_type,asian_average,fixings\n"


@pytest.mark.parametrize(("row", "column"), [
    (f"X,option,ETH,linear,USD,0,{FAR},2000,call,european,,,,,", "contract_size"), (f"X,option,ETH,linear,USD,-1,{FAR},2000,call,european,,,,,", "contract_size"),
    (f"X,option,ETH,linear,USD,1,{FAR},0,call,european,,,,,", "strike"), (f"X,option,ETH,linear,USD,1,{FAR},-5,put,american,,,,,", "strike"),
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,barrier,-1,up_out,,", "barrier"),
])
def test_an_instrument_without_terms_costs_its_row(tmp_path, row, column):
    book, _ = book_with(tmp_path, HEAD + row + "\n")
    assert [(r.code, r.column) for r in book.rejects][:1] == [("UPM-IN-032", column)]


@pytest.mark.parametrize(("row", "code"), [
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,barrier,1900,up_out,,", "UPM-PR-083"),
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,asian,,,arithmetic,2026-02-01T08:00:00Z;{FAR}", "UPM-PR-084"),
])
def test_a_contract_that_has_ended_stops_the_run_by_name(tmp_path, row, code):
    book, market = book_with(tmp_path, HEAD + row + "\n")
    with pytest.raises(InputError, match=f"{code}.*X"):
        make_plan(book, market, ScenarioSpec(count=4096, horizons=(2.0,)), methodology(), GAUSSIAN)


def test_a_run_under_a_law_without_a_variance_says_so(tmp_path):
    """The price of ETH has none from day 16 on, its option ends on day 22: said where it is priced under that law, and of a horizon beyond day 16."""
    one = np.ones(1)
    wild = HestonParameters(("ETH",), 0.5 * one, 0.1 * one, 0.5 * one, 30.0 * one, 0.9 * one, np.eye(1))
    book, market = book_with(tmp_path, HEAD + f"X,option,ETH,linear,USD,1,{FAR},2100,call,european,,,,,\n")
    for repricing, said in (("quoted", 0), ("model", 1)):
        plan = make_plan(book, market, ScenarioSpec(count=4096, horizons=(2.0,), repricing=repricing), methodology(), wild)
        assert sum(w.startswith("UPM-PR-112 ETH") for w in plan.warnings) == said, repricing
    assert "within the horizon" in moment_warnings(wild, 20.0)[0] and not moment_warnings(wild, 15.0)
    tame = replace(wild, rho=-0.9 * one)
    assert not moment_warnings(tame, 2.0, [("ETH", "", 22.0)])


def test_a_volatility_beyond_the_surface_is_held_and_said(tmp_path):
    book, market = book_with(tmp_path, HEAD + f"X,option,ETH,linear,USD,1,{FAR},200000,call,european,,,,,\n")
    plan = make_plan(book, market, ScenarioSpec(count=4096, horizons=(2.0,)), methodology(), GAUSSIAN)
    assert [w for w in plan.warnings if w.startswith("UPM-PR-008 X")]


def test_explosive_parameters_of_a_model_stop_the_run(tmp_path):
    dates = np.array([1.0, 2.0])
    with pytest.raises(CalibrationError, match=r"UPM-CA-075.*overflows"):
        jumps = no_jumps(1)
        wild = type(jumps)(10.0, 900.0, 1.0, np.ones(1), np.zeros(1), np.zeros(1), np.zeros(1))
        MertonParameters(("log_level[X]",), np.array([0.03]), np.eye(1), wild).scenarios(dates, ScenarioSpec(count=64))
    one = np.ones(1)
    with pytest.raises(CalibrationError, match="UPM-CA-078"):  # the expected price of a substep is infinite in the scheme
        HestonParameters(("X",), 0.04 * one, 4.0 * one, 0.04 * one, 5.0 * one, 0.99 * one, np.eye(1), None, 1, 365.0).scenarios(np.array([365.0]), ScenarioSpec(count=64))
