"""The scalar formulae of `kernels/` against known answers and 50-digit arithmetic.

Oracles: Random123's vectors, tabulated normal values, and mpmath. Bounds are in units in the last place (ulp) of the exact value, set
just above what a search over 10^5 points found, so that a lost term or a wrong coefficient shows.
"""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from formula_harness import Kernels
from numpy.typing import NDArray
from reference_cases import group

from upm_gpu.rng.normal import normal
from upm_gpu.rng.streams import FACTOR, stream_word
from upm_gpu.scenario.sets import SmoothTable

TOPIC = "5_rng_and_numerics"
RNG_SEED = 11


def words(hexadecimal: list[str]) -> NDArray[np.uint32]:
    return np.array([[int(w, 16) for w in hexadecimal]], np.uint32)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), [*group(TOPIC, "philox_extra_computed"), *(
    p for p in group(TOPIC, "random123_kat") if len(p.values[0]["counter_hex"]) == 4 and len(p.values[0]["counter_hex"][0]) == 8
    and len(p.values[0]["key_hex"]) == 2)])
def test_philox(inputs: dict, expected: dict, tolerance: dict, kernels: Kernels) -> None:
    assert tolerance["exact"] and inputs["rounds"] == 10
    assert kernels.philox(words(inputs["counter_hex"]), words(inputs["key_hex"])).tolist() == words(expected["output_hex"]).tolist()


@pytest.mark.parametrize(("low", "high", "expected"), [
    (0, 0, 2.0**-53), (0xFFFFFFFF, 0xFFFFFFFF, 1.0 - 2.0**-53), (0xFFF, 0, 2.0**-53), (0x1000, 0, 3 * 2.0**-53),
    (0, 0x80000000, 0.5 + 2.0**-53), (0xFFFFFFFF, 0x7FFFFFFF, 0.5 - 2.0**-53)])
def test_uniform_of_extreme_words(low: int, high: int, expected: float, kernels: Kernels) -> None:
    """(k + 1/2) 2^-52 with k the top 52 bits: never 0 or 1, low 12 bits without effect, symmetric."""
    assert kernels.uniform(low, high) == expected


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), [*group(TOPIC, "normal_quantile_as241"), *group(TOPIC, "normal_quantile_computed")])
def test_normal_quantile(inputs: dict, expected: dict, tolerance: dict, kernels: Kernels) -> None:
    assert kernels.apply("normal_quantile", inputs["p"])[0] == pytest.approx(expected["z"], rel=tolerance["rel"], abs=0.0)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), [*group(TOPIC, "normal_cdf_computed"), *group(TOPIC, "log_ndtr_scipy")])
def test_normal_law(inputs: dict, expected: dict, tolerance: dict, kernels: Kernels) -> None:
    names = {"cdf": "normal_cdf", "log_cdf": "normal_log_cdf", "pdf": "normal_density"}
    for key, value in expected.items():
        assert kernels.apply(names[key], inputs["x"])[0] == pytest.approx(value, rel=tolerance["rel"], abs=0.0), key


def exact_mills(x: mpmath.mpf) -> mpmath.mpf:
    return mpmath.sqrt(mpmath.pi / 2) * mpmath.exp(x * x / 2) * mpmath.erfc(x / mpmath.sqrt(2)) if x < 1e4 else (1 - 1 / x**2 + 3 / x**4) / x


def exact_log_cdf(x: mpmath.mpf) -> mpmath.mpf:
    return mpmath.log(mpmath.ncdf(x)) if x < 0 else mpmath.log1p(-mpmath.ncdf(-x))


def spread(*parts: tuple[float, float], logarithmic: tuple[float, float] | None = None, count: int = 250) -> NDArray[np.float64]:
    rng = np.random.default_rng(RNG_SEED)
    drawn = [rng.uniform(low, high, count) for low, high in parts]
    return np.concatenate([*drawn, *([np.exp(rng.uniform(*logarithmic, count))] if logarithmic else [])])


FUNCTIONS = {
    "exponential": (mpmath.exp, spread((-1, 1), (-708, 709)), 1.0),
    "exponential_of_negative": (mpmath.exp, spread((-1, 0), (-708, 0)), 1.0),
    "exponential_minus_one": (mpmath.expm1, spread((-1, 1), (-50, 709), (-1e-6, 1e-6)), 2.0),
    "logarithm": (mpmath.log, spread((0.5, 2.0), (1 - 1e-6, 1 + 1e-6), logarithmic=(-744, 709)), 1.0),
    "logarithm_plus_one": (mpmath.log1p, spread((-1, 1), (-1e-6, 1e-6), logarithmic=(0, 700)), 2.0),
    "asinh_of_positive": (mpmath.asinh, spread((0, 1), logarithmic=(-40, 300)), 2.0),
    "mills_ratio": (exact_mills, spread((0, 3), (0, 60), logarithmic=(-20, 40)), 7.0),
    "normal_density": (mpmath.npdf, spread((-37, 37), (-3, 3)), 4.0),
    "normal_cdf": (mpmath.ncdf, spread((-37, 9), (-3, 3)), 9.0),
    "normal_log_cdf": (exact_log_cdf, spread((-1000, 9), (-3, 3), (3, 37)), 10.0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_in_units_in_the_last_place(name: str, kernels: Kernels) -> None:
    exact, x, bound = FUNCTIONS[name]
    with mpmath.workdps(50):
        truth = [exact(mpmath.mpf(float(v))) for v in x]
        got = kernels.apply(name, x)
        error = [abs(mpmath.mpf(float(g)) - t) / mpmath.mpf(float(np.spacing(abs(float(t))))) for g, t in zip(got, truth, strict=True)]
    worst = int(np.argmax(error))
    assert error[worst] <= bound, f"{name}({x[worst]!r}) = {got[worst]!r}, {float(error[worst]):.2f} ulp"


@pytest.mark.parametrize(("name", "x", "expected"), [
    ("exponential", [0.0, -0.0, np.inf, -np.inf, 709.79, -745.2, 1e308, -1e308], [1.0, 1.0, np.inf, 0.0, np.inf, 0.0, np.inf, 0.0]),
    ("exponential", [-745.1, -744.4400719213812], [5e-324, 5e-324]),
    ("exponential_of_negative", [0.0, -708.5, -np.inf], [1.0, 0.0, 0.0]),
    ("exponential_minus_one", [0.0, np.inf, -np.inf, 1e-300, -100.0, 710.0], [0.0, np.inf, -1.0, 1e-300, -1.0, np.inf]),
    ("logarithm", [0.0, 1.0, np.inf, -1.0, 5e-324], [-np.inf, 0.0, np.inf, np.nan, -744.4400719213812]),
    ("logarithm_plus_one", [0.0, -1.0, np.inf, -2.0, 5e-324], [0.0, -np.inf, np.inf, np.nan, 5e-324]),
    ("mills_ratio", [0.0, np.inf, 1e30, 1e300], [1.2533141373155003, 0.0, 1e-30, 1e-300]),
    ("normal_density", [np.inf, -np.inf, 1e300], [0.0, 0.0, 0.0]),
    ("normal_cdf", [np.inf, -np.inf, 0.0, 40.0, -40.0], [1.0, 0.0, 0.5, 1.0, 0.0]),
    ("normal_log_cdf", [np.inf, -np.inf, -1e200], [0.0, -np.inf, -np.inf]),
    ("normal_quantile", [0.0, 1.0, 0.5, -0.1, 1.1, np.inf], [-np.inf, np.inf, 0.0, np.nan, np.nan, np.nan]),
])
def test_limits(name: str, x: list[float], expected: list[float], kernels: Kernels) -> None:
    np.testing.assert_allclose(kernels.apply(name, x), expected, rtol=2.3e-16, atol=0.0)


@pytest.mark.parametrize("name", [*FUNCTIONS, "normal_quantile"])
def test_a_nan_comes_through(name: str, kernels: Kernels) -> None:
    assert np.isnan(kernels.apply(name, np.nan)[0])


def test_draws_are_those_of_the_rng_room(kernels: Kernels) -> None:
    """Same integers; normals within 8 ulp, for both approximations (Wichura's here, Cephes' there) err by up to 4."""
    seed, first, count = 2**63 + 12_345, 4_294_900_000, 20_000
    expected = normal(seed, 3, range(first, first + count), range(2), range(1, 3))
    for factor in range(2):
        for step in (1, 2):
            got = kernels.normals(seed, first, factor, step, stream_word(3, FACTOR), count)
            np.testing.assert_array_less(np.abs(got - expected[factor, step - 1]), 8.01 * np.spacing(np.abs(got)))


def test_quantile_is_odd_to_the_bit(kernels: Kernels) -> None:
    k = np.random.default_rng(RNG_SEED).integers(0, 2**52, 2_000)
    u = (k + 0.5) * 2.0**-52
    np.testing.assert_array_equal(kernels.apply("normal_quantile", u), -kernels.apply("normal_quantile", 1.0 - u))


def test_quantile_inverts_the_cdf(kernels: Kernels) -> None:
    """Sensitivity of p to z is z^2 relative in the tail, hence the bound."""
    z = np.linspace(-37.0, 8.0, 500)
    p = kernels.apply("normal_cdf", z)
    back = kernels.apply("normal_quantile", p)
    assert np.max(np.abs(back - z) / (2e-15 * np.abs(z) + 2e-15 / np.maximum(np.exp(-0.5 * z * z) * (z > 0), 1e-2 * (z <= 0)))) < 4.0


def exact_price(m: float, s: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """Out-of-the-money price over min(F, K) and its derivative in s."""
    m, s = mpmath.mpf(m), mpmath.mpf(s)
    a, b = m / s - s / 2, m / s + s / 2
    return mpmath.ncdf(-a) - mpmath.exp(m) * mpmath.ncdf(-b), mpmath.npdf(a)


def domain(count: int = 700) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(|ln(F/K)|, total stdev): at the money, near it, and wings down to 1e-290; stdev from 1e-12 to 12."""
    rng = np.random.default_rng(RNG_SEED)
    m = np.exp(rng.uniform(np.log(1e-12), np.log(50.0), count))
    m[: count // 10] = 0.0
    by_wing = m / np.exp(rng.uniform(np.log(1e-3), np.log(36.0), count))
    s = np.where((rng.random(count) < 0.5) & (m > 0.0), by_wing, np.exp(rng.uniform(np.log(1e-9), np.log(12.0), count)))
    keep = (m / s < 36.0) & (0.5 * s - m / s < 14.0) & (s < 12.0) & (s > 1e-12)
    return m[keep], s[keep]


def test_price_of_the_wings_is_relatively_exact(kernels: Kernels) -> None:
    m, s = domain()
    got = kernels.apply("out_of_the_money", m, s)
    with mpmath.workdps(50):
        for mi, si, value in zip(m, s, got, strict=True):
            truth = exact_price(mi, si)[0]
            assert abs(value / truth - 1) < 4e-15 + 4e-16 * (mi / si) ** 2, (mi, si)


def test_fast_price_is_absolutely_exact(kernels: Kernels) -> None:
    """The price of the scenario loop: 5e-16 of min(F, K), and 1e-12 relative wherever it is above 1e-3 of it."""
    m, s = domain()
    got = kernels.apply("black", np.exp(-m), 1.0, -m, s, 1.0)
    with mpmath.workdps(50):
        truth = np.array([float(exact_price(mi, si)[0] * mpmath.mpf(float(np.exp(-mi)))) for mi, si in zip(m, s, strict=True)])
    assert np.max(np.abs(got - truth) / np.exp(-m)) < 1e-15


def test_implied_deviation_over_its_whole_domain(kernels: Kernels) -> None:
    """Distance to the exact root, by one Newton step in 60 digits from what the kernel returns."""
    m, s = domain()
    price = kernels.apply("out_of_the_money", m, s)
    usable = (price > 1e-300) & (price < 1.0 - 1e-15)
    m, price = m[usable], price[usable]
    assert len(m) > 400
    got = kernels.apply("implied_total_stdev", m, price)
    with mpmath.workdps(60):
        for mi, value, root in zip(m, price, got, strict=True):
            at, slope = exact_price(mi, root)
            error = abs((at - mpmath.mpf(float(value))) / slope / mpmath.mpf(float(root)))
            # The price itself has 53 bits: half a unit in its last place moves the root by this much.
            resolution = 2.3e-16 * float(value / slope / mpmath.mpf(float(root)))
            assert error < 6e-15 + 2 * resolution, (mi, value, root)


@pytest.mark.parametrize("name", ["table", "odd_table"])
def test_smooth_table_has_the_bits_of_numpy(name: str, kernels: Kernels) -> None:
    rng = np.random.default_rng(RNG_SEED)
    table = SmoothTable(0.25, 8.0, rng.normal(size=(30, 8)))
    x = np.concatenate([np.linspace(-1.0, 6.0, 999), [0.25, 0.375, 4.0, 1e9, -1e9, 0.0]])
    t = kernels.apply("asinh_of_positive", np.abs(x)) if name == "odd_table" else x
    p = (t - table.low) * table.inverse_width
    cell = np.clip(np.floor(p), 0, len(table.coefficients) - 1).astype(int)
    u = p - cell - 0.5
    expected = table.coefficients[cell, 7]
    for power in range(6, -1, -1):
        expected = expected * u + table.coefficients[cell, power]
    expected = np.sign(x) * expected if name == "odd_table" else expected
    np.testing.assert_array_equal(kernels.table(name, x, table.low, table.inverse_width, table.coefficients), expected)
