"""The engine of chain fits under JAX: the moment functions, rule and Black inverse of the compiled engine on `jax.numpy`, derivatives by `jax.jacfwd`, Levenberg-Marquardt under `jax.jit`.

The rule of a chain is shared by its starts. On a GPU all chains of a call step together (`jax.vmap`), those that have ended idle. On a processor, where that costs more than it saves, a call is one
chain and its starts. Every chain of a fit is padded to one shape, so each program is compiled once. A volatility is inverted by Newton without a trace of its steps; its derivative is 1 / vega by the implicit function.
Verified: tests/parity/test_chain_engines.py (the compiled engine).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.automatic.levenberg import solve_one
from upm_gpu.calibrate.automatic.library import jax_library, on_processor
from upm_gpu.calibrate.chain.engines import At, Polished, Task, least_cost
from upm_gpu.calibrate.chain.moments import ModelName, chain_model
from upm_gpu.calibrate.chain.objective import (
    NEWTON,
    SETTLED,
    WHOLE,
    Batch,
    Objective,
    newton,
    price_scale,
    residuals,
    size_of,
    volatility_of,
)
from upm_gpu.calibrate.chain.quotes import Chain, black_vega
from upm_gpu.calibrate.chain.rule import Rule, chain_prices
from upm_gpu.calibrate.chain.unknowns import box, values_of

TOGETHER = 8
"""chains of a call on a processor, as the compiled engine"""
TOGETHER_DEVICE = 256
"""chains of a call on a GPU: the rules of as many large ones take about 1 GB"""
EXPIRIES, QUOTES = 2, 8
"""chains are padded to multiples of these: fewer shapes, fewer programs"""


@dataclass(frozen=True)
class _Kind:
    """What a program is compiled for, beside the shapes of its arrays."""

    model: ModelName
    objective: Objective
    feller: bool
    most: int
    linear: bool = False
    tolerance: float = 0.0
    whole: bool = False
    """all chains in one call"""


def together() -> int:
    """Chains of a call."""
    return TOGETHER if on_processor(jax_library()) else TOGETHER_DEVICE


def threads() -> int:
    """Calls at once: two would compile each program twice."""
    return 1


def shape(chains: Sequence[Chain]) -> tuple[int, int]:
    """Expiries and quotes that every call is padded to at least."""
    return tuple(-(-n // of) * of for n, of in zip(size_of(chains), (EXPIRIES, QUOTES), strict=True))  # type: ignore[return-value]


def rule(batch: Batch, points: int) -> Rule:
    """The rule of a batch."""
    return batch.rule(points)


def prices(batch: Batch, rule: Rule, task: Task, p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Out-of-the-money prices over the forward (C, J, E, Q) of parameters (C, J, P)."""
    return np.asarray(_called("prices", _kind(task), _columns(rule), p))


def worth(batch: Batch, rule: Rule, weight: NDArray[np.float64], task: Task, p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of squares (C, J), errors of price over vega."""
    return np.asarray(np.sum((price_scale(batch, weight, task.objective)[:, None] * (prices(batch, rule, task, p) - batch.price[:, None])) ** 2, axis=(2, 3)))


def at(batch: Batch, rule: Rule, weight: NDArray[np.float64], task: Task, z: NDArray[np.float64]) -> At:
    """What a solution (C, P) is worth."""
    slopes, price = _called("slopes", _kind(task), _columns(rule), z)
    r, j = residuals(batch, weight, task.objective, price[:, None], slopes[:, None])
    return At(price, volatility_of(batch, price[:, None])[0][:, 0], r[:, 0], j[:, 0])  # type: ignore[index]


def polish(batch: Batch, rule: Rule, weight: NDArray[np.float64], task: Task, z: NDArray[np.float64], linear: bool = False, tolerance: float = 1e-12) -> Polished:
    """Levenberg-Marquardt from unknowns (C, J, P); every start is a problem of its own."""
    low, high = box(task.model, task.feller)
    count = len(z)
    least = least_cost(batch, weight, task)
    columns = (*_columns(rule), *_quoted(batch, weight, task), np.broadcast_to(low, (count, len(low))), np.broadcast_to(high, (count, len(high))), least)
    found = _called("polish", _kind(task, linear, tolerance), columns, z)
    return Polished(*(np.array(v) for v in found))


def _kind(task: Task, linear: bool = False, tolerance: float = 0.0) -> _Kind:
    return _Kind(task.model.name, task.objective, task.feller, task.most, linear, tolerance, not on_processor(jax_library()))


def _columns(rule: Rule) -> tuple[NDArray[Any], ...]:
    return rule.s, rule.years, rule.constant, rule.matrix


def _quoted(batch: Batch, weight: NDArray[np.float64], task: Task) -> tuple[NDArray[np.float64], ...]:
    return batch.k, batch.price, batch.volatility, weight, price_scale(batch, weight, task.objective)


def _called(what: str, kind: _Kind, columns: Sequence[NDArray[np.float64]], last: NDArray[np.float64]) -> Any:
    """The program's answer for all chains, axis first."""
    jax = jax_library()
    program = _program(what, kind)
    with jax.enable_x64(True):
        if kind.whole:
            return jax.tree.map(np.asarray, program(*columns, last))
        rows = [program(*(c[i] for c in columns), last[i]) for i in range(len(last))]
        return jax.tree.map(lambda *parts: np.stack([np.asarray(p) for p in parts]), *rows)


@lru_cache(maxsize=64)
def _program(what: str, kind: _Kind) -> Any:
    """The compiled function of one chain, or of many where `whole`."""
    jax = jax_library()
    one = {"prices": _prices_of, "slopes": _slopes_of, "polish": _polish_of}[what](jax, kind)
    return jax.jit(jax.vmap(one) if kind.whole else one)


def _prices_of(jax: Any, kind: _Kind) -> Any:
    def one(s: Any, years: Any, constant: Any, matrix: Any, p: Any) -> Any:
        return _pricer(jax, kind, s, years, constant, matrix)(p)

    return one


def _pricer(jax: Any, kind: _Kind, *rule: Any) -> Any:
    """Parameters (J, P) to prices (J, E, Q) of one chain's rule."""
    made = Rule(*(part[None] for part in rule))
    return lambda p: chain_prices(made, kind.model, p[None], slopes=False, xp=jax.numpy)[0][0]


def _residual(jax: Any, kind: _Kind, s: Any, years: Any, constant: Any, matrix: Any, k: Any, price: Any, volatility: Any, weight: Any, scale: Any) -> Any:
    """Unknowns (P,) to residuals (E Q,), as `objective.residuals`."""
    pricer, model = _pricer(jax, kind, s, years, constant, matrix), chain_model(kind.model)

    def found(z: Any) -> Any:
        value = pricer(values_of(model, z, kind.feller, jax.numpy)[None])[0]
        if kind.linear or kind.objective == "price":
            return (scale * (value - price)).ravel()
        return (weight * (_volatility(jax, value, years[0], k, price, volatility) - volatility)).ravel()

    return found


def _volatility(jax: Any, value: Any, years: Any, k: Any, price: Any, volatility: Any) -> Any:
    """As `objective.volatility_of`, of one chain: (E, Q)."""
    xp = jax.numpy
    fixed = jax.lax.stop_gradient(value)
    lead, root = xp.minimum(1.0, xp.exp(-k)), xp.sqrt(years)
    inside = xp.clip(fixed, xp.minimum(0.02 * price, WHOLE * lead), WHOLE * lead)

    def step(state: Any) -> Any:
        count, stdev, _ = state
        moved = newton(xp.abs(k), inside / lead, stdev, xp, jax.scipy.special)
        return count + 1, moved, xp.max(xp.abs(moved / stdev - 1.0))

    _, stdev, _ = jax.lax.while_loop(lambda s: (s[0] < NEWTON) & ~(s[2] < SETTLED), step, (0, volatility * root, xp.asarray(np.inf)))
    slope = 1.0 / xp.maximum(black_vega(k, stdev / root, root * root, xp), 1e-300)
    return stdev / root + slope * (value - inside)


def _slopes_of(jax: Any, kind: _Kind) -> Any:
    """Derivatives (E, Q, P) of prices by unknowns (P,), and the prices."""
    model = chain_model(kind.model)

    def one(s: Any, years: Any, constant: Any, matrix: Any, z: Any) -> Any:
        pricer = _pricer(jax, kind, s, years, constant, matrix)

        def both(z: Any) -> tuple[Any, Any]:
            value = pricer(values_of(model, z, kind.feller, jax.numpy)[None])[0]
            return value, value

        return jax.jacfwd(both, has_aux=True)(z)

    return one


def _polish_of(jax: Any, kind: _Kind) -> Any:
    def one(*columns: Any) -> Any:
        *own, low, high, least, z = columns
        residual = _residual(jax, kind, *own)
        return tuple(jax.vmap(lambda start: solve_one(jax, residual, start, low, high, kind.most, kind.tolerance, least))(z))

    return one
