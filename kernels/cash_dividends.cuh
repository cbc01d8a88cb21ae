// European and American options on a stock that pays cash dividends, one case. Twin: upm_gpu/formula/cash_dividends.py. Per instrument.
//
// Model: the stock is lognormal between dates and falls by min(dividend, stock) at each ("piecewise lognormal", Haug, Haug and Lewis 2003); nothing is
// escrowed. Backward in time on a grid in ln S: Crank-Nicolson, four implicit half steps after the payoff and after each dividend (Rannacher 1984),
// early exercise by the elimination of Brennan and Schwartz (1977), which is exact for one boundary; across a dividend V(S) = V(S - D) by cubic
// interpolation. Error about 1e-5 of the strike: docs/design/0056-cash-dividends.md.
#ifndef UPM_CASH_DIVIDENDS_CUH
#define UPM_CASH_DIVIDENDS_CUH

#include "european.cuh"

namespace upm {

enum CashInput { CASH_SPOT, CASH_STRIKE, CASH_YEARS, CASH_RATE, CASH_DIVIDEND_YIELD, CASH_VOLATILITY, CASH_SIGN, CASH_AMERICAN, CASH_PRICE_ONLY, CASH_DIVIDENDS, CASH_INPUTS };
enum CashOutput { CASH_PRICE, CASH_DELTA, CASH_GAMMA, CASH_VEGA, CASH_THETA, CASH_RHO, CASH_DIVIDEND_RHO, CASH_STATUS, CASH_OUTPUTS };

// Repeated: time, amount; in ascending order of time.
struct cash_dividends_shape {
  enum { inputs = CASH_INPUTS, outputs = CASH_OUTPUTS, repeated = 2, count = CASH_DIVIDENDS };
};

#define UPM_CASH_POINTS 1601  // of the grid, 5.5 deviations to either side: the error falls with its square
#define UPM_CASH_STEPS 800    // to expiry, shared by the times between dividends
#define UPM_CASH_LEAST 24     // between two dividends

struct CashTerms {
  double spot, strike, years, rate, yield, volatility, sign;
  bool american;
  const double* dividends;  // time and amount of dividend i: dividends[2 i stride], dividends[(2 i + 1) stride]
  i64 stride;
  i32 count, coarse;  // 2: half the points and steps, for tables of many prices
};

struct CashValue {
  double price, delta, gamma;
  bool exercised;
};

// The grid runs from the side where exercise may be due: upwards for a put, downwards for a call.
struct CashGrid {
  double spot[UPM_CASH_POINTS], payoff[UPM_CASH_POINTS], value[UPM_CASH_POINTS], side[UPM_CASH_POINTS], factor[UPM_CASH_POINTS], inverse[UPM_CASH_POINTS], down[UPM_CASH_POINTS];
  double near_end, far_end;  // value[0] = (1 + c) value[1] - c value[2]: linear in S
  double log_low, step;
  i32 last;                  // of the points in use
  i32 at;                    // the point of today's spot
};

// The matrix 1 - fresh L of a step, L V = near V[j - 1] - (near + far + rate) V[j] + far V[j + 1], eliminated from the far end, so that values are filled from the side of exercise. It is the same
// for all steps between two dividends: half steps of weight 1 and whole steps of weight 1/2 have one `fresh`.
UPM_INLINE void cash_matrix(CashGrid& g, double near, double far, double rate, double fresh) {
  const i32 last = g.last;
  const double middle = -(near + far + rate);
  double below = -fresh * (near - far * g.far_end);  // of the row eliminated last
  g.inverse[last - 1] = 1.0 / (1.0 - fresh * fma(far, 1.0 + g.far_end, middle));
  g.down[last - 1] = below * g.inverse[last - 1];
  for (i32 j = last - 2; j >= 1; --j) {
    double upper = -fresh * far, own = 1.0 - fresh * middle;
    if (j == 1) {
      own -= fresh * near * (1.0 + g.near_end);
      upper += fresh * near * g.near_end;
    }
    g.factor[j] = upper * g.inverse[j + 1];
    g.inverse[j] = 1.0 / (own - g.factor[j] * below);
    below = -fresh * near;
    g.down[j] = j == 1 ? 0.0 : below * g.inverse[j];
  }
}

// One step with cash_matrix: (1 - fresh L) new = (1 + old L) old.
UPM_INLINE void cash_step(CashGrid& g, double near, double far, double rate, double old, bool american) {
  const i32 last = g.last;
  const double middle = -(near + far + rate);
  for (i32 j = 1; j < last; ++j) g.side[j] = fma(old, fma(near, g.value[j - 1], fma(middle, g.value[j], far * g.value[j + 1])), g.value[j]);
  for (i32 j = last - 2; j >= 1; --j) g.side[j] -= g.factor[j] * g.side[j + 1];
  double before = 0.0;
  for (i32 j = 1; j < last; ++j) {
    const double value = g.side[j] * g.inverse[j] - g.down[j] * before;
    before = american ? at_least(value, g.payoff[j]) : value;
    g.value[j] = before;
  }
  g.value[0] = fma(1.0 + g.near_end, g.value[1], -g.near_end * g.value[2]);
  g.value[last] = fma(1.0 + g.far_end, g.value[last - 1], -g.far_end * g.value[last - 2]);
  if (american) {
    g.value[0] = at_least(g.value[0], g.payoff[0]);
    g.value[last] = at_least(g.value[last], g.payoff[last]);
  }
}

// V(S) := V(S - amount), `at_zero` the value of a stock at 0; then the choice to exercise before the stock falls.
UPM_INLINE void cash_fall(CashGrid& g, double amount, double at_zero, bool call, bool american) {
  const i32 last = g.last;
  const double lowest = call ? g.spot[last] : g.spot[0];
  for (i32 j = 0; j <= last; ++j) {
    double left = at_least(g.spot[j] - amount, 0.0), found;
    if (left <= lowest) {
      found = fma((call ? g.value[last] : g.value[0]) - at_zero, left / lowest, at_zero);
    } else {
      double place = (log(left) - g.log_low) / g.step;
      double cell = clip(floor(place), 1.0, (double)(last - 2)), u = place - cell;
      i32 k = to_int(cell);
      double a = g.value[call ? last - k + 1 : k - 1], b = g.value[call ? last - k : k], c = g.value[call ? last - k - 1 : k + 1], d = g.value[call ? last - k - 2 : k + 2];
      found = -a * u * (u - 1.0) * (u - 2.0) / 6.0 + b * (u + 1.0) * (u - 1.0) * (u - 2.0) / 2.0 - c * (u + 1.0) * u * (u - 2.0) / 2.0 + d * (u + 1.0) * u * (u - 1.0) / 6.0;
    }
    g.side[j] = american ? at_least(found, g.payoff[j]) : found;
  }
  for (i32 j = 0; j <= last; ++j) g.value[j] = g.side[j];
}

UPM_OUT_OF_LINE CashValue cash_value(const CashTerms& t) {
  CashGrid g;
  const i32 last = (UPM_CASH_POINTS - 1) / t.coarse;
  g.last = last;
  const bool call = t.sign > 0.0;
  const double stdev = t.volatility * sqrt(t.years), drift = t.rate - t.yield - 0.5 * t.volatility * t.volatility;
  double paid = 0.0;
  for (i32 i = 0; i < t.count; ++i) paid += t.dividends[2 * i * t.stride] < t.years ? t.dividends[(2 * i + 1) * t.stride] : 0.0;
  // Down to where the dividends leave the stock, but not further than a twentieth.
  double low = 5.5 * stdev + absolute(drift) * t.years - log(clip(1.0 - paid / t.spot, 0.05, 1.0)), high = 5.5 * stdev + absolute(drift) * t.years;
  g.step = (low + high) / last;
  i32 below = to_int(round_to_integer(low / g.step));
  g.log_low = log(t.spot) - below * g.step;
  g.at = call ? last - below : below;
  for (i32 j = 0; j <= last; ++j) {
    double x = (call ? last - j : j) - below;
    g.spot[j] = x == 0.0 ? t.spot : t.spot * exp(x * g.step);
    g.payoff[j] = at_least(t.sign * (g.spot[j] - t.strike), 0.0);
  }
  // The average of the payoff over each cell keeps the order of the scheme whatever the place of the strike.
  const double growth = 2.0 * (exp(0.5 * g.step) - exp(-0.5 * g.step)) / (2.0 * g.step), log_strike = log(t.strike), log_spot = log(t.spot);
  for (i32 j = 0; j <= last; ++j) {
    double x = log_spot + ((call ? last - j : j) - below) * g.step;
    double left = x - 0.5 * g.step, right = x + 0.5 * g.step;
    double inside = t.sign * (g.spot[j] * growth - t.strike);
    double edge = clip(log_strike, left, right);
    double from = call ? edge : left, to = call ? right : edge;
    double part = t.sign * (exp(to) - exp(from) - t.strike * (to - from)) / g.step;
    g.value[j] = edge == (call ? left : right) ? inside : edge == (call ? right : left) ? 0.0 : part;
  }
  const double slope = call ? exp(g.step) : exp(-g.step);
  g.near_end = slope;
  g.far_end = 1.0 / slope;
  const double diffusion = 0.5 * t.volatility * t.volatility / (g.step * g.step), lean = (call ? -1.0 : 1.0) * drift / (2.0 * g.step);
  double time = t.years;
  for (i32 i = t.count; i >= 0; --i) {
    double until = i > 0 ? t.dividends[2 * (i - 1) * t.stride] : 0.0;
    if (until >= t.years) continue;
    double span = time - until;
    i32 steps = to_int(round_to_integer(UPM_CASH_STEPS / t.coarse * span / t.years));
    steps = steps < UPM_CASH_LEAST ? UPM_CASH_LEAST : steps;
    double dt = span / steps;
    cash_matrix(g, diffusion - lean, diffusion + lean, t.rate, 0.5 * dt);
    for (i32 n = 0; n < steps + 2; ++n) {
      const bool first = n < 4;
      if (span > 0.0) cash_step(g, diffusion - lean, diffusion + lean, t.rate, first ? 0.0 : 0.5 * dt, t.american);
    }
    time = until;
    if (i > 0) {
      double bond = t.american && t.rate > 0.0 ? t.strike : t.strike * exp(-t.rate * (t.years - time));
      cash_fall(g, t.dividends[(2 * (i - 1) + 1) * t.stride], call ? 0.0 : bond, call, t.american);
    }
  }
  const i32 up = call ? g.at - 1 : g.at + 1, down = call ? g.at + 1 : g.at - 1, up2 = call ? g.at - 2 : g.at + 2, down2 = call ? g.at + 2 : g.at - 2;
  double first = (8.0 * (g.value[up] - g.value[down]) - (g.value[up2] - g.value[down2])) / (12.0 * g.step);
  double second = (16.0 * (g.value[up] + g.value[down]) - (g.value[up2] + g.value[down2]) - 30.0 * g.value[g.at]) / (12.0 * g.step * g.step);
  CashValue out = {g.value[g.at], first / t.spot, (second - first) / (t.spot * t.spot), false};
  out.exercised = t.american && g.payoff[g.at] > 0.0 && out.price <= g.payoff[g.at];
  return out;
}

UPM_INLINE void cash_dividends_values(const double* in, i64 in_stride, double* out, i64 out_stride) {
  CashTerms t = {in[CASH_SPOT * in_stride], in[CASH_STRIKE * in_stride], in[CASH_YEARS * in_stride], in[CASH_RATE * in_stride],
                 in[CASH_DIVIDEND_YIELD * in_stride], in[CASH_VOLATILITY * in_stride], in[CASH_SIGN * in_stride], in[CASH_AMERICAN * in_stride] != 0.0,
                 in + CASH_INPUTS * in_stride, in_stride, to_int(in[CASH_DIVIDENDS * in_stride]), in[CASH_PRICE_ONLY * in_stride] == 2.0 ? 2 : 1};
  for (i32 c = 0; c < CASH_STATUS; ++c) out[c * out_stride] = not_a_number();
  bool good = t.spot > 0.0 && t.strike > 0.0 && t.years > 0.0 && t.volatility * sqrt(t.years) >= 1e-3 && t.rate == t.rate && t.yield == t.yield &&
              !(t.american && (t.rate < 0.0 || t.yield < 0.0));
  double before = 0.0;
  for (i32 i = 0; i < t.count; ++i) {
    double time = t.dividends[2 * i * in_stride], amount = t.dividends[(2 * i + 1) * in_stride];
    good = good && time > before && amount >= 0.0;
    before = time;
  }
  out[CASH_STATUS * out_stride] = good ? IMPLIED_FOUND : IMPLIED_UNDEFINED;
  if (!good) return;
  const CashValue at = cash_value(t);
  out[CASH_PRICE * out_stride] = at.price;
  out[CASH_DELTA * out_stride] = at.exercised ? t.sign : at.delta;
  out[CASH_GAMMA * out_stride] = at.exercised ? 0.0 : at.gamma;
  out[CASH_THETA * out_stride] =
      at.exercised ? 0.0 : t.rate * at.price - (t.rate - t.yield) * t.spot * at.delta - 0.5 * t.volatility * t.volatility * t.spot * t.spot * at.gamma;
  if (in[CASH_PRICE_ONLY * in_stride] != 0.0) return;
  for (i32 kind = 0; kind < 3; ++kind) {
    double side[2];
    const double bump = kind == 0 ? 1e-3 * t.volatility : 1e-4;
    for (i32 up = 0; up < 2; ++up) {
      CashTerms near = t;
      double moved = up ? bump : -bump;
      if (kind == 0) near.volatility += moved;
      if (kind == 1) near.rate += moved;
      if (kind == 2) near.yield += moved;
      side[up] = cash_value(near).price;
    }
    out[(kind == 0 ? CASH_VEGA : kind == 1 ? CASH_RHO : CASH_DIVIDEND_RHO) * out_stride] = at.exercised ? 0.0 : (side[1] - side[0]) / (2.0 * bump);
  }
}

UPM_INLINE void cash_dividends_range(const double* in, double* out, i64 cases, i64 begin, i64 end) {
  for (i64 i = begin; i < end; ++i) cash_dividends_values(in + i, cases, out + i, cases);
}

}  // namespace upm

#endif
