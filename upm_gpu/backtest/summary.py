"""From days to verdicts: every test of every portfolio under every model, the league of models, the goals and why they fail.

Exceptions are counted twice: against the margin (multiplier x ES), which is what a clearing house reports (fields of ISO 20022 auth.066), and against value-at-risk, which is what
Kupiec, Christoffersen and the traffic light have a law for. A test that has no value for a series (no exception, an ES not above 0) is left blank.
Procyclicality of a margin series m_t: peak over trough, and the largest rise over n days, m_(t+n) / m_t - 1; the same of a margin with a quarter of its weight on the highest
margin so far, 0.75 m_t + 0.25 max_(s <= t) m_s (EMIR, delegated regulation 153/2013, article 28(1)(b): at least 25 % weight to stressed observations).
Verified by tests/known_answers/test_rolling.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backtest.coverage import christoffersen, kupiec, time_until_first_failure
from upm_gpu.backtest.distribution import berkowitz, pit_uniformity
from upm_gpu.backtest.observations import observe
from upm_gpu.backtest.ranked_laws import LAW, z3
from upm_gpu.backtest.scores import diebold_mariano, joint_score, quantile_score
from upm_gpu.backtest.shortfall import acerbi_szekely, ridge
from upm_gpu.backtest.zones import traffic_light

if TYPE_CHECKING:
    import pandas as pd

GOAL_LEVEL, GOAL_DAYS, GOAL_SIGNIFICANCE = 0.99, 1_000, 0.05
GOALS = (("margin covers 99 % of days", 0.95), ("value-at-risk is not rejected by Kupiec at 5 %", 0.85))
"""what is asked of portfolios with at least GOAL_DAYS days, and on which share of them"""
STRESSED_WEIGHT = 0.25
RISES = (1, 5, 30)
"""days over which the rise of a margin is measured"""
LEAST_DAYS = 10
"""below it only the counts are given: no test says anything"""
TESTED = ("kupiec", "kupiec_p", "first_failure_p", "independence_p", "conditional_coverage_p", "zone", "pit_p", "berkowitz_p", "z3", "z3_p", "z1", "z1_p", "z2", "z2_p", "ridge", "ridge_p", "quantile_score", "joint_score")
"""columns that are there, blank, where no portfolio has a value"""
NULL_SAMPLES = 5_000
"""of Acerbi and Szekely's null law: a p-value near 5 % is good to 0.3 %"""

Z3_SAMPLES = 2_000
"""the same to 0.5 %"""


def summarise(table: pd.DataFrame, seed: int, proxies: Sequence[str] = ()) -> pd.DataFrame:
    """One row a portfolio, model and level, in the order of the table."""
    import pandas as pd

    rows = [_row(str(p), str(m), float(x), days, seed, str(p) in proxies) for (p, m, x), days in table.groupby(["portfolio", "model", "level"], sort=False)]
    found = pd.DataFrame(rows)
    missing = [c for c in TESTED if c not in found]
    return found.assign(**dict.fromkeys(missing, float("nan"))).assign(**({"zone": ""} if "zone" in missing else {}))


def _row(portfolio: str, model: str, level: float, days: pd.DataFrame, seed: int, proxy: bool) -> dict[str, Any]:
    loss, var, shortfall, margin = (days[c].to_numpy() for c in ("loss", "value_at_risk", "expected_shortfall", "margin"))
    seen = observe(loss, margin)
    hits = loss > var
    row: dict[str, Any] = {
        "portfolio": portfolio, "kind": days["kind"].iloc[0], "group": days["group"].iloc[0], "model": model, "level": level, "volatility": "proxy" if proxy else "",
        "first_date": days["date"].iloc[0], "last_date": days["date"].iloc[-1], "number_of_observations": seen.number_of_observations, "number_of_exceptions": seen.number_of_exceptions,
        "achieved_coverage": seen.coverage, "largest_exception": seen.largest_exception, "average_exception": seen.average_exception,
        "largest_exception_date": days["date"].iloc[int(np.argmax(loss - margin))] if seen.number_of_exceptions else "",
        "value_at_risk_exceptions": int(np.count_nonzero(hits)), "mean_margin": float(np.mean(margin)),
        **_whole(days),
        "mean_standard_error": float(np.mean(days["expected_shortfall_standard_error"].to_numpy())),
    }
    if len(loss) >= LEAST_DAYS:
        pof, joint = kupiec(int(np.count_nonzero(hits)), len(hits), level), christoffersen(hits, level)
        light = traffic_light(pof.exceptions, pof.observations, level)
        first = int(np.argmax(hits)) + 1 if hits.any() else None
        row |= {"kupiec": pof.statistic, "kupiec_p": pof.p_value, "first_failure_p": time_until_first_failure(first, level).p_value if first else float("nan"),
                "independence_p": joint.p_value, "conditional_coverage_p": joint.conditional_coverage.p_value, "zone": light.zone,
                "pit_p": pit_uniformity(days["pit"].to_numpy()).p_value, "berkowitz_p": berkowitz(days["pit"].to_numpy()).p_value}
        if np.all(shortfall > 0.0):
            szekely, slope = acerbi_szekely(loss, var, shortfall, level, samples=NULL_SAMPLES, seed=seed), ridge(loss, var, shortfall, level)
            ranked = z3(days["pit"].to_numpy(), days[list(LAW)].to_numpy(np.float64), level, Z3_SAMPLES, seed) if LAW[0] in days else (float("nan"), float("nan"))
            row |= {"z3": ranked[0], "z3_p": ranked[1], "z1": szekely.z1, "z1_p": szekely.z1_p_value, "z2": szekely.statistic, "z2_p": szekely.p_value, "ridge": slope.mean, "ridge_p": slope.p_value,
                    "quantile_score": float(np.mean(quantile_score(loss, var, level))), "joint_score": float(np.mean(joint_score(loss, var, shortfall, level)))}
    return row | procyclicality(margin)


def _whole(days: pd.DataFrame) -> dict[str, Any]:
    """Of the methodology's initial margin, where one is asked: its mean, and how often a loss was above it."""
    if "initial_margin" not in days:
        return {}
    asked = days["initial_margin"].to_numpy(np.float64)
    known = np.isfinite(asked)
    return {"mean_initial_margin": float(np.mean(asked[known])) if known.any() else float("nan"), "initial_margin_exceptions": int(np.count_nonzero(days["loss"].to_numpy()[known] > asked[known]))}


def procyclicality(margin: NDArray[np.float64]) -> dict[str, float]:
    """Peak over trough and largest rises of a margin (T,), and of the one with stressed weight; NaN where the trough is 0 or the series too short.

    >>> procyclicality(np.array([1.0, 2.0, 1.0]))["peak_to_trough"]
    2.0
    """
    stressed = (1.0 - STRESSED_WEIGHT) * margin + STRESSED_WEIGHT * np.maximum.accumulate(margin)
    found: dict[str, float] = {}
    for prefix, m in (("", margin), ("stressed_", stressed)):
        positive = bool(np.all(m > 0.0))
        found[f"{prefix}peak_to_trough"] = float(m.max() / m.min()) if positive else float("nan")
        for n in RISES:
            found[f"{prefix}rise_{n}d"] = float(np.max(m[n:] / m[:-n])) - 1.0 if positive and len(m) > n else float("nan")
    return found


def league(table: pd.DataFrame, summary: pd.DataFrame, level: float) -> pd.DataFrame:
    """One row a model, best first: mean joint score of VaR and ES over all portfolios and days, and Diebold and Mariano's test of the daily mean scores against the best.

    Scores are averaged over the portfolios of a day first, for their losses come together; days and portfolios that any model lacks are left out, so all models meet the same losses.
    """
    import pandas as pd

    own = table[(table["level"] == level) & (table["expected_shortfall"] > 0.0)]
    models = [str(m) for m in own["model"].unique()]
    score = joint_score(own["loss"].to_numpy(), own["value_at_risk"].to_numpy(), own["expected_shortfall"].to_numpy(), level)
    simple = quantile_score(own["loss"].to_numpy(), own["value_at_risk"].to_numpy(), level)
    keyed = own[["date", "portfolio", "model"]].assign(joint=score, quantile=simple).pivot(index=["date", "portfolio"], columns="model", values=["joint", "quantile"]).dropna()
    daily = keyed.groupby(level="date").mean()
    rows = []
    at_level = summary[summary["level"] == level]
    for model in models:
        mine = at_level[at_level["model"] == model]
        rows.append({"model": model, "joint_score": float(keyed["joint"][model].mean()) if len(keyed) else float("nan"), "quantile_score": float(keyed["quantile"][model].mean()) if len(keyed) else float("nan"),
                     "days": len(daily), "portfolios": len(mine), "coverage": 1.0 - float(mine["number_of_exceptions"].sum() / mine["number_of_observations"].sum()),
                     "value_at_risk_coverage": 1.0 - float(mine["value_at_risk_exceptions"].sum() / mine["number_of_observations"].sum()), "mean_margin": float(mine["mean_margin"].mean()),
                     "peak_to_trough": float(mine["peak_to_trough"].median()), "rise_5d": float(mine["rise_5d"].median())})
    found = pd.DataFrame(rows).sort_values(["joint_score", "model"], kind="stable").reset_index(drop=True)
    best = str(found["model"].iloc[0])
    tests = [diebold_mariano(daily["joint"][m].to_numpy(), daily["joint"][best].to_numpy()) if m != best and len(daily) >= LEAST_DAYS else None for m in found["model"]]
    found["score_above_best"] = [0.0 if t is None else t.difference for t in tests]
    found["diebold_mariano_p"] = [float("nan") if t is None else t.p_value for t in tests]
    return found


def goals(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Each goal under each model, with the portfolios that miss it and what their exceptions say; nothing where no portfolio has the level and the days."""
    own = summary[(np.abs(summary["level"] - GOAL_LEVEL) < 1e-12) & (summary["number_of_observations"] >= GOAL_DAYS)]
    found = []
    for model in own["model"].unique():
        mine = own[own["model"] == model]
        for (what, asked), kept in zip(GOALS, (mine["achieved_coverage"] >= GOAL_LEVEL, mine["kupiec_p"] >= GOAL_SIGNIFICANCE), strict=True):
            missed = mine[~kept]
            found.append({"model": str(model), "goal": what, "asked": asked, "share": float(kept.mean()), "portfolios": len(mine), "met": bool(kept.mean() >= asked),
                          "missed": [str(p) for p in missed["portfolio"]], "why": _why(missed, what == GOALS[1][0]) + (_sides(mine) if what == GOALS[1][0] and len(missed) else "")})
    return found


def _sides(mine: pd.DataFrame) -> str:
    """What the long and the short of the same linear portfolios say of the law's skewness; blank where they differ by less than half."""
    linear = mine[mine["kind"] != "straddle"]
    found = []
    for side in ("long", "short"):
        own = linear[linear["portfolio"].str.endswith(f" {side}")]
        expected = (1.0 - GOAL_LEVEL) * float(own["number_of_observations"].sum())
        found.append(float(own["value_at_risk_exceptions"].sum()) / expected if expected else float("nan"))
    long, short = found
    if not max(found) > 1.5 * min(found):  # NaN where a side is missing
        return ""
    return f" Long portfolios have {long:.2f} times the number promised, short ones {short:.2f}: {'falls are larger and rises smaller' if long > short else 'rises are larger and falls smaller'} than the law has them."


def _why(missed: pd.DataFrame, by_kupiec: bool) -> str:
    """In words: how the misses lie, from the counts and tests alone."""
    if not len(missed):
        return ""
    expected = (1.0 - GOAL_LEVEL) * missed["number_of_observations"]
    clustered = int(np.count_nonzero(missed["independence_p"] < GOAL_SIGNIFICANCE))
    kinds = ", ".join(f"{n} {kind}" for kind, n in missed["kind"].value_counts(sort=True).items())
    together = f" On {clustered} of {len(missed)} they come one after another (independence rejected at 5 %)." if clustered else ""
    if not by_kupiec:
        ratio = float((missed["number_of_exceptions"] / expected).median())
        return f"Missed by {kinds}: more losses above the margin than one day in a hundred, in the median {ratio:.2g} times as many.{together}"
    many = missed["value_at_risk_exceptions"] > expected
    ratio = float((missed["value_at_risk_exceptions"] / expected).median())
    return (f"Missed by {kinds}: {int(many.sum())} with too many exceptions, {int((~many).sum())} with too few (a margin too high is rejected as well); "
            f"in the median {ratio:.2g} times the number promised.{together}")
