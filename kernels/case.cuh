// What the operations on jets share: the market of a case with its directions, and the line of results. Twin: upm_gpu/formula/differences.py.
#ifndef UPM_CASE_CUH
#define UPM_CASE_CUH

#include "jet.cuh"

namespace upm {

enum CaseStatus {
  CASE_FOUND = 0,
  CASE_UNDEFINED = 4,         // an argument outside its domain
  CASE_BEYOND_BARRIER = 10,   // the spot is beyond a barrier that is only looked at on fixings
  CASE_NEGATIVE_RATE = 11,    // a payment at a hit under a rate too negative for the method
  CASE_UNEVEN_FIXINGS = 12,   // fixings so unequally spaced that no lattice holds them
};

struct GreeksOutput {
  enum { price, delta, gamma, vega, theta, rho, dividend_rho, status, size };
};

struct Market {
  Jet level, volatility, years, rate, carry;
  Jet stdev, drift, discount;  // sigma sqrt(T); (carry - sigma^2 / 2) T, the mean of ln(S_T / S); exp(-r T)
  bool on_forward;
};

// The level is a spot with carry r - q, or where `forward` is not NaN a forward without carry. Zero years and zero volatility are moved to values
// so small that the limits from above come out: every distance over them is then infinite in effect, or exactly 0.
UPM_INLINE Market market_of(double spot, double forward, double years, double rate, double yield, double volatility) {
  Market m;
  m.on_forward = forward == forward;
  m.level = variable(m.on_forward ? forward : spot, D_LEVEL);
  m.volatility = variable(at_least(volatility, 1e-20), D_VOLATILITY);
  m.years = variable(at_least(years, 1e-40), D_YEARS);
  m.rate = variable(rate, D_RATE);
  m.carry = m.on_forward ? constant(0.0) : m.rate - variable(yield, D_YIELD);
  m.stdev = m.volatility * sqrt(m.years);
  m.drift = (m.carry - 0.5 * (m.volatility * m.volatility)) * m.years;
  m.discount = exp(-(m.rate * m.years));
  return m;
}

UPM_INLINE bool defined(const Market& m, double years, double volatility) {
  return m.level.v > 0.0 && m.level.v < infinity() && years >= 0.0 && volatility >= 0.0 && m.rate.v == m.rate.v && m.carry.v == m.carry.v;
}

UPM_INLINE void write_greeks(Jet price, bool on_forward, double status, double* out, i64 stride) {
  if (status != CASE_FOUND) price = constant(not_a_number());
  out[GreeksOutput::price * stride] = price.v;
  out[GreeksOutput::delta * stride] = price.d[D_LEVEL] + 0.0 * price.v;
  out[GreeksOutput::gamma * stride] = price.g + 0.0 * price.v;
  out[GreeksOutput::vega * stride] = price.d[D_VOLATILITY] + 0.0 * price.v;
  out[GreeksOutput::theta * stride] = -price.d[D_YEARS] + 0.0 * price.v;
  out[GreeksOutput::rho * stride] = price.d[D_RATE] + 0.0 * price.v;
  out[GreeksOutput::dividend_rho * stride] = on_forward ? not_a_number() : price.d[D_YIELD] + 0.0 * price.v;
  out[GreeksOutput::status * stride] = status;
}

// E[e^(a X); low < X < high] e^weight for X normal with mean `mean` and standard deviation `stdev`.
UPM_OUT_OF_LINE Jet truncated_power(Jet a, Jet low, Jet high, Jet mean, Jet stdev, Jet weight) {
  if (!(low.v < high.v)) return constant(0.0);
  const Jet shift = a * (stdev * stdev);
  const Jet centre = mean + shift;
  const Jet per = reciprocal(stdev);
  return weighted_interval(weight + a * (mean + 0.5 * shift), (low - centre) * per, (high - centre) * per);
}

}  // namespace upm

#endif
