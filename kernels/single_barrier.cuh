// One barrier, looked at all the time or on fixings: barrier options, binary barriers, one-touch and no-touch; without a barrier, digitals.
// Reiner and Rubinstein 1991, "Breaking down the barriers" and "Unscrambling the binary code"; Haug 2007, sections 4.17 and 4.19. Twin:
// upm_gpu/formula/single_barrier.py, by quadrature over the Brownian bridge. Per instrument.
//
// With X = ln(S_T / S) ~ N(m, s^2), h = ln(H / S) and w = 2 h m / s^2, paths that end at x on the side of the spot and have been at the barrier
// have the density e^w n(x; m + 2h, s^2) (reflection). So with P(a; A) = E[e^(a X); X in A] and P' its value under the reflected law,
//
//   hit:      P(a; payoff, beyond) + e^w P'(a; payoff, this side)
//   not hit:  P(a; payoff, this side) - e^w P'(a; payoff, this side)
//
// and a payment of 1 at the hit is worth e^(h (m - g) / s^2) N((-|h| + G) / s) + e^(h (m + g) / s^2) N((-|h| - G) / s), G = sqrt(m^2 + 2 r T s^2), g = G
// for a barrier above and -G for one below; where the root is of a negative number or small, the density of the hitting time is integrated.
//
// On n equal fixings the barrier moves away from the spot by exp(0.5826 sigma sqrt(T / n)) (Broadie, Glasserman and Kou 1997): an approximation whose
// error falls faster than 1 / sqrt(n), about 1e-4 of the spot at 50 fixings and larger for a spot near the barrier.
#ifndef UPM_SINGLE_BARRIER_CUH
#define UPM_SINGLE_BARRIER_CUH

#include "case.cuh"
#include "gauss.cuh"

namespace upm {

struct SingleBarrierInput {
  enum {
    spot, forward, time_to_expiry, rate, dividend_yield, volatility,
    strike,         // of the region
    region,         // +1 pays above the strike, -1 below, 0 everywhere
    asset, cash,    // units of the asset and of cash paid at expiry in the region, if the barrier was hit (knock_in 1) or was not (0)
    barrier,
    up,             // +1 a barrier above the spot, -1 below
    knock_in,
    hit,            // 1: it has been hit (or there is none)
    hit_payment,    // cash paid at the hit, at once where it has been hit
    hit_asset,      // units of the asset paid at the hit
    miss_payment,   // cash paid at expiry if the barrier was never hit
    fixings,        // 0: looked at all the time
    size
  };
};

struct single_barrier_shape {
  enum { inputs = SingleBarrierInput::size, outputs = GreeksOutput::size, repeated = 0, count = 0 };
};

#define UPM_BARRIER_SHIFT 0.5825971579390106  // -zeta(1/2) / sqrt(2 pi)

struct Interval {
  Jet low, high;
};

UPM_INLINE Interval common(Interval a, Interval b) {
  Interval out = {a.low.v > b.low.v ? a.low : b.low, a.high.v < b.high.v ? a.high : b.high};
  return out;
}

// Value of 1 paid when the barrier is hit, from the density of the hitting time t in u = |h| / (sigma sqrt t), with tilt = m h / s^2 and decay = G^2 / (2 s^2):
//   integral from |h| / s of 2 n(u) exp(tilt - decay h^2 / (s^2 u^2)) du, smooth for rates of both signs.
UPM_OUT_OF_LINE Jet payment_at_hit_integrated(Jet h, Jet tilt, Jet decay, Jet stdev) {
  const Jet from = (h.v < 0.0 ? -h : h) / stdev;
  const Jet scale = decay * (from * from);
  Jet sum = constant(0.0);
  for (int panel = 0; panel < 8; ++panel)
    for (int i = 0; i < UPM_GAUSS_POINTS; ++i) {
      double y, share;
      gauss_point(i, 1.25 * panel, 1.25, &y, &share);
      const Jet u = from + y;
      sum = sum + (2.0 * UPM_INVERSE_SQRT_2PI * share) * exp(tilt - 0.5 * (u * u) - scale * reciprocal(u * u));
    }
  return sum;
}

UPM_OUT_OF_LINE Jet payment_at_hit(const Market& m, Jet h) {
  const Jet variance = m.stdev * m.stdev;
  const Jet square = m.drift * m.drift + 2.0 * (m.rate * m.years * variance);
  const Jet over = h / variance;
  if (square.v < 1e-8 * variance.v) return payment_at_hit_integrated(h, m.drift * over, 0.5 * (square / variance), m.stdev);
  const Jet root = sqrt(square);
  const Jet side = h.v > 0.0 ? root : -root;
  const Jet distance = h.v > 0.0 ? h : -h;
  const Jet per = reciprocal(m.stdev);
  return weighted_cdf(over * (m.drift - side), (root - distance) * per) + weighted_cdf(over * (m.drift + side), -((root + distance) * per));
}

UPM_OUT_OF_LINE void single_barrier_values(const double* in, i64 in_stride, double* out, i64 out_stride) {
#define UPM_IN(name) in[SingleBarrierInput::name * in_stride]
  const double years = UPM_IN(time_to_expiry), volatility = UPM_IN(volatility), up = UPM_IN(up);
  const Market m = market_of(UPM_IN(spot), UPM_IN(forward), years, UPM_IN(rate), UPM_IN(dividend_yield), volatility);
  const bool hit = UPM_IN(hit) != 0.0, knock_in = UPM_IN(knock_in) != 0.0;
  const double region = UPM_IN(region), fixings = UPM_IN(fixings);

  const Jet everywhere = constant(infinity());
  Interval payoff = {-everywhere, everywhere};
  if (region != 0.0) {
    const Jet k = log(constant(UPM_IN(strike)) / m.level);
    (region > 0.0 ? payoff.low : payoff.high) = k;
  }
  Jet paid[2] = {constant(0.0), constant(0.0)};  // cash, asset over the spot
  Jet missed = constant(0.0), at_hit = constant(1.0);
  double status = defined(m, years, volatility) && (region == 0.0 || UPM_IN(strike) > 0.0) ? CASE_FOUND : CASE_UNDEFINED;
  const Jet none = constant(0.0);
  if (hit) {
    for (int a = 0; a < 2; ++a)
      if (knock_in) paid[a] = truncated_power(constant(a), payoff.low, payoff.high, m.drift, m.stdev, none);
  } else {
    if (!(UPM_IN(barrier) > 0.0 && volatility > 0.0)) status = CASE_UNDEFINED;
    Jet h = log(constant(UPM_IN(barrier)) / m.level);
    if (fixings > 0.0) h = h + (up * UPM_BARRIER_SHIFT / sqrt(fixings)) * m.stdev;
    if (status == CASE_FOUND && !(up * h.v > 0.0)) status = CASE_BEYOND_BARRIER;
    const Interval side = {up > 0.0 ? -everywhere : h, up > 0.0 ? h : everywhere};
    const Interval beyond = {up > 0.0 ? h : -everywhere, up > 0.0 ? everywhere : h};
    const Interval here = common(payoff, side), there = common(payoff, beyond);
    const Jet mirrored = m.drift + 2.0 * h;
    const Jet weight = 2.0 * (h * m.drift) / (m.stdev * m.stdev);
    for (int a = 0; a < 2; ++a) {
      const Jet reflected = truncated_power(constant(a), here.low, here.high, mirrored, m.stdev, weight);
      paid[a] = knock_in ? truncated_power(constant(a), there.low, there.high, m.drift, m.stdev, none) + reflected
                         : truncated_power(constant(a), here.low, here.high, m.drift, m.stdev, none) - reflected;
    }
    if (UPM_IN(miss_payment) != 0.0)
      missed = truncated_power(none, side.low, side.high, m.drift, m.stdev, none) - truncated_power(none, side.low, side.high, mirrored, m.stdev, weight);
    if (UPM_IN(hit_payment) != 0.0 || UPM_IN(hit_asset) != 0.0) at_hit = payment_at_hit(m, h);
  }
  Jet price = m.discount * (UPM_IN(asset) * (m.level * paid[1]) + UPM_IN(cash) * paid[0] + UPM_IN(miss_payment) * missed);
  price = price + UPM_IN(hit_payment) * at_hit + UPM_IN(hit_asset) * (hit ? m.level : UPM_IN(barrier) * at_hit);
  write_greeks(price, m.on_forward, status, out, out_stride);
#undef UPM_IN
}

}  // namespace upm

#endif
