"""How a sampled walk draws, as the C struct of libupm_host."""

from __future__ import annotations

import ctypes

import numpy as np

from upm_gpu.backend.cpu.library import HestonStruct, Keep, ScenariosStruct
from upm_gpu.scenario.sets import Heston, SampledWalk

KIND = 30
"""of `kernels/models.def`"""
SAMPLERS = {"antithetic": 1, "moment_matching": 2, "sobol": 3, "sobol_shift": 4, "importance": 5}
"""as in kernels/sampled_walk.cuh"""


class DrawsStruct(ctypes.Structure):
    """UpmDraws of kernels/host/abi.h."""

    _fields_ = (
        ("sampler", ctypes.c_int32), ("dense", ctypes.c_int32), ("steps", ctypes.c_int64), ("dimensions", ctypes.c_int64), ("blocks", ctypes.c_int64),
        ("direction", ctypes.c_void_p), ("key", ctypes.c_void_p), ("factor_dimension", ctypes.c_void_p), ("mixing_dimension", ctypes.c_void_p),
        ("moments", ctypes.c_void_p), ("components", ctypes.c_int64), ("mixture_stream", ctypes.c_uint32), ("reserved", ctypes.c_uint32), ("threshold", ctypes.c_void_p),
        ("shift", ctypes.c_void_p), ("path", ctypes.c_void_p), ("winner_dimension", ctypes.c_int64),
        ("factors", ctypes.c_int64),
    )


def sampled_walk_struct(sampled: SampledWalk, struct: ScenariosStruct, keep: Keep) -> ScenariosStruct:
    """`struct` of the walk inside, with how its base normals are drawn behind `model`, or behind the `draws` of Heston's."""
    size, steps, dimensions, blocks = sampled.factor_dimension.shape[1], len(sampled.mixing_dimension), len(sampled.direction), len(sampled.moments)
    draws = DrawsStruct(
        sampler=SAMPLERS[sampled.sampler], dense=int(sampled.dense), steps=steps, factors=size, dimensions=dimensions, blocks=blocks,
        direction=keep(sampled.direction, np.uint32, (dimensions, sampled.direction.shape[1])), key=keep(sampled.key, np.uint32, (dimensions, *sampled.key.shape[1:])),
        factor_dimension=keep(sampled.factor_dimension, np.int32, (steps, size)), mixing_dimension=keep(sampled.mixing_dimension, np.int32, (steps,)),
        moments=keep(sampled.moments, np.float64, (blocks, steps, size, 2)),
    )
    mixture = sampled.mixture
    if mixture is not None:
        components = len(mixture.chance)
        draws.components, draws.mixture_stream = components, mixture.stream
        draws.threshold = keep(mixture.threshold, np.float64, (components - 1,))
        draws.shift = keep(mixture.shift, np.float64, (components, steps, size + 1))
    if sampled.path is not None:
        draws.path, draws.winner_dimension = keep(sampled.path, np.float64, (steps, steps)), sampled.winner_dimension
        struct.scratch += steps * size
    keep.arrays.append(draws)
    if isinstance(sampled.walk, Heston):
        HestonStruct.from_address(struct.model).draws = ctypes.addressof(draws)
    else:
        struct.kind, struct.model = KIND, ctypes.addressof(draws)
    return struct
