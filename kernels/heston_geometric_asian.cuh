// An option on the geometric average over [0, T] under Heston's model: Kim and Wee 2014, "Pricing of geometric Asian options under Heston's stochastic
// volatility model". Twin: upm_gpu/formula/heston_geometric_asian.py, on another contour. Per instrument.
//
// M(s) = E[G^s] = exp(s ln L + s b T / 2 + A(T) + C(T) v_0) with, in the time left t and B = s t / T,
//   C' = (rho xi B - kappa) C + xi^2 C^2 / 2 + (B^2 - B) / 2,  A' = kappa theta C,  A(0) = C(0) = 0,
// by Runge and Kutta's fourth order; and min(G, K) has the expectation (1 / pi) integral over u > 0 of Re K^(1 - s) M(s) / (u^2 + 1/4), s = 1/2 + i u, by panels of a Gauss
// rule until they end. Error some 1e-8 of the level. Delta, gamma and the rhos are derivatives under the integral; vega and theta are not offered.
#ifndef UPM_HESTON_GEOMETRIC_ASIAN_CUH
#define UPM_HESTON_GEOMETRIC_ASIAN_CUH

#include "case.cuh"
#include "complex.cuh"
#include "gauss.cuh"

namespace upm {

struct HestonGeometricAsianInput {
  enum { spot, forward, time_to_expiry, rate, dividend_yield, strike, sign, initial_variance, mean_reversion, long_run_variance, vol_of_vol, correlation, size };
};

struct heston_geometric_asian_shape {
  enum { inputs = HestonGeometricAsianInput::size, outputs = GreeksOutput::size, repeated = 0, count = 0 };
};

struct HestonAverage {
  double level, carry, years, v0, kappa, theta, xi, rho;
};

UPM_INLINE Complex riccati(const HestonAverage& h, Complex s, double t, Complex c) {
  const Complex b = (t / h.years) * s, back = {h.rho * h.xi * b.re - h.kappa, h.rho * h.xi * b.im}, less = {b.re - 1.0, b.im};
  return back * c + (0.5 * h.xi * h.xi) * (c * c) + 0.5 * (b * less);
}

// E[G^s]
UPM_OUT_OF_LINE Complex moment(const HestonAverage& h, Complex s) {
  const double pace = h.kappa + h.xi * (absolute(s.re) + absolute(s.im));
  const i32 steps = to_int(round_to_integer(at_most(64.0 + 8.0 * h.years * pace, 20000.0)));
  const double dt = h.years / steps;
  Complex c = {0.0, 0.0}, a = {0.0, 0.0};
  for (i32 i = 0; i < steps; ++i) {
    const double t = i * dt;
    const Complex k1 = riccati(h, s, t, c), c2 = c + (0.5 * dt) * k1;
    const Complex k2 = riccati(h, s, t + 0.5 * dt, c2), c3 = c + (0.5 * dt) * k2;
    const Complex k3 = riccati(h, s, t + 0.5 * dt, c3), c4 = c + dt * k3;
    const Complex k4 = riccati(h, s, t + dt, c4);
    a = a + (h.kappa * h.theta * dt / 6.0) * (c + 2.0 * c2 + 2.0 * c3 + c4);
    c = c + (dt / 6.0) * (k1 + 2.0 * k2 + 2.0 * k3 + k4);
  }
  return exp((log(h.level) + 0.5 * h.carry * h.years) * s + a + h.v0 * c);
}

UPM_OUT_OF_LINE void heston_geometric_asian_values(const double* in, i64 in_stride, double* out, i64 out_stride) {
#define UPM_IN(name) in[HestonGeometricAsianInput::name * in_stride]
  const bool on_forward = UPM_IN(forward) == UPM_IN(forward);
  const double rate = UPM_IN(rate), strike = UPM_IN(strike), sign = UPM_IN(sign);
  const HestonAverage h = {on_forward ? UPM_IN(forward) : UPM_IN(spot), on_forward ? 0.0 : rate - UPM_IN(dividend_yield), UPM_IN(time_to_expiry), UPM_IN(initial_variance),
                           UPM_IN(mean_reversion), UPM_IN(long_run_variance), UPM_IN(vol_of_vol), UPM_IN(correlation)};
  const bool known = h.level > 0.0 && h.level < infinity() && h.years > 0.0 && strike > 0.0 && h.carry - h.carry == 0.0 && rate - rate == 0.0 && h.v0 >= 0.0 && h.kappa > 0.0 &&
                     h.theta >= 0.0 && h.v0 + h.theta > 0.0 && h.xi >= 0.0 && h.rho >= -1.0 && h.rho <= 1.0;
  if (!known) return write_greeks(constant(0.0), on_forward, CASE_UNDEFINED, out, out_stride);
  const double decay = h.kappa * h.years, mean_variance = h.theta - (h.v0 - h.theta) * expm1(-decay) / decay;
  const double widest = 2.0 / sqrt(mean_variance * h.years / 3.0 + 1e-12), k = log(strike);
  double value = 0.0, first = 0.0, second = 0.0, by_carry = 0.0, size = 1.0, from = 0.0;
  for (i32 panel = 0; panel < 256 && size > 1e-14; ++panel) {
    const double width = at_most(at_least(from, 0.5), widest);  // the weight 1 / (u^2 + 1/4) is narrow at first
    size = 0.0;
    for (i32 i = 0; i < UPM_GAUSS_POINTS; ++i) {
      double u, share;
      gauss_point(i, from, width, &u, &share);
      const Complex s = {0.5, u}, power = {(1.0 - s.re) * k, -u * k}, less = {s.re - 1.0, u};
      const Complex term = (share / (3.141592653589793 * (u * u + 0.25))) * (exp(power) * moment(h, s));
      value += term.re;
      first += (s * term).re;
      second += (s * less * term).re;
      by_carry += 0.5 * h.years * (s * term).re;
      size = at_least(size, (absolute(term.re) + absolute(term.im)) / (h.level + strike));
    }
    from += width;
  }
  const Complex one = {1.0, 0.0};
  const double mean = moment(h, one).re, discount = exp(-rate * h.years), whole = sign > 0.0 ? 1.0 : 0.0;
  // call = E G - E min, put = K - E min
  Jet price = constant(discount * (sign > 0.0 ? mean - value : strike - value));
  price.d[D_LEVEL] = discount * (whole * mean - first) / h.level;
  price.g = -discount * second / (h.level * h.level);
  const double slope = on_forward ? 0.0 : discount * (whole * 0.5 * h.years * mean - by_carry);
  price.d[D_RATE] = slope - h.years * price.v;
  price.d[D_YIELD] = -slope;
  price.d[D_VOLATILITY] = price.d[D_YEARS] = not_a_number();
  write_greeks(price, on_forward, CASE_FOUND, out, out_stride);
#undef UPM_IN
}

}  // namespace upm

#endif
