"""Sine, cosine and angle of `kernels/complex.cuh` against mpmath, with equal bits on every instruction set."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from formula_harness import Kernels, offered


def points() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    x = np.concatenate([[0.0, -0.0, 1e-300, np.pi / 4, np.pi / 2, np.pi, 2.0**20 * np.pi], rng.uniform(-8.0, 8.0, 600), rng.normal(0.0, 1e4, 300), rng.normal(0.0, 1e7, 300)])
    return x, np.where(np.arange(x.size) % 5 == 0, 0.0, rng.normal(0.0, 1.0, x.size) * np.abs(x) ** rng.uniform(0.0, 1.0, x.size))


@pytest.mark.parametrize("isa", offered())
def test_against_mpmath(isa: str, formula_kernels: Callable[[str], Kernels]) -> None:
    """Absolute errors of sine and cosine below 2.3e-16, of the angle below 2 units in the last place of pi."""
    x, y = points()
    kernels = formula_kernels(isa)
    sine, cosine = kernels.sine_cosine(x)
    angle = kernels.apply("angle_of", x, y)
    with mpmath.workdps(40):
        exact = [(float(mpmath.sin(v) - s), float(mpmath.cos(v) - c), float(mpmath.atan2(w, v) - a)) for v, w, s, c, a in zip(x, y, sine, cosine, angle, strict=True)]
    worst = np.abs(exact).max(axis=0)
    assert worst[0] < 2.3e-16 and worst[1] < 2.3e-16 and worst[2] < 9e-16, worst


def test_equal_bits(formula_kernels: Callable[[str], Kernels]) -> None:
    x, y = points()
    plain = formula_kernels("plain")
    for isa in offered()[1:]:
        wide = formula_kernels(isa)
        np.testing.assert_array_equal(np.array(wide.sine_cosine(x)).view(np.uint64), np.array(plain.sine_cosine(x)).view(np.uint64))
        np.testing.assert_array_equal(wide.apply("angle_of", x, y).view(np.uint64), plain.apply("angle_of", x, y).view(np.uint64))
