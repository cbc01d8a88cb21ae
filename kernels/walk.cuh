// Scalar pieces of the random walk of upm_gpu/scenario/sets.py (Walk); the loops over legs, factors and dates belong to
// the callers. Twin: reference_states in upm_gpu/model/gbm.py.
#ifndef UPM_WALK_CUH
#define UPM_WALK_CUH

#include "elementary.cuh"
#include "normal.cuh"
#include "philox.cuh"
#include "platform.cuh"
#include "table.cuh"

namespace upm {

// Normal at an address: counter (scenario, factor, step, stream) under the 64-bit seed.
UPM_INLINE double walk_normal(u64 seed, u32 scenario, u32 factor, u32 step, u32 stream) {
  return normal_quantile(first_uniform(philox4x32(scenario, factor, step, stream, (u32)seed, (u32)(seed >> 32))));
}

// Factor by which a leg's normals are stretched under a t copula: exp(mixing(q)), q the normal score of the step's uniform.
UPM_INLINE double walk_stretch(double q, double low, double inverse_width, i32 cells, const double* coefficients) {
  return exp(smooth_table(q, low, inverse_width, cells, coefficients));
}

// Move of a factor over a leg: root x clip(scale x g, -cap, +cap), g the draw after its marginal law.
UPM_INLINE double walk_move(double g, double scale, double cap, double root) { return root * clip(scale * g, -cap, cap); }

// Whether the draw met the cap, for the count.
UPM_INLINE bool walk_clipped(double g, double scale, double cap) { return absolute(scale * g) > cap; }

}  // namespace upm

#endif
