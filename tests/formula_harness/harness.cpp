// The formula headers behind a C interface: the same loops for every ISA, so that tests can call and compare them.
#include "american.cuh"
#include "complex.cuh"
#include "elementary.cuh"
#include "european.cuh"
#include "black.cuh"
#include "normal.cuh"
#include "philox.cuh"
#include "table.cuh"

using upm::i64;
using upm::u32;
using upm::u64;

#define UNARY(name, expression)                                                                       \
  extern "C" void name(i64 n, const double* __restrict__ in, double* __restrict__ out) {              \
    for (i64 i = 0; i < n; ++i) { double x = in[i]; out[i] = expression; }                            \
  }

UNARY(exponential, upm::exp(x))
UNARY(exponential_of_negative, upm::exp_of_negative(x))
UNARY(exponential_minus_one, upm::expm1(x))
UNARY(logarithm, upm::log(x))
UNARY(logarithm_plus_one, upm::log1p(x))
UNARY(asinh_of_positive, upm::asinh_of_positive(x))
UNARY(mills_ratio, upm::mills_ratio(x))
UNARY(normal_density, upm::normal_density(x))
UNARY(normal_cdf, upm::normal_cdf(x))
UNARY(normal_log_cdf, upm::normal_log_cdf(x))
UNARY(normal_quantile, upm::normal_quantile(x))
UNARY(floor_of, upm::floor(x))

extern "C" void sine_cosine(i64 n, const double* x, double* sine, double* cosine) {
  for (i64 i = 0; i < n; ++i) upm::sine_cosine(x[i], sine + i, cosine + i);
}

extern "C" void angle_of(i64 n, const double* x, const double* y, double* out) {
  for (i64 i = 0; i < n; ++i) out[i] = upm::angle_of(x[i], y[i]);
}

extern "C" void black(i64 n, const double* __restrict__ forward, const double* __restrict__ strike, const double* __restrict__ log_moneyness,
                      const double* __restrict__ stdev, const double* __restrict__ sign, double* __restrict__ out) {
  for (i64 i = 0; i < n; ++i) out[i] = upm::black_undiscounted(forward[i], strike[i], log_moneyness[i], stdev[i], sign[i]);
}

// One strike and one deviation, as in the loop over scenarios.
extern "C" void black_one_option(i64 n, const double* __restrict__ forward, const double* __restrict__ log_moneyness, double strike,
                                 double stdev, double sign, double* __restrict__ out) {
  for (i64 i = 0; i < n; ++i) out[i] = upm::black_undiscounted(forward[i], strike, log_moneyness[i], stdev, sign);
}

extern "C" void out_of_the_money(i64 n, const double* m, const double* s, double* out) {
  for (i64 i = 0; i < n; ++i) out[i] = upm::out_of_the_money(m[i], s[i]).price;
}

extern "C" void implied_total_stdev(i64 n, const double* m, const double* value, double* out) {
  for (i64 i = 0; i < n; ++i) out[i] = upm::implied_total_stdev(m[i], value[i]);
}

extern "C" void european(i64 n, const double* in, double* out) {
  for (i64 i = 0; i < n; ++i) upm::european_values(in + i, n, out + i, n);
}

// `share`: neighbours may share a boundary
extern "C" void american(i64 n, const double* in, double* out, upm::i32 share) {
  if (share) return upm::american_range(in, out, n, 0, n);
  for (i64 i = 0; i < n; ++i) upm::american_values(in + i, n, out + i, n);
}

extern "C" i64 european_inputs() { return upm::EUROPEAN_INPUTS; }
extern "C" i64 european_outputs() { return upm::EUROPEAN_OUTPUTS; }

extern "C" void philox(i64 n, const u32* counter, const u32* key, u32* out) {
  for (i64 i = 0; i < n; ++i) {
    upm::PhiloxWords w = upm::philox4x32(counter[4 * i], counter[4 * i + 1], counter[4 * i + 2], counter[4 * i + 3], key[2 * i], key[2 * i + 1]);
    out[4 * i] = w.w0; out[4 * i + 1] = w.w1; out[4 * i + 2] = w.w2; out[4 * i + 3] = w.w3;
  }
}

extern "C" void uniforms(i64 n, u32 low, u32 high, double* out) {
  for (i64 i = 0; i < n; ++i) out[i] = upm::uniform_of_words(low, high);
}

extern "C" void normals(i64 n, u64 seed, u32 first, u32 factor, u32 step, u32 stream, double* __restrict__ out) {
  for (i64 i = 0; i < n; ++i)
    out[i] = upm::normal_quantile(upm::first_uniform(upm::philox4x32(first + (u32)i, factor, step, stream, (u32)seed, (u32)(seed >> 32))));
}

extern "C" void table(i64 n, const double* __restrict__ t, double low, double inverse_width, upm::i32 cells, const double* __restrict__ coefficients,
                      double* __restrict__ out) {
  for (i64 i = 0; i < n; ++i) out[i] = upm::smooth_table(t[i], low, inverse_width, cells, coefficients);
}

extern "C" void odd_table(i64 n, const double* __restrict__ y, double low, double inverse_width, upm::i32 cells, const double* __restrict__ coefficients,
                          double* __restrict__ out) {
  for (i64 i = 0; i < n; ++i) out[i] = upm::odd_smooth_table(y[i], low, inverse_width, cells, coefficients);
}

// For benchmarks: the same call many times over data that stays in the first-level cache.
#define REPEATED(name, call)                                                                          \
  extern "C" void name##_repeated(i64 repeats, i64 n, const double* in, double* out) {                \
    (void)in;                                                                                         \
    for (i64 r = 0; r < repeats; ++r) {                                                               \
      call;                                                                                           \
      __asm__ volatile("" : : "r"(out) : "memory");                                                   \
    }                                                                                                 \
  }

REPEATED(exponential, exponential(n, in, out))
REPEATED(logarithm, logarithm(n, in, out))
REPEATED(normal_cdf, normal_cdf(n, in, out))
REPEATED(normal_quantile, normal_quantile(n, in, out))
REPEATED(black, black_one_option(n, in, in + n, 105.0, 0.2, 1.0, out))
REPEATED(normals, normals(n, 1, (u32)(r * n), 0, 0, 0, out))
