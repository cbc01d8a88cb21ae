// Scalar pieces of the operations on drawn states (derived.def). Twin: upm_gpu/formula/derived.py. Scalars in, scalars out; no indexing.
#ifndef UPM_DERIVED_CUH
#define UPM_DERIVED_CUH

#include "elementary.cuh"
#include "philox.cuh"
#include "platform.cuh"
#include "surface_shift.cuh"

namespace upm {

// One more term of a linear combination.
UPM_INLINE double combined(double total, double weight, double x) { return total + weight * x; }

// Funding of `days` at `rate` a day on the index of the date, in units of today's price of the contract: `ratio` is index over price (linear), price over index
// (inverse); a payment in coins is one over the index.
UPM_INLINE double linear_funding(double rate, double days, double ratio, double level) { return rate * days * ratio * exp(level); }
UPM_INLINE double inverse_funding(double rate, double days, double ratio, double level) { return rate * days * ratio * exp(-level); }

// P&L over C F_0 X_0 of a contract that pays C (F - F_0) - funding in a currency worth `money` times what it was; F = scale F_0 exp(level + basis).
UPM_INLINE double linear_contract(double money, double scale, double level, double basis, double accrued) { return money * (scale * exp(level + basis) - 1.0 - accrued); }

// P&L over C S_0 / F_0 of a contract that pays C (1/F_0 - 1/F) - funding in coins: `value` is the coin's log-change in the reporting currency, `level` in the contract's.
UPM_INLINE double inverse_contract(double value, double level, double basis, double accrued) { return exp(value) * (1.0 - accrued) - exp(value - level - basis); }

// Highest point of a Brownian bridge of `variance` between two levels, from a uniform: P(max >= b) = exp(-2 (b - start) (b - end) / variance).
UPM_INLINE double bridge_high(double start, double end, double variance, double u) {
  const double move = end - start;
  return 0.5 * (start + end + sqrt(move * move - 2.0 * variance * log(u)));
}

// What the images `far` = n widths away either side add to the share of Brownian bridges of `variance` that stay between 0 and the width, from `start` to `end`; and that of
// the lower barrier alone. The density over that without barriers: Karatzas and Shreve 1991, "Brownian Motion and Stochastic Calculus", section 2.8.
UPM_INLINE double bridge_images(double start, double end, double far, double variance) {
  const double move = end - start;
  return exp(-2.0 * far * (far - move) / variance) + exp(-2.0 * far * (far + move) / variance) - exp(-2.0 * (start - far) * (end - far) / variance) -
         exp(-2.0 * (start + far) * (end + far) / variance);
}
UPM_INLINE double bridge_above(double start, double end, double variance) { return 1.0 - exp(-2.0 * start * end / variance); }

// 1 once a path has left the levels between two barriers, else 0. Its extremes settle it if they reach either; if not, the lower barrier may have been reached all the same,
// because the highest point is known to lie below the upper one: with probability 1 - stays / below, where the lowest point alone says 1 - above, which is less.
UPM_INLINE double after_exit(double so_far, double high, double low, double lower, double upper, double stays, double below, double u) {
  return so_far != 0.0 || high >= upper || low <= lower || !((1.0 - u) * below < stays) ? 1.0 : 0.0;
}

// What a fixing at a log-level makes of the levels over today's added up (0), the log-levels added up (1), the highest (2) or the lowest (3) log-level.
UPM_INLINE double after_fixing(i32 kind, double so_far, double level) {
  return kind == 0 ? so_far + exp(level) : kind == 1 ? so_far + level : kind == 2 ? at_least(level, so_far) : at_most(level, so_far);
}

// Reals of running_fixings: kind, value before the first fixing, then 1 for each date that is a fixing, else 0.
enum RunningFixings { FIXINGS_KIND, FIXINGS_START, FIXINGS_DATES };

// Reals of running_extreme: seed (two words), stream word, factor word, side, then for each date the variance of the interval that ends there and its step word.
enum RunningExtreme { EXTREME_SEED_LOW, EXTREME_SEED_HIGH, EXTREME_STREAM, EXTREME_FACTOR, EXTREME_SIDE, EXTREME_DATES };

// Reals of running_exit: seed (two words), stream word, factor word, lower and upper barrier, then for each date the variance of the interval that ends there, its step
// word and how many images either side are summed; -1: the width is so small that no bridge stays.
enum RunningExit { EXIT_SEED_LOW, EXIT_SEED_HIGH, EXIT_STREAM, EXIT_FACTOR, EXIT_LOWER, EXIT_UPPER, EXIT_DATES };
#define UPM_MOST_IMAGES 32

}  // namespace upm

#endif
