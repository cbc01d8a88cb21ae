"""One code, one meaning: docs/errors.md lists every code of the source, its exits, and what each of its messages speaks of."""

from __future__ import annotations

import re
from pathlib import Path

from error_codes import used

LIST = Path(__file__).parents[1] / "docs" / "errors.md"
USED = used()
ANY_VALUE = "UPM-CF-056"
"""the one code for whatever has no other: each message names its own key and range"""


def listed() -> list[tuple[str, set[int], str]]:
    """(code, exits, meaning) of every line of the tables; a line may hold the same number of two rooms."""
    found = []
    for codes, exits, meaning in re.findall(r"^\| (UPM-[^|]*)\|([ \d]*)\|([^|]*)\|$", LIST.read_text(), re.MULTILINE):
        found += [(code, {int(e) for e in exits.split()}, meaning) for code in codes.split()]
    return found


def stems(text: str) -> set[str]:
    """The beginnings of the words that carry meaning."""
    return {word[:5] for word in re.findall(r"[a-z0-9]{3,}", text.lower())} - {"the", "and", "not", "are", "with", "for", "was", "has", "that", "than", "from",
                                                                               "give", "one", "its", "can", "canno", "keep", "use", "this", "line", "file"}


def test_every_code_is_listed_once() -> None:
    codes = [code for code, _, _ in listed()]
    assert not set(USED) - set(codes), "codes of the source that docs/errors.md lacks"
    assert not set(codes) - set(USED), "codes of docs/errors.md that nothing says"
    assert len(codes) == len(set(codes))


def test_exits_are_those_of_the_class_raised() -> None:
    assert not [(code, USED[code].exits) for code, exits, _ in listed() if not USED[code].exits <= exits]
    assert {e for _, exits, _ in listed() for e in exits} <= set(range(1, 10))


def test_every_message_speaks_of_the_meaning() -> None:
    """A number used twice for unrelated things has a message that shares no word with what is written for it."""
    stray = [(code, message) for code, _, meaning in listed() for message in USED[code].messages
             if code != ANY_VALUE and stems(message) and not stems(message) & stems(meaning)]
    assert not stray
