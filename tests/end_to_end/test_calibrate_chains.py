"""`upm calibrate heston|merton|bates` through the command line: files that `upm run` reads, days of one call, the page, and refusals by name."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tomllib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from chain_cases import TRUTH, chain_of, model_volatility
from command_line import here

from upm_gpu.calibrate.chain.days import read_days
from upm_gpu.calibrate.chain.quotes import market_chain, with_units
from upm_gpu.errors import CalibrationError, InputError
from upm_gpu.fits.chains import Request, calibrate_chains
from upm_gpu.formula.black import black_undiscounted
from upm_gpu.market.deribit import chain_snapshot, read_chain
from upm_gpu.model import bates, heston, merton
from upm_gpu.scenario.spec import ScenarioSpec

HEADER = "timestamp,instrument_name,underlying_price,underlying_name,index_price,mark_price,mark_iv,bid_price,ask_price,open_interest,volume_24h"


def snapshot_rows(at: datetime, truth, seed: int = 0) -> list[str]:
    """A whole inverse chain of one underlying, calls and puts, marked by Heston with errors of a tenth of a point."""
    rng, rows = np.random.default_rng(seed), []
    midnight = datetime(at.year, at.month, at.day, 8, tzinfo=UTC)
    for days in (3, 10, 31, 90, 240):
        expiry = midnight + timedelta(days=days)
        years = (expiry - at).total_seconds() / 86_400.0 / 365.0
        forward = float(60_000.0 * np.exp(0.03 * years))
        level = model_volatility("heston", truth, np.zeros(1), np.array([years]))[0] * np.sqrt(years)
        strikes = np.unique(np.round(forward * np.exp(np.linspace(-2.5, 2.5, 13) * level), -2))
        sigma = np.round(model_volatility("heston", truth, np.log(forward / strikes), np.full(len(strikes), years)) + 0.001 * rng.standard_normal(len(strikes)), 6)
        for strike, s in zip(strikes, sigma, strict=True):
            for kind, sign in (("C", 1.0), ("P", -1.0)):
                mark = float(black_undiscounted(forward, strike, np.log(forward / strike), s * np.sqrt(years), sign) / forward)
                rows.append(f"{at.isoformat()},BTC-{expiry.day}{expiry.strftime('%b%y').upper()}-{strike:.0f}-{kind},{forward!r},x,60000,{mark!r},{float(s)!r},{mark * 0.98!r},{mark * 1.02!r},1,1")
    return rows


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    """Five days of chains in one table."""
    path = tmp_path_factory.mktemp("days") / "days.csv"
    rows = [HEADER]
    for d in range(5):
        rows += snapshot_rows(datetime(2026, 1, 5 + d, 9, 30, tzinfo=UTC), (0.3 + 0.05 * d, *TRUTH["heston"][1:]), d)
    path.write_text("\n".join(rows) + "\n")
    return path


def test_days_in_one_call(days, tmp_path, capsys, monkeypatch):
    done = here(capsys, monkeypatch, "calibrate", "heston", days, "--out", tmp_path / "h.toml", "--table", tmp_path / "days.csv", "--page", tmp_path / "h.html", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)["fits"]["BTC"]
    assert found["days"] == 5 and found["not_converged"] == 0 and found["converged"]
    assert found["engine_difference"] < 1e-7
    rows = list(csv.DictReader(io.StringIO((tmp_path / "days.csv").read_text())))
    for d, row in enumerate(rows):
        assert float(row["initial_variance"]) == pytest.approx(0.3 + 0.05 * d, abs=4.0 * float(row["initial_variance_standard_error"]))
        assert float(row["root_mean_square_volatility_error"]) < 0.002 and row["status"] == "converged"
    table = found["parameters"]["vol_of_vol"]
    assert table["t"] == pytest.approx(table["value"] / table["standard_error"], rel=1e-6)
    model = heston.read(str(tmp_path / "h.toml"), ScenarioSpec(model="heston", parameters=str(tmp_path / "h.toml")))
    assert model.underlyings == ("BTC",) and float(model.mean_reversion[0]) == pytest.approx(table_value(found, "mean_reversion"), rel=1e-7)
    page = (tmp_path / "h.html").read_text()
    assert page.count("<svg") == 1 + 5 + 5 and "default-src &#39;none&#39;; style-src &#39;sha256-" in page and "<script" not in page
    assert "std. error" in page and "2026-01-05" in page


def table_value(found, name):
    return found["parameters"][name]["value"]


def test_a_table_of_days_is_an_import_of_each(days, tmp_path):
    lines = days.read_text().splitlines()
    one = tmp_path / "one.csv"
    one.write_text("\n".join([lines[0], *(x for x in lines[1:] if x.startswith("2026-01-07"))]) + "\n")
    market = chain_snapshot(read_chain(one))
    ours, theirs = read_days(days)[0]["BTC"][2], market_chain(market, "BTC")
    assert ours.valuation_time == theirs.valuation_time
    for name in ("years", "forward", "strike", "volatility", "spread"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-9)


def test_units_of_quotes_are_read_off_them(days, tmp_path):
    """Bids and asks in coins, and the same chain with them in the currency."""
    lines = days.read_text().splitlines()
    one = tmp_path / "one.csv"
    one.write_text("\n".join(lines[: sum(x.startswith("2026-01-05") for x in lines) + 1]) + "\n")
    coins = chain_snapshot(read_chain(one))
    q = coins.quotes
    forward = np.array([coins.forwards["BTC", e] for e in q.expiry])
    currency = replace(coins, quotes=replace(q, bid=q.bid * forward, ask=q.ask * forward, mark=q.mark * forward))
    assert with_units(coins).linear_marks == {} and with_units(currency).linear_marks == {"BTC": "USD"}
    np.testing.assert_allclose(market_chain(with_units(currency), "BTC").spread, market_chain(with_units(coins), "BTC").spread, rtol=1e-9)


def test_a_start_needs_no_search_and_ends_where_the_search_ends(days, tmp_path):
    first = calibrate_chains(Request("heston", (str(days),), tmp_path / "a.toml"))
    again = calibrate_chains(Request("heston", (str(days),), tmp_path / "b.toml", start=tmp_path / "a.toml"))
    for name, row in first["fits"]["BTC"]["parameters"].items():
        assert table_value(again["fits"]["BTC"], name) == pytest.approx(row["value"], rel=1e-6)
    with pytest.raises(InputError, match="UPM-CA-218"):
        a = (tmp_path / "a.toml").read_text().replace('"BTC"', '"XRP"')
        (tmp_path / "c.toml").write_text(a)
        calibrate_chains(Request("heston", (str(days),), tmp_path / "b.toml", start=tmp_path / "c.toml"))


@pytest.mark.parametrize("name", ["merton", "bates"])
def test_files_of_jumps_are_read_by_their_models(name, tmp_path):
    """Prices of cases in, a file of the model out, its numbers those of the truth; started from again by --start."""
    chain = chain_of(name, TRUTH[name])
    rows = ["option_type,forward,strike,time_to_expiry,rate,market_price"]
    t = chain.years[chain.expiry]
    for f, k, years, p in zip(chain.forward, chain.strike, t, chain.price * chain.forward, strict=True):
        rows.append(f"{'call' if k >= f else 'put'},{float(f)!r},{float(k)!r},{float(years)!r},0.05,{float(p * np.exp(-0.05 * years))!r}")
    (tmp_path / "chain.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "p.toml"
    found = calibrate_chains(Request(name, (str(tmp_path / "chain.csv"),), out, per_expiry=True, page=tmp_path / "p.html"))
    assert len(found["per_expiry"]["chain"]) == 5 and b"expiry by expiry" in (tmp_path / "p.html").read_bytes()
    spec = ScenarioSpec(model=name, parameters=str(out))
    model = (merton if name == "merton" else bates).read(str(out), spec)
    jumps = model.jumps
    assert jumps is not None
    np.testing.assert_allclose([jumps.own_intensity[0], jumps.own_mean[0], jumps.own_deviation[0]], TRUTH[name][-3:], rtol=1e-4)
    if name == "merton":
        assert model.state_names == ("log_level[chain]",) and model.daily_volatility[0] * np.sqrt(365.0) == pytest.approx(TRUTH[name][0], rel=1e-4)
    again = calibrate_chains(Request(name, (str(tmp_path / "chain.csv"),), tmp_path / "q.toml", start=out))
    assert again["fits"]["chain"]["iterations"] <= 3


def test_refusals(days, tmp_path, capsys, monkeypatch):
    out = tmp_path / "h.toml"
    for arguments, code in ((("--objective", "yield"), "UPM-CA-215"), (("--engine", "torch"), "UPM-CA-215"), (("--weights", "volume"), "UPM-CA-215"), (("--underlying", "DOGE"), "UPM-CA-210"), (("--expiry", "2031"), "UPM-CA-210")):
        done = here(capsys, monkeypatch, "calibrate", "heston", days, "--out", out, *arguments)
        assert done.code == 3 and code in done.err and not out.exists(), done.err
    bad = days.read_text().replace(",60000,", ",60000,x", 1)
    (tmp_path / "bad.csv").write_text(bad)
    with pytest.raises(InputError, match=r"UPM-MD-103 bad.csv line 2 column mark_price"):
        calibrate_chains(Request("heston", (str(tmp_path / "bad.csv"),), out))
    text = gzip.compress(b"option_type,forward,strike,time_to_expiry,market_price\ncall,100,90,0.5,9.5\n" + b"call,100,110,0.5,3\n" * 8)
    (tmp_path / "low.csv.gz").write_bytes(text)
    with pytest.raises(CalibrationError, match=r"UPM-CA-211 low.csv.gz line 2 column market_price: 9.5 is an arbitrage"):
        calibrate_chains(Request("heston", (str(tmp_path / "low.csv.gz"),), out))
    with pytest.raises(CalibrationError, match="UPM-CA-215"):
        calibrate_chains(Request("merton", (str(days),), out, feller=True))


def test_arbitrage_is_counted_or_refused(tmp_path):
    """A strike whose call costs more than the lower strike's, far beyond its spread."""
    lines = [HEADER, *snapshot_rows(datetime(2026, 1, 5, 9, 30, tzinfo=UTC), TRUTH["heston"])]
    fields = [line.split(",") for line in lines[1:]]
    calls = [i for i, f in enumerate(fields) if f[1].endswith("-C") and "5APR26" in f[1]]
    bent = fields[calls[-2]]
    years = (datetime(2026, 4, 5, 8, tzinfo=UTC) - datetime(2026, 1, 5, 9, 30, tzinfo=UTC)).total_seconds() / 86_400.0 / 365.0
    sigma, strike, forward = float(bent[6]) + 0.6, float(bent[1].split("-")[2]), float(bent[2])
    mark = float(black_undiscounted(forward, strike, np.log(forward / strike), sigma * np.sqrt(years), 1.0) / forward)
    bent[5:9] = [repr(mark), repr(sigma), repr(mark * 0.99), repr(mark * 1.01)]
    path = tmp_path / "bent.csv"
    path.write_text("\n".join([lines[0], *(",".join(f) for f in fields)]) + "\n")
    found = calibrate_chains(Request("heston", (str(path),), tmp_path / "h.toml"))
    assert any("UPM-CA-214" in w and "arbitrage" in w and "0 beyond" not in w for w in found["warnings"])
    with pytest.raises(CalibrationError, match=r"UPM-CA-211 .*arbitrage in the quotes"):
        calibrate_chains(Request("heston", (str(path),), tmp_path / "x.toml", arbitrage="refuse"))


def test_two_underlyings_need_a_correlation(days, tmp_path):
    text = days.read_text()
    both = tmp_path / "both.csv"
    both.write_text(text + "\n".join(line.replace(",BTC-", ",ETH-") for line in text.splitlines()[1:]) + "\n")
    with pytest.raises(CalibrationError, match="UPM-CA-217"):
        calibrate_chains(Request("heston", (str(both),), tmp_path / "h.toml"))
    found = calibrate_chains(Request("heston", (str(both),), tmp_path / "h.toml", history="sample:crypto"))
    assert set(found["fits"]) == {"BTC", "ETH"}
    written = tomllib.loads((tmp_path / "h.toml").read_text())
    assert 0.5 < written["correlation"][0][1] < 1.0 and written["correlation"][0][0] == 1.0


def test_the_text_of_the_summary(days, tmp_path, capsys, monkeypatch):
    done = here(capsys, monkeypatch, "calibrate", "heston", days, "--out", tmp_path / "h.toml", "--feller")
    assert done.code == 0, done.err
    assert "BTC: heston, " in done.out and "last of 5 chains" in done.out and "vol_of_vol" in done.out and "feller" in done.out
