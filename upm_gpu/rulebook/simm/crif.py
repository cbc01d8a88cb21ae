"""A CRIF: the sensitivities of the ISDA standard model as comma or tab separated text, one row a sensitivity.

A margin that silently lacks a row is wrong, so one bad row refuses the file; every bad row is listed with its line, column and remedy.
Columns (any case, any order): RiskType, Qualifier, Bucket, Label1, Label2, AmountUSD; ProductClass, PortfolioID, TradeID and IMModel where
they are there; others are not read. Without a ProductClass column each risk class counts in its own product class.
Source of the columns and risk types: ISDA SIMM Risk Data Standards. Verified: tests/faults/test_simm_files.py.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from upm_gpu.domain.cells import CellFault, parse_number, shown
from upm_gpu.errors import InputError
from upm_gpu.rulebook.simm.parameters import BUCKETS, TENORS, Calibration, nearest_tenor
from upm_gpu.strict_toml import near_key

REQUIRED = ("RiskType", "Qualifier", "Bucket", "Label1", "Label2", "AmountUSD")
OPTIONAL = ("ProductClass", "PortfolioID", "TradeID", "IMModel")
PRODUCT_CLASSES = ("RatesFX", "Credit", "Equity", "Commodity")
CURVES = ("OIS", "Libor1m", "Libor3m", "Libor6m", "Libor12m", "Prime", "Municipal")
RISK_TYPES = {
    "Risk_IRCurve": "interest_rate", "Risk_Inflation": "interest_rate", "Risk_XCcyBasis": "interest_rate", "Risk_IRVol": "interest_rate",
    "Risk_InflationVol": "interest_rate", "Risk_CreditQ": "credit_qualifying", "Risk_CreditVol": "credit_qualifying", "Risk_BaseCorr": "credit_qualifying",
    "Risk_CreditNonQ": "credit_non_qualifying", "Risk_CreditVolNonQ": "credit_non_qualifying", "Risk_Equity": "equity", "Risk_EquityVol": "equity",
    "Risk_Commodity": "commodity", "Risk_CommodityVol": "commodity", "Risk_FX": "fx", "Risk_FXVol": "fx",
}
ADD_ONS = ("Param_AddOnFixedAmount", "Param_AddOnNotionalFactor", "Notional", "Param_ProductClassMultiplier")
OWN_PRODUCT_CLASS = {"interest_rate": "RatesFX", "fx": "RatesFX", "credit_qualifying": "Credit", "credit_non_qualifying": "Credit", "equity": "Equity",
                     "commodity": "Commodity"}
WITH_TENOR = ("Risk_IRCurve", "Risk_IRVol", "Risk_InflationVol", "Risk_CreditQ", "Risk_CreditVol", "Risk_CreditNonQ", "Risk_CreditVolNonQ", "Risk_EquityVol",
              "Risk_CommodityVol", "Risk_FXVol")
MOST_BYTES = 1 << 30
MOST_LISTED = 20
"""bad rows told one by one"""


@dataclass(frozen=True)
class Sensitivity:
    """One row; `bucket` is "" for the classes whose bucket is the currency or that have one bucket only."""

    portfolio: str
    product_class: str
    risk_type: str
    qualifier: str
    bucket: str
    label1: str
    label2: str
    amount: float
    """USD"""


@dataclass(frozen=True)
class Crif:
    """The rows of a file: sensitivities, and the parameters of add-ons with the portfolio they belong to."""

    sensitivities: tuple[Sensitivity, ...]
    add_ons: tuple[Sensitivity, ...]

    @property
    def portfolios(self) -> tuple[str, ...]:
        """In alphabetical order; "" where the file has no PortfolioID."""
        return tuple(sorted({row.portfolio for row in (*self.sensitivities, *self.add_ons)}))


class _BadCell(Exception):
    def __init__(self, code: str, column: str, message: str) -> None:
        super().__init__(message)
        self.code, self.column, self.message = code, column, message


def read_crif(path: Path, calibration: Calibration) -> Crif:
    """The rows of a CRIF, checked against the buckets of a calibration. Raises InputError UPM-IN-120 to 130."""
    name, text = path.name, _text(path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if "\t" in text.partition("\n")[0] else ",", strict=True)
    columns: dict[str, int] = {}
    width = 0
    kept: list[Sensitivity] = []
    added: list[Sensitivity] = []
    bad: list[tuple[str, str]] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns, width = _columns(cells, name, reader.line_num), len(cells)
                continue
            try:
                row = _row(cells, columns, width, calibration)
                (added if row.risk_type in ADD_ONS else kept).append(row)
            except _BadCell as fault:
                bad.append((fault.code, f"{name} line {reader.line_num} column {fault.column}: {fault.message}"))
    except csv.Error as error:
        raise InputError("UPM-IN-120", f"{name} line {reader.line_num}: cannot be read as CSV ({error}). Close every quote and write one sensitivity a line.") from None
    if bad:
        more = f"\n  and {len(bad) - MOST_LISTED} more rows" if len(bad) > MOST_LISTED else ""
        raise InputError(bad[0][0], "\n  ".join(message for _, message in bad[:MOST_LISTED]) + more)
    if not kept and not added:
        raise InputError("UPM-IN-121", f"{name}: no row. The first line names the columns ({', '.join(REQUIRED)}), every further one is a sensitivity.")
    return Crif(tuple(kept), tuple(added))


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError("UPM-IN-120", f"{path.name}: cannot be read: more than {MOST_BYTES >> 30} GiB. Split it by portfolio.")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError("UPM-IN-120", f"{path}: cannot be read ({error.strerror or error}). Give a CRIF as CSV.") from None
    except UnicodeDecodeError as error:
        raise InputError("UPM-IN-120", f"{path.name}: cannot be read: byte {error.start} is not UTF-8. Save the file as UTF-8.") from None


def _columns(header: list[str], name: str, line: int) -> dict[str, int]:
    """Place of every column that is read."""
    seen = [cell.strip().lower() for cell in header]
    known = {c.lower(): c for c in (*REQUIRED, *OPTIONAL)}
    twice = sorted({known[c] for c in seen if c in known and seen.count(c) > 1})
    if twice:
        raise InputError("UPM-IN-121", f"{name} line {line}: column {', '.join(twice)} appears twice. Keep one.")
    missing = [c for c in REQUIRED if c.lower() not in seen]
    if missing:
        near = near_key(missing[0], [c for c in seen if c not in known])
        hint = f" Is {near!a} meant?" if near else ""
        amount = " Amounts in other currencies are not converted: add AmountUSD." if "AmountUSD" in missing else ""
        raise InputError("UPM-IN-121", f"{name} line {line}: no column {', '.join(missing)}.{hint}{amount} The header has {', '.join(map(shown, header[:20]))}.")
    return {known[c]: i for i, c in enumerate(seen) if c in known}


def _row(cells: list[str], columns: dict[str, int], width: int, calibration: Calibration) -> Sensitivity:
    if len(cells) != width:
        raise _BadCell("UPM-IN-122", "all", f"{len(cells)} cells, the header has {width}. Give as many cells as columns.")
    cell = {name: cells[place].strip() for name, place in columns.items()}
    kind = next((k for k in (*RISK_TYPES, *ADD_ONS) if k.lower() == cell["RiskType"].lower()), "")
    if not kind:
        near = near_key(cell["RiskType"], [k.lower() for k in RISK_TYPES])
        hint = next((f"Did you mean {k}?" for k in RISK_TYPES if k.lower() == near), f"Known: {', '.join((*RISK_TYPES, *ADD_ONS))}.")
        raise _BadCell("UPM-IN-123", "RiskType", f"{shown(cell['RiskType'])} is not a risk type of the model. {hint}")
    if cell.get("IMModel", "").upper() not in ("", "SIMM", "SIMM-P"):
        raise _BadCell("UPM-IN-124", "IMModel", f"{shown(cell['IMModel'])} is not SIMM; the schedule and other models are not computed here. Leave such rows out.")
    try:
        amount = parse_number(cell["AmountUSD"])
    except CellFault as fault:
        raise _BadCell("UPM-IN-125", "AmountUSD", f"the amount of a sensitivity is no number: {fault}") from None
    product = _product_class(kind, cell)
    if kind in ADD_ONS:
        return _add_on(kind, cell, product, amount)
    return Sensitivity(cell.get("PortfolioID", ""), product, kind, _qualifier(kind, cell), _bucket(kind, cell, calibration), _tenor(kind, cell),
                       _label2(kind, cell), amount)


def _product_class(kind: str, cell: dict[str, str]) -> str:
    if kind in ADD_ONS:
        return ""
    if "ProductClass" not in cell:
        return OWN_PRODUCT_CLASS[RISK_TYPES[kind]]
    found = next((p for p in PRODUCT_CLASSES if p.lower() == cell["ProductClass"].lower()), "")
    if not found:
        raise _BadCell("UPM-IN-126", "ProductClass", f"{shown(cell['ProductClass'])} is not a product class. Give {', '.join(PRODUCT_CLASSES)}.")
    return found


def _qualifier(kind: str, cell: dict[str, str]) -> str:
    """The name; currencies in capitals, a pair in alphabetical order."""
    given = cell["Qualifier"]
    rates = RISK_TYPES[kind] == "interest_rate"
    if rates or kind == "Risk_FX":
        if not re.fullmatch("[A-Za-z]{3}", given):
            raise _BadCell("UPM-IN-127", "Qualifier", f"{shown(given)} is not a currency. The qualifier of {kind} is a code of three letters such as USD.")
        return given.upper()
    if kind == "Risk_FXVol":
        pair = re.fullmatch("([A-Za-z]{3})[/-]?([A-Za-z]{3})", given)
        if pair is None or pair[1].upper() == pair[2].upper():
            raise _BadCell("UPM-IN-127", "Qualifier", f"{shown(given)} is not a pair of currencies. The qualifier of {kind} is a pair such as EURUSD.")
        return "".join(sorted((pair[1].upper(), pair[2].upper())))
    if not given:
        raise _BadCell("UPM-IN-127", "Qualifier", f"the qualifier is blank. Give the name of the {RISK_TYPES[kind].replace('_', ' ')} risk.")
    return given


def _bucket(kind: str, cell: dict[str, str], calibration: Calibration) -> str:
    given, group = cell["Bucket"], RISK_TYPES[kind]
    if kind == "Risk_IRCurve":
        rates, currency = calibration.interest_rate, cell["Qualifier"].upper()
        right = "1" if currency in rates.regular_volatility else "2" if currency in rates.low_volatility else "3"
        if given not in ("", right):
            raise _BadCell("UPM-IN-128", "Bucket", f"{shown(given)} is not the bucket of {shown(currency)} in version {calibration.version}. Give {right}, or leave it blank.")
    if group in ("interest_rate", "fx") or kind == "Risk_BaseCorr":
        return ""
    names = [str(b) for b in range(1, BUCKETS[group] + 1)] + ["Residual"] * (group != "commodity")
    found = next((b for b in names if b.lower() == given.lower()), "")
    if not found:
        raise _BadCell("UPM-IN-128", "Bucket", f"{shown(given)} is not a bucket of {group.replace('_', ' ')}. Give {names[0]} to {BUCKETS[group]}{' or Residual' if 'Residual' in names else ''}.")
    return found


def _tenor(kind: str, cell: dict[str, str]) -> str:
    """The tenor in small letters; 12m is 1y."""
    if kind not in WITH_TENOR:
        return ""
    given = cell["Label1"].lower()
    given = "1y" if given == "12m" else given
    if given not in TENORS:
        near = nearest_tenor(given)
        raise _BadCell("UPM-IN-129", "Label1", f"{shown(cell['Label1'])} is not a tenor.{f' Did you mean {near}?' if near else ''} Give one of {', '.join(TENORS)}.")
    return given


def _label2(kind: str, cell: dict[str, str]) -> str:
    if RISK_TYPES[kind] == "credit_non_qualifying" and not cell["Label2"]:
        raise _BadCell("UPM-IN-129", "Label2", "the label is blank. Give the group of the non-qualifying name, such as CMBX: names of one group correlate more.")
    if RISK_TYPES[kind].startswith("credit") and kind != "Risk_BaseCorr":  # payment currency; of non-qualifying names, their group
        return cell["Label2"]
    if kind != "Risk_IRCurve":
        return ""
    found = next((c for c in CURVES if c.lower() == cell["Label2"].lower()), "")
    if not found:
        near = near_key(cell["Label2"], [c.lower() for c in CURVES])
        raise _BadCell("UPM-IN-129", "Label2", f"{shown(cell['Label2'])} is not a curve.{f' Did you mean {near}?' if near else ''} Give one of {', '.join(CURVES)}.")
    return found


def _add_on(kind: str, cell: dict[str, str], product: str, amount: float) -> Sensitivity:
    """Rows that are no sensitivity: a fixed amount, a factor (per cent) of a product's notional, a notional, a multiplier of a product class."""
    name = cell["Qualifier"]
    if kind == "Param_ProductClassMultiplier":
        name = next((p for p in PRODUCT_CLASSES if p.lower() == name.lower()), "")
        if not name or amount < 1.0:
            raise _BadCell("UPM-IN-130", "Qualifier" if not name else "AmountUSD",
                           f"an add-on multiplier needs a product class ({', '.join(PRODUCT_CLASSES)}) as qualifier and a number from 1 up; {shown(cell['Qualifier'])} has {amount:g}.")
    elif kind != "Param_AddOnFixedAmount" and not name:
        raise _BadCell("UPM-IN-130", "Qualifier", f"the add-on row {kind} names no product. Give the product it belongs to.")
    elif kind != "Notional" and amount < 0.0:
        raise _BadCell("UPM-IN-130", "AmountUSD", f"the add-on {kind} is {amount:g}. Give 0 or more.")
    return Sensitivity(cell.get("PortfolioID", ""), product, kind, name, "", "", "", amount)
