// The normal distribution: Mills ratio, density, cdf, log cdf, quantile. Twin: upm_gpu/formula/normal.py.
#ifndef UPM_NORMAL_CUH
#define UPM_NORMAL_CUH

#include "elementary.cuh"

namespace upm {

#define UPM_INVERSE_SQRT_2PI 0.3989422804014327
#define UPM_LOG_SQRT_2PI 0.9189385332046728

struct Ratio {
  double over, under;
};

// Mills ratio (1 - Phi(x)) / phi(x) for x in [0, 1e25] as a quotient, so that two of them share one division.
// Rational of degree 10 over 11 with positive coefficients (no cancellation in Horner's rule), through the Chebyshev points
// of x = 4 (1 + t) / (1 - t): relative error 2e-17 before rounding, on all of [0, inf).
UPM_INLINE Ratio mills_quotient(double x) {
  double p = 8.634943994072101e-07;
  p = fma(p, x, 2.520291757586895e-05);
  p = fma(p, x, 0.00036480677892731237);
  p = fma(p, x, 0.003393812407902026);
  p = fma(p, x, 0.022272312377164878);
  p = fma(p, x, 0.10719830603144209);
  p = fma(p, x, 0.3824005361129063);
  p = fma(p, x, 0.9988352702071057);
  p = fma(p, x, 1.8349106192623743);
  p = fma(p, x, 2.1579260283216843);
  p = fma(p, x, 1.2533141373155003);
  double q = 8.634943994072101e-07;
  q = fma(q, x, 2.5202917575868965e-05);
  q = fma(q, x, 0.000365670273326713);
  q = fma(q, x, 0.0034190153254793935);
  q = fma(q, x, 0.022635392167119316);
  q = fma(q, x, 0.11054171261622948);
  q = fma(q, x, 0.4039518693304244);
  q = fma(q, x, 1.0994979979374775);
  q = fma(q, x, 2.176350294818652);
  q = fma(q, x, 2.9744450028664335);
  q = fma(q, x, 2.5196604221553853);
  q = fma(q, x, 1.0);
  Ratio out = {p, q};
  return out;
}

// Relative error below 1e-15 on [0, inf]; 0 at +inf.
UPM_INLINE double mills_ratio(double x) {
  Ratio r = mills_quotient(at_most(x, 1e20));
  const bool far = x > 1e20;
  return (far ? 1.0 : r.over) / (far ? x : r.under);
}

// phi(x); the rounding of x^2 is put back, which matters from |x| = 10 on.
UPM_INLINE double normal_density(double x) {
  double y = clip(x, -50.0, 50.0);  // phi(50) underflows to 0
  double square = y * y;
  double lost = fma(y, y, -square);
  double value = exp(-0.5 * square);
  return UPM_INVERSE_SQRT_2PI * fma(value, -0.5 * lost, value);
}

// 1 - Phi(x) for x >= 0. As phi(0) R(0) = 1/2, it is exp(-x^2 / 2) R(x) / (2 R(0)), which is 1/2 at 0 without rounding.
UPM_INLINE double normal_upper_tail(double x) {
  double y = at_most(x, 50.0);
  double square = y * y;
  double lost = fma(y, y, -square);
  double value = exp(-0.5 * square);
  Ratio r = mills_quotient(y);
  return fma(value, -0.5 * lost, value) * ((0.5 * r.over) / (1.2533141373155003 * r.under));
}

UPM_INLINE double normal_cdf(double x) {
  double tail = normal_upper_tail(absolute(x));
  return x < 0.0 ? tail : 1.0 - tail;
}

// ln Phi(x): no underflow on the left (-x^2/2 - ln sqrt(2 pi) + ln Mills(-x)), log1p on the right.
UPM_INLINE double normal_log_cdf(double x) {
  double magnitude = absolute(x);
  double left = -0.5 * x * x - UPM_LOG_SQRT_2PI + log(mills_ratio(magnitude));
  double right = log1p(-normal_upper_tail(magnitude));
  double value = x < 0.0 ? left : right;
  return x < -1e100 ? -infinity() : value;
}

// Phi^-1(u), Wichura 1988, "Algorithm AS 241", PPND16: relative error 1e-16 from 1e-316 on, in three pieces of a rational of degree 7 over 7.
#define UPM_QUANTILE_CENTRE 0.425       // |u - 1/2| up to which the first piece holds
#define UPM_QUANTILE_NEAR 1.39e-11      // min(u, 1 - u) above which sqrt(-log) <= 5 and the second piece holds: exp(-25) = 1.388794e-11

// The first piece as a quotient, without its factor u - 1/2 on top.
UPM_INLINE Ratio quantile_centre(double q) {
  double r = fma(-q, q, 0.180625);
  double over = 2509.0809287301227;
  over = fma(over, r, 33430.57558358813);
  over = fma(over, r, 67265.7709270087);
  over = fma(over, r, 45921.95393154987);
  over = fma(over, r, 13731.69376550946);
  over = fma(over, r, 1971.5909503065513);
  over = fma(over, r, 133.14166789178438);
  over = fma(over, r, 3.3871328727963665);
  double under = 5226.495278852854;
  under = fma(under, r, 28729.085735721943);
  under = fma(under, r, 39307.89580009271);
  under = fma(under, r, 21213.794301586597);
  under = fma(under, r, 5394.196021424751);
  under = fma(under, r, 687.1870074920579);
  under = fma(under, r, 42.31333070160091);
  under = fma(under, r, 1.0);
  Ratio out = {over * q, under};
  return out;
}

// The second piece (far false) and the third, in root = sqrt(-log(min(u, 1 - u))).
UPM_INLINE Ratio quantile_tail(double root, bool far) {
  double t = root - (far ? 5.0 : 1.6);
  double over = far ? 2.0103343992922881e-07 : 0.0007745450142783414;
  over = fma(over, t, far ? 2.7115555687434876e-05 : 0.022723844989269184);
  over = fma(over, t, far ? 0.0012426609473880784 : 0.2417807251774506);
  over = fma(over, t, far ? 0.026532189526576124 : 1.2704582524523684);
  over = fma(over, t, far ? 0.29656057182850487 : 3.6478483247632045);
  over = fma(over, t, far ? 1.7848265399172913 : 5.769497221460691);
  over = fma(over, t, far ? 5.463784911164114 : 4.630337846156546);
  over = fma(over, t, far ? 6.657904643501103 : 1.4234371107496835);
  double under = far ? 2.0442631033899397e-15 : 1.0507500716444169e-09;
  under = fma(under, t, far ? 1.421511758316446e-07 : 0.0005475938084995345);
  under = fma(under, t, far ? 1.8463183175100548e-05 : 0.015198666563616457);
  under = fma(under, t, far ? 0.0007868691311456133 : 0.14810397642748008);
  under = fma(under, t, far ? 0.014875361290850615 : 0.6897673349851);
  under = fma(under, t, far ? 0.1369298809227358 : 1.6763848301838038);
  under = fma(under, t, far ? 0.599832206555888 : 2.053191626637759);
  under = fma(under, t, 1.0);
  Ratio out = {over, under};
  return out;
}

// Both tails use min(u, 1 - u), which is exact for the engine's uniforms, so the quantile is odd to the bit. Phi^-1(0) = -inf, Phi^-1(1) = +inf, NaN outside.
UPM_INLINE double normal_quantile(double u) {
  const double q = u - 0.5;
  const Ratio centre = quantile_centre(q);
  const double smaller = q < 0.0 ? u : 1.0 - u;
  const double root = sqrt(-log(smaller));
  const Ratio tail = quantile_tail(root, root > 5.0);
  const bool central = absolute(q) <= UPM_QUANTILE_CENTRE;
  const double magnitude = (central ? centre.over : tail.over) / (central ? centre.under : tail.under);
  double z = central ? magnitude : with_sign(magnitude, q);
  z = smaller == 0.0 ? with_sign(infinity(), q) : z;
  return smaller >= 0.0 ? z : not_a_number();
}

// The same where |u - 1/2| <= UPM_QUANTILE_CENTRE.
UPM_INLINE double normal_quantile_central(double u) {
  const Ratio centre = quantile_centre(u - 0.5);
  return centre.over / centre.under;
}

// The same beyond the centre where min(u, 1 - u) > UPM_QUANTILE_NEAR.
UPM_INLINE double normal_quantile_near(double u) {
  const double q = u - 0.5;
  const Ratio tail = quantile_tail(sqrt(-log_of_normal(q < 0.0 ? u : 1.0 - u)), false);
  return with_sign(tail.over / tail.under, q);
}

}  // namespace upm

#endif
