// Branch-free exp, log, expm1, log1p, asinh: no library, so a loop over them vectorises and every reader agrees to the bit.
// Errors are below 1 ulp (exp, log, sqrt) and 2 ulp (expm1, log1p, asinh); infinities and NaN behave as in C.
// Polynomials: interpolants at Chebyshev points, solved in 80 digits (tools/fit_coefficients.py), relative error stated.
#ifndef UPM_ELEMENTARY_CUH
#define UPM_ELEMENTARY_CUH

#include "platform.cuh"

namespace upm {

#define UPM_LOG2E 1.4426950408889634
#define UPM_LN2_HIGH 0.6931471804855391        // 32 bits: exact times an exponent
#define UPM_LN2_LOW 7.440617110012397e-11

// exp(r) - 1 on |r| <= ln(2) / 2; (exp(r) - 1 - r) / r^2 of degree 10, 2.3e-19.
UPM_INLINE double exp_core(double r) {
  double p = 2.0914696937476895e-09;
  p = fma(p, r, 2.510520637395701e-08);
  p = fma(p, r, 2.7557273603342995e-07);
  p = fma(p, r, 2.7557255425746435e-06);
  p = fma(p, r, 2.4801587325603037e-05);
  p = fma(p, r, 0.00019841269874800493);
  p = fma(p, r, 0.0013888888888883716);
  p = fma(p, r, 0.008333333333326141);
  p = fma(p, r, 0.04166666666666667);
  p = fma(p, r, 0.1666666666666667);
  p = fma(p, r, 0.5);
  return fma(r * r, p, r);
}

// 2^n for an integer-valued n in [-1022, 1023].
UPM_INLINE double power_of_two(double n) { return from_bits((bits_of(n + UPM_ROUNDING_SHIFT) + 1023ull) << 52); }

// Overflows to +inf above 709.78, underflows through the subnormals to 0 below -745.13.
UPM_INLINE double exp(double x) {
  x = clip(x, -746.0, 710.0);
  double n = round_to_integer(x * UPM_LOG2E);
  double r = fma(n, -UPM_LN2_LOW, fma(n, -UPM_LN2_HIGH, x));
  // Two factors, so that 2^1024 and the subnormals are reached with one rounding.
  double half = round_to_integer(n * 0.5);
  return ((1.0 + exp_core(r)) * power_of_two(half)) * power_of_two(n - half);
}

// exp for x <= 0 that gives 0 below -708 (no subnormals): cheaper, for densities in the scenario loop.
UPM_INLINE double exp_of_negative(double x) {
  double y = at_least(x, -708.0);
  double n = round_to_integer(y * UPM_LOG2E);
  double r = fma(n, -UPM_LN2_LOW, fma(n, -UPM_LN2_HIGH, y));
  double value = (1.0 + exp_core(r)) * power_of_two(n);
  return x < -708.0 ? 0.0 : value;
}

UPM_INLINE double expm1(double x) {
  double y = clip(x, -746.0, 709.0);
  double n = round_to_integer(y * UPM_LOG2E);
  double r = fma(n, -UPM_LN2_LOW, fma(n, -UPM_LN2_HIGH, y));
  double scale = power_of_two(at_least(n, -1022.0));
  double value = fma(scale, exp_core(r), scale - 1.0);
  return x > 700.0 ? exp(x) : value;
}

// log of a number with the 64 bits `b`, times 2^(1024 - bias). With x = 2^k (1 + f), 1 + f in [0.7071, 1.4142), s = f / (2 + f):
// log(1 + f) = f - (f^2/2 - s (f^2/2 + R(s^2))), the arrangement of fdlibm's e_log.c; R of degree 7, 4.6e-18.
UPM_INLINE double log_core(u64 b, double bias) {
  u64 offset = b - 0x3fe6a09e00000000ull;
  double k = from_uint((offset + 0x4000000000000000ull) >> 52) - bias;
  double f = from_bits(b - (offset & 0xfff0000000000000ull)) - 1.0;
  double s = f / (2.0 + f);
  double z = s * s;
  double p = 0.14616449685043406;
  p = fma(p, z, 0.15331721600556042);
  p = fma(p, z, 0.18182889125261723);
  p = fma(p, z, 0.2222221113479508);
  p = fma(p, z, 0.28571428625975487);
  p = fma(p, z, 0.39999999999899505);
  p = fma(p, z, 0.666666666666667);
  double half_square = 0.5 * f * f;
  double inner = fma(s, fma(z, p, half_square), k * UPM_LN2_LOW);
  return fma(k, UPM_LN2_HIGH, f - (half_square - inner));
}

// log(0) = -inf, log of a negative number is NaN.
UPM_INLINE double log(double x) {
  const bool subnormal = x < 2.2250738585072014e-308;
  double value = log_core(bits_of(subnormal ? x * 18014398509481984.0 : x), subnormal ? 1078.0 : 1024.0);  // 2^54
  value = x < infinity() ? value : x;  // +inf and NaN
  value = x == 0.0 ? -infinity() : value;
  return x < 0.0 ? not_a_number() : value;
}

// The same where x is positive, finite and no subnormal: a fifth cheaper.
UPM_INLINE double log_of_normal(double x) { return log_core(bits_of(x), 1024.0); }

// log(1 + x): the rounding of 1 + x is put back to first order.
UPM_INLINE double log1p(double x) {
  double u = 1.0 + x;
  double lost = x > 1.0 ? 1.0 - (u - x) : x - (u - 1.0);
  double value = log(u) + lost / u;
  value = u == 0.0 ? -infinity() : value;
  return x < infinity() ? value : x;
}

// asinh(a) for a >= 0: log(1 + (a + a^2 / (1 + sqrt(1 + a^2)))), which loses nothing for small a. Domain a < 1e150.
UPM_INLINE double asinh_of_positive(double a) {
  double square = a * a;
  return log1p(a + square / (1.0 + sqrt(1.0 + square)));
}

}  // namespace upm

#endif
