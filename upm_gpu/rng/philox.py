"""Counter-based generators in plain NumPy: a block of random words is a pure function of (counter, key).

Philox (multiply and xor) and Threefry (add, rotate, xor) of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as
easy as 1, 2, 3", SC11. The engine draws from Philox4x32 with 10 rounds; the other members are here because they share the
round functions and have published answers, which is how the shared parts are checked.

Words are little-word first as in Random123. Verified by the known-answer vectors of Random123 (7, 10, 13, 20 and 72
rounds, counters of zeros, ones and digits of pi) and by NumPy's own Philox4x64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MULTIPLIER_2X32 = 0xD256D193
MULTIPLIERS_4X32 = (0xD2511F53, 0xCD9E8D57)
MULTIPLIERS_4X64 = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL_32 = (0x9E3779B9, 0xBB67AE85)
"""golden ratio and sqrt(3) - 1: what a key word grows by each round"""
WEYL_64 = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
THREEFRY_PARITY_32 = 0x1BD11BDA
THREEFRY_ROTATIONS_4X32 = ((10, 26), (11, 21), (13, 27), (23, 5), (6, 20), (17, 11), (25, 10), (18, 20))


Multiply = Callable[[int, NDArray], tuple[NDArray, NDArray]]


def _multiply_32(a: int, b: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """High and low word of a 32 x 32 bit product."""
    product = np.uint64(a) * b.astype(np.uint64)
    return (product >> np.uint64(32)).astype(np.uint32), product.astype(np.uint32)


def _multiply_64(a: int, b: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """High and low word of a 64 x 64 bit product, from four 32-bit products."""
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    a_high, a_low = np.uint64(a >> 32), np.uint64(a & 0xFFFFFFFF)
    b_high, b_low = b >> half, b & mask
    low_low, low_high, high_low = a_low * b_low, a_low * b_high, a_high * b_low
    middle = (low_low >> half) + (low_high & mask) + (high_low & mask)
    high = a_high * b_high + (low_high >> half) + (high_low >> half) + (middle >> half)
    return high, (low_low & mask) | (middle << half)


def _words(values: ArrayLike, width: int, dtype: type) -> list[NDArray]:
    array: NDArray = np.asarray(values, dtype=dtype)
    if array.ndim == 0 or array.shape[-1] != width:
        raise ValueError(f"the last axis has {array.shape[-1:]} words, {width} are needed")
    return [array[..., i] for i in range(width)]


def _philox4(counter: list[NDArray], key: list[NDArray], rounds: int, multipliers: tuple[int, int], weyl: tuple[Any, Any],
             multiply: Multiply) -> NDArray:
    """The rounds of the members with four words, of either width."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    with np.errstate(over="ignore"):
        for round_ in range(rounds):
            if round_:
                k0, k1 = k0 + weyl[0], k1 + weyl[1]
            high0, low0 = multiply(multipliers[0], c0)
            high1, low1 = multiply(multipliers[1], c2)
            c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
    return np.stack(np.broadcast_arrays(c0, c1, c2, c3), axis=-1)


def philox4x32(counter: ArrayLike, key: ArrayLike, rounds: int = 10) -> NDArray[np.uint32]:
    """Four random 32-bit words per (counter, key); counter (..., 4), key (..., 2), broadcast, result (..., 4) uint32.

    >>> [hex(word) for word in philox4x32([0, 0, 0, 0], [0, 0])]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    weyl = (np.uint32(WEYL_32[0]), np.uint32(WEYL_32[1]))
    return _philox4(_words(counter, 4, np.uint32), _words(key, 2, np.uint32), rounds, MULTIPLIERS_4X32, weyl, _multiply_32)


def philox2x32(counter: ArrayLike, key: ArrayLike, rounds: int = 10) -> NDArray[np.uint32]:
    """Two words per (counter, key); counter (..., 2), key (..., 1), result (..., 2) uint32."""
    c0, c1 = _words(counter, 2, np.uint32)
    (k0,) = _words(key, 1, np.uint32)
    with np.errstate(over="ignore"):
        for round_ in range(rounds):
            if round_:
                k0 = k0 + np.uint32(WEYL_32[0])
            high, low = _multiply_32(MULTIPLIER_2X32, c0)
            c0, c1 = high ^ k0 ^ c1, low
    return np.stack(np.broadcast_arrays(c0, c1), axis=-1)


def philox4x64(counter: ArrayLike, key: ArrayLike, rounds: int = 10) -> NDArray[np.uint64]:
    """Four 64-bit words per (counter, key); counter (..., 4), key (..., 2), result (..., 4) uint64.

    NumPy's `Philox` advances its counter before it draws, so its first block is the one at counter 1.
    """
    weyl = (np.uint64(WEYL_64[0]), np.uint64(WEYL_64[1]))
    return _philox4(_words(counter, 4, np.uint64), _words(key, 2, np.uint64), rounds, MULTIPLIERS_4X64, weyl, _multiply_64)


def threefry4x32(counter: ArrayLike, key: ArrayLike, rounds: int = 20) -> NDArray[np.uint32]:
    """Four words per (counter, key), both (..., 4); result (..., 4) uint32. A key is injected after every fourth round."""
    x = _words(counter, 4, np.uint32)
    k = _words(key, 4, np.uint32)
    k.append(np.uint32(THREEFRY_PARITY_32) ^ k[0] ^ k[1] ^ k[2] ^ k[3])
    with np.errstate(over="ignore"):
        x = [word + k[i] for i, word in enumerate(x)]
        for round_ in range(rounds):
            first, second = THREEFRY_ROTATIONS_4X32[round_ % 8]
            a, b = (0, 2), (1, 3) if round_ % 2 == 0 else (3, 1)
            for i, j, rotation in zip(a, b, (first, second), strict=True):
                x[i] = x[i] + x[j]
                x[j] = ((x[j] << np.uint32(rotation)) | (x[j] >> np.uint32(32 - rotation))) ^ x[i]
            if round_ % 4 == 3:
                injection = round_ // 4 + 1
                x = [word + k[(injection + i) % 5] for i, word in enumerate(x)]
                x[3] = x[3] + np.uint32(injection)
    return np.stack(np.broadcast_arrays(*x), axis=-1)
