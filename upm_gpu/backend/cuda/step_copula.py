"""The copula of the price motions of stochastic-variance models on a device: one launch of each kind a base step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from upm_gpu.backend.cuda.interface import Device
from upm_gpu.backend.cuda.memory import Wave
from upm_gpu.scenario.sets import Heston, StepCopula

THREADS = 128


@dataclass(frozen=True)
class DeviceStepCopula:
    """The two tables, and the substeps of every base step as the terms of one leg."""

    copula: StepCopula
    marginal: Any
    mixing: Any
    term_stream: Any
    term_step: Any
    term_weight: Any
    workspace: dict[str, Any] = field(default_factory=dict)


def upload_copula(device: Device, h: Heston) -> DeviceStepCopula | None:
    """The copula uploaded; None where there is none."""
    c = h.copula
    if c is None:
        return None
    steps = (int(h.leg_step.max()) // c.substeps + 1) * c.substeps
    return DeviceStepCopula(c, device.upload(c.marginal.coefficients.astype(np.float64)), device.upload(c.mixing.coefficients.astype(np.float64)),
                            device.upload(np.full(steps, c.stream, np.uint32)), device.upload(np.arange(steps, dtype=np.uint32)),
                            device.upload(np.full(steps, 1.0 / np.sqrt(float(c.substeps)))))


def draw_change(device: Device, source: DeviceStepCopula | None, h: Heston, wave: Wave, which: tuple[Any, ...], size: tuple[Any, ...], roots: tuple[Any, ...], leg: int,
                tiles: int) -> tuple[Any, ...]:
    """Queue what the copula makes of the base step of a leg, unless it is at hand; what the leg is told of it: (weight, change)."""
    if source is None:
        return np.float64(0.0), wave.normal
    c, space, underlyings, block = source.copula, source.workspace, len(h.variance0), (THREADS, 1, 1)
    if space.get("stride") != size[1]:
        space.clear()
        space.update(stride=size[1], change=device.allocate((underlyings, int(size[1])), np.float64))
    step = int(h.leg_step[leg]) // c.substeps
    if space.get("step") != step:
        space["step"] = step
        device.launch("walk", "draw_normals", (tiles, 2 * underlyings, 1), block,
                      (np.uint64(h.seed), *which, *size, np.int32(step * c.substeps), np.int32((step + 1) * c.substeps), source.term_stream, source.term_step, source.term_weight,
                       wave.normal))
        device.launch("walk", "draw_stretch", (tiles, 1, 1), block,
                      (np.uint64(h.seed), *which, size[0], np.uint32(step), np.uint32(c.mixing_stream), np.float64(c.mixing.low), np.float64(c.mixing.inverse_width),
                       np.int32(len(c.mixing.coefficients)), source.mixing, wave.stretch))
        device.launch("heston", "heston_copula", (tiles, underlyings, 1), block,
                      (np.int32(underlyings), *size, *roots, wave.normal, wave.stretch, np.float64(c.marginal.low), np.float64(c.marginal.inverse_width),
                       np.int32(len(c.marginal.coefficients)), source.marginal, space["change"]))
    return np.float64(c.leg_weight[leg]), space["change"]


def forget_step(source: DeviceStepCopula | None) -> None:
    """Before another wave: the change at hand is that of other scenarios."""
    if source is not None:
        source.workspace.pop("step", None)
