// An option on the geometric average of fixings: the average is lognormal. Kemna and Vorst 1990, "A pricing method for options based on average asset
// values". Twin: upm_gpu/formula/geometric_asian.py. Per instrument.
//
// With weights 1 / N a fixing, share = n / N of them to come at times t_i: ln G ~ N(log_past + share ln L + (b - sigma^2 / 2) mean_time, sigma^2 variance_time),
// mean_time = sum t_i / N, variance_time = sum of min(t_i, t_j) / N^2; averaged all the time from now on they are T / 2 and T / 3. `ahead` is the share of the
// fixings after now, which the clock brings nearer.
#ifndef UPM_GEOMETRIC_ASIAN_CUH
#define UPM_GEOMETRIC_ASIAN_CUH

#include "case.cuh"

namespace upm {

struct GeometricAsianInput {
  enum { spot, forward, time_to_expiry, rate, dividend_yield, volatility, strike, sign, log_past, share, ahead, mean_time, variance_time, size };
};

struct geometric_asian_shape {
  enum { inputs = GeometricAsianInput::size, outputs = GreeksOutput::size, repeated = 0, count = 0 };
};

UPM_OUT_OF_LINE void geometric_asian_values(const double* in, i64 in_stride, double* out, i64 out_stride) {
#define UPM_IN(name) in[GeometricAsianInput::name * in_stride]
  const double years = UPM_IN(time_to_expiry), volatility = UPM_IN(volatility), strike = UPM_IN(strike), sign = UPM_IN(sign), ahead = UPM_IN(ahead);
  const Market m = market_of(UPM_IN(spot), UPM_IN(forward), years, UPM_IN(rate), UPM_IN(dividend_yield), volatility);
  const double status = defined(m, years, volatility) && strike > 0.0 && UPM_IN(variance_time) >= 0.0 ? CASE_FOUND : CASE_UNDEFINED;
  const Jet passed = m.years - m.years.v;
  const Jet mean_time = ahead * passed + UPM_IN(mean_time);
  const Jet variance_time = (ahead * ahead) * passed + at_least(UPM_IN(variance_time), 1e-40);
  const Jet mean = UPM_IN(share) * log(m.level) + UPM_IN(log_past) + (m.carry - 0.5 * (m.volatility * m.volatility)) * mean_time;
  const Jet stdev = m.volatility * sqrt(variance_time);
  const Jet k = constant(log(strike)), everywhere = constant(infinity()), none = constant(0.0);
  const Jet low = sign > 0.0 ? k : -everywhere, high = sign > 0.0 ? everywhere : k;
  const Jet payoff = truncated_power(constant(1.0), low, high, mean, stdev, none) - strike * truncated_power(none, low, high, mean, stdev, none);
  write_greeks(sign * (m.discount * payoff), m.on_forward, status, out, out_stride);
#undef UPM_IN
}

}  // namespace upm

#endif
