// Options on two assets in the scenario loop: spread, maximum and minimum, price only. Twin: upm_gpu/formula/pair.py. Greeks of one case: two_asset.cuh.
//
// F1, F2 forwards, s1, s2 total standard deviations, rho their correlation, K the strike, undiscounted:
//   spread, call   int phi(z) Black(F1 e^(rho s1 z - (rho s1)^2 / 2), F2 e^(s2 z - s2^2 / 2) + K, s1 sqrt(1 - rho^2)) dz     (the second asset given)
//   minimum, call  F1 M(x1 + s1, -y - s / 2; r1) + F2 M(x2 + s2, y - s / 2; r2) - K M(x1, x2; rho)                            (Stulz 1982)
// with xi = ln(Fi / K) / si - si / 2, s^2 = s1^2 + s2^2 - 2 rho s1 s2, y = ln(F1 / F2) / s, r1 = (rho s2 - s1) / s, r2 = (rho s1 - s2) / s, and the bivariate normal
//   M(a, b; r) = int phi(z) Phi((a - p z) / q) Phi((b -+ p z) / q) dz,  p = sqrt |r|, q = sqrt(1 - |r|).
// The rest is parity. Every integrand is entire and falls like a Gaussian, so equal steps h err like exp(-(2 pi w / h)^2 / 2 / (1 + w^2)), w the width of its sharpest bend
// (q / p, or that of Black): the step of a group is chosen by upm_gpu/pricing/two_assets.py. The nodes are those of every scenario, and all scenarios of a tile take one together.
#ifndef UPM_PAIR_CUH
#define UPM_PAIR_CUH

#include "black.cuh"
#include "elementary.cuh"
#include "normal.cuh"
#include "platform.cuh"

namespace upm {

enum PairPayoff { PAIR_SPREAD, PAIR_MAXIMUM, PAIR_MINIMUM };

#define UPM_LEAST_ROOT_YEARS 1e-10

// Two assets at one time: forwards, ln(F1 / F2), total standard deviations, their correlation, 1 - its square.
struct Pair {
  double forward_1, forward_2, log_ratio, stdev_1, stdev_2, correlation, free;
};

// Node j of 2 half + 1: where it is, and the weight of a standard normal there.
struct PairNode {
  double z, weight;
};
UPM_INLINE PairNode pair_node(i32 j, i32 half, double step) {
  PairNode r;
  r.z = step * (double)(j - half);
  r.weight = step * normal_density(r.z);
  return r;
}

// A spread S1 - S2 - K of a strike below 0 is -(S2 - S1 + K), of the other sign: what is asked for the first asset is then never near 0, where its price would bend.
UPM_INLINE Pair turned(const Pair& p) {
  Pair r = {p.forward_2, p.forward_1, -p.log_ratio, p.stdev_2, p.stdev_1, p.correlation, p.free};
  return r;
}

// The first asset given the second, for a strike of 0 or above: ln of its forward at z = 0, slope of that, standard deviation left; ln of the second at z = 0.
struct Spread {
  double lead, slope, left, lead_2;
};
UPM_INLINE Spread spread_of(const Pair& p) {
  Spread r;
  r.slope = p.correlation * p.stdev_1;
  r.lead = log(p.forward_1) - 0.5 * r.slope * r.slope;
  r.left = p.stdev_1 * sqrt(p.free);
  r.lead_2 = log(p.forward_2) - 0.5 * p.stdev_2 * p.stdev_2;
  return r;
}

UPM_INLINE double spread_term(const Spread& p, double stdev_2, double strike, double z) {
  const double log_forward = p.lead + p.slope * z, asked = exp(p.lead_2 + stdev_2 * z) + strike;
  return black_undiscounted(exp(log_forward), asked, log_forward - log(asked), p.left, 1.0);
}

// One bivariate normal probability: both bounds and slopes in units of what is left.
struct Bivariate {
  double a, b, slope_a, slope_b;
};
// `rest` is 1 - r^2, found without cancellation.
UPM_INLINE Bivariate bivariate_of(double a, double b, double r, double rest) {
  const double size = absolute(r), q = 1.0 / sqrt(rest / (1.0 + size)), p = sqrt(size) * q;
  Bivariate v = {a * q, b * q, p, r < 0.0 ? -p : p};
  return v;
}

UPM_INLINE double bivariate_term(const Bivariate& v, double z) { return normal_cdf(v.a - v.slope_a * z) * normal_cdf(v.b - v.slope_b * z); }

// The three probabilities of a call on the minimum: both above the strike; the first above it and below the second; the second above it and below the first.
struct Minimum {
  Bivariate both, first, second;
};
UPM_INLINE double stdev_of_ratio(const Pair& p) { return sqrt(p.stdev_1 * p.stdev_1 + p.stdev_2 * p.stdev_2 - 2.0 * p.correlation * p.stdev_1 * p.stdev_2); }

UPM_INLINE Minimum minimum_of(const Pair& p, double log_moneyness_1) {
  const double s = stdev_of_ratio(p), y = p.log_ratio / s, each = p.free / (s * s);
  const double x1 = log_moneyness_1 / p.stdev_1 - 0.5 * p.stdev_1, x2 = (log_moneyness_1 - p.log_ratio) / p.stdev_2 - 0.5 * p.stdev_2;
  Minimum r;
  r.both = bivariate_of(x1, x2, p.correlation, p.free);
  r.first = bivariate_of(x1 + p.stdev_1, -y - 0.5 * s, (p.correlation * p.stdev_2 - p.stdev_1) / s, p.stdev_2 * p.stdev_2 * each);
  r.second = bivariate_of(x2 + p.stdev_2, y - 0.5 * s, (p.correlation * p.stdev_1 - p.stdev_2) / s, p.stdev_1 * p.stdev_1 * each);
  return r;
}

// Undiscounted value of a spread option from the integral of its call.
UPM_INLINE double spread_value(const Pair& p, double strike, double sign, double call) {
  return at_least(sign > 0.0 ? call : call - (p.forward_1 - p.forward_2 - strike), 0.0);
}

// Undiscounted value of an option on the better or the worse of two, from the three probabilities of the call on the worse.
UPM_INLINE double better_or_worse_value(const Pair& p, double strike, double log_moneyness_1, double sign, bool better, double both, double first, double second) {
  const double worse = p.forward_1 * first + p.forward_2 * second - strike * both;
  const double each = black_undiscounted(p.forward_1, strike, log_moneyness_1, p.stdev_1, 1.0) + black_undiscounted(p.forward_2, strike, log_moneyness_1 - p.log_ratio, p.stdev_2, 1.0);
  const double exchange = black_undiscounted(p.forward_1, p.forward_2, p.log_ratio, stdev_of_ratio(p), 1.0);
  const double call = better ? each - worse : worse, mean = better ? p.forward_2 + exchange : p.forward_1 - exchange;
  return at_least(sign > 0.0 ? call : call - mean + strike, 0.0);
}

// What is paid at the levels of the expiry.
UPM_INLINE double pair_payoff(double level_1, double level_2, double strike, double sign, i32 payoff) {
  const double better = level_1 > level_2 ? level_1 : level_2, worse = level_1 > level_2 ? level_2 : level_1;
  const double at = payoff == PAIR_SPREAD ? level_1 - level_2 : payoff == PAIR_MAXIMUM ? better : worse;
  return at_least(sign * (at - strike), 0.0);
}

UPM_INLINE double bivariate_normal(const Bivariate& v, i32 half, double step) {
  double sum = 0.0;
  for (i32 j = 0; j <= 2 * half; ++j) {
    const PairNode n = pair_node(j, half, step);
    sum += n.weight * bivariate_term(v, n.z);
  }
  return sum;
}

// Undiscounted value. The CPU engine takes the sums a tile at a time, in the same order.
UPM_INLINE double pair_value(const Pair& p, double strike, double log_moneyness_1, double sign, i32 payoff, i32 half, double step) {
  if (payoff == PAIR_SPREAD) {
    const bool turn = strike < 0.0;
    const Pair q = turn ? turned(p) : p;
    const double above = absolute(strike);
    const Spread law = spread_of(q);
    double sum = 0.0;
    for (i32 j = 0; j <= 2 * half; ++j) {
      const PairNode n = pair_node(j, half, step);
      sum += n.weight * spread_term(law, q.stdev_2, above, n.z);
    }
    return spread_value(q, above, turn ? -sign : sign, sum);
  }
  const Minimum law = minimum_of(p, log_moneyness_1);
  return better_or_worse_value(p, strike, log_moneyness_1, sign, payoff == PAIR_MAXIMUM, bivariate_normal(law.both, half, step), bivariate_normal(law.first, half, step),
                               bivariate_normal(law.second, half, step));
}

}  // namespace upm

#endif
