"""Section A: what can be wrong with position and instrument files. Each test asks for code, place and the rows kept."""

from __future__ import annotations

import gzip
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from upm_gpu.domain import blocks
from upm_gpu.domain.blocks import Limits, Notes, read_blocks
from upm_gpu.domain.book import Book, Reject
from upm_gpu.domain.reader import TooManyRejects, load_book
from upm_gpu.domain.tables import reject_text
from upm_gpu.domain.text import escape_cell
from upm_gpu.errors import InputError

NOW = datetime(2026, 2, 5, 9, 36, 47, tzinfo=UTC)
ROWS = 200
INSTRUMENT_HEADER = "instrument_id,kind,underlying,settlement,quote_currency,contract_size,expiry,strike,option_type,exercise"
INSTRUMENTS = [
    "BTC,spot,BTC,linear,USD,1,,,,",
    "BTC-27MAR26,future,BTC,inverse,USD,10,2026-03-27T08:00:00Z,,,",
    "BTC-27MAR26-90000-C,option,BTC,inverse,USD,1,2026-03-27T08:00:00Z,90000,call,european",
    "BTC-PERP,perpetual,BTC,inverse,USD,10,,,,",
]
HEADER = "account_id,instrument_id,quantity"
POSITIONS = [f"A{i:03d},BTC-PERP,{i + 1}" for i in range(ROWS)]


def text(header: str, rows: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in [header, *rows]).encode()


def write(folder: Path, positions: bytes | None = None, instruments: bytes | None = None, collateral: bytes | None = None,
          name: str = "positions.csv") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(text(HEADER, POSITIONS) if positions is None else positions)
    (folder / "instruments.csv").write_bytes(text(INSTRUMENT_HEADER, INSTRUMENTS) if instruments is None else instruments)
    (folder / "collateral.csv").write_bytes(b"account_id,asset,quantity\nA000,USD,5\n" if collateral is None else collateral)
    return folder


def inserted(*rows: str, at: int = 100) -> bytes:
    """The good rows with others after the first `at`: the first of them is on line at + 2."""
    return text(HEADER, [*POSITIONS[:at], *rows, *POSITIONS[at:]])


def kept_intact(book: Book) -> None:
    """Every good row is there, with its account and quantity."""
    held = {book.accounts[a].account_id: c for a, c in zip(book.positions.account, book.positions.contracts, strict=True)}
    assert {f"A{i:03d}": i + 1.0 for i in range(ROWS)}.items() <= held.items()


def refused(folder: Path, code: str, *words: str, **more: object) -> str:
    with pytest.raises(InputError) as caught:
        load_book(folder, **more)  # type: ignore[arg-type]
    assert caught.value.code == code, str(caught.value)
    assert caught.value.exit_code == 3
    for word in words:
        assert word in str(caught.value)
    return str(caught.value)


def one_reject(folder: Path, code: str, line: int, column: str, *words: str, **more: object) -> Reject:
    book = load_book(folder, **more)  # type: ignore[arg-type]
    kept_intact(book)
    assert [(r.code, r.file, r.line, r.column) for r in book.rejects] == [(code, "positions.csv", line, column)]
    for word in words:
        assert word in book.rejects[0].message
    assert any("UPM-IN-040 1 rows rejected" in w for w in book.warnings)
    return book.rejects[0]


def test_good_book_is_read_whole(tmp_path: Path) -> None:
    book = load_book(write(tmp_path))
    kept_intact(book)
    assert (len(book.positions.contracts), len(book.accounts), book.rejects, book.warnings) == (ROWS, ROWS, (), ())
    assert book.rows_read == ROWS + len(INSTRUMENTS) + 1
    assert set(book.hashes) == {"instruments.csv", "positions.csv", "collateral.csv"}
    np.testing.assert_array_equal(book.positions.quantity, 10.0 * (np.arange(ROWS) + 1.0))


@pytest.mark.parametrize("name", ["instruments", "positions", "collateral"])
def test_01_missing_file(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path)
    (folder / f"{name}.csv").unlink()
    refused(folder, "UPM-IN-001", f"there is no {name}.csv")


def test_01_missing_folder_file_as_folder_and_folder_as_file(tmp_path: Path) -> None:
    refused(tmp_path / "none", "UPM-IN-001", "does not exist")
    write(tmp_path)
    refused(tmp_path / "positions.csv", "UPM-IN-001", "is a file")
    (tmp_path / "positions.csv").unlink()
    (tmp_path / "positions.csv").mkdir()
    refused(tmp_path, "UPM-IN-001", "is a folder")
    refused(Path("sample:none"), "UPM-CF-074", "sample")
    refused(Path("sample:../crypto"), "UPM-CF-074", "sample")


def test_01_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path)
    real = Path.open

    def denied(self: Path, *args: object, **kwargs: object) -> object:
        if self.name == "positions.csv":
            raise PermissionError(13, "Permission denied")
        return real(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", denied)
    refused(folder, "UPM-IN-001", "positions.csv cannot be read", "Permission denied")


def test_01_two_files_of_one_table(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "positions.csv.gz").write_bytes(gzip.compress(text(HEADER, POSITIONS)))
    refused(folder, "UPM-IN-001", "positions.csv", "positions.csv.gz", "Keep one")


def test_02_empty(tmp_path: Path) -> None:
    refused(write(tmp_path, b""), "UPM-IN-002", "positions.csv", "empty")
    refused(write(tmp_path, b"\n\n"), "UPM-IN-002", "line 1")


def test_03_header_only(tmp_path: Path) -> None:
    refused(write(tmp_path, text(HEADER, [])), "UPM-IN-003", "positions.csv", "no row")
    kept_intact(load_book(write(tmp_path, collateral=b"account_id,asset,quantity\n")))


def test_04_header_misspelt(tmp_path: Path) -> None:
    refused(write(tmp_path, text("account_id,instrument_id,quantitty", POSITIONS)), "UPM-IN-004", "positions.csv line 1", "quantity", "'quantitty'")
    refused(write(tmp_path, text("Account ID,instrument_id,quantity", POSITIONS)), "UPM-IN-004", "account_id", "'Account ID'")


def test_05_duplicate_column(tmp_path: Path) -> None:
    refused(write(tmp_path, text(HEADER + ",quantity", [p + ",1" for p in POSITIONS])), "UPM-IN-005", "quantity appears twice (columns 3 and 4)")
    refused(write(tmp_path, text(HEADER + ",", [p + "," for p in POSITIONS])), "UPM-IN-005", "column 4 has no name")


def test_06_missing_column(tmp_path: Path) -> None:
    refused(write(tmp_path, text("account_id,instrument_id", [p.rsplit(",", 1)[0] for p in POSITIONS])), "UPM-IN-006", "missing column quantity")


def test_07_unknown_column_is_kept_with_a_warning(tmp_path: Path) -> None:
    book = load_book(write(tmp_path, text(HEADER + ",entry_pric", [p + ",7" for p in POSITIONS])))
    kept_intact(book)
    assert len(book.warnings) == 1
    assert book.warnings[0].startswith("UPM-IN-007 positions.csv line 1: column 'entry_pric'")
    assert "Did you mean entry_price?" in book.warnings[0]


def test_08_columns_reordered(tmp_path: Path) -> None:
    rows = [",".join(reversed(p.split(","))) for p in POSITIONS]
    kept_intact(load_book(write(tmp_path, text("quantity,instrument_id,account_id", rows))))


def test_09_byte_order_mark(tmp_path: Path) -> None:
    book = load_book(write(tmp_path, b"\xef\xbb\xbf" + text(HEADER, POSITIONS)))
    kept_intact(book)
    assert book.warnings == ()


@pytest.mark.parametrize(("data", "words"), [
    (text(HEADER, POSITIONS).decode().encode("utf-16"), ("UTF-16", "line 1")),
    (text(HEADER, POSITIONS).decode().encode("utf-16-le"), ("UTF-16", "line 1")),
    (text(HEADER, [*POSITIONS[:100], "M\xfcller,BTC-PERP,1".encode("latin-1").decode("latin-1")]).decode().encode("latin-1"), ("line 102", "0xFC", "Latin-1")),
    (b"PK\x03\x04 a workbook", ("Excel",)),
    (gzip.compress(text(HEADER, POSITIONS), mtime=0), ("gzip",)),
])
def test_10_other_encodings_are_refused_by_name(tmp_path: Path, data: bytes, words: tuple[str, ...]) -> None:
    refused(write(tmp_path, data), "UPM-IN-010", "positions.csv", *words)


def test_11_nul_bytes(tmp_path: Path) -> None:
    one_reject(write(tmp_path, inserted("B,BTC\0-PERP,1")), "UPM-IN-011", 102, "", "NUL")


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_12_line_ends(tmp_path: Path, end: str) -> None:
    data = inserted("B,BTC-PERP,x").replace(b"\n", end.encode())
    one_reject(write(tmp_path, data), "UPM-IN-014", 102, "quantity")


def test_12_mixed_line_ends_cut_at_any_byte(tmp_path: Path) -> None:
    lines = [HEADER, *POSITIONS[:5], "", *POSITIONS[5:9]]
    data = "".join(line + end for line, end in zip(lines, ["\r\n", "\n", "\r"] * 5, strict=False)).encode()
    path = tmp_path / "positions.csv"
    path.write_bytes(data)
    for size in range(1, 40):
        found = [(int(n), block.raw(r)) for block in read_blocks(path, "IN", Limits(block=size), Notes()) for r, n in enumerate(block.lines)]
        assert found == list(enumerate(lines, 1))


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_13_delimiters(tmp_path: Path, mark: str, name: str) -> None:
    refused(write(tmp_path, text(HEADER, POSITIONS).replace(b",", mark.encode())), "UPM-IN-013", "line 1", name, "commas")


@pytest.mark.parametrize(("cell", "use"), [
    ('"1,5"', "Use 1.5."), ('"1.234,5"', "Use 1234.5."), ("\u22125", "Use -5."), ("(5)", "Use -5."), ("$5", "Use 5."), ("5 lots", "decimal point"), ("0x10", "decimal point"),
    ('"1,000"', "Use 1000."), ('"-1,000,000.5"', "Use -1000000.5."), ("1 000", "Use 1000."), ("1'000", "Use 1000."), ("1_000", "Use 1000."),
])
def test_14_15_decimal_commas_and_thousands(tmp_path: Path, cell: str, use: str) -> None:
    one_reject(write(tmp_path, inserted(f"B,BTC-PERP,{cell}")), "UPM-IN-014", 102, "quantity", cell.strip('"'), "is not a plain number", use)


def test_15_the_whole_message(tmp_path: Path) -> None:
    book = load_book(write(tmp_path, inserted('B,BTC-PERP,"1,000"')))
    assert reject_text(book.rejects[0], 200) == (
        'UPM-IN-014 positions.csv line 102 column quantity: "1,000" is not a plain number. Use 1000. (row rejected, 200 rows kept)')
    assert book.rejects[0].raw == 'B,BTC-PERP,"1,000"'


@pytest.mark.parametrize("row", ['"B,BTC-PERP,1', 'B,"BTC-PERP,1', 'B,a"b,"BTC-PERP'])
def test_16_unclosed_quote_takes_only_its_line(tmp_path: Path, row: str) -> None:
    one_reject(write(tmp_path, inserted(row)), "UPM-IN-016", 102, "", "quote")


def test_16_unclosed_quote_on_the_last_line(tmp_path: Path) -> None:
    one_reject(write(tmp_path, inserted('"B,BTC-PERP,1', at=ROWS)), "UPM-IN-016", ROWS + 2, "", "quote")


@pytest.mark.parametrize("row", ['"B,BTC-PERP,1', 'B,a"b,"BTC-PERP', "B", "B,BTC-PERP,x", "B\0,BTC-PERP,1", "x" * 70_000])
def test_16_no_good_row_at_all(tmp_path: Path, row: str) -> None:
    refused(write(tmp_path, text(HEADER, [row])), "UPM-IN-039", "nothing to margin", "positions.csv line 2")


def test_16_quotes_of_every_kind_in_one_block(tmp_path: Path) -> None:
    rows = ['"B,BTC-PERP,1', 'B,a"b,"BTC-PERP', '"C ""x""","BTC-PERP","5"', '5" pipe,BTC-PERP,6', 'D,"BTC-PERP,7']
    book = load_book(write(tmp_path, inserted(*rows)), max_reject_share=0.5)
    kept_intact(book)
    assert [(r.code, r.line) for r in book.rejects] == [("UPM-IN-016", 102), ("UPM-IN-016", 103), ("UPM-IN-016", 106)]
    assert {'C "x"', '5" pipe'} <= {a.account_id for a in book.accounts}


@pytest.mark.parametrize(("row", "words"), [("B,BTC-PERP", "2 values where the header has 3: too few"), ("B,BTC-PERP,1,2", "4 values where the header has 3: too many"), ("B", "too few")])
def test_17_short_and_long_rows(tmp_path: Path, row: str, words: str) -> None:
    one_reject(write(tmp_path, inserted(row)), "UPM-IN-017", 102, "", words)


def test_17_blank_lines_are_no_rows(tmp_path: Path) -> None:
    book = load_book(write(tmp_path, inserted("", "", "B,BTC-PERP,x", "")))
    assert [r.line for r in book.rejects] == [104]
    assert book.rows_read == ROWS + 1 + len(INSTRUMENTS) + 1
    kept_intact(book)


def test_18_a_line_of_50_megabytes(tmp_path: Path) -> None:
    data = inserted("B,BTC-PERP," + "1" * 50_000_000)
    reject = one_reject(write(tmp_path, data), "UPM-IN-018", 102, "", "50000011 bytes")
    assert len(reject.raw) <= 200
    refused(write(tmp_path, b"x" * 200_000), "UPM-IN-018", "line 1", "header")


def test_18_a_long_line_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "positions.csv"
    path.write_bytes(b"a\n" + b"x" * 10_000 + b"\nb\n")
    limits = Limits(max_line=100, block=64)
    seen = list(read_blocks(path, "IN", limits, Notes()))
    assert max(len(b.data) for b in seen) <= 200
    assert [(f.line, f.number) for b in seen for f in b.faults] == [(2, 18)]
    assert [(int(n), b.raw(r)) for b in seen for r, n in enumerate(b.lines)] == [(1, "a"), (3, "b")]


def test_19_last_line_without_end(tmp_path: Path) -> None:
    book = load_book(write(tmp_path, text(HEADER, POSITIONS)[:-1]))
    kept_intact(book)
    assert len(book.warnings) == 1
    assert book.warnings[0].startswith(f"UPM-IN-019 positions.csv line {ROWS + 1}: the last line has no line end")
    cut = text(HEADER, [*POSITIONS, "B,BTC-P"])[:-1]
    one_reject(write(tmp_path, cut), "UPM-IN-017", ROWS + 2, "", "too few")


def test_20_truncated_and_damaged_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(text(HEADER, POSITIONS))
    folder = write(tmp_path, whole, name="positions.csv.gz")
    kept_intact(load_book(folder))
    for cut in (len(whole) - 1, len(whole) - 9, len(whole) // 2):
        (folder / "positions.csv.gz").write_bytes(whole[:cut])
        refused(folder, "UPM-IN-020", "positions.csv.gz", "damaged or cut")
    for byte in range(len(whole) // 2, len(whole) // 2 + 8):
        (folder / "positions.csv.gz").write_bytes(whole[:byte] + bytes([whole[byte] ^ 1]) + whole[byte + 1 :])
        with pytest.raises(InputError):
            load_book(folder)


def test_20_zstd(tmp_path: Path) -> None:
    whole = pa.compress(text(HEADER, POSITIONS), codec="zstd", asbytes=True)
    folder = write(tmp_path, whole, name="positions.csv.zst")
    kept_intact(load_book(folder))
    (folder / "positions.csv.zst").write_bytes(whole[: len(whole) // 2])
    refused(folder, "UPM-IN-020", "positions.csv.zst")


def test_20_decompression_bomb(tmp_path: Path) -> None:
    path = tmp_path / "positions.csv.gz"
    path.write_bytes(gzip.compress(b"\n" * 3_000_000))
    with pytest.raises(InputError, match=r"UPM-IN-020 .*expands more than 300 times"):
        list(read_blocks(path, "IN", Limits(ratio_from=1 << 20, block=1 << 16), Notes()))
    path.write_bytes(gzip.compress(bytes(np.random.default_rng(1).integers(65, 91, 100_000, np.uint8))))
    with pytest.raises(InputError, match=r"UPM-IN-020 .*more than 50000 bytes"):
        list(read_blocks(path, "IN", Limits(max_bytes=50_000, block=1 << 14), Notes()))


def parquet_bytes(table: pa.Table, **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return sink.getvalue().to_pybytes()


def positions_table(**columns: pa.Array) -> pa.Table:
    cells = [p.split(",") for p in POSITIONS]
    base = {"account_id": pa.array([c[0] for c in cells]), "instrument_id": pa.array([c[1] for c in cells]), "quantity": pa.array([float(c[2]) for c in cells])}
    return pa.table({**base, **columns})


def test_21_parquet(tmp_path: Path) -> None:
    whole = parquet_bytes(positions_table())
    name = "positions.parquet"
    kept_intact(load_book(write(tmp_path, whole, name=name)))
    refused(write(tmp_path, text(HEADER, POSITIONS), name=name), "UPM-IN-021", name, "CSV")
    refused(write(tmp_path, whole[: len(whole) // 2], name=name), "UPM-IN-021", name, "cut")
    refused(write(tmp_path, whole[:4], name=name), "UPM-IN-022", name)
    refused(write(tmp_path, b"", name=name), "UPM-IN-002", name)


def test_21_parquet_rejects_have_lines(tmp_path: Path) -> None:
    quantity = [i + 1.0 for i in range(ROWS)]
    quantity[7] = float("nan")
    book = load_book(write(tmp_path, parquet_bytes(positions_table(quantity=pa.array(quantity))), name="positions.parquet"))
    assert [(r.code, r.line, r.column) for r in book.rejects] == [("UPM-IN-024", 9, "quantity")]
    assert len(book.positions.contracts) == ROWS - 1


def test_21_parquet_dictionary_and_null_columns(tmp_path: Path) -> None:
    table = positions_table(account_id=positions_table()["account_id"].dictionary_encode(), netting_set=pa.nulls(ROWS))
    kept_intact(load_book(write(tmp_path, parquet_bytes(table), name="positions.parquet")))


def test_22_bit_flips_in_parquet_never_give_another_number(tmp_path: Path) -> None:
    """With page checksums every flipped data bit is refused; one in the footer or page headers is refused or harmless."""
    table = positions_table()
    whole = parquet_bytes(table, write_page_checksum=True, compression="none", use_dictionary=False)
    good = load_book(write(tmp_path, whole, name="positions.parquet")).positions.contracts
    refusals = 0
    at = whole.index(np.float64(57.0).tobytes())
    for byte in [*range(at, at + 8), *range(4, len(whole), 397)]:
        damaged = bytearray(whole)
        damaged[byte] ^= 16
        try:
            found = load_book(write(tmp_path, bytes(damaged), name="positions.parquet")).positions.contracts
            np.testing.assert_array_equal(found, good)
        except InputError as error:
            refusals += 1
            assert error.code.startswith("UPM-IN-0")
    assert refusals >= 8


ODD_IDS = ["007", "NA", "None", "nan", "1E5", "TRUE", "null", "0123", "2026-02-05", "1.0", "NO", "-1"]


def test_23_ids_survive_as_text(tmp_path: Path) -> None:
    book = load_book(write(tmp_path, inserted(*(f"{name},BTC-PERP,1" for name in ODD_IDS))))
    assert set(ODD_IDS) <= {a.account_id for a in book.accounts}
    assert book.rejects == ()
    collateral = text("account_id,asset,quantity", [f"{name},USD,1" for name in ODD_IDS])
    accounts = load_book(write(tmp_path, collateral=collateral)).accounts
    assert set(ODD_IDS) <= {a.account_id for a in accounts}


def test_23_parquet_ids_must_be_text(tmp_path: Path) -> None:
    table = positions_table(account_id=pa.array(range(ROWS)))
    refused(write(tmp_path, parquet_bytes(table), name="positions.parquet"), "UPM-IN-023", "account_id", "int64", "strings")
    strings = positions_table(account_id=pa.array([f"{i:05d}" for i in range(ROWS)]))
    book = load_book(write(tmp_path, parquet_bytes(strings), name="positions.parquet"))
    assert "00007" in {a.account_id for a in book.accounts}


@pytest.mark.parametrize("cell", ["NaN", "nan", "Inf", "-inf", "infinity", "1e400", "", "  ", "#N/A", "NULL", "1e-400"])
def test_24_quantity_without_a_finite_value(tmp_path: Path, cell: str) -> None:
    one_reject(write(tmp_path, inserted(f"B,BTC-PERP,{cell}")), "UPM-IN-024", 102, "quantity")


@pytest.mark.parametrize("cell", ["0", "-0.0", "0e5", "+0"])
def test_24_zero_is_a_flat_position(tmp_path: Path, cell: str) -> None:
    book = load_book(write(tmp_path, inserted(f"B,BTC-PERP,{cell}", f"A000,BTC,{cell}", f"A001,BTC-PERP,{cell}")))
    kept_intact(book)
    assert book.rejects == ()
    assert "B" in {a.account_id for a in book.accounts}
    assert len(book.positions.contracts) == ROWS
    assert not np.signbit(book.positions.quantity).any()


def test_24_plain_numbers_of_every_shape(tmp_path: Path) -> None:
    cells = {"1E5": 1e5, "+5": 5.0, ".5": 0.5, "5.": 5.0, "-1e-3": -1e-3, " 7 ": 7.0, "0.1": 0.1}
    book = load_book(write(tmp_path, inserted(*(f"B{i},BTC-PERP,{c}" for i, c in enumerate(cells)))))
    held = {book.accounts[a].account_id: q for a, q in zip(book.positions.account, book.positions.contracts, strict=True)}
    assert [held[f"B{i}"] for i in range(len(cells))] == list(cells.values())


def test_25_beyond_two_to_the_53(tmp_path: Path) -> None:
    one_reject(write(tmp_path, inserted("B,BTC-PERP,9007199254740994")), "UPM-IN-025", 102, "quantity", "2^53")
    book = load_book(write(tmp_path, inserted("B,BTC-PERP,-9007199254740992")))
    assert -9007199254740992.0 in book.positions.contracts


def test_25_lots(tmp_path: Path) -> None:
    rows = [INSTRUMENTS[0] + ",", INSTRUMENTS[1] + ",", INSTRUMENTS[2] + ",0.1", INSTRUMENTS[3] + ",1"]
    instruments = text(INSTRUMENT_HEADER + ",lot_size", rows)
    one_reject(write(tmp_path, inserted("B,BTC-PERP,1.5"), instruments), "UPM-IN-025", 102, "quantity", "lots")
    book = load_book(write(tmp_path, inserted("B,BTC-27MAR26-90000-C,1.3", "B,BTC,0.001"), instruments))
    assert book.rejects == ()


def test_26_duplicate_trade_and_repeated_row(tmp_path: Path) -> None:
    rows = [f"{p},T{i}" for i, p in enumerate(POSITIONS)]
    rows.insert(100, "B,BTC-PERP,3,T7")
    folder = write(tmp_path, text(HEADER + ",trade_id", rows))
    one_reject(folder, "UPM-IN-026", 102, "trade_id", '"T7" is already on line 9')
    assert load_book(folder).rejects[0].raw == "B,BTC-PERP,3,T7"
    book = load_book(write(tmp_path, inserted(POSITIONS[100])))
    assert book.rejects == ()
    assert len(book.warnings) == 1
    assert "UPM-IN-026 positions.csv: 1 rows repeat another row" in book.warnings[0]
    assert book.positions.contracts[100] == 202.0


def test_26_two_trades_of_one_size_are_two_trades(tmp_path: Path) -> None:
    book = load_book(write(tmp_path, text(HEADER + ",trade_id", [*(p + "," for p in POSITIONS), "A000,BTC-PERP,5,T1", "A000,BTC-PERP,5,T2"])))
    assert (book.rejects, book.warnings, book.positions.contracts[0]) == ((), (), 11.0)


def test_27_unknown_instrument(tmp_path: Path) -> None:
    one_reject(write(tmp_path, inserted("B,BTC-27MAR26-9000-C,1")), "UPM-IN-027", 102, "instrument_id", "Did you mean BTC-27MAR26-90000-C?")
    one_reject(write(tmp_path, inserted("B,XYZZY,1")), "UPM-IN-027", 102, "instrument_id", "XYZZY")


def test_28_duplicate_instruments(tmp_path: Path) -> None:
    same = load_book(write(tmp_path, instruments=text(INSTRUMENT_HEADER, [*INSTRUMENTS, INSTRUMENTS[2]])))
    kept_intact(same)
    assert any(w.startswith("UPM-IN-028") for w in same.warnings)
    other = text(INSTRUMENT_HEADER, [*INSTRUMENTS, INSTRUMENTS[2].replace("90000,call", "95000,call")])
    refused(write(tmp_path, instruments=other), "UPM-IN-040", "instruments.csv", "UPM-IN-028 instruments.csv line 6", "line 4 with other terms")
    book = load_book(write(tmp_path, inserted("B,BTC-27MAR26-90000-C,1"), other), max_reject_share=0.5)
    kept_intact(book)
    assert [(r.code, r.file, r.line) for r in book.rejects] == [("UPM-IN-028", "instruments.csv", 6), ("UPM-IN-027", "positions.csv", 102)]
    assert "BTC-27MAR26-90000-C" not in {i.instrument_id for i in book.instruments}


def option(expiry: str = "2026-03-27T08:00:00Z", **terms: str) -> str:
    cells = {"instrument_id": "X", "kind": "option", "underlying": "BTC", "settlement": "inverse", "quote_currency": "USD", "contract_size": "1",
             "expiry": expiry, "strike": "80000", "option_type": "call", "exercise": "european", **terms}
    return ",".join(cells.values())


def instrument_reject(folder: Path, row: str, code: str, column: str, *words: str) -> None:
    """A bad instrument: stops by default (1 of 5 rows); with a wider share it alone is rejected."""
    data = text(INSTRUMENT_HEADER, [*INSTRUMENTS, row])
    refused(write(folder, instruments=data), "UPM-IN-040", f"{code} instruments.csv line 6 column {column}", *words)
    book = load_book(write(folder, instruments=data), max_reject_share=0.5)
    kept_intact(book)
    assert [(r.code, r.line, r.column) for r in book.rejects] == [(code, 6, column)]
    assert len(book.instruments) == len(INSTRUMENTS)


def test_29_expired(tmp_path: Path) -> None:
    instruments = text(INSTRUMENT_HEADER, [*INSTRUMENTS, option("2026-02-05T08:00:00Z")])
    folder = write(tmp_path, inserted("B,X,1"), instruments)
    one_reject(folder, "UPM-IN-029", 102, "instrument_id", "expired at 2026-02-05T08:00:00Z", valuation_time=NOW)
    book = load_book(folder, valuation_time=NOW)
    assert "X" not in {i.instrument_id for i in book.instruments}
    assert any("UPM-IN-029" in w and "1 instruments" in w for w in book.warnings)
    assert load_book(folder).rejects == ()
    kept_intact(load_book(folder))


def test_29_expiry_later_today_is_alive_and_9999_is_no_date(tmp_path: Path) -> None:
    instruments = text(INSTRUMENT_HEADER, [*INSTRUMENTS, option("2026-02-05T09:36:48Z")])
    assert load_book(write(tmp_path, inserted("B,X,1"), instruments), valuation_time=NOW).rejects == ()
    instrument_reject(tmp_path, option("9999-12-31T08:00:00Z"), "UPM-IN-029", "expiry", "perpetual")


@pytest.mark.parametrize("cell", ["2026-02-29T08:00:00Z", "2026-04-31T08:00:00Z", "2026-13-01T08:00:00Z", "2026-03-27T25:00:00Z", "27/03/2026", "03/04/2026 08:00", "27.03.2026", "27MAR26", "soon", ""])
def test_30_dates_that_do_not_exist_or_are_ambiguous(tmp_path: Path, cell: str) -> None:
    instrument_reject(tmp_path, option(cell), "UPM-IN-030", "expiry", cell)


def test_30_the_29th_of_february_exists_in_leap_years(tmp_path: Path) -> None:
    book = load_book(write(tmp_path, instruments=text(INSTRUMENT_HEADER, [*INSTRUMENTS, option("2028-02-29T08:00:00Z")])))
    assert {i.instrument_id: i for i in book.instruments}["X"].expiry == datetime(2028, 2, 29, 8, tzinfo=UTC)  # type: ignore[union-attr]


@pytest.mark.parametrize(("cell", "words"), [
    ("2026-03-27T08:00:00", "no time zone"), ("2026-03-27", "no hour"), ("2026-03-29T02:30:00 Europe/Berlin", "zone by name"),
    ("1774598400", "in seconds it would be 2026-03-27T08:00:00Z"), ("1774598400000", "in milliseconds it would be 2026-03-27T08:00:00Z"),
    ("1774598400000000000", "in nanoseconds it would be 2026-03-27T08:00:00Z"), ("2026-03-27T08:00:00+99:00", "offset"),
])
def test_31_times_without_zone_and_counts_since_1970(tmp_path: Path, cell: str, words: str) -> None:
    instrument_reject(tmp_path, option(cell), "UPM-IN-031", "expiry", words)


@pytest.mark.parametrize("cell", ["2026-03-27T10:00:00+02:00", "2026-03-27 08:00:00Z", "2026-03-27T08:00Z", "2026-03-27T03:00:00.000-0500"])
def test_31_offsets_mean_the_same_instant(tmp_path: Path, cell: str) -> None:
    book = load_book(write(tmp_path, instruments=text(INSTRUMENT_HEADER, [*INSTRUMENTS, option(cell)])))
    assert {i.instrument_id: i for i in book.instruments}["X"].expiry == datetime(2026, 3, 27, 8, tzinfo=UTC)  # type: ignore[union-attr]


def test_31_parquet_timestamps_need_a_zone(tmp_path: Path) -> None:
    rows = [r.split(",") for r in INSTRUMENTS]
    when = [datetime(2026, 3, 27, 8, tzinfo=UTC) if r[6] else None for r in rows]
    for zone in (None, "UTC", "Europe/Berlin"):
        columns = {n: pa.array([r[i] for r in rows]) for i, n in enumerate(INSTRUMENT_HEADER.split(","))}
        columns["expiry"] = pa.array([w if zone or w is None else w.replace(tzinfo=None) for w in when], pa.timestamp("ms", zone))
        folder = write(tmp_path)
        (folder / "instruments.csv").unlink()
        (folder / "instruments.parquet").write_bytes(parquet_bytes(pa.table(columns)))
        if zone is None:
            refused(folder, "UPM-IN-031", "instruments.parquet", "expiry")
        else:
            book = load_book(folder)
            assert book.instruments[1].expiry == when[1]  # type: ignore[union-attr]
        (folder / "instruments.parquet").unlink()


def test_31_valuation_time_needs_a_zone(tmp_path: Path) -> None:
    refused(write(tmp_path), "UPM-IN-031", "valuation_time", valuation_time=NOW.replace(tzinfo=None))


@pytest.mark.parametrize(("terms", "column"), [
    ({"strike": "0"}, "strike"), ({"strike": "-5"}, "strike"), ({"strike": ""}, "strike"), ({"contract_size": "0"}, "contract_size"),
    ({"contract_size": "-1"}, "contract_size"), ({"contract_size": ""}, "contract_size"),
])
def test_32_strike_and_contract_size(tmp_path: Path, terms: dict[str, str], column: str) -> None:
    instrument_reject(tmp_path, option(**terms), "UPM-IN-032", column)


@pytest.mark.parametrize(("cell", "meant"), [("call", "call"), ("C", "call"), ("c", "call"), ("CALL", "call"), ("put", "put"), ("P", "put")])
def test_33_option_type_spellings(tmp_path: Path, cell: str, meant: str) -> None:
    book = load_book(write(tmp_path, instruments=text(INSTRUMENT_HEADER, [*INSTRUMENTS, option(option_type=cell)])))
    assert {i.instrument_id: i for i in book.instruments}["X"].option_type == meant  # type: ignore[union-attr]


@pytest.mark.parametrize(("terms", "column", "words"), [
    ({"option_type": "X"}, "option_type", '"X" is not a known option type. Use call or put.'), ({"option_type": ""}, "option_type", "call"), ({"kind": "optoin"}, "kind", "Did you mean option?"),
    ({"settlement": "physical"}, "settlement", "linear"), ({"exercise": "asian"}, "exercise", "european"),
])
def test_33_words_that_are_not_known(tmp_path: Path, terms: dict[str, str], column: str, words: str) -> None:
    instrument_reject(tmp_path, option(**terms), "UPM-IN-033", column, words)


@pytest.mark.parametrize(("cell", "words"), [("", "empty"), ("usd", "Write USD"), ("US$", "US$")])
def test_34_currencies(tmp_path: Path, cell: str, words: str) -> None:
    instrument_reject(tmp_path, option(quote_currency=cell), "UPM-IN-034", "quote_currency", words)


def test_34_collateral_assets(tmp_path: Path) -> None:
    rows = [f"A{i:03d},USD,1" for i in range(ROWS)]
    book = load_book(write(tmp_path, collateral=text("account_id,asset,quantity", [*rows, "A000,btc,1"])))
    assert [(r.code, r.file, r.line, r.column) for r in book.rejects] == [("UPM-IN-034", "collateral.csv", ROWS + 2, "asset")]
    assert len(book.collateral.asset) == ROWS


def test_35_collateral_and_positions_need_not_match(tmp_path: Path) -> None:
    book = load_book(write(tmp_path, collateral=b"account_id,asset,quantity\nZ9,USD,5\nZ9,BTC,0.1\nZ9,BTC,0.2\n"))
    kept_intact(book)
    assert book.accounts[-1].account_id == "Z9"
    assert [(book.accounts[a].account_id, s, q) for a, s, q in zip(book.collateral.account, book.collateral.asset, book.collateral.quantity, strict=True)] == [
        ("Z9", "BTC", 0.3), ("Z9", "USD", 5.0)]


def test_36_spaces_around_ids_are_taken_off_and_said(tmp_path: Path) -> None:
    book = load_book(write(tmp_path, inserted(" A000 , BTC ,5")))
    kept_intact(book)
    assert len(book.accounts) == ROWS
    assert [w.split(":")[0] for w in book.warnings] == ["UPM-IN-036 positions.csv column account_id", "UPM-IN-036 positions.csv column instrument_id"]


@pytest.mark.parametrize(("name", "words"), [
    ("A\u200b000", "U+200B"), ("\ufeffA000", "U+FEFF"), ("A\u00a0000", "U+00A0"), ("\u0410000", "CYRILLIC"), ("B\u0430nk", "CYRILLIC"), ("\uff21000", '"A000"'),
    ("A\u2000000", "U+2000"), ("A\x1b[31m", "U+001B"), ("", "empty"), ("x" * 129, "129 characters"),
])
def test_36_invisible_and_look_alike_characters(tmp_path: Path, name: str, words: str) -> None:
    one_reject(write(tmp_path, inserted(f"{name},BTC-PERP,1")), "UPM-IN-036", 102, "account_id", words)


def test_36_other_scripts_are_welcome(tmp_path: Path) -> None:
    names = ["M\u00fcller", "\u5ba2\u6237-1", "\u0416\u0443\u043a"]
    book = load_book(write(tmp_path, inserted(*(f"{n},BTC-PERP,1" for n in names))))
    assert book.rejects == ()
    assert set(names) <= {a.account_id for a in book.accounts}


def test_37_formula_starts_are_kept_and_escaped_on_export(tmp_path: Path) -> None:
    names = ["=1+1", "+A", "-A", "@SUM(A1)"]
    book = load_book(write(tmp_path, inserted(*(f"{n},BTC-PERP,1" for n in names))))
    assert set(names) <= {a.account_id for a in book.accounts}
    assert [escape_cell(n) for n in names] == ["'" + n for n in names]
    assert escape_cell("A=1") == "A=1"
    assert escape_cell("\t=1") == "'\t=1"


def test_38_markup_and_paths_are_only_text(tmp_path: Path) -> None:
    names = ["<script>alert(1)</script>", "../../etc/passwd", "..", "a/b"]
    book = load_book(write(tmp_path, inserted(*(f"{n},BTC-PERP,1" for n in names))))
    assert set(names) <= {a.account_id for a in book.accounts}
    assert book.rejects == ()


def test_39_nothing_to_margin(tmp_path: Path) -> None:
    rows = [p.replace("BTC-PERP", "BTC-PREP") for p in POSITIONS]
    refused(write(tmp_path, text(HEADER, rows)), "UPM-IN-039", "nothing to margin", "UPM-IN-027 positions.csv line 2", max_reject_share=1.0)
    refused(write(tmp_path, text(HEADER, ["A,BTC,0", "B,BTC,1", "B,BTC,-1"])), "UPM-IN-039", "nothing to margin")


def test_40_too_many_rejects(tmp_path: Path) -> None:
    folder = write(tmp_path, inserted("B,BTC-PERP,x", "B,BTC-PERP,y", "B,BTC-PERP,z"))
    refused(folder, "UPM-IN-040", "3 of 203 rows rejected (1.48 %)", "max_reject_share = 0.01", "line 102")
    with pytest.raises(TooManyRejects) as caught:
        load_book(folder)
    assert [r.line for r in caught.value.rejects] == [102, 103, 104]
    book = load_book(folder, max_reject_share=0.02)
    kept_intact(book)
    assert len(book.rejects) == 3
    two = write(tmp_path, inserted("B,BTC-PERP,x", "B,BTC-PERP,y"))
    assert len(load_book(two).rejects) == 2
    refused(two, "UPM-IN-040", max_reject_share=0.0)


def test_40_reading_stops_where_nearly_everything_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upm_gpu.domain.tables.MAX_LISTED", 50)
    refused(write(tmp_path, text(HEADER, [f"A{i},BTC-PERP,x" for i in range(200)])), "UPM-IN-040", "50 rows rejected, reading stopped", "line 2")


def test_american_exercise_of_an_inverse_option_is_refused_by_name(tmp_path: Path) -> None:
    refused(write(tmp_path, instruments=text(INSTRUMENT_HEADER, [*INSTRUMENTS, option(exercise="american")])),
            "UPM-IN-040", "UPM-IN-041 instruments.csv line 6 column exercise", "is not priced")


@pytest.mark.parametrize(("row", "column"), [
    ("X,perpetual,BTC,inverse,USD,1,2026-03-27T08:00:00Z,,,", "expiry"), ("X,future,BTC,inverse,USD,1,2026-03-27T08:00:00Z,5,,", "strike"),
    ("X,spot,BTC,linear,USD,1,,,call,", "option_type"), ("X,spot,BTC,inverse,USD,1,,,,", "settlement"),
])
def test_terms_that_do_not_belong_to_the_kind(tmp_path: Path, row: str, column: str) -> None:
    instrument_reject(tmp_path, row, "UPM-IN-042", column)


def test_entry_prices(tmp_path: Path) -> None:
    rows = ["B,BTC-PERP,5,50000", "B,BTC-PERP,5,40000", "B,BTC-PERP,1,", "C,BTC-PERP,1,0", "D,BTC,2,100", "E,BTC-PERP,3,50000", "E,BTC-PERP,-3,60000"]
    book = load_book(write(tmp_path, text(HEADER + ",entry_price", [*(p + "," for p in POSITIONS), *rows])))
    kept_intact(book)
    assert [(r.code, r.column, r.line) for r in book.rejects] == [("UPM-IN-024", "entry_price", ROWS + 5)]
    p = book.positions
    found = {book.accounts[a].account_id: (c, q, eq, ec) for a, c, q, eq, ec in zip(p.account, p.contracts, p.quantity, p.entry_quantity, p.entry_cost, strict=True)}
    assert found["A000"][2:] == (0.0, 0.0)
    assert found["B"] == (11.0, 110.0, 100.0, 0.00225)
    assert found["D"] == (2.0, 2.0, 2.0, 200.0)
    assert found["E"] == (0.0, 0.0, 0.0, 0.0001)


def test_accounts_table(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "accounts.csv").write_text("account_id,member_id,limit\n" + "".join(f"A{i:03d},M{i % 3},{i}\n" for i in range(ROWS)) + "A005,M9,1\n")
    book = load_book(folder)
    kept_intact(book)
    assert [(r.code, r.file, r.line) for r in book.rejects] == [("UPM-IN-043", "accounts.csv", ROWS + 2)]
    assert (book.accounts[7].member_id, book.accounts[7].limit) == ("M1", 7.0)


def test_a_fault_leaves_the_command_line_with_a_message_and_exit_3(tmp_path: Path) -> None:
    folder = write(tmp_path, b"")
    script = f"import sys; from upm_gpu.cli import main; sys.argv = ['upm', 'run', '--book', {str(folder)!r}, '--out', {str(tmp_path / 'out')!r}]; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 3, done.stderr
    assert "UPM-IN-002 positions.csv" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "margin.csv").exists()


def test_blocks_without_faults_are_the_bytes_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "positions.csv"
    path.write_bytes(text(HEADER, POSITIONS))
    for size in (7, 64, 1 << 20):
        found = list(blocks.read_blocks(path, "IN", Limits(block=size), Notes()))
        assert b"".join(b.data for b in found) == path.read_bytes()
        assert np.concatenate([b.lines for b in found]).tolist() == list(range(1, ROWS + 2))
