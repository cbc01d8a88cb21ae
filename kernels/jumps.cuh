// Jumps of a Poisson clock over a base step or a part of one. Twin: reference_jumps in upm_gpu/model/jumps.py, type Jumps in upm_gpu/scenario/sets.py.
#ifndef UPM_JUMPS_CUH
#define UPM_JUMPS_CUH

#include "normal.cuh"
#include "philox.cuh"
#include "platform.cuh"

namespace upm {

// Number of thresholds below u: the inverse of the distribution function they are the values of. At most 64.
UPM_INLINE double jump_count(double u, const double* threshold, i32 most) {
  double n = 0.0;
  for (i32 m = 0; m < most; ++m) n = n + (u > threshold[m] ? 1.0 : 0.0);
  return n;
}

// Sum of n independent normals, given one.
UPM_INLINE double jump_path(double n, double normal) { return sqrt(n) * normal; }

// Log jump of a clock that rang n times.
UPM_INLINE double jump_size(double n, double w, double mean, double deviation) { return n * mean + deviation * w; }

// The same n and w at a date inside the step, from those of the whole step. Splits [first, last) of a tree; thresholds: tables of (most + 1, most).
UPM_INLINE void jump_inside(u64 seed, u32 scenario, u32 clock, i32 first, i32 last, const u32* stream, const u32* step, const i32* side, const i32* table,
                            const double* threshold, i32 most, double* count, double* path) {
  double n = *count, w = *path, taken = 0.0, sum = 0.0;
  for (i32 q = first; q < last; ++q) {
    if (n == 0.0) break;  // nothing left to spread
    const PhiloxWords words = philox4x32(scenario, clock, step[q], stream[q], (u32)seed, (u32)(seed >> 32));
    const double m = jump_count(first_uniform(words), threshold + ((i64)table[q] * (most + 1) + to_int(n)) * most, most);
    const double left = (m / n) * w + sqrt(m * (n - m) / n) * normal_quantile(second_uniform(words));
    if (side[q] == 0) {
      n = m;
      w = left;
    } else {
      taken = taken + m;
      sum = sum + left;
      n = n - m;
      w = w - left;
    }
  }
  *count = taken;
  *path = sum;
}

}  // namespace upm

#endif
