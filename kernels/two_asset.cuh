// Options on two assets: their spread, the better and the worse of them (Stulz 1982, "Options on the minimum or the maximum of two risky assets";
// Margrabe 1978 is the spread at strike 0). Twin: upm_gpu/formula/two_asset.py, by the bivariate normal law and by a plain quadrature. Per instrument.
//
// Given the second asset y = S2_T, driven by z ~ N(0, 1), the first is lognormal with the forward F(z) and the total standard deviation c = s1 sqrt(1 - rho^2), and the
// payoff is a sum of calls C and puts P of Black on it:
//   spread (S1 - S2 - K)       C(F, y + K), P(F, y + K); a strike at or below 0 is paid always or never: a place for y + K = 0
//   maximum, call              y > K: y - K + C(F, y), else C(F, K);      put  y < K: P(F, K) - P(F, y), else 0
//   minimum, call              y > K: C(F, K) - C(F, y), else 0;          put  y < K: K - y + P(F, y), else P(F, K)
// The integral over z runs from -9 to 9, as much further as the means of both assets' own measures lie from 0, by 16-point Gauss rules on panels that end at the kink y = K and at the points where F meets a strike, and grow from there
// with the width of the bend c / slope: error below 1e-12 of the levels for any correlation. Derivatives run through the rule; the kink does not move with the first
// asset, so the second derivative is exact too.
#ifndef UPM_TWO_ASSET_CUH
#define UPM_TWO_ASSET_CUH

#include "case.cuh"
#include "gauss.cuh"

namespace upm {

struct TwoAssetInput {
  enum {
    spot, time_to_expiry, rate, dividend_yield, volatility,  // of the first asset
    spot_2, dividend_yield_2, volatility_2, correlation, strike, sign,
    kind,  // a TwoAssetKind
    size
  };
};

enum TwoAssetKind { SPREAD, MAXIMUM, MINIMUM };

struct two_asset_shape {
  enum { inputs = TwoAssetInput::size, outputs = GreeksOutput::size, repeated = 0, count = 0 };
};

struct TwoAssets {
  Market first;
  Jet second, stdev, slope;  // ln of the second spot grown; c; slope of ln F in z
  Jet lead;                  // ln F at z = 0
  double least, most;        // ends of the range of z
  double volatility_2, strike, sign;
  Jet stdev_2;
  i32 kind;
};

// Undiscounted Black price for a lognormal of stdev c.
UPM_OUT_OF_LINE Jet black_jet(Jet forward, Jet strike, Jet c, double sign) {
  if (!(strike.v > 0.0)) return sign > 0.0 ? forward - strike : constant(0.0);
  const Jet none = constant(0.0);
  const Jet d = log(forward / strike) / c + 0.5 * c;
  return sign * (forward * weighted_cdf(none, sign * d) - strike * weighted_cdf(none, sign * (d - c)));
}

UPM_OUT_OF_LINE Jet payoff_given(const TwoAssets& a, double z) {
  const Jet forward = exp(a.lead + z * a.slope), y = exp(a.second + z * a.stdev_2), k = constant(a.strike);
  const bool above = y.v > a.strike;
  if (a.kind == SPREAD) return black_jet(forward, y + a.strike, a.stdev, a.sign);
  if (a.kind == MAXIMUM) {
    if (a.sign > 0.0) return above ? y - k + black_jet(forward, y, a.stdev, 1.0) : black_jet(forward, k, a.stdev, 1.0);
    return above ? constant(0.0) : black_jet(forward, k, a.stdev, -1.0) - black_jet(forward, y, a.stdev, -1.0);
  }
  if (a.sign > 0.0) return above ? black_jet(forward, k, a.stdev, 1.0) - black_jet(forward, y, a.stdev, 1.0) : constant(0.0);
  return above ? black_jet(forward, k, a.stdev, -1.0) : k - y + black_jet(forward, y, a.stdev, -1.0);
}

#define UPM_REACH 9.0
#define UPM_MOST_PLACES 8
#define UPM_FINEST_AT_NOUGHT 0.02  // where what is asked vanishes, Black's price has all derivatives 0 but is not analytic: the rule needs short panels there

// Where panels end: kinks and bends of the payoff in z, ascending, the ends of the range among them.
UPM_OUT_OF_LINE i32 places_of(const TwoAssets& a, double* place) {
  i32 count = 0;
  place[count++] = a.least;
  double found[UPM_MOST_PLACES];
  i32 some = 0;
  if (a.kind != SPREAD) {
    const double k = log(a.strike), across = a.slope.v - a.stdev_2.v;
    found[some++] = (k - a.second.v) / a.stdev_2.v;
    found[some++] = (k - a.lead.v) / a.slope.v;
    found[some++] = (a.second.v - a.lead.v) / across;
  } else {
    if (a.strike < 0.0) found[some++] = (log(-a.strike) - a.second.v) / a.stdev_2.v;  // y + K = 0: beyond, the first asset is bought whatever it is worth
    // ln F - ln(y + K) changes sign at most twice where both are positive; 96 cells find it, bisection places it.
    double left = a.least, was = 0.0;
    for (i32 i = 0; i <= 96; ++i) {
      const double z = a.least + i * ((a.most - a.least) / 96.0);
      const double now = exp(a.lead.v + z * a.slope.v) - exp(a.second.v + z * a.stdev_2.v) - a.strike;
      if (i > 0 && (now > 0.0) != (was > 0.0) && some < UPM_MOST_PLACES - 2) {
        double low = left, high = z;
        for (i32 halving = 0; halving < 50; ++halving) {
          const double middle = 0.5 * (low + high);
          const double value = exp(a.lead.v + middle * a.slope.v) - exp(a.second.v + middle * a.stdev_2.v) - a.strike;
          ((value > 0.0) == (was > 0.0) ? low : high) = middle;
        }
        found[some++] = 0.5 * (low + high);
      }
      left = z;
      was = now;
    }
  }
  for (i32 i = 0; i < some; ++i) {
    if (!(found[i] > a.least && found[i] < a.most)) continue;
    i32 at = count++;
    for (; at > 1 && place[at - 1] > found[i]; --at) place[at] = place[at - 1];
    place[at] = found[i];
  }
  place[count++] = a.most;
  return count;
}

UPM_OUT_OF_LINE Jet expected_payoff(const TwoAssets& a) {
  double place[UPM_MOST_PLACES + 2];
  const i32 places = places_of(a, place);
  const double steep = absolute(a.slope.v) + absolute(a.slope.v - a.stdev_2.v) + 1e-300;
  const double finest = clip(a.stdev.v / steep, 1e-7, a.kind == SPREAD && a.strike < 0.0 ? UPM_FINEST_AT_NOUGHT : 1.0);
  Jet sum = constant(0.0);
  for (i32 i = 0; i + 1 < places; ++i) {
    double from = place[i];
    const double to = place[i + 1];
    while (from < to) {
      // As wide as the distance to the nearer end of the stretch allows; the half that nears the far end mirrors the first.
      const double near = from - place[i], far = to - from;
      double width = at_most(finest + 0.5 * (near < far ? near : far), 1.0);
      if (far - width < 0.5 * finest) width = far;
      for (i32 p = 0; p < UPM_GAUSS_POINTS; ++p) {
        double z, share;
        gauss_point(p, from, width, &z, &share);
        sum = sum + (share * UPM_INVERSE_SQRT_2PI * exp(-0.5 * z * z)) * payoff_given(a, z);
      }
      from = width == far ? to : from + width;
    }
  }
  return sum;
}

UPM_OUT_OF_LINE void two_asset_values(const double* in, i64 in_stride, double* out, i64 out_stride) {
#define UPM_IN(name) in[TwoAssetInput::name * in_stride]
  const double years = UPM_IN(time_to_expiry), volatility = UPM_IN(volatility), rho = UPM_IN(correlation), spot_2 = UPM_IN(spot_2);
  TwoAssets a;
  a.first = market_of(UPM_IN(spot), not_a_number(), years, UPM_IN(rate), UPM_IN(dividend_yield), volatility);
  a.volatility_2 = at_least(UPM_IN(volatility_2), 1e-20);
  a.strike = UPM_IN(strike);
  a.sign = UPM_IN(sign);
  a.kind = to_int(UPM_IN(kind));
  const bool known = defined(a.first, years, volatility) && spot_2 > 0.0 && UPM_IN(volatility_2) >= 0.0 && rho >= -1.0 && rho <= 1.0 &&
                     UPM_IN(dividend_yield_2) == UPM_IN(dividend_yield_2) && (a.kind == SPREAD ? a.strike == a.strike : a.strike > 0.0);
  if (!known) return write_greeks(constant(0.0), false, CASE_UNDEFINED, out, out_stride);
  const Jet root = sqrt(a.first.years);
  a.stdev_2 = a.volatility_2 * root;
  a.second = (a.first.rate - (UPM_IN(dividend_yield_2) + 0.5 * a.volatility_2 * a.volatility_2)) * a.first.years + log(spot_2);
  a.stdev = sqrt(at_least(1.0 - rho * rho, 1e-20)) * a.first.stdev;
  a.slope = rho * a.first.stdev;
  a.lead = log(a.first.level) + a.first.drift + 0.5 * (a.stdev * a.stdev);
  a.least = at_most(a.slope.v, 0.0) - UPM_REACH;  // F(z) phi(z) is a normal about the slope, y phi(z) one about the second's deviation
  a.most = at_least(at_least(a.slope.v, a.stdev_2.v), 0.0) + UPM_REACH;
  write_greeks(a.first.discount * expected_payoff(a), false, CASE_FOUND, out, out_stride);
#undef UPM_IN
}

}  // namespace upm

#endif
