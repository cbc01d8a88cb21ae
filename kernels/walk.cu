// States of the random walk: draws by address, correlation, moves of the legs, sums at the path dates.
// Twin: reference_states in upm_gpu/model/gbm.py, which fixes the order of operations; formula: walk.cuh.
//
// A wave is `scenarios` columns of arrays with `stride` columns. Column s is scenario first + s, or listed[s] where a list is
// given. Arrays: normal, running (K, stride); stretch (stride); states (D, K, stride). A leg is one base step or a part of one.
#include "platform.cuh"
#include "regimes.cuh"
#include "walk.cuh"

using upm::i32;
using upm::i64;
using upm::u32;
using upm::u64;

#define WALK_THREADS 128
#define FACTORS_A_THREAD 4

UPM_INLINE u32 scenario_at(i32 s, u32 first, const u32* listed, i32 is_listed) { return is_listed ? listed[s] : first + (u32)s; }

// Independent normals of a leg: the weighted sum of its terms in order. Grid (scenario tiles, K).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(WALK_THREADS, 4) draw_normals(u64 seed, u32 first, const u32* listed, i32 is_listed, i32 scenarios, i64 stride, i32 term_first,
                                                            i32 term_last, const u32* term_stream, const u32* term_step, const double* term_weight, double* normal) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  const u32 factor = blockIdx.y;
  if (s >= scenarios) return;
  const u32 scenario = scenario_at(s, first, listed, is_listed);
  double sum = 0.0;
  for (i32 term = term_first; term < term_last; ++term)
    sum = sum + term_weight[term] * upm::walk_normal(seed, scenario, factor, term_step[term], term_stream[term]);
  normal[factor * stride + s] = sum;
}

// Correlation regime of every scenario. Grid (scenario tiles).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(WALK_THREADS, 4) draw_regimes(u64 seed, u32 first, const u32* listed, i32 is_listed, i32 scenarios, u32 shift, u32 stream,
                                                            const double* threshold, i32 regimes, i32* regime) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  if (s < scenarios) regime[s] = upm::regime_of(seed, scenario_at(s, first, listed, is_listed), shift, stream, threshold, regimes);
}

// Factor of the copula's mixing variable in a leg. Grid (scenario tiles).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(WALK_THREADS, 4) draw_stretch(u64 seed, u32 first, const u32* listed, i32 is_listed, i32 scenarios, u32 step, u32 stream, double low,
                                                            double inverse_width, i32 cells, const double* coefficients, double* stretch) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  if (s >= scenarios) return;
  const double q = upm::walk_normal(seed, scenario_at(s, first, listed, is_listed), 0u, step, stream);
  stretch[s] = upm::walk_stretch(q, low, inverse_width, cells, coefficients);
}

// Marginal tables of all factors: table t has `cells[t]` rows of 8 from row `begin[t]` of `coefficients`.
struct Marginals {
  const i32* marginal;
  const double* low;
  const double* inverse_width;
  const i32* cells;
  const i32* begin;
  const double* coefficients;
};

// Correlates the normals of a leg, applies copula, marginal and cap, adds the jumps of the state's clocks (jump, (C, stride)). A whole step gives
// running = persistence running + move; the part of a step that ends at a date states[date] = (persistence running + move) + centre, persistence (K) being that part's. Draws that met the cap are counted.
// `roots`: square roots of the correlation, `root_size` doubles apart, by the scenario's regime; root_size 0: there is one. `dense`: full matrices. Grid (scenario tiles, groups of FACTORS_A_THREAD factors).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(WALK_THREADS, 4)
    move_leg(i32 factors, i32 scenarios, i64 stride, const double* roots, i64 root_size, const i32* regime, i32 dense, const double* scale, const double* cap, const i32* marginal, const double* table_low,
             const double* table_inverse_width, const i32* table_cells, const i32* table_begin, const double* table_coefficients, i32 stretched, const double* stretch,
             double root, const double* normal, i32 jumping, const i32* first_entry, const i32* entry_clock, const double* entry_loading, const double* jump,
             const double* persistence, double* running, i32 date, const double* centre, double* states, u64* clipped) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  const i32 begin = (i32)blockIdx.y * FACTORS_A_THREAD;
  const i32 end = begin + FACTORS_A_THREAD < factors ? begin + FACTORS_A_THREAD : factors;
  if (s >= scenarios) return;
  const double* cholesky = root_size ? roots + regime[s] * root_size : roots;
  const Marginals table = {marginal, table_low, table_inverse_width, table_cells, table_begin, table_coefficients};
  double y[FACTORS_A_THREAD];
#pragma unroll
  for (i32 j = 0; j < FACTORS_A_THREAD; ++j) y[j] = 0.0;
  for (i32 f = 0; f < (dense ? factors : end); ++f) {
    const double n = normal[f * stride + s];
#pragma unroll
    for (i32 j = 0; j < FACTORS_A_THREAD; ++j)
      if (begin + j < end && (dense || f <= begin + j)) y[j] = y[j] + cholesky[(i64)(begin + j) * factors + f] * n;
  }
#pragma unroll
  for (i32 j = 0; j < FACTORS_A_THREAD; ++j) {
    const i32 k = begin + j;
    if (k >= end) break;
    double g = stretched ? y[j] * stretch[s] : y[j];
    const i32 t = table.marginal[k];
    if (t >= 0) g = upm::odd_smooth_table(g, table.low[t], table.inverse_width[t], table.cells[t], table.coefficients + 8 * (i64)table.begin[t]);
    if (upm::walk_clipped(g, scale[k], cap[k])) atomicAdd(&clipped[k], (u64)1);
    double move = upm::walk_move(g, scale[k], cap[k], root);
    if (jumping)
      for (i32 e = first_entry[k]; e < first_entry[k + 1]; ++e) move = move + entry_loading[e] * jump[entry_clock[e] * stride + s];
    const double sum = persistence[k] * running[k * stride + s] + move;
    if (date < 0) running[k * stride + s] = sum;
    else states[((i64)date * factors + k) * stride + s] = sum + centre[(i64)date * factors + k];
  }
}

// A date on a whole step: states[date] = running + centre. Grid (scenario tiles, K).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(WALK_THREADS, 4) read_date(i32 factors, i32 scenarios, i64 stride, const double* running, i32 date, const double* centre, double* states) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  const i32 k = (i32)blockIdx.y;
  if (s >= scenarios) return;
  states[((i64)date * factors + k) * stride + s] = running[k * stride + s] + centre[(i64)date * factors + k];
}

// Grid (scenario tiles, K).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(WALK_THREADS, 4) start_walk(i32 scenarios, i64 stride, double* running) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  if (s < scenarios) running[blockIdx.y * stride + s] = 0.0;
}
