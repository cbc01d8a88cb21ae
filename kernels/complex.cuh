// Complex numbers for characteristic functions: sine, cosine, arctangent, square root, exponential and logarithm over the functions of
// elementary.cuh. Per instrument. Sine and cosine: absolute error 2e-16 up to 1e8, Taylor series on |r| <= pi / 4; arctangent: 2e-16.
#ifndef UPM_COMPLEX_CUH
#define UPM_COMPLEX_CUH

#include "elementary.cuh"

namespace upm {

#define UPM_PI 3.141592653589793

// x = n pi / 2 + r, the fused steps losing one rounding of r.
UPM_INLINE void sine_cosine(double x, double* sine, double* cosine) {
  const double n = round_to_integer(x * 0.6366197723675814);
  const double r = fma(n, -6.123233995736766e-17, fma(n, -1.5707963267948966, x));
  const double z = r * r;
  double p = 2.8114572543455206e-15;  // 1 / 17!
  p = fma(p, z, -7.647163731819816e-13);
  p = fma(p, z, 1.6059043836821613e-10);
  p = fma(p, z, -2.505210838544172e-08);
  p = fma(p, z, 2.7557319223985893e-06);
  p = fma(p, z, -0.0001984126984126984);
  p = fma(p, z, 0.008333333333333333);
  p = fma(p, z, -0.16666666666666666);
  const double s = fma(r * z, p, r);
  double q = 4.779477332387385e-14;  // 1 / 16!
  q = fma(q, z, -1.1470745597729725e-11);
  q = fma(q, z, 2.08767569878681e-09);
  q = fma(q, z, -2.755731922398589e-07);
  q = fma(q, z, 2.48015873015873e-05);
  q = fma(q, z, -0.001388888888888889);
  q = fma(q, z, 0.041666666666666664);
  const double c = fma(z, fma(q, z, -0.5), 1.0);
  const i32 quadrant = to_int(n) & 3;
  *sine = quadrant == 0 ? s : quadrant == 1 ? c : quadrant == 2 ? -s : -c;
  *cosine = quadrant == 0 ? c : quadrant == 1 ? -s : quadrant == 2 ? -c : s;
}

// Angle of (x, y) in [-pi, pi]; the quotient is brought within tan(pi / 16) of 0, tan(pi / 8) or 1, where thirteen terms do.
UPM_INLINE double angle_of(double x, double y) {
  const double ax = absolute(x), ay = absolute(y);
  if (ax == 0.0 && ay == 0.0) return 0.0;
  const bool steep = ay > ax;
  const double t = steep ? ax / ay : ay / ax;
  const double c = t < 0.1989123673796580 ? 0.0 : t < 0.6681786379192989 ? 0.41421356237309503 : 1.0;
  const double at = t < 0.1989123673796580 ? 0.0 : t < 0.6681786379192989 ? 0.39269908169872414 : 0.7853981633974483;
  const double w = (t - c) / fma(t, c, 1.0), z = w * w;
  double p = 0.04;
  for (i32 i = 11; i >= 0; --i) p = fma(-p, z, 1.0 / (2.0 * i + 1.0));
  double angle = fma(w, p, at);
  angle = steep ? 1.5707963267948966 - angle : angle;
  return with_sign(x < 0.0 ? UPM_PI - angle : angle, y);
}

struct Complex {
  double re, im;
};

UPM_INLINE Complex complex_of(double re, double im) { Complex z = {re, im}; return z; }
UPM_INLINE Complex operator+(Complex a, Complex b) { return complex_of(a.re + b.re, a.im + b.im); }
UPM_INLINE Complex operator-(Complex a, Complex b) { return complex_of(a.re - b.re, a.im - b.im); }
UPM_INLINE Complex operator+(Complex a, double b) { return complex_of(a.re + b, a.im); }
UPM_INLINE Complex operator-(Complex a, double b) { return complex_of(a.re - b, a.im); }
UPM_INLINE Complex operator*(double a, Complex b) { return complex_of(a * b.re, a * b.im); }
UPM_INLINE Complex operator*(Complex a, Complex b) { return complex_of(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re); }
UPM_INLINE double square_of_size(Complex a) { return a.re * a.re + a.im * a.im; }
UPM_INLINE Complex operator/(Complex a, Complex b) {
  const double r = 1.0 / square_of_size(b);
  return complex_of((a.re * b.re + a.im * b.im) * r, (a.im * b.re - a.re * b.im) * r);
}

// The root with a real part that is not negative.
UPM_INLINE Complex sqrt(Complex a) {
  const double root = sqrt(0.5 * (sqrt(square_of_size(a)) + absolute(a.re)));
  if (root == 0.0) return complex_of(0.0, 0.0);
  const double other = 0.5 * a.im / root;
  return a.re >= 0.0 ? complex_of(root, other) : complex_of(absolute(other), with_sign(root, a.im));
}

UPM_INLINE Complex exp(Complex a) {
  double s, c;
  sine_cosine(a.im, &s, &c);
  const double size = exp(a.re);
  return complex_of(size * c, size * s);
}

UPM_INLINE Complex log(Complex a) { return complex_of(0.5 * log(square_of_size(a)), angle_of(a.re, a.im)); }

// log(1 + a) without loss for small a.
UPM_INLINE Complex log1p(Complex a) { return complex_of(0.5 * log1p(fma(a.re, a.re, a.im * a.im) + 2.0 * a.re), angle_of(1.0 + a.re, a.im)); }

// (1 - e^(-a)) and e^(-a), the first without loss for small a.
UPM_INLINE Complex decay(Complex a, Complex* left) {
  double s, c;
  sine_cosine(0.5 * a.im, &s, &c);
  const double size = exp(-a.re), sine = 2.0 * s * c;
  *left = complex_of(size * (1.0 - 2.0 * s * s), -size * sine);
  return complex_of(-expm1(-a.re) + 2.0 * size * s * s, size * sine);
}

}  // namespace upm

#endif
