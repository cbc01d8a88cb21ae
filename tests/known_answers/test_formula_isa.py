"""The builds for SSE2, AVX2 and AVX-512 give the same bits: every fused multiply-add is explicit and no library is called."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from formula_harness import HERE, Kernels, build
from numpy.typing import NDArray

COUNT = 10_000
EXTREMES = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, -5e-324, 2.2250738585072014e-308, 1e-320, 1e-300, 1e300, 1.7976931348623157e308,
                     709.78, 709.79, 710.0, -745.1, -745.2, -746.0, -708.0, 0.5, 1.0, -1.0, 1.0 - 2.0**-53, 2.0**-53, 37.5, -37.5, 38.6, 1e20])
ELEMENTWISE = ("exponential", "exponential_of_negative", "exponential_minus_one", "logarithm", "logarithm_plus_one", "asinh_of_positive",
               "mills_ratio", "normal_density", "normal_cdf", "normal_log_cdf", "normal_quantile", "floor_of")


def same_bits(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Equal bits; NaN of any sign and payload are one value."""
    return bool(np.all((a.view(np.uint64) == b.view(np.uint64)) | (np.isnan(a) & np.isnan(b))))


def inputs() -> NDArray[np.float64]:
    rng = np.random.default_rng(20_260_205)
    magnitude = np.exp(rng.uniform(-744.0, 709.0, COUNT // 2)) * rng.choice([-1.0, 1.0], COUNT // 2)
    return np.concatenate([EXTREMES, magnitude, rng.uniform(-40.0, 40.0, COUNT // 4), rng.uniform(0.0, 1.0, COUNT // 4)])


@pytest.fixture(params=["avx2", "avx512"])
def wide(request: pytest.FixtureRequest, formula_kernels: Callable[[str], Kernels]) -> Kernels:
    return formula_kernels(request.param)


@pytest.fixture
def plain(formula_kernels: Callable[[str], Kernels]) -> Kernels:
    return formula_kernels("plain")


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name: str, plain: Kernels, wide: Kernels) -> None:
    x = inputs()
    assert same_bits(plain.apply(name, x), wide.apply(name, x))


def option_columns() -> tuple[NDArray[np.float64], ...]:
    """Forward, strike, ln(F/K), stdev, sign: ordinary, far wings, zero and infinite deviation, zero strike, NaN."""
    rng = np.random.default_rng(7)
    forward = np.exp(rng.normal(0.0, 3.0, COUNT))
    strike = forward * np.exp(rng.normal(0.0, 1.0, COUNT) * rng.choice([0.0, 1e-9, 0.1, 5.0], COUNT))
    stdev = np.exp(rng.uniform(-30.0, 4.0, COUNT))
    stdev[:40] = np.repeat([0.0, np.inf, np.nan, 5e-324], 10)
    strike[40:45] = 0.0
    with np.errstate(divide="ignore"):
        return forward, strike, np.log(forward / strike), stdev, rng.choice([-1.0, 1.0], COUNT)


def test_black(plain: Kernels, wide: Kernels) -> None:
    columns = option_columns()
    assert same_bits(plain.apply("black", *columns), wide.apply("black", *columns))


def test_european_and_implied(plain: Kernels, wide: Kernels) -> None:
    forward, strike, _, stdev, sign = (c[:2_000] for c in option_columns())
    nothing = np.full(len(forward), np.nan)
    one = np.ones(len(forward))
    columns = np.stack([forward, nothing, strike, one * 0.7, one * 0.03, one * 0.01, stdev, nothing, sign, 0.0 * one])
    values = plain.european(columns)
    assert same_bits(values, wide.european(columns))
    columns[6], columns[7] = np.nan, values[0]
    assert same_bits(plain.european(columns), wide.european(columns))


def test_american(plain: Kernels, wide: Kernels) -> None:
    rng = np.random.default_rng(9)
    count = 400
    one = np.ones(count)
    years, volatility = np.exp(rng.uniform(-7.0, 1.5, count)), np.exp(rng.uniform(-7.0, 0.5, count))
    spot = 100.0 * np.exp(rng.normal(0.0, 1.5, count) * volatility * np.sqrt(years))
    columns = np.stack([spot, one * np.nan, one * 100.0, years, rng.uniform(-0.02, 0.1, count), rng.uniform(0.0, 0.1, count), volatility, one * np.nan,
                        rng.choice([-1.0, 1.0], count), 0.0 * one])
    assert same_bits(plain.american(columns), wide.american(columns))


def test_normals_and_tables(plain: Kernels, wide: Kernels) -> None:
    assert same_bits(plain.normals(2**63 + 11, 4_000_000_000, 3, 2, 1, COUNT), wide.normals(2**63 + 11, 4_000_000_000, 3, 2, 1, COUNT))
    coefficients = np.random.default_rng(3).normal(size=(40, 8))
    t = np.concatenate([EXTREMES[np.isnan(EXTREMES) | (np.abs(EXTREMES) < 1e150)], np.linspace(-2.0, 12.0, COUNT)])
    for name in ("table", "odd_table"):
        assert same_bits(plain.table(name, t, 0.0, 4.0, coefficients), wide.table(name, t, 0.0, 4.0, coefficients))


@pytest.mark.parametrize("isa", ["avx2", "avx512"])
def test_loops_are_vectorised(isa: str, formula_kernels: Callable[[str], Kernels], tmp_path_factory: pytest.TempPathFactory) -> None:
    """The compiler says which loops it vectorised; a loop lost costs a factor of five to ten and no test of values would notice."""
    formula_kernels(isa)
    report = build(isa, tmp_path_factory.mktemp(f"report_{isa}"), "-fopt-info-vec-optimized").stderr
    text = (HERE / "harness.cpp").read_text().splitlines()
    lines = {int(line.split(":")[1]) for line in report.splitlines() if "harness.cpp" in line and "loop vectorized" in line}
    loops = {number for number, line in enumerate(text, 1) if line.startswith("UNARY(")}
    wanted = ("out[i] = upm::black_undiscounted", "upm::normal_quantile(upm::first_uniform", "upm::smooth_table(", "upm::odd_smooth_table(")
    for part in wanted:
        hit = [number for number, line in enumerate(text, 1) if part in line]
        assert hit, part
        loops |= {number if "for (" in text[number - 1] else number - 1 for number in hit}
    assert loops <= lines, f"not vectorised: {[text[n - 1].strip() for n in sorted(loops - lines)]}"
