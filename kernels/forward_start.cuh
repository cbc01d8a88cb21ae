// An option whose strike is set later, at `moneyness` times the level at `start_time`: Rubinstein 1990, "Pay now, choose later"; Haug 2007, section 4.7.
// Twin: upm_gpu/formula/forward_start.py. Per instrument.
//
//   price = e^(-r T) L e^(b start) sign (E[e^X; A] - a P(A)),  A = {sign (X - ln a) > 0},  X = ln(S_T / S_start) ~ N((b - sigma^2 / 2) t, sigma^2 t),  t = T - start
#ifndef UPM_FORWARD_START_CUH
#define UPM_FORWARD_START_CUH

#include "case.cuh"

namespace upm {

struct ForwardStartInput {
  enum { spot, forward, time_to_expiry, rate, dividend_yield, volatility, moneyness, start_time, sign, size };
};

struct forward_start_shape {
  enum { inputs = ForwardStartInput::size, outputs = GreeksOutput::size, repeated = 0, count = 0 };
};

UPM_OUT_OF_LINE void forward_start_values(const double* in, i64 in_stride, double* out, i64 out_stride) {
#define UPM_IN(name) in[ForwardStartInput::name * in_stride]
  const double years = UPM_IN(time_to_expiry), volatility = UPM_IN(volatility), start = UPM_IN(start_time), moneyness = UPM_IN(moneyness), sign = UPM_IN(sign);
  const Market m = market_of(UPM_IN(spot), UPM_IN(forward), years, UPM_IN(rate), UPM_IN(dividend_yield), volatility);
  const double status = defined(m, years, volatility) && moneyness > 0.0 && start >= 0.0 && start <= years ? CASE_FOUND : CASE_UNDEFINED;
  // The clock moves start and expiry alike: what is left between them stays.
  const double left = at_least(years - start, 1e-40);
  const Jet begin = m.years - left;
  const Jet stdev = sqrt(left) * m.volatility, drift = left * (m.carry - 0.5 * (m.volatility * m.volatility));
  const Jet strike = constant(log(moneyness)), everywhere = constant(infinity()), none = constant(0.0);
  const Jet low = sign > 0.0 ? strike : -everywhere, high = sign > 0.0 ? everywhere : strike;
  const Jet unit = sign * (truncated_power(constant(1.0), low, high, drift, stdev, none) - moneyness * truncated_power(none, low, high, drift, stdev, none));
  write_greeks(m.level * (m.discount * exp(m.carry * begin)) * unit, m.on_forward, status, out, out_stride);
#undef UPM_IN
}

}  // namespace upm

#endif
