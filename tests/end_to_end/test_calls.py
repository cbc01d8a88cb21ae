"""The margin call ladder: lines, amounts, deadlines over nights and holidays, calls that go on or escalate, and `upm calls`."""

from __future__ import annotations

import csv
import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from command_line import Command

from upm_gpu.desk.calls.ladder import Calendar, OpenCall, Stage, Standing, calls, deadline, load_ladder, natural_stage
from upm_gpu.desk.calls.ladder_command import read_open_calls
from upm_gpu.errors import InputError
from upm_gpu.margin.methodology import load_methodology

NOON = datetime(2026, 2, 5, 12, tzinfo=UTC)
HOUSE = load_ladder()


def account(equity: float, initial: float = 1000.0, maintenance: float = 800.0, name: str = "A") -> Standing:
    return Standing(name, equity, initial, maintenance, 12.0)


@pytest.mark.parametrize(("equity", "stage", "amount"), [
    (1100.0, None, 0.0), (1099.0, "warning", 0.0), (1000.0, "warning", 0.0), (999.0, "call", 0.0), (900.5, "call", 0.0), (900.0, "call", 100.0), (895.0, "call", 110.0), (800.0, "call", 200.0),
    (799.99, "urgent call", 210.0), (400.0, "urgent call", 600.0), (399.0, "close-out", 610.0), (-5.0, "close-out", 1010.0)])
def test_lines_and_amounts_of_the_house(equity: float, stage: str | None, amount: float) -> None:
    found = calls(HOUSE, [account(equity)], NOON)
    assert [c.stage for c in found] == ([] if stage is None else [stage])
    if found:
        (call,) = found
        assert call.amount == amount
        assert call.short == (0.0 if stage == "warning" else 1000.0 - equity)
        assert ("minimum transfer" in call.reason) == (0.0 < call.short < 100.0)
        assert (call.due_at is None) == (call.short == 0.0)


def test_the_ladder_of_the_house_agrees_with_the_statuses_of_a_run() -> None:
    """Its lines are those of `call` and `liquidation`."""
    assert {(s.below, s.of) for s in HOUSE.stages} >= {(1.0, "initial"), (1.0, "maintenance")}
    assert 0.0 < load_methodology().maintenance_ratio <= 1.0


def test_a_small_close_out_is_not_spared() -> None:
    (call,) = calls(HOUSE, [account(1.0, 50.0, 40.0)], NOON)
    assert (call.stage, call.amount) == ("close-out", 50.0)


def test_deadlines() -> None:
    always = Calendar()
    stage = Stage(name="s", below=1.0, of="initial", due_hours=24.0)
    assert deadline(always, stage, NOON) == datetime(2026, 2, 6, 12, tzinfo=UTC)
    # Chicago: Thursday noon UTC is 06:00; business 08:00 to 15:00, Friday is a holiday
    week = Calendar(business="weekdays", zone="America/Chicago", opening="08:00", closing="15:00", holidays=[date(2026, 2, 6)])
    hours = Stage(name="s", below=1.0, of="initial", due_hours=8.0)
    assert deadline(week, hours, NOON) == datetime(2026, 2, 9, 15, tzinfo=UTC)  # seven hours on Thursday, one on Monday: 09:00 there
    assert deadline(week, hours.model_copy(update={"due_hours": 7.0}), NOON) == datetime(2026, 2, 5, 21, tzinfo=UTC)
    assert deadline(week, hours.model_copy(update={"due_hours": 1.0}), datetime(2026, 2, 7, 12, tzinfo=UTC)) == datetime(2026, 2, 9, 15, tzinfo=UTC)
    days = Stage(name="s", below=1.0, of="initial", due_days=1, due_at="10:00")
    assert deadline(week, days, NOON) == datetime(2026, 2, 9, 16, tzinfo=UTC)
    assert deadline(week, days.model_copy(update={"due_days": 0}), NOON) == datetime(2026, 2, 5, 16, tzinfo=UTC)
    assert deadline(week, days.model_copy(update={"due_days": 0}), datetime(2026, 2, 5, 17, tzinfo=UTC)) == datetime(2026, 2, 9, 16, tzinfo=UTC)
    # across the change to summer time on 8 March: 09:00 there is an hour earlier here
    assert deadline(week, hours, datetime(2026, 3, 6, 14, tzinfo=UTC)) == datetime(2026, 3, 9, 14, tzinfo=UTC)
    # Monday evening there is Tuesday here: the business day is theirs
    evening = datetime(2026, 2, 10, 2, tzinfo=UTC)
    assert deadline(week, days.model_copy(update={"due_days": 0, "due_at": "21:00"}), evening) == datetime(2026, 2, 10, 3, tzinfo=UTC)
    assert deadline(always, Stage(name="s", below=1.0, of="initial"), NOON) is None


def test_calls_go_on_escalate_and_are_met() -> None:
    early = datetime(2026, 2, 5, 6, tzinfo=UTC)
    running = {"A": OpenCall("call", early, datetime(2026, 2, 6, 6, tzinfo=UTC))}
    (call,) = calls(HOUSE, [account(850.0)], NOON, running)
    assert (call.stage, call.issued_at, call.due_at) == ("call", early, running["A"].due_at)
    (graver,) = calls(HOUSE, [account(500.0)], NOON, running)
    assert (graver.stage, graver.issued_at, graver.due_at) == ("urgent call", NOON, datetime(2026, 2, 5, 13, tzinfo=UTC))
    late = datetime(2026, 2, 6, 6, tzinfo=UTC)
    (missed,) = calls(HOUSE, [account(850.0)], late, running)
    assert (missed.stage, missed.issued_at) == ("urgent call", late) and "was not met by 2026-02-06T06:00Z" in missed.reason
    (met,) = calls(HOUSE, [account(1500.0)], late, running)
    assert (met.stage, met.amount) == ("met", 0.0)
    (mild,) = calls(HOUSE, [account(1050.0)], late, running)
    assert (mild.stage, mild.amount) == ("warning", 0.0)  # the call is met, the warning stands
    # an urgent call that recovers above maintenance keeps its deadline until it is met
    urgent = {"A": OpenCall("urgent call", early, datetime(2026, 2, 5, 13, tzinfo=UTC))}
    (kept,) = calls(HOUSE, [account(850.0)], NOON, urgent)
    assert (kept.stage, kept.due_at) == ("urgent call", urgent["A"].due_at)


def test_the_gravest_come_first() -> None:
    found = calls(HOUSE, [account(e, name=n) for n, e in (("D", 1050.0), ("C", 850.0), ("A", 700.0), ("B", -1.0), ("E", 2000.0))], NOON)
    assert [c.account_id for c in found] == ["B", "A", "C", "D"]
    assert natural_stage(HOUSE, account(2000.0)) == -1


@pytest.mark.parametrize(("edit", "code", "word"), [
    (("then = \"urgent call\"", "then = \"warning\""), "UPM-CF-172", "graver"), (("name = \"call\"", "name = \"warning\""), "UPM-CF-172", "twice"), (("below = 0.5", "below = 1.5"), "UPM-CF-172", "mildest"),
    (("zone = \"UTC\"", "zone = \"Nowhere/Town\""), "UPM-CF-172", "time zone"), (("due_hours = 24.0", "due_hours = 24.0\ndue_days = 1"), "UPM-CF-172", "Give one"),
    (("[calendar]", "[calendar]\nopening = \"19:00\""), "UPM-CF-172", "opening"), (("rounding", "roundings"), "UPM-CF-059", "rounding"), (("below = 1.10", "below = -1.0"), "UPM-CF-056", "below")])
def test_ladders_that_are_none(tmp_path: Path, edit: tuple[str, str], code: str, word: str) -> None:
    text = Path(__file__).parents[2].joinpath("configs/calls/house_v1.toml").read_text()
    assert edit[0] in text
    (tmp_path / "ladder.toml").write_text(text.replace(edit[0], edit[1], 1))
    with pytest.raises(InputError, match=code) as refused:
        load_ladder(tmp_path / "ladder.toml")
    assert word in str(refused.value)


def test_the_command_and_its_next_day(upm: Command, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "calls.csv"
    said = upm("calls", finished, "--out", out, "--json")
    assert said.code == 0, said
    found = json.loads(said.out)
    assert found["issued_at"] == "2026-02-05T09:00:00Z"
    with (finished / "calls.csv").open() as file:
        of_run = {row["account_id"]: row for row in csv.DictReader(file)}
    called = {c["account_id"]: c for c in found["calls"]}
    assert of_run and set(of_run) == {a for a, c in called.items() if c["stage"] != "warning"}
    for name, row in of_run.items():
        assert called[name]["short"] == float(row["amount"])
        assert (called[name]["stage"] in ("urgent call", "close-out")) == (row["status"] == "liquidation")
        spared = called[name]["short"] < 100.0 and called[name]["stage"] != "close-out"
        assert called[name]["amount"] == 0.0 if spared else 0.0 <= called[name]["amount"] - called[name]["short"] < 10.0
        assert called[name]["standard_error"] > 0.0
    later = json.loads(upm("calls", finished, "--before", out, "--issued", "2026-02-06T10:00:00Z", "--json").out)
    assert all(c["stage"] in ("urgent call", "close-out") for c in later["calls"] if c["account_id"] in of_run)
    page = upm("calls", finished)
    assert page.out.isascii() and "close-out" in page.out and "Margin calls of 2026-02-05T09:00Z" in page.out
    assert upm("calls", finished, "--out", out).err[:10] == "UPM-CF-173"
    assert upm("calls", finished, "--issued", "2026-02-06").err[:10] == "UPM-CF-173"
    assert upm("calls", finished, "--ladder", tmp_path / "none.toml").code == 3


def test_files_of_other_calls(tmp_path: Path) -> None:
    for text in ("", "a,b\n1,2\n", "account_id,stage,issued_at,due_at\nA,call,2026-02-05,\n"):
        (tmp_path / "c.csv").write_text(text)
        if text:
            with pytest.raises(InputError, match="UPM-IN-172"):
                read_open_calls(tmp_path / "c.csv")
        else:
            assert read_open_calls(tmp_path / "c.csv") == {}
    with pytest.raises(InputError, match="UPM-IN-172"):
        read_open_calls(tmp_path / "none.csv")
