"""The time at which a moment of Heston's price becomes infinite, against its differential equation integrated until it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from upm_gpu.formula.heston_price import log_heston_moment
from upm_gpu.formula.moment_explosion import explosion_time


def integrated(moment, kappa, xi, rho, until):
    """B is followed to 1, then 1 / B to 0: the time, or None if neither happens before `until`."""
    a, b, c = 0.5 * xi * xi, rho * xi * moment - kappa, 0.5 * (moment * moment - moment)

    def one(_, y):
        return y[0] - 1.0

    def zero(_, y):
        return y[0] - 1e-9

    one.terminal = zero.terminal = True
    up = solve_ivp(lambda _, y: a * y * y + b * y + c, (0.0, until), [0.0], events=one, rtol=1e-11, atol=1e-13)
    if up.status != 1:
        return None
    down = solve_ivp(lambda _, y: -(a + b * y + c * y * y), (0.0, until), [1.0], events=zero, rtol=1e-11, atol=1e-13)
    return up.t[-1] + down.t[-1] if down.status == 1 else None


@pytest.mark.parametrize(("moment", "kappa", "xi", "rho"), [
    (2.0, 0.1, 3.0, 0.9), (2.0, 2.0, 1.5, 0.0), (2.0, 0.3, 1.5, -0.5), (2.0, 5.0, 0.4, -0.7), (2.0, 1.0, 2.0, 0.5), (3.0, 0.5, 1.0, 0.3), (-1.0, 0.3, 1.5, -0.9), (-1.0, 0.3, 1.5, 0.2),
    (-1.0, 4.0, 0.5, 0.0), (1.5, 0.0, 1.0, 1.0), (2.0, 0.0, 1.0, 0.0),
])
def test_it_is_where_the_equation_ends(moment, kappa, xi, rho):
    found, expected = explosion_time(moment, kappa, xi, rho), integrated(moment, kappa, xi, rho, 60.0)
    if expected is None:
        assert found == math.inf
    else:
        assert found == pytest.approx(expected, rel=1e-6)
        with np.errstate(all="ignore"):
            before, nearer = (log_heston_moment(complex(moment), f * found, 0.04, kappa, 0.09, xi, rho).real for f in (0.5, 0.999))
        assert math.isfinite(before) and nearer > 3.0 * abs(before)


def test_what_never_explodes():
    assert explosion_time(0.5, 0.0, 5.0, 0.99) == explosion_time(1.0, 0.0, 5.0, 0.99) == explosion_time(2.0, 0.0, 0.0, 0.9) == math.inf


def test_the_three_cases_meet():
    """Where the discriminant passes through 0 with a positive slope, the limit is 2 / b."""
    xi, kappa = 1.0, 0.0
    rho = math.sqrt(2.0) / 2.0
    near = [explosion_time(2.0, kappa, xi, rho + d) for d in (-1e-9, 0.0, 1e-9)]
    np.testing.assert_allclose(near, 2.0 / math.sqrt(2.0), rtol=1e-6)
