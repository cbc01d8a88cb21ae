"""How bad: value at risk, expected shortfall, their errors, and who contributes."""

from upm_gpu.risk.measures import expected_shortfall, value_at_risk

__all__ = ["expected_shortfall", "value_at_risk"]
