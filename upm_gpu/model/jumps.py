"""Jumps by Poisson clocks: one market-wide clock that every state hears with its own loading, and a clock of each state's own.

Over a time t a clock rings N ~ Poisson(intensity t) times and moves its states by loading x (N mu + sigma W), W the sum of N independent
normals (R. C. Merton, "Option pricing when underlying stock returns are discontinuous", 1976, with a common shock). Nothing is rejected: N is the
inverse distribution function of one uniform by a table of thresholds, W = sqrt(N) Z given N.

A date inside a step: the jumps of the step are spread over it independently and uniformly, so the number in the left half of an interval
is binomial(N, 1/2) and W of the left is a Brownian bridge over the count. Eight halvings addressed by the interval, then one binomial(N, part) addressed by the second of
the date: exact in law at every date and jointly, and no date moves another (docs/design/0021-jumps-inside-a-step.md).

Thresholds reach from 0 to a count that a Poisson variable passes with probability below 2^-53, less than a uniform resolves, so nothing is cut off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from upm_gpu.errors import CalibrationError
from upm_gpu.model.bridge import LEVELS, NODES
from upm_gpu.model.legs import SECONDS_PER_DAY, Legs
from upm_gpu.rng.normal import normal_quantile, uniform_from_words
from upm_gpu.rng.philox import philox4x32
from upm_gpu.rng.streams import JUMP, JUMP_END, JUMP_SPLIT, key_words, stream_word
from upm_gpu.scenario.sets import Jumps

YEAR_DAYS = 365.0
MOST_JUMPS = 64
"""thresholds of a step: an intensity of about 16 jumps a step"""
NEVER = 2.0
"""a threshold above every uniform"""
GO_LEFT, TAKE_AND_GO_RIGHT, TAKE_AND_END = 0, 1, 2


@dataclass(frozen=True)
class JumpParameters:
    """Clocks over K states; intensities are jumps a year of 365 days, means and deviations those of one log jump."""

    systemic_intensity: float
    systemic_mean: float
    systemic_deviation: float
    systemic_loading: NDArray[np.float64]
    """(K,) what a state takes of a market-wide jump; 0: deaf to it"""
    own_intensity: NDArray[np.float64]
    own_mean: NDArray[np.float64]
    own_deviation: NDArray[np.float64]
    """(K,)"""


def no_jumps(states: int) -> JumpParameters:
    """Clocks that never ring."""
    zero = np.zeros(states)
    return JumpParameters(0.0, 0.0, 0.0, zero, zero, zero, zero)


def check_jumps(p: JumpParameters, names: tuple[str, ...]) -> None:
    """Raises `CalibrationError` UPM-CA-075 for a shape or a value outside its range."""
    for key in ("systemic_loading", "own_intensity", "own_mean", "own_deviation"):
        value = np.asarray(getattr(p, key), np.float64)
        if value.shape != (len(names),) or not np.all(np.isfinite(value)):
            raise CalibrationError("UPM-CA-075", f"{key} has shape {value.shape}; {len(names)} finite numbers are needed, one for each of {', '.join(names)}.")
        if key in ("own_intensity", "own_deviation") and value.min() < 0.0:
            raise CalibrationError("UPM-CA-075", f"{key} of {names[int(np.argmin(value))]} is {value.min():g}. Give 0 or more.")
    for key in ("systemic_intensity", "systemic_mean", "systemic_deviation"):
        one = float(getattr(p, key))
        if not np.isfinite(one) or (key != "systemic_mean" and one < 0.0):
            raise CalibrationError("UPM-CA-075", f"{key} is {one:g}. Give a finite number" + ("." if key == "systemic_mean" else " of at least 0."))


def growth(p: JumpParameters, price: NDArray[np.bool_], logarithmic: bool = False) -> NDArray[np.float64]:
    """(K,) a day: log E[exp X] / t of the jump part for prices, E[X] / t for the others; with `logarithmic` E[X] / t for all."""
    systemic, deviation = p.systemic_loading * p.systemic_mean, p.systemic_loading * p.systemic_deviation
    plain = p.systemic_intensity * systemic + p.own_intensity * p.own_mean
    with np.errstate(over="ignore", invalid="ignore"):
        exponential = p.systemic_intensity * np.expm1(systemic + 0.5 * deviation**2) + p.own_intensity * np.expm1(p.own_mean + 0.5 * p.own_deviation**2)
    rate = plain if logarithmic else np.where(price, exponential, plain)
    if not np.all(np.isfinite(rate)):
        raise CalibrationError("UPM-CA-075", "the expected price under the jumps overflows. Give smaller means, deviations or loadings.")
    return rate / YEAR_DAYS


def compile_jumps(p: JumpParameters, legs: Legs, dates: NDArray[np.float64], step_days: float, stream: int) -> Jumps | None:
    """The clocks that ring as arrays for every backend; None where none does. Addresses: 0 the systemic clock, 1 + k that of state k."""
    states = len(p.own_intensity)
    own = np.flatnonzero((p.own_intensity > 0.0) & ((p.own_mean != 0.0) | (p.own_deviation > 0.0)))
    shared = p.systemic_intensity > 0.0 and bool(np.any(p.systemic_loading != 0.0))
    clocks = [(0, p.systemic_intensity, p.systemic_mean, p.systemic_deviation)] if shared else []
    clocks += [(1 + int(k), float(p.own_intensity[k]), float(p.own_mean[k]), float(p.own_deviation[k])) for k in own]
    if not clocks:
        return None
    address, intensity, mean, deviation = (np.array(column) for column in zip(*clocks, strict=True))
    threshold = poisson_thresholds(intensity * step_days / YEAR_DAYS)
    most = threshold.shape[1]
    splits: list[tuple[int, int, int, int]] = []
    tables, first = [binomial_thresholds(0.5, most)], [0] * (int(legs.date_whole.max()) + 1)
    for d in np.flatnonzero(legs.date_leg >= 0):
        found, part = split_path(int(legs.date_whole[d]), float(legs.part[d]), round(float(dates[d]) * SECONDS_PER_DAY))
        if part > 0.0:
            tables.append(binomial_thresholds(part, most))
        splits += [(internal, word, side, 0 if internal == JUMP_SPLIT else len(tables) - 1) for internal, word, side in found]
        first.append(len(splits))
    own_clock = {int(k): i for i, k in enumerate(own, int(shared))}
    entries: list[list[tuple[int, float]]] = [[] for _ in range(states)]
    for k, heard in enumerate(entries):
        if shared and p.systemic_loading[k] != 0.0:
            heard.append((0, float(p.systemic_loading[k])))
        if k in own_clock:
            heard.append((own_clock[k], 1.0))
    flat = [e for each in entries for e in each]
    return Jumps(
        address=address.astype(np.uint32), mean=mean.astype(np.float64), deviation=deviation.astype(np.float64), threshold=threshold,
        stream=stream_word(stream, JUMP), leg_first_split=np.array(first, np.int32),
        split_stream=np.array([stream_word(stream, s[0]) for s in splits], np.uint32), split_step=np.array([s[1] for s in splits], np.uint32),
        split_side=np.array([s[2] for s in splits], np.int32), split_table=np.array([s[3] for s in splits], np.int32),
        split_threshold=np.stack(tables), first_entry=np.concatenate([[0], np.cumsum([len(e) for e in entries])]).astype(np.int32),
        entry_clock=np.array([c for c, _ in flat], np.int32), entry_loading=np.array([x for _, x in flat], np.float64))


def poisson_thresholds(mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """(C, M): P(N <= m), m = 0 to the first count that is passed with probability below 2^-53; padded with NEVER."""
    counts = np.arange(MOST_JUMPS + 1)
    beyond = special.pdtrc(counts, np.asarray(mean, np.float64)[:, None])
    needed = np.argmax(beyond < 2.0**-53, axis=1)
    if np.any(beyond[:, -1] >= 2.0**-53):
        raise CalibrationError("UPM-CA-076", f"{np.max(mean):.3g} jumps are expected in one base step; the table of counts ends at {MOST_JUMPS}. Use shorter base steps (or more "
                               "substeps), or a lower intensity.")
    most = max(1, int(needed.max()))
    table = special.pdtr(counts[:most], np.asarray(mean, np.float64)[:, None])
    return np.ascontiguousarray(np.where(counts[:most] < needed[:, None], table, NEVER))


def binomial_thresholds(part: float, most: int) -> NDArray[np.float64]:
    """(most + 1, most): row n is P(binomial(n, part) <= m) for m < n, padded with NEVER."""
    n, m = np.arange(most + 1)[:, None], np.arange(most)[None, :]
    return np.ascontiguousarray(np.where(m < n, special.bdtr(np.minimum(m, n), np.maximum(n, 1), part), NEVER))


def split_path(step: int, fraction: float, seconds: int) -> tuple[list[tuple[int, int, int]], float]:
    """(internal stream, step word, side) of each split from the whole step to the date, and the part of the finest interval, 0 where a halving hits the date."""
    low, high, heap = 0.0, 1.0, 1
    splits: list[tuple[int, int, int]] = []
    for _ in range(LEVELS):
        middle, word = 0.5 * (low + high), step * NODES + heap
        if fraction == middle:
            return [*splits, (JUMP_SPLIT, word, TAKE_AND_END)], 0.0
        left = fraction < middle
        splits.append((JUMP_SPLIT, word, GO_LEFT if left else TAKE_AND_GO_RIGHT))
        low, high, heap = (low, middle, 2 * heap) if left else (middle, high, 2 * heap + 1)
    return [*splits, (JUMP_END, seconds, TAKE_AND_END)], (fraction - low) / (high - low)


def reference_jumps(jumps: Jumps, seed: int, scenarios: NDArray[np.uint32], leg: int, leg_step: int) -> NDArray[np.float64]:
    """(C, S) log jump of every clock over a leg: the plain twin of `kernels/jumps.cuh`."""
    size = np.empty((len(jumps.address), scenarios.size))
    splits = range(int(jumps.leg_first_split[leg]), int(jumps.leg_first_split[leg + 1]))
    for c, address in enumerate(jumps.address):
        u1, u2 = two_uniforms(seed, scenarios, int(address), leg_step, jumps.stream)
        n = np.sum(u1[:, None] > jumps.threshold[c], axis=1)
        w = np.sqrt(n.astype(np.float64)) * normal_quantile(u2)
        if len(splits):
            taken, path = np.zeros_like(n), np.zeros(scenarios.size)
            for q in splits:
                u1, u2 = two_uniforms(seed, scenarios, int(address), int(jumps.split_step[q]), int(jumps.split_stream[q]))
                m = np.sum(u1[:, None] > jumps.split_threshold[jumps.split_table[q]][n], axis=1)
                some = np.maximum(n, 1).astype(np.float64)
                left = (m / some) * w + np.sqrt(m * (n - m) / some) * normal_quantile(u2)
                if jumps.split_side[q] == GO_LEFT:
                    n, w = m, left
                else:
                    taken, path, n, w = taken + m, path + left, n - m, w - left
            n, w = taken, path
        size[c] = n * jumps.mean[c] + jumps.deviation[c] * w
    return size


def add_jumps(jumps: Jumps, size: NDArray[np.float64], moves: NDArray[np.float64]) -> None:
    """moves (K, S) += loading x size of each state's clocks, in order."""
    for k in range(len(moves)):
        for e in range(int(jumps.first_entry[k]), int(jumps.first_entry[k + 1])):
            moves[k] += jumps.entry_loading[e] * size[jumps.entry_clock[e]]


def two_uniforms(seed: int, scenarios: NDArray[np.uint32], factor: int, step: int, word: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both uniforms of the addresses (scenarios, factor, step, word)."""
    counter = np.empty((*scenarios.shape, 4), np.uint32)
    counter[..., 0] = scenarios
    counter[..., 1:] = (factor, step, word)
    words = philox4x32(counter, key_words(seed))
    return uniform_from_words(words[..., 0], words[..., 1]), uniform_from_words(words[..., 2], words[..., 3])
