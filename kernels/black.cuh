// European options: Black (1976), "The pricing of commodity contracts". Twin: upm_gpu/formula/black.py.
// This is the price of the scenario loop; Greeks, inverse and implied volatility of one case: european.cuh (european_values).
#ifndef UPM_BLACK_CUH
#define UPM_BLACK_CUH

#include "normal.cuh"

namespace upm {

// Undiscounted price of the out-of-the-money side over min(F, K), a number in [0, 1].
//
//   m = |ln(F/K)|, s = sigma sqrt(tau), a = m/s - s/2, b = m/s + s/2
//   price / min(F, K) = Phi(-a) - e^m Phi(-b) = phi(a) (R(a) - R(b)),   R = Mills ratio, since phi(a) = e^m phi(b)
//
// and for a < 0, R(a) = 1/phi(a) - R(-a): one exponential and two Mills quotients that share one division. Absolute error 3e-16;
// relative error (m/s)^2 2e-16 + 3e-16 / price. Zero at s <= 0; 1 at s = inf.
UPM_INLINE double black_out_of_the_money(double m, double s) {
  // No lower clip: 0 / 0 is dropped by the last line. A two-sided clip of an `s` that is the same for all scenarios of a loop
  // would stop the vectoriser.
  double width = at_most(s, 100.0);
  double x = at_most(m / width, 100.0);
  double h = 0.5 * width;
  double a = x - h;
  Ratio near = mills_quotient(absolute(a));
  Ratio far = mills_quotient(x + h);
  double density = UPM_INVERSE_SQRT_2PI * exp_of_negative(-0.5 * a * a);
  const bool inside = a < 0.0;
  double over = fma(near.under, -far.over, (inside ? -near.over : near.over) * far.under);
  double value = fma(density, over / (near.under * far.under), inside ? 1.0 : 0.0);
  value = at_least(value, 0.0);
  return s > 0.0 ? value : 0.0 * s;
}

// Black-76 without discounting, price of one unit of underlying.
//   log_moneyness  ln(F/K)
//   total_stdev    sigma sqrt(tau), >= 0; 0 gives the payoff at the forward exactly
//   sign           +1 call, -1 put
// Put-call parity holds to the rounding of F - K.
UPM_INLINE double black_undiscounted(double forward, double strike, double log_moneyness, double total_stdev, double sign) {
  double lead = forward < strike ? forward : strike;
  double intrinsic = at_least(sign * (forward - strike), 0.0);
  return fma(lead, black_out_of_the_money(absolute(log_moneyness), total_stdev), intrinsic);
}

}  // namespace upm

#endif
