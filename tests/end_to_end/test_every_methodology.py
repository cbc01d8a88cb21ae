"""Every methodology that ships margins the sample: rule books all that they margin, Monte Carlo methodologies a few accounts of each kind."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from upm_gpu.backend.select import choose
from upm_gpu.compare import under_rule_book
from upm_gpu.domain.instrument import Option
from upm_gpu.domain.reader import load_book
from upm_gpu.engine import margin_run
from upm_gpu.errors import InputError
from upm_gpu.margin.methodology import load_methodology
from upm_gpu.market.reader import load_market
from upm_gpu.methodologies import load_any
from upm_gpu.rulebook import RuleBook
from upm_gpu.rulebook.frame.held import hold
from upm_gpu.scenario.spec import ScenarioSpec
from upm_gpu.shipped import package_file, resolve_sample

FILES = sorted(package_file("configs/methodology/house_v1.toml").parent.glob("*.toml"))
BOOKS = [f for f in FILES if isinstance(load_any(f), RuleBook)]
MONTE_CARLO = [f for f in FILES if f not in BOOKS and f.stem != "house_v1"]
"""the default runs in test_golden.py"""
WITHOUT_OPTIONS = {"dederi_v1": "UPM-CF-", "drift_v2": "UPM-CF-131", "binance_unimmr_2025": "UPM-CF-131"}
"""options are refused by name: of Dederi since its volatility factors are not published"""


@cache
def sample():
    market = load_market(resolve_sample("sample:crypto", "market"))
    return load_book(resolve_sample("sample:crypto", "book"), market.valuation_time), market


def few(book, every=80):
    """Every so many accounts, with what they hold."""
    accounts = np.arange(0, len(book.accounts), every)
    number = np.full(len(book.accounts), -1, np.int32)
    number[accounts] = np.arange(len(accounts))

    def of(lines, *names):
        kept = np.flatnonzero(number[lines.account] >= 0)
        columns = {n: getattr(lines, n)[kept] if isinstance(getattr(lines, n), np.ndarray) else tuple(getattr(lines, n)[i] for i in kept) for n in names}
        return replace(lines, **{**columns, "account": number[lines.account[kept]]})

    lined = {n for n in book.positions.__dataclass_fields__ if isinstance(getattr(book.positions, n), np.ndarray)} - {"account"}
    return replace(book, accounts=tuple(book.accounts[a] for a in accounts), positions=of(book.positions, *lined), collateral=of(book.collateral, *(set(book.collateral.__dataclass_fields__) - {"account"})))


def linear(book):
    """The book without its options."""
    kept = [n for n, i in enumerate(book.instruments) if not isinstance(i, Option)]
    number = np.full(len(book.instruments), -1, np.int32)
    number[kept] = np.arange(len(kept))
    p = book.positions
    lines = number[p.instrument] >= 0
    fields = {n: getattr(p, n)[lines] for n in p.__dataclass_fields__ if isinstance(getattr(p, n), np.ndarray)}
    return replace(book, instruments=tuple(book.instruments[n] for n in kept), positions=replace(p, **{**fields, "instrument": number[p.instrument[lines]]}))


@pytest.mark.parametrize("file", BOOKS, ids=lambda f: f.stem)
def test_rule_books(file):
    rules, choice = load_any(file), choose("cpu", "double")
    book, market = sample()
    held = hold(book, market)[0]
    if file.stem in WITHOUT_OPTIONS:
        with pytest.raises(InputError, match=WITHOUT_OPTIONS[file.stem]):
            under_rule_book(rules, held, choice)
        held = hold(linear(book), market)[0]
    title, table, charges, *_ = under_rule_book(rules, held, choice)
    assert title == f"{rules.parameters.name} {rules.parameters.version}" and len(table) == 2000
    assert (charges.to_numpy() >= 0.0).all() and np.isfinite(charges.to_numpy()).all()
    np.testing.assert_allclose(charges.sum(axis=1), table["initial_margin"], rtol=1e-12)
    assert (table["initial_margin"] >= table["maintenance_margin"] - 1e-6).all() and (table["initial_margin"] > 0.0).mean() > 0.25


@pytest.mark.parametrize("file", MONTE_CARLO, ids=lambda f: f.stem)
def test_monte_carlo(file):
    book, market = sample()
    methodology = load_methodology(file)
    model = "filtered_historical" if file.stem.startswith(("prisma", "span2")) else "gbm"
    table = margin_run(few(book), market, ScenarioSpec(count=4096, seed=1, model=model), methodology, "cpu").table
    names = [f"charge_{c.name}" for c in methodology.charges]
    assert len(table) == 25 and (table["initial_margin"] > 0.0).mean() > 0.75
    np.testing.assert_allclose(table["core"] + table[names].sum(axis=1), table["initial_margin"], rtol=1e-12)
    assert not names or (table[names].to_numpy() > 0.0).any(axis=0).sum() >= len(names) // 3
