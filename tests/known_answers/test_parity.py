"""Forwards from put-call parity and zero rates from par yields."""

import numpy as np
import pytest

from upm_gpu.errors import MarketDataError
from upm_gpu.formula.black import black_undiscounted
from upm_gpu.market.curve import bond_price, zero_rates
from upm_gpu.market.parity import parity_forward


def chain(forward: float, discount: float, strikes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    k = np.log(forward / strikes)
    call, put = (discount * black_undiscounted(forward, strikes, k, 0.2, sign) for sign in (1.0, -1.0))
    return call, put


def test_clean_quotes_give_the_forward_back():
    strikes = np.arange(80.0, 125.0, 5.0)
    call, put = chain(101.3, 0.97, strikes)
    found = parity_forward(strikes, call - 0.05, call + 0.05, put - 0.05, put + 0.05, 0.97)
    assert found.forward == pytest.approx(101.3, abs=1e-12)
    assert (found.strikes, found.outside) == (4, 0)


def test_one_stale_quote_does_not_move_it_and_is_counted():
    strikes = np.arange(80.0, 125.0, 5.0)
    call, put = chain(101.3, 0.97, strikes)
    call[4] += 3.0
    found = parity_forward(strikes, call - 0.05, call + 0.05, put - 0.05, put + 0.05, 0.97)
    assert found.forward == pytest.approx(101.3, abs=1e-12)
    assert found.outside == 1


def test_without_two_sided_quotes_there_is_no_forward():
    one = np.array([100.0, 105.0])
    with pytest.raises(MarketDataError, match="UPM-MD-141"):
        parity_forward(one, np.array([1.0, 0.0]), one, np.array([1.0, 1.0]), one, 1.0, "2022-04-14")


def test_every_bond_of_the_curve_reprices_to_par():
    # Treasury par yields of 1 April 2022, in percent
    years = (1 / 12, 2 / 12, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0)
    par = np.array([0.15, 0.37, 0.53, 1.09, 1.72, 2.44, 2.61, 2.55, 2.5, 2.39]) / 100.0
    curve = [(d / 365.0, z) for d, z in zero_rates(years, par)]
    for maturity, y in zip(years[4:], par[4:], strict=True):
        assert bond_price(curve, maturity, y) == pytest.approx(1.0, abs=1e-13)


def test_bad_curves_are_refused():
    for years, par in (([1.0, 1.0], [0.01, 0.01]), ([0.0], [0.01]), ([1.0], [float("nan")])):
        with pytest.raises(MarketDataError, match="UPM-MD-142"):
            zero_rates(years, par)
