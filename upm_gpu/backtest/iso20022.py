"""Monthly results as ISO 20022 messages: auth.066.001.01, CCPBackTestingResultReportV01, a clearing house's report to its authority.

    Document (urn:iso:std:iso:20022:tech:xsd:auth.066.001.01)
      CCPBckTstgRsltRpt
        MnthlyRslt 1..n      in the order of the months
          NbOfObsrvtns       whole, at least 1: portfolios of the month times their days; one day of one portfolio is one observation, as Cvrg asks
          NbOfXcptns         whole: losses above the margin held
          Cvrg               1 - NbOfXcptns / NbOfObsrvtns, 10 decimals
          LrgstXcptn Ccy     the largest loss less the margin held against it, 5 decimals of 18 digits; 0 without an exception
          AvrgXcptn Ccy      mean of the same over the exceptions
          LrgstXcptnId 0..1  of the largest: Id the portfolio, Desc its day, loss and margin; left out without an exception

Left out, being optional and without data here: LrgstXcptnId/Issr and SchmeNm (who assigns account identifiers, and under which scheme) and SplmtryData. The message has no field
for month, model or level: each model and level has a message of its own, and `auth066.csv` says what its n-th MnthlyRslt is. Elements, order and facets as published for the
message definition (CCP data reporting; mx-message.com, auth.066.001.01); the business header (head.001) belongs to the sender.
Verified by tests/known_answers/test_iso20022.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as Tree

import numpy as np

from upm_gpu.backtest.observations import observe

if TYPE_CHECKING:
    import pandas as pd

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:auth.066.001.01"
FOLDER, INDEX = "auth066", "auth066.csv"
DIGITS, DECIMALS = 18, 5
"""of an amount"""
FIELDS = ("message", "monthly_result", "model", "level", "month", "number_of_observations", "number_of_exceptions", "coverage", "largest_exception", "average_exception", "currency",
          "largest_exception_identification", "largest_exception_date")
"""columns of the index"""


@dataclass(frozen=True)
class Money:
    """What a loss per unit of gross notional is in money."""

    currency: str
    """ISO 4217"""
    notional: float | None
    """gross, of every portfolio; None: the table's column `notional`"""


def monthly_results(table: pd.DataFrame, money: Money) -> pd.DataFrame:
    """`FIELDS` of every model, level and month, in the order of the table; amounts in money."""
    import pandas as pd

    held = table.assign(month=table["date"].astype(str).str[:7], size=table["notional"] if money.notional is None else money.notional)
    rows: list[dict[str, Any]] = []
    for number, ((model, level), own) in enumerate(held.groupby(["model", "level"], sort=False), 1):
        for place, (month, days) in enumerate(own.groupby("month", sort=True), 1):
            size = days["size"].to_numpy(np.float64)
            loss, margin = days["loss"].to_numpy(np.float64), days["margin"].to_numpy(np.float64)
            excess = (loss - margin) * size
            seen, worst = observe(excess, 0.0), int(np.argmax(excess))
            some = seen.number_of_exceptions > 0
            rows.append({"message": f"{FOLDER}/{number:02d}.xml", "monthly_result": place, "model": str(model), "level": float(level), "month": str(month),
                         "number_of_observations": seen.number_of_observations, "number_of_exceptions": seen.number_of_exceptions, "coverage": seen.coverage,
                         "largest_exception": seen.largest_exception, "average_exception": seen.average_exception, "currency": money.currency,
                         "largest_exception_identification": str(days["portfolio"].iloc[worst]) if some else "", "largest_exception_date": str(days["date"].iloc[worst]) if some else "",
                         "loss": float(loss[worst] * size[worst]), "margin": float(margin[worst] * size[worst])})
    return pd.DataFrame(rows)


def messages(results: pd.DataFrame) -> dict[str, bytes]:
    """Path inside the folder -> the message, one a model and level."""
    return {str(path): message([{str(k): v for k, v in row.items()} for row in own.to_dict("records")]) for path, own in results.groupby("message", sort=False)}


def message(months: list[dict[str, Any]]) -> bytes:
    """One message of rows of `monthly_results`, UTF-8."""
    document = Tree.Element("Document", {"xmlns": NAMESPACE})
    report = Tree.SubElement(document, "CCPBckTstgRsltRpt")
    for month in months:
        result = Tree.SubElement(report, "MnthlyRslt")
        _leaf(result, "NbOfObsrvtns", f"{month['number_of_observations']:d}")
        _leaf(result, "NbOfXcptns", f"{month['number_of_exceptions']:d}")
        _leaf(result, "Cvrg", f"{month['coverage']:.10f}")
        currency = {"Ccy": month["currency"]}
        _leaf(result, "LrgstXcptn", _amount(month["largest_exception"]), currency)
        _leaf(result, "AvrgXcptn", _amount(month["average_exception"]), currency)
        if month["number_of_exceptions"]:
            which = Tree.SubElement(result, "LrgstXcptnId")
            _leaf(which, "Id", _text(month["largest_exception_identification"], 256))
            _leaf(which, "Desc", _text(f"margin of {month['largest_exception_date']}: loss {_amount(month['loss'])}, margin {_amount(month['margin'])} {month['currency']}", 140))
    Tree.indent(document)
    return bytes(Tree.tostring(document, encoding="UTF-8", xml_declaration=True)) + b"\n"


def _leaf(parent: Tree.Element, name: str, text: str, attributes: Mapping[str, str] | None = None) -> None:
    Tree.SubElement(parent, name, dict(attributes or {})).text = text


def _amount(value: float) -> str:
    """Fewer decimals where the whole part leaves no room for five.

    >>> _amount(12.3456789), _amount(1e15)
    ('12.34568', '1000000000000000.00')
    """
    return f"{value:.{max(0, min(DECIMALS, DIGITS - len(f'{abs(value):.0f}')))}f}"


def _text(value: str, length: int) -> str:
    """At most so long; what XML 1.0 does not allow becomes a question mark.

    >>> _text("a" + chr(7) + "b", 256)
    'a?b'
    """
    return "".join(c if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff" else "?" for c in value)[:length] or "?"
