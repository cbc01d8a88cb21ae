"""GARCH(1,1) and GJR-GARCH(1,1) of one series by maximum likelihood of all parameters together, with standard errors.

r_t = mu + e_t, e_t = sqrt(h_t) z_t, h_t of `model/recursion.py` (benchmark start: h_1 and the presample e^2 the mean of the squared
residuals), z_t of mean 0 and variance 1: normal, Student t (nu), or Hansen's skewed t (nu, skewness). All laws in one likelihood,

  log L = sum_t log f(z_t) - 1/2 log h_t,   Gaussian f: quasi-maximum likelihood whatever the law.

The search runs over logarithms and logits in which every point is a stationary model: alpha = news (1 - s), alpha + gamma = news (1 + s),
|s| < 1, so that gamma may have either sign and no variance is negative. Newton steps in the parameters themselves end it; the remaining
gain in log L that they promise, g' (-H)^-1 g / 2, is the measure of convergence, without a scale.

Standard errors, both from central differences of log f: `hessian` (-H)^-1, and `robust` (-H)^-1 (sum s_t s_t') (-H)^-1 of T. Bollerslev, J. Wooldridge,
Econometric Reviews 11 (1992), consistent where the law is not the one assumed. A parameter at a bound has none and is held while the others are measured.

Verified by `tests/known_answers/test_garch_estimate.py`: the mark-pound benchmark with both published errors, log-likelihoods and fits of the library arch,
coefficients of simulated series.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.garch_fit import MIN_RETURNS
from upm_gpu.errors import CalibrationError
from upm_gpu.model.innovations import hansen
from upm_gpu.model.recursion import Garch, variances

Kind = Literal["garch", "gjr"]
Mean = Literal["zero", "constant"]
Distribution = Literal["normal", "student_t", "skewed_t"]
KINDS: tuple[str, ...] = ("garch", "gjr")
MEANS: tuple[str, ...] = ("zero", "constant")
DISTRIBUTIONS: tuple[str, ...] = ("normal", "student_t", "skewed_t")
ERRORS: tuple[str, ...] = ("robust", "hessian")
KEYS = ("mu", "omega", "alpha", "beta", "gamma", "nu", "skewness")
"""in the order of the parameter file"""
LEAST_DEGREES, MOST_DEGREES = 2.05, 500.0
"""at 2 there is no variance to scale to; beyond 500 a t law is a normal one to four digits of every quantile in use"""
MOST_SKEWED = 0.99
MOST_PERSISTENT = 0.999999
"""so near to 1 that the log-likelihood is that of 1 to three digits, and still a stationary model"""
NEAR_BOUND = 1e-5
"""a share, or a distance to the largest persistence, so small is the bound itself: the logit never reaches it"""
FLATTEST = 1e-3
"""of a curvature, in parameters whose own is 1"""
CONVERGED = 1e-4
"""gain in log-likelihood still promised by a Newton step: a hundredth of what moves a parameter by a seventh of its standard error"""


@dataclass(frozen=True)
class Estimate:
    """What the likelihood of one series says, in the unit of its returns."""

    kind: Kind
    mean: Mean
    distribution: Distribution
    model: Garch
    nu: float
    """infinite for normal"""
    skewness: float
    observations: int
    next_variance: float
    """of the step after the last return"""
    robust: dict[str, float] = field(default_factory=dict)
    """standard errors of the estimated parameters; NaN at a bound"""
    hessian: dict[str, float] = field(default_factory=dict)
    bounds: tuple[str, ...] = ()
    """what was met: alpha, alpha + gamma, beta, persistence, nu, skewness"""
    warnings: tuple[str, ...] = ()

    def value(self, key: str) -> float:
        """The parameter of a name of `KEYS`."""
        return float(getattr(self if key in ("nu", "skewness") else self.model, key))


def log_density(z: NDArray[np.float64], distribution: Distribution, nu: float, skewness: float) -> NDArray[np.float64]:
    """Logarithm of the density of a law of mean 0 and variance 1 at z."""
    from scipy.special import gammaln

    if distribution == "normal":
        return -0.5 * (np.log(2.0 * np.pi) + z * z)
    if distribution == "student_t" or skewness == 0.0:
        constant = float(gammaln(0.5 * (nu + 1.0)) - gammaln(0.5 * nu) - 0.5 * np.log(np.pi * (nu - 2.0)))
        return constant - 0.5 * (nu + 1.0) * np.log1p(z * z / (nu - 2.0))
    a, b, c = hansen(nu, skewness)
    s = (b * z + a) / np.where(z < -a / b, 1.0 - skewness, 1.0 + skewness)
    return np.log(b * c) - 0.5 * (nu + 1.0) * np.log1p(s * s / (nu - 2.0))


def contributions(returns: NDArray[np.float64], model: Garch, distribution: Distribution = "normal", nu: float = float("inf"),
                  skewness: float = 0.0) -> NDArray[np.float64]:
    """(T,) log-likelihood of every return given those before it; NaN where a variance is not positive."""
    h = variances(returns, model)[:-1]
    if not np.min(h) > 0.0:
        return np.full(len(returns), np.nan)
    return log_density((returns - model.mu) / np.sqrt(h), distribution, nu, skewness) - 0.5 * np.log(h)


def estimate(returns: NDArray[np.float64], kind: Kind, mean: Mean = "zero", distribution: Distribution = "normal", name: str = "the series") -> Estimate:
    """Fit a series (T,). Raises `CalibrationError` UPM-CA-122 (too few), 123 (constant), 124 (no maximum), 180 (not converged), 181 (an unknown choice)."""
    for what, value, known in (("model", kind, KINDS), ("mean", mean, MEANS), ("distribution", distribution, DISTRIBUTIONS)):
        if value not in known:
            raise CalibrationError("UPM-CA-181", f"{what} {value!r} of the GARCH fit is not known. Use one of {', '.join(known)}.")
    if len(returns) < MIN_RETURNS:
        raise CalibrationError("UPM-CA-122", f"GARCH of {name}: {len(returns)} returns, at least {MIN_RETURNS} are needed. Lengthen the history or use the ewma filter.")
    scale = float(np.sqrt(np.mean((returns - (np.mean(returns) if mean == "constant" else 0.0)) ** 2)))
    # a rounding of the mean is no change
    if not scale > 1e-12 * float(np.max(np.abs(returns), initial=0.0)):
        raise CalibrationError("UPM-CA-123", f"GARCH of {name}: no return differs from the others. A constant series says nothing about risk; correct it or leave it out.")
    scaled = returns / scale
    search = _Search(scaled, kind, mean, distribution)
    start = search.best(name)
    search.met = search.bounds(start)
    theta, gain = _newton(search, search.natural(start))
    bounds, free = search.met, search.free
    held = [k for k in search.keys if k not in free]
    if not gain <= CONVERGED:
        raise CalibrationError("UPM-CA-180", f"GARCH of {name}: the search ended where the log-likelihood could still rise by {gain:.3g} (at most {CONVERGED:g} is taken for converged). "
                               "Look for errors in the series, take a longer one, or a simpler model, mean or distribution.")
    warnings = [f"UPM-CA-182 GARCH of {name}: {_BOUND_TEXT[b]}" for b in bounds]
    robust, hessian = _errors(search, theta, free)
    if not all(np.isfinite(v) for v in robust):
        warnings.append(f"UPM-CA-183 GARCH of {name}: the likelihood is flat in some direction at its maximum, so there are no standard errors. Take a longer series or a simpler model.")
    unit = {"mu": scale, "omega": scale * scale}
    model, nu, skewness = search.model(theta)
    total = float(np.sum(search.terms(theta))) - len(returns) * float(np.log(scale))
    made = Garch(model.omega * scale * scale, model.alpha, model.beta, model.gamma, model.mu * scale, total)
    robust_of, hessian_of = ({k: float(v) * unit.get(k, 1.0) for k, v in zip(free, values, strict=True)} | dict.fromkeys(held, float("nan")) for values in (robust, hessian))
    return Estimate(kind, mean, distribution, made, nu, skewness, len(returns), float(variances(returns, made)[-1]),
                    {k: robust_of[k] for k in KEYS if k in robust_of}, {k: hessian_of[k] for k in KEYS if k in hessian_of}, bounds, tuple(warnings))


_BOUND_TEXT = {
    "alpha": "alpha is at its bound 0: rises and falls of this size leave no trace in the variance (and beta is then hardly known)",
    "alpha + gamma": "alpha + gamma is at its bound 0: falls leave no trace in the variance",
    "beta": "beta is at its bound 0",
    "persistence": f"alpha + gamma / 2 + beta is at its bound {MOST_PERSISTENT}: the likelihood rises towards 1, where there is no long-run variance. The file is usable for a few days ahead; "
                   "the ewma filter says the same with less",
    "nu": f"nu is at a bound ({LEAST_DEGREES:g} or {MOST_DEGREES:g}): take distribution normal where it is the upper one, look for wrong closes where it is the lower",
    "skewness": f"skewness is at its bound {MOST_SKEWED:g}: look for wrong closes",
}


class _Search:
    """The parameters of one fit: free coordinates x, and natural ones theta by name, for returns of unit variance."""

    def __init__(self, returns: NDArray[np.float64], kind: Kind, mean: Mean, distribution: Distribution) -> None:
        self.returns, self.kind, self.mean, self.distribution = returns, kind, mean, distribution
        asked = {"mu": mean == "constant", "gamma": kind == "gjr", "nu": distribution != "normal", "skewness": distribution == "skewed_t"}
        self.keys = [k for k in KEYS if asked.get(k, True)]
        self.met: tuple[str, ...] = ()

    def natural(self, x: NDArray[np.float64]) -> dict[str, float]:
        """theta of free coordinates (level, persistence, share of news, [mu], [lean], [nu], [skewness])."""
        value = dict(zip(self._coordinates(), np.clip(x, -30.0, 30.0).tolist(), strict=True))
        persistence = MOST_PERSISTENT * _logistic(value["persistence"])
        news = persistence * _logistic(value["share"])
        lean = float(np.tanh(value.get("lean", 0.0)))
        out = {"omega": float(np.exp(value["level"])) * (1.0 - persistence), "alpha": news * (1.0 - lean), "beta": persistence - news}
        if "lean" in value:
            out["gamma"] = 2.0 * news * lean
        if "mu" in value:
            out["mu"] = value["mu"]
        if "nu" in value:
            out["nu"] = LEAST_DEGREES + (MOST_DEGREES - LEAST_DEGREES) * _logistic(value["nu"])
        if "skewness" in value:
            out["skewness"] = MOST_SKEWED * float(np.tanh(value["skewness"]))
        return out

    def _coordinates(self) -> list[str]:
        given = {"mu": "mu", "gamma": "lean", "nu": "nu", "skewness": "skewness"}
        return ["level", "persistence", "share", *(v for k, v in given.items() if k in self.keys)]

    def model(self, theta: dict[str, float]) -> tuple[Garch, float, float]:
        """Recursion, nu, skewness."""
        theta = self.tied(theta)
        made = Garch(theta["omega"], theta["alpha"], theta["beta"], theta.get("gamma", 0.0), theta.get("mu", 0.0))
        return made, theta.get("nu", float("inf")), theta.get("skewness", 0.0)

    def terms(self, theta: dict[str, float]) -> NDArray[np.float64]:
        """(T,) log-likelihood of each return; NaN outside the domain."""
        made, nu, skewness = self.model(theta)
        if not nu > 2.0 or not abs(skewness) < 1.0:
            return np.full(len(self.returns), np.nan)
        return contributions(self.returns, made, self.distribution, nu, skewness)

    def best(self, name: str) -> NDArray[np.float64]:
        """Free coordinates of the largest likelihood found from three starts."""
        from scipy.optimize import minimize

        def loss(x: NDArray[np.float64]) -> float:
            value = -float(np.mean(self.terms(self.natural(x))))
            return value if np.isfinite(value) else 1e6

        start = {"level": 0.0, "mu": float(np.mean(self.returns)), "lean": 0.1, "nu": float(np.log((6.0 - LEAST_DEGREES) / (MOST_DEGREES - 6.0))), "skewness": 0.0}
        found = list[tuple[float, int, NDArray[np.float64]]]()
        for persistence, share in ((0.95, 0.1), (0.985, 0.05), (0.8, 0.2)):
            first = start | {"persistence": float(np.log(persistence / (MOST_PERSISTENT - persistence))), "share": float(np.log(share / (1.0 - share)))}
            done = minimize(loss, np.array([first[c] for c in self._coordinates()]), method="BFGS", options={"gtol": 1e-5, "maxiter": 400})
            found.append((float(done.fun), len(found), done.x))
        value, _, x = min(found)
        if not np.isfinite(value) or value >= 1e5:
            raise CalibrationError("UPM-CA-124", f"GARCH of {name}: the likelihood has no maximum. Look for errors in the series, or use the ewma filter.")
        return x

    def bounds(self, x: NDArray[np.float64]) -> tuple[str, ...]:
        """Which bounds the point has run to."""
        theta = self.natural(x)
        gamma = theta.get("gamma", 0.0)
        met = {"alpha": theta["alpha"] < NEAR_BOUND, "alpha + gamma": "gamma" in theta and theta["alpha"] + gamma < NEAR_BOUND, "beta": theta["beta"] < NEAR_BOUND,
               "persistence": theta["alpha"] + 0.5 * gamma + theta["beta"] > MOST_PERSISTENT - NEAR_BOUND}
        nu, skewness = theta.get("nu"), theta.get("skewness")
        met["nu"] = nu is not None and (nu < LEAST_DEGREES + 1e-3 or nu > 0.99 * MOST_DEGREES)
        met["skewness"] = skewness is not None and abs(skewness) > MOST_SKEWED - 1e-3
        return tuple(k for k, v in met.items() if v)

    def tied(self, theta: dict[str, float]) -> dict[str, float]:
        """theta on the bounds met: what a bound fixes follows from the others."""
        out = dict(theta)
        if "alpha" in self.met:
            out["alpha"] = 0.0
        if "alpha + gamma" in self.met:
            out["gamma"] = -out["alpha"]
        if "beta" in self.met:
            out["beta"] = 0.0
        if "persistence" in self.met:
            out["beta"] = MOST_PERSISTENT - out["alpha"] - 0.5 * out.get("gamma", 0.0)
        return out

    def working(self, theta: dict[str, float], long_run: bool) -> dict[str, float]:
        """Coordinates of the Newton steps: the persistence in the place of beta, and in that of omega the logarithm of the long-run variance or of omega itself.
        The first is known where the variance hardly moves, the second where it hardly returns; the other is then a narrow bent valley."""
        persistence = theta["alpha"] + 0.5 * theta.get("gamma", 0.0) + theta["beta"]
        level = float(np.log(theta["omega"]) - (np.log(1.0 - persistence) if long_run else 0.0))
        return {k: v for k, v in theta.items() if k not in ("omega", "beta")} | {"level": level, "persistence": persistence}

    def theta_of(self, working: dict[str, float], long_run: bool) -> dict[str, float]:
        """The inverse of `working`, on the bounds met."""
        w = dict(working)
        if "alpha" in self.met:
            w["alpha"] = 0.0
        if "alpha + gamma" in self.met:
            w["gamma"] = -w["alpha"]
        news = w["alpha"] + 0.5 * w.get("gamma", 0.0)
        if "beta" in self.met:
            w["persistence"] = news
        if "persistence" in self.met:
            w["persistence"] = MOST_PERSISTENT
        level, persistence = w.pop("level"), w.pop("persistence")
        return w | {"omega": float(np.exp(min(level, 300.0))) * (1.0 - persistence if long_run else 1.0), "beta": persistence - news}

    @property
    def free(self) -> list[str]:
        """The parameters that the bounds met do not fix."""
        of = {"alpha": "alpha", "alpha + gamma": "gamma", "beta": "beta", "persistence": "beta", "nu": "nu", "skewness": "skewness"}
        return [k for k in self.keys if k not in {of[b] for b in self.met}]

    @property
    def free_working(self) -> list[str]:
        """The same of the working coordinates."""
        return [{"omega": "level", "beta": "persistence"}.get(k, k) for k in self.free]

    def room(self, at: dict[str, float], step: dict[str, float]) -> tuple[float, str]:
        """The part of a step in working coordinates, at most 1, that stays in the domain, and the bound it ends on ("": none)."""
        def slack(w: dict[str, float]) -> dict[str, float]:
            gamma = w.get("gamma", 0.0)
            out = {"alpha": w["alpha"], "beta": w["persistence"] - w["alpha"] - 0.5 * gamma, "persistence": MOST_PERSISTENT - w["persistence"]}
            if "gamma" in w:
                out["alpha + gamma"] = w["alpha"] + gamma
            if "nu" in w:
                out |= {"nu": w["nu"] - LEAST_DEGREES, "nu ": MOST_DEGREES - w["nu"]}
            if "skewness" in w:
                out |= {"skewness": MOST_SKEWED - w["skewness"], "skewness ": MOST_SKEWED + w["skewness"]}
            return out

        length, edge = 1.0, ""
        here, there = slack(at), slack({k: v + step.get(k, 0.0) for k, v in at.items()})
        for bound, after in there.items():
            # every slack is linear in the step; one already met stays at rounding
            if after < 0.0 and bound.strip() not in self.met and here[bound] < length * (here[bound] - after):
                length, edge = max(here[bound], 0.0) / (here[bound] - after), bound.strip()
        return length, edge


def _logistic(x: float) -> float:
    return float(1.0 / (1.0 + np.exp(-x)))


def _steps(theta: dict[str, float], free: list[str]) -> NDArray[np.float64]:
    """Widths of the central differences: a five-thousandth of a parameter, or of a deviation of the returns where that is near 0."""
    floor = {"mu": 0.1, "omega": 1e-4, "alpha": 1e-3, "gamma": 1e-2, "beta": 1e-2, "nu": 0.1, "skewness": 0.1, "level": 1.0, "persistence": 1e-2}
    width = np.array([2e-4 * max(abs(theta[k]), floor[k]) for k in free])
    for i, k in enumerate(free):
        if k == "nu":
            width[i] = min(width[i], 0.2 * (theta["nu"] - 2.0))
        if k in ("omega", "alpha", "beta") and theta[k] > 0.0:
            width[i] = min(width[i], 0.2 * theta[k])
        if k in ("persistence", "beta"):  # near 1 the likelihood bends over the distance to 1
            rest = 1.0 - (theta[k] if k == "persistence" else theta["alpha"] + 0.5 * theta.get("gamma", 0.0) + theta["beta"])
            width[i] = min(width[i], max(0.01 * rest, 1e-7))
    return width


def _score_and_curvature(terms: Callable[[NDArray[np.float64]], NDArray[np.float64]], at: NDArray[np.float64],
                         width: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(T, P) scores of every return and the (P, P) Hessian of their sum, by central differences."""
    size = len(at)
    step = np.diag(width)
    up, down = [terms(at + step[i]) for i in range(size)], [terms(at - step[i]) for i in range(size)]
    centre = float(np.sum(terms(at)))
    scores = np.stack([(u - d) / (2.0 * w) for u, d, w in zip(up, down, width, strict=True)], axis=1)
    curvature = np.empty((size, size))
    for i in range(size):
        curvature[i, i] = (float(np.sum(up[i])) - 2.0 * centre + float(np.sum(down[i]))) / width[i] ** 2
        for j in range(i):
            corners = [float(np.sum(terms(at + a * step[i] + b * step[j]))) * a * b for a in (1.0, -1.0) for b in (1.0, -1.0)]
            curvature[i, j] = curvature[j, i] = sum(corners) / (4.0 * width[i] * width[j])
    return scores, curvature


def _newton(search: _Search, theta: dict[str, float]) -> tuple[dict[str, float], float]:
    """theta after damped Newton steps in working coordinates, and the gain in log-likelihood still promised.

    The two kinds of coordinates take turns; the promise is the smaller of theirs. A step that would leave the domain ends on its edge, which joins `search.met`. Directions of curvature below `FLATTEST`, or of the wrong sign, are
    climbed as if they had that much.
    """
    theta = search.tied(theta)
    gains = [np.inf, np.inf]
    for number in range(60):
        long_run = number % 2 == 1
        at, free = search.working(theta, long_run), search.free_working

        def terms(v: NDArray[np.float64], at: dict[str, float] = at, free: list[str] = free, long_run: bool = long_run) -> NDArray[np.float64]:
            return search.terms(search.theta_of(at | dict(zip(free, v.tolist(), strict=True)), long_run))

        v = np.array([at[k] for k in free])
        scores, curvature = _score_and_curvature(terms, v, _steps(at, free))
        gradient = np.sum(scores, axis=0)
        if not np.all(np.isfinite(curvature)) or not np.all(np.isfinite(gradient)):
            gains[number % 2] = np.inf
            continue
        # a parameter known worse than to its own range is taken as known that well
        size = np.maximum(np.sqrt(np.abs(np.diag(curvature))), [1.0 / at[k] if k == "nu" else 1.0 for k in free])
        value, vector = np.linalg.eigh(curvature / np.outer(size, size))
        slope, bend = vector.T @ (gradient / size), np.maximum(np.abs(value), FLATTEST)
        step = vector @ (slope / bend) / size
        gains[number % 2] = 0.5 * float(np.sum(slope * slope / bend))
        if gains[number % 2] < 1e-9:
            break
        now = float(np.sum(terms(v)))
        length, edge = search.room(at, dict(zip(free, step.tolist(), strict=True)))
        for _ in range(12):
            if length == 0.0 or float(np.sum(terms(v + length * step))) > now:
                break
            length, edge = 0.5 * length, ""
        else:
            if min(gains) < CONVERGED:
                break
            continue
        at = at | dict(zip(free, (v + length * step).tolist(), strict=True))
        if edge:
            search.met = (*search.met, edge)
        theta = search.theta_of(at, long_run)
    return theta, min(gains)


def _errors(search: _Search, theta: dict[str, float], free: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Robust and Hessian standard errors of the free parameters; NaN where the Hessian has no inverse that is positive."""
    nothing = np.full(len(free), np.nan)
    at = np.array([theta[k] for k in free])
    scores, curvature = _score_and_curvature(lambda v: search.terms(theta | dict(zip(free, v.tolist(), strict=True))), at, _steps(theta, free))
    size = np.sqrt(np.abs(np.diag(curvature)))
    if not np.all(np.isfinite(curvature)) or not np.all(size > 0.0) or np.max(np.linalg.eigvalsh(curvature / np.outer(size, size))) > -1e-6:
        return nothing, nothing
    inverse = np.linalg.inv(-curvature)
    return np.sqrt(np.diag(inverse @ (scores.T @ scores) @ inverse)), np.sqrt(np.diag(inverse))
