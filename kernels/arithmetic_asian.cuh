// An option on the arithmetic average of fixings, by the density of the average: Carverhill and Clewlow 1990, "Flexible convolution", on a lattice fine
// enough for sums to be integrals. Twin: upm_gpu/formula/arithmetic_asian.py, by backward induction. Per instrument, host only: two lattices of scratch.
//
// With R_i the lognormal growth from fixing i - 1 to i and weights c_i, the sum is S R_1 (c_1 + R_2 (c_2 + ... R_n c_n)). From the last fixing on,
//
//   X_n = ln(c_n R_n),   X_(i-1) = ln R_(i-1) + ln(c_(i-1) + e^(X_i)),
//
// each density is the last one moved and convolved with a normal law, and the first growth is integrated by Black's formula, which also gives delta and gamma. The
// integrands are smooth and fall off, so equal sums converge faster than any power: with a step of 0.55 of the smaller deviation beside it the error is
// exp(-pi^2 / 0.55^2), measured 2e-12 of the level.
//
// An average over all times is the limit of trapezoidal weights on 16, 32 and 64 intervals, whose error has even powers of the interval: two of them are taken away,
// which leaves some 1e-9 of the level. Vega and the slope in the carry are central differences, 1e-7 of themselves; theta follows from the equation of Black
// and Scholes, theta = r V - b S delta - sigma^2 S^2 gamma / 2, with the derivatives that leave a fixing of today as it is.
#ifndef UPM_ARITHMETIC_ASIAN_CUH
#define UPM_ARITHMETIC_ASIAN_CUH

#include "case.cuh"
#include "european.cuh"

namespace upm {

struct ArithmeticAsianInput {
  enum {
    spot, forward, time_to_expiry, rate, dividend_yield, volatility, strike, sign,
    continuous,      // 1: averaged over all of [0, T]
    past,            // fixings so far
    average_so_far,
    price_only,      // 1: no Greeks
    fixings,         // to come; their times follow, ascending
    size
  };
};

struct arithmetic_asian_shape {
  enum { inputs = ArithmeticAsianInput::size, outputs = GreeksOutput::size, repeated = 1, count = ArithmeticAsianInput::fixings };
};

#define UPM_MOST_FIXINGS 1024
#define UPM_LATTICE 8192
#define UPM_TAPS 8192

// Undiscounted expectation of the payoff and its derivatives in the level; those of `held` leave the part that is fixed today alone.
struct Expected {
  double value, delta, gamma, held_delta, held_gamma;
};

struct Average {
  double time[UPM_MOST_FIXINGS], weight[UPM_MOST_FIXINGS];  // of fixings at different times, ascending
  i32 count;
  double strike;  // of the weighted sum
};

struct Lattice {
  double density[UPM_LATTICE];
  double low, step;
  i32 count;
};

struct AsianScratch {
  Average average;
  Lattice lattice[2];
  double tap[UPM_TAPS];
};

// Adds `mass` times the payoff on a lognormal of forward S a and stdev s, struck at k - known S.
UPM_OUT_OF_LINE void add_black(double mass, double spot, double a, double s, double k, double known, double sign, Expected* out) {
  const double forward = spot * a, strike = k - known * spot;
  if (!(strike > 0.0)) {
    if (sign < 0.0) return;
    out->value += mass * (forward - strike);
    out->delta += mass * (a + known);
    out->held_delta += mass * a;
    return;
  }
  const double d = log_ratio(forward, strike) / s + 0.5 * s;
  const double n1 = normal_cdf(sign * d), n2 = normal_cdf(sign * (d - s));
  const double bend = normal_density(d) / (forward * s);  // second derivative in the forward
  const double pull = a + known * forward / strike;
  out->value += mass * sign * (forward * n1 - strike * n2);
  out->delta += mass * sign * (a * n1 + known * n2);
  out->gamma += mass * bend * pull * pull;
  out->held_delta += mass * sign * a * n1;
  out->held_gamma += mass * bend * a * a;
}

// Leaves out the ends of a density that carry less than 1e-18 of its peak, weighted by the level they stand for.
UPM_OUT_OF_LINE void trim(Lattice* l) {
  i32 peak = 0;
  for (i32 i = 1; i < l->count; ++i)
    if (l->density[i] > l->density[peak]) peak = i;
  const double least = 1e-18 * l->density[peak];
  i32 first = 0, last = l->count;
  while (first < peak && l->density[first] < least) ++first;
  while (last - 1 > peak && l->density[last - 1] * exp((last - 1 - peak) * l->step) < least) --last;
  for (i32 i = first; i < last; ++i) l->density[i - first] = l->density[i];
  l->low += first * l->step;
  l->count = last - first;
}

// The law of ln R + ln(c + e^X): normal of mean `mean` and deviation s around each point of `from`. False where the lattice is too short.
UPM_OUT_OF_LINE bool convolve(const Lattice& from, double c, double mean, double s, double step, Lattice* to, double* tap) {
  const double ratio = step / s;
  const i32 taps = 2 + to_int(round_to_integer(8.6 / ratio));
  const double low = log(c + exp(from.low)) + mean, high = log(c + exp(from.low + (from.count - 1) * from.step)) + mean;
  const double cells = (high - low) / step + 2.0 * taps + 2.0;
  if (!(cells < UPM_LATTICE && taps < UPM_TAPS)) return false;
  to->count = to_int(round_to_integer(cells));
  to->step = step;
  to->low = low - taps * step;
  for (i32 i = 0; i < to->count; ++i) to->density[i] = 0.0;
  for (i32 k = 0; k < taps; ++k) tap[k] = exp(-0.5 * (k * ratio) * (k * ratio));
  for (i32 j = 0; j < from.count; ++j) {
    const double centre = log(c + exp(from.low + j * from.step)) + mean;
    const double place = (centre - to->low) / step;
    const i32 nearest = to_int(round_to_integer(place));
    const double off = (place - nearest) * ratio;  // of the centre from its nearest point, in deviations
    const double mass = from.density[j] * from.step * UPM_INVERSE_SQRT_2PI / s * exp(-0.5 * off * off);
    // exp(-(k ratio - off)^2 / 2) = exp(-off^2 / 2) tap(k) exp(off ratio)^k
    const double up = exp(off * ratio), down = 1.0 / up;
    double* at = to->density + nearest;
    at[0] += mass;
    double rise = mass, fall = mass;
    const i32 below = nearest < taps - 1 ? nearest : taps - 1, above = to->count - 1 - nearest < taps - 1 ? to->count - 1 - nearest : taps - 1;
    for (i32 k = 1; k <= above; ++k) { rise *= up; at[k] += rise * tap[k]; }
    for (i32 k = 1; k <= below; ++k) { fall *= down; at[-k] += fall * tap[k]; }
  }
  trim(to);
  return true;
}

UPM_OUT_OF_LINE bool expected_average(AsianScratch* w, double spot, double volatility, double carry, double sign, Expected* out) {
  const Average& a = w->average;
  Expected none = {0.0, 0.0, 0.0, 0.0, 0.0};
  *out = none;
  const i32 first = a.count && a.time[0] == 0.0 ? 1 : 0;
  const double known = first ? a.weight[0] : 0.0;
  if (first == a.count) {  // all is known
    const double payoff = sign * (known * spot - a.strike);
    if (payoff > 0.0) out->value = payoff, out->delta = sign * known;
    return true;
  }
  const double drift = carry - 0.5 * volatility * volatility;
  const double wait = a.time[first], s_first = volatility * sqrt(wait), growth = exp(carry * wait);
  if (first + 1 == a.count) {
    add_black(1.0, spot, a.weight[first] * growth, s_first, a.strike, known, sign, out);
    return true;
  }
  i32 i = a.count - 1;
  double gap = a.time[i] - a.time[i - 1], s = volatility * sqrt(gap);
  double next = i - 1 == first ? s_first : volatility * sqrt(a.time[i - 1] - a.time[i - 2]);
  Lattice *now = w->lattice, *then = w->lattice + 1;
  const double step = 0.55 * (s < next ? s : next), centre = drift * gap + log(a.weight[i]);
  const i32 half = to_int(round_to_integer(at_most(8.6 * s / step, UPM_LATTICE)));
  if (2 * half + 1 > UPM_LATTICE) return false;
  now->low = centre - half * step;
  now->step = step;
  now->count = 2 * half + 1;
  for (i32 k = 0; k < now->count; ++k) now->density[k] = normal_density((k - half) * step / s) / s;
  for (--i; i > first; --i) {
    gap = a.time[i] - a.time[i - 1];
    s = next;
    next = i - 1 == first ? s_first : volatility * sqrt(a.time[i - 1] - a.time[i - 2]);
    if (!convolve(*now, a.weight[i], drift * gap, s, 0.55 * (s < next ? s : next), then, w->tap)) return false;
    Lattice* swap = now;
    now = then;
    then = swap;
  }
  for (i32 k = 0; k < now->count; ++k)
    add_black(now->density[k] * now->step, spot, (a.weight[first] + exp(now->low + k * now->step)) * growth, s_first, a.strike, known, sign, out);
  return true;
}

// Trapezoidal weights on `cells` intervals of [0, years].
UPM_OUT_OF_LINE void trapezoid(double years, i32 cells, double strike, Average* a) {
  a->count = cells + 1;
  a->strike = strike;
  for (i32 i = 0; i <= cells; ++i) {
    a->time[i] = years * i / cells;
    a->weight[i] = (i == 0 || i == cells ? 0.5 : 1.0) / cells;
  }
}

UPM_OUT_OF_LINE bool expected_of(AsianScratch* w, double spot, double volatility, double carry, double years, double strike, bool continuous, double sign, Expected* out) {
  if (!continuous) return expected_average(w, spot, volatility, carry, sign, out);
  const double share[3] = {1.0 / 45.0, -20.0 / 45.0, 64.0 / 45.0};  // takes the second and fourth power of the interval away
  Expected total = {0.0, 0.0, 0.0, 0.0, 0.0}, one;
  for (i32 level = 0; level < 3; ++level) {
    trapezoid(years, 16 << level, strike, &w->average);
    if (!expected_average(w, spot, volatility, carry, sign, &one)) return false;
    total.value += share[level] * one.value;
    total.delta += share[level] * one.delta;
    total.gamma += share[level] * one.gamma;
  }
  total.held_delta = total.delta;  // no moment has a weight of its own
  total.held_gamma = total.gamma;
  *out = total;
  return true;
}

UPM_OUT_OF_LINE void arithmetic_asian_values(const double* in, i64 in_stride, double* out, i64 out_stride) {
#define UPM_IN(name) in[ArithmeticAsianInput::name * in_stride]
  const bool on_forward = UPM_IN(forward) == UPM_IN(forward), continuous = UPM_IN(continuous) != 0.0, price_only = UPM_IN(price_only) != 0.0;
  const double level = on_forward ? UPM_IN(forward) : UPM_IN(spot), years = UPM_IN(time_to_expiry), rate = UPM_IN(rate), volatility = UPM_IN(volatility);
  const double carry = on_forward ? 0.0 : rate - UPM_IN(dividend_yield), sign = UPM_IN(sign), past = UPM_IN(past), strike = UPM_IN(strike);
  const i32 given = to_int(UPM_IN(fixings));
  AsianScratch w;
  double status = level > 0.0 && level < infinity() && years >= 0.0 && volatility > 0.0 && strike == strike && carry - carry == 0.0 && rate - rate == 0.0 && past >= 0.0 &&
                          given <= UPM_MOST_FIXINGS && (continuous ? years > 0.0 : given + past > 0.0)
                      ? CASE_FOUND
                      : CASE_UNDEFINED;
  if (status == CASE_FOUND && !continuous) {
    Average& a = w.average;
    a.count = 0;
    a.strike = strike - (past > 0.0 ? UPM_IN(average_so_far) * past / (past + given) : 0.0);
    const double each = 1.0 / (past + given);
    for (i32 i = 0; i < given; ++i) {
      const double t = in[(ArithmeticAsianInput::size + i) * in_stride];
      if (!(t >= 0.0 && t <= years && (a.count == 0 || t >= a.time[a.count - 1]))) status = CASE_UNDEFINED;
      if (a.count && t == a.time[a.count - 1]) {
        a.weight[a.count - 1] += each;
      } else {
        a.time[a.count] = t;
        a.weight[a.count++] = each;
      }
    }
  }
  const Expected none = {0.0, 0.0, 0.0, 0.0, 0.0};
  Expected middle = none, bent[4] = {none, none, none, none};
  const double by_volatility = 3e-4 * volatility, by_carry = 3e-4 / at_least(years, 1e-10);
  if (status == CASE_FOUND) {
    bool enough = expected_of(&w, level, volatility, carry, years, strike, continuous, sign, &middle);
    for (i32 i = 0; i < 4 && enough && !price_only; ++i) {
      const double side = i % 2 ? -1.0 : 1.0;
      enough = expected_of(&w, level, volatility + (i < 2 ? side * by_volatility : 0.0), carry + (i < 2 ? 0.0 : side * by_carry), years, strike, continuous, sign, bent + i);
    }
    if (!enough) status = CASE_UNEVEN_FIXINGS;
  }
  if (status != CASE_FOUND) return write_greeks(constant(0.0), on_forward, status, out, out_stride);
  const double discount = exp(-rate * years), slope = discount * (bent[2].value - bent[3].value) / (2.0 * by_carry);
  Jet price = constant(discount * middle.value);
  price.d[D_LEVEL] = discount * middle.delta;
  price.g = discount * middle.gamma;
  price.d[D_VOLATILITY] = discount * (bent[0].value - bent[1].value) / (2.0 * by_volatility);
  price.d[D_YEARS] = -(rate * price.v - discount * (carry * level * middle.held_delta + 0.5 * volatility * volatility * level * level * middle.held_gamma));
  price.d[D_RATE] = (on_forward ? 0.0 : slope) - years * price.v;
  price.d[D_YIELD] = -slope;
  write_greeks(price, on_forward, status, out, out_stride);
  if (price_only)
    out[GreeksOutput::vega * out_stride] = out[GreeksOutput::rho * out_stride] = out[GreeksOutput::dividend_rho * out_stride] = not_a_number();
#undef UPM_IN
}

UPM_INLINE void arithmetic_asian_range(const double* in, double* out, i64 cases, i64 begin, i64 end) {
  for (i64 i = begin; i < end; ++i) arithmetic_asian_values(in + i, cases, out + i, cases);
}

}  // namespace upm

#endif
