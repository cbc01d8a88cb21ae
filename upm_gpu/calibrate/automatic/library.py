"""JAX, imported when a fit asks for it: in double precision, and only there.

Double precision is switched on around each call (`jax.enable_x64`), never for the process: what else runs under JAX beside this keeps its own.
"""

from __future__ import annotations

from typing import Any

from upm_gpu.errors import CalibrationError


def jax_library() -> Any:
    """The module. Raises `CalibrationError` UPM-CA-230 where it is not installed, or too old to keep double precision to a block."""
    try:
        import jax
    except ImportError:
        raise CalibrationError("UPM-CA-230", "engine jax: JAX is not installed. Install it with `pip install 'upm-gpu[calibration]'` (on a CUDA machine add `pip install 'jax[cuda12]'`), or take the engine compiled.") from None
    if not hasattr(jax, "enable_x64"):
        raise CalibrationError("UPM-CA-230", f"engine jax: JAX {jax.__version__} is too old. Install a newer one with `pip install 'upm-gpu[calibration]'`, or take the engine compiled.")
    return jax


def device_name(jax: Any) -> str:
    """What JAX computes on, such as `cpu` or `NVIDIA H100`; the first device it sees."""
    device = jax.devices()[0]
    return str(device.device_kind) if device.platform != "cpu" else "cpu"


def on_processor(jax: Any) -> bool:
    """Is the device the machine's own processor?"""
    return bool(jax.devices()[0].platform == "cpu")
