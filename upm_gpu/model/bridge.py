"""A Brownian bridge inside one base step, addressed by time: how a date between two steps gets its own draw.

B is a Brownian path over the step with B(0) = 0 and B(1) = the step's own normal. Levy's midpoint construction adds one
node a level, B((a + b) / 2) = (B(a) + B(b)) / 2 + sqrt(b - a) / 2 n; after eight levels what remains inside an interval
of 1/256 of the step is one draw addressed by the absolute second of the date. So the value at a date is a function of
the date alone: another date never moves it. Two dates inside one interval of 1/256 step are conditionally independent
given its ends (5.6 minutes of a daily step); each alone, and each jointly with any date elsewhere, has the exact law.

P. Levy, Processus stochastiques et mouvement brownien (1948); Glasserman, Monte Carlo Methods in Financial
Engineering (2003), section 3.1. Verified by the covariance min(s, t) of all pairs of dyadic times and by sampling.
"""

from __future__ import annotations

from math import sqrt

from upm_gpu.rng.streams import BRIDGE, BRIDGE_END, FACTOR

LEVELS = 8
NODES = 1 << LEVELS
"""heap indices a step: node 1 is the middle of the step, node i has children 2 i and 2 i + 1"""

Term = tuple[int, int, float]
"""(internal stream, step word, weight)"""


def bridge_terms(step: int, fraction: float, seconds: int) -> list[Term]:
    """B(fraction) / sqrt(fraction) as a weighted sum of independent normals, 0 < fraction < 1; squares sum to 1.

    Ordered: the step's own normal, the nodes from the coarsest level down, the draw below the finest level.
    """
    low, high, heap = 0.0, 1.0, 1
    at_low: dict[tuple[int, int], float] = {}
    at_high: dict[tuple[int, int], float] = {(FACTOR, step): 1.0}
    value: dict[tuple[int, int], float] | None = None
    for _ in range(LEVELS):
        middle = 0.5 * (low + high)
        at_middle = _mix(at_low, 0.5, at_high, 0.5)
        at_middle[(BRIDGE, step * NODES + heap)] = 0.5 * sqrt(high - low)
        if fraction == middle:
            value = at_middle
            break
        if fraction < middle:
            high, at_high, heap = middle, at_middle, 2 * heap
        else:
            low, at_low, heap = middle, at_middle, 2 * heap + 1
    if value is None:
        part = (fraction - low) / (high - low)
        value = _mix(at_low, 1.0 - part, at_high, part)
        value[(BRIDGE_END, seconds)] = sqrt((fraction - low) * (high - fraction) / (high - low))
    root = sqrt(fraction)
    return [(stream, word, weight / root) for (stream, word), weight in value.items() if weight > 0.0]


def _mix(a: dict[tuple[int, int], float], weight_a: float, b: dict[tuple[int, int], float], weight_b: float) -> dict[tuple[int, int], float]:
    """weight_a a + weight_b b, the older addresses first."""
    older, newer = (a, b) if len(a) >= len(b) else (b, a)
    result = dict.fromkeys([*older, *newer], 0.0)
    for values, weight in ((a, weight_a), (b, weight_b)):
        for address, x in values.items():
            result[address] += weight * x
    return result
