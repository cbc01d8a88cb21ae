"""Derivatives of charges by reverse accumulation: the same NumPy text that computes a charge, run on arrays that remember how they were made.

`traced(values)` are leaves; every function a charge calls on them (sums, cells, maxima, roots, powers, gathers) leaves a note of what its result owes to its arguments, and
`gradient(outcome, seed, leaves)` reads the notes backwards: d sum(seed x outcome) / d each leaf, for all of its elements at once. A charge adds over units and a unit's amount reads its own lines alone, so one
backward pass has the derivative of every unit's charge in every one of its lines, at a small multiple of the cost of the charge.

At a kink: the first of equal arguments of a maximum, 0 for |x| and for a root at 0. Who wants the derivative of one more where nothing is held evaluates just above it. Comparisons give plain arrays; what has no
derivative here (an operation not in the tables) raises TypeError, so a new charge cannot be differentiated wrongly in silence.

Source: reverse mode of algorithmic differentiation (Griewank and Walther, Evaluating Derivatives, SIAM 2008). Verified by tests/known_answers/test_adjoint.py: every operation, and every charge, against differences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

Back = Callable[[NDArray], NDArray]
"""from the derivative in a result to that in one argument"""


class Traced(NDArrayOperatorsMixin):
    """An array with the notes of how it was made; `parents` are its traced arguments, each with the way back to it."""

    def __init__(self, value: NDArray, parents: Sequence[tuple[Traced, Back]] = ()) -> None:
        self.value, self.parents = value, tuple(parents)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, where: Any = True, **other: Any) -> Any:
        if method != "__call__" or other:
            raise TypeError(f"{ufunc.__name__}.{method} of a traced array has no derivative here")
        plain = [_plain(x) for x in inputs]
        keywords = {} if where is True else {"where": where}
        if out is not None:
            keywords["out"] = tuple(_plain(x) for x in out)
        value = ufunc(*plain, **keywords)
        if ufunc in PLAIN:
            return value
        if ufunc is np.matmul:
            return _matmul(inputs, plain, value)
        if ufunc not in PARTIALS:
            raise TypeError(f"{ufunc.__name__} of a traced array has no derivative here")
        with np.errstate(all="ignore"):
            partials = PARTIALS[ufunc](value, *plain)
        return Traced(value, [(x, _times(np.where(where, p, 0.0), x.value.shape)) for x, p in zip(inputs, partials, strict=True) if isinstance(x, Traced)])

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func not in FUNCTIONS:
            raise TypeError(f"{func.__name__} of a traced array has no derivative here")
        return FUNCTIONS[func](*args, **kwargs)

    def __getitem__(self, key: Any) -> Traced:
        shape = self.value.shape

        def back(d: NDArray) -> NDArray:
            spread = np.zeros(shape)
            np.add.at(spread, key, d)
            return spread

        return Traced(self.value[key], [(self, back)])

    def __len__(self) -> int:
        return len(self.value)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the value."""
        return self.value.shape

    def reshape(self, *shape: Any) -> Traced:
        """As of an array."""
        return Traced(self.value.reshape(*shape), [(self, lambda d: d.reshape(self.value.shape))])

    def sum(self, axis: int | None = None) -> Traced:
        """As of an array."""
        return _sum(self, axis=axis)

    def astype(self, *_: Any, **__: Any) -> Traced:
        """Itself: all that is traced is float64."""
        return self


def traced(values: NDArray) -> Traced:
    """A leaf."""
    return Traced(np.asarray(values, np.float64))


def gradient(outcome: Any, seed: NDArray, leaves: Sequence[Traced]) -> list[NDArray]:
    """d sum(seed x outcome) / d leaf, in the shape of each leaf; zeros where the outcome does not depend on it.

    >>> x = traced(np.array([3.0, -4.0]))
    >>> gradient(np.sqrt(np.sum(x * x)), np.array(1.0), [x])[0].tolist()
    [0.6, -0.8]
    """
    found = {id(leaf): np.zeros(leaf.value.shape) for leaf in leaves}
    if not isinstance(outcome, Traced):
        return list(found.values())
    order = _in_order(outcome)
    pending: dict[int, NDArray] = {id(outcome): np.broadcast_to(seed, outcome.value.shape).astype(np.float64)}
    for node in reversed(order):
        d = pending.pop(id(node))
        if id(node) in found:
            found[id(node)] = d
        for parent, back in node.parents:
            step = back(d)
            pending[id(parent)] = pending[id(parent)] + step if id(parent) in pending else step
    return [found[id(leaf)] for leaf in leaves]


def _in_order(outcome: Traced) -> list[Traced]:
    """All that the outcome was made of, arguments before results."""
    seen: set[int] = set()
    order: list[Traced] = []
    stack: list[tuple[Traced, bool]] = [(outcome, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((parent, False) for parent, _ in node.parents)
    return order


def _plain(x: Any) -> Any:
    return x.value if isinstance(x, Traced) else x


def _fitted(d: NDArray, shape: tuple[int, ...]) -> NDArray:
    """`d` summed over what broadcasting repeated."""
    while d.ndim > len(shape):
        d = d.sum(axis=0)
    for axis, size in enumerate(shape):
        if size == 1 and d.shape[axis] != 1:
            d = d.sum(axis=axis, keepdims=True)
    return d


def _times(partial: NDArray, shape: tuple[int, ...]) -> Back:
    # 0 x inf is no share of anything: what a derivative of 0 meets counts nothing
    return lambda d: _fitted(np.where(d == 0.0, 0.0, d * partial), shape)


def _matmul(inputs: Any, plain: Any, value: NDArray) -> Traced:
    left, right = plain
    if isinstance(inputs[1], Traced) or left.ndim != 2 or right.ndim != 1:
        raise TypeError("matmul of a traced array has a derivative here for (n, k) @ plain (k,) alone")
    return Traced(value, [(inputs[0], lambda d: d[:, None] * right)])


def _power(value: NDArray, x: Any, p: Any) -> tuple[Any, Any]:
    return p * np.power(x, p - 1.0), value * np.log(x)


PLAIN = {np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal, np.isfinite, np.isnan, np.sign, np.logical_and, np.logical_or}
"""no derivative to remember"""
PARTIALS: dict[np.ufunc, Callable[..., tuple]] = {
    np.add: lambda v, a, b: (1.0, 1.0),
    np.subtract: lambda v, a, b: (1.0, -1.0),
    np.multiply: lambda v, a, b: (b, a),
    np.divide: lambda v, a, b: (1.0 / b, -a / (b * b)),
    np.power: _power,
    np.maximum: lambda v, a, b: (a >= b, a < b),
    np.minimum: lambda v, a, b: (a <= b, a > b),
    np.negative: lambda v, a: (-1.0,),
    np.absolute: lambda v, a: (np.sign(a),),
    np.sqrt: lambda v, a: (np.where(v > 0.0, 0.5 / v, 0.0),),
    np.exp: lambda v, a: (v,),
    np.log: lambda v, a: (1.0 / a,),
    np.square: lambda v, a: (2.0 * a,),
}


def _sum(a: Traced, axis: int | None = None) -> Traced:
    shape = a.value.shape

    def back(d: NDArray) -> NDArray:
        return np.broadcast_to(d if axis is None else np.expand_dims(d, axis), shape)

    return Traced(np.sum(a.value, axis=axis), [(a, back)])


def _max(a: Traced, axis: int, initial: float | None = None) -> Traced:
    plain = np.max(a.value, axis=axis) if initial is None else np.max(a.value, axis=axis, initial=initial)
    first = np.argmax(a.value, axis=axis) if a.value.shape[axis] else np.zeros(plain.shape, np.int64)
    shape = a.value.shape

    def back(d: NDArray) -> NDArray:
        spread = np.zeros(shape)
        if shape[axis]:
            own = np.take_along_axis(a.value, np.expand_dims(first, axis), axis) == np.expand_dims(plain, axis)
            np.put_along_axis(spread, np.expand_dims(first, axis), np.where(own, np.expand_dims(d, axis), 0.0), axis)
        return spread

    return Traced(plain, [(a, back)])


def _where(condition: Any, a: Any, b: Any) -> Traced:
    chosen = _plain(condition)
    value = np.where(chosen, _plain(a), _plain(b))
    return Traced(value, [(x, _times(keep.astype(np.float64), x.value.shape)) for x, keep in ((a, chosen), (b, ~chosen)) if isinstance(x, Traced)])


def _stack(arrays: Sequence[Any], axis: int = 0) -> Traced:
    def back_to(place: int) -> Back:
        return lambda d: np.take(d, place, axis=axis)

    return Traced(np.stack([_plain(x) for x in arrays], axis=axis), [(x, back_to(i)) for i, x in enumerate(arrays) if isinstance(x, Traced)])


def _clip(a: Any, low: Any, high: Any) -> Traced:
    if not isinstance(a, Traced) or isinstance(low, Traced) or isinstance(high, Traced):
        raise TypeError("clip has a derivative here between plain bounds alone")
    inside = (a.value >= low) & (a.value < high)  # of one more: at the upper bound nothing is added
    return Traced(np.clip(a.value, low, high), [(a, _times(inside.astype(np.float64), a.value.shape))])


def _bincount(group: Any, weights: Any = None, minlength: int = 0) -> Traced:
    value = np.bincount(group, weights=weights.value, minlength=minlength)
    return Traced(value, [(weights, lambda d: d[group])])


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sum: _sum, np.max: _max, np.amax: _max, np.where: _where, np.stack: _stack, np.clip: _clip, np.bincount: _bincount,
    np.ones_like: lambda a: np.ones(a.shape), np.zeros_like: lambda a: np.zeros(a.shape), np.argmax: lambda a, axis=None: np.argmax(_plain(a), axis=axis),
}
