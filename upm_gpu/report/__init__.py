"""Who reads it: one HTML file, and the explanation of one account. Reads a run folder and nothing else."""

from upm_gpu.report.build import render_report
from upm_gpu.report.explain import explain, render_explain

__all__ = ["explain", "render_explain", "render_report"]
