"""Section C: what can be wrong with a configuration or methodology file. Code, file, line, key, remedy; nothing computed."""

from __future__ import annotations

import datetime
import math
from pathlib import Path

import pytest

from upm_gpu.config import RunConfig, load_config, scenario_spec, to_toml
from upm_gpu.errors import InputError
from upm_gpu.margin.methodology import charges_in_force, load_methodology
from upm_gpu.shipped import find_file
from upm_gpu.strict_toml import parse_horizon

HOUSE = "configs/methodology/house_v1.toml"


def written(tmp_path: Path, text: str, name: str = "run.toml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path | None, code: str, *words: str, overrides: dict[str, object] | None = None) -> str:
    with pytest.raises(InputError) as caught:
        load_config(path, overrides)
    assert caught.value.code == code, str(caught.value)
    assert caught.value.exit_code == 3
    for word in words:
        assert word in str(caught.value)
    return str(caught.value)


def section(name: str, *lines: str) -> str:
    return "\n".join(["schema_version = 1", "", f"[{name}]", *lines, ""])


def test_defaults_and_round_trip(tmp_path: Path) -> None:
    config = load_config()
    assert config == RunConfig()
    assert load_config(written(tmp_path, to_toml(config))) == config
    assert load_config(written(tmp_path, "schema_version = 1\n")) == config
    assert (config.book.path, config.scenarios.count, config.compute.precision, config.horizon_days) == ("sample:crypto", 100_000, "mixed", (2.0,))
    assert all("  # " in line for line in to_toml(config).splitlines() if " = " in line and not line.startswith("schema_version"))


def test_every_value_survives_the_round_trip(tmp_path: Path) -> None:
    other = written(tmp_path, section("model", 'horizons = ["5d", "12h", "0.999d"]', 'marginal = "gaussian"', "ewma_lambda = 0.94", "step_days = 2")
                    + section("scenarios", "seed = 18446744073709551615", "count = 2").removeprefix("schema_version = 1\n")
                    + section("output", 'path = "a \\"b\\" \\\\ c"', "report = false").removeprefix("schema_version = 1\n"))
    config = load_config(other)
    assert config.horizon_days == (0.5, 0.999, 5.0)
    assert config.output.path == 'a "b" \\ c'
    assert load_config(written(tmp_path, to_toml(config), "again.toml")) == config
    spec = scenario_spec(config)
    assert (spec.seed, spec.horizons, spec.marginal, spec.base_step_days) == (2**64 - 1, (0.5, 0.999, 5.0), "gaussian", 2.0)


@pytest.mark.parametrize(("name", "line", "near"), [
    ("scenarios", "cuont = 5", "Did you mean count?"), ("compute", 'devise = "cpu"', "Did you mean device?"),
    ("scenarios", 'device = "cpu"', "Did you mean device in [compute]?"), ("model", "zzzz = 1", "Known here: name, parameters"),
])
def test_59_unknown_key(tmp_path: Path, name: str, line: str, near: str) -> None:
    refused(written(tmp_path, section(name, "", line)), "UPM-CF-059", f"run.toml line 5 key {name}.{line.split()[0]}", near)


def test_59_unknown_section_and_key_outside_sections(tmp_path: Path) -> None:
    refused(written(tmp_path, section("scenario", "count = 5")), "UPM-CF-059", "run.toml line 3", "Did you mean scenarios?")
    refused(written(tmp_path, 'schema_version = 1\nseed = 5\n'), "UPM-CF-059", "run.toml line 2", "seed in [scenarios]")


def test_59_every_complaint_is_listed(tmp_path: Path) -> None:
    message = refused(written(tmp_path, section("scenarios", "cuont = 5", "seed = true") + '[compute]\ndevice = "gpu"\n'), "UPM-CF-059")
    assert len(message.splitlines()) == 3
    assert "line 5 key scenarios.seed" in message
    assert "line 7 key compute.device" in message


@pytest.mark.parametrize(("value", "words"), [
    ("0", "give 1 to 4294967295"), ("1", "give 2 or more"), ("-5", "give 1 to 4294967295"), ("1e12", "not a whole number"), ("4294967296", "give 1 to 4294967295"),
    ('"10k"', "Write 10000."), ('"100,000"', "Write 100000"), ("1e5", "Write 100000"), ("true", "not a whole number"), ("nan", "not a whole number"),
])
def test_60_paths(tmp_path: Path, value: str, words: str) -> None:
    refused(written(tmp_path, section("scenarios", f"count = {value}")), "UPM-CF-060", "line 4 key scenarios.count", words)


@pytest.mark.parametrize("value", ["0", "-5", "1e12", "10k", ""])
def test_60_paths_on_the_command_line(value: str) -> None:
    refused(None, "UPM-CF-060", "command line (scenarios.count", overrides={"scenarios.count": value})


def methodology(tmp_path: Path, old: str, new: str) -> Path:
    text = find_file(HOUSE).read_text()
    assert old in text
    return written(tmp_path, text.replace(old, new), "house.toml")


def methodology_refused(path: Path, code: str, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        load_methodology(path)
    assert caught.value.code == code, str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("value", ["99", "0", "1", "nan", "-0.99", "0.01", '"99%"', "inf"])
def test_61_confidence(tmp_path: Path, value: str) -> None:
    hint = "Write 0.99." if value == "99" else "core.level"
    methodology_refused(methodology(tmp_path, "level = 0.99", f"level = {value}"), "UPM-CF-061", "house.toml line ", "key core.level", hint)


@pytest.mark.parametrize("value", ["1.5", "-0.1", "nan"])
def test_61_share_of_rejects(tmp_path: Path, value: str) -> None:
    refused(written(tmp_path, section("book", f"max_reject_share = {value}")), "UPM-CF-061", "line 4 key book.max_reject_share")


@pytest.mark.parametrize("value", ['"0d"', '"0h"', '"-1d"', '"2"', '"2w"', '"d"', '"1e3d"', '"99999d"', '"nand"', '""'])
def test_62_horizon(tmp_path: Path, value: str) -> None:
    refused(written(tmp_path, section("model", f"horizons = [{value}]")), "UPM-CF-062", "line 4 key model.horizons")
    methodology_refused(methodology(tmp_path, 'horizon = "2d"', f"horizon = {value}"), "UPM-CF-062", "key core.horizon")


@pytest.mark.parametrize(("line", "key"), [("horizons = []", "horizons"), ("horizons = [2]", "horizons"), ('horizons = "2d"', "horizons"), ("step_days = 0.0", "step_days"), ("step_days = -1", "step_days")])
def test_62_horizons_and_steps_of_the_wrong_kind(tmp_path: Path, line: str, key: str) -> None:
    refused(written(tmp_path, section("model", line)), "UPM-CF-062", f"key model.{key}")


def test_62_units() -> None:
    assert [parse_horizon(t, "here") for t in ("12h", "0.999d", " 2 d ", ".5d")] == [0.5, 0.999, 2.0, 0.5]


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_63_fast_needs_cuda(tmp_path: Path, device: str) -> None:
    refused(written(tmp_path, section("compute", f'device = "{device}"', 'precision = "fast"')), "UPM-CF-063", "line 5 key compute.precision", device)
    refused(None, "UPM-CF-063", "command line", overrides={"compute.device": device, "compute.precision": "fast"})


def test_63_shrinkage_with_kendall(tmp_path: Path) -> None:
    refused(written(tmp_path, section("model", 'estimator = "ledoit_wolf"', 'correlation = "kendall"')), "UPM-CF-063", "model.correlation")


def test_63_simulated_collateral_has_no_haircut(tmp_path: Path) -> None:
    methodology_refused(methodology(tmp_path, "USD = 0.0", "USD = 0.0\nBTC = 0.1"), "UPM-CF-063", "BTC", "never has both")


def test_62_hours_meet_the_expiries_that_many_hours_away() -> None:
    for hours in range(1, 200):
        assert parse_horizon(f"{hours}h", "here") == datetime.timedelta(hours=hours).total_seconds() / 86_400.0
    assert (parse_horizon("0.999d", "here"), parse_horizon("2d", "here")) == (0.999, 2.0)


@pytest.mark.parametrize("value", ["18446744073709551616", "-1", "1.5", '"0x5"', "-9223372036854775808"])
def test_64_seed(tmp_path: Path, value: str) -> None:
    refused(written(tmp_path, section("scenarios", f"seed = {value}")), "UPM-CF-064", "line 4 key scenarios.seed")
    if '"' not in value:
        refused(None, "UPM-CF-064", overrides={"scenarios.seed": value})


@pytest.mark.parametrize(("name", "text", "what"), [
    ("run.toml", "schema_version: 1\nscenarios:\n  count: 5\n", "YAML"), ("run.yaml", "---\na: b\n", "YAML"), ("run.yml", "- a\n- b\n", "YAML"),
    ("run.json", '{"schema_version": 1}', "JSON"), ("run.toml", '{"scenarios": {"count": 5}}\n', "JSON"), ("run.json", '{"a": ', "JSON"),
])
def test_65_yaml_and_json(tmp_path: Path, name: str, text: str, what: str) -> None:
    refused(written(tmp_path, text, name), "UPM-CF-065", name, what, "TOML")


def test_65_other_files(tmp_path: Path) -> None:
    refused(written(tmp_path, "schema_version = 1\n[scenarios\n"), "UPM-CF-057", "run.toml", "line 2")
    refused(written(tmp_path, "schema_version = 1\na = 1\na = 2\n"), "UPM-CF-057", "run.toml", "line 3")
    (tmp_path / "latin.toml").write_bytes(b'schema_version = 1\n# caf\xe9\n')
    refused(tmp_path / "latin.toml", "UPM-CF-065", "UTF-8")
    (tmp_path / "big.toml").write_bytes(b"#" * (5 << 20))
    refused(tmp_path / "big.toml", "UPM-CF-058", "data file")
    refused(tmp_path / "rnu.toml", "UPM-CF-058", "does not exist", "Did you mean run.toml?")
    refused(tmp_path, "UPM-CF-058", "is a folder")
    bom = tmp_path / "bom.toml"
    bom.write_bytes(b"\xef\xbb\xbfschema_version = 1\n")
    assert load_config(bom) == RunConfig()


@pytest.mark.parametrize(("text", "words"), [
    ("schema_version = 0\n", "older format"), ("schema_version = 2\n", "schema_version 2"), ('schema_version = "1"\n', "'1'"), ("schema_version = true\n", "True"),
    ("[scenarios]\ncount = 5\n", "no schema_version"), ("", "no schema_version"),
])
def test_67_schema_version(tmp_path: Path, text: str, words: str) -> None:
    refused(written(tmp_path, text), "UPM-CF-067", "run.toml", words, "1")


def test_67_schema_version_comes_first(tmp_path: Path) -> None:
    methodology_refused(written(tmp_path, 'name = "house"\nschema_version = 1\n', "house.toml"), "UPM-CF-067", "line 2", "first")


@pytest.mark.parametrize(("name", "line", "code"), [
    ("model", 'name = "hestn"', "UPM-CF-056"), ("model", "degrees_of_freedom = 2.0", "UPM-CF-056"), ("model", "copula_degrees_of_freedom = 1.5", "UPM-CF-056"),
    ("model", "ewma_lambda = 1.0", "UPM-CF-056"), ("model", "max_log_move_price = 0.0", "UPM-CF-056"), ("model", "ewma_lambda = nan", "UPM-CF-056"),
    ("model", 'surface_factors = ["level", "skew"]\nname = "heston"\nparameters = "x.toml"', "UPM-CF-063"),
    ("scenarios", 'sampler = "halton"', "UPM-CF-056"), ("scenarios", "target_relative_error = 1.0", "UPM-CF-056"), ("scenarios", "target_relative_error = -0.1", "UPM-CF-056"),
    ("scenarios", 'variance_reduction = "antithetic"\nsampler = "sobol"', "UPM-CF-063"), ("scenarios", 'sobol_order = "none"', "UPM-CF-056"),
    ("output", 'store_pnl = true\n[scenarios]\nsampler = "importance"', "UPM-CF-063"), ("market", "max_age_minutes = -1", "UPM-CF-056"),
    ("compute", "threads = -1", "UPM-CF-056"), ("compute", "chunk = -1", "UPM-CF-060"), ("output", 'path = " "', "UPM-CF-056"), ("output", 'report = "yes"', "UPM-CF-056"),
    ("book", "path = 5", "UPM-CF-056"), ("scenarios", "stream = -1", "UPM-CF-064"),
])
def test_values_out_of_range(tmp_path: Path, name: str, line: str, code: str) -> None:
    refused(written(tmp_path, section(name, line)), code, f"run.toml line 4 key {name}.{line.split()[0]}")


def test_a_section_given_as_a_value(tmp_path: Path) -> None:
    refused(written(tmp_path, "schema_version = 1\nbook = 5\n"), "UPM-CF-056", "line 2", "[book]")
    refused(written(tmp_path, "schema_version = 1\nbook = 5\n"), "UPM-CF-056", "[book]", overrides={"book.path": "x"})


def test_overrides_win_and_are_typed(tmp_path: Path) -> None:
    path = written(tmp_path, section("scenarios", "count = 5", "seed = 6"))
    config = load_config(path, {"scenarios.count": "7", "compute.device": "reference", "book.path": None, "output.report": "false", "model.horizons": "1d, 12h"})
    assert (config.scenarios.count, config.scenarios.seed, config.compute.device, config.output.report) == (7, 6, "reference", False)
    assert config.horizon_days == (0.5, 1.0)
    assert config.book.path == "sample:crypto"


def test_paths_beside_the_file_are_taken_from_there(tmp_path: Path) -> None:
    (tmp_path / "book").mkdir()
    path = written(tmp_path, section("book", 'path = "book"') + '[market]\npath = "elsewhere"\n')
    config = load_config(path)
    assert Path(config.book.path) == tmp_path / "book"
    assert config.market.path == "elsewhere"
    assert load_config(path, {"book.path": "book"}).book.path == "book"


def test_the_house_methodology() -> None:
    house = load_methodology()
    assert (house.name, house.version, house.core.level, house.core.horizon_days, house.core.multiplier) == ("house", "1", 0.99, 2.0, 1.0)
    assert (house.maintenance_ratio, house.charges, house.collateral.modes) == (0.8, [], {"BTC": "simulated", "ETH": "simulated"})
    assert math.isclose(house.collateral.haircuts["USD"], 0.0)


@pytest.mark.parametrize(("old", "new", "code", "words"), [
    ("multiplier = 1.0", "multipler = 1.0", "UPM-CF-059", "Did you mean multiplier?"), ("multiplier = 1.0", "multiplier = 0.0", "UPM-CF-056", "multiplier"),
    ("maintenance_ratio = 0.8", "maintenance_ratio = 1.2", "UPM-CF-056", "maintenance_ratio"), ("USD = 0.0", "USD = -0.1", "UPM-CF-056", "USD"),
    ('name = "house"\n', "", "UPM-CF-056", "name"), ('BTC = "simulated"', 'BTC = "hiarcut"', "UPM-CF-056", "Did you mean haircut?"),
    ("effective_date = 2026-01-01", 'effective_date = "soon"', "UPM-CF-056", "effective_date"), ('measure = "expected_shortfall"', 'measure = "variance"', "UPM-CF-056", "expected_shortfall"),
])
def test_methodology_faults(tmp_path: Path, old: str, new: str, code: str, words: str) -> None:
    methodology_refused(methodology(tmp_path, old, new), code, "house.toml", words)


def test_charges_carry_their_parameters(tmp_path: Path) -> None:
    house = load_methodology(methodology(tmp_path, "charges = []", 'charges = [{ name = "sampling_error", multiple = 3.0 }]'))
    assert (house.charges[0].name, charges_in_force(house)[0].parameters.model_dump()) == ("sampling_error", {"multiple": 3.0})


CHARGES = """[[charges]]
name = "sampling_error"
multiple = 1.0

[[charges]]
name = "dependence"
level = 0.995
"""


@pytest.mark.parametrize(("old", "new", "code", "words"), [
    ("multiple = 1.0", "multiples = 1.0", "UPM-CF-059", ("house.toml line {line} key charges.0.multiples", "Did you mean multiple?")),
    ("multiple = 1.0", "multiple = -1.0", "UPM-CF-056", ("house.toml line {line} key charges.0.multiple", "greater than or equal to 0")),
    ("level = 0.995", "level = 99.5", "UPM-CF-056", ("house.toml line {line} key charges.1.level", "less than 1")),
    ('name = "dependence"', 'name = "dependance"', "UPM-CF-070", ("house.toml line {line} key charges.1.name", "On offer: ", "dependence")),
    ('name = "dependence"\nlevel = 0.995', 'name = "sampling_error"', "UPM-CF-063", ("house.toml line {line} key charges.1.name", "named twice")),
])
def test_charge_faults(tmp_path: Path, old: str, new: str, code: str, words: tuple[str, ...]) -> None:
    text = find_file(HOUSE).read_text().replace("charges = []", "").replace("[core]", CHARGES.replace(old, new) + "\n[core]")
    first = new.splitlines()[0]
    line = max(n for n, found in enumerate(text.splitlines(), 1) if found == first)
    methodology_refused(written(tmp_path, text, "house.toml"), code, *(w.format(line=line) for w in words))


def test_a_charge_fault_in_an_inline_table_names_its_line(tmp_path: Path) -> None:
    path = methodology(tmp_path, "charges = []", 'charges = [{ name = "sampling_error", multiple = 30.0 }]')
    line = next(n for n, found in enumerate(path.read_text().splitlines(), 1) if found.startswith("charges ="))
    methodology_refused(path, "UPM-CF-056", f"house.toml line {line} key charges.0.multiple", "10")
