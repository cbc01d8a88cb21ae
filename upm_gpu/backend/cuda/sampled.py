"""The base draws of a sampled walk on a device: Sobol points, antithetic pairs, matched moments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from upm_gpu.backend.cuda.interface import Device
from upm_gpu.backend.cuda.memory import LARGEST_WAVE, Wave
from upm_gpu.model.sampling import factor_words
from upm_gpu.scenario.sets import Heston, SampledWalk, Walk

THREADS = 128
SAMPLERS = {"antithetic": 1, "moment_matching": 2, "sobol": 3, "sobol_shift": 4, "importance": 5}
"""as in kernels/sampled_walk.cuh"""


@dataclass(frozen=True)
class DeviceSampled:
    """A sampled walk in device memory."""

    walk: Any
    """the arrays of the walk inside"""
    sampler: np.int32
    steps: np.int32
    factor_dimension: Any
    mixing_dimension: Any
    direction: Any
    key: Any
    moments: Any
    mixture: tuple[Any, ...]
    """stream, thresholds, how many, shift"""
    turned: tuple[Any, Any, Any] | None
    """of a turned path: its weights, and room for the stretches and weights of a wave"""

    @property
    def clipped(self) -> Any:
        return self.walk.clipped


def upload_sampled(device: Device, sampled: SampledWalk, walk: Any) -> DeviceSampled:
    """`walk` is the uploaded walk inside."""

    def up(values: Any, dtype: type) -> Any:
        return device.upload(np.ascontiguousarray(values, dtype) if np.size(values) else np.zeros(1, dtype))

    mixture = sampled.mixture
    return DeviceSampled(walk, np.int32(SAMPLERS[sampled.sampler]), np.int32(len(sampled.mixing_dimension)), up(sampled.factor_dimension, np.int32),
                         up(sampled.mixing_dimension, np.int32), up(sampled.direction, np.uint32), up(sampled.key, np.uint32), up(sampled.moments, np.float64),
                         (np.uint32(mixture.stream if mixture else 0), up(mixture.threshold if mixture else (), np.float64),
                          np.int32(len(mixture.threshold) if mixture else 0), up(mixture.shift if mixture else (), np.float64)), _room(device, sampled))


def _room(device: Device, sampled: SampledWalk) -> tuple[Any, Any, Any] | None:
    if sampled.path is None:
        return None
    steps = len(sampled.path)
    return (device.upload(np.ascontiguousarray(sampled.path, np.float64)), device.allocate((steps, LARGEST_WAVE), np.float64),
            device.allocate((steps * steps, LARGEST_WAVE), np.float64))


def turn_wave(device: Device, source: DeviceSampled, sampled: SampledWalk, which: tuple[Any, ...], count: np.int32, tiles: int) -> None:
    """Queue the stretches and weights of a wave whose path is turned."""
    mixing = sampled.walk.mixing if isinstance(sampled.walk, Walk) else None
    if source.turned is None or mixing is None:
        return
    path, stretch, weight = source.turned
    device.launch("sampled_walk", "turn_path", (tiles, 1, 1), (THREADS, 1, 1),
                  (source.sampler, *which, count, np.int64(LARGEST_WAVE), source.steps, path, np.int32(sampled.winner_dimension), source.mixing_dimension, source.direction,
                   source.key, np.float64(mixing.low), np.float64(mixing.inverse_width), np.int32(len(mixing.coefficients)), source.walk.mixing, stretch, weight))


def draw_sampled_leg(device: Device, source: DeviceSampled, walk: Walk | Heston, wave: Wave, which: tuple[Any, ...], size: tuple[Any, ...], leg: int, tiles: int) -> None:
    """Queue the normals of a leg into `wave.normal` and its stretch into `wave.stretch`."""
    inside, block, factors = source.walk, (THREADS, 1, 1), factor_words(walk)
    turned = (np.int32(source.turned is not None), np.int64(LARGEST_WAVE))
    stretch, weight = source.turned[1:] if source.turned is not None else (source.moments, source.moments)
    terms = (np.int32(walk.leg_first_term[leg]), np.int32(walk.leg_first_term[leg + 1]))
    device.launch("sampled_walk", "draw_sampled_normals", (tiles, factors, 1), block,
                  (source.sampler, np.uint64(walk.seed), *which, *size, *terms, inside.term_stream, inside.term_step, inside.term_weight, source.steps,
                   source.factor_dimension, source.direction, source.key, source.moments, *source.mixture, *turned, weight, wave.normal))
    if isinstance(walk, Walk) and walk.mixing is not None:
        device.launch("sampled_walk", "draw_sampled_stretch", (tiles, 1, 1), block,
                      (source.sampler, np.uint64(walk.seed), *which, size[0], np.uint32(walk.leg_step[leg]), np.uint32(walk.mixing_stream), source.mixing_dimension,
                       source.direction, source.key, *source.mixture, source.steps, np.int32(len(walk.state_names)), np.float64(walk.mixing.low), np.float64(walk.mixing.inverse_width),
                       np.int32(len(walk.mixing.coefficients)), inside.mixing, *turned, stretch, wave.stretch))
