// States of a walk whose variance follows its own moves: draws by address, copula or residuals of dates, the recursion, dates.
// Twin: upm_gpu/model/garch_twin.py, which fixes the order of operations; formula: garch.cuh. Columns of a wave are scenarios as in walk.cu.
//
// Arrays: normal (K, stride), common (F, stride), stretch (groups, stride), running, variance (K, stride); states (D, K, stride).
#include "garch.cuh"
#include "platform.cuh"

using upm::i32;
using upm::i64;
using upm::u32;
using upm::u64;

#define GARCH_THREADS 128
#define GARCH_FACTORS 4

UPM_INLINE u32 garch_scenario(i32 s, u32 first, const u32* listed, i32 is_listed) { return is_listed ? listed[s] : first + (u32)s; }

// Grid (scenario tiles, K).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(GARCH_THREADS, 4) start_garch(i32 scenarios, i64 stride, const double* variance0, double* running, double* variance) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  if (s >= scenarios) return;
  running[blockIdx.y * stride + s] = 0.0;
  variance[blockIdx.y * stride + s] = variance0[blockIdx.y];
}

// Independent normals of a leg at factor words base + row. Grid (scenario tiles, rows).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(GARCH_THREADS, 4)
    garch_normals(u64 seed, u32 first, const u32* listed, i32 is_listed, i32 scenarios, i64 stride, i32 term_first, i32 term_last, const u32* term_stream,
                  const u32* term_step, const double* term_weight, u32 base, double* normal) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  if (s >= scenarios) return;
  const u32 scenario = garch_scenario(s, first, listed, is_listed);
  double sum = 0.0;
  for (i32 term = term_first; term < term_last; ++term)
    sum = sum + term_weight[term] * upm::walk_normal(seed, scenario, base + blockIdx.y, term_step[term], term_stream[term]);
  normal[blockIdx.y * stride + s] = sum;
}

// Many smooth tables in one array: table t has cells[t] rows of 8 from row begin[t] of coefficients.
struct GarchTables {
  const double* low;
  const double* inverse_width;
  const i32* cells;
  const i32* begin;
  const double* coefficients;
};

// Factor of every mixing group in a leg. Grid (scenario tiles, groups).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(GARCH_THREADS, 4)
    garch_stretch(u64 seed, u32 first, const u32* listed, i32 is_listed, i32 scenarios, i64 stride, u32 step, u32 stream, i32 table, const double* low,
                  const double* inverse_width, const i32* cells, const i32* begin, const double* coefficients, double* stretch) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  const i32 g = (i32)blockIdx.y, t = table + g;
  if (s >= scenarios) return;
  const double q = upm::walk_normal(seed, garch_scenario(s, first, listed, is_listed), (u32)g, step, stream);
  stretch[g * stride + s] = upm::walk_stretch(q, low[t], inverse_width[t], cells[t], coefficients + 8 * (i64)begin[t]);
}

// What follows the draw of a factor's move y in a leg: persistence running + root y + c(sigma), persistence (K) that of the leg; a whole step moves `running` and the variance, a part gives states[date].
UPM_INLINE void garch_finish(i32 k, i32 s, i32 factors, i64 stride, double y, double sigma, double root, const i32* centring_of, GarchTables table, const double* omega,
                             const double* alpha, const double* falling, const double* beta, const double* top, const double* persistence, double* running, double* variance, i32 date,
                             const double* drift, double* states) {
  double moved = root * y;
  const i32 c = centring_of[k];
  if (c >= 0) moved = moved + upm::smooth_table(sigma, table.low[c], table.inverse_width[c], table.cells[c], table.coefficients + 8 * (i64)table.begin[c]);
  const i64 at = k * stride + s;
  const double sum = persistence[k] * running[at] + moved;
  if (date >= 0) {
    states[((i64)date * factors + k) * stride + s] = sum + drift[(i64)date * factors + k];
    return;
  }
  running[at] = sum;
  variance[at] = upm::garch_variance(variance[at], y, omega[k], alpha[k], falling[k], beta[k], top[k]);
}

// A leg from drawn normals. roots by regime as in walk.cu: (K, common + 1) loadings and specific part, or for `common` 0 (K, K) lower triangular. Grid (scenario tiles, groups of GARCH_FACTORS factors).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(GARCH_THREADS, 4)
    garch_drawn_leg(i32 factors, i32 scenarios, i64 stride, i32 common, const double* roots, i64 root_size, const i32* regime, i32 groups,
                    const i32* group, const double* cap, const i32* marginal, const i32* odd, const double* low, const double* inverse_width, const i32* cells,
                    const i32* begin, const double* coefficients, const double* normal, const double* common_normal, const double* stretch, double root,
                    const i32* centring_of, const double* omega, const double* alpha, const double* falling, const double* beta, const double* top, const double* persistence, double* running,
                    double* variance, i32 date, const double* drift, double* states, u64* clipped) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  const i32 from = (i32)blockIdx.y * GARCH_FACTORS;
  const i32 to = from + GARCH_FACTORS < factors ? from + GARCH_FACTORS : factors;
  if (s >= scenarios) return;
  const GarchTables table = {low, inverse_width, cells, begin, coefficients};
  double z[GARCH_FACTORS];
#pragma unroll
  for (i32 j = 0; j < GARCH_FACTORS; ++j) z[j] = 0.0;
  const double* load = root_size ? roots + regime[s] * root_size : roots;
  const i32 inputs = common ? common : to, width = common ? common + 1 : factors;
  for (i32 f = 0; f < inputs; ++f) {
    const double n = common ? common_normal[f * stride + s] : normal[f * stride + s];
#pragma unroll
    for (i32 j = 0; j < GARCH_FACTORS; ++j) {
      if (from + j >= to) continue;
      if (common || f <= from + j) z[j] = z[j] + load[(i64)(from + j) * width + f] * n;
    }
  }
#pragma unroll
  for (i32 j = 0; j < GARCH_FACTORS; ++j) {
    const i32 k = from + j;
    if (k >= to) break;
    double g = z[j];
    if (common) g = g + load[(i64)k * width + common] * normal[k * stride + s];
    if (groups) g = g * stretch[group[k] * stride + s];
    const i32 t = marginal[k];
    if (t >= 0)
      g = odd[t] ? upm::odd_smooth_table(g, low[t], inverse_width[t], cells[t], coefficients + 8 * (i64)begin[t])
                 : upm::two_sided_table(g, low[t], inverse_width[t], cells[t], coefficients + 8 * (i64)begin[t]);
    const double sigma = upm::sqrt(variance[k * stride + s]);
    if (upm::walk_clipped(g, sigma, cap[k])) atomicAdd(&clipped[k], (u64)1);
    garch_finish(k, s, factors, stride, upm::garch_move(sigma, g, cap[k]), sigma, root, centring_of, table, omega, alpha, falling, beta, top, persistence, running, variance, date,
                 drift, states);
  }
}

// A leg from the residuals of dates. Grid (scenario tiles, K).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(GARCH_THREADS, 4)
    garch_resampled_leg(u64 seed, u32 first, const u32* listed, i32 is_listed, i32 factors, i32 scenarios, i64 stride, i64 rows, const double* residual, i32 term_first,
                        i32 term_last, const u32* term_stream, const u32* term_step, const double* term_weight, const double* cap, const double* low,
                        const double* inverse_width, const i32* cells, const i32* begin, const double* coefficients, double root, const i32* centring_of,
                        const double* omega, const double* alpha, const double* falling, const double* beta, const double* top, const double* persistence, double* running, double* variance,
                        i32 date, const double* drift, double* states, u64* clipped) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  const i32 k = (i32)blockIdx.y;
  if (s >= scenarios) return;
  const u32 scenario = garch_scenario(s, first, listed, is_listed);
  const double sigma = upm::sqrt(variance[k * stride + s]);
  double y = 0.0;
  for (i32 term = term_first; term < term_last; ++term) {
    const double e = residual[k * rows + upm::resampled_row(seed, scenario, term_step[term], term_stream[term], (double)rows)];
    if (upm::walk_clipped(e, sigma, cap[k])) atomicAdd(&clipped[k], (u64)1);
    y = y + term_weight[term] * upm::garch_move(sigma, e, cap[k]);
  }
  garch_finish(k, s, factors, stride, y, sigma, root, centring_of, GarchTables{low, inverse_width, cells, begin, coefficients}, omega, alpha, falling, beta, top, persistence, running,
               variance, date, drift, states);
}

// A date on a whole step. Grid (scenario tiles, K).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(GARCH_THREADS, 4)
    garch_date(i32 factors, i32 scenarios, i64 stride, const double* running, i32 date, const double* drift, double* states) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  const i32 k = (i32)blockIdx.y;
  if (s < scenarios) states[((i64)date * factors + k) * stride + s] = running[k * stride + s] + drift[(i64)date * factors + k];
}
