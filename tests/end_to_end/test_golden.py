"""Did the house move? The sample at 8,192 scenarios on `cpu` in `double`, compared with a table kept as text, bit for bit.

The golden table holds every fiftieth account, the first of each kind and status, and the totals over all 2,000. It moves only with a line in
CHANGELOG.md that says why. Written again, from the root of the repository, by

    python tests/end_to_end/test_golden.py

Its head names the versions of NumPy and SciPy: calibration and surfaces are fitted with them. With the same versions the figures are
equal to the bit; with others they may differ by what the fits differ, held to 1e-6.
"""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy

from upm_gpu.backend import cpu
from upm_gpu.backend.select import choose
from upm_gpu.config import load_config, scenario_spec
from upm_gpu.domain.reader import load_book
from upm_gpu.engine import Outcome, compute_outcome
from upm_gpu.margin.methodology import load_methodology
from upm_gpu.market.reader import load_market
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.shipped import find_file, resolve_sample

TABLE = Path(__file__).parent / "data" / "golden_sample_margins.csv"
VERSIONS = f"numpy {np.__version__}, scipy {scipy.__version__}"
COLUMNS = ("account_id", "initial_margin", "equity", "status")
EVERY = 50
TOTAL = "TOTAL"


def margins(book_folder: Path, backend: str) -> Outcome:
    """The quick start at 8,192 scenarios in double on a book over the sample's market."""
    config = load_config(find_file("configs/quickstart.toml"), {"scenarios.count": "8192"})
    market = load_market("sample:crypto")
    plan = make_plan(load_book(book_folder, market.valuation_time), market, scenario_spec(config), load_methodology(config.methodology.file))
    return compute_outcome(plan, choose(backend, "double"), 0, in_memory())


def chosen(table: pd.DataFrame) -> list[str]:
    """Every fiftieth account, and the first of each (kind, status): the kind is what stands before the hyphen of the id."""
    kind = table["account_id"].str.split("-").str[0]
    first = table.groupby([kind, table["status"]], sort=True)["account_id"].first()
    return sorted({*table["account_id"].iloc[::EVERY], *first})


def golden_text(table: pd.DataFrame) -> str:
    """The golden table: a line of versions, a header, the accounts, the totals; floats in the shortest form that reads back to the same bits."""
    kept = table.set_index("account_id").loc[chosen(table)]
    lines = [f"# {VERSIONS}", ",".join(COLUMNS)]
    lines += [f"{account},{float(row.initial_margin)!r},{float(row.equity)!r},{row.status}" for account, row in zip(kept.index, kept.itertuples(), strict=True)]
    counts = " ".join(f"{name}={number}" for name, number in sorted(table["status"].value_counts().items()))
    return "\n".join([*lines, f"{TOTAL},{float(table['initial_margin'].sum())!r},{float(table['equity'].sum())!r},{counts}"]) + "\n"


def golden() -> tuple[str, dict[str, dict[str, str]]]:
    """(versions, rows by account id) of the table that is kept."""
    head, _, body = TABLE.read_text(encoding="ascii").partition("\n")
    return head.removeprefix("# "), {row["account_id"]: row for row in csv.DictReader(io.StringIO(body))}


@pytest.fixture(scope="module")
def sample() -> pd.DataFrame:
    if not cpu.available()[0]:
        pytest.skip("the compiled engine is not installed here")
    return margins(resolve_sample("sample:crypto", "book"), "cpu").result.table


def test_the_sample_gives_the_golden_margins(sample: pd.DataFrame) -> None:
    versions, rows = golden()
    now = {row["account_id"]: row for row in csv.DictReader(io.StringIO(golden_text(sample).partition("\n")[2]))}
    assert list(now) == list(rows)
    moved = [f"{a}: {rows[a]} is now {now[a]}" for a in rows if now[a] != rows[a]]
    if versions == VERSIONS:
        assert not moved, "\n".join(moved)
    for account, row in rows.items():
        assert now[account]["status"] == row["status"]
        for name in ("initial_margin", "equity"):
            assert float(now[account][name]) == pytest.approx(float(row[name]), rel=1e-6), account


def test_the_sample_tells_all_three_stories(sample: pd.DataFrame) -> None:
    """Calls and liquidations together 3 to 10 % of the accounts, each kept account's status in the table, every kind of account there."""
    share = sample["status"].value_counts(normalize=True)
    assert len(sample) == 2000 and set(share.index) == {"ok", "call", "liquidation"}
    assert 0.03 <= share["call"] + share["liquidation"] <= 0.10
    _, rows = golden()
    assert 40 <= len(rows) - 1 <= 60 and {r["status"] for a, r in rows.items() if a != TOTAL} == {"ok", "call", "liquidation"}
    assert {a.split("-")[0] for a in rows if a != TOTAL} == {"BAS", "COV", "DIR", "INV", "MM", "SPR"}


@pytest.fixture(scope="module")
def reduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A book of thirty of the golden accounts, two of them market makers with hundreds of lines."""
    source, folder = resolve_sample("sample:crypto", "book"), tmp_path_factory.mktemp("reduced")
    accounts = [a for a in golden()[1] if a != TOTAL]
    makers = [a for a in accounts if a.startswith("MM")][:2]
    kept = {*makers, *[a for a in accounts if not a.startswith("MM")][: 30 - len(makers)]}
    assert len(kept) == 30

    def keep(lines: list[str]) -> str:
        return "".join([lines[0], *(line for line in lines[1:] if line.split(",")[0] in kept)])

    (folder / "instruments.csv").write_text((source / "instruments.csv").read_text())
    (folder / "positions.csv").write_text(keep(gzip.decompress((source / "positions.csv.gz").read_bytes()).decode().splitlines(keepends=True)))
    (folder / "collateral.csv").write_text(keep((source / "collateral.csv").read_text().splitlines(keepends=True)))
    return folder


def test_without_the_other_accounts_nothing_moves_by_a_bit(sample: pd.DataFrame, reduced: Path) -> None:
    few = margins(reduced, "cpu").result.table.set_index("account_id")
    many = sample.set_index("account_id").loc[few.index]
    assert len(few) == 30 and set(few["status"]) == {"ok", "call", "liquidation"}
    for name in ("initial_margin", "expected_shortfall", "value_at_risk", "equity", "status"):
        assert (few[name] == many[name]).all(), name


def test_the_reference_agrees(reduced: Path) -> None:
    """NumPy against the golden table: within 1e-10 of max(|margin|, 1e-6 x gross notional)."""
    versions, rows = golden()
    outcome = margins(reduced, "reference")
    gross = dict(zip(outcome.result.measured.units, outcome.result.measured.gross_notional, strict=True))
    share = 1e-10 if versions == VERSIONS else 1e-6
    for row in outcome.result.table.itertuples():
        known = float(rows[row.account_id]["initial_margin"])
        assert abs(row.initial_margin - known) <= share * max(abs(known), 1e-6 * gross[row.account_id]), row.account_id
        assert row.status == rows[row.account_id]["status"]


if __name__ == "__main__":
    TABLE.write_text(golden_text(margins(resolve_sample("sample:crypto", "book"), "cpu").result.table), encoding="ascii")
    print(f"{TABLE}: say in CHANGELOG.md why the golden set moved")
