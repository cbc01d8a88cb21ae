"""A small back-test for tests: closes made up by a seeded generator, and a configuration over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

MODELS = {"gbm": "gbm", "fhs": "filtered_historical", "hs": "historical", "scaled": "scaled_historical", "garch": "garch"}


def closes(days: int = 420, assets: tuple[str, ...] = ("AAA", "BBB"), seed: int = 5) -> pd.DataFrame:
    """timestamp, asset, close: t-distributed daily moves of 3 % with one common part."""
    draw = np.random.default_rng(seed).standard_t(5, (len(assets) + 1, days)) * 0.02
    stamps = pd.date_range("2020-01-02", periods=days, tz="UTC").astype("datetime64[ns, UTC]")
    return pd.concat([pd.DataFrame({"timestamp": stamps, "asset": a, "close": 100.0 * np.exp(np.cumsum(draw[k] + draw[-1]))}) for k, a in enumerate(assets)], ignore_index=True)


def history_csv(frame: pd.DataFrame) -> str:
    """The frame as a history file."""
    return frame.assign(timestamp=frame["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")).to_csv(index=False)


def configuration(models: tuple[str, ...] = ("gbm", "hs"), start: str = "2021-01-20", extra: str = "", **windows: object) -> str:
    """TOML of a back-test of pairs of AAA and BBB in history.csv beside it."""
    entries = "".join(f'[[models]]\nname = "{m}"\nmodel = "{MODELS[m]}"\n' + ('filter = "gjr"\n' if m == "garch" else "") for m in models)
    keys = "".join(f"{k} = {v}\n" for k, v in windows.items())
    return (f'schema_version = 1\n[history]\npath = "history.csv"\n[windows]\nstart = "{start}"\nleast_history_days = 300\n{keys}[scenarios]\ncount = 500\nseed = 3\n'
            f'[[groups]]\nname = "two"\nassets = ["AAA", "BBB"]\n[[portfolios]]\nkind = "single"\ngroups = ["two"]\n[[portfolios]]\nkind = "pair"\ngroups = ["two"]\nsides = ["long"]\n{extra}{entries}')


def written(folder: Path, text: str, frame: pd.DataFrame | None = None) -> Path:
    """history.csv and backtest.toml in a folder; returns the configuration."""
    (folder / "history.csv").write_text(history_csv(closes() if frame is None else frame))
    (folder / "backtest.toml").write_text(text)
    return folder / "backtest.toml"
