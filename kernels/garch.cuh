// Scalar pieces of a walk whose variance follows its own moves (GarchWalk of upm_gpu/scenario/volatility_sets.py). Twin:
// upm_gpu/model/garch_twin.py.
#ifndef UPM_GARCH_CUH
#define UPM_GARCH_CUH

#include "platform.cuh"
#include "resample.cuh"
#include "table.cuh"
#include "walk.cuh"

namespace upm {

// Move of a step before centring: sigma times an innovation of unit variance, capped.
UPM_INLINE double garch_move(double sigma, double innovation, double cap) { return clip(sigma * innovation, -cap, cap); }

// Variance of the next step. `falling` is alpha + gamma, what a negative move counts.
UPM_INLINE double garch_variance(double variance, double move, double omega, double alpha, double falling, double beta, double top) {
  const double slope = move < 0.0 ? falling : alpha;
  return at_most((omega + slope * (move * move)) + beta * variance, top);
}

// Marginal law without symmetry: table(sign(z) asinh |z|).
UPM_INLINE double two_sided_place(double z) {
  const double w = asinh_of_positive(absolute(z));
  return z < 0.0 ? -w : w;
}
UPM_INLINE double two_sided_table(double z, double low, double inverse_width, i32 cells, const double* coefficients) {
  return smooth_table(two_sided_place(z), low, inverse_width, cells, coefficients);
}

}  // namespace upm

#endif
