// The correlation regime of a scenario (Regimes of upm_gpu/scenario/regimes.py). Twin: upm_gpu/model/regime_twin.py.
#ifndef UPM_REGIMES_CUH
#define UPM_REGIMES_CUH

#include "philox.cuh"
#include "platform.cuh"

namespace upm {

// The uniform that picks the regime of a scenario.
UPM_INLINE double regime_uniform(u64 seed, u32 scenario, u32 shift, u32 stream) {
  return first_uniform(philox4x32(scenario >> shift, 0u, 0u, stream, (u32)seed, (u32)(seed >> 32)));
}

// Number of thresholds below it.
UPM_INLINE i32 regime_of(u64 seed, u32 scenario, u32 shift, u32 stream, const double* threshold, i32 regimes) {
  const double u = regime_uniform(seed, scenario, shift, stream);
  i32 below = 0;
  for (i32 q = 0; q < regimes - 1; ++q) below += u > threshold[q] ? 1 : 0;
  return below;
}

}  // namespace upm

#endif
