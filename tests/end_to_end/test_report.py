"""The report: one page, no network, hostile text inert, the numbers of the run folder and no others."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_run import HOSTILE, make_run

from upm_gpu.errors import CapacityError, InputError, IntegrityError, UsageError
from upm_gpu.report import build, explain, render_explain, render_report, words

SECTIONS = ["verdict", "accounts", "waterfall", "contributors", "distribution", "scenarios", "heat", "stress", "realised", "quality", "reproduce"]
OPTIONAL = ["contributions.parquet", "worst_scenarios.parquet", "greeks.parquet", "calls.csv", "rejects.csv",
            *(f"report/{name}" for name in ("histograms.parquet", "tails.parquet", "heatmap.parquet", "stress.parquet", "realised.parquet", "quality.json"))]


class Page(HTMLParser):
    """Tags with their attributes, and the text of script and style elements, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: list[tuple[str, dict[str, str | None], str]] = []
        self.words = ""
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside = True
            self.blocks.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            tag, attributes, text = self.blocks[-1]
            self.blocks[-1] = (tag, attributes, text + data)
        else:
            self.words += data

    @property
    def data(self) -> dict:
        return json.loads(next(text for tag, attributes, text in self.blocks if attributes.get("id") == "data"))

    @property
    def code(self) -> list[tuple[str, str]]:
        return [(tag, text) for tag, attributes, text in self.blocks if attributes.get("type") != "application/json"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("report") / "run", accounts=300, scenarios=1000)


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return Page(render_report(run).decode())


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def test_is_one_small_page(run: Path) -> None:
    assert 50_000 < len(render_report(run)) < 10_000_000


def test_same_folder_same_bytes_wherever_it_lies(run: Path, copy: Path) -> None:
    assert render_report(run) == render_report(copy)


def test_policy_allows_the_inlined_text_and_nothing_else(page: Page) -> None:
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy
    assert [tag for tag, _ in page.code] == ["style", "script"]
    for tag, text in page.code:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_reaches_for_no_network(page: Page) -> None:
    assert not {tag for tag, _ in page.tags} & {"link", "img", "iframe", "object", "embed", "base", "form", "audio", "video"}
    for _, attributes in page.tags:
        assert "src" not in attributes and "style" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
    for _, text in page.code:
        assert not re.search(r"https?:|//[a-z]|url\(|@import|fetch\(|XMLHttpRequest|WebSocket|\bimport\b|\beval\b|innerHTML|insertAdjacent|document\.write", text)


def test_hostile_ids_are_text(page: Page, tmp_path: Path) -> None:
    tame = Page(render_report(make_run(tmp_path / "tame", accounts=300, scenarios=1000, hostile=False)).decode())
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in tame.tags]
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert "<b>1,000</b>" in page.words and "Window <b>of</b> the" in page.words
    ids = page.data["accounts"]["columns"][0]["values"]
    assert set(HOSTILE) <= set(ids)
    assert set(HOSTILE) <= {view["id"] for view in page.data["views"]}
    raw = next(text for _, attributes, text in page.blocks if attributes.get("id") == "data")
    assert not set(raw) & set("<>&") and raw.isascii()


def test_sections_stand_in_order(page: Page) -> None:
    assert [a["id"] for tag, a in page.tags if tag == "section"] == SECTIONS


def test_table_holds_the_numbers_of_the_run(run: Path, page: Page) -> None:
    margin = pq.read_table(run / "margin.parquet").to_pydict()
    table = page.data["accounts"]
    columns = {c["name"]: c["values"] for c in table["columns"]}
    order = np.argsort(-np.array(margin["initial_margin"]), kind="stable")
    assert columns["account_id"] == [margin["account_id"][i] for i in order]
    assert columns["status"] == [margin["status"][i] for i in order]
    money = set(columns) - {"account_id", "status", "margin_ratio"}
    assert {"initial_margin", "core", "charge_liquidity", "charge_sampling_error", "excess", "value_at_risk"} <= money
    for name in money:
        assert columns[name] == pytest.approx(np.array(margin[name])[order], abs=0.5 * 10.0 ** -table["decimals"] * (1 + 1e-9), rel=0)
    assert columns["margin_ratio"] == pytest.approx(np.array(margin["margin_ratio"])[order], abs=5.001e-4, rel=0)


def test_verdict_counts_what_the_table_holds(run: Path, page: Page) -> None:
    margin = pq.read_table(run / "margin.parquet").to_pydict()
    spoken = " ".join(page.words.split())
    status, excess = np.array(margin["status"]), np.array(margin["excess"])
    assert f"300 accounts must post {words.short(sum(margin['initial_margin']))} USD of initial margin." in spoken
    assert f"{sum(status == 'call')} margin calls for {words.short(-excess[status == 'call'].sum())} and {sum(status == 'liquidation')} liquidations" in spoken
    assert "2 input rows were rejected. Market data is 42 min old." in spoken
    bound = sum(np.array(margin["expected_shortfall_standard_error"]) * (np.array(margin["expected_shortfall"]) > 0))
    assert f"\xb1 {words.short(bound)} s.e. at most" in spoken


def test_standard_error_of_the_run_is_preferred_to_the_bound(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"totals": {"initial_margin_standard_error": 1234567.0}}))
    assert "\xb1 1.23 m standard error" in " ".join(Page(render_report(copy).decode()).words.split())


def test_waterfall_ends_where_the_margin_table_does(run: Path, page: Page) -> None:
    margin = pq.read_table(run / "margin.parquet").to_pydict()
    bars = {bar["label"]: bar["value"] for bar in page.data["views"][0]["waterfall"]}
    assert bars["Initial margin"] == pytest.approx(sum(margin["initial_margin"]), abs=1)
    assert bars["Core margin"] + bars["Liquidity"] + bars["Sampling error"] == pytest.approx(bars["Initial margin"], abs=2)
    assert bars["Equity"] - bars["Initial margin"] == pytest.approx(bars.get("Excess", bars.get("Shortfall")), abs=2)


def test_contributions_shown_add_up(run: Path, page: Page) -> None:
    margin = pq.read_table(run / "margin.parquet").to_pydict()
    shortfall = dict(zip(margin["account_id"], margin["expected_shortfall"], strict=True))
    for view in page.data["views"]:
        shown = view["contributors"]
        wanted = sum(shortfall.values()) if view["id"] == "" else shortfall[view["id"]]
        assert sum(shown["values"]) + shown["others"] == pytest.approx(wanted, rel=1e-6, abs=len(shown["values"]) + 1)


def test_marks_the_measure_the_margin_is_taken_at(page: Page) -> None:
    assert (page.data["level"], page.data["days"]) == (0.99, 2.0)


def test_realised_counts(run: Path, page: Page) -> None:
    table = {name: np.array(values) for name, values in pq.read_table(run / "report" / "realised.parquet").to_pydict().items()}
    counts = page.data["realised"]["counts"]
    for found, loss in zip(counts, (table["realised_loss"], table["realised_loss_without_proxy"]), strict=True):
        assert found["var"] == sum(loss > table["value_at_risk"]) > 0
        assert found["es"] == sum(loss > table["expected_shortfall"]) > 0
    assert counts[0] != counts[1]
    margin = {name: np.array(values) for name, values in pq.read_table(run / "margin.parquet").to_pydict().items()}
    assert margin["account_id"].tolist() == table["account_id"].tolist()
    assert counts[0]["margin"] == sum(table["realised_loss"] > margin["initial_margin"]) > 0
    assert counts[0]["equity"] == sum(table["realised_loss"] > margin["equity"])
    assert page.data["realised"]["expected_beyond_var"] == 3.0


def test_stress_counts_accounts_beyond_their_margin(run: Path, page: Page) -> None:
    margin = dict(zip(*(pq.read_table(run / "margin.parquet").to_pydict()[name] for name in ("account_id", "initial_margin")), strict=True))
    table = pq.read_table(run / "report" / "stress.parquet").to_pydict()
    for line in page.data["stress"]["lines"]:
        pnl = {a: p for a, s, p in zip(table["account_id"], table["scenario"], table["pnl"], strict=True) if s == line["name"]}
        assert line["house"] == pytest.approx(pnl.pop(""), abs=0.5)
        assert line["beyond"] == sum(-p > margin[a] for a, p in pnl.items())
        assert line["worst_pnl"] == pytest.approx(min(pnl.values()), abs=0.5)


@pytest.mark.parametrize("name", [*OPTIONAL, "all of them"])
def test_optional_files_may_be_missing(copy: Path, name: str) -> None:
    for missing in OPTIONAL if name == "all of them" else [name]:
        (copy / missing).unlink()
    found = Page(render_report(copy).decode())
    assert [a["id"] for tag, a in found.tags if tag == "section"] == SECTIONS
    assert len(found.data["accounts"]["columns"][0]["values"]) == 300


def test_at_most_25_accounts_in_detail(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", accounts=60, scenarios=400, detail=50)
    views = Page(render_report(folder).decode()).data["views"]
    assert len(views) == 1 + 25
    assert views[0]["id"] == ""


def test_many_accounts_shorten_the_table_and_never_hide_a_breach(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Page(render_report(run).decode()).data["accounts"]
    monkeypatch.setattr(build, "ROWS", 100)
    short = Page(render_report(run).decode()).data["accounts"]
    assert (short["rows"], short["of"]) == (100, 300)
    breaches = [{a for a, s in zip(t["columns"][0]["values"], t["columns"][1]["values"], strict=True) if s != "ok"} for t in (whole, short)]
    assert breaches[0] == breaches[1] and breaches[0]


def test_a_page_that_would_be_too_large_is_cut_then_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(render_report(run))
    monkeypatch.setattr(build, "ROWS", 300)
    monkeypatch.setattr(build, "LIMIT", size - 10_000)
    assert len(render_report(run)) <= size - 10_000
    monkeypatch.setattr(build, "LIMIT", 1_000)
    with pytest.raises(CapacityError, match="UPM-RN-044"):
        render_report(run)


def test_a_book_without_accounts(copy: Path) -> None:
    table = pq.read_table(copy / "margin.parquet")
    pq.write_table(table.slice(0, 0), copy / "margin.parquet")
    for missing in OPTIONAL:
        (copy / missing).unlink()
    assert "Nothing to margin." in Page(render_report(copy).decode()).words


def test_undefined_numbers_are_not_numbers(copy: Path) -> None:
    table = pq.read_table(copy / "margin.parquet")
    ratio = pa.array([None, *table.column("margin_ratio").to_pylist()[1:]], pa.float64())
    pq.write_table(table.set_column(table.column_names.index("margin_ratio"), "margin_ratio", ratio), copy / "margin.parquet")
    columns = {c["name"]: c["values"] for c in Page(render_report(copy).decode()).data["accounts"]["columns"]}
    assert columns["margin_ratio"][columns["account_id"].index(HOSTILE[0])] is None


def test_refuses_what_is_no_run_of_a_known_format(copy: Path, tmp_path: Path) -> None:
    for command in (render_report, lambda path: explain(path, "desk-0007")):
        with pytest.raises(UsageError, match=r"UPM-RN-001 .*nowhere"):
            command(tmp_path / "nowhere")
        (tmp_path / "begun").mkdir(exist_ok=True)
        (tmp_path / "begun" / "plan.json").write_text("{}")
        with pytest.raises(IntegrityError, match=r"UPM-RN-017 .*upm resume"):
            command(tmp_path / "begun")
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    for command in (render_report, lambda path: explain(path, "desk-0007")):
        with pytest.raises(InputError, match=r"UPM-RN-016 .*format 99"):
            command(copy)


@pytest.mark.parametrize("name", ["margin.parquet", "report/histograms.parquet", "report/quality.json"])
def test_a_damaged_file_is_named(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(IntegrityError, match=f"UPM-RN-043 .*{Path(name).name}"):
        render_report(copy)


def test_explains_one_account_to_the_last_position(run: Path) -> None:
    found = explain(run, "desk-0042")
    json.dumps(found, allow_nan=False)
    assert sum(line["contribution"] for line in found["contributions"]) == pytest.approx(found["expected_shortfall"], rel=1e-9)
    assert found["core"] + sum(found["charges"].values()) == pytest.approx(found["initial_margin"], rel=1e-12)
    assert {"delta", "gamma", "vega", "theta"} <= set(found["greeks"][0])
    hostile = explain(run, HOSTILE[0])
    assert [line["rank"] for line in hostile["worst_scenarios"]] == list(range(1, 11))
    first = hostile["worst_scenarios"][0]
    assert first["moves"] == words.factor_moves(first["states"], minus="-") and first["moves"].startswith("BTC ")


def test_unknown_account_is_told_its_nearest(run: Path) -> None:
    with pytest.raises(InputError, match=r"UPM-RN-048 .*'desk-042'.*Nearest: .*desk-0042"):
        explain(run, "desk-042")
    with pytest.raises(InputError, match=r"300 accounts"):
        explain(run, "@@@@@@@@@@@@@@@@@@@@")


@pytest.mark.parametrize("width", [40, 120])
@pytest.mark.parametrize("account", ["desk-0042", *HOSTILE])
def test_explanation_prints_hostile_ids_as_text(run: Path, account: str, width: int) -> None:
    from rich.console import Console

    stream = io.StringIO()
    render_explain(explain(run, account), Console(file=stream, width=width, color_system=None))
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "Initial margin" in text and max(map(len, text.splitlines())) <= width
    if account.startswith("[red]"):
        assert "[red]id[/red]\\x1b[31m" in text


@pytest.mark.parametrize(("states", "wanted"), [
    ({"log_level[BTC]": np.log(0.86), "volatility_shift[BTC]": np.log(1.38)}, "BTC -14.0 %, volatility +38.0 %"),
    ({"log_level[BTC]": 0.0, "log_level[ETH]": np.log(1.025)}, "BTC 0.0 %; ETH +2.5 %"),
    ({"log_forward[BTC,2026-03-27]": np.log(0.5), "variance[BTC]": 0.25}, "BTC forward 2026-03-27 -50.0 %, variance[BTC] 0.25"),
    ({"log_level[BTC]": float("nan")}, ""),
])
def test_factor_moves_in_words(states: dict[str, float], wanted: str) -> None:
    assert words.factor_moves(states, minus="-") == wanted


@pytest.mark.parametrize(("amount", "wanted"), [
    (0.0, "0"), (999.4, "999"), (999.6, "1.00 k"), (12_345.0, "12.3 k"), (-1_234_567.0, "-1.23 m"), (999_600.0, "1.00 m"), (2.5e9, "2.50 bn"), (float("nan"), "n/a")])
def test_short_amounts(amount: float, wanted: str) -> None:
    assert words.short(amount, minus="-") == wanted


@pytest.mark.parametrize(("minutes", "wanted"), [(0.2, "under a minute"), (42.4, "42 min"), (552.0, "9 h 12 min"), (180.0, "3 h"), (4320.0, "3.0 days")])
def test_ages(minutes: float, wanted: str) -> None:
    assert words.duration(minutes) == wanted


def test_reproducibility_box_can_be_copied(run: Path, page: Page) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    spoken = " ".join(page.words.split())
    assert "upm run configs/quickstart.toml --out 'run <1>'" in spoken
    for wanted in (str(manifest["seed"]), manifest["device_reason"], manifest["kernels_sha256"], *manifest["inputs"].values(), *manifest["inputs"]):
        assert wanted in spoken
