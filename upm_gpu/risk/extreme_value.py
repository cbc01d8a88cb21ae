"""Tail measures by extreme-value theory: a generalised Pareto law of the losses beyond a threshold, for every row at once.

u is the (n + 1)-th worst of S losses, n = floor(S x share), y the n excesses over it. The law of an excess is G(y) = 1 - (1 + xi y / beta)^(-1 / xi)
(Pickands, Annals of Statistics 3, 1975), fitted by probability-weighted moments (Hosking and Wallis, Technometrics 29, 1987):

  a0 = mean y,  a1 = mean of y_(i) (1 - (i - 0.35) / n), ascending;  xi = 2 - a0 / (a0 - 2 a1),  beta = 2 a0 a1 / (a0 - 2 a1)

and with r = n / (S (1 - level)) the measures are (McNeil, Frey and Embrechts, Quantitative Risk Management, 2005, section 7.2)

  VaR = u + (beta / xi) (r^xi - 1),   ES = u + beta / (1 - xi) ((r^xi - 1) / xi + 1)

Moments rather than maximum likelihood: closed, so that thousands of rows cost a few sums, and steadier for a few hundred excesses. The standard errors
are those of the fit and of the threshold together: VaR and ES are functions of u, a0 and a1, whose influence values are, up to a constant and for a loss beyond u,

  u: beta / s,   a0: y / s - beta / s,   a1: H(y) / s^2 - beta / (2 s),   H(y) = s (beta / (1 - xi)) (1 - (1 + xi y / beta)^(1 - 1 / xi)),  s = n / S

(a0 = integral of the survival function over s, a1 = half that of its square over s^2), so that pairs, scramblings and blocks are dealt with as in `tail.py`.
What the errors leave out is the bias of the law itself (0.2 of a standard error for normal
losses at 100,000 scenarios, none seen for Student t and exponential ones). The law is no cure for few scenarios: with a free xi its error is that of the plain figure while k is 10 or more; what it
adds is a smooth tail, a reach beyond the sample and a xi to look at. A row without 50 excesses, whose excesses are all alike, or whose xi leaves (-3, 0.95)
keeps its plain measures (`fitted` is false).

Verified by `tests/known_answers/test_extreme_value.py`: exact tails, SciPy's maximum likelihood, the spread over seeds against the reported error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import CapacityError
from upm_gpu.risk.dependence import PIECE, Dependence, usable, variance_of_mean
from upm_gpu.risk.tail import HEAVY_TAIL, TailEstimate
from upm_gpu.risk.tail_state import TailState

FEWEST = 50
"""excesses below which no law is fitted"""
INDEX_RANGE = (-3.0, 0.95)
"""of xi: above, the expected shortfall is nearly infinite; below, the excesses have an atom at their end rather than a tail"""
SMALL_INDEX = 1e-7
"""nearer to 0 than this the exponential law is taken: the quotients lose their digits"""
ERROR_FORMULA = "extreme value: influence values of threshold and probability-weighted moments"


@dataclass(frozen=True)
class ParetoFit:
    """Of every row (H, R); losses positive."""

    threshold: NDArray[np.float64]
    index: NDArray[np.float64]
    """xi; NaN where nothing was fitted"""
    scale: NDArray[np.float64]
    """beta"""
    excesses: int
    fitted: NDArray[np.bool_]


def fit_depth(count: int, share: float) -> int:
    """Scenarios a row must keep for a fit to the worst `share`: the excesses and the threshold; 0 without a fit.

    >>> fit_depth(100_000, 0.05)
    5001
    """
    return min(count, int(np.floor(count * share)) + 1) if share > 0.0 else 0


def moments(excess: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(a0, a1) of excesses (..., n), worst first."""
    n = excess.shape[-1]
    beyond = (np.arange(1, n + 1) - 0.65) / n  # 1 - p of the i-th worst: p = (n + 1 - i - 0.35) / n
    return np.mean(excess, axis=-1), np.mean(excess * beyond, axis=-1)


def law_of(a0: NDArray[np.float64], a1: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(xi, beta) of probability-weighted moments."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return 2.0 - a0 / (a0 - 2.0 * a1), 2.0 * a0 * a1 / (a0 - 2.0 * a1)


def fit_excesses(tail: TailState, share: float) -> ParetoFit:
    """The law of what lies beyond the worst `share` of the scenarios. Raises CapacityError where the state is not that deep."""
    n = int(np.floor(tail.count * share))
    depth = min(tail.pnl.shape[-1], tail.count)
    if n >= depth:
        raise CapacityError("UPM-CP-081", f"the tail holds the worst {depth} of {tail.count} scenarios, a threshold at the worst {share:g} needs {n + 1}. "
                            "Ask for this level when the scenarios are run.")
    threshold = 0.0 - tail.pnl[..., n]
    if n < FEWEST:
        nothing = np.full(threshold.shape, np.nan)
        return ParetoFit(threshold, nothing, nothing, n, np.zeros(threshold.shape, bool))
    a0, a1 = moments(0.0 - tail.pnl[..., :n] - threshold[..., None])
    xi, beta = law_of(a0, a1)
    sound = np.isfinite(xi) & (a0 > 0.0) & (beta > 0.0) & (xi > INDEX_RANGE[0]) & (xi < INDEX_RANGE[1])
    return ParetoFit(threshold, np.where(sound, xi, np.nan), np.where(sound, beta, np.nan), n, sound)


def beyond_threshold(xi: NDArray[np.float64], beta: NDArray[np.float64], ratio: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(VaR - u, ES - u) where a loss beyond u is `ratio` times as likely as one beyond VaR.

    >>> var, es = beyond_threshold(np.array([0.25]), np.array([3.0]), 16.0)
    >>> float(var[0]), float(es[0])
    (12.0, 20.0)
    """
    small = np.abs(xi) < SMALL_INDEX
    safe = np.where(small, 1.0, xi)
    growth = np.where(small, np.log(ratio), np.expm1(safe * np.log(ratio)) / safe)
    return beta * growth, beta / (1.0 - xi) * (growth + 1.0)


def with_extreme_values(plain: TailEstimate, tail: TailState, share: float, dependence: Dependence = "independent") -> tuple[TailEstimate, ParetoFit]:
    """The estimate at the level of `plain` with VaR, ES and their errors from the fitted law where there is one."""
    fit = fit_excesses(tail, share)
    n, count = fit.excesses, tail.count
    if not fit.fitted.any():
        return plain, fit
    ratio = n / (count * (1.0 - plain.level))
    xi, beta = (np.where(fit.fitted, x, y) for x, y in ((fit.index, 0.1), (fit.scale, 1.0)))
    quantile, shortfall = beyond_threshold(xi, beta, ratio)
    quantile_error, shortfall_error = _errors(tail, fit.threshold, xi, beta, n, ratio, usable(dependence, count))
    reliable = np.where(fit.fitted, (xi < HEAVY_TAIL) & (n >= FEWEST), plain.reliable)
    return replace(plain, value_at_risk=np.where(fit.fitted, fit.threshold + quantile, plain.value_at_risk),
                   value_at_risk_standard_error=np.where(fit.fitted, quantile_error, plain.value_at_risk_standard_error),
                   expected_shortfall=np.where(fit.fitted, fit.threshold + shortfall, plain.expected_shortfall),
                   expected_shortfall_standard_error=np.where(fit.fitted, shortfall_error, plain.expected_shortfall_standard_error),
                   reliable=reliable, error_formula=f"{ERROR_FORMULA} ({dependence})"), fit


def fitted_weights(tail: TailState, horizon: int, level: float, share: float, quantile: bool) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.float64]]:
    """What the fitted ES (VaR where `quantile`) of every row weighs, laid out as `tail_weights`: minus its derivative in the loss of each scenario, of a row without a law those of the plain figure.

    With D0, D1 the derivatives of ES - u in a0 and a1 and b_i = 1 - p of the i-th worst: D0 / n + D1 b_i / n of an excess, 1 - D0 - D1 mean b of the threshold; they add up to 1.
    """
    from upm_gpu.risk.tail import quantile_weights, tail_weights

    one = replace(tail, pnl=tail.pnl[horizon : horizon + 1], scenario=tail.scenario[horizon : horizon + 1], block_sums=tail.block_sums[:, horizon : horizon + 1])
    fit = fit_excesses(one, share)
    n, sound = fit.excesses, fit.fitted[0]
    first, plain_scenario, plain_weight = quantile_weights(one, 0, level) if quantile else tail_weights(one, 0, level)
    xi, beta = np.where(sound, fit.index[0], 0.1), np.where(sound, fit.scale[0], 1.0)
    d0, d1 = _slopes(beta / (1.0 - xi), beta * (0.5 / (2.0 - xi)), n / (tail.count * (1.0 - level)))[0 if quantile else 1]
    beyond = (np.arange(1, n + 1) - 0.65) / max(n, 1)
    weight = np.empty((len(xi), n + 1))
    weight[:, :n] = (d0[:, None] + d1[:, None] * beyond) / max(n, 1)
    weight[:, n] = 1.0 - np.sum(weight[:, :n], axis=1)
    size = np.where(sound, n + 1, np.diff(first))
    begin = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    scenario, found = np.empty(begin[-1], np.uint32), np.empty(begin[-1])
    for r in range(len(xi)):
        own = slice(begin[r], begin[r + 1])
        if sound[r]:
            order = np.argsort(one.scenario[0, r, : n + 1], kind="stable")
            scenario[own], found[own] = one.scenario[0, r, order], -weight[r, order]
        else:
            scenario[own], found[own] = plain_scenario[first[r] : first[r + 1]], plain_weight[first[r] : first[r + 1]]
    return begin, scenario, found


def _errors(tail: TailState, threshold: NDArray[np.float64], xi: NDArray[np.float64], beta: NDArray[np.float64], n: int, ratio: float,
            dependence: Dependence) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard errors (H, R) of (VaR, ES): the influence values of the module's docstring, their variance as that of any mean."""
    shape, share = threshold.shape, n / tail.count
    a0, a1 = beta / (1.0 - xi), beta * (0.5 / (2.0 - xi))  # the moments of the fitted law
    slopes = [[d.ravel() for d in pair] for pair in _slopes(a0, a1, ratio)]
    pnl, scenario = tail.pnl.reshape(-1, tail.pnl.shape[-1]), tail.scenario.reshape(-1, tail.scenario.shape[-1])
    u, index, scale = (a.ravel()[:, None] for a in (threshold, xi, beta))
    found = np.empty((2, len(u)))
    rows = max(1, PIECE // max(n, 1))
    for start in range(0, len(u), rows):
        part = slice(start, start + rows)
        x, b, y = index[part], scale[part], 0.0 - pnl[part, :n] - u[part]
        small = np.abs(x) < SMALL_INDEX
        safe = np.where(small, 1.0, x)
        inner = np.maximum(1.0 + safe * y / b, 1e-300)
        survived = np.where(small, np.exp(-y / b), inner ** (1.0 - 1.0 / safe))  # 0 beyond the end of the law where xi < 0
        first = (y - b) / share
        second = b / (1.0 - x) * (1.0 - survived) / share - b / (2.0 * share)
        for i, (d0, d1) in enumerate(slopes):
            value = b / share + d0[part, None] * first + d1[part, None] * second
            found[i, part] = np.sqrt(variance_of_mean(value, scenario[part, :n], tail.count, dependence))
    return found[0].reshape(shape), found[1].reshape(shape)


def _slopes(a0: NDArray[np.float64], a1: NDArray[np.float64], ratio: float) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Derivatives of VaR - u and ES - u in (a0, a1), by central differences: four evaluations of a smooth closed form, relative step 1e-5."""
    step = 1e-5
    up0, down0 = (beyond_threshold(*law_of(a0 * (1.0 + e), a1), ratio) for e in (step, -step))
    up1, down1 = (beyond_threshold(*law_of(a0, a1 * (1.0 + e)), ratio) for e in (step, -step))
    return [((up0[i] - down0[i]) / (2.0 * step * a0), (up1[i] - down1[i]) / (2.0 * step * a1)) for i in (0, 1)]
