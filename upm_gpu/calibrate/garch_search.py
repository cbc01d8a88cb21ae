"""The search for the largest likelihood of a GARCH, and the errors there: coordinates in which every point is a stationary model, Newton steps, central differences. What it promises stands in `garch_estimate.py`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.garch_likelihood import (
    KEYS,
    LEAST_DEGREES,
    MOST_DEGREES,
    Distribution,
    Kind,
    Mean,
    contributions,
)
from upm_gpu.errors import CalibrationError
from upm_gpu.model.recursion import Garch

MOST_SKEWED = 0.99
MOST_PERSISTENT = 0.999999
"""so near to 1 that the log-likelihood is that of 1 to three digits, and still a stationary model"""
NEAR_BOUND = 1e-5
"""a share, or a distance to the largest persistence, so small is the bound itself: the logit never reaches it"""
FLATTEST = 1e-3
"""of a curvature, in parameters whose own is 1"""
CONVERGED = 1e-4
"""gain in log-likelihood still promised by a Newton step: a hundredth of what moves a parameter by a seventh of its standard error"""


class Search:
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


def newton(search: Search, theta: dict[str, float]) -> tuple[dict[str, float], float]:
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


def standard_errors(search: Search, theta: dict[str, float], free: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Robust and Hessian standard errors of the free parameters; NaN where the Hessian has no inverse that is positive."""
    nothing = np.full(len(free), np.nan)
    at = np.array([theta[k] for k in free])
    scores, curvature = _score_and_curvature(lambda v: search.terms(theta | dict(zip(free, v.tolist(), strict=True))), at, _steps(theta, free))
    size = np.sqrt(np.abs(np.diag(curvature)))
    if not np.all(np.isfinite(curvature)) or not np.all(size > 0.0) or np.max(np.linalg.eigvalsh(curvature / np.outer(size, size))) > -1e-6:
        return nothing, nothing
    inverse = np.linalg.inv(-curvature)
    return np.sqrt(np.diag(inverse @ (scores.T @ scores) @ inverse)), np.sqrt(np.diag(inverse))
