"""TOML files read strictly: every key known, every type right, every complaint with file, line, key and remedy.

TOML and not YAML, because YAML turns NO into False and 0123 into 83. A file that is something else is refused by name.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from upm_gpu.errors import InputError

SCHEMA_VERSION = 1
MAX_BYTES = 4 << 20
"""of a configuration; a larger file is data given by mistake"""


class Strict(BaseModel):
    """A section: unknown keys, wrong types, NaN and infinity are errors; nothing is converted; frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


Model = TypeVar("Model", bound=Strict)
Rule = tuple[str, int, bool, str]
"""dotted key, number of the code, whether the value is good, what is wrong with it and what to give"""
MAX_HORIZON_DAYS = 3650.0


def stop(number: int, message: str) -> NoReturn:
    """Raise InputError UPM-CF-`number`."""
    raise InputError(f"UPM-CF-{number:03d}", message)


def read_toml(path: Path, what: str) -> tuple[dict[str, Any], str]:
    """The tables of a TOML file, and its text. Raises InputError where it is missing, not TOML, or of another schema."""
    if path.is_dir():
        stop(58, f"{what} {path} is a folder. Give the TOML file.")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.toml")] if path.parent.is_dir() else [], n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        stop(58, f"{what} {path} does not exist.{hint}")
    except OSError as error:
        stop(58, f"{what} {path} cannot be read: {error.strerror}.")
    if len(data) > MAX_BYTES:
        stop(58, f"{what} {path} has {len(data)} bytes; a configuration is far smaller. Is it a data file?")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        stop(65, f"{what} {path.name} is not UTF-8 text. Save it as UTF-8.")
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        other = _other_language(path, text)
        if other:
            stop(65, f"{what} {path.name} is {other}, not TOML. Write it as TOML; `upm run --show-config` prints one to start from.")
        stop(57, f"{what} {path.name} is not valid TOML: {error}.")
    check_schema(tables, path.name, text, what)
    return tables, text


def read_parameter_file(path: Path | str, code: str, what: str, missing: str, broken: str) -> dict[str, Any]:
    """The tables of a file that another command wrote; schema and kind are the reader's. Raises InputError `code` with the remedy `missing` or `broken`."""
    try:
        with Path(path).open("rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError:
        raise InputError(code, f"{path}: no such {what}. {missing}") from None
    except (OSError, ValueError) as error:
        raise InputError(code, f"{path}: not a {what} ({error}). {broken}") from None


def _other_language(path: Path, text: str) -> str:
    body = text.lstrip()
    if path.suffix.lower() == ".json" or body.startswith(("{", "[{", '["')):
        try:
            json.loads(text)
            return "JSON"
        except ValueError:
            return "JSON" if path.suffix.lower() == ".json" else ""
    if path.suffix.lower() in (".yaml", ".yml") or re.search(r"^(---|[A-Za-z_][\w ]*:(\s|$))", text, re.MULTILINE):
        return "YAML"
    return ""


def check_schema(tables: dict[str, Any], name: str, text: str, what: str) -> None:
    """`schema_version = 1` must be there and come first; other versions are refused by name."""
    if "schema_version" not in tables:
        stop(67, f"{what} {name} has no schema_version. Put schema_version = {SCHEMA_VERSION} on its first line.")
    version = tables["schema_version"]
    if isinstance(version, bool) or not isinstance(version, int) or version != SCHEMA_VERSION:
        age = "older" if isinstance(version, int) and version < SCHEMA_VERSION else "other"
        stop(67, f"{what} {name} line {line_of(text, 'schema_version')}: schema_version {version!r} is of an {age} format; this version reads {SCHEMA_VERSION}. "
                 "Rewrite it from `upm run --show-config`.")
    if next(iter(tables)) != "schema_version":
        stop(67, f"{what} {name} line {line_of(text, 'schema_version')}: schema_version is not the first key. Move it to the top.")


def line_of(text: str, key: str) -> int:
    """The line of a dotted key in TOML text, from 1; the line of its section, or 1, where it is not written."""
    *sections, last = key.split(".")
    section, best = "", 1
    entries: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"\s*(\[\[?)\s*([\w.\-\"]+)\s*\]", line):
            section = _qualified(match[2].replace('"', ""), entries)
            if match[1] == "[[":  # the n-th table of an array is named by its number
                entries[section] = entries.get(section, -1) + 1
                best = number if section == key and not entries[section] else best
                section = f"{section}.{entries[section]}"
            if section == key or section == ".".join(sections):
                best = number
        elif match := re.match(r"\s*([\w.\-\"]+)\s*=", line):
            name = match[1].replace('"', "")
            full = ".".join(filter(None, (section, name)))
            if full == key or (section == ".".join(sections) and name == last):
                return number
            if key.startswith(f"{full}."):  # inside an inline table or array
                best = number
    return best


def _qualified(section: str, entries: dict[str, int]) -> str:
    """The name of a section with the number of the array entry it stands in: charges.scenarios is charges.1.scenarios after the second [[charges]]."""
    *outer, last = section.split(".")
    path: list[str] = []
    for part in outer:
        path.append(part)
        if (inside := entries.get(".".join(path))) is not None:
            path.append(str(inside))
    return ".".join([*path, last])


def near_key(name: str, known: list[str]) -> str:
    """The known key nearest to a misspelt one, or ""."""
    close = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1, cutoff=0.5)
    return close[0] if close else ""


def build(model: type[Model], tables: dict[str, Any], name: str, text: str, numbers: dict[str, int], origin: dict[str, str] | None = None, inside: str = "") -> Model:
    """Validate tables into a model; every complaint is listed, the first gives the code.

    `numbers` gives the code number of a dotted key whose type or value is wrong; `origin` names the command-line flag of an
    overridden key; `inside` is the dotted place of the tables in the file ("charges.0.").
    """
    try:
        return model.model_validate(tables)
    except ValidationError as error:
        found = [(number, (inside + key).rstrip("."), message) for number, key, message in (_complaint(model, e, numbers) for e in error.errors(include_url=False))]
    found.sort(key=lambda complaint: line_of(text, complaint[1]))
    _stop_all([(number, f"{place(name, text, key, origin)}: {message}") for number, key, message in found])


def check(rules: Iterable[Rule], name: str, text: str, origin: dict[str, str] | None = None) -> None:
    """Stop where a rule is broken: all such rules are listed, the first gives the code. Other arguments as in `build`."""
    broken = [(number, f"{place(name, text, key, origin)}: {message}") for key, number, good, message in rules if not good]
    if broken:
        _stop_all(broken)


def _stop_all(found: list[tuple[int, str]]) -> NoReturn:
    stop(found[0][0], "\n  ".join(message for _, message in found))


def parse_horizon(text: str, where: str) -> float:
    """Days of a horizon such as "2d", "0.999d" or "12h". Raises InputError UPM-CF-062.

    >>> parse_horizon("12h", "here")
    0.5
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([hd])\s*", text) if isinstance(text, str) else None
    if match is None:
        stop(62, f'{where}: {text!r} is not a horizon. Write hours or days with their unit, such as "12h" or "2d".')
    # by way of seconds: "23h" is the same number of days, to the bit, as an expiry 23 hours away
    days = float(match[1]) * 3600.0 / 86_400.0 if match[2] == "h" else float(match[1])
    if not 0.0 < days <= MAX_HORIZON_DAYS:
        stop(62, f"{where}: the horizon {text!r} is {days:g} days. It must be above 0 and at most {MAX_HORIZON_DAYS:g} days.")
    return days


def place(name: str, text: str, key: str, origin: dict[str, str] | None = None) -> str:
    """Where a key was set, for messages."""
    if origin and key in origin:
        return f"command line ({origin[key]})"
    return f"{name} line {line_of(text, key)} key {key}" if text else f"key {key}"


def _complaint(model: type[BaseModel], error: Any, numbers: dict[str, int]) -> tuple[int, str, str]:
    loc = [str(part) for part in error["loc"]]
    key = ".".join(loc)
    kind, value = error["type"], error["input"]
    plain = re.sub(r"\.\d+", "", key)
    number = numbers.get(plain, 56)
    if kind == "extra_forbidden":
        owner = _owner(model, loc[:-1])
        known = list(owner.model_fields)
        near = near_key(loc[-1], known) or _elsewhere(model, loc[-1])
        hint = f"Did you mean {near}?" if near else f"Known here: {', '.join(known)}."
        return 59, key, f"unknown key {loc[-1]!r}. {hint}"
    if kind == "missing":
        return number, key, "the key is missing. Add it."
    if kind in ("int_type", "int_from_float", "int_parsing_size"):
        return number, key, f"{value!r} is not a whole number.{_whole(value)}"
    if kind in ("float_type", "finite_number"):
        return number, key, f"{value!r} is not a finite number. Write it without quotes, such as 0.99."
    if kind == "literal_error":
        words = [w.strip(" '\"") for w in re.split(r",| or ", error["ctx"]["expected"])]
        near = near_key(str(value), words)
        return number, key, f"{value!r} is not one of {', '.join(words)}.{f' Did you mean {near}?' if near else ''}"
    if kind == "string_type":
        return number, key, f"{value!r} is not text. Put it in quotes."
    if kind == "bool_type":
        return number, key, f"{value!r} is neither true nor false."
    if kind == "value_error":  # a rule between keys, in the model's own words
        return number, key, f"{error['ctx']['error']}."
    if kind == "model_type":
        return number, key, f"{value!r} is a value where the section [{key}] should be."
    return number, key, f"{value!r} cannot be used: {error['msg']}."


def _whole(value: Any) -> str:
    if isinstance(value, str) and (match := re.fullmatch(r"\s*([+-]?\d+(?:\.\d+)?)\s*([kKmM])\s*", value)):
        return f" Write {round(float(match[1]) * (1000 if match[2] in 'kK' else 1_000_000))}."
    if isinstance(value, str) and re.fullmatch(r"[+-]?[\d_,]+", value):
        return f" Write {value.replace(',', '').replace('_', '')} without quotes."
    if isinstance(value, float) and value == value and abs(value) < 1e15:
        if abs(value) >= 2**32:
            return " It is also beyond 4294967295."
        return f" Write {int(value)}, digits only." if value.is_integer() else ""
    return " Write digits only, such as 100000."


def _owner(model: type[BaseModel], loc: list[str]) -> type[BaseModel]:
    for part in loc:
        field = model.model_fields.get(part)
        kind = field.annotation if field else None
        for one in (kind, *get_args(kind)):  # a section, or what an array of tables holds
            if isinstance(one, type) and issubclass(one, BaseModel):
                model = one
    return model


def _elsewhere(model: type[BaseModel], name: str) -> str:
    """The same or a near key in another section."""
    for section, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            close = difflib.get_close_matches(name, list(kind.model_fields), n=1, cutoff=0.8)
            if close:
                return f"{close[0]} in [{section}]"
    return ""


def toml_value(value: Any) -> str:
    """A value as TOML text; NumPy arrays and numbers as their Python values."""
    if hasattr(value, "tolist"):
        return toml_value(value.tolist())
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {toml_value(v)}" for k, v in value.items()) + " }" if value else "{}"
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return json.dumps(str(value), ensure_ascii=False)
