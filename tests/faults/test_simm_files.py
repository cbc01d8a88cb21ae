"""Bad CRIF rows and bad calibrations are refused with their code, place and remedy; nothing is computed."""

from __future__ import annotations

import pytest
from command_line import here
from simm_rows import COLUMNS, write_crif

from upm_gpu.errors import InputError
from upm_gpu.rulebook.simm.crif import read_crif
from upm_gpu.rulebook.simm.parameters import load_calibration
from upm_gpu.shipped import package_file

GOOD = ("Risk_IRCurve", "USD", "1", "10y", "OIS", 5.0)
ROWS = [
    (("Risk_IRCurv", "USD", "1", "10y", "OIS", 5.0), "UPM-IN-123", ("line 3", "column RiskType", "Did you mean Risk_IRCurve?")),
    (("Risk_IRCurve", "USD", "3", "10y", "OIS", 5.0), "UPM-IN-128", ("column Bucket", "Give 1, or leave it blank")),
    (("Risk_Equity", "ALPHA", "14", "", "", 5.0), "UPM-IN-128", ("equity", "1 to 12 or Residual")),
    (("Risk_Commodity", "Coal", "Residual", "", "", 5.0), "UPM-IN-128", ("1 to 17.",)),
    (("Risk_IRCurve", "USD", "1", "4y", "OIS", 5.0), "UPM-IN-129", ("column Label1", "2w, 1m")),
    (("Risk_IRCurve", "USD", "1", "10y", "SOFR", 5.0), "UPM-IN-129", ("column Label2", "OIS, Libor1m")),
    (("Risk_CreditNonQ", "T1", "1", "5y", "", 5.0), "UPM-IN-129", ("column Label2", "CMBX")),
    (("Risk_IRCurve", "USD", "1", "10y", "OIS", "1,5"), "UPM-IN-122", ("7 cells", "the header has 6")),
    (("Risk_IRCurve", "USD", "1", "10y", "OIS", "5e"), "UPM-IN-125", ("column AmountUSD", "5e")),
    (("Risk_IRCurve", "USD", "1", "10y", "OIS", "nan"), "UPM-IN-125", ("column AmountUSD",)),
    (("Risk_FX", "US", "", "", "", 5.0), "UPM-IN-127", ("three letters",)),
    (("Risk_FXVol", "EUREUR", "", "1y", "", 5.0), "UPM-IN-127", ("EURUSD",)),
    (("Risk_CreditQ", "", "2", "5y", "", 5.0), "UPM-IN-127", ("blank",)),
    (("Param_ProductClassMultiplier", "RatesFX", "", "", "", 0.5), "UPM-IN-130", ("from 1 up",)),
    (("Param_AddOnFixedAmount", "", "", "", "", -1.0), "UPM-IN-130", ("0 or more",)),
    (("Notional", "", "", "", "", 1.0), "UPM-IN-130", ("names no product",)),
]


@pytest.mark.parametrize(("row", "code", "words"), ROWS, ids=[f"{code[-3:]}-{row[0]}" for row, code, _ in ROWS])
def test_bad_rows(tmp_path, row, code, words):
    with pytest.raises(InputError) as raised:
        read_crif(write_crif(tmp_path, [GOOD, row]), load_calibration())
    assert raised.value.code == code and all(w in str(raised.value) for w in ("crif.csv line 3", *words)), raised.value


@pytest.mark.parametrize(("content", "code", "words"), [
    (b"", "UPM-IN-121", ("no row", "RiskType")),
    (b"RiskType,Qualifier,Bucket,Label1,Label2,AmountUSD\n", "UPM-IN-121", ("no row",)),
    (b"RiskType,Qualifier,Bucket,Label1,Label2,Amount\nRisk_FX,EUR,,,,5\n", "UPM-IN-121", ("no column AmountUSD", "not converted")),
    (b"RiskType,RiskType,Qualifier,Bucket,Label1,Label2,AmountUSD\n", "UPM-IN-121", ("twice",)),
    (b"RiskType,Qualifier,Bucket,Label1,Label2,AmountUSD\nRisk_FX,\xff,,,,5\n", "UPM-IN-120", ("not UTF-8",)),
    (b'RiskType,Qualifier,Bucket,Label1,Label2,AmountUSD\nRisk_FX,"EUR,,,,5\n', "UPM-IN-120", ("quote",)),
    (b"RiskType,Qualifier,Bucket,Label1,Label2,AmountUSD,ProductClass\nRisk_FX,EUR,,,,5,Rates\n", "UPM-IN-126", ("RatesFX",)),
    (b"RiskType,Qualifier,Bucket,Label1,Label2,AmountUSD,IMModel\nRisk_FX,EUR,,,,5,Schedule\n", "UPM-IN-124", ("schedule",)),
])
def test_bad_files(tmp_path, content, code, words):
    path = tmp_path / "crif.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_crif(path, load_calibration())
    assert raised.value.code == code and all(w in str(raised.value) for w in words), raised.value


def test_every_bad_row_is_told_and_long_lists_are_cut(tmp_path):
    with pytest.raises(InputError) as raised:
        read_crif(write_crif(tmp_path, [("Risk_X", "USD", "", "", "", 1.0)] * 25), load_calibration())
    assert str(raised.value).count("column RiskType") == 20 and "and 5 more rows" in str(raised.value)


def test_case_and_tabs_are_read(tmp_path):
    path = tmp_path / "crif.csv"
    path.write_text("risktype\tqualifier\tBUCKET\tlabel1\tlabel2\tamountusd\tAmount\nrisk_ircurve\tusd\t\t10Y\tois\t5\t7\n\nRisk_IRVol\tUSD\t\t12m\t\t1\t1\n")
    rows = read_crif(path, load_calibration()).sensitivities
    assert [(r.risk_type, r.qualifier, r.label1, r.label2, r.amount) for r in rows] == [("Risk_IRCurve", "USD", "10y", "OIS", 5.0), ("Risk_IRVol", "USD", "1y", "", 1.0)]


SHIPPED = package_file("configs/methodology/simm") / "isda_simm_2_6.toml"


@pytest.mark.parametrize(("old", "new", "code", "words"), [
    ("correlation_curves = 0.993", "correlation_curves = 1.5", "UPM-CF-056", ("interest_rate.correlation_curves", "1.5 is no correlation")),
    ("correlation_curves = 0.993", "correlation_curves = 0.993\ncorrelation_curvs = 0.9", "UPM-CF-059", ("Did you mean correlation_curves?",)),
    ("weight_inflation_10d = 61.0", "weight_inflation_10d = 0.0", "UPM-CF-056", ("above 0",)),
    ("weight_low_10d = [15.0, ", "weight_low_10d = [", "UPM-CF-056", ("11 numbers", "12 tenors")),
    ("correlation_buckets = [[0.43]]", "correlation_buckets = [[0.43], [0.1]]", "UPM-CF-056", ("upper triangle",)),
    ('low_volatility = ["JPY"]', 'low_volatility = ["JPY", "USD"]', "UPM-CF-056", ("USD stands in two groups",)),
    ('currencies = []', 'currencies = ["ZAR"]', "UPM-CF-056", ("exactly one",)),
    ("    [0.77, 0.67,", "    [0.77, -0.67,", "UPM-CF-056", ("typing error",)),
    ('rule_book = "simm"', 'rule_book = "sim"', "UPM-CF-056", ("simm",)),
])
def test_bad_calibrations(tmp_path, old, new, code, words):
    text = SHIPPED.read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as raised:
        load_calibration(path)
    assert raised.value.code == code and all(w in str(raised.value) for w in ("mine.toml", *words)), raised.value


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (("--version", "9.9"), "UPM-CF-101", ("2.4, 2.6",)), (("--days", "5"), "UPM-CF-102", ("10 or 1",)), (("--side", "both"), "UPM-CF-102", ("call",)),
    (("--currency", "DOLLAR"), "UPM-CF-102", ("three letters",)),
])
def test_bad_options(tmp_path, capsys, monkeypatch, arguments, code, words):
    here(capsys, monkeypatch, "simm", write_crif(tmp_path, [GOOD]), *arguments).refused(2, code, *words)


def test_bad_rows_end_the_command(tmp_path, capsys, monkeypatch):
    here(capsys, monkeypatch, "simm", write_crif(tmp_path, [(*GOOD[:5], "x")], COLUMNS)).refused(3, "UPM-IN-125", "line 2")
    here(capsys, monkeypatch, "simm", tmp_path / "absent.csv").refused(3, "UPM-IN-120", "cannot be read")
