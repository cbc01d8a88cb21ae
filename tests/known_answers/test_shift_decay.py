"""How much of the 30-day volatility shift an expiry takes, by hand: (30 / max(T, 1))^p, p = 0.30 below 30 days and 0.13 from there."""

from __future__ import annotations

import pytest

from upm_gpu.pricing.dynamics import Dynamics


@pytest.mark.parametrize(("days", "share"), [
    (30.0, 1.0),
    (1.0, 2.7741911), (0.25, 2.7741911),  # 30^0.3; less than a day counts as one
    (1.5, 2.4564560), (7.5, 1.5157166),  # 20^0.3, 4^0.3
    (29.999, 1.00001), (60.0, 0.9138315), (120.0, 0.8350879),  # 2^-0.13, 4^-0.13
])
def test_share_of_the_shift(days: float, share: float) -> None:
    assert Dynamics().loading(days) == pytest.approx(share, rel=1e-7)


def test_exponents_are_choices() -> None:
    dynamics = Dynamics(decay_short=0.5, decay_long=1.0)
    assert dynamics.loading(7.5) == pytest.approx(2.0)
    assert dynamics.loading(120.0) == pytest.approx(0.25)
