"""Result files: the same figures give the same bytes, and nothing undefined or dangerous is written."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import toy_run

from upm_gpu.domain.book import Reject
from upm_gpu.errors import UpmError
from upm_gpu.run.manifest import Provenance, identity, kernels_sha256, versions
from upm_gpu.run.results import (
    Results,
    csv_bytes,
    parquet_bytes,
    reject_columns,
    table,
    write_report_input,
    write_results,
)

AWKWARD = [0.1, 1 / 3, -0.0, 1e308, 5e-324, 123456789.123456789, 2.0**53 + 2]


def read(content: bytes | memoryview, **options: object) -> object:
    return pq.ParquetFile(io.BytesIO(bytes(content)), **options)


def test_parquet_has_one_form() -> None:
    columns = {"account_id": ["007", "NA", "=1+1"], "initial_margin": np.array([1.5, -0.0, 1 / 3]), "count": np.array([1, 2, 3])}
    content = parquet_bytes(table(columns, strict="margin.parquet"))
    assert bytes(content) == bytes(parquet_bytes(table(dict(columns), strict="margin.parquet")))
    file = read(content)
    assert file.metadata.metadata in (None, {})  # no pandas, no Arrow schema: nothing but the columns
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    back = file.read()
    assert back.column("account_id").to_pylist() == ["007", "NA", "=1+1"]
    assert math.copysign(1, back.column("initial_margin")[1].as_py()) == 1.0  # one zero only
    assert [str(t) for t in back.schema.types] == ["string", "double", "int64"]


def test_a_data_frame_gives_the_bytes_of_its_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame({"account_id": ["b", None, "a"], "pnl": [1.5, np.nan, 2.0], "rank": np.array([1, 2, 3], np.int32)})
    columns = {"account_id": ["b", None, "a"], "pnl": np.array([1.5, np.nan, 2.0]), "rank": np.array([1, 2, 3], np.int32)}
    with toy_run.create(tmp_path / "run", 4096) as run:
        write_report_input(run, "a.parquet", frame)
        write_report_input(run, "b.parquet", columns)
    assert (tmp_path / "run/report/a.parquet").read_bytes() == (tmp_path / "run/report/b.parquet").read_bytes()


def test_row_groups_are_fixed() -> None:
    file = read(parquet_bytes(table({"count": np.arange(300_000)})))
    assert [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)] == [131_072, 131_072, 37_856]


def test_page_checksums_are_on() -> None:
    """A flipped bit in the stored values is refused by a reader that checks pages."""
    content = bytearray(parquet_bytes(table({"pnl": np.random.default_rng(7).normal(size=2000)})))
    refused = 0
    for at in range(200, 1200, 100):
        flipped = bytearray(content)
        flipped[at] ^= 4
        try:
            read(flipped, page_checksum_verification=True).read()
        except OSError as error:
            refused += "CRC" in str(error) or "checksum" in str(error).lower()
    assert refused >= 9


@pytest.mark.parametrize("undefined", [math.nan, math.inf, -math.inf])
def test_an_undefined_margin_is_never_written(undefined: float) -> None:
    columns = {"account_id": ["A", "B"], "initial_margin": np.array([1.0, undefined]), "margin_ratio": np.array([math.nan, 1.0]),
               "variance_ratio": np.array([3.0, math.nan])}  # no equity to compare with; no error to compare
    with pytest.raises(UpmError, match=r"UPM-RN-022 margin.parquet row 2: account_id 'B', column initial_margin is") as caught:
        table(columns, strict="margin.parquet")
    assert caught.value.exit_code == 1
    columns["initial_margin"] = np.array([1.0, 2.0])
    assert table(columns, strict="margin.parquet").column("margin_ratio").to_pylist() == [None, 1.0]
    assert table(columns, strict="margin.parquet").column("variance_ratio").to_pylist() == [3.0, None]


def test_csv_reads_back_to_the_same_bits() -> None:
    content = csv_bytes({"x": AWKWARD, "n": [None, 1, np.int64(2), True, np.uint32(3), math.nan, ""], "t": [datetime(2026, 2, 5, 9, 36, 47, tzinfo=UTC)] * 7})
    rows = list(csv.reader(io.StringIO(content.decode())))
    assert [float(r[0]) for r in rows[1:]] == AWKWARD
    assert [r[1] for r in rows[1:]] == ["", "1", "2", "true", "3", "", ""]
    assert rows[1][2] == "2026-02-05T09:36:47Z"
    assert b"\r" not in content and content.endswith(b"\n")


def test_csv_never_holds_a_formula_and_negative_numbers_stay_numbers() -> None:
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "a,b", 'a"b', "a\nb", "<script>", "../x"]
    rows = list(csv.reader(io.StringIO(csv_bytes({"account_id": texts, "pnl": [-1.5] * 10}).decode(), newline="")))
    assert [r[0] for r in rows[1:]] == ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\tx", "a,b", 'a"b', "a\nb", "<script>", "../x"]
    assert {r[1] for r in rows[1:]} == {"-1.5"}


def test_rejects_keep_their_columns_even_when_there_are_none(tmp_path: Path) -> None:
    assert csv_bytes(reject_columns([])) == b"file,line,column,code,message,raw\n"
    content = csv_bytes(reject_columns([Reject("positions.csv", 3, "quantity", "UPM-IN-014", "not a number", "=A,1")]))
    assert content.splitlines()[1] == b"positions.csv,3,quantity,UPM-IN-014,not a number,\"'=A,1\""


def test_promised_columns_come_first_and_must_be_there(tmp_path: Path) -> None:
    one = np.ones(1)
    contributions = {"contribution": one, "instrument_id": ["I"], "account_id": ["A"]}
    worst = {"account_id": ["A"], "rank": [1], "scenario": np.array([2**32 - 2], np.uint32), "pnl": one, "log_level[BTC]": one}
    margin = {"charge_stress": one} | dict.fromkeys(("initial_margin", "maintenance_margin", "expected_shortfall", "expected_shortfall_standard_error", "value_at_risk", "collateral_value", "equity", "excess", "margin_ratio"), one) | {"status": ["ok"], "account_id": ["A"]}
    with toy_run.create(tmp_path / "run", 4096) as run:
        rows = write_results(run, Results(margin, contributions, worst, {"account_id": ["A"]}))
        assert rows["margin.parquet"] == rows["margin.csv"] == 1 and "greeks.parquet" not in rows
        header = (run.path / "margin.csv").read_text().splitlines()[0]
        assert header == ("account_id,initial_margin,maintenance_margin,expected_shortfall,expected_shortfall_standard_error,value_at_risk,"
                          "collateral_value,equity,excess,margin_ratio,status,charge_stress")
        assert pq.read_schema(run.path / "worst_scenarios.parquet").names == ["account_id", "rank", "scenario", "pnl", "log_level[BTC]"]
        assert str(pq.read_schema(run.path / "worst_scenarios.parquet").field("scenario").type) == "uint32"
        del margin["equity"]
        with pytest.raises(ValueError, match="equity"):
            write_results(run, Results(margin, contributions, worst, {}))


def test_the_manifest_says_what_the_interface_promises(tmp_path: Path) -> None:
    toy_run.run_or_resume(tmp_path / "run", 4096)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["format"] == 1 and manifest["schema_version"] == 1
    assert {"device", "device_reason", "precision", "scenarios", "seed", "timings", "inputs", "libraries", "counts", "command", "error_formula",
            "snapshot_sha256", "spec_sha256", "methodology_sha256", "kernels_sha256", "isa", "threads", "chunk"} <= set(manifest)
    assert {"python", "numpy", "scipy", "pyarrow", "upm_gpu"} <= set(manifest["libraries"])
    assert list(manifest) == sorted(manifest)


def test_a_manifest_with_an_impossible_value_is_refused() -> None:
    good = toy_run.provenance(4096)
    for change in ({"snapshot_sha256": "abc"}, {"inputs": {"config.toml": "Z" * 64}}, {"timings": {"engine": math.nan}}, {"seed": 2**64}):
        with pytest.raises(UpmError, match="UPM-RN-023"):
            Provenance(**(vars(good) | change)).to_dict()


def test_the_kernel_hash_sees_every_source(tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "black.cuh").write_text("a")
    (tmp_path / "host" / "api.cpp").write_text("b")
    (tmp_path / "README.md").write_text("c")
    first = kernels_sha256(tmp_path)
    (tmp_path / "README.md").write_text("d")
    assert kernels_sha256(tmp_path) == first
    (tmp_path / "host" / "api.cpp").write_text("B")
    second = kernels_sha256(tmp_path)
    (tmp_path / "black.cuh").rename(tmp_path / "white.cuh")
    assert len({first, second, kernels_sha256(tmp_path)}) == 3
    assert identity()["upm_gpu"] == versions()["upm_gpu"] or versions()["upm_gpu"] == ""
