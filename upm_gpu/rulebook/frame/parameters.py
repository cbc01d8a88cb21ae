"""The head of every parameter file of a rule book: strict, versioned, one file a published version."""

from __future__ import annotations

import datetime
from typing import Literal

from upm_gpu.strict_toml import Strict


class RuleParameters(Strict):
    """What every parameter file begins with; each rule book adds its own keys."""

    schema_version: Literal[1] = 1
    name: str
    version: str
    effective_date: datetime.date
    rule_book: str
