"""Reading of reference/*.json: published and recomputed values, each with its source and tolerance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent / "reference"


def cases(topic: str) -> list[dict[str, Any]]:
    """All cases of a topic, such as `6_risk_measures`."""
    with open(FOLDER / f"{topic}.json", encoding="ascii") as file:
        return json.load(file)["cases"]


def group(topic: str, name: str) -> list[Any]:
    """The cases of one source table as pytest parameters."""
    found = [pytest.param(case["inputs"], case["expected"], case["tolerance"], id=case["id"]) for case in cases(topic) if case["group"] == name]
    assert found, f"no case of {name} in {topic}"
    return found


def full_and_published(expected: dict[str, float], tolerance: dict[str, float], key: str) -> list[tuple[float, dict[str, float]]]:
    """(value, keyword of pytest.approx) for the published number and the precise one, where the case has them."""
    found = []
    if key in expected:
        found.append((expected[key], {"abs": tolerance["published_abs"], "rel": 0.0}))
    if f"{key}_full_precision" in expected:
        found.append((expected[f"{key}_full_precision"], {"rel": tolerance["full_precision_rel"], "abs": 0.0}))
    return found
