"""Random and quasi-random numbers against published vectors: is a generator the one it says it is?"""

from __future__ import annotations

import numpy as np
import pytest
from reference_cases import cases, group
from scipy.stats import qmc

from upm_gpu.errors import InputError
from upm_gpu.rng import normal, normal_quantile, philox, philox4x32, sobol, uniform
from upm_gpu.rng.normal import uniform_at, uniform_from_words
from upm_gpu.rng.streams import BRIDGE, FACTOR, stream_word

TOPIC = "5_rng_and_numerics"


def test_every_case_of_the_topic_is_tested():
    here = {"philox_extra_computed", "random123_kat", "numpy_philox4x64", "sobol"}
    elsewhere = {"bivariate_normal_haug", "bivariate_t_dunnett_sobel", "log_ndtr_scipy", "multivariate_t_pdf", "normal_cdf_computed",
                 "normal_quantile_as241", "normal_quantile_computed", "student_t_quantile_computed"}
    assert {case["group"] for case in cases(TOPIC)} == here | elsewhere


@pytest.mark.parametrize(("inputs", "expected", "model"), [
    pytest.param(case["inputs"], case["expected"], case["model"], id=case["id"])
    for case in cases(TOPIC) if case["group"] in ("philox_extra_computed", "random123_kat")])
def test_known_answer_vectors(inputs, expected, model):
    generator = getattr(philox, model)
    counter, key = ([int(word, 16) for word in inputs[name]] for name in ("counter_hex", "key_hex"))
    words = generator(counter, key, inputs["rounds"])
    assert [int(word) for word in words] == [int(word, 16) for word in expected["output_hex"]]


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "numpy_philox4x64"))
def test_numpys_philox(inputs, expected, tolerance):
    seed = [int(word, 16) for word in inputs["seed_hex"]]
    key = np.random.SeedSequence(seed).generate_state(2, np.uint64)
    counter = np.zeros((3, 4), np.uint64)
    counter[:, 0] = [1, 2, 3]
    assert [int(word) for word in philox.philox4x64(counter, key).ravel()] == [int(word, 16) for word in expected["first_12_uint64_hex"]]


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "sobol"))
def test_sobol_points(inputs, expected, tolerance):
    index = inputs.get("point_indices", list(range(inputs.get("points", 0))))
    assert index == list(range(index[0], index[0] + len(index)))
    points = sobol(len(index), inputs["dimension"], skip=index[0])
    assert points[:, inputs.get("coordinates", slice(None))].tolist() == expected["points"]


@pytest.mark.parametrize("dimensions", [1, 7, 40, 1111])
def test_sobol_agrees_with_scipy(dimensions):
    assert np.array_equal(sobol(128, dimensions), qmc.Sobol(dimensions, scramble=False, bits=52).random(128))


def test_sobol_skips_far():
    engine = qmc.Sobol(50, scramble=False, bits=30)
    engine.fast_forward(123_456_789)
    assert np.array_equal(sobol(5, 50, skip=123_456_789), engine.random(5))
    assert np.array_equal(sobol(9, 3, skip=(1 << 52) - 9)[4:], sobol(5, 3, skip=(1 << 52) - 5))


def test_sobol_refuses_what_it_does_not_have():
    with pytest.raises(InputError, match="UPM-CF-082"):
        sobol(4, 21_202)
    with pytest.raises(InputError, match="UPM-CF-083"):
        sobol(1, 1, skip=1 << 52)


def test_generators_broadcast_and_keep_types():
    counter = np.zeros((5, 3, 4), np.uint32)
    counter[..., 0] = np.arange(5)[:, None]
    words = philox4x32(counter, [7, 9])
    assert words.shape == (5, 3, 4)
    assert words.dtype == np.uint32
    assert np.array_equal(words[3, 1], philox4x32([3, 0, 0, 0], [7, 9]))


def test_uniform_extremes_are_inside_the_unit_interval():
    lowest, highest = uniform_from_words(np.uint32([0, 0xFFF]), np.uint32([0, 0])), uniform_from_words(np.uint32(0xFFFFFFFF), np.uint32(0xFFFFFFFF))
    assert lowest.tolist() == [2.0**-53, 2.0**-53]  # the 12 low bits of w0 do not matter
    assert highest == 1.0 - 2.0**-53
    assert np.array_equal(np.abs(normal_quantile(np.r_[lowest[0], highest])), [8.209536151601387] * 2)


def test_layout_of_a_draw():
    """The address of one normal, spelled out: this is the format every backend and every stored run relies on."""
    seed, stream, scenario, factor, step = (123 << 32) | 45, 6, 1000, 3, 17
    w = [int(x) for x in philox4x32([scenario, factor, step, (stream << 8) | FACTOR], [45, 123])]
    k = ((w[1] << 32) | w[0]) >> 12
    expected = float(normal_quantile((k + 0.5) * 2.0**-52))
    drawn = normal(seed, stream, range(scenario, scenario + 2), factor + 1, range(step, step + 1))
    assert drawn.shape == (factor + 1, 1, 2)
    assert drawn[factor, 0, 0] == expected
    assert uniform(seed, stream, [scenario], [factor], [step])[0, 0, 0] == (k + 0.5) * 2.0**-52


def test_streams_differ_and_are_checked():
    ids = np.arange(4, dtype=np.uint32)
    assert not np.array_equal(uniform_at(1, ids, 0, 0, stream_word(0, FACTOR)), uniform_at(1, ids, 0, 0, stream_word(0, BRIDGE)))
    assert stream_word((1 << 24) - 1, 255) == 0xFFFFFFFF
    with pytest.raises(InputError, match="UPM-CF-080"):
        stream_word(1 << 24, 0)
    for seed in (-1, 1 << 64):
        with pytest.raises(InputError, match="UPM-CF-081"):
            normal(seed, 0, 1, 1)
