"""Does the margin cover? Tests of value-at-risk and expected shortfall forecasts against what really came."""

from upm_gpu.backtest.coverage import christoffersen, kupiec, kupiec_region, time_until_first_failure
from upm_gpu.backtest.distribution import berkowitz, pit_uniformity
from upm_gpu.backtest.observations import Observations, observe
from upm_gpu.backtest.scores import diebold_mariano, joint_score, quantile_score
from upm_gpu.backtest.shortfall import acerbi_szekely, ridge
from upm_gpu.backtest.zones import overlapping_zones, traffic_light, zone_bounds

__all__ = ["Observations", "acerbi_szekely", "berkowitz", "christoffersen", "diebold_mariano", "joint_score", "kupiec", "kupiec_region", "observe", "overlapping_zones",
           "pit_uniformity", "quantile_score", "ridge", "time_until_first_failure", "traffic_light", "zone_bounds"]
