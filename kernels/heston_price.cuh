// European options under Heston (1993) and Bates (1996, with one or two clocks of jumps) by one contour integral of the moment function. Twin: upm_gpu/formula/heston_price.py, by another
// form of the moment function on another contour with another rule. Per instrument.
//
// With X = ln(S_T / F), M(s) = E[e^(s X)] and k = ln(F / K),
//
//   V / K = 1 / (2 pi i) integral over Re s = a of M(s) e^(s k) / (s (s - 1)) ds
//
// is the call for a > 1 and the put for a < 0; for 0 < a < 1 a residue is added. The contour passes through the saddle point of the integrand on the
// out-of-the-money side, the minimum of a convex function, where nothing cancels: wings keep their relative accuracy (Lord and Kahl 2007, "Optimal Fourier
// inversion in semi-analytical option pricing"). Where moments explode so close to 1 that the saddle is squeezed, the strip (0, 1) is taken.
//
// On s = a + i b sinh(y) the integrand is analytic about the real y axis and falls off doubly exponentially, so the trapezoidal rule converges geometrically
// in 1 / step; b is the width of the saddle. The step is halved, and old points kept, until all sums agree to 1e-8 of their absolute
// sums: the error squares with each halving. No range of integration is chosen; the sum ends where terms fall below 1e-18.
//
// M in the form whose logarithm stays on its branch (Albrecher et al. 2007, "The little Heston trap"; Lord and Kahl 2010), arranged so that small
// vol of vol, small times and small roots lose nothing: with q = s^2 - s, beta = kappa - rho xi s, d^2 = beta^2 - xi^2 q, E = (1 - e^(-d T)) / d,
//
//   Q = (1 + e^(-d T) + beta E) / 2,   ln M = kappa theta ((beta - d) T - 2 ln Q) / xi^2 + v0 q E / (2 Q),   beta - d = xi^2 q / (beta + d),
//
// and Greeks are sums over the same points: d / dv0 is q E / (2 Q), whose change in T is q e^(-d T) / (2 Q^2).
#ifndef UPM_HESTON_PRICE_CUH
#define UPM_HESTON_PRICE_CUH

#include "complex.cuh"
#include "model_option.cuh"

namespace upm {

struct HestonPriceInput {
  enum {
    initial_variance = ModelOptionInput::size, mean_reversion, long_run_variance, vol_of_vol, correlation, jump_intensity, jump_mean, jump_volatility,
    second_jump_intensity, second_jump_mean, second_jump_volatility, size
  };
};

struct heston_price_shape {
  enum { inputs = HestonPriceInput::size, outputs = ModelOptionOutput::size, repeated = 0, count = 0 };
};

// Jumps of one clock: the logarithm of a jump has mean `mean` and variance 2 half_square, the price grows by 1 + surplus.
struct JumpClock {
  double intensity, mean, half_square, surplus;
};

struct Heston {
  double v0, kappa, theta, xi, rho, years;
  JumpClock jumps[2];
};

struct Moment {
  Complex log, by_variance, by_years;
};

UPM_OUT_OF_LINE Moment moment_of(const Heston& h, Complex s) {
  const Complex q = s * s - s, beta = complex_of(h.kappa - h.rho * h.xi * s.re, -h.rho * h.xi * s.im);
  const double square = h.xi * h.xi;
  const Complex d = sqrt(beta * beta - square * q), z = h.years * d;
  Complex left, gone = decay(z, &left), over;  // over = E
  const bool small = square_of_size(z) < 1e-6;
  if (small) {
    over = h.years * (complex_of(1.0, 0.0) - 0.5 * z + (1.0 / 6.0) * (z * z) - (1.0 / 24.0) * (z * z * z));
  } else {
    over = gone / d;
  }
  // beta + d and (beta - d) / xi^2, without the difference of near numbers
  const bool ahead = beta.re >= 0.0;
  const Complex plus = ahead ? beta + d : square * (q / (beta - d));
  const Complex minus = ahead ? square_of_size(plus) > 0.0 ? q / plus : complex_of(0.0, 0.0) : (1.0 / square) * (beta - d);
  const Complex short_sum = left + 1.0 + beta * over;
  const Complex half = 0.5 * (square_of_size(z) < 0.25 ? short_sum : (plus - square * (minus * left)) / d);  // Q
  Moment m;
  m.by_variance = 0.5 * (q * over / half);
  m.by_years = h.v0 * (0.5 * (q * left / (half * half)));
  m.log = h.v0 * m.by_variance;
  if (h.kappa * h.theta > 0.0) {
    const Complex w = 0.5 * (over * minus), change = square * w;  // Q - 1 = xi^2 w
    const double size = square_of_size(change);
    Complex part;  // ln(Q) / xi^2
    if (size < 1e-8) {
      part = w * (complex_of(1.0, 0.0) - 0.5 * change + (1.0 / 3.0) * (change * change) - 0.25 * (change * change * change));
    } else {
      part = (1.0 / square) * (size < 0.25 ? log1p(change) : log(half));
    }
    m.log = m.log + (h.kappa * h.theta) * (h.years * minus - 2.0 * part);
    m.by_years = m.by_years + (h.kappa * h.theta) * m.by_variance;
  }
  for (i32 i = 0; i < 2; ++i) {
    const JumpClock& j = h.jumps[i];
    if (!(j.intensity > 0.0)) continue;
    const Complex jump = exp(j.mean * s + j.half_square * (s * s)) - 1.0 - j.surplus * s;
    m.log = m.log + (j.intensity * h.years) * jump;
    m.by_years = m.by_years + j.intensity * jump;
  }
  return m;
}

// Is E[(S_T / F)^a] finite? Q has no zero up to T (Andersen and Piterbarg 2007, "Moment explosions in stochastic volatility models").
UPM_INLINE bool finite_moment(const Heston& h, double a) {
  const double beta = h.kappa - h.rho * h.xi * a, square = beta * beta - h.xi * h.xi * (a * a - a);
  const double root = sqrt(absolute(square)), x = 0.5 * root * h.years;
  if (x < 1e-8) return 1.0 + 0.5 * beta * h.years > 0.0;
  if (square < 0.0) {
    if (!(x < UPM_PI)) return false;
    double s, c;
    sine_cosine(x, &s, &c);
    return c + beta / root * s > 0.0;
  }
  return beta >= 0.0 || 1.0 + exp(-2.0 * x) - beta / root * expm1(-2.0 * x) > 0.0;
}

// Are the expected jumps under the tilt a beyond what a double holds well?
UPM_INLINE bool many_jumps(const JumpClock& j, double years, double a) { return j.intensity > 0.0 && j.intensity * years * exp(j.mean * a + j.half_square * a * a) > 1e4; }

// Where a vertical contour may stand: beyond 1 (1), below 0 (-1), or between (0), by one number.
UPM_INLINE double contour_at(i32 strip, double t) {
  const double e = exp(t);
  return strip > 0 ? 1.0 + e : strip < 0 ? -e : e / (1.0 + e);
}

UPM_INLINE double contour_room(i32 strip, double a) { return strip > 0 ? a - 1.0 : strip < 0 ? -a : a * (1.0 - a); }

// ln of the integrand without e^(shift), on the branch that is real where s is.
UPM_INLINE Complex log_integrand(const Heston& h, Complex s, double k, i32 strip) {
  const Complex q = strip ? s * s - s : s - s * s;
  return moment_of(h, s).log + k * s - log(q);
}

struct Contour {
  double a, width, peak;
  double across, along;  // s = a + width (across (cosh y - 1) + i along sinh y): sine and cosine of the tilt from the vertical
};

// The saddle point within some 3 % of its distance to the pole, and its width, by bisection on the slope.
UPM_OUT_OF_LINE Contour saddle(const Heston& h, double k, i32 strip) {
  double low = strip ? -9.0 : -7.0, high = strip ? 23.0 : 7.0;
  const double outward = strip < 0 ? -1.0 : 1.0;
  for (i32 step = 0; step < (strip ? 10 : 8); ++step) {
    const double t = 0.5 * (low + high), a = contour_at(strip, t), room = contour_room(strip, a);
    const Complex at = complex_of(a, 0.01 * room);
    const bool far = !finite_moment(h, a) || many_jumps(h.jumps[0], h.years, a) || many_jumps(h.jumps[1], h.years, a) || outward * log_integrand(h, at, k, strip).im >= 0.0;
    if (far) high = t; else low = t;
  }
  Contour c;
  c.a = contour_at(strip, low);
  const double room = contour_room(strip, c.a), aside = 0.05 * room;
  c.peak = log_integrand(h, complex_of(c.a, 0.0), k, strip).re;
  const double bend = 2.0 * (c.peak - log_integrand(h, complex_of(c.a, aside), k, strip).re) / (aside * aside);
  c.width = bend > 1.0 / (room * room) ? 1.0 / sqrt(bend) : room;
  c.across = 0.0;
  c.along = 1.0;
  return c;
}

struct Sums {
  double value, by_log, by_log_twice, by_variance, by_years;          // V, F V_F, F^2 V_FF, each over e^(peak)
  double size, size_by_log, size_twice, size_by_variance, size_years;  // sums of absolute values
};

UPM_INLINE double add_term(Complex term, Complex measure, double* sum, double* sizes) {
  const Complex part = measure * term;
  const double size = sqrt(square_of_size(part));
  *sum += part.re;
  *sizes += size;
  return size;
}

// Adds the point y with this weight; false where all its terms are negligible.
UPM_OUT_OF_LINE bool add_point(const Heston& h, const Contour& c, double k, double y, double weight, Sums* t) {
  const double e = exp(y), r = 1.0 / e, sine = 0.5 * c.width * (e - r), cosine = 0.5 * c.width * (e + r);
  const Complex s = complex_of(c.a + c.across * (cosine - c.width), c.along * sine);
  const Complex measure = complex_of(weight * c.along * cosine, -weight * c.across * sine);
  const Moment m = moment_of(h, s);
  const Complex power = exp(m.log + k * s - c.peak), term = power / (s * s - s);
  const double one = add_term(term, measure, &t->value, &t->size), two = add_term(s * term, measure, &t->by_log, &t->size_by_log);
  const double three = add_term(power, measure, &t->by_log_twice, &t->size_twice);
  const double four = add_term(m.by_variance * term, measure, &t->by_variance, &t->size_by_variance);
  const double five = add_term(m.by_years * term, measure, &t->by_years, &t->size_years);
  return one > 1e-18 * t->size || two > 1e-18 * t->size_by_log || three > 1e-18 * t->size_twice || four > 1e-18 * t->size_by_variance || five > 1e-18 * t->size_years;
}

// Relative change of a trapezoidal sum on halving the step: the sum of all points against that of every other one doubled.
UPM_INLINE bool settled(double whole, double before, double size) { return absolute(whole - 2.0 * before) <= 1e-8 * size; }

#define UPM_FIRST_STEP 0.3
#define UPM_FARTHEST 60.0
#define UPM_CONTOURS 4
// The sum of absolute values over that of the saddle alone, in its widths: some 3 on a good contour, 100 where terms fall slowly, astronomic on a bad one.
#define UPM_MOST_EXCESS 1e4

// All sums on one contour, with the last step; false where they do not settle.
UPM_OUT_OF_LINE bool contour_sums(const Heston& h, const Contour& c, double k, i32 halvings, Sums* t, double* last_step) {
  const Sums none = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
  *t = none;
  add_point(h, c, k, 0.0, 0.5, t);
  const double most = UPM_MOST_EXCESS * t->size;
  double step = UPM_FIRST_STEP;
  i32 i = 1;
  while (add_point(h, c, k, i * step, 1.0, t) && i * step < UPM_FARTHEST) ++i;
  const double far = i * step;
  bool done = false;
  for (i32 halving = 0; halving < halvings && !done; ++halving) {
    const Sums before = *t;
    step *= 0.5;
    for (i = 1; i * step < far; i += 2) add_point(h, c, k, i * step, 1.0, t);
    done = settled(t->value, before.value, t->size) && settled(t->by_log, before.by_log, t->size_by_log) &&
           settled(t->by_log_twice, before.by_log_twice, t->size_twice) && settled(t->by_variance, before.by_variance, t->size_by_variance) &&
           settled(t->by_years, before.by_years, t->size_years);
  }
  *last_step = step;
  return done && far < UPM_FARTHEST && t->size * step < most;
}

UPM_OUT_OF_LINE double heston_integral(const Heston& h, const ModelOption& o, ModelValue* out) {
  i32 strip = o.beyond_sign > 0.0 ? 1 : -1;
  Contour c = saddle(h, o.k, strip);
  if (contour_room(strip, c.a) < 0.2) {
    strip = 0;
    c = saddle(h, o.k, strip);
  }
  if (c.peak < -730.0 && strip != 0) {  // nothing that a double holds
    const ModelValue none = {0.0, 0.0, 0.0, 0.0, 0.0};
    *out = none;
    return MODEL_FOUND;
  }
  Sums t;
  double step;
  // For large s, M(s) e^(s k) ~ e^(s (k - rho r) - sqrt(1 - rho^2) r |Im s|), r = (v0 + kappa theta T) / xi: turned to where the first factor falls.
  const double tail = h.xi > 0.0 ? o.k - h.rho * (h.v0 + h.kappa * h.theta * o.years) / h.xi : o.k, falling = tail < 0.0 ? 1.0 : -1.0;
  const double tilt[UPM_CONTOURS] = {0.0, 0.3 * falling, -0.15 * falling, 0.0};
  const i32 halvings[UPM_CONTOURS] = {5, 9, 9, 9};
  bool found = false;
  for (i32 i = 0; i < UPM_CONTOURS && !found; ++i) {
    c.across = tilt[i];
    c.along = sqrt(1.0 - tilt[i] * tilt[i]);
    found = contour_sums(h, c, o.k, halvings[i], &t, &step);
  }
  if (!found) return MODEL_UNSETTLED;
  const double unit = o.strike * exp(c.peak) * step / UPM_PI;
  out->value = unit * t.value;
  out->by_forward = unit * t.by_log / o.forward;
  out->by_forward_twice = unit * t.by_log_twice / (o.forward * o.forward);
  out->by_volatility = 2.0 * sqrt(h.v0) * unit * t.by_variance;
  out->by_years = unit * t.by_years;
  if (strip == 0) {
    out->value += o.lead;
    out->by_forward += o.beyond_sign > 0.0 ? 1.0 : 0.0;
  }
  out->value = at_least(out->value, 0.0);
  return MODEL_FOUND;
}

UPM_INLINE JumpClock jump_clock(double intensity, double mean, double deviation) {
  const JumpClock j = {intensity, mean, 0.5 * deviation * deviation, expm1(mean + 0.5 * deviation * deviation)};
  return j;
}

UPM_INLINE bool clock_defined(const JumpClock& j, double deviation) { return j.intensity >= 0.0 && deviation >= 0.0 && j.mean - j.mean == 0.0; }

UPM_INLINE bool clock_explosive(const JumpClock& j, double years) {
  const double log_growth = j.mean + j.half_square;
  return j.intensity > 0.0 && !(log_growth < 50.0 && j.intensity * years * exp(log_growth) < 1e4 && j.intensity * years < 1e4);
}

UPM_OUT_OF_LINE void heston_price_values(const double* in, i64 in_stride, double* out, i64 out_stride) {
#define UPM_IN(name) in[HestonPriceInput::name * in_stride]
  const ModelOption o = model_option_of(in, in_stride);
  Heston h;
  h.v0 = UPM_IN(initial_variance);
  h.kappa = UPM_IN(mean_reversion);
  h.theta = UPM_IN(long_run_variance);
  h.xi = UPM_IN(vol_of_vol);
  h.rho = UPM_IN(correlation);
  h.years = o.years;
  const double deviation[2] = {UPM_IN(jump_volatility), UPM_IN(second_jump_volatility)};
  h.jumps[0] = jump_clock(UPM_IN(jump_intensity), UPM_IN(jump_mean), deviation[0]);
  h.jumps[1] = jump_clock(UPM_IN(second_jump_intensity), UPM_IN(second_jump_mean), deviation[1]);
  double status = o.defined && h.v0 >= 0.0 && h.v0 < 1e6 && h.kappa >= 0.0 && h.kappa < 1e6 && h.theta >= 0.0 && h.theta < 1e6 && h.xi >= 0.0 && h.xi < 1e6 && absolute(h.rho) <= 1.0 &&
                          clock_defined(h.jumps[0], deviation[0]) && clock_defined(h.jumps[1], deviation[1])
                      ? MODEL_FOUND
                      : MODEL_UNDEFINED;
  if (status == MODEL_FOUND && (clock_explosive(h.jumps[0], o.years) || clock_explosive(h.jumps[1], o.years))) status = MODEL_EXPLOSIVE;
  ModelValue v = model_value_at_once(o);
  bool moves = h.v0 > 0.0 || h.kappa * h.theta > 0.0;
  for (i32 i = 0; i < 2; ++i) moves = moves || (h.jumps[i].intensity > 0.0 && (h.jumps[i].mean != 0.0 || deviation[i] > 0.0));
  if (status == MODEL_FOUND && o.years > 0.0 && moves) status = heston_integral(h, o, &v);
  write_model_option(o, v, status, out, out_stride);
#undef UPM_IN
}

}  // namespace upm

#endif
