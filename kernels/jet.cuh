// A number with its derivatives: forward differentiation, so that a closed form or a quadrature written once gives its Greeks without a step
// size. First derivatives in the level, volatility, years, rate and dividend yield, and the second in the level.
//
//   f(a)  ->  f, f' da, f'' da_0^2 + f' d2a_0
//
// Twin: upm_gpu/formula/differences.py (central differences of the twin's price). Griewank and Walther 2008, chapter 3.
#ifndef UPM_JET_CUH
#define UPM_JET_CUH

#include "normal.cuh"

namespace upm {

enum JetDirection { D_LEVEL, D_VOLATILITY, D_YEARS, D_RATE, D_YIELD, DIRECTIONS };

struct Jet {
  double v;
  double d[DIRECTIONS];
  double g;  // second derivative in the level
};

UPM_INLINE Jet constant(double v) {
  Jet out = {v, {0.0, 0.0, 0.0, 0.0, 0.0}, 0.0};
  return out;
}

UPM_INLINE Jet variable(double v, int direction) {
  Jet out = constant(v);
  out.d[direction] = 1.0;
  return out;
}

// f(a) from f, f' and f'' at a. A zero slope cuts derivatives off even where they are infinite: the limits at zero time.
UPM_INLINE Jet chain(Jet a, double f, double slope, double bend) {
  Jet out;
  out.v = f;
  for (int i = 0; i < DIRECTIONS; ++i) out.d[i] = slope == 0.0 ? 0.0 : slope * a.d[i];
  out.g = (bend == 0.0 ? 0.0 : bend * a.d[D_LEVEL] * a.d[D_LEVEL]) + (slope == 0.0 ? 0.0 : slope * a.g);
  return out;
}

UPM_INLINE Jet operator+(Jet a, Jet b) {
  a.v += b.v;
  for (int i = 0; i < DIRECTIONS; ++i) a.d[i] += b.d[i];
  a.g += b.g;
  return a;
}

UPM_INLINE Jet operator*(double c, Jet a) {
  a.v *= c;
  for (int i = 0; i < DIRECTIONS; ++i) a.d[i] *= c;
  a.g *= c;
  return a;
}

UPM_INLINE Jet operator+(Jet a, double c) { a.v += c; return a; }
UPM_INLINE Jet operator-(Jet a) { return -1.0 * a; }
UPM_INLINE Jet operator-(Jet a, Jet b) { return a + (-1.0 * b); }
UPM_INLINE Jet operator-(Jet a, double c) { return a + (-c); }
UPM_INLINE Jet operator-(double c, Jet a) { return -1.0 * a + c; }

UPM_INLINE Jet operator*(Jet a, Jet b) {
  Jet out;
  out.v = a.v * b.v;
  for (int i = 0; i < DIRECTIONS; ++i) out.d[i] = a.v * b.d[i] + a.d[i] * b.v;
  out.g = a.v * b.g + 2.0 * a.d[D_LEVEL] * b.d[D_LEVEL] + a.g * b.v;
  return out;
}

UPM_INLINE Jet reciprocal(Jet a) {
  const double r = 1.0 / a.v;
  return chain(a, r, -r * r, 2.0 * r * r * r);
}

UPM_INLINE Jet operator/(Jet a, Jet b) { return a * reciprocal(b); }

UPM_INLINE Jet exp(Jet a) {
  const double e = exp(a.v);
  return chain(a, e, e, e);
}

UPM_INLINE Jet log(Jet a) {
  const double r = 1.0 / a.v;
  return chain(a, log(a.v), r, -r * r);
}

// At 0 the slope is infinite; a caller that may be there says what the limit is.
UPM_INLINE Jet sqrt(Jet a) {
  const double root = sqrt(a.v);
  return chain(a, root, 0.5 / root, -0.25 / (a.v * root));
}

// e^p Phi(x), also where e^p overflows and Phi(x) vanishes; x may be infinite. w = e^p phi(x) is its derivative in x.
UPM_OUT_OF_LINE Jet weighted_cdf(Jet p, Jet x) {
  Jet out;
  const double w = UPM_INVERSE_SQRT_2PI * exp(p.v - 0.5 * x.v * x.v);
  out.v = x.v < -5.0 ? exp(p.v + normal_log_cdf(x.v)) : exp(p.v) * normal_cdf(x.v);
  out.v = x.v == -infinity() ? 0.0 : out.v;
  const bool flat = w == 0.0;
  for (int i = 0; i < DIRECTIONS; ++i) out.d[i] = out.v * p.d[i] + (flat ? 0.0 : w * x.d[i]);
  const double p0 = p.d[D_LEVEL], x0 = x.d[D_LEVEL];
  out.g = out.v * (p0 * p0 + p.g) + (flat ? 0.0 : w * (2.0 * p0 * x0 - x.v * x0 * x0 + x.g));
  return out;
}

// e^p (Phi(b) - Phi(a)) for a <= b, from the tail on which both are small.
UPM_INLINE Jet weighted_interval(Jet p, Jet a, Jet b) {
  const bool right = a.v > 0.0;
  return right ? weighted_cdf(p, -a) - weighted_cdf(p, -b) : weighted_cdf(p, b) - weighted_cdf(p, a);
}

}  // namespace upm

#endif
