"""What a walk is made of: tables, bridge, centring, repaired correlations, and the parameters it refuses."""

from __future__ import annotations

from dataclasses import replace

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from upm_gpu.errors import CalibrationError, InputError
from upm_gpu.model.bridge import bridge_terms
from upm_gpu.model.centring import student_t_centring
from upm_gpu.model.gbm import GbmParameters, reference_states, walk
from upm_gpu.model.psd import correlation_cholesky, nearest_correlation
from upm_gpu.model.tables import evaluate_table, marginal_map, marginal_table, mixing_table, unit_scale
from upm_gpu.rng.streams import BRIDGE_END, FACTOR

HOUSE = settings(max_examples=40, deadline=None, derandomize=True)
INFINITE = float("inf")


@pytest.mark.parametrize("nu", [2.01, 2.5, 4.0, 7.3, 30.0, 200.0])
def test_mixing_table_in_multiple_precision(nu):
    """sqrt(nu / chi2) within 1e-13 relative over the scores a 52-bit uniform can have."""
    table, a = mixing_table(nu), mpmath.mpf(nu) / 2
    for q in (-8.2, -5.1, -1.37, 0.0, 0.61, 3.3, 6.02, 8.2095):
        with mpmath.workdps(40):
            u = mpmath.ncdf(q)
            x = a / mpmath.exp(2 * mpmath.mpf(float(evaluate_table(table, np.float64(q)))))
            for _ in range(4):  # Newton on the logarithm of the smaller tail of chi2 / 2
                if q < 0:
                    found, target, sign = mpmath.gammainc(a, x, mpmath.inf, regularized=True), u, -1
                else:
                    found, target, sign = mpmath.gammainc(a, 0, x, regularized=True), mpmath.ncdf(-q), 1
                density = mpmath.exp((a - 1) * mpmath.log(x) - x - mpmath.loggamma(a))
                x -= sign * mpmath.log(found / target) * found / density
            exact = mpmath.sqrt(a / x)
            assert abs(mpmath.exp(mpmath.mpf(float(evaluate_table(table, np.float64(q))))) / exact - 1) < 1e-13


@pytest.mark.parametrize(("marginal", "copula"), [(3.0, INFINITE), (2.1, INFINITE), (INFINITE, 4.0), (INFINITE, 2.1), (3.0, 4.0), (4.0, 3.0), (30.0, 2.2)])
def test_marginal_table_in_multiple_precision(marginal, copula):
    """g(y) within 1e-13 of max(1, |g|): the root of Q_m(g) = F_c(y), unit variance."""
    table = marginal_table(marginal, copula)
    scale = unit_scale(marginal) if np.isfinite(marginal) else 1.0

    def log_tail(y, nu):
        if nu == INFINITE:
            return mpmath.log(mpmath.ncdf(-y))
        n = mpmath.mpf(nu)
        return mpmath.log(mpmath.betainc(n / 2, mpmath.mpf(1) / 2, 0, n / (n + y * y), regularized=True) / 2)

    for y in (1e-3, 0.1, 0.7, 2.3, 5.9, 8.0):
        found = float(evaluate_table(table, np.arcsinh(np.float64(y))))
        with mpmath.workdps(40):
            target, t = log_tail(mpmath.mpf(y), copula), mpmath.mpf(found / scale)
            for _ in range(5):
                slope = mpmath.diff(lambda v: log_tail(v, marginal), t)
                t -= (log_tail(t, marginal) - target) / slope
            exact = t * mpmath.mpf(scale)
            assert abs(found - exact) <= 1e-13 * max(1, abs(exact)), (y, found, exact)


def test_marginal_map_is_odd_increasing_and_of_unit_variance():
    y = np.linspace(-9.0, 9.0, 2001)
    for marginal, copula in ((3.0, INFINITE), (INFINITE, 4.0), (5.0, 3.0)):
        g = marginal_map(y, marginal, copula)
        assert np.array_equal(marginal_map(-y, marginal, copula), -g)
        assert np.all(np.diff(g) > 0.0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    g = marginal_map(nodes, 12.0, INFINITE)
    assert np.sum(weights * g * g) / np.sqrt(2.0 * np.pi) == pytest.approx(1.0, rel=1e-6)


def test_tables_stay_sane_beyond_their_ends():
    """No draw gets there, but a table must not turn over where a neighbour could ask."""
    table = marginal_table(3.0, 4.0)
    top = table.low + len(table.coefficients) / table.inverse_width
    assert evaluate_table(table, np.float64(top + 0.5 / table.inverse_width)) > evaluate_table(table, np.float64(top))


@pytest.mark.parametrize("nu", [2.0, 1.0, 0.0, -3.0, float("nan"), INFINITE])
def test_no_variance_is_refused(nu):
    with pytest.raises(CalibrationError, match="UPM-CA-050"):
        mixing_table(nu)


def covariance(a, b) -> float:
    first = {(stream, word): weight for stream, word, weight in a}
    return sum(weight * first.get((stream, word), 0.0) for stream, word, weight in b)


@HOUSE
@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_bridge_has_the_covariance_of_brownian_motion(s, t):
    """cov(B(s), B(t)) = min(s, t), exact unless both lie in one interval of 1/256; unit variance always."""
    terms = [bridge_terms(3, f, 1000 + i) for i, f in enumerate((s, t))]
    for one, f in zip(terms, (s, t), strict=True):
        assert covariance(one, one) == pytest.approx(1.0, abs=1e-14)
        assert one[0][:2] == (FACTOR, 3)
        assert covariance(one, [(FACTOR, 3, 1.0)]) == pytest.approx(np.sqrt(f), rel=1e-14)
        assert len(one) <= 10
        assert all(3 * 256 < word < 4 * 256 for stream, word, _ in one if stream not in (FACTOR, BRIDGE_END))
    if int(s * 256) != int(t * 256):
        assert covariance(*terms) * np.sqrt(s * t) == pytest.approx(min(s, t), abs=1e-13)


def test_bridge_on_a_node_needs_no_residual():
    assert [(stream, word) for stream, word, _ in bridge_terms(0, 0.5, 1)] == [(0, 0), (2, 1)]
    assert all(stream != BRIDGE_END for stream, _, _ in bridge_terms(0, 3.0 / 256.0, 1))
    assert bridge_terms(0, 0.3, 77)[-1][:2] == (BRIDGE_END, 77)


@pytest.mark.parametrize(("marginal", "copula", "part"), [(4.0, 4.0, 1.0), (3.0, INFINITE, 1.0), (3.0, 5.0, 0.3), (INFINITE, 4.0, 0.7), (2.2, 3.0, 1.0 / 24.0)])
def test_compiled_law_is_centred(marginal, copula, part):
    """E exp(x + centre) = 1 by quadrature over the latent law, through the compiled table, scale and truncation."""
    given_ = GbmParameters(("log_level[A]",), np.array([0.3]), np.eye(1), copula="gaussian" if copula == INFINITE else "student_t", copula_degrees_of_freedom=copula,
                           marginal=("gaussian" if marginal == INFINITE else "student_t",), marginal_degrees_of_freedom=np.array([marginal]))
    built = walk(given_, np.array([part]), 0, 0, 1)
    nodes, weights = np.polynomial.legendre.leggauss(20)
    limit = 9.0 if copula == INFINITE else 16.0
    edges = np.linspace(-limit, limit, 4001)  # many panels: the truncation is a kink
    half = 0.5 * np.diff(edges)[:, None]
    w = 0.5 * (edges[:-1] + edges[1:])[:, None] + half * nodes
    if copula == INFINITE:
        y, density = w, np.exp(-0.5 * w * w) / np.sqrt(2.0 * np.pi)
    else:
        y = np.sinh(w)
        density = float(special.poch(0.5 * copula, 0.5)) / np.sqrt(copula * np.pi) * (1.0 + y * y / copula) ** (-0.5 * (copula + 1.0)) * np.cosh(w)
    g = y if built.marginal[0] < 0 else np.copysign(evaluate_table(built.tables[built.marginal[0]], np.arcsinh(np.abs(y))), y)
    root = built.leg_root[-1]
    x = root * np.clip(built.scale[0] * g, -built.max_log_move[0], built.max_log_move[0])
    inside = np.sum(half * weights * density * np.expm1(x + built.centre[0, 0]))
    assert inside == pytest.approx(0.0, abs=3e-9 if np.isfinite(marginal) else 1e-12)  # the kink costs 1e-9; see the next test for digits


@pytest.mark.parametrize(("volatility", "nu", "limit", "length"), [(0.04, 4.0, 1.5, 1.0), (0.3, 2.05, 1.5, 0.3), (0.01, 3.0, 1.5, 1.0 / 24.0), (0.8, 30.0, 0.5, 1.0)])
def test_centring_in_multiple_precision(volatility, nu, limit, length):
    with mpmath.workdps(30):
        n = mpmath.mpf(nu)
        size, root = mpmath.mpf(volatility) * mpmath.sqrt((n - 2) / n), mpmath.sqrt(mpmath.mpf(length))
        constant = mpmath.gamma((n + 1) / 2) / mpmath.sqrt(n * mpmath.pi) / mpmath.gamma(n / 2)
        end = limit / size
        inside = mpmath.quad(lambda t: 4 * constant * (1 + t * t / n) ** (-(n + 1) / 2) * mpmath.sinh(root * size * t / 2) ** 2,
                             [0, *[mpmath.mpf(10) ** k for k in range(-1, 6) if 10.0**k < end], end])
        beyond = mpmath.betainc(n / 2, mpmath.mpf(1) / 2, 0, n / (n + end * end), regularized=True) * 2 * mpmath.sinh(root * limit / 2) ** 2
        exact = float(-mpmath.log(1 + inside + beyond))
    assert student_t_centring(volatility, nu, limit, length) == pytest.approx(exact, rel=1e-13)


def test_whole_steps_add_their_centring():
    built = walk(GbmParameters(("log_level[A]",), np.array([0.3]), np.eye(1), marginal=("student_t",), marginal_degrees_of_freedom=np.array([4.0])),
                 np.array([0.25, 1.0, 3.0, 3.25]), 0, 0, 1)
    c = built.centre[:, 0]
    assert c[2] == 3.0 * c[1]
    assert c[3] == c[2] + c[0]


def test_higham_example():
    """Higham (2002): the nearest correlation matrix of [[1, 1, 0], [1, 1, 1], [0, 1, 1]] is 0.5278 away."""
    repair = nearest_correlation(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]), limit=1.0)
    assert repair.correlation[np.triu_indices(3, 1)] == pytest.approx([0.7607, 0.1573, 0.7607], abs=5e-5)
    assert repair.distance == pytest.approx(0.5278, abs=5e-5)
    assert repair.lowest_eigenvalue == pytest.approx(1.0 - np.sqrt(2.0), abs=1e-12)


@HOUSE
@given(st.integers(0, 10_000), st.integers(2, 12))
def test_repair_gives_a_correlation_that_can_be_drawn_from(seed, size):
    noise = np.random.default_rng(seed).uniform(-1.0, 1.0, (size, size))
    given_ = np.clip(0.5 * (noise + noise.T), -1.0, 1.0)
    np.fill_diagonal(given_, 1.0)
    repair = nearest_correlation(given_, limit=10.0)
    lower = correlation_cholesky(repair.correlation)
    assert np.linalg.eigvalsh(repair.correlation)[0] > -1e-10
    assert np.array_equal(np.diag(repair.correlation), np.ones(size))
    assert np.abs(lower @ lower.T - repair.correlation).max() < 1e-5
    assert np.sum(lower * lower, axis=1) == pytest.approx(np.ones(size), abs=1e-14)
    again = nearest_correlation(repair.correlation)
    assert again.distance == 0.0
    assert again.correlation is not None


def test_a_matrix_too_far_from_a_correlation_is_refused_by_name():
    given_ = np.array([[1.0, 0.9, 0.9], [0.9, 1.0, -0.9], [0.9, -0.9, 1.0]])
    with pytest.raises(CalibrationError, match=r"UPM-CA-056.*\([AB], [BC]\) from"):
        nearest_correlation(given_, ("A", "B", "C"))
    with pytest.raises(CalibrationError, match=r"UPM-CA-057.*factor C"):
        correlation_cholesky(given_, ("A", "B", "C"))


@pytest.mark.parametrize("signs", [[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]])
def test_rank_one_correlations_are_drawn_exactly(signs):
    """Correlation to one: every factor is the first one or its mirror."""
    lower = correlation_cholesky(np.outer(signs, signs))
    assert lower.tolist() == [[s, 0.0, 0.0] for s in signs]


@pytest.mark.parametrize("spoil", [np.nan, 1.5, "asymmetric", "diagonal"])
def test_what_is_no_correlation_at_all_is_refused(spoil):
    matrix = np.eye(3)
    if spoil == "asymmetric":
        matrix[0, 1] = 0.5
    elif spoil == "diagonal":
        matrix[2, 2] = 0.9
    else:
        matrix[0, 1] = matrix[1, 0] = spoil
    with pytest.raises(CalibrationError, match="UPM-CA-055"):
        nearest_correlation(matrix, ("A", "B", "C"))
    with pytest.raises(CalibrationError, match="UPM-CA-054"):
        nearest_correlation(np.ones((2, 3)))


GOOD = GbmParameters(("log_level[A]", "volatility_shift[A]"), np.array([0.04, 0.05]), np.eye(2), "student_t", 4.0, ("student_t", "gaussian"), np.array([4.0, np.nan]))


@pytest.mark.parametrize(("change", "code"), [
    ({"daily_volatility": np.array([0.04, -0.05])}, "CA-060"), ({"daily_volatility": np.array([0.04, np.nan])}, "CA-060"),
    ({"daily_volatility": np.array([0.04])}, "CA-059"), ({"correlation": np.eye(3)}, "CA-059"), ({"state_names": ("log_level[A]",) * 2}, "CA-059"),
    ({"marginal": ("cauchy", "gaussian")}, "CA-058"), ({"copula": "clayton"}, "CA-058"), ({"copula_degrees_of_freedom": 2.0}, "CA-050"),
    ({"marginal_degrees_of_freedom": np.array([1.9, 4.0])}, "CA-050"), ({"marginal_degrees_of_freedom": None}, "CA-050"),
    ({"max_log_move": np.array([np.inf, 1.5])}, "CA-053"), ({"max_log_move": np.array([0.0, 1.5])}, "CA-053"), ({"measure": "real"}, "CA-061"),
    ({"step_days": 0.0}, "CF-085"), ({"state_names": ("log_level[A]", "rate[USD]")}, "CA-052")])
def test_parameters_that_cannot_be_used_are_refused(change, code):
    walk(GOOD, np.array([1.0]), 0, 0, 1)
    with pytest.raises(InputError, match=f"UPM-{code}"):
        walk(replace(GOOD, **change), np.array([1.0]), 0, 0, 1)


@pytest.mark.parametrize(("dates", "seed", "stream", "count", "code"), [
    ([0.0], 0, 0, 1, "CF-086"), ([2.0, 1.0], 0, 0, 1, "CF-086"), ([1.0, 1.0], 0, 0, 1, "CF-086"), ([np.nan], 0, 0, 1, "CF-086"), ([], 0, 0, 1, "CF-086"),
    ([1e9], 0, 0, 1, "CF-084"), ([1.0], -1, 0, 1, "CF-081"), ([1.0], 0, 1 << 24, 1, "CF-080"), ([1.0], 0, 0, 0, "CF-087"), ([1.0], 0, 0, 1 << 32, "CF-087")])
def test_requests_that_cannot_be_met_are_refused(dates, seed, stream, count, code):
    with pytest.raises(InputError, match=f"UPM-{code}"):
        walk(GOOD, np.array(dates), seed, stream, count)


def test_shapes_and_addresses_of_a_walk():
    built = walk(GOOD, np.array([0.5, 2.0, 2.0 + 1.0 / 24.0]), 9, 3, 10)
    assert built.leg_step.tolist() == [0, 1, 0, 2]
    assert built.date_whole.tolist() == [0, 2, 2]
    assert built.date_leg.tolist() == [2, -1, 3]
    assert built.leg_root == pytest.approx([1.0, 1.0, np.sqrt(0.5), np.sqrt(1.0 / 24.0)], rel=1e-12)
    assert built.leg_first_term[:4].tolist() == [0, 1, 2, 4]
    assert built.term_stream[:4].tolist() == [3 << 8, 3 << 8, 3 << 8, (3 << 8) | 2]
    assert built.term_step[:4].tolist() == [0, 1, 0, 1]
    assert built.marginal.tolist() == [-1, 0]
    assert built.scale == pytest.approx([0.04 * np.sqrt(0.5), 0.05], rel=1e-15)
    assert built.max_log_move.tolist() == [1.5, np.inf]
    assert built.mixing_stream == (3 << 8) | 1
    states, clipped = reference_states(built, 2, 7)
    assert states.shape == (3, 2, 5)
    assert clipped.shape == (2,)


def test_a_factor_without_volatility_stays():
    states, clipped = reference_states(walk(replace(GOOD, daily_volatility=np.zeros(2)), np.array([0.3, 5.0]), 0, 0, 64), 0, 64)
    assert not states.any()
    assert not clipped.any()
