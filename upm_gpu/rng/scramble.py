"""Scrambled Sobol points as a function of their address: nested uniform (Owen) scrambling, or a digital shift.

A coordinate of point i < 2^32 has at most 32 leading bits, so the nested scrambling acts on a 32-bit word x: bit b of the
result is bit b of x, flipped by a hash of the bits before it. The hash is of the kind of Laine and Karras ("Stratified
sampling for stochastic transparency", EGSR 2011; Burley, "Practical hash-based Owen scrambling", JCGT 9, 2020): on the
reversed word every step (add, multiply by an odd number, xor with an even multiple) carries only from low bits to high ones. Two
rounds, each with a keyed addition and a keyed multiplication; the four key words are Philox of (dimension, scrambling).
Below the leading 32 bits an Owen scrambling is a fresh draw for every point: 20 bits of a finaliser of the result.
So a point has 52 bits, each point is uniform over the keys, and the first b^m points of every scrambling are a net where those of
the plain sequence are. Verified: elementary intervals, uniformity over keys, Owen's gain against plain draws, equal bits on all backends.

All words here are bit-reversed until the last step, direction numbers too: xor does not mind, and one reversal a draw is saved.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upm_gpu.rng.normal import uniform_from_words
from upm_gpu.rng.philox import philox4x32
from upm_gpu.rng.sobol import BITS, direction_numbers
from upm_gpu.rng.streams import SCRAMBLING, key_words, stream_word

SCRAMBLINGS = 16
"""independent scramblings of a run: scenario s is point s div 16 of scrambling s mod 16"""
POINT_BITS = 28
"""points a scrambling: 2^32 scenarios in 16 scramblings"""
EVEN = (0x3D20ADEA, 0x05526C56, 0x53A22864)
"""even multipliers of Vegdahl, "Building a better LK hash" (2021), chosen for avalanche towards high bits"""

Words = NDArray[np.uint32]


def reverse_bits(x: Words) -> Words:
    """The 32 bits in opposite order.

    >>> hex(int(reverse_bits(np.uint32(1))))
    '0x80000000'
    """
    x = np.asarray(x, np.uint32)
    for shift, mask in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF)):
        x = (x >> np.uint32(shift)) & np.uint32(mask) | (x & np.uint32(mask)) << np.uint32(shift)
    return x >> np.uint32(16) | x << np.uint32(16)


def nested_hash(x: Words, key: Words) -> Words:
    """Owen scrambling of reversed words x (...) under keys (..., 4): a bijection in which bit b depends on bits 0 to b only."""
    a, b, c = (np.uint32(e) for e in EVEN)
    one = np.uint32(1)
    with np.errstate(over="ignore"):
        x = x ^ x * a
        x = x + key[..., 0]
        x = x * (key[..., 1] | one)
        x = x ^ x * b
        x = x ^ x * c
        x = x + key[..., 2]
        x = x * (key[..., 3] | one)
        x = x ^ x * b
        return x ^ x * c


def low_word(x: Words, key: Words) -> Words:
    """What stands below the leading 32 bits: a finaliser (MurmurHash3) of the scrambled word and the last key word."""
    with np.errstate(over="ignore"):
        x = x + key[..., 3]
        x = (x ^ x >> np.uint32(16)) * np.uint32(0x85EBCA6B)
        x = (x ^ x >> np.uint32(13)) * np.uint32(0xC2B2AE35)
        return x ^ x >> np.uint32(16)


def scramble_keys(seed: int, stream: int, dimensions: int) -> Words:
    """Key words (dimensions, 4, SCRAMBLINGS): Philox at counter (dimension, scrambling, 0, word)."""
    counter = np.zeros((dimensions, SCRAMBLINGS, 4), np.uint32)
    counter[..., 0] = np.arange(dimensions, dtype=np.uint32)[:, None]
    counter[..., 1] = np.arange(SCRAMBLINGS, dtype=np.uint32)
    counter[..., 3] = stream_word(stream, SCRAMBLING)
    return np.ascontiguousarray(np.moveaxis(philox4x32(counter, key_words(seed)), 2, 1))


def reversed_directions(dimensions: int) -> Words:
    """Direction numbers (dimensions, POINT_BITS), their leading 32 bits reversed: number j has its highest set bit at j or below."""
    leading = (direction_numbers(dimensions)[:, :POINT_BITS] >> np.uint64(BITS - 32)).astype(np.uint32)
    return np.ascontiguousarray(reverse_bits(leading))


def coordinate(points: Words, directions: Words) -> Words:
    """Reversed coordinates of points (...) in one dimension, directions (POINT_BITS,): xor over the bits of the point's Gray code."""
    points = np.asarray(points, np.uint32)
    gray = points ^ points >> np.uint32(1)
    x = np.zeros(points.shape, np.uint32)
    for j, direction in enumerate(directions):
        x ^= (gray >> np.uint32(j) & np.uint32(1)) * direction
    return x


def scrambled_uniform(scenarios: Words, directions: Words, keys: Words, owen: bool = True) -> NDArray[np.float64]:
    """Uniforms of scenarios (S,) in one dimension: directions (POINT_BITS,), keys (4, SCRAMBLINGS); never 0 or 1.

    `owen` False is the digital shift: the point xor a key, the same for all points of a scrambling.
    """
    key = keys[:, scenarios % SCRAMBLINGS].T
    x = coordinate(scenarios // SCRAMBLINGS, directions)
    if not owen:
        return uniform_from_words(key[..., 1], reverse_bits(x ^ key[..., 0]))
    leading = reverse_bits(nested_hash(x, key))
    return uniform_from_words(low_word(leading, key), leading)
