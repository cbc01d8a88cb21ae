// Two barriers, looked at all the time: Ikeda and Kunitomo 1992, "Pricing options with curved boundaries", flat case; Haug 2007, section 4.17.3. Twin:
// upm_gpu/formula/double_barrier.py, by the sine series. Per instrument.
//
// With X = ln(S_T / S) ~ N(m, s^2), l = ln(L / S) < 0 < u = ln(U / S), W = u - l, paths that stay between have the density
//
//   sum over n of  e^(c m / s^2) n(x; m + c, s^2) at c = 2 n W   minus the same at c = 2 u + 2 n W,
//
// images that fall as exp(-2 n^2 W^2 / s^2): |n| <= 4.5 s / W + 2 leaves 1e-17. Beyond s = 8 W the density is below e^-300 and taken as 0. A payment of 1 at the
// first hit is worth V(0) - e^(-rT) E[V(X); neither hit], V the value of one paid at a hit without an expiry:
//   V(x) = A e^((g - q) x) + B e^((-g - q) x),  q = m / s^2,  g = sqrt(m^2 + 2 r T s^2) / s^2,  V(l) = V(u) = 1.
#ifndef UPM_DOUBLE_BARRIER_CUH
#define UPM_DOUBLE_BARRIER_CUH

#include "case.cuh"

namespace upm {

struct DoubleBarrierInput {
  enum {
    spot, forward, time_to_expiry, rate, dividend_yield, volatility,
    strike, region, asset, cash,      // as in single_barrier.cuh
    lower_barrier, upper_barrier,
    knock_in, hit, hit_payment, miss_payment,
    size
  };
};

struct double_barrier_shape {
  enum { inputs = DoubleBarrierInput::size, outputs = GreeksOutput::size, repeated = 0, count = 0 };
};

// E[e^(a X); low < X < high, neither barrier hit] of paths that start at 0.
UPM_OUT_OF_LINE Jet survivors(Jet a, Jet low, Jet high, Jet lower, Jet upper, const Market& m) {
  Jet sum = constant(0.0);
  const Jet width = upper - lower;
  const double ratio = m.stdev.v / width.v;
  if (ratio > 8.0) return sum;
  const Jet tilt = m.drift / (m.stdev * m.stdev);
  const i32 most = 2 + to_int(round_to_integer(at_most(4.5 * ratio, 64.0)));
  for (i32 n = -most; n <= most; ++n) {
    const Jet even = (2.0 * n) * width, odd = even + 2.0 * upper;
    sum = sum + truncated_power(a, low, high, m.drift + even, m.stdev, even * tilt) - truncated_power(a, low, high, m.drift + odd, m.stdev, odd * tilt);
  }
  return sum;
}

// Value of 1 paid at the first hit before expiry.
UPM_OUT_OF_LINE Jet payment_at_either(Jet lower, Jet upper, const Market& m, double* status) {
  const Jet variance = m.stdev * m.stdev, width = upper - lower;
  Jet square = (m.drift * m.drift + 2.0 * (m.rate * m.years * variance)) / (variance * variance);
  // Near a double root A and B grow without bound and cancel: a square moved by 2e-8 / W^2 changes the value by less than 4e-9.
  const double floor = 1e-8 / (width.v * width.v);
  if (square.v < -floor) *status = CASE_NEGATIVE_RATE;
  if (square.v < floor) square = square + 2.0 * floor;
  const Jet g = sqrt(square), q = m.drift / variance;
  const Jet per = reciprocal(1.0 - exp(-2.0 * (g * width)));
  const Jet above = (exp((q - g) * upper) - exp(q * lower - g * (upper + width))) * per;
  const Jet below = (exp((q + g) * lower) - exp(q * upper + g * (lower - width))) * per;
  const Jet kept = above * survivors(g - q, lower, upper, lower, upper, m) + below * survivors(-(g + q), lower, upper, lower, upper, m);
  return above + below - m.discount * kept;
}

UPM_OUT_OF_LINE void double_barrier_values(const double* in, i64 in_stride, double* out, i64 out_stride) {
#define UPM_IN(name) in[DoubleBarrierInput::name * in_stride]
  const double years = UPM_IN(time_to_expiry), volatility = UPM_IN(volatility);
  const Market m = market_of(UPM_IN(spot), UPM_IN(forward), years, UPM_IN(rate), UPM_IN(dividend_yield), volatility);
  const bool hit = UPM_IN(hit) != 0.0, knock_in = UPM_IN(knock_in) != 0.0;
  const double region = UPM_IN(region);
  double status = defined(m, years, volatility) && (region == 0.0 || UPM_IN(strike) > 0.0) ? CASE_FOUND : CASE_UNDEFINED;

  const Jet everywhere = constant(infinity());
  Jet low = -everywhere, high = everywhere;
  if (region != 0.0) (region > 0.0 ? low : high) = log(constant(UPM_IN(strike)) / m.level);
  Jet paid[2] = {constant(0.0), constant(0.0)};
  Jet missed = constant(0.0), at_hit = constant(1.0);
  for (int a = 0; a < 2; ++a)
    if (knock_in) paid[a] = truncated_power(constant(a), low, high, m.drift, m.stdev, constant(0.0));
  if (!hit) {
    const Jet lower = log(constant(UPM_IN(lower_barrier)) / m.level), upper = log(constant(UPM_IN(upper_barrier)) / m.level);
    if (!(UPM_IN(lower_barrier) > 0.0 && volatility > 0.0)) status = CASE_UNDEFINED;
    if (status == CASE_FOUND && !(lower.v < 0.0 && upper.v > 0.0)) status = CASE_BEYOND_BARRIER;
    if (status != CASE_FOUND) return write_greeks(everywhere, m.on_forward, status, out, out_stride);
    const Jet first = low.v > lower.v ? low : lower, last = high.v < upper.v ? high : upper;
    for (int a = 0; a < 2; ++a) {
      const Jet kept = survivors(constant(a), first, last, lower, upper, m);
      paid[a] = knock_in ? paid[a] - kept : kept;
    }
    if (UPM_IN(miss_payment) != 0.0) missed = survivors(constant(0.0), lower, upper, lower, upper, m);
    if (UPM_IN(hit_payment) != 0.0) at_hit = payment_at_either(lower, upper, m, &status);
  }
  const Jet at_expiry = UPM_IN(asset) * (m.level * paid[1]) + UPM_IN(cash) * paid[0] + UPM_IN(miss_payment) * missed;
  write_greeks(m.discount * at_expiry + UPM_IN(hit_payment) * at_hit, m.on_forward, status, out, out_stride);
#undef UPM_IN
}

}  // namespace upm

#endif
