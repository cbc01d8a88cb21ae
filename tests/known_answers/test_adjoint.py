"""Derivatives by reverse accumulation against differences: operations one by one, then every charge on random holdings."""

from __future__ import annotations

import numpy as np
import pytest

from upm_gpu.margin.adjoint import Traced, gradient, traced

RNG = np.random.default_rng(20260205)
X = RNG.normal(size=(4, 3))
OTHER = RNG.uniform(0.5, 2.0, size=3)
GROUP = np.array([1, 0, 1, 3])
OPERATIONS = {
    "add and subtract": lambda x: 2.0 + x - OTHER - (1.0 - x) * 3.0,
    "products and quotients": lambda x: x * x * OTHER / (2.0 + np.abs(x)) + 1.0 / (3.0 + x * x),
    "powers": lambda x: np.abs(x) ** 0.7 + (1.0 + x * x) ** OTHER + np.square(x),
    "roots and logs": lambda x: np.sqrt(x * x + 0.1) * np.log(2.0 + np.exp(-x)),
    "largest and smallest": lambda x: np.maximum(x, 0.2) * np.minimum(OTHER, x) - np.maximum(-x, x * x),
    "choices": lambda x: np.where(x > 0.3, x * x, -x) + np.clip(3.0 * x, -1.0, 1.0),
    "sums": lambda x: np.sum(x * x, axis=1) * x.sum(axis=0)[0] + np.sum(x),
    "worst of": lambda x: np.max(x * OTHER, axis=1, initial=0.0) + np.max(np.stack([x[:, 0], x[:, 1] * 2.0]), axis=0),
    "gathers": lambda x: x[GROUP, 1] * x[::-1, 0] + (x[:, None, 2] - OTHER) @ OTHER,
    "sums by group": lambda x: np.bincount(GROUP, weights=x[:, 0] * x[:, 1], minlength=5)[GROUP] * x[:, 2],
    "shapes": lambda x: (x.reshape(2, 6) * 2.0)[:, 1:4] ** 2.0,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_against_central_differences(name):
    function, step = OPERATIONS[name], 1e-6
    leaf = traced(X)
    out = function(leaf)
    np.testing.assert_array_equal(out.value, function(X))
    seed = np.random.default_rng(7).normal(size=out.shape)
    found = gradient(out, seed, [leaf])[0]
    for place in np.ndindex(X.shape):
        up, down = X.copy(), X.copy()
        up[place] += step
        down[place] -= step
        assert found[place] == pytest.approx(np.sum(seed * (function(up) - function(down))) / (2.0 * step), rel=1e-6, abs=1e-8), place


def test_what_does_not_matter_has_no_derivative():
    x, y = traced(np.array([1.0, 2.0])), traced(np.array([3.0]))
    out = x * 2.0
    assert [g.tolist() for g in gradient(out, np.ones(2), [x, y])] == [[2.0, 2.0], [0.0]]
    assert gradient(np.zeros(2), np.ones(2), [x])[0].tolist() == [0.0, 0.0]
    assert gradient(np.sqrt(x * 0.0), np.ones(2), [x])[0].tolist() == [0.0, 0.0]  # a root at 0


def test_an_operation_without_a_derivative_is_refused():
    x = traced(np.array([1.0, 2.0]))
    for call in (lambda: np.sin(x), lambda: np.cumsum(x), lambda: np.add.reduce(x), lambda: np.clip(x, x, 2.0)):
        with pytest.raises(TypeError, match="derivative here"):
            call()


def test_division_where_it_is_allowed():
    core, mean = traced(np.array([3.0, 4.0])), np.array([2.0, 0.0])
    out = np.divide(core, mean, out=np.ones_like(core), where=mean > 0.0)
    assert isinstance(out, Traced) and out.value.tolist() == [1.5, 1.0]
    assert gradient(out, np.ones(2), [core])[0].tolist() == [0.5, 0.0]
