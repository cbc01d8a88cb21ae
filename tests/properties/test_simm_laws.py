"""Laws of ISDA SIMM on random books: row order and splits change no bit, charges are not negative, scale, continuity, sub-additivity without concentration."""

from __future__ import annotations

import numpy as np
import pytest
from simm_rows import margins

from upm_gpu.rulebook.simm.crif import CURVES, RISK_TYPES
from upm_gpu.rulebook.simm.parameters import BUCKETS, TENORS

CURRENCIES = ("USD", "EUR", "JPY", "ZAR", "TRY", "BRL")


def random_book(rng: np.random.Generator, count: int = 60, size: float = 1e5):
    """Rows of every risk type."""
    rows = []
    for i in range(count):
        kind = tuple(RISK_TYPES)[i % len(RISK_TYPES)]
        group = RISK_TYPES[kind]
        tenor, currency = str(rng.choice(TENORS)), str(rng.choice(CURRENCIES))
        bucket = str(rng.choice([*range(1, BUCKETS[group] + 1), *(["Residual"] if group != "commodity" else [])])) if group in BUCKETS and kind != "Risk_BaseCorr" else ""
        name = f"N{bucket}{rng.integers(3)}"
        qualifier = currency if group == "interest_rate" or kind == "Risk_FX" else "EUR" + str(rng.choice([c for c in CURRENCIES if c != "EUR"])) if kind == "Risk_FXVol" else name
        rows.append((kind, qualifier, bucket, tenor, str(rng.choice(CURVES)) if kind == "Risk_IRCurve" else str(rng.choice(["CMBX", "ABX"])) if group == "credit_non_qualifying" else "", float(np.round(rng.normal() * size, 4))))
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_order_and_splits_of_rows_change_no_bit(tmp_path, seed):
    rng = np.random.default_rng(seed)
    rows = random_book(rng)
    plain = margins(tmp_path, rows)
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    split = [(*row[:5], part) for row in shuffled for part in (row[5] * 0.25, row[5] * 0.75 - 1024.0, 1024.0)]
    exact = [(*row[:5], float(np.float64(row[5] * 0.25) + np.float64(row[5] * 0.75 - 1024.0) + 1024.0)) for row in rows]
    assert margins(tmp_path, shuffled) == plain
    assert margins(tmp_path, split)[0].margin == pytest.approx(margins(tmp_path, exact)[0].margin, rel=1e-13)
    halves = [(*row[:5], row[5] / 2) for row in shuffled for _ in range(2)]
    assert margins(tmp_path, halves) == plain


@pytest.mark.parametrize("seed", range(4))
def test_no_charge_is_negative_and_delta_has_no_side(tmp_path, seed):
    rows = random_book(np.random.default_rng(100 + seed))
    call, post = margins(tmp_path, rows)[0], margins(tmp_path, rows, side="post")[0]
    for made, other in ((call, post), (post, call)):
        for p, q in zip(made.product_classes, other.product_classes, strict=True):
            for c, d in zip(p.risk_classes, q.risk_classes, strict=True):
                assert all(m.margin >= 0.0 for m in c.measures.values())
                assert all(b.margin >= abs(b.net) >= 0.0 and b.concentration >= 1.0 for m in c.measures.values() for b in m.buckets)
                assert all(c.measures[n].margin == d.measures[n].margin for n in c.measures if n != "curvature")


@pytest.mark.parametrize("seed", range(4))
def test_small_books_scale_and_concentration_costs_more(tmp_path, seed):
    rows = random_book(np.random.default_rng(200 + seed), size=1e3)

    def times(factor: float) -> float:
        return margins(tmp_path, [(*r[:5], r[5] * factor) for r in rows])[0].margin

    assert times(2.0) == pytest.approx(2.0 * times(1.0), rel=1e-12)
    assert times(2e6) > 2e6 * times(1.0) * 1.1


@pytest.mark.parametrize("seed", range(4))
def test_two_small_books_together_need_at_most_the_sum(tmp_path, seed):
    """Delta of rates and FX and base correlation: below the thresholds the aggregation is a norm. Concentration is super-additive by design."""
    rng = np.random.default_rng(300 + seed)
    first, second = (random_book(rng, size=1e3) for _ in range(2))
    linear = [[r for r in rows if r[0] in ("Risk_IRCurve", "Risk_Inflation", "Risk_XCcyBasis", "Risk_FX", "Risk_BaseCorr")] for rows in (first, second)]
    both, one, two = (margins(tmp_path, rows)[0].margin for rows in (linear[0] + linear[1], *linear))
    assert both <= (one + two) * (1.0 + 1e-12)


def test_margin_is_continuous_through_the_threshold_and_through_zero(tmp_path):
    """EUR at 330 millions a basis point: the concentration factor leaves 1 without a jump; curvature's theta and the floor leave 0 without one."""
    def delta(amount: float) -> float:
        return margins(tmp_path, [("Risk_IRCurve", "EUR", "", "5y", "OIS", amount), ("Risk_IRCurve", "USD", "", "5y", "OIS", 1e6)])[0].margin

    def curved(amount: float) -> float:
        return margins(tmp_path, [("Risk_IRVol", "USD", "", "1y", "", amount), ("Risk_IRVol", "USD", "", "5y", "", -1000.0)])[0].margin

    for function, points, step in ((delta, (0.0, 330e6, 330e6 + 1.0), 1.0), (curved, (0.0, 200.0, 999.9, 5000.0), 1e-3)):
        for x in points:
            assert abs(function(x + step) - function(x)) < 500.0 * step


def test_a_planted_bias_would_be_seen(tmp_path):
    """The laws above can fail: a margin that added absolute sensitivities would change under a split into parts of opposite sign."""
    whole = margins(tmp_path, [("Risk_Equity", "A", "5", "", "", 100.0)])[0].margin
    parts = margins(tmp_path, [("Risk_Equity", "A", "5", "", "", 400.0), ("Risk_Equity", "A", "5", "", "", -300.0)])[0].margin
    assert whole == parts != margins(tmp_path, [("Risk_Equity", "A", "5", "", "", 400.0), ("Risk_Equity", "B", "5", "", "", -300.0)])[0].margin
