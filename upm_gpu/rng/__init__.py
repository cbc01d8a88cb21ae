"""Random numbers as a function of their address: Philox by counter, normals by inverse distribution, Sobol points."""

from upm_gpu.rng.normal import normal, normal_quantile, student_t_quantile, uniform
from upm_gpu.rng.philox import philox4x32
from upm_gpu.rng.sobol import sobol

__all__ = ["normal", "normal_quantile", "philox4x32", "sobol", "student_t_quantile", "uniform"]
