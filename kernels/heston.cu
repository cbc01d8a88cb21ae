// States of the Heston and Bates models. Twin: reference_states in upm_gpu/model/heston.py; formula: heston.cuh. Normals come from draw_normals of walk.cu, jumps from
// jumps.cu. Arrays: normal, running (K, stride), states (D, K, stride); rows 2u log-price, 2u + 1 variance, then shifts by expiry.
#include "heston.cuh"
#include "platform.cuh"

using upm::i32;
using upm::i64;
using upm::u32;
using upm::u64;

#define HESTON_THREADS 128

// Grid (scenario tiles, U).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(HESTON_THREADS, 4) start_heston(i32 scenarios, i64 stride, const double* variance0, double* running) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  const i32 u = (i32)blockIdx.y;
  if (s >= scenarios) return;
  running[2 * u * stride + s] = 0.0;
  running[(2 * u + 1) * stride + s] = variance0[u];
}

// What the copula makes of the price motions over a base step, from the step's normals (2 U, stride) and its stretch (stride). Grid (scenario tiles, U).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(HESTON_THREADS, 4)
    heston_copula(i32 underlyings, i32 scenarios, i64 stride, const double* roots, i64 root_size, const i32* regime, const double* normal, const double* stretch, double low,
                  double inverse_width, i32 cells, const double* coefficients, double* change) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  const i32 u = (i32)blockIdx.y;
  if (s >= scenarios) return;
  const double* cholesky = root_size ? roots + regime[s] * root_size : roots;
  double z = 0.0;
  for (i32 f = 0; f <= u; ++f) z = z + cholesky[(i64)u * underlyings + f] * normal[2 * f * stride + s];
  change[u * stride + s] = upm::heston_change(z, stretch[s], low, inverse_width, cells, coefficients);
}

// One leg; the copula's change of the base step is added with the leg's weight, unless that is 0. Roots by regime as in walk.cu. A whole substep moves `running`, a part of one (date >= 0) writes states[date]. constants (U, 7) of the leg's length, jump (C, stride).
// Grid (scenario tiles, U).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(HESTON_THREADS, 4)
    heston_leg(i32 underlyings, i32 factors, i32 scenarios, i64 stride, const double* roots, i64 root_size, const i32* regime, double copula_weight, const double* change, const double* rho, const double* constants, i32 leg_class,
               const double* normal, i32 jumping, const i32* first_entry, const i32* entry_clock, const double* entry_loading, const double* jump, double* running,
               i32 date, const double* centre, double* states) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  const i32 u = (i32)blockIdx.y;
  if (s >= scenarios) return;
  const double* cholesky = root_size ? roots + regime[s] * root_size : roots;
  double g = 0.0;
  for (i32 f = 0; f <= u; ++f) g = g + cholesky[(i64)u * underlyings + f] * normal[2 * f * stride + s];
  if (copula_weight != 0.0) g = g + copula_weight * change[u * stride + s];
  const double* k = constants + ((i64)leg_class * underlyings + u) * 7;
  const upm::HestonConstants c = {k[0], k[1], k[2], k[3], k[4], k[5], k[6]};
  const double rest = upm::sqrt(1.0 - rho[u] * rho[u]);
  const upm::HestonMove step = upm::heston_step(running[(2 * u + 1) * stride + s], g, normal[(2 * u + 1) * stride + s], rho[u], rest, c);
  double move = step.move;
  if (jumping)
    for (i32 e = first_entry[2 * u]; e < first_entry[2 * u + 1]; ++e) move = move + entry_loading[e] * jump[entry_clock[e] * stride + s];
  const double sum = running[2 * u * stride + s] + move;
  if (date < 0) {
    running[2 * u * stride + s] = sum;
    running[(2 * u + 1) * stride + s] = step.variance;
  } else {
    states[((i64)date * factors + 2 * u) * stride + s] = sum + centre[(i64)date * underlyings + u];
    states[((i64)date * factors + 2 * u + 1) * stride + s] = step.variance;
  }
}

// A date on a whole substep. Grid (scenario tiles, U).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(HESTON_THREADS, 4)
    read_heston(i32 underlyings, i32 factors, i32 scenarios, i64 stride, const double* running, i32 date, const double* centre, double* states) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  const i32 u = (i32)blockIdx.y;
  if (s >= scenarios) return;
  states[((i64)date * factors + 2 * u) * stride + s] = running[2 * u * stride + s] + centre[(i64)date * underlyings + u];
  states[((i64)date * factors + 2 * u + 1) * stride + s] = running[(2 * u + 1) * stride + s];
}

// Volatility shifts by expiry from the variances at a date. Grid (scenario tiles, E).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(HESTON_THREADS, 4) shift_heston(i32 underlyings, i32 factors, i32 scenarios, i64 stride, const i32* underlying, const double* base,
                                                             const double* slope, i32 date, double* states) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  const i32 e = (i32)blockIdx.y;
  if (s >= scenarios) return;
  double* at = states + (i64)date * factors * stride + s;
  at[(2 * underlyings + e) * stride] = upm::heston_shift(at[(2 * underlying[e] + 1) * stride], base[e], slope[e]);
}
