"""Every error code of the package with what is said under it, read from the source: what docs/errors.md is held to.

`PYTHONPATH=. python tests/error_codes.py` lists them. A code is written whole (`raise InputError("UPM-CF-070", ...)`, or at the head of a warning),
or as its number where a room is known from the file: `stop(62, ...)`, `fail("MD", 44, ...)`, `CellFault(24, ...)`, a rule of a
configuration.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path

from upm_gpu import errors

PACKAGE = Path(errors.__file__).parent
CODE = re.compile(r"UPM-([A-Z]{2}|\{\})-(\d{3})")
NUMBERED = {"strict_toml.py": "CF", "config.py": "CF", "regime_keys.py": "CF", "margin/methodology.py": "CF", "desk/calls/ladder.py": "CF", "desk/calls/intraday.py": "CF", "rulebook/simm/parameters.py": "CF", "rulebook/span.py": "CF", "rulebook/tims.py": "CF", "rulebook/bybit_standard.py": "CF", "rulebook/drift.py": "CF", "rulebook/binance_unimmr.py": "CF", "rulebook/deribit_pme.py": "CF", "rulebook/okx/parameters.py": "CF", "rulebook/bybit_pm.py": "CF", "pricing/cases.py": "PR", "market/reader.py": "MD", "market/carry.py": "MD", "domain/holdings.py": "IN",
            "domain/reader.py": "IN", "domain/terms.py": "IN", "domain/cells.py": "IN MD", "domain/tables.py": "IN MD", "domain/blocks.py": "IN MD"}
"""files that write a code by its number -> rooms it may stand in"""


@dataclass
class Use:
    """What is said under one code."""

    messages: list[str] = field(default_factory=list)
    exits: set[int] = field(default_factory=set)
    """of the exceptions raised with it; none where it is a warning, a rejected row or a reason"""


def used() -> dict[str, Use]:
    """Code -> its uses in the package."""
    found: dict[str, Use] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        rooms = NUMBERED.get(path.relative_to(PACKAGE).as_posix(), "").split()
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr | ast.BinOp) for part in ast.walk(node) if part is not node}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call | ast.Tuple):
                _members(node, rooms, found)
            elif isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp) and id(node) not in documented and id(node) not in inside:
                text = words(node)
                for match in CODE.finditer(text):
                    for code in [match[0]] if match[1] != "{}" else [f"UPM-{room}-{match[2]}" for room in rooms]:
                        found.setdefault(code, Use()).messages += [text[match.end():].strip()] * (" " in text)
            elif isinstance(node, ast.keyword) and node.arg == "number" and isinstance(node.value, ast.Constant):
                for room in rooms:
                    found.setdefault(f"UPM-{room}-{node.value.value:03d}", Use())
    return found


def _members(node: ast.Call | ast.Tuple, rooms: list[str], found: dict[str, Use]) -> None:
    """A code or its number followed by what is said, among the arguments of a call or the members of a tuple."""
    parts = node.args if isinstance(node, ast.Call) else node.elts
    name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
    kind = getattr(errors, name, None)
    for place, part in enumerate(parts):
        said = next((text for text in map(words, parts[place + 1:]) if " " in text), "")
        for branch in (part.body, part.orelse) if isinstance(part, ast.IfExp) else (part,):
            value = branch.value if isinstance(branch, ast.Constant) else None
            if isinstance(value, str) and CODE.fullmatch(value):
                use = found.setdefault(value, Use())
                use.messages += [said] * bool(said)
                if isinstance(kind, type) and issubclass(kind, errors.UpmError):
                    use.exits.add(kind.exit_code)
            elif type(value) is int and 0 < value < 200 and said:
                for room in [p.value for p in parts if isinstance(p, ast.Constant) and p.value in ("IN", "MD")] or rooms:
                    use = found.setdefault(f"UPM-{room}-{value:03d}", Use())
                    use.messages.append(said)
                    if name in ("stop", "fail") or (isinstance(node, ast.Tuple) and "CF" in rooms):
                        use.exits.add(3)


def words(node: ast.AST) -> str:
    """The fixed text of a string expression, {} where a value goes in; "" for anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return words(node.left) + words(node.right)
    return words(node.body) if isinstance(node, ast.Lambda) else ""


if __name__ == "__main__":
    for code, use in sorted(used().items()):
        print(code, *sorted(use.exits), *(f"\n    {message}" for message in use.messages))
