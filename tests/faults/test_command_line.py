"""The command line: exit codes, what goes to stdout and stderr, terminals wide and narrow, nonsense, Ctrl-C. Never a traceback."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from command_line import CODED, CONFIG, POSITIONS, PROMISED, Command, Said, environment, here, small_run, upm

from upm_gpu import job
from upm_gpu.backend.select import module
from upm_gpu.run.verify import verify_run

ESCAPE = "\x1b"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def finished(small: Path) -> Path:
    """A finished run; tests that change it take a copy."""
    assert upm("run", small / "run.toml", "--out", small / "finished", "--quiet").code == 0
    return small / "finished"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """`upm` in this process, its working folder empty."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: here(capsys, monkeypatch, *arguments)


# ---- exit codes


def test_0_done_says_its_result_on_stdout_and_its_warnings_on_stderr(small: Path, tmp_path: Path) -> None:
    said = upm("run", small / "run.toml", "--out", tmp_path / "run")
    assert said.code == 0
    first, second, third = said.out.splitlines()
    assert re.fullmatch(r"4 accounts, initial margin [\d,]+ USD \(standard error [\d,]+\); \d margin calls, \d liquidations; 0 rejected rows", first)
    assert re.fullmatch(r"4,096 scenarios on \w+ in [\d.]+ s; [\d.]+ s in all", second)
    assert third == f"{tmp_path / 'run'}/report.html"
    assert all(CODED.match(line) for line in said.err.splitlines()), said.err
    assert ESCAPE not in said.out + said.err


def test_json_is_all_of_stdout(small: Path, tmp_path: Path) -> None:
    said = upm("run", small / "run.toml", "--out", tmp_path / "run", "--json")
    found = json.loads(said.out)
    assert (said.code, found["accounts"], found["rejects"]) == (0, 4, 0)
    assert found["rows"]["margin.csv"] == 4
    assert (found["calls"], found["liquidations"]) == (1, 1)
    assert len((tmp_path / "run" / "calls.csv").read_text().splitlines()) == 3


def test_quiet_says_nothing(small: Path, tmp_path: Path) -> None:
    said = upm("run", small / "run.toml", "--out", tmp_path / "run", "--quiet")
    assert said == Said(0, "", "")


@pytest.mark.parametrize(("arguments", "words"), [
    (["frobnicate"], ["upm: No such command 'frobnicate'", "`upm --help`"]),
    (["run", "--frob"], ["upm run: No such option: --frob", "`upm run --help`"]),
    (["run", "a.toml", "b.toml"], ["upm run: Got unexpected extra argument(s) (b.toml)"]),
    (["run", "--out"], ["Option '--out' requires an argument"]),
    (["explain", "somewhere"], ["upm explain: Missing option '--account'"]),
    (["generate", "book", "--market", "m", "--out", "o", "--accounts", "0"], ["--accounts", "1"]),
    (["generate", "book", "--market", "m", "--out", "o", "--accounts", "many"], ["--accounts", "integer"]),
    (["generate", "book", "--market", "m", "--out", "o", "--seed", "-1"], ["--seed", "0"]),
    (["calibrate", "moods"], ["upm calibrate: No such command 'moods'"]),
])
def test_2_a_command_line_that_cannot_be_parsed(command: Command, arguments: list[str], words: list[str]) -> None:
    command(*arguments).refused(2, "UPM-CF-075", *words)


def test_2_no_command_shows_the_help(command: Command) -> None:
    said = command()
    assert said.code == 2
    assert "calibrate" in said.out + said.err
    assert "upm run" not in said.out or "Usage" in said.out


def test_2_what_cannot_be_obeyed(command: Command, small: Path, finished: Path, tmp_path: Path) -> None:
    run = ("run", small / "run.toml")
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*")}
    command(*run, "--out", finished).refused(2, "UPM-RN-002", str(finished), "left untouched", "--out")
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*")} == before
    (tmp_path / "link").symlink_to(finished)
    command(*run, "--out", "link").refused(2, "UPM-RN-004", "link", "symbolic link", "--out")
    (tmp_path / "file").write_text("")
    command(*run, "--out", "file").refused(2, "UPM-RN-005", "file", "--out")
    command(*run, "--out", "/proc/run").refused(2, "UPM-RN-005", "/proc/run", "--out")
    command(*run, "--fail-on", "anything", "--out", "new").refused(2, "UPM-CF-071", '"anything"', "breach")
    command(*run, "--precision", "fast", "--out", "new").refused(2, "UPM-CF-068", "fast", "mixed")
    command(*run, "--out", os.fsdecode(b"r\xff")).refused(2, "UPM-CF-076", "output.path", "\\udcff", "UTF-8")
    for verb in ("verify", "resume", "report"):
        command(verb, "nowhere").refused(2, "UPM-RN-001", "nowhere", "upm run")
        command(verb, small / "book").refused(2, "UPM-RN-001", str(small / "book"), "upm run")
    command("simulate", small / "run.toml", "--out", tmp_path).refused(2, "UPM-CF-072", str(tmp_path), "--out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "link"]


@pytest.mark.parametrize(("name", "content", "error", "words"), [
    ("missing.toml", None, "UPM-CF-058", ["missing.toml does not exist"]),
    ("a folder.toml", b"", "UPM-CF-058", ["a folder.toml is a folder", "Give the TOML file"]),
    ("empty.toml", b"", "UPM-CF-067", ["empty.toml", "schema_version = 1"]),
    ("binary.toml", bytes(range(256)) * 20, "UPM-CF-065", ["binary.toml", "UTF-8"]),
    ("nul.toml", b"schema_version = 1\n\0\0\0", "UPM-CF-057", ["nul.toml", "line 2"]),
    ("yaml.toml", b"scenarios:\n  count: 5\n", "UPM-CF-065", ["yaml.toml", "TOML"]),
    ("typing.toml", b"schema_version = 1\n[scenarios]\ncuont = 5\n", "UPM-CF-059", ["typing.toml line 3", "Did you mean count?"]),
    ("old.toml", b"schema_version = 0\n", "UPM-CF-067", ["old.toml"]),
])
def test_3_a_configuration_that_cannot_be_used(command: Command, tmp_path: Path, name: str, content: bytes | None, error: str, words: list[str]) -> None:
    if name == "a folder.toml":
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    command("run", name).refused(3, error, *words)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("flag", "value", "error", "word"), [
    ("--paths", "10k", "UPM-CF-060", "Write 10000."), ("--paths", "0", "UPM-CF-060", "give 1 to 4294967295"), ("--paths", "1e12", "UPM-CF-060", "whole number"),
    ("--paths", "", "UPM-CF-060", "whole number"), ("--seed", "-1", "UPM-CF-064", "not negative"), ("--seed", "18446744073709551616", "UPM-CF-064", "18446744073709551615"),
    ("--seed", "1e3", "UPM-CF-064", "Write 1000"), ("--device", "gpu", "UPM-CF-056", "auto, cpu, cuda, reference"), ("--precision", "half", "UPM-CF-056", "mixed, double, fast"),
    ("--chunk", "-3", "UPM-CF-060", "0 (chosen) or more"), ("--threads", "x", "UPM-CF-056", "whole number"), ("--methodology", "nope.toml", "UPM-CF-058", "nope.toml does not exist"),
    ("--book", "nope", "UPM-IN-001", "nope does not exist"), ("--book", "sample:nope", "UPM-CF-074", "sample:crypto"), ("--market", "nope", "UPM-MD-001", "nope does not exist"),
    ("--book", "bell\a", "UPM-IN-001", "bell\\x07"), ("--out", " ", "UPM-CF-056", "Name the run folder"),
])
def test_3_a_flag_that_cannot_be_used(command: Command, small: Path, tmp_path: Path, flag: str, value: str, error: str, word: str) -> None:
    command("run", small / "run.toml", "--out", "new", flag, value).refused(3, error, word)
    assert list(tmp_path.iterdir()) == []


def test_3_other_commands_given_nonsense(command: Command, small: Path, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 20)
    history = small / "market" / "history.csv"
    command("explain", "nowhere", "--account", "A").refused(2, "UPM-RN-001", "nowhere", "upm run")
    command("explain", finished, "--account", "AA").refused(3, "UPM-RN-048", "'AA'", "Nearest: A")
    command("explain", finished, "--account", "\x1b[31m", "--histogram").refused(3, "UPM-RN-048", "\\x1b[31m", "margin.csv")
    command("price", "nope.csv").refused(3, "UPM-PR-003", "nope.csv", "CSV")
    command("price", "binary").refused(3, "UPM-PR-003", "binary", "UTF-8")
    command("price", small / "book" / "positions.csv").refused(3, "UPM-PR-005", "positions.csv line 1", "product")
    command("simulate", "nope.toml", "--out", "x.parquet").refused(3, "UPM-CF-058", "nope.toml")
    command("import", "deribit", "nope", "--out", "x").refused(3, "UPM-MD-101", "nope", "chain snapshot")
    command("import", "deribit", "binary", "--out", "x").refused(3, "UPM-MD-101", "binary", "UTF-8")
    command("generate", "book", "--market", "nope", "--out", "x").refused(3, "UPM-IN-103", "nope", "upm import deribit")
    command("calibrate", "covariance", "nope", "--out", "x").refused(3, "UPM-MD-101", "nope")
    command("calibrate", "covariance", history, "--assets", "XRP", "--out", "x").refused(3, "UPM-CA-103", "XRP", "history")
    command("calibrate", "covariance", history, "--estimator", "guess", "--out", "x").refused(3, "UPM-CA-101", "'guess'", "ewma")
    command("calibrate", "covariance", history, "--ewma-lambda", "2", "--out", "x").refused(3, "UPM-CA-101", "2", "0.97")
    command("calibrate", "covariance", history, "--out", "no/x").refused(3, "UPM-CA-109", "no/x", "--out")
    assert [p.name for p in tmp_path.iterdir()] == ["binary"]


def test_3_overflow_is_counted_and_leaves_no_margin(command: Command, small: Path, tmp_path: Path) -> None:
    """A volatility beyond what float64 can hold: the count is named, no result file is written."""
    said = command("calibrate", "covariance", small / "market", "--out", "p.toml")
    assert said.code == 0
    text = (tmp_path / "p.toml").read_text()
    (tmp_path / "p.toml").write_text(re.sub(r"daily_volatility = .*", "daily_volatility = [9000.0, 9000.0, 0.01, 0.01]", text))
    (small / "wild.toml").write_text(CONFIG.replace("[model]", f'[model]\nmarginal = "gaussian"\nmeasure = "historical"\nparameters = "{tmp_path / "p.toml"}"'))
    said = command("run", small / "wild.toml", "--out", "run", "--quiet")
    said.refused(3, "UPM-PR-078", "scenario P&L values are NaN or infinite", "no margin was written")
    assert not list((tmp_path / "run").glob("margin*"))
    command("verify", "run").refused(9, "UPM-RN-018", "upm resume")


def test_4_rejected_rows_are_listed_and_the_rest_margined(tmp_path: Path) -> None:
    small_run(tmp_path / "in", POSITIONS + 'E,BTC-C70,"1,000"\n', CONFIG.replace("[book]", "[book]\nmax_reject_share = 0.5"))
    said = upm("run", tmp_path / "in" / "run.toml", "--out", tmp_path / "run")
    assert said.code == 4
    assert "1 rejected row\n" in said.out
    rejects = (tmp_path / "run" / "rejects.csv").read_text().splitlines()
    assert len(rejects) == 2 and rejects[1].startswith("positions.csv,9,quantity,UPM-IN-014,")
    assert len((tmp_path / "run" / "margin.csv").read_text().splitlines()) == 5
    strict = upm("run", tmp_path / "in" / "run.toml", "--out", tmp_path / "run2", "--fail-on", "breach", "--json")
    assert (strict.code, json.loads(strict.out)["rejects"]) == (5, 1)


def test_3_too_many_rejected_rows_stop_the_run(command: Command, tmp_path: Path) -> None:
    small_run(tmp_path / "in", POSITIONS + "E,BTC-C70,many\n")
    said = command("run", tmp_path / "in" / "run.toml", "--out", "run")
    said.refused(3, "UPM-IN-040", "positions.csv")
    assert not (tmp_path / "run").exists()


def test_5_a_breach_only_when_asked(finished: Path, small: Path, tmp_path: Path) -> None:
    assert {line.split(",")[10] for line in (finished / "margin.csv").read_text().splitlines()[1:]} == {"ok", "call", "liquidation"}
    assert upm("run", small / "run.toml", "--out", tmp_path / "run", "--fail-on", "breach").code == 5
    assert upm("verify", tmp_path / "run").code == 0


def test_6_stale_or_future_data_are_refused(command: Command, small: Path, tmp_path: Path) -> None:
    (small / "stale.toml").write_text(CONFIG.replace("[market]", "[market]\nmax_age_minutes = 60"))
    command("run", small / "stale.toml", "--out", "run").refused(6, "UPM-MD-041", "2026-02-05T09:00:00Z", "max_age_minutes is 60")
    later = {"spots.csv": "asset,price,currency,timestamp\nBTC,70000,USD,2190-02-05T09:00:00Z\nETH,2000,USD,2190-02-05T09:00:00Z\n"}
    small_run(tmp_path / "in", config=CONFIG.replace("[market]", "[market]\nmax_age_minutes = 60"), market=later)
    command("run", tmp_path / "in" / "run.toml", "--out", "run").refused(6, "UPM-MD-042", "2190-02-05T09:00:00Z", "clock")
    assert not (tmp_path / "run").exists()


def test_7_a_device_that_is_not_here(command: Command, small: Path, tmp_path: Path) -> None:
    if module("cuda").available()[0]:
        pytest.skip("there is a CUDA device here")
    code = module("cuda").available()[1]
    command("run", small / "run.toml", "--device", "cuda", "--out", "run").refused(7, code, "device cuda cannot run here")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("error", "code", "word"), [
    (MemoryError(), "UPM-CP-001", "--chunk"), (OSError(errno.ENOSPC, "No space left on device", "somewhere"), "UPM-CP-002", "somewhere"),
])
def test_7_memory_and_disk(command: Command, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, word: str) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(job, "run", full)
    monkeypatch.setattr("upm_gpu.cli.entry._discard_stdout", lambda: None)
    command("run").refused(7, code, word)


def test_7_the_output_is_full(small: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "upm_gpu", "run", "--show-config"], stdout=full, stderr=subprocess.PIPE, text=True, env=environment())
    assert (done.returncode, done.stderr) == (7, "UPM-CP-002 standard output: no space left. Free some and give the command again.\n")


def test_9_an_edited_result(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    assert upm("verify", run).code == 0
    text = (run / "margin.csv").read_text()
    (run / "margin.csv").write_text(text.replace("ok", "OK", 1))
    upm("verify", run).refused(9, "UPM-RN-020", "changed: margin.csv")
    (run / "manifest.json").unlink()
    upm("verify", run).refused(9, "UPM-RN-020", "missing: manifest.json")


def test_9_a_histogram_from_other_inputs(command: Command, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    with (tmp_path / "run" / "inputs" / "book" / "positions.csv").open("a") as stream:
        stream.write("A,BTC-C70,1\n")
    command("explain", "run", "--account", "A", "--histogram").refused(9, "UPM-RN-049", "inputs/book/positions.csv")


def test_1_an_internal_fault_is_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a wheel came off")

    monkeypatch.setattr(job, "run", broken)
    monkeypatch.delenv("UPM_DEBUG", raising=False)
    command("run").refused(1, "UPM-XX-001", "RuntimeError: a wheel came off", "UPM_DEBUG=1")
    monkeypatch.setenv("UPM_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["upm", "run"])
    from upm_gpu.cli import main

    with pytest.raises(RuntimeError, match="a wheel came off"):
        main()


# ---- stopping


INTERRUPTED = """
import os, signal, sys
seen = 0
def hook(event, arguments):
    global seen
    seen += 1
    if seen == {at}:
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(hook)
if {at} < 0:
    import atexit
    atexit.register(lambda: print(seen, file=sys.stderr))
sys.argv = ["upm", *{arguments!r}]
from upm_gpu.__main__ import main
main()
"""


def interrupted(at: int, *arguments: object) -> Said:
    """`upm` in a process of its own, sent SIGINT at its n-th audited event (imports, files, processes, libraries)."""
    text = INTERRUPTED.format(at=at, arguments=[str(a) for a in arguments])
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env=environment(), timeout=300)
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def events(small: Path) -> int:
    """Audited events of a whole run."""
    said = interrupted(-1, "run", small / "run.toml", "--out", small / "counted", "--quiet")
    assert said.code == 0, said.err
    return int(said.err)


@pytest.mark.parametrize("percent", [3, 30, 70, 90, 97, *(pytest.param(p, marks=pytest.mark.slow) for p in range(1, 100, 4))])
def test_8_ctrl_c_at_any_phase(small: Path, finished: Path, tmp_path: Path, events: int, percent: int) -> None:
    """Exit 8 while libraries load, inputs are read, scenarios run and results are written; the run, gone on with or begun again, has the same bytes."""
    run = tmp_path / "run"
    said = interrupted(events * percent // 100, "run", small / "run.toml", "--out", run, "--quiet")
    assert said.code == 8, said
    assert CODED.match(said.err) and "Traceback" not in said.err, said.err
    if (run / "plan.json").exists():
        assert f"upm resume {run}" in said.err
        assert job.resume(run, quiet=True).exit_code == 0
    else:
        assert job.run(small / "run.toml", {"output.path": str(run)}, quiet=True).exit_code == 0
    for name in PROMISED:
        assert (run / name).read_bytes() == (finished / name).read_bytes(), name
    assert verify_run(run)["leftovers"] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_8_a_signal_while_scenarios_run(small: Path, tmp_path: Path, number: signal.Signals) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-m", "upm_gpu", "run", str(small / "run.toml"), "--paths", "4000000", "--chunk", "4096", "--device", "reference",
                                "--out", str(run)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    while not list((run / "chunks").glob("*")) if (run / "chunks").is_dir() else True:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (8, ""), err
    assert re.search(rf"UPM-RN-012 stopped on request after \d+ of 4000000 scenarios. Go on with: upm resume {re.escape(str(run))}\n$", err), err


# ---- terminals


def on_terminal(*arguments: object, columns: int = 80, **changes: str | None) -> tuple[int, str]:
    """`upm` with stdout and stderr on a terminal; (exit code, what the terminal received)."""
    controller, terminal = pty.openpty()
    env = environment(**{"TERM": "xterm-256color", "COLUMNS": str(columns)} | changes)
    process = subprocess.Popen([sys.executable, "-m", "upm_gpu", *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal, env=env)
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(controller, 65536)
        except OSError:  # Linux says EIO when the last writer has gone
            break
        if not part:
            break
        shown += part
    os.close(controller)
    return process.wait(timeout=120), shown.decode().replace("\r\n", "\n")


def test_progress_is_drawn_on_a_terminal_only_and_not_when_quiet(small: Path, tmp_path: Path) -> None:
    run = ("run", small / "run.toml", "--out")
    code, shown = on_terminal(*run, tmp_path / "a")
    assert code == 0 and ESCAPE in shown and "4096/4096" in shown
    code, shown = on_terminal(*run, tmp_path / "b", "--quiet")
    assert (code, shown) == (0, "")
    said = upm(*run, tmp_path / "c")
    assert ESCAPE not in said.out + said.err and "4096/4096" not in said.out + said.err


def test_no_color_is_obeyed_on_a_terminal(finished: Path) -> None:
    colour = re.compile(r"\x1b\[[0-9;]*3[0-7]m|\x1b\[[0-9;]*38;")
    assert colour.search(on_terminal("explain", finished, "--account", "A")[1])
    for shown in (on_terminal("explain", finished, "--account", "A", NO_COLOR="1")[1], on_terminal("--help", NO_COLOR="1")[1]):
        assert not colour.search(shown)
    assert ESCAPE not in on_terminal("explain", finished, "--account", "A", TERM="dumb")[1]


def test_forty_columns(finished: Path, tmp_path: Path) -> None:
    """Nothing is wider than the terminal and no amount is broken over two lines."""
    env = environment(COLUMNS="40")
    amounts = [f"{float(v):,.2f}" for v in (finished / "margin.csv").read_text().splitlines()[1].split(",")[1:6]]
    for arguments in (["doctor"], ["--help"], ["run", "--help"], ["explain", finished, "--account", "A", "--histogram"]):
        said = upm(*arguments, env=env)
        assert said.code == 0
        assert max(len(line.rstrip()) for line in said.out.splitlines()) <= 40, (arguments, said.out)
        if arguments[0] == "explain":
            assert all(amount in said.out for amount in amounts), said.out
            worst = next(line for line in said.out.splitlines() if re.match(r" +1 ", line))
            assert re.search(r"-[\d,]+\.\d\d", worst), said.out


def test_a_terminal_that_knows_ascii_only(finished: Path, small: Path) -> None:
    env = environment(PYTHONIOENCODING="ascii:strict", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", LC_ALL="C")
    for arguments in (["doctor"], ["--help"], ["explain", finished, "--account", "A", "--histogram"], ["run", small / "run.toml", "--show-config"]):
        said = upm(*arguments, env=env)
        assert said.code == 0 and said.out.isascii(), said


def test_a_reader_that_has_seen_enough() -> None:
    for pieces in ("upm_gpu doctor", "upm_gpu run --show-config", "upm_gpu --help"):
        done = subprocess.run(["bash", "-c", f'"{sys.executable}" -m {pieces} | true; echo "${{PIPESTATUS[0]}}"'], capture_output=True, text=True, env=environment())
        assert (done.stdout, done.stderr) == ("0\n", "")


# ---- answers


def test_the_shown_configuration_is_a_configuration(command: Command, small: Path, tmp_path: Path) -> None:
    whole = command("run", "--show-config")
    assert whole.code == 0 and whole.err == ""
    assert tomllib.loads(whole.out)["scenarios"]["count"] == 100_000
    (tmp_path / "whole.toml").write_text(whole.out)
    assert command("run", "whole.toml", "--show-config").out == whole.out
    changed = command("run", small / "run.toml", "--paths", "8192", "--seed", "18446744073709551615", "--device", "reference", "--show-config")
    found = tomllib.loads(changed.out)
    assert (found["scenarios"]["count"], found["scenarios"]["seed"], found["compute"]["device"]) == (8192, 2**64 - 1, "reference")
    assert found["book"]["path"] == str(small / "book")


def test_answers_as_data(command: Command, finished: Path) -> None:
    found = json.loads(command("doctor", "--json").out)
    assert set(found["backends"]) == {"cuda", "cpu", "reference"} and found["backends"]["reference"]["runs"]
    for state in found["backends"].values():
        assert state["runs"] or re.fullmatch(r"UPM-DV-\d{3}", state["code"])
    found = json.loads(command("verify", finished, "--json").out)
    assert found["format"] == 1 and found["files"] > 20
    found = json.loads(command("explain", finished, "--account", "B", "--json").out)
    assert found["account_id"] == "B" and "histogram" not in found
