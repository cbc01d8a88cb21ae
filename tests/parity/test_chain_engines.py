"""Fits to option chains under JAX beside the compiled ones: derivatives, solutions, days of one call; and what is said where JAX is missing.

The engines share the text of formulas but neither derivatives (automatic beside closed) nor the solver's loop.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
from chain_cases import TRUTH, chain_of

from upm_gpu.calibrate.automatic import chain_engine
from upm_gpu.calibrate.automatic.levenberg import solve_one
from upm_gpu.calibrate.chain import compiled_engine
from upm_gpu.calibrate.chain.engines import Task, engine_of, engine_words
from upm_gpu.calibrate.chain.fit import FitOptions, fit_chains
from upm_gpu.calibrate.chain.moments import chain_model
from upm_gpu.calibrate.chain.objective import make_batch, weights_of
from upm_gpu.calibrate.chain.solver import solve
from upm_gpu.calibrate.chain.unknowns import coordinates
from upm_gpu.errors import CalibrationError

SIZES = ((0.1, 0.6), (0.03, 0.2, 0.5), (0.3, 0.9))


def chains_of(name):
    return [chain_of(name, TRUTH[name], noise=0.002, seed=i, years=years) for i, years in enumerate(SIZES)]


@pytest.fixture(scope="module", autouse=True)
def quick_to_compile():
    """Programs here run for milliseconds."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def gpu_way(monkeypatch):
    """All chains step together, as they do on a GPU."""
    monkeypatch.setattr(chain_engine, "on_processor", lambda jax: False)


@pytest.mark.parametrize(("name", "feller"), [("merton", False), ("bates", True)])
def test_automatic_derivatives_are_the_closed_ones(name, feller):
    """To 1e-9 of the largest of each unknown, at a point off the optimum; Bates holds Heston, and vol of vol is tied to the others under Feller's condition."""
    model = chain_model(name)
    batch = make_batch(chains_of(name)[:1])
    p = 1.07 * np.array(TRUTH[name])[None]
    if feller:
        p[:, 3] = 0.8 * np.sqrt(2.0 * p[:, 1] * p[:, 2])
    task, weight = Task(model, "volatility", feller, 100), weights_of(batch, "volatility", "vega")
    z = coordinates(model, p, feller)
    ours, theirs = (e.at(batch, e.rule(batch, 96), weight, task, z) for e in (chain_engine, compiled_engine))
    assert float(np.max(np.abs(ours.jacobian - theirs.jacobian) / np.max(np.abs(theirs.jacobian), axis=1, keepdims=True))) < 1e-9
    np.testing.assert_allclose(ours.price, theirs.price, rtol=0.0, atol=1e-13)
    np.testing.assert_allclose(ours.residual, theirs.residual, rtol=0.0, atol=1e-11)


def same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.converged == b.converged and a.bounds == b.bounds
        assert a.cost == pytest.approx(b.cost, rel=1e-9)
        np.testing.assert_allclose(a.parameters, b.parameters, rtol=1e-5)
        np.testing.assert_allclose(a.standard_errors, b.standard_errors, rtol=1e-4)
        np.testing.assert_allclose(a.volatility, b.volatility, atol=1e-8)


def test_days_of_one_call_end_where_the_compiled_ones_do(gpu_way):
    """Three chains of different sizes, padded to one shape and stepping together, from a start far off."""
    start = np.array([0.2, 2.0, 0.3, 1.0, -0.2])
    ours, theirs = (fit_chains(chains_of("heston"), FitOptions(engine=engine), start) for engine in ("jax", "compiled"))
    same(ours, theirs)
    assert all(f.converged and f.iterations > 3 for f in ours)


def test_the_loop_stays_in_the_box_as_the_compiled_one():
    """Rosenbrock's valley with its minimum outside the box: the same end, turn for turn."""
    import jax

    def residual(z):
        return jax.numpy.stack([10.0 * (z[1] - z[0] ** 2), 1.0 - z[0]])

    def evaluate(_, z):
        r = np.stack([10.0 * (z[:, 1] - z[:, 0] ** 2), 1.0 - z[:, 0]], axis=1)
        return r, np.stack([np.stack([-20.0 * z[:, 0], np.full(len(z), 10.0)], axis=1), np.tile([-1.0, 0.0], (len(z), 1))], axis=1)

    start, low, high = np.array([-1.2, 1.0]), np.array([-2.0, -2.0]), np.array([0.7, 2.0])
    with jax.enable_x64(True):
        ours = jax.jit(lambda z: solve_one(jax, residual, z, low, high, 100, 1e-12, 0.0))(start)
    theirs = solve(evaluate, start[None], low, high, 100, 1e-12)
    assert bool(ours.converged) and bool(theirs.converged[0]) and int(ours.iterations) == int(theirs.iterations[0]) > 3
    np.testing.assert_allclose(np.asarray(ours.z), theirs.z[0], rtol=1e-12)
    np.testing.assert_allclose(np.asarray(ours.z), [0.7, 0.49], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["heston", "merton", "bates"])
@pytest.mark.parametrize("objective", ["volatility", "price"])
def test_every_model_from_the_global_phase(name, objective):
    same(*(fit_chains(chains_of(name), FitOptions(model=name, objective=objective, engine=engine)) for engine in ("jax", "compiled")))


@pytest.mark.slow
def test_fellers_bound_is_held_under_both(gpu_way):
    same(*(fit_chains([chain_of("heston", TRUTH["heston"])], FitOptions(feller=True, engine=engine)) for engine in ("jax", "compiled")))


def test_without_jax_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    for ask in (engine_of, engine_words):
        with pytest.raises(CalibrationError, match=r"UPM-CA-230.*not installed.*upm-gpu\[calibration\]"):
            ask("jax")
    assert engine_words("compiled") == "compiled"


def test_double_precision_is_switched_on_for_the_call_alone():
    import jax

    batch = make_batch(chains_of("merton")[:1])
    task = Task(chain_model("merton"), "price", False, 1)
    price = chain_engine.prices(batch, chain_engine.rule(batch, 96), task, np.array(TRUTH["merton"])[None, None])
    assert price.dtype == np.float64 and jax.numpy.ones(1).dtype == np.float32
