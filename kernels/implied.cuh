// The out-of-the-money Black price to full relative accuracy, and its inverse. Twin: upm_gpu/formula/implied_volatility.py.
// Per instrument, not per scenario: branches and a loop are welcome here.
#ifndef UPM_IMPLIED_CUH
#define UPM_IMPLIED_CUH

#include "normal.cuh"

namespace upm {

// 1 - x R(x) = -R'(x), R the Mills ratio, x in [0, 100]. Rational of degree 10 over 12, positive coefficients, relative error 7e-17.
UPM_INLINE double mills_slope(double x) {
  double p = 2.516777321443409e-07;
  p = fma(p, x, 7.646037044141847e-06);
  p = fma(p, x, 0.00011697655803612347);
  p = fma(p, x, 0.0011644299514343664);
  p = fma(p, x, 0.008272093718820267);
  p = fma(p, x, 0.04360880276723452);
  p = fma(p, x, 0.17253096828792125);
  p = fma(p, x, 0.5066805272468968);
  p = fma(p, x, 1.062588310258356);
  p = fma(p, x, 1.4515877402677853);
  p = fma(p, x, 1.0);
  double q = 2.516777321443409e-07;
  q = fma(q, x, 7.646037044141855e-06);
  q = fma(q, x, 0.00011773159123255104);
  q = fma(q, x, 0.001187368062568153);
  q = fma(q, x, 0.008621513326362054);
  q = fma(q, x, 0.04705621641247589);
  q = fma(q, x, 0.19665595990336393);
  q = fma(q, x, 0.6308415123061513);
  q = fma(q, x, 1.5353568881897213);
  q = fma(q, x, 2.755728466046405);
  q = fma(q, x, 3.4526800734847862);
  q = fma(q, x, 2.7049018775832843);
  q = fma(q, x, 1.0);
  return p / q;
}

struct OutOfTheMoney {
  double price;       // over min(F, K), in [0, 1]
  double complement;  // 1 - price, without cancellation where price is near 1
  double slope;       // d price / d s = phi(a) > 0
  double a, b;        // m/s - s/2, m/s + s/2
};

// m = |ln(F/K)|, 0 < s <= 100. Relative error of the price a few 1e-16 plus (m/s)^2 2e-16 from the exponent.
//
// price = phi(a) (R(a) - R(b)). For s < 0.2 the difference is taken as a series about x = m/s with half width h = s/2,
//   R(x - h) - R(x + h) = -2 sum_(j odd) h^j / j! R^(j)(x),   R' = x R - 1,  R^(n+1) = x R^(n) + n R^(n-1),
// six terms: the next is below 1e-17 of the first. Elsewhere the difference loses at most m/s^2 units in the last place.
UPM_INLINE OutOfTheMoney out_of_the_money(double m, double s) {
  OutOfTheMoney out;
  double x = at_most(m / s, 100.0);
  double h = 0.5 * s;
  double a = x - h, b = x + h;
  double density = normal_density(a);
  out.a = a;
  out.b = b;
  out.slope = density;
  if (s < 0.2) {
    double d1 = -mills_slope(x);
    double d2 = fma(x, d1, mills_ratio(x));
    double d3 = fma(x, d2, 2.0 * d1);
    double d4 = fma(x, d3, 3.0 * d2);
    double d5 = fma(x, d4, 4.0 * d3);
    double d6 = fma(x, d5, 5.0 * d4);
    double d7 = fma(x, d6, 6.0 * d5);
    double d8 = fma(x, d7, 7.0 * d6);
    double d9 = fma(x, d8, 8.0 * d7);
    double d10 = fma(x, d9, 9.0 * d8);
    double d11 = fma(x, d10, 10.0 * d9);
    double w = h * h;
    double sum = d11 / 39916800.0;
    sum = fma(sum, w, d9 / 362880.0);
    sum = fma(sum, w, d7 / 5040.0);
    sum = fma(sum, w, d5 / 120.0);
    sum = fma(sum, w, d3 / 6.0);
    sum = fma(sum, w, d1);
    out.price = -s * density * sum;
    out.complement = 1.0 - out.price;
  } else if (a < 0.0) {
    out.complement = density * (mills_ratio(-a) + mills_ratio(b));
    out.price = 1.0 - out.complement;
  } else {
    out.price = density * (mills_ratio(a) - mills_ratio(b));
    out.complement = 1.0 - out.price;
  }
  return out;
}

// s > 0 with m/s - s/2 = a.
UPM_INLINE double stdev_at(double a, double m) {
  double root = sqrt(fma(a, a, 2.0 * m));
  return a > 0.0 ? 2.0 * m / (a + root) : root - a;
}

// Total standard deviation s that gives the out-of-the-money price `value` (over min(F, K), 0 < value < 1) at m = |ln(F/K)|.
//
// Halley's method in ln s on ln price (value < 1/2) or ln(1 - price) inside a bracket, which Jaeckel (2015), "Let's be
// rational", shows to be the objectives that are nearly straight in either wing. Bounds used:
//   price <= Phi(-a) <= exp(-a^2 / 2) / 2   and   price <= s phi(0)        give the lower end,
//   Phi(a) <= 1 - price <= 2 Phi(a) for a <= 0                             gives both ends where value >= 1/2.
// 1 to 5 steps; the result is within a few units in the last place of the root, over value in [1e-300, 1 - 1e-16], m in [0, 700].
UPM_INLINE double implied_total_stdev(double m, double value) {
  const bool small = value < 0.5;
  double complement = 1.0 - value;
  double low, high;
  if (small) {
    low = 2.5066282746310002 * value;
    double by_tail = stdev_at(sqrt(-2.0 * log(2.0 * value)), m);
    low = by_tail > low ? by_tail : low;
    high = stdev_at(-0.6744897501960818, m);
  } else {
    low = stdev_at(normal_quantile(complement), m);
    high = stdev_at(normal_quantile(0.5 * complement), m);
  }
  low *= 1.0 - 1e-15;
  high *= 1.0 + 1e-15;
  double s = small ? low : high;
  for (i32 step = 0; step < 40; ++step) {
    OutOfTheMoney at = out_of_the_money(m, s);
    double miss = small ? log(at.price / value) : -log(at.complement / complement);
    double slope = s * at.slope / (small ? at.price : at.complement);
    double newton = -miss / slope;
    double bend = fma(0.5 * newton, fma(at.a, at.b, 1.0) + (small ? -slope : slope), 1.0);
    double move = newton / at_least(bend, 0.25);
    if (miss < 0.0) low = s; else high = s;
    double next = s * exp(move);
    // Third order: the step after this one would be of the order of 1e-24 times (m/s)^4. The bracket's ends are rounding apart by then.
    if (absolute(move) < 1e-8) return next;
    const bool kept = next > low && next < high;  // false for a NaN
    s = kept ? next : sqrt(low) * sqrt(high);
  }
  return s;
}

enum ImpliedStatus {
  IMPLIED_FOUND = 0,
  IMPLIED_BELOW_PAYOFF = 1,    // price under the payoff at the forward: an arbitrage
  IMPLIED_ABOVE_BOUND = 2,     // price at or over F (call) or K (put): an arbitrage
  IMPLIED_NO_TIME_VALUE = 3,   // price equals the payoff to rounding: every small volatility gives it
  IMPLIED_UNDEFINED = 4        // an argument is NaN, or F or K or tau is not above 0
};

struct ImpliedVolatility {
  double volatility;  // NaN unless found
  i32 status;
};

// `price` undiscounted, sign +1 call, -1 put.
UPM_INLINE ImpliedVolatility implied_volatility(double forward, double strike, double log_moneyness, double years, double price,
                                                double sign) {
  ImpliedVolatility out = {not_a_number(), IMPLIED_UNDEFINED};
  if (!(forward > 0.0 && strike > 0.0 && years > 0.0 && price == price && log_moneyness == log_moneyness)) return out;
  double lead = forward < strike ? forward : strike;
  double payoff = at_least(sign * (forward - strike), 0.0);
  double time_value = price - payoff;
  double rounding = 4.0 * 2.220446049250313e-16 * payoff;
  if (time_value < -rounding || price < 0.0) {
    out.status = IMPLIED_BELOW_PAYOFF;
  } else if (time_value <= rounding || time_value < 1e-300 * lead) {
    out.status = IMPLIED_NO_TIME_VALUE;
  } else if (!(time_value < lead)) {
    out.status = IMPLIED_ABOVE_BOUND;
  } else {
    out.volatility = implied_total_stdev(absolute(log_moneyness), time_value / lead) / sqrt(years);
    out.status = IMPLIED_FOUND;
  }
  return out;
}

}  // namespace upm

#endif
