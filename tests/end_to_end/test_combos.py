"""Combos: a package margins as its legs do, to the bit; bad legs are rejected by name and leave the rest alone."""

from __future__ import annotations

import pytest
from small_book import GAUSSIAN, INSTRUMENTS, VALUATION, methodology, read, write

from upm_gpu.domain.cells import CellFault
from upm_gpu.domain.combos import MOST_LEGS, parse_legs
from upm_gpu.domain.reader import load_book
from upm_gpu.engine import margin_run
from upm_gpu.scenario.spec import ScenarioSpec

POSITIONS = "account_id,instrument_id,quantity,netting_set,entry_price,trade_id\n"
CALENDAR, STRANGLE = "CAL,combo,,,,,,,,,BTC-PERP:1;BTC-FUT:-2", "STR,combo,BTC,inverse,USD,,,,,,BTC-C70:1; BTC-P60:1"


def book_of(folder, positions, *rows, lots=False, share=1.0):
    root = write(folder, POSITIONS + positions)
    head, *lines = INSTRUMENTS.splitlines()
    tail = ",lot_size" if lots else ""
    text = [f"{head},legs{tail}", *(f"{line},{',' if lots else ''}" for line in lines), *(f"{row},1" if lots else row for row in rows)]
    (root / "book" / "instruments.csv").write_text("\n".join(text) + "\n")
    return load_book(root / "book", VALUATION, share), root


def margin(folder, positions, *rows):
    book, root = book_of(folder, positions, *rows)
    return margin_run(book, read(root)[1], ScenarioSpec(count=8_192, horizons=(2.0,)), methodology(), "cpu", precision="double", model=GAUSSIAN)


def test_a_combo_margins_as_its_legs_to_the_bit(tmp_path):
    combo = margin(tmp_path / "combo", "A,CAL,3,,,\nA,STR,-2,,,\nA,BTC-PERP,-1,,,\n", CALENDAR, STRANGLE)
    legs = margin(tmp_path / "legs", "A,BTC-PERP,3,,,\nA,BTC-FUT,-6,,,\nA,BTC-C70,-2,,,\nA,BTC-P60,-2,,,\nA,BTC-PERP,-1,,,\n", CALENDAR, STRANGLE)
    assert combo.table["initial_margin"][0] > 0.0
    assert combo.table.equals(legs.table) and combo.contributions.equals(legs.contributions)
    assert sorted(combo.contributions["instrument_id"]) == ["BTC-C70", "BTC-FUT", "BTC-P60", "BTC-PERP"]


def test_legs_net_with_what_is_held_outright_and_sides_are_kept_apart(tmp_path):
    book, _ = book_of(tmp_path, "A,CAL,2,,,\nA,BTC-PERP,-2,,,\nA,CAL,1,house,,\nB,CAL,-1,,,\n", CALENDAR)
    p = book.positions
    held = {(book.accounts[a].account_id, book.netting_sets[n], book.instruments[i].instrument_id): q for a, n, i, q in zip(p.account, p.netting_set, p.instrument, p.contracts, strict=True)}
    assert held == {("A", "", "BTC-FUT"): -4.0, ("A", "house", "BTC-PERP"): 1.0, ("A", "house", "BTC-FUT"): -2.0, ("B", "", "BTC-PERP"): -1.0, ("B", "", "BTC-FUT"): 2.0}
    assert any(w == "UPM-IN-048 positions.csv: 3 rows hold combos and count as their legs: CAL = BTC-PERP:1;BTC-FUT:-2." for w in book.warnings)
    assert not book.rejects


def test_a_combo_sold_back_is_nothing_and_a_repeated_trade_is_one(tmp_path):
    book, _ = book_of(tmp_path, "A,CAL,2,,,\nA,CAL,-2,,,\nB,CAL,1,,,T1\nB,CAL,1,,,T1\nB,STR,1,,,T2\n", CALENDAR, STRANGLE)
    assert {book.accounts[a].account_id for a in book.positions.account} == {"B"}
    assert len(book.positions.account) == 4 and set(abs(book.positions.contracts)) == {1.0, 2.0}
    assert [r.code for r in book.rejects] == ["UPM-IN-026"]


@pytest.mark.parametrize(("row", "column", "code", "words"), [
    ("X,combo,,,,,,,,,", "legs", "UPM-IN-047", "is not a leg"),
    ("X,combo,,,,,,,,,BTC-PERP", "legs", "UPM-IN-047", "instrument:contracts"),
    ("X,combo,,,,,,,,,BTC-PERP:0", "legs", "UPM-IN-047", "is not a leg"),
    ("X,combo,,,,,,,,,BTC-PERP:nan", "legs", "UPM-IN-047", "is not a leg"),
    ("X,combo,,,,,,,,,BTC-PERP:1e9", "legs", "UPM-IN-047", "is not a leg"),
    ("X,combo,,,,,,,,,BTC-PERP:1;", "legs", "UPM-IN-047", "is not a leg"),
    ("X,combo,,,,,,,,,BTC-PERP:1;BTC-PERP:-1", "legs", "UPM-IN-047", "given twice"),
    ("X,combo,,,,,,,,,BTC-PERB:1", "legs", "UPM-IN-047", "'BTC-PERB' of the combo is not a usable row"),
    ("X,combo,,,,,,,,,CAL:1", "legs", "UPM-IN-047", "is a combo itself"),
    ("X,combo,,,,10,,,,,BTC-PERP:1", "contract_size", "UPM-IN-042", "contract size of its own"),
    ("X,combo,,,,,,,call,,BTC-PERP:1", "option_type", "UPM-IN-042", "option type of its own"),
    ("X,perpetual,BTC,inverse,USD,10,,,,,BTC-PERP:1", "legs", "UPM-IN-042", "has no legs"),
])
def test_bad_combos_are_rejected_by_name(tmp_path, row, column, code, words):
    book, _ = book_of(tmp_path, "A,CAL,1,,,\nA,X,1,,,\n", CALENDAR, row)
    terms, position = sorted(book.rejects, key=lambda r: r.file)
    assert (terms.file, terms.line, terms.column, terms.code) == ("instruments.csv", 12, column, code) and words in terms.message.replace('"', "'")
    assert (position.file, position.code) == ("positions.csv", "UPM-IN-027")
    assert len(book.positions.account) == 2


def test_a_combo_with_an_expired_leg_or_an_entry_price_is_no_position(tmp_path):
    old = "OLD,future,BTC,inverse,USD,10,2026-01-30T08:00:00Z,,,,"
    book, _ = book_of(tmp_path, "A,CAL,1,,,\nA,X,1,,,\nA,CAL,1,,50,\n", CALENDAR, old, "X,combo,,,,,,,,,BTC-PERP:1;OLD:-1")
    assert [(r.code, r.line, r.column) for r in book.rejects] == [("UPM-IN-029", 3, "instrument_id"), ("UPM-IN-047", 4, "entry_price")]
    assert "combo" in book.rejects[0].message and "expired" in book.rejects[0].message


def test_the_lot_of_a_combo_is_its_own(tmp_path):
    book, _ = book_of(tmp_path, "A,CAL,1,,,\nA,CAL,0.5,,,\n", CALENDAR, lots=True)
    assert [r.code for r in book.rejects] == ["UPM-IN-025"]


def test_too_many_legs_are_refused():
    with pytest.raises(CellFault, match="at most 40"):
        parse_legs(";".join(f"L{n}:1" for n in range(MOST_LEGS + 1)))
