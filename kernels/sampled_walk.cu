// Base draws of a sampled walk; the rest of a leg is walk.cu. Twin: upm_gpu/model/sampling.py; formula: sampled_walk.cuh, sobol.cuh.
// Arrays and waves as in walk.cu.
#include "platform.cuh"
#include "sampled_walk.cuh"

using upm::i32;
using upm::i64;
using upm::u32;
using upm::u64;

#define SAMPLED_THREADS 128
#define SAMPLED_BLOCK 4096

// The uniform of a scenario in a Sobol dimension. direction (dimensions, 28), key (dimensions, 4, 16).
UPM_INLINE double sobol_uniform(i32 sampler, u32 scenario, i32 dimension, const u32* direction, const u32* key) {
  const u32 x = upm::sobol_coordinate(scenario / UPM_SCRAMBLINGS, direction + (i64)dimension * UPM_POINT_BITS);
  const u32* k = key + (i64)dimension * 4 * UPM_SCRAMBLINGS + scenario % UPM_SCRAMBLINGS;
  if (sampler == upm::SAMPLER_SOBOL) return upm::owen_uniform(x, k[0], k[UPM_SCRAMBLINGS], k[2 * UPM_SCRAMBLINGS], k[3 * UPM_SCRAMBLINGS]);
  return upm::shifted_uniform(x, k[0], k[UPM_SCRAMBLINGS]);
}

UPM_INLINE double sobol_normal(i32 sampler, u32 scenario, i32 dimension, const u32* direction, const u32* key) {
  return upm::normal_quantile(sobol_uniform(sampler, scenario, dimension, direction, key));
}

// Stretches and weights of a turned path: turned_stretch (steps, turned_stride), turned (steps, nodes, turned_stride). Grid (scenario tiles).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(SAMPLED_THREADS, 4)
    turn_path(i32 sampler, u32 first, const u32* listed, i32 is_listed, i32 scenarios, i64 turned_stride, i32 steps, const double* path, i32 winner_dimension,
              const i32* mixing_dimension, const u32* direction, const u32* key, double low, double inverse_width, i32 cells, const double* coefficients,
              double* turned_stretch, double* turned) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  if (s >= scenarios) return;
  const u32 scenario = is_listed ? listed[s] : first + (u32)s;
  const double count = (double)steps, even = 1.0 / upm::sqrt(count);
  const double least = upm::least_complement(sobol_uniform(sampler, scenario, mixing_dimension[0], direction, key), count);
  const i32 winner = upm::winner_of(sobol_uniform(sampler, scenario, winner_dimension, direction, key), count);
  double unit[UPM_TURNED_STEPS];
  double square = 0.0;
  for (i32 j = 0; j < steps; ++j) {
    double c = least;
    if (j != winner) c = upm::complement_above(least, sobol_uniform(sampler, scenario, mixing_dimension[j < winner ? j + 1 : j], direction, key));
    const double m = upm::walk_stretch(-upm::normal_quantile(c), low, inverse_width, cells, coefficients);
    turned_stretch[j * turned_stride + s] = m;
    unit[j] = m;
    square = square + m * m;
  }
  const double inverse = 1.0 / upm::sqrt(square);
  double cosine = 0.0;
  for (i32 j = 0; j < steps; ++j) {
    unit[j] = unit[j] * inverse;
    cosine = cosine + even * unit[j];
  }
  for (i32 n = 0; n < steps; ++n) {
    double along_even = 0.0, along_unit = 0.0;
    for (i32 j = 0; j < steps; ++j) {
      along_even = along_even + even * path[j * steps + n];
      along_unit = along_unit + path[j * steps + n] * unit[j];
    }
    for (i32 j = 0; j < steps; ++j)
      turned[((i64)j * steps + n) * turned_stride + s] = upm::turned_weight(path[j * steps + n], even, unit[j], along_even, along_unit, cosine);
  }
}

// Independent normals of a leg: the weighted sum of its terms in order. factor_dimension (steps, K), moments (blocks, steps, K, 2).
// Importance: threshold (thresholds), shift (thresholds + 1, steps, K + 1).
// Grid (scenario tiles, K).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(SAMPLED_THREADS, 4)
    draw_sampled_normals(i32 sampler, u64 seed, u32 first, const u32* listed, i32 is_listed, i32 scenarios, i64 stride, i32 term_first, i32 term_last,
                         const u32* term_stream, const u32* term_step, const double* term_weight, i32 steps, const i32* factor_dimension, const u32* direction,
                         const u32* key, const double* moments, u32 mixture_stream, const double* threshold, i32 thresholds, const double* shift, i32 is_turned, i64 turned_stride,
                         const double* turned, double* normal) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  const u32 factor = blockIdx.y;
  const i64 factors = gridDim.y;
  if (s >= scenarios) return;
  const u32 scenario = is_listed ? listed[s] : first + (u32)s;
  const bool points = sampler == upm::SAMPLER_SOBOL || sampler == upm::SAMPLER_SOBOL_SHIFT;
  i32 component = 0;
  if (sampler == upm::SAMPLER_IMPORTANCE) component = upm::mixture_component(seed, scenario, mixture_stream, threshold, thresholds);
  double sum = 0.0;
  for (i32 term = term_first; term < term_last; ++term) {
    const u32 step = term_step[term], stream = term_stream[term];
    double n;
    if (sampler == upm::SAMPLER_ANTITHETIC) {
      n = upm::antithetic_normal(seed, scenario, factor, step, stream);
    } else if (upm::is_base_stream(stream) && is_turned) {
      n = 0.0;
      for (i32 i = 0; i < steps; ++i)
        n = n + turned[((i64)step * steps + i) * turned_stride + s] * sobol_normal(sampler, scenario, factor_dimension[i * factors + factor], direction, key);
    } else if (upm::is_base_stream(stream) && points) {
      n = sobol_normal(sampler, scenario, factor_dimension[step * factors + factor], direction, key);
    } else {
      n = upm::walk_normal(seed, scenario, factor, step, stream);
      if (upm::is_base_stream(stream) && sampler == upm::SAMPLER_IMPORTANCE) {
        n = n + shift[((i64)component * steps + step) * (factors + 1) + factor];
      } else if (upm::is_base_stream(stream)) {
        const double* m = moments + (((i64)(scenario / SAMPLED_BLOCK) * steps + step) * factors + factor) * 2;
        n = upm::matched_normal(n, m[0], m[1]);
      }
    }
    sum = sum + term_weight[term] * n;
  }
  normal[factor * stride + s] = sum;
}

// Factor of the copula's mixing variable in a leg. Grid (scenario tiles).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(SAMPLED_THREADS, 4)
    draw_sampled_stretch(i32 sampler, u64 seed, u32 first, const u32* listed, i32 is_listed, i32 scenarios, u32 step, u32 stream, const i32* mixing_dimension,
                         const u32* direction, const u32* key, u32 mixture_stream, const double* threshold, i32 thresholds, const double* shift, i32 steps, i32 factors,
                         double low, double inverse_width, i32 cells, const double* coefficients, i32 is_turned, i64 turned_stride, const double* turned_stretch, double* stretch) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  if (s >= scenarios) return;
  const u32 scenario = is_listed ? listed[s] : first + (u32)s;
  if (is_turned) {
    stretch[s] = turned_stretch[(i64)step * turned_stride + s];
    return;
  }
  double q;
  if (sampler == upm::SAMPLER_ANTITHETIC) q = upm::walk_normal(seed, scenario >> 1, 0u, step, stream);
  else if (sampler == upm::SAMPLER_MATCHED || sampler == upm::SAMPLER_IMPORTANCE) q = upm::walk_normal(seed, scenario, 0u, step, stream);
  else q = sobol_normal(sampler, scenario, mixing_dimension[step], direction, key);
  if (sampler == upm::SAMPLER_IMPORTANCE) {
    const i32 component = upm::mixture_component(seed, scenario, mixture_stream, threshold, thresholds);
    q = upm::shifted_score(q, shift[((i64)component * steps + step) * (factors + 1) + factors]);
  }
  stretch[s] = upm::walk_stretch(q, low, inverse_width, cells, coefficients);
}
