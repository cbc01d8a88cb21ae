"""`upm price`: one row a case, a code where there is no value, never a traceback, never a row lost."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from upm_gpu.errors import InputError, UpmError
from upm_gpu.price_cases import price_cases
from upm_gpu.pricing.cases import RESULTS

HEADER = "case_id,product,model,option_type,spot,forward,strike,time_to_expiry,rate,dividend_yield,volatility,market_price,settlement"
GOOD = "good,european,black_scholes,call,42,,40,0.5,0.1,0,0.2,,linear"


@pytest.fixture(params=["reference", "cpu"])
def device(request: pytest.FixtureRequest) -> str:
    """Backends of the table; a missing native build is told by `upm doctor` and tested elsewhere."""
    from upm_gpu.backend.select import choose

    try:
        choose(request.param, "double")
    except UpmError as error:
        pytest.skip(str(error))
    return request.param


def priced(folder: Path, text: str, device: str = "reference") -> list[dict[str, str]]:
    path = folder / "cases.csv"
    path.write_text(text, encoding="utf-8")
    return list(csv.DictReader(io.StringIO(price_cases(path, device))))


def test_values_and_columns(tmp_path, device):
    rows = priced(tmp_path, f"""{HEADER}
{GOOD}
implied,european,,call,21,,20,0.25,0.1,,,1.875,
future,european,black_scholes,put,,20,20,0.3333333333333333,0.09,,0.25,,linear
coin,european,black_scholes,put,,50000,40000,0.0821917808219178,,,0.8,,inverse
""", device)
    assert tuple(rows[0])[-len(RESULTS):] == RESULTS
    spot, implied, future, coin = rows
    assert float(spot["price"]) == pytest.approx(4.759422392871533, rel=1e-13) and float(spot["theta"]) == pytest.approx(-4.559092194592626, rel=1e-12)
    assert float(spot["dividend_rho"]) == pytest.approx(-16.36175710979605, rel=1e-12)
    assert float(implied["implied_volatility"]) == pytest.approx(0.2345129139976438, abs=1e-12) and float(implied["price"]) == pytest.approx(1.875)
    assert float(future["price"]) == pytest.approx(1.1166414565589433, rel=1e-13) and future["dividend_rho"] == ""
    assert float(coin["price_coin"]) == pytest.approx(0.017916541614853967, rel=1e-11)
    assert float(coin["delta_coin"]) == pytest.approx(-0.15630169643794437, rel=1e-11)
    assert spot["price_coin"] == spot["implied_volatility"] == spot["error"] == ""
    assert [r["method"] for r in rows] == ["black_scholes_generalised", "black_scholes_generalised_implied_volatility", "black_76", "black_76_inverse"]


@pytest.mark.parametrize(("row", "code"), [
    ("x,american,black_scholes,put,40,,40,1,-0.02,-0.05,0.2,,", "UPM-PR-064"),
    ("x,american,black_scholes,put,40,,40,1,0.1,,0.2,,inverse", "UPM-PR-066"),
    ("x,american,heston,put,40,,40,1,0.1,,0.2,,", "UPM-PR-011"),
    ("x,swaption,black_scholes,put,40,,40,1,0.1,,0.2,,", "UPM-PR-010"),
    ("x,european,heston,put,40,,40,1,0.1,,0.2,,", "UPM-PR-016"),
    ("x,european,,C,40,,40,1,0.1,,0.2,,", "UPM-PR-013"),
    ("x,european,,put,40,,40,1,0.1,,0.2,,quanto", "UPM-PR-014"),
    ('x,european,,put,40,,"1,000",1,0.1,,0.2,,', "UPM-PR-015"),
    ("x,european,,put,nan,,40,1,0.1,,0.2,,", "UPM-PR-015"),
    ("x,european,,put,40,,,1,0.1,,0.2,,", "UPM-PR-016"),
    ("x,european,,put,40,40,40,1,0.1,,0.2,,", "UPM-PR-017"),
    ("x,european,,put,,,40,1,0.1,,0.2,,", "UPM-PR-017"),
    ("x,european,,put,40,,-40,1,0.1,,0.2,,", "UPM-PR-018"),
    ("x,european,,put,0,,40,1,0.1,,0.2,,", "UPM-PR-018"),
    ("x,european,,put,40,,40,-1,0.1,,0.2,,", "UPM-PR-018"),
    ("x,european,,put,40,,40,0,0.1,,,5,", "UPM-PR-018"),
    ("x,european,,put,40,,40,1,0.1,,,,", "UPM-PR-019"),
    ("x,european,,put,20,,40,1,0,,,19,", "UPM-PR-020"),
    ("x,european,,put,40,,40,1,0.1,,,99,", "UPM-PR-021"),
    ("x,european,,put,20,,40,1,0,,,20,", "UPM-PR-022"),
    ("x,european,,put,40", "UPM-PR-023"),
    ("x,european,,put,40,,40,1,0.1,,0.2,,,,,extra", "UPM-PR-023"),
    ("x,european,,call,1e300,,1e-300,1000,-9,,0.2,,", "UPM-PR-024"),
])
def test_a_bad_row_costs_itself_only(row, code, tmp_path, capsys, device):
    before, bad, after = priced(tmp_path, f"{HEADER}\n{GOOD}\n{row}\n{GOOD}\n", device)
    assert bad["error"] == code and bad["case_id"] == "x"
    assert all(bad[name] == "" for name in RESULTS if name not in ("error", "method"))
    assert before["price"] == after["price"] != "" and before["error"] == after["error"] == ""
    told = capsys.readouterr().err
    assert f"{code} line 3" in told and told.count("\n") == 1


@pytest.mark.parametrize(("row", "code"), [
    ("x,european,,call,,42,40,0.5,0.1,,0.2,,,0.25:1.5", "UPM-PR-012"),
    ("x,european,,call,42,,40,0.5,0.1,,0.2,,inverse,0.25:1.5", "UPM-PR-012"),
    ("x,american,,call,42,,40,0.5,0.1,,,3,,0.25:1.5", "UPM-PR-012"),
    ("x,american,,call,42,,40,0.5,-0.1,,0.2,,,0.25:1.5", "UPM-PR-064"),
    ("x,american,,call,42,,40,0.5,0.1,,0.2,,,0.25", "UPM-PR-067"),
    ("x,american,,call,42,,40,0.5,0.1,,0.2,,,0.25:1;0.25:1", "UPM-PR-067"),
    ("x,american,,call,42,,40,0.5,0.1,,0.2,,,-0.25:1", "UPM-PR-067"),
    ("x,american,,call,42,,40,0.5,0.1,,0.0001,,,0.25:1", "UPM-PR-067"),
])
def test_dividends_are_not_ignored(row, code, tmp_path):
    assert priced(tmp_path, f"{HEADER},dividends\n{row}\n")[0]["error"] == code


def test_cash_dividends(tmp_path, device):
    """Both exercises beside rows without dividends; a dividend after the expiry has no effect."""
    rows = priced(tmp_path, "\n".join([f"{HEADER},dividends", "a,european,,call,100,,90,0.5,0.03,0,0.25,,,0.2:2; 0.4:1.5", "b,american,,call,100,,90,0.5,0.03,0,0.25,,,0.4:1.5;0.2:2",
                                       "c,european,,put,100,,90,0.5,0.03,0,0.25,,,0.2:2;0.4:1.5", "d,american,,put,100,,90,0.5,0.03,0,0.25,,,0.7:2",
                                       "e,american,,put,100,,90,0.5,0.03,0,0.25,,,"]), device)
    call, early, put, late, plain = (float(r["price"]) for r in rows)
    parity = 100.0 - 2.0 * 2.718281828459045 ** (-0.006) - 1.5 * 2.718281828459045 ** (-0.012) - 90.0 * 2.718281828459045 ** (-0.015)
    assert call - put == pytest.approx(parity, abs=1e-4) and early > call + 0.01
    assert late == pytest.approx(plain, abs=2e-4)
    assert [r["method"] for r in rows] == ["piecewise_lognormal_finite_differences"] * 4 + ["american_boundary"] and all(r["error"] == "" for r in rows)


def test_rows_come_back_as_they_were(tmp_path):
    """Order, unknown columns and spelling are kept; text that a spreadsheet would run is escaped; results replace old results."""
    text = f"note,{HEADER},price\r\n=1+1,{GOOD},99\r\n-5,{GOOD},98\r\n" + "NA," + GOOD.replace("good", "007") + ",\r\n"
    rows = priced(tmp_path, "\ufeff" + text)
    assert [r["note"] for r in rows] == ["'=1+1", "-5", "NA"]
    assert [r["case_id"] for r in rows] == ["good", "good", "007"]
    assert [r["strike"] for r in rows] == ["40"] * 3 and len({r["price"] for r in rows}) == 1 and rows[0]["price"].startswith("4.759")


@pytest.mark.parametrize(("content", "code"), [
    (b"", "UPM-PR-004"), (b"\n\n", "UPM-PR-004"), (b"case_id,strike\na,1\n", "UPM-PR-005"), (b"product,strike,strike\na,1,1\n", "UPM-PR-005"),
    (b"product\n\xff\xfe\n", "UPM-PR-003"), (b'product,strike\n"european,1\n', "UPM-PR-003")])
def test_a_file_that_is_no_table(content, code, tmp_path):
    path = tmp_path / "cases.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        price_cases(path, "reference")
    assert raised.value.code == code


def test_missing_and_compressed_files(tmp_path):
    with pytest.raises(InputError, match="UPM-PR-003"):
        price_cases(tmp_path / "none.csv", "reference")
    whole = gzip.compress(f"{HEADER}\n{GOOD}\n".encode())
    (tmp_path / "cases.csv.gz").write_bytes(whole)
    assert ",4.759" in price_cases(tmp_path / "cases.csv.gz", "reference")
    (tmp_path / "cases.csv.gz").write_bytes(whole[:-20])
    with pytest.raises(InputError, match="UPM-PR-003"):
        price_cases(tmp_path / "cases.csv.gz", "reference")


def test_only_a_header(tmp_path):
    assert priced(tmp_path, HEADER + "\n") == []


def test_command(tmp_path):
    """stdout is the table, stderr the messages; --out writes the same bytes."""
    from upm_gpu.cli import app

    path, out = tmp_path / "cases.csv", tmp_path / "priced.csv"
    path.write_text(f"{HEADER}\n{GOOD}\n")
    shown = CliRunner().invoke(app, ["price", str(path), "--device", "reference"])
    assert shown.exit_code == 0 and shown.stdout.startswith(HEADER)
    assert CliRunner().invoke(app, ["price", str(path), "--device", "reference", "--out", str(out)]).exit_code == 0
    assert out.read_text() == shown.stdout
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["cases.csv", "priced.csv"]
    with pytest.raises(UpmError, match="UPM-CF-090"):
        price_cases(path, "reference", tmp_path / "missing" / "priced.csv")


def test_the_collection_of_known_answers_through_the_table(tmp_path, device):
    """The file of known answers as a table of cases: the same prices."""
    cases = json.loads((Path(__file__).parents[1] / "known_answers" / "reference" / "1_european_bs.json").read_text())["cases"]
    plain = [c for c in cases if c["group"].startswith(("benchop", "edge", "haug1998_price"))]
    lines = [f"{c['id']},european,black_scholes,{i['option_type']},{i['spot']},,{i['strike']},{i['maturity_years']},{i['rate_cc']},{i['carry_yield_cc']},"
             f"{i['vol_annual']},," for c in plain for i in [c["inputs"]]]
    rows = priced(tmp_path, "\n".join([HEADER, *lines]) + "\n", device)
    assert len(rows) == len(plain) > 40
    for case, row in zip(plain, rows, strict=True):
        expected = case["expected"].get("price_full_precision", case["expected"]["price"])
        assert float(row["price"]) == pytest.approx(expected, rel=1e-11, abs=1e-15 * case["inputs"]["spot"]), case["id"]


def test_american(tmp_path, device):
    """Put of the Longstaff-Schwartz table, an option on a future, and the volatility of a price; the bound of each is the European price."""
    rows = priced(tmp_path, "\n".join([HEADER, "put,american,,put,40,,40,1,0.06,,0.4,,", "future,american,,call,,42,40,0.75,0.04,,0.35,,",
                                       "implied,american,,put,40,,40,1,0.06,,,5.318293838612898,", "plain,european,,put,40,,40,1,0.06,,0.4,,"]), device)
    put, future, implied, plain = rows
    assert float(put["price"]) == pytest.approx(5.318293838612898, abs=1e-6) and put["method"] == "american_boundary"
    assert float(put["price"]) > float(plain["price"])
    assert float(implied["implied_volatility"]) == pytest.approx(0.4, abs=1e-7) and implied["method"] == "american_boundary_implied_volatility"
    assert future["dividend_rho"] == "" and float(future["delta"]) > 0.5 and all(r["error"] == "" for r in rows)
