// Scalar pieces of resampling by date. Twin: upm_gpu/model/garch_twin.py.
#ifndef UPM_RESAMPLE_CUH
#define UPM_RESAMPLE_CUH

#include "normal.cuh"
#include "philox.cuh"
#include "platform.cuh"

namespace upm {

// One of `rows` rows, for all factors: counter (scenario, 0, step, stream).
UPM_INLINE i32 row_of_uniform(double u, double rows) { return to_int(at_most(floor(u * rows), rows - 1.0)); }
UPM_INLINE i32 resampled_row(u64 seed, u32 scenario, u32 step, u32 stream, double rows) {
  return row_of_uniform(first_uniform(philox4x32(scenario, 0u, step, stream, (u32)seed, (u32)(seed >> 32))), rows);
}

}  // namespace upm

#endif
