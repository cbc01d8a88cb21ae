"""The ISO 20022 back-test report: elements, order and facets of auth.066.001.01, and its figures counted by hand."""

from __future__ import annotations

import re
from decimal import Decimal
from xml.etree import ElementTree as Tree

import pandas as pd
import pytest

from upm_gpu.backtest.iso20022 import FIELDS, Money, message, messages, monthly_results

HEAD = "{urn:iso:std:iso:20022:tech:xsd:auth.066.001.01}"
# of MonthlyResult1: element, least and most of it, pattern of its text; amounts carry Ccy
ELEMENTS = (("NbOfObsrvtns", 1, 1, r"[1-9]\d{0,17}"), ("NbOfXcptns", 1, 1, r"\d{1,18}"), ("Cvrg", 1, 1, r"[01]\.\d{1,10}"), ("LrgstXcptn", 1, 1, r"\d+(\.\d{1,5})?"),
            ("AvrgXcptn", 1, 1, r"\d+(\.\d{1,5})?"), ("LrgstXcptnId", 0, 1, r"\s*"))
IDENTIFICATION = (("Id", 1, 1, 256), ("Desc", 0, 1, 140), ("Issr", 0, 1, 35), ("SchmeNm", 0, 1, 4))


def held(content: bytes) -> list[dict[str, str]]:
    """The months of a message, its structure checked element by element."""
    document = Tree.fromstring(content)
    assert document.tag == f"{HEAD}Document" and [c.tag for c in document] == [f"{HEAD}CCPBckTstgRsltRpt"]
    months = list(document[0])
    assert months and {m.tag for m in months} == {f"{HEAD}MnthlyRslt"}
    found = []
    for month in months:
        names = [c.tag.removeprefix(HEAD) for c in month]
        assert names == sorted(names, key=[e[0] for e in ELEMENTS].index)
        for name, least, most, pattern in ELEMENTS:
            own = [c for c in month if c.tag == HEAD + name]
            assert least <= len(own) <= most, name
            for c in own:
                assert re.fullmatch(pattern, c.text or ""), (name, c.text)
                assert set(c.attrib) == ({"Ccy"} if name in ("LrgstXcptn", "AvrgXcptn") else set())
                if c.attrib:
                    assert re.fullmatch("[A-Z]{3}", c.attrib["Ccy"]) and len(Decimal(c.text).as_tuple().digits) <= 18
        which = month.find(f"{HEAD}LrgstXcptnId")
        parts = {} if which is None else {c.tag.removeprefix(HEAD): c.text for c in which}
        assert list(parts) == sorted(parts, key=[e[0] for e in IDENTIFICATION].index)
        for name, least, _, longest in IDENTIFICATION:
            assert (which is None or not least or name in parts) and len(parts.get(name, "x")) <= longest
        found.append({c.tag.removeprefix(HEAD): c.text for c in month} | parts)
    return found


def days(**columns) -> pd.DataFrame:
    base = {"date": ["2020-02-28", "2020-03-12", "2020-03-12", "2020-03-13"], "portfolio": ["A", "A", "B <&", "A"], "model": "m", "level": 0.99,
            "loss": [0.01, 0.40, 0.50, 0.02], "margin": [0.10, 0.15, 0.10, 0.02]}
    return pd.DataFrame({**base, **columns})


def test_by_hand():
    """February has a day and no exception; March three observations, two exceptions of 0.25 and 0.4 of a million; a loss equal to its margin is none."""
    results = monthly_results(days(), Money("EUR", 1e6))
    assert list(results[list(FIELDS)].iloc[1])[4:9] == ["2020-03", 3, 2, pytest.approx(1.0 / 3.0), pytest.approx(4e5)]
    february, march = held(messages(results)["auth066/01.xml"])
    assert february == {"NbOfObsrvtns": "1", "NbOfXcptns": "0", "Cvrg": "1.0000000000", "LrgstXcptn": "0.00000", "AvrgXcptn": "0.00000"}
    assert march["NbOfObsrvtns"] == "3" and march["NbOfXcptns"] == "2" and march["Cvrg"] == "0.3333333333"
    assert march["LrgstXcptn"] == "400000.00000" and march["AvrgXcptn"] == "325000.00000"
    assert march["Id"] == "B <&" and march["Desc"] == "margin of 2020-03-12: loss 500000.00000, margin 100000.00000 EUR"


def test_the_largest_in_money_is_not_the_largest_share():
    march = held(messages(monthly_results(days(notional=[1.0, 1e9, 10.0, 1.0]), Money("USD", None)))["auth066/01.xml"])[1]
    assert march["Id"] == "A" and march["LrgstXcptn"] == "250000000.00000"


def test_each_model_and_level_has_a_message_of_its_own():
    table = pd.concat([days(), days(level=0.95), days(model="n")], ignore_index=True)
    results = monthly_results(table, Money("USD", 1.0))
    made = messages(results)
    assert list(made) == ["auth066/01.xml", "auth066/02.xml", "auth066/03.xml"] and all(len(held(c)) == 2 for c in made.values())
    assert results["monthly_result"].tolist() == [1, 2] * 3


def test_names_and_amounts_that_do_not_fit():
    wide = {"number_of_observations": 1, "number_of_exceptions": 1, "coverage": 0.0, "largest_exception": 123456789012345678.0, "average_exception": 1e15 + 0.25, "currency": "USD",
            "largest_exception_identification": "\x07" + "n" * 300, "largest_exception_date": "2020-03-12", "loss": 1.0, "margin": 0.5}
    month = held(message([wide]))[0]
    assert len(month["Id"]) == 256 and month["Id"].startswith("?n") and month["AvrgXcptn"] == "1000000000000000.25"
