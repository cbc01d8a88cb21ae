// Draws and tables of a tile beside the formula one at a time: prints the count of differing bits. Built by test_tile_draws.py for each instruction set.
#include "engine.h"
#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif
#include <cstdio>
#include <initializer_list>

#include "garch.cuh"
#include "walk.cuh"

namespace {
using namespace upm;
constexpr int T = TILE;
#include "lanes.inc"
#include "write.inc"
#include "normals.inc"
#include "tables.inc"

long differing(const double* a, const double* b, int count) {
  long found = 0;
  for (int i = 0; i < count; ++i) found += bits_of(a[i]) != bits_of(b[i]);
  return found;
}

long uniforms() {
  alignas(64) double u[T], expected[T];
  long found = 0;
  const uint32_t words[] = {0u, 1u, 2u, 0x80000000u, 0xffffffffu, 123456789u};
  for (uint32_t base : {0u, 64u, 0xfffffff0u})
    for (uint32_t factor : words)
      for (uint32_t step : words)
        for (uint32_t stream : words)
          for (uint64_t seed : {0ull, 77ull, 0xffffffffffffffffull, 0x123456789abcdefull}) {
            philox_uniforms(seed, base, factor, step, stream, u);
            for (int s = 0; s < T; ++s) expected[s] = first_uniform(philox4x32(base + (uint32_t)s, factor, step, stream, (uint32_t)seed, (uint32_t)(seed >> 32)));
            found += differing(u, expected, T);
          }
  return found;
}

// Uniforms that meet every piece of the quantile: `extreme` of a tile lie in the third, of which a run of 10^10 draws has none.
long quantiles(int extreme) {
  alignas(64) double u[QUANTILE_ROWS * T], expected[QUANTILE_ROWS * T];
  long found = 0;
  for (int rows = 1; rows <= QUANTILE_ROWS; ++rows)
    for (uint32_t trial = 0; trial < 200; ++trial) {
      for (int i = 0; i < rows * T; ++i) {
        const double plain = first_uniform(philox4x32((uint32_t)i, trial, 3u, 5u, 7u, 9u));
        const double width = trial % 4 == 0 ? 1.0 : trial % 4 == 1 ? 1e-3 : 0.16;  // all pieces, all beyond the centre, about the edge
        u[i] = trial % 4 == 3 ? (plain < 0.5 ? 0.075 : 0.925) + (plain - 0.5) * 1e-9 : width == 1.0 ? plain : plain < 0.5 ? plain * width : 1.0 - (1.0 - plain) * width;
      }
      for (int i = 0; i < extreme; ++i) u[(int)(trial + 37 * i) % (rows * T)] = i % 2 ? 1.1102230246251565e-16 : 1.0 - 1.1102230246251565e-16 * (1.0 + 1e4 * i);
      for (int i = 0; i < rows * T; ++i) expected[i] = normal_quantile(u[i]);
      normal_quantiles(u, rows);
      found += differing(u, expected, rows * T);
    }
  return found;
}

long tables() {
  alignas(64) double coefficients[40 * 8], t[T], out[T], expected[T];
  for (int i = 0; i < 40 * 8; ++i) coefficients[i] = normal_quantile(first_uniform(philox4x32((uint32_t)i, 1u, 1u, 1u, 1u, 1u)));
  const UpmTable m = {0.0, 8.0, 40, coefficients};
  long found = 0;
  for (uint32_t trial = 0; trial < 100; ++trial) {
    for (int s = 0; s < T; ++s) t[s] = 3.0 * normal_quantile(first_uniform(philox4x32((uint32_t)s, trial, 2u, 2u, 2u, 2u)));
    t[5] = 0.0, t[6] = -0.0, t[7] = 1e6;
    for (int s = 0; s < T; ++s) expected[s] = smooth_table(t[s], m.low, m.inverse_width, 40, coefficients);
    smooth_tables(m, t, out);
    found += differing(out, expected, T);
    for (bool odd : {false, true}) {
      for (int s = 0; s < T; ++s)
        expected[s] = odd ? odd_smooth_table(t[s], m.low, m.inverse_width, 40, coefficients) : two_sided_table(t[s], m.low, m.inverse_width, 40, coefficients);
      marginal_tables(m, odd, t, out);
      found += differing(out, expected, T);
    }
    // as volatilities lie: within few cells, at either end of the table and beyond it, with a NaN
    for (int64_t cells : {5, 8, 11, 16, 40})
      for (double width : {0.01, 0.9, 1.6, 2.2})
        for (double from : {-0.5, 0.0, 1.0, 4.0, 4.9}) {
          const UpmTable few = {0.0, 8.0, cells, coefficients};
          for (int s = 0; s < T; ++s) t[s] = from + width * first_uniform(philox4x32((uint32_t)s, trial, 3u, 2u, 2u, 2u));
          if (trial % 3 == 0) t[trial % T] = __builtin_nan("");
          for (int s = 0; s < T; ++s) expected[s] = smooth_table(t[s], few.low, few.inverse_width, (int)cells, coefficients);
          smooth_tables(few, t, out);
          for (int s = 0; s < T; ++s) found += bits_of(out[s]) != bits_of(expected[s]) && !(out[s] != out[s] && expected[s] != expected[s]);
        }
    for (int s = 0; s < T; ++s) t[s] = 3.0 * normal_quantile(first_uniform(philox4x32((uint32_t)s, trial, 2u, 2u, 2u, 2u)));
    for (int s = 0; s < T; ++s) expected[s] = walk_stretch(0.01 * t[s], m.low, m.inverse_width, 40, coefficients), out[s] = 0.01 * t[s];
    stretches(m, out, out);
    found += differing(out, expected, T);
  }
  return found;
}
}  // namespace

int main() {
  std::printf("%ld %ld %ld %ld\n", uniforms(), quantiles(0), quantiles(3), tables());
  return 0;
}
