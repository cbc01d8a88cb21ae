// States of resampled rows (Resample of upm_gpu/scenario/volatility_sets.py). Twin: upm_gpu/model/garch_twin.py; formula: resample.cuh.
// Columns of a wave are scenarios as in walk.cu.
#include "platform.cuh"
#include "resample.cuh"

using upm::i32;
using upm::i64;
using upm::u32;
using upm::u64;

// states (dates x factors, stride) from values (dates x factors, rows). The clips of a row are counted once a scenario. Grid (scenario tiles, factors).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(128, 4)
    resample_states(u64 seed, u32 first, const u32* listed, i32 is_listed, i32 scenarios, i64 stride, u32 stream, i32 dates, i32 factors, i64 rows, const double* values,
                    const i32* row_clipped, double* states, u64* clipped) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  const i32 k = (i32)blockIdx.y;
  if (s >= scenarios) return;
  const i64 row = upm::resampled_row(seed, is_listed ? listed[s] : first + (u32)s, 0u, stream, (double)rows);
  for (i32 d = 0; d < dates; ++d) states[((i64)d * factors + k) * stride + s] = values[((i64)d * factors + k) * rows + row];
  const i32 met = row_clipped[k * rows + row];
  if (met) atomicAdd(&clipped[k], (u64)met);
}
