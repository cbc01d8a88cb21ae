"""Synthetic books: same seed same bytes, accounts that do not disturb one another, kinds that are what they are called."""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections import defaultdict
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from upm_gpu.errors import InputError
from upm_gpu.generate.book import CollateralFactor, generate_book
from upm_gpu.generate.universe import plain_loss, read_universe

SAMPLE = Path(str(files("upm_gpu"))) / "sample" / "crypto"


def read(folder: Path, name: str) -> list[dict[str, str]]:
    path = next(folder.glob(f"{name}.*"))
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    return list(csv.DictReader(text.splitlines()))


@pytest.fixture(scope="module")
def universe():
    return read_universe(SAMPLE / "market", SAMPLE / "book")


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("book")
    summary = generate_book("sample:crypto", 100, 7, out)
    assert (summary["accounts"], summary["DIR"], summary["MM"], summary["INV"]) == (100, 30, 3, 18)
    return out


@pytest.fixture(scope="module")
def lines(book) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for r in read(book, "positions"):
        assert r["instrument_id"] not in found[r["account_id"]]
        found[r["account_id"]][r["instrument_id"]] = float(r["quantity"])
    return found


def test_same_seed_same_bytes_another_seed_others(book, tmp_path):
    for seed, equal in ((7, True), (8, False)):
        generate_book(SAMPLE / "market", 100, seed, tmp_path / str(seed))
        for name in ("positions.csv", "collateral.csv"):
            assert ((tmp_path / str(seed) / name).read_bytes() == (book / name).read_bytes()) is equal


def test_bytes_are_pinned(book):
    # A change here changes the bundled book: remake it with tools/make_sample.py and say so in the changelog.
    digest = hashlib.sha256((book / "positions.csv").read_bytes() + (book / "collateral.csv").read_bytes()).hexdigest()
    assert digest[:16] == "b4c947cad5e2db2c"


def test_more_accounts_leave_the_earlier_ones_alone(book, tmp_path):
    generate_book(SAMPLE / "market", 200, 7, tmp_path / "more")
    for name in ("positions", "collateral"):
        first = {tuple(r.values()) for r in read(book, name)}
        assert first < {tuple(r.values()) for r in read(tmp_path / "more", name)}


def test_bundled_book_is_made_so(tmp_path):
    bundled = read(SAMPLE / "book", "positions")
    generate_book(SAMPLE / "market", 40, 20_260_205, tmp_path / "few")
    few = {tuple(r.values()) for r in read(tmp_path / "few", "positions")}
    assert few < {tuple(r.values()) for r in bundled}
    assert len({r["account_id"] for r in bundled}) == 2000


def test_every_account_posts_collateral(book, lines):
    posted = defaultdict(set)
    for r in read(book, "collateral"):
        assert float(r["quantity"]) > 0.0 and r["asset"] in ("BTC", "ETH", "USD")
        posted[r["account_id"]].add(r["asset"])
    assert set(posted) == set(lines) and len(lines) == 100
    assert {a for assets in posted.values() for a in assets} == {"BTC", "ETH", "USD"}


def test_kinds_are_what_they_are_called(universe, lines):
    index = {name: i for i, name in enumerate(universe.instrument_id)}
    for account, held in lines.items():
        kinds = {universe.kind[index[n]] for n in held}
        delta = sum(q * universe.delta[index[n]] for n, q in held.items())
        gross = sum(abs(q * universe.delta[index[n]]) for n, q in held.items())
        if account.startswith("DIR"):
            assert kinds == {"option"} and len({q > 0 for q in held.values()}) == 1
        elif account.startswith("COV"):
            assert all(n.endswith("-C") and q < 0 for n, q in held.items())
        elif account.startswith("MM"):
            assert len(held) > 100 and abs(delta) < 0.1 * gross
        elif account.startswith("BAS"):
            assert kinds <= {"future", "perpetual"} and (len(held) == 1 or abs(delta) < 0.11 * gross)
        elif account.startswith("INV"):
            assert all(q > 0 for q in held.values()) and "perpetual" in kinds


def test_plain_loss_by_hand(universe):
    perpetual = universe.index("BTC-PERPETUAL")
    spot = float(universe.spot[perpetual])
    # Inverse: 10 dollars a contract, C (1/F - 1/F') S' with F = S: a fall of 15 % loses 15 % of the dollars held.
    assert plain_loss(universe, {perpetual: 1000.0}) == pytest.approx(1500.0, rel=1e-12)
    # A coin and a short of its dollars hedge each other exactly.
    assert plain_loss(universe, {perpetual: -spot / 10.0}, coin_value=spot) == pytest.approx(0.0, abs=1e-8)
    call = next(i for i in universe.where("option", "BTC") if universe.sign[i] > 0)
    assert 0.0 < plain_loss(universe, {int(call): 1.0}) <= universe.value[call]


def test_collateral_follows_the_factor(tmp_path, universe):
    thin = CollateralFactor(1.0, 1.0)
    thick = CollateralFactor(3.0, 3.0)
    assert CollateralFactor(0.7, 4.0, 2.0).at(0.5) == pytest.approx(0.7 + 3.3 * 0.25)
    worth = {"USD": 1.0} | {u: float(universe.spot[universe.index(f"{u}-PERPETUAL")]) for u in ("BTC", "ETH")}
    totals = []
    for name, factor in (("thin", thin), ("thick", thick)):
        generate_book(SAMPLE / "market", 60, 3, tmp_path / name, factor)
        rows = [r for r in read(tmp_path / name, "collateral") if r["account_id"].startswith("DIR")]
        totals.append(np.array([sum(worth[r["asset"]] * float(r["quantity"]) for r in rows if r["account_id"] == a) for a in sorted({r["account_id"] for r in rows})]))
    assert np.all(totals[1] > totals[0]) and np.median(totals[1] / totals[0]) > 1.5


def test_refusals(book, tmp_path):
    with pytest.raises(InputError, match="UPM-IN-102"):
        generate_book(SAMPLE / "market", 10, 1, book)
    with pytest.raises(InputError, match="UPM-IN-101"):
        generate_book(SAMPLE / "market", 0, 1, tmp_path / "none")
    with pytest.raises(InputError, match="UPM-IN-103"):
        generate_book(tmp_path, 10, 1, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def narrowed(tmp_path: Path, keep) -> Path:
    """The sample's market and instruments with the quotes that `keep` (underlying, strike) lets through."""
    for part, names in (("market", ("spots", "forwards", "implied_vols")), ("book", ("instruments",))):
        (tmp_path / part).mkdir()
        for name in names:
            rows = read(SAMPLE / part, name)
            kept = [r for r in rows if name != "implied_vols" or keep(r["underlying"], float(r["strike"]))]
            with (tmp_path / part / f"{name}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, rows[0].keys())
                writer.writeheader()
                writer.writerows(kept)
    return tmp_path / "market"


def test_a_chain_of_one_coin_makes_a_book_of_that_coin(tmp_path):
    generate_book(narrowed(tmp_path, lambda u, k: u == "ETH"), 60, 3, tmp_path / "out")
    rows = read(tmp_path / "out", "positions")
    assert len({r["account_id"] for r in rows}) == 60
    assert {r["instrument_id"].split("-")[0] for r in rows} == {"ETH"}


def test_a_chain_too_thin_to_draw_from_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"UPM-IN-104 .*whole chain"):
        generate_book(narrowed(tmp_path, lambda u, k: u == "BTC" and k <= 45_000), 60, 3, tmp_path / "out")
