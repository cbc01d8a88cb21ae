"""`run.log.jsonl`: one JSON object a line, meant to be shown to others.

A log at INFO holds no secret, no full position and no path of a home folder. This is enforced here and not left to
the callers: secrets by name and by pattern, home folders replaced by `~`, lists and texts cut short, containers of
more than one level refused.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from upm_gpu.run.durable import FILE_MODE

LOG = "run.log.jsonl"
LONGEST_TEXT = 400
LONGEST_LIST = 8

_SECRET_NAME = re.compile(r"secret|token|passw|credential|authori[sz]ation|api_?key|private_?key|cookie", re.I)
_SECRET_TEXT = re.compile(r"((?:secret|token|passw(?:or)?d|api[_-]?key|private[_-]?key|credentials?)\s*[=:]\s*)\S+|((?:bearer|basic)\s+)\S+"
                          r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)", re.I)
_POSITION_NAME = re.compile(r"^(positions?|quantit(?:y|ies)|contracts|holdings?|entry_price|collateral|raw)$", re.I)
_HOME = re.compile(r"/(?:home|Users)/[^/\s:'\"]+|/root(?=/|\b)")


def _clean(text: str) -> str:
    text = _SECRET_TEXT.sub(lambda found: (found.group(1) or found.group(2) or "") + "[removed]", text)
    home = os.environ.get("HOME", "")
    if len(home) > 1:
        text = text.replace(home, "~")
    text = _HOME.sub("~", text)
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + f"... ({len(text)} characters)"


def _shown(name: str, value: object) -> object:
    if _SECRET_NAME.search(name):
        return "[removed]"
    if _POSITION_NAME.match(name) and not (name in ("positions", "collateral") and isinstance(value, int)):
        return "[not logged]"  # a count of positions is no position
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(k): _shown(str(k), v) if not isinstance(v, (Mapping, list, tuple)) else "[not logged]" for k, v in list(value.items())[:64]}
    if isinstance(value, (list, tuple)):
        shown = [_clean(str(v)) for v in value[:LONGEST_LIST]]
        return [*shown, f"... ({len(value)} in all)"] if len(value) > LONGEST_LIST else shown
    return _clean(str(value))


@dataclass(frozen=True)
class RunLog:
    """The log of one run folder; a log that cannot be written never stops a run."""

    path: Path

    def event(self, level: str, event: str, **fields: object) -> None:
        """Append one line: `time` (UTC), `level`, `event` and the fields."""
        line: dict[str, object] = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "level": level, "event": event}
        line |= {name: _shown(name, value) for name, value in fields.items()}
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
            try:
                os.write(handle, (json.dumps(line, ensure_ascii=True, default=str) + "\n").encode())
            finally:
                os.close(handle)
        except OSError:
            pass

    def info(self, event: str, **fields: object) -> None:
        """One line of level info."""
        self.event("INFO", event, **fields)

    def warning(self, event: str, **fields: object) -> None:
        """One line of level warning."""
        self.event("WARNING", event, **fields)
