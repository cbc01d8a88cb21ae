"""The intraday risk charge: peaks, averages and calls by hand, windows in their own zone, and `upm intraday` on a file and on runs."""

from __future__ import annotations

import csv
import json
import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from command_line import Command, here, small_run

from upm_gpu import job
from upm_gpu.desk.calls.intraday import Snapshots, increases, intraday, load_rules
from upm_gpu.errors import InputError

RULES = load_rules()
CENTRAL = timedelta(hours=6)
"""to UTC in winter"""


def day_of(first: date, number: int, hour: float) -> datetime:
    return datetime(first.year, first.month, first.day, tzinfo=UTC) + timedelta(days=number) + timedelta(hours=hour) + CENTRAL


def month() -> tuple[Snapshots, list[float], list[float]]:
    """Twenty days from 12 January: overnight risk 100, a peak of 10 + n inside the charge's window at 11:40, one of 30 + n outside it at 14:00, back by night; on the last day 12:00 is known."""
    times, risk, inside, outside = [], [], [], []
    first = date(2026, 1, 12)
    for n in range(21):
        times += [day_of(first, n, 0.1), *(day_of(first, n, 11.0 + 1.0 / 3.0 * k) for k in range(5))]
        risk += [100.0, 101.0, 102.0, 110.0 + n, 150.0 if n == 20 else 103.0, 100.0]
        if n < 20:
            times += [day_of(first, n, 14.0), day_of(first, n, 23.0)]
            risk += [130.0 + n, 100.0]
            inside.append(10.0 + n)
            outside.append(30.0 + n)
    return Snapshots(tuple(times), ("A",), np.array(risk)[:, None]), inside, outside


def test_the_charge_is_the_mean_of_last_months_peaks() -> None:
    snapshots, inside, outside = month()
    day, (line,), _ = intraday(RULES, snapshots)
    assert day == date(2026, 2, 1)
    # the first day has nothing before it
    assert line.days == 19
    assert line.charge == pytest.approx(np.mean(inside[1:]), rel=1e-15)
    assert line.largest_peak == max(inside[1:])
    assert line.standard_error == pytest.approx(np.std(inside[1:], ddof=1) / math.sqrt(19), rel=1e-12)
    assert line.increase == 50.0
    assert line.threshold == pytest.approx(3.0 * np.std(outside[1:], ddof=1), rel=1e-12)
    assert line.call and line.amount == 50.0


def test_look_back_and_windows() -> None:
    snapshots, inside, _ = month()
    _, (line,), notes = intraday(RULES, snapshots, date(2026, 2, 20))
    assert line.days == len([n for n in range(1, 20) if date(2026, 1, 12) + timedelta(days=n) >= date(2026, 1, 20)]) + 1  # and the last day, whose peak is 50
    assert line.charge == pytest.approx((sum(inside[8:]) + 50.0) / 13.0, rel=1e-15)
    assert line.increase is None and not line.call and "no call can be judged" in notes[-1]
    # the same snapshots an hour later are in the window no more
    later = Snapshots(tuple(t + timedelta(hours=3) for t in snapshots.times), snapshots.accounts, snapshots.risk)
    _, (none,), notes = intraday(RULES, later, date(2026, 2, 1))
    assert none.charge is None and none.days == 0 and "without one in the charge's window" in notes[0]


def test_falls_are_no_negative_increase_and_new_accounts_rise_by_all() -> None:
    risk = np.array([[100.0, np.nan], [90.0, 5.0], [np.nan, 7.0], [120.0, 9.0]])
    found = increases(risk, np.array([1, 2, 2, 3]))
    assert np.isnan(found[0]).all()
    assert found[1].tolist() == [0.0, 5.0]
    assert math.isnan(found[2, 0]) and found[2, 1] == 7.0
    assert found[3].tolist() == [120.0, 2.0]


@pytest.fixture
def upm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return lambda *arguments: here(capsys, monkeypatch, *arguments)


def write(path: Path, snapshots: Snapshots) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["timestamp", "account_id", "risk"])
        writer.writerows([t.isoformat(), a, repr(float(v))] for t, row in zip(snapshots.times, snapshots.risk, strict=True) for a, v in zip(snapshots.accounts, row, strict=True))
    return path


def test_the_command_on_a_file(upm: Command, tmp_path: Path) -> None:
    snapshots, inside, _ = month()
    file = write(tmp_path / "s.csv", snapshots)
    said = upm("intraday", file, "--json")
    assert said.code == 0, said
    found = json.loads(said.out)
    assert found["total_charge"] == pytest.approx(np.mean(inside[1:]), rel=1e-15) and found["day"] == "2026-02-01"
    page = upm("intraday", file)
    assert page.out.isascii() and "1 calls allowed" in page.out and "occ_intraday 2025" in page.out


def test_the_command_on_runs(upm: Command, tmp_path: Path) -> None:
    """A run is a snapshot: what its initial margin is above that of the day before."""
    folder = small_run(tmp_path / "r")
    assert job.run(folder / "run.toml", {"output.path": str(folder / "run")}, quiet=True).exit_code == 0
    with (folder / "run" / "margin.csv").open() as file:
        margins = {row["account_id"]: float(row["initial_margin"]) for row in csv.DictReader(file)}
    yesterday = tmp_path / "before.csv"
    yesterday.write_text("timestamp,account_id,risk\n" + "".join(f"2026-02-04T20:00:00Z,{a},{m / 2!r}\n" for a, m in margins.items()))
    rules = tmp_path / "rules.toml"
    rules.write_text(Path(__file__).parents[2].joinpath("configs/calls/occ_intraday_v2025.toml").read_text().replace('call_at = "12:00"', 'call_at = "03:00"'))  # 09:00Z
    found = json.loads(upm("intraday", folder / "run", yesterday, "--rules", rules, "--json").out)
    assert found["currency"] == "USD"
    assert {a["account_id"]: a["increase"] for a in found["accounts"]} == {a: m - m / 2 for a, m in margins.items()}
    assert all(a["charge"] is None for a in found["accounts"])


def test_what_is_refused(upm: Command, tmp_path: Path) -> None:
    for text in ("", "a\n1\n", "timestamp,account_id,risk\n2026-02-05,A,1\n", "timestamp,account_id,risk\n2026-02-05T00:00:00Z,A,nan\n",
                 "timestamp,account_id,risk\n2026-02-05T00:00:00Z,A,1\n2026-02-05T00:00:00+00:00,A,2\n"):
        (tmp_path / "s.csv").write_text(text)
        said = upm("intraday", tmp_path / "s.csv")
        assert (said.code, said.err[:10]) == (3, "UPM-IN-173"), said
    assert upm("intraday", tmp_path / "none.csv").code == 3
    assert upm("intraday", tmp_path / "s.csv", "--day", "today").err[:10] == "UPM-CF-176"
    text = Path(__file__).parents[2].joinpath("configs/calls/occ_intraday_v2025.toml").read_text()
    for old, new in (('zone = "America/Chicago"', 'zone = "Nowhere"'), ('charge_to = "12:30"', 'charge_to = "10:30"'), ('call_at = "12:00"', 'call_at = "16:00"')):
        (tmp_path / "r.toml").write_text(text.replace(old, new))
        with pytest.raises(InputError, match="UPM-CF-175"):
            load_rules(tmp_path / "r.toml")
