"""The kernels that draw under the sanitizers, every kind of set as the orchestration launches it; no kernel of the tree is left out; planted faults are seen."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from parity import cases, test_derived, test_regimes, test_sampling
from surfaces import moved

from upm_gpu.backend import cuda
from upm_gpu.pricing.compiled import empty
from upm_gpu.pricing.dynamics import Dynamics
from upm_gpu.scenario.derived import derive

from . import build as emulation
from .device import EmulatedDevice
from .sanitize import run
from .test_sanitizers import SANITIZERS, record_kept, record_rows, record_run

pytestmark = [pytest.mark.sanitizer, pytest.mark.skipif(emulation.unavailable() is not None, reason=str(emulation.unavailable()))]
SCENARIOS = 150
"""more than one tile of 128 columns, and a last one that is not full"""


def garch_sets() -> list:
    return [cases.make_garch(kind, 4096) for kind in ("resampled", "grouped_t", "factor_model", "reverting")] + [test_regimes.mixture("grouped_t", 4096)]


def derived_sets() -> list:
    drawn = test_derived.base("resample", 4096)
    walk, width = cases.make_walk("t_both", 4096), np.full((len(cases.DATES), len(cases.STATE_NAMES)), 0.01)
    extreme = test_derived.running_extreme("high", cases.DATES, cases.STATE_NAMES[0], 0, 1.0, test_derived.Bridges(7, 3, width))
    fixings = [test_derived.running_fixings(kind, cases.DATES, cases.STATE_NAMES[0], kind, {float(cases.DATES[1])}) for kind in test_derived.FIXING_KINDS]
    return [derive(drawn, test_derived.operations(drawn.state_names)), derive(drawn, test_derived.contracts()), derive(walk, [extreme, *fixings]),
            derive(walk, test_derived.exits(1, test_derived.Bridges(7, 3, width)))]


DRAWN: dict[str, tuple[tuple[str, ...], Callable[[], list]]] = {
    "garch": (("garch", "walk"), garch_sets),
    "resample": (("resample",), lambda: [cases.make_resample(4096)]),
    "walk": (("walk", "jumps"), lambda: [cases.make_walk("reverting", 4096), cases.make_walk("jumps", 4096), test_regimes.mixture("t_both", 4096)]),
    "heston": (("heston", "jumps", "walk"), lambda: [cases.make_heston("bates", 4096), cases.make_heston("t_copula", 4096)]),
    "sampled_walk": (("sampled_walk", "walk"), lambda: [test_sampling.sampled(kind, "t_both") for kind in ("owen", "antithetic", "matched")]),
    "derived": (("derived", "resample", "walk"), derived_sets),
    "surface": (("derived", "walk"), lambda: [moved(Dynamics(project=True, sticky_delta=True), 4096)]),
}
"""the modules that the sets of a kind launch kernels of"""


def record(case: Path, kind: str, texts: dict[str, str] | None = None) -> list[str]:
    """Draw a range of each set of a kind, and scenarios by list; the kernels launched."""
    modules, sets = DRAWN[kind]
    device = EmulatedDevice(emulation.build(modules, texts), record=case)
    listed = np.array([0, 3, 900, 4095], np.uint32)
    for scenarios in sets():
        with cuda.prepare(*empty(scenarios.state_names, scenarios.dates), "double", device=device) as prepared:
            cuda.states(prepared, scenarios, 7, 7 + SCENARIOS)
            wave = cuda.memory.open_wave(prepared, scenarios, len(listed), unit=False, pnl=False, floor=cuda.ALIGNMENT)
            cuda.waves.draw(prepared, scenarios, wave, 0, len(listed), listed)
    return device.launches

QUICK = ("garch", "resample", "a count without an atomic", "a residual past the last date", "windows counted without an atomic")
"""the rest is slow: each builds a driver of its own"""


@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in DRAWN])
def test_draws_are_clean(tmp_path: Path, kind: str, sanitizer: str) -> None:
    record(tmp_path / "case", kind)
    verdict = run(tmp_path / "case", DRAWN[kind][0], sanitizer)
    assert verdict.clean, verdict.report


@cache
def kernels() -> set[str]:
    """Every kernel of the tree."""
    texts = emulation.kernel_texts()
    return {name for module in emulation.MODULES for _, name in emulation.KERNEL.findall(texts[f"{module}.cu"])}


def test_no_kernel_is_left_out(tmp_path: Path) -> None:
    """A new kernel must be launched by one of the recordings that the sanitizers watch."""
    launched: set[str] = set()
    for kind in DRAWN:
        launched |= set(record(tmp_path / "case", kind))
    launched |= set(record_run(tmp_path / "case")) | set(record_rows(tmp_path / "case")) | set(record_kept(tmp_path / "case"))
    assert kernels() - launched == set()


PLANTED = {
    # what is wrong: (kind, module, text, replacement, sanitizer, what is reported)
    "a count without an atomic": ("garch", "garch", "atomicAdd(&clipped[k], (u64)1);", "clipped[k]++;", "thread", "data race"),
    "one running sum for all factors": ("garch", "garch", "running[blockIdx.y * stride + s] = 0.0;", "running[s] = 0.0;", "thread", "data race"),
    "one variance for all factors": ("garch", "garch", "const i64 at = k * stride + s;", "const i64 at = s;", "thread", "data race"),
    "a residual past the last date": ("garch", "garch", "residual[k * rows + upm", "residual[k * rows + rows * factors + upm", "address,undefined", "heap-buffer-overflow"),
    "a loading past its row": ("garch", "garch", "load[(i64)(from + j) * width + f]", "load[(i64)(from + j + factors) * width + f]", "address,undefined", "heap-buffer-overflow"),
    "a coefficient past the tables": ("garch", "garch", "table.coefficients + 8 * (i64)table.begin[c]", "table.coefficients + 8 * ((i64)table.begin[c] + table.cells[c])", "address,undefined",
                                      "heap-buffer-overflow"),
    "windows counted without an atomic": ("resample", "resample", "atomicAdd(&clipped[k], (u64)met);", "clipped[k] += (u64)met;", "thread", "data race"),
    "states of one date over another's": ("resample", "resample", "states[((i64)d * factors + k) * stride + s]", "states[s]", "thread", "data race"),
    "a window past the last": ("resample", "resample", "* rows + row];", "* rows + row + rows * dates * factors];", "address,undefined", "heap-buffer-overflow"),
}


@pytest.mark.parametrize("fault", [f if f in QUICK else pytest.param(f, marks=pytest.mark.slow) for f in PLANTED])
def test_planted_faults_are_reported(tmp_path: Path, fault: str) -> None:
    kind, module, old, new, sanitizer, said = PLANTED[fault]
    texts = emulation.kernel_texts()
    assert old in texts[f"{module}.cu"], old
    texts[f"{module}.cu"] = texts[f"{module}.cu"].replace(old, new)
    record(tmp_path / "case", kind)
    verdict = run(tmp_path / "case", DRAWN[kind][0], sanitizer, texts)
    assert not verdict.clean
    assert said in verdict.report and f"{module}.cu" in verdict.report, verdict.report
