// Operations on drawn states: (D, factors, stride) whose first rows of each date are the base's. Formula: derived.cuh; twin: upm_gpu/formula/derived.py.
//
// A launch holds operations of one kind, none of which reads another's outputs: operation `first + blockIdx.y`. A thread is a scenario and goes over the dates. Tables as
// in `Derived` of upm_gpu/scenario/derived.py; `drawn` is the number of base states; events of an operation are counted at its first output.
#include "derived.cuh"
#include "platform.cuh"

using upm::i32;
using upm::i64;
using upm::u32;
using upm::u64;

#define DERIVED_THREADS 128

struct DerivedTable {
  const i32 *first_input, *input, *first_real, *first_output;
  const double* real;
};

// Base states (D, drawn, stride) to their places. Grid (scenario tiles, drawn, D).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(DERIVED_THREADS, 4) place_base(i32 drawn, i32 factors, i32 scenarios, i64 stride, const double* base, double* states) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  if (s >= scenarios) return;
  const i64 state = blockIdx.y, date = blockIdx.z;
  states[(date * factors + state) * stride + s] = base[(date * drawn + state) * stride + s];
}

// One scenario of the states.
struct DerivedPath {
  double* states;
  i64 factors, stride;
};

UPM_INLINE double* at(const DerivedPath& x, i64 date, i64 state) { return x.states + (date * x.factors + state) * x.stride; }

#define UPM_DERIVED_ARGUMENTS \
  i32 first, i32 drawn, i32 dates, i32 factors, i32 scenarios, i64 stride, const double *days, const i32 *first_input, const i32 *input, const i32 *first_real, \
      const double *real, const i32 *first_output, double *states, u64 *events, u32 first_scenario, const u32 *listed, i32 is_listed
#define UPM_DERIVED_PATH \
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x); \
  if (s >= scenarios) return; \
  const i32 op = first + (i32)blockIdx.y; \
  const i32* in = input + first_input[op]; \
  const i32 inputs = first_input[op + 1] - first_input[op]; \
  const double* reals = real + first_real[op]; \
  const i32 out = drawn + first_output[op]; \
  const DerivedPath x = {states + s, factors, stride}; \
  const u32 scenario = is_listed ? listed[s] : first_scenario + (u32)s; \
  (void)scenario;

// Grid (scenario tiles, operations).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(DERIVED_THREADS, 4) derive_linear_combination(UPM_DERIVED_ARGUMENTS) {
  UPM_DERIVED_PATH
  (void)days, (void)events;
  for (i32 d = 0; d < dates; ++d) {
    double total = 0.0;
    for (i32 i = 0; i < inputs; ++i) total = upm::combined(total, reals[d * inputs + i], *at(x, d, in[i]));
    *at(x, d, out) = total;
  }
}

// Grid (scenario tiles, operations).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(DERIVED_THREADS, 4) derive_surface_shift(UPM_DERIVED_ARGUMENTS) {
  UPM_DERIVED_PATH
  (void)days, (void)inputs;
  const i32 expiries = (i32)reals[upm::SURFACE_EXPIRIES];
  upm::SurfaceEvents any = {0, 0, 0};
  for (i32 d = 0; d < dates; ++d) {
    const double skew = in[1] < 0 ? 0.0 : *at(x, d, in[1]), slope = in[2] < 0 ? 0.0 : *at(x, d, in[2]);
    const upm::SurfaceEvents now = upm::surface_shift(reals, *at(x, d, in[0]), skew, slope, at(x, d, out), stride);
    any.shifted |= now.shifted, any.held |= now.held, any.stretched |= now.stretched;
  }
  for (i32 e = 0; e < expiries; ++e) {
    if ((any.shifted >> e) & 1) atomicAdd(&events[out + e], (u64)1);
    if ((any.held >> e) & 1) atomicAdd(&events[out + expiries + e], (u64)1);
    if ((any.stretched >> e) & 1) atomicAdd(&events[out + 2 * expiries + e], (u64)1);
  }
}

// A state that an operation may do without: 0 then.
UPM_INLINE double input_at(const DerivedPath& x, i64 date, i32 state) { return state < 0 ? 0.0 : *at(x, date, state); }

// Inputs: level, basis, funding rate, exchange rate (the last three may be -1). Reals: rate today, ratio, then for each date days of the accrual, whether it ends
// there, scale, the date the level is read at. Grid (scenario tiles, operations).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(DERIVED_THREADS, 4) derive_linear_contract(UPM_DERIVED_ARGUMENTS) {
  UPM_DERIVED_PATH
  (void)inputs, (void)days, (void)events;
  const bool accrues = in[2] >= 0 || reals[0] != 0.0;
  double past = 0.0;
  for (i32 d = 0; d < dates; ++d) {
    const double* r = reals + 2 + 4 * d;
    double accrued = past;
    if (accrues) accrued = past + upm::linear_funding(reals[0] + input_at(x, d, in[2]), r[0], reals[1], *at(x, d, in[0]));
    if (r[1] != 0.0) past = accrued;
    *at(x, d, out) = upm::linear_contract(upm::exp(input_at(x, d, in[3])), r[2], *at(x, (i64)r[3], in[0]), input_at(x, d, in[1]), accrued);
  }
}

// Inputs: the coin in the reporting currency, the level in the contract's, basis, funding rate (the last two may be -1). Reals: rate today, ratio, then for each date
// days of the accrual and whether it ends there. Grid (scenario tiles, operations).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(DERIVED_THREADS, 4) derive_inverse_contract(UPM_DERIVED_ARGUMENTS) {
  UPM_DERIVED_PATH
  (void)inputs, (void)days, (void)events;
  const bool accrues = in[3] >= 0 || reals[0] != 0.0;
  double past = 0.0;
  for (i32 d = 0; d < dates; ++d) {
    const double* r = reals + 2 + 2 * d;
    double accrued = past;
    if (accrues) accrued = past + upm::inverse_funding(reals[0] + input_at(x, d, in[3]), r[0], reals[1], *at(x, d, in[1]));
    if (r[1] != 0.0) past = accrued;
    *at(x, d, out) = upm::inverse_contract(*at(x, d, in[0]), *at(x, d, in[1]), input_at(x, d, in[2]), accrued);
  }
}

// Input: the log-level. Reals: see RunningFixings. Grid (scenario tiles, operations).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(DERIVED_THREADS, 4) derive_running_fixings(UPM_DERIVED_ARGUMENTS) {
  UPM_DERIVED_PATH
  (void)inputs, (void)days, (void)events;
  const i32 kind = (i32)reals[upm::FIXINGS_KIND];
  double so_far = reals[upm::FIXINGS_START];
  for (i32 d = 0; d < dates; ++d) {
    if (reals[upm::FIXINGS_DATES + d] != 0.0) so_far = upm::after_fixing(kind, so_far, *at(x, d, in[0]));
    *at(x, d, out) = so_far;
  }
}

// Inputs: the log-level, its highest and its lowest point. Reals: see RunningExit. Grid (scenario tiles, operations).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(DERIVED_THREADS, 4) derive_running_exit(UPM_DERIVED_ARGUMENTS) {
  UPM_DERIVED_PATH
  (void)inputs, (void)days, (void)events;
  const double lower = reals[upm::EXIT_LOWER], upper = reals[upm::EXIT_UPPER], width = upper - lower;
  double run = 0.0, start = 0.0;
  for (i32 d = 0; d < dates; ++d) {
    const double* r = reals + upm::EXIT_DATES + 3 * d;
    const double u = upm::first_uniform(upm::philox4x32(scenario, (u32)reals[upm::EXIT_FACTOR], (u32)r[1], (u32)reals[upm::EXIT_STREAM], (u32)reals[upm::EXIT_SEED_LOW],
                                                        (u32)reals[upm::EXIT_SEED_HIGH]));
    const double level = *at(x, d, in[0]), variance = r[0];
    const i32 images = (i32)r[2];
    double stays = images < 0 ? 0.0 : upm::bridge_above(start - lower, level - lower, variance);
    for (i32 n = 1; n <= images; ++n) stays += upm::bridge_images(start - lower, level - lower, n * width, variance);
    run = upm::after_exit(run, *at(x, d, in[1]), *at(x, d, in[2]), lower, upper, stays, upm::bridge_above(upper - start, upper - level, variance), u);
    start = level;
    *at(x, d, out) = run;
  }
}

// Input: the log-level. Reals: see RunningExtreme. Grid (scenario tiles, operations).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(DERIVED_THREADS, 4) derive_running_extreme(UPM_DERIVED_ARGUMENTS) {
  UPM_DERIVED_PATH
  (void)inputs, (void)days, (void)events;
  const double side = reals[upm::EXTREME_SIDE];
  double run = 0.0, start = 0.0;
  for (i32 d = 0; d < dates; ++d) {
    const double* r = reals + upm::EXTREME_DATES + 2 * d;
    const double u = upm::first_uniform(upm::philox4x32(scenario, (u32)reals[upm::EXTREME_FACTOR], (u32)r[1], (u32)reals[upm::EXTREME_STREAM],
                                                        (u32)reals[upm::EXTREME_SEED_LOW], (u32)reals[upm::EXTREME_SEED_HIGH]));
    const double end = side * *at(x, d, in[0]);
    run = upm::at_least(upm::bridge_high(start, end, r[0], u), run);
    start = end;
    *at(x, d, out) = side * run;
  }
}
