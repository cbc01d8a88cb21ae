"""A run that starts from the surfaces of `upm calibrate surface`: the same bytes as its own fit, what it refuses, what it keeps."""

from __future__ import annotations

import json
import tomllib

import pytest
from command_line import PROMISED, here, small_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("surface"))


@pytest.fixture
def said(folder, capsys, monkeypatch):
    def call(*arguments):
        return here(capsys, monkeypatch, *arguments)

    return call


@pytest.fixture
def slices(folder, said):
    path = folder / "joint.toml"
    if not path.exists():
        assert said("calibrate", "surface", folder / "market", "--out", path).code == 0
    return path


def test_a_joint_fit_gives_the_run_that_fits_by_itself(folder, slices, said):
    plain, given = folder / "plain", folder / "given"
    assert said("run", folder / "run.toml", "--out", plain).code == 0
    assert said("run", folder / "run.toml", "--surfaces", slices, "--out", given).code == 0
    for name in PROMISED:
        assert (plain / name).read_bytes() == (given / name).read_bytes(), name
    manifest = json.loads((given / "manifest.json").read_text())
    assert manifest["surface_file"]["made_as"] == "svi, joint fit" and manifest["surface_file"]["underlyings"] == ["BTC", "ETH"]
    assert manifest["surface_file"]["sha256"] == manifest["inputs"]["surfaces.toml"] and "surface_file" not in json.loads((plain / "manifest.json").read_text())
    again = said("explain", given, "--account", "A", "--json")  # read again from the copies the folder keeps
    assert again.code == 0, again.err


def test_another_smile_moves_the_margin(folder, slices, said):
    """The run takes the file's numbers, not the quotes' fit."""
    text = slices.read_text()
    last = tomllib.loads(text)["slices"]["BTC"][-1]
    (folder / "high.toml").write_text(text.replace(f"a = {last['a']!r}", f"a = {last['a'] + 0.005!r}", 1))
    done = said("run", folder / "run.toml", "--surfaces", folder / "high.toml", "--out", folder / "high")
    assert done.code == 0, done.err
    near, far = (json.loads((folder / name / "manifest.json").read_text())["volatility_30d"] for name in ("plain", "high"))
    assert far["BTC"] > near["BTC"] + 0.02 and far["ETH"] == near["ETH"]


def test_refusals(folder, slices, said):
    text = slices.read_text()

    def refused(name, changed, code, *words):
        (folder / name).write_text(changed)
        done = said("run", folder / "run.toml", "--surfaces", folder / name, "--out", folder / "never")
        done.refused(3, code, *words)
        assert not (folder / "never").exists()

    refused("day.toml", text.replace("2026-02-05T09:00:00Z", "2026-02-04T09:00:00Z", 1), "UPM-MD-150", "2026-02-04T09:00:00Z", "upm calibrate surface")
    refused("only.toml", text.replace('slices."ETH"', 'slices."SOL"'), "UPM-MD-150", "no surface of ETH", "BTC, SOL")
    refused("expiry.toml", text.replace("2026-02-27T08:00:00Z", "2026-02-28T08:00:00Z", 1), "UPM-MD-150", "2026-02-28T08:00:00Z")
    refused("kind.toml", text.replace('kind = "surface"', 'kind = "covariance"'), "UPM-MD-149", "covariance")
    first = tomllib.loads(text)["slices"]["BTC"][0]
    refused("number.toml", text.replace(f"b = {first['b']!r}", "b = -1.0", 1), "UPM-MD-149", "b >= 0")
    refused("calendar.toml", text.replace(f"a = {first['a']!r}", f"a = {first['a'] + 0.1!r}", 1), "UPM-MD-151", "calendar", "--fit joint")
    last = tomllib.loads(text)["slices"]["BTC"][-1]
    refused("butterfly.toml", text.replace(f"b = {last['b']!r}", "b = 3.0", 1), "UPM-MD-151", "1 slices of BTC", "negative density", "ssvi_power_law")
    said("run", folder / "run.toml", "--surfaces", folder / "none.toml", "--out", folder / "never").refused(3, "UPM-MD-149")


def test_an_absent_expiry_is_interpolated_and_said(folder, slices, said):
    text = slices.read_text()
    start = text.index('[[slices."BTC"]]')
    end = text.index("[[slices", start + 1)
    (folder / "fewer.toml").write_text(text[:start] + text[end:])
    done = said("run", folder / "run.toml", "--surfaces", folder / "fewer.toml", "--out", folder / "fewer")
    assert done.code == 0 and "UPM-MD-152" in done.err and "2026-02-06T08:00:00Z" in done.err
