"""Does a model's one-day law look like the history it was fitted to? Statistics of both, with block-bootstrap bands.

A model draws tomorrow from today's volatility, a history holds every day at its own. Two views make them comparable:

* `today`: the history's changes over the volatility the model gave the day, times today's (J. Hull, A. White, "Incorporating volatility updating into the
  historical simulation method for value-at-risk", J. Risk 1, 1998), against the model's draw of tomorrow. What the model owns: its marginals and dependence.
* `unconditional`: the changes as they were, against the model's draws at the volatility of every past day in turn. Wrong volatilities show here as well.

Means are taken out of the history: a margin never uses them. Statistics per factor: standard deviation, the quantiles of `LEVELS`, the Hill index of the
lower and the upper `TAIL`; per pair: the share of days on which both lie beyond their own `TAIL` quantile, below and above.
Bands: the central 95 % of the statistic over circular block-bootstrap samples of the history (D. Politis, J. Romano, 1992), blocks of 30 days, so that
clusters of volatility stay whole. The error of the simulated statistics is left out: 200,000 draws against some 2,000 days.

Verified by `tests/statistics/test_law_check.py`: bands of independent draws against theory, wrong laws found out, the models of the house on real coins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.covariance import calibrate_covariance
from upm_gpu.calibrate.from_history import model_from_history
from upm_gpu.calibrate.model_of_spec import gbm_parameters
from upm_gpu.calibrate.panel import Panel, history_panel
from upm_gpu.errors import CalibrationError
from upm_gpu.model.gbm import is_price
from upm_gpu.model.recursion import ewma, variances
from upm_gpu.model.registry import CALIBRATED, reference_states
from upm_gpu.rng.normal import uniform_at
from upm_gpu.rng.streams import BOOTSTRAP, stream_word

if TYPE_CHECKING:
    import pandas as pd

    from upm_gpu.scenario.spec import ScenarioSpec

View = Literal["today", "unconditional"]
LEVELS = (0.001, 0.01, 0.05, 0.95, 0.99, 0.999)
TAIL = 0.05
BLOCK_DAYS = 30
MARGINAL = ("standard deviation", *(f"quantile {100 * p:g} %" for p in LEVELS), "Hill index below", "Hill index above")
JOINT = ("both below", "both above")


@dataclass(frozen=True)
class LawCheck:
    """Statistics of N history days and of the simulated law; marginal ones (9, K) in the order of `MARGINAL`, joint ones (2, P) in that of `JOINT`."""

    factors: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    observations: int
    history: NDArray[np.float64]
    simulated: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    joint_history: NDArray[np.float64]
    joint_simulated: NDArray[np.float64]
    joint_low: NDArray[np.float64]
    joint_high: NDArray[np.float64]
    days: NDArray[np.float64]
    """(N, K) what the statistics of the history are of"""
    draws: NDArray[np.float64]
    """(S, K)"""

    def outside(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(9, K) and (2, P): the simulated statistic is outside its band."""
        return ((self.simulated < self.low) | (self.simulated > self.high)), ((self.joint_simulated < self.joint_low) | (self.joint_simulated > self.joint_high))

    def table(self) -> list[dict[str, Any]]:
        """One row a statistic: of, statistic, history, low, high, simulated, inside."""
        out, joint = self.outside()
        rows = []
        for names, of, arrays, bad in ((MARGINAL, self.factors, (self.history, self.low, self.high, self.simulated), out),
                                       (JOINT, [" and ".join(p) for p in self.pairs], (self.joint_history, self.joint_low, self.joint_high, self.joint_simulated), joint)):
            for k, one in enumerate(of):
                rows += [dict(zip(("of", "statistic", "history", "low", "high", "simulated", "inside"), (one, name, *(float(a[i, k]) for a in arrays), not bad[i, k]), strict=True))
                         for i, name in enumerate(names)]
        return rows


def check_law(history: pd.DataFrame, factors: Sequence[str], valuation_time: datetime, spec: ScenarioSpec, view: View = "today", repeats: int = 1000,
              block: int = BLOCK_DAYS) -> LawCheck:
    """Fit the model of `spec` to price factors of a history (columns timestamp, asset, close) and compare its one-day law, `spec.count` draws, with that history.

    Raises `CalibrationError` UPM-CA-188 for a factor that is no price or a model without one base step a day; those of the fit.
    """
    odd = [f for f in factors if not is_price(f)]
    if odd or spec.base_step_days != 1.0:
        raise CalibrationError("UPM-CA-188", f"the one-day law is compared for prices in steps of one day, not for {', '.join(odd) or f'steps of {spec.base_step_days:g} days'}. Give log_level factors.")
    panel = history_panel(history, factors, valuation_time, spec.ewma_lambda, None, False, spec.trading_clock(valuation_time))
    made, volatility = _fitted(history, panel, valuation_time, spec)
    today = made.daily_volatility
    # the draw without centring or drift: moments of log-changes are compared, and the history has its mean taken out
    walk = replace(made, measure="historical", drift=None).scenarios(np.array([1.0]), replace(spec, measure="historical", horizons=(1.0,)))
    draws = reference_states(walk, 0, spec.count)[0][0].T
    days = panel.changes - np.mean(panel.changes, axis=0)
    if view == "today":
        days = days / volatility * today
    else:
        draws = draws / today * volatility[np.arange(len(draws)) % len(volatility)]
    return compare(days, draws, tuple(factors), repeats, block)


def compare(days: NDArray[np.float64], draws: NDArray[np.float64], factors: tuple[str, ...], repeats: int = 1000, block: int = BLOCK_DAYS) -> LawCheck:
    """The check of draws (S, K) against days (N, K) in order of time."""
    pairs = [(i, j) for i in range(len(factors)) for j in range(i + 1, len(factors))]
    of = (marginal_statistics(days), joint_statistics(days, pairs)), (marginal_statistics(draws), joint_statistics(draws, pairs))
    low, high = np.quantile(block_bootstrap(days, marginal_statistics, repeats, block), [0.025, 0.975], axis=0)
    joint_low, joint_high = np.quantile(block_bootstrap(days, lambda x: joint_statistics(x, pairs), repeats, block), [0.025, 0.975], axis=0)
    return LawCheck(factors, tuple((factors[i], factors[j]) for i, j in pairs), len(days), of[0][0], of[1][0], low, high, of[0][1], of[1][1], joint_low, joint_high, days, draws)


def marginal_statistics(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(9, K) of a sample (N, K), in the order of `MARGINAL`."""
    return np.stack([np.std(x, axis=0), *np.quantile(x, LEVELS, axis=0), hill_index(-x), hill_index(x)])


def hill_index(x: NDArray[np.float64], share: float = TAIL) -> NDArray[np.float64]:
    """(K,) mean log excess of the `share` largest values of each column over the next one: B. Hill, Annals of Statistics 3 (1975)."""
    k = max(int(share * len(x)), 2)
    top = -np.sort(-x, axis=0)[: k + 1]
    return np.mean(np.log(top[:-1] / top[-1]), axis=0)


def joint_statistics(x: NDArray[np.float64], pairs: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """(2, P) share of rows on which both columns of a pair are beyond their own `TAIL` quantile, below and above."""
    low, high = np.quantile(x, [TAIL, 1.0 - TAIL], axis=0)
    below, above = (x < low).astype(np.float64), (x > high).astype(np.float64)
    i, j = [p[0] for p in pairs], [p[1] for p in pairs]
    return np.stack([(b.T @ b)[i, j] / len(x) for b in (below, above)])


def block_bootstrap(x: NDArray[np.float64], statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]], repeats: int = 1000, block: int = BLOCK_DAYS) -> NDArray[np.float64]:
    """(repeats, ...) the statistic of samples made of circular blocks of rows; drawn by address, so that the same rows give the same bands."""
    size = len(x)
    u = np.stack([uniform_at(0, np.arange(repeats, dtype=np.uint32), 0, b, stream_word(0, BOOTSTRAP)) for b in range(-(-size // block))], axis=1)
    first = np.minimum((u * size).astype(np.int64), size - 1)
    rows = (first[:, :, None] + np.arange(block)).reshape(repeats, -1)[:, :size] % size
    return np.stack([statistic(x[r]) for r in rows])


def _fitted(history: pd.DataFrame, panel: Panel, valuation_time: datetime, spec: ScenarioSpec) -> tuple[Any, NDArray[np.float64]]:
    """The model, and the daily volatility (N, K) it gave each day before it came."""
    if spec.model == CALIBRATED:
        fit = calibrate_covariance(history, panel.factors, valuation_time, spec.estimator, spec.ewma_lambda, dependence=spec.correlation,
                                   clock=spec.trading_clock(valuation_time))
        made: Any = gbm_parameters(fit, spec)
        models = [ewma(spec.ewma_lambda)] * len(panel.factors) if spec.estimator == "ewma" else None
    else:
        made, _ = model_from_history(history, panel.factors, valuation_time, spec)
        models = list(made.dynamics.model) if hasattr(made, "dynamics") else None
    if models is None:
        return made, np.tile(made.daily_volatility, (len(panel.changes), 1))
    paths = np.stack([variances(panel.changes[:, k], m) for k, m in enumerate(models)], axis=1)
    # a filter's variances are in the units in which its residuals have variance 1, see `panel.in_unit_residuals`
    return made, np.sqrt(paths[:-1] * (made.daily_volatility**2 / paths[-1] if hasattr(made, "dynamics") else 1.0))
