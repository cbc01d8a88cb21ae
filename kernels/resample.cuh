// Scalar pieces of resampling by date. Twin: upm_gpu/model/garch_twin.py.
#ifndef UPM_RESAMPLE_CUH
#define UPM_RESAMPLE_CUH

#include "normal.cuh"
#include "philox.cuh"
#include "platform.cuh"

namespace upm {

// One of `rows` rows, for all factors: counter (scenario, 0, step, stream).
UPM_INLINE i32 resampled_row(u64 seed, u32 scenario, u32 step, u32 stream, double rows) {
  const double u = first_uniform(philox4x32(scenario, 0u, step, stream, (u32)seed, (u32)(seed >> 32)));
  return to_int(at_most(floor(u * rows), rows - 1.0));
}

}  // namespace upm

#endif
