// European and American options on a stock that pays cash dividends, one case. Twin: upm_gpu/formula/cash_dividends.py. Per instrument.
//
// Model: the stock is lognormal between dates and falls by min(dividend, stock) at each ("piecewise lognormal", Haug, Haug and Lewis 2003); nothing is
// escrowed. Backward in time on a grid in ln S: Crank-Nicolson, four implicit half steps after the payoff and after each dividend (Rannacher 1984),
// early exercise by the elimination of Brennan and Schwartz (1977), which is exact for one boundary; across a dividend V(S) = V(S - D) by cubic
// interpolation. Error about 1e-5 of the strike: docs/design/0056-cash-dividends.md.
#ifndef UPM_CASH_DIVIDENDS_CUH
#define UPM_CASH_DIVIDENDS_CUH

#include "european.cuh"
#include "host/eight.h"

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
#define UPM_CASH_LANES 8      // cases side by side

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

// Eight cases side by side. The grid runs from the side where exercise may be due: upwards for a put, downwards for a call.
struct CashGrid {
  Eight spot[UPM_CASH_POINTS], payoff[UPM_CASH_POINTS], value[UPM_CASH_POINTS], side[UPM_CASH_POINTS], factor[UPM_CASH_POINTS], inverse[UPM_CASH_POINTS], down[UPM_CASH_POINTS];
  Eight near_end, far_end;  // value[0] = (1 + c) value[1] - c value[2]: linear in S
  double log_low[UPM_CASH_LANES], step[UPM_CASH_LANES];
  i32 last;                 // of the points in use
  i32 at[UPM_CASH_LANES];   // the point of today's spot
};

// The matrix 1 - fresh L of a step, L V = near V[j - 1] - (near + far + rate) V[j] + far V[j + 1], eliminated from the far end, so that values are filled from the side of exercise. It is the same
// for all steps between two dividends: half steps of weight 1 and whole steps of weight 1/2 have one `fresh`.
UPM_INLINE void cash_matrix(CashGrid& g, const Eight& near, const Eight& far, const Eight& rate, double fresh) {
  const i32 last = g.last;
  const Eight middle = -(near + far + rate);
  Eight below = -fresh * (near - far * g.far_end);  // of the row eliminated last
  g.inverse[last - 1] = 1.0 / (1.0 - fresh * fma(far, 1.0 + g.far_end, middle));
  g.down[last - 1] = below * g.inverse[last - 1];
  for (i32 j = last - 2; j >= 1; --j) {
    Eight upper = -fresh * far, own = 1.0 - fresh * middle;
    if (j == 1) {
      own -= fresh * near * (1.0 + g.near_end);
      upper += fresh * near * g.near_end;
    }
    g.factor[j] = upper * g.inverse[j + 1];
    g.inverse[j] = 1.0 / (own - g.factor[j] * below);
    below = -fresh * near;
    g.down[j] = j == 1 ? 0.0 * below : below * g.inverse[j];
  }
}

// One step with cash_matrix: (1 - fresh L) new = (1 + old L) old.
template <bool AMERICAN>
UPM_INLINE void cash_step(CashGrid& g, const Eight& near, const Eight& far, const Eight& rate, double old_weight) {
  const i32 last = g.last;
  const Eight middle = -(near + far + rate), old = old_weight + 0.0 * near;
  Eight after = {};
  for (i32 j = last - 1; j >= 1; --j) {
    Eight own = fma(old, fma(near, g.value[j - 1], fma(middle, g.value[j], far * g.value[j + 1])), g.value[j]);
    if (j < last - 1) own -= g.factor[j] * after;
    g.side[j] = after = own;
  }
  Eight before = {};
  for (i32 j = 1; j < last; ++j) {
    const Eight value = g.side[j] * g.inverse[j] - g.down[j] * before;
    before = AMERICAN ? at_least(value, g.payoff[j]) : value;
    g.value[j] = before;
  }
  g.value[0] = fma(1.0 + g.near_end, g.value[1], -g.near_end * g.value[2]);
  g.value[last] = fma(1.0 + g.far_end, g.value[last - 1], -g.far_end * g.value[last - 2]);
  if (AMERICAN) {
    g.value[0] = at_least(g.value[0], g.payoff[0]);
    g.value[last] = at_least(g.value[last], g.payoff[last]);
  }
}

// V(S) := V(S - amount) of one lane, `at_zero` the value of a stock at 0; then the choice to exercise before the stock falls.
UPM_INLINE void cash_fall(CashGrid& g, i32 lane, double amount, double at_zero, bool call, bool american) {
  const i32 last = g.last;
  const double lowest = call ? g.spot[last][lane] : g.spot[0][lane];
  for (i32 j = 0; j <= last; ++j) {
    double left = at_least(g.spot[j][lane] - amount, 0.0), found;
    if (left <= lowest) {
      found = fma((call ? g.value[last][lane] : g.value[0][lane]) - at_zero, left / lowest, at_zero);
    } else {
      double place = (log(left) - g.log_low[lane]) / g.step[lane];
      double cell = clip(floor(place), 1.0, (double)(last - 2)), u = place - cell;
      i32 k = to_int(cell);
      double a = g.value[call ? last - k + 1 : k - 1][lane], b = g.value[call ? last - k : k][lane], c = g.value[call ? last - k - 1 : k + 1][lane], d = g.value[call ? last - k - 2 : k + 2][lane];
      found = -a * u * (u - 1.0) * (u - 2.0) / 6.0 + b * (u + 1.0) * (u - 1.0) * (u - 2.0) / 2.0 - c * (u + 1.0) * u * (u - 2.0) / 2.0 + d * (u + 1.0) * u * (u - 1.0) / 6.0;
    }
    g.side[j][lane] = american ? at_least(found, g.payoff[j][lane]) : found;
  }
  for (i32 j = 0; j <= last; ++j) g.value[j][lane] = g.side[j][lane];
}

// Points, payoff and its average over each cell, which keeps the order of the scheme whatever the place of the strike.
UPM_INLINE void cash_start(CashGrid& g, i32 lane, const CashTerms& t) {
  const i32 last = g.last;
  const bool call = t.sign > 0.0;
  const double stdev = t.volatility * sqrt(t.years), drift = t.rate - t.yield - 0.5 * t.volatility * t.volatility;
  double paid = 0.0;
  for (i32 i = 0; i < t.count; ++i) paid += t.dividends[2 * i * t.stride] < t.years ? t.dividends[(2 * i + 1) * t.stride] : 0.0;
  // Down to where the dividends leave the stock, but not further than a twentieth.
  double low = 5.5 * stdev + absolute(drift) * t.years - log(clip(1.0 - paid / t.spot, 0.05, 1.0)), high = 5.5 * stdev + absolute(drift) * t.years;
  const double step = (low + high) / last;
  i32 below = to_int(round_to_integer(low / step));
  g.step[lane] = step;
  g.log_low[lane] = log(t.spot) - below * step;
  g.at[lane] = call ? last - below : below;
  const double growth = 2.0 * (exp(0.5 * step) - exp(-0.5 * step)) / (2.0 * step), log_strike = log(t.strike), log_spot = log(t.spot);
  for (i32 j = 0; j <= last; ++j) {
    const double places = (call ? last - j : j) - below, spot = places == 0.0 ? t.spot : t.spot * exp(places * step);
    g.spot[j][lane] = spot;
    g.payoff[j][lane] = at_least(t.sign * (spot - t.strike), 0.0);
    const double x = log_spot + places * step, left = x - 0.5 * step, right = x + 0.5 * step, edge = clip(log_strike, left, right);
    if (edge == (call ? left : right)) {
      g.value[j][lane] = t.sign * (spot * growth - t.strike);
    } else if (edge == (call ? right : left)) {
      g.value[j][lane] = 0.0;
    } else {
      const double from = call ? edge : left, to = call ? right : edge;
      g.value[j][lane] = t.sign * (exp(to) - exp(from) - t.strike * (to - from)) / step;
    }
  }
  const double slope = call ? exp(step) : exp(-step);
  g.near_end[lane] = slope;
  g.far_end[lane] = 1.0 / slope;
}

// Whether two cases may be computed side by side: their steps in time are the same.
UPM_INLINE bool cash_together(const CashTerms& a, const CashTerms& b) {
  if (a.years != b.years || a.sign != b.sign || a.american != b.american || a.count != b.count || a.coarse != b.coarse) return false;
  for (i32 i = 0; i < a.count; ++i)
    if (a.dividends[2 * i * a.stride] != b.dividends[2 * i * b.stride]) return false;
  return true;
}

// UPM_CASH_LANES cases that go together: one chain of eliminations carries eight of them, whose operations would wait for each other one by one.
UPM_OUT_OF_LINE void cash_block(const CashTerms* lanes, CashValue* out) {
  CashGrid g;
  const CashTerms& t = lanes[0];
  const i32 last = (UPM_CASH_POINTS - 1) / t.coarse;
  g.last = last;
  const bool call = t.sign > 0.0;
  Eight near, far, rate;
  for (i32 l = 0; l < UPM_CASH_LANES; ++l) {
    cash_start(g, l, lanes[l]);
    const CashTerms& own = lanes[l];
    const double drift = own.rate - own.yield - 0.5 * own.volatility * own.volatility;
    const double diffusion = 0.5 * own.volatility * own.volatility / (g.step[l] * g.step[l]), lean = (call ? -1.0 : 1.0) * drift / (2.0 * g.step[l]);
    near[l] = diffusion - lean, far[l] = diffusion + lean, rate[l] = own.rate;
  }
  double time = t.years;
  for (i32 i = t.count; i >= 0; --i) {
    double until = i > 0 ? t.dividends[2 * (i - 1) * t.stride] : 0.0;
    if (until >= t.years) continue;
    double span = time - until;
    i32 steps = to_int(round_to_integer(UPM_CASH_STEPS / t.coarse * span / t.years));
    steps = steps < UPM_CASH_LEAST ? UPM_CASH_LEAST : steps;
    double dt = span / steps;
    cash_matrix(g, near, far, rate, 0.5 * dt);
    for (i32 n = 0; n < steps + 2 && span > 0.0; ++n) {
      const double old = n < 4 ? 0.0 : 0.5 * dt;
      if (t.american)
        cash_step<true>(g, near, far, rate, old);
      else
        cash_step<false>(g, near, far, rate, old);
    }
    time = until;
    for (i32 l = 0; i > 0 && l < UPM_CASH_LANES; ++l) {
      const CashTerms& own = lanes[l];
      double bond = own.american && own.rate > 0.0 ? own.strike : own.strike * exp(-own.rate * (own.years - time));
      cash_fall(g, l, own.dividends[(2 * (i - 1) + 1) * own.stride], call ? 0.0 : bond, call, own.american);
    }
  }
  for (i32 l = 0; l < UPM_CASH_LANES; ++l) {
    const i32 at = g.at[l], up = call ? at - 1 : at + 1, down = call ? at + 1 : at - 1, up2 = call ? at - 2 : at + 2, down2 = call ? at + 2 : at - 2;
    const double h = g.step[l], spot = lanes[l].spot, price = g.value[at][l];
    double first = (8.0 * (g.value[up][l] - g.value[down][l]) - (g.value[up2][l] - g.value[down2][l])) / (12.0 * h);
    double second = (16.0 * (g.value[up][l] + g.value[down][l]) - (g.value[up2][l] + g.value[down2][l]) - 30.0 * price) / (12.0 * h * h);
    out[l] = CashValue{price, first / spot, (second - first) / (spot * spot), t.american && g.payoff[at][l] > 0.0 && price <= g.payoff[at][l]};
  }
}

// Prices asked for and not yet made, in order: those of a case itself (`bumped` 0) and of its volatility, rate and yield moved down and up (1 to 6).
struct CashQueue {
  CashTerms terms[UPM_CASH_LANES];
  i64 of[UPM_CASH_LANES];
  i32 bumped[UPM_CASH_LANES];
  i32 count;
  bool exercised;  // the case whose own price was made last
};

UPM_INLINE double cash_bump(double volatility, i32 bumped) { return bumped <= 2 ? 1e-3 * volatility : 1e-4; }

// One result to its column. A price moved down waits there for the one moved up.
UPM_INLINE void cash_store(CashQueue& q, i32 i, const CashValue& at, double* out, i64 stride, double volatility) {
  const CashTerms& t = q.terms[i];
  if (q.bumped[i] == 0) {
    q.exercised = at.exercised;
    out[CASH_PRICE * stride] = at.price;
    out[CASH_DELTA * stride] = at.exercised ? t.sign : at.delta;
    out[CASH_GAMMA * stride] = at.exercised ? 0.0 : at.gamma;
    out[CASH_THETA * stride] = at.exercised ? 0.0 : t.rate * at.price - (t.rate - t.yield) * t.spot * at.delta - 0.5 * t.volatility * t.volatility * t.spot * t.spot * at.gamma;
    return;
  }
  const i32 column = q.bumped[i] <= 2 ? CASH_VEGA : q.bumped[i] <= 4 ? CASH_RHO : CASH_DIVIDEND_RHO;
  const double moved_down = out[column * stride];
  out[column * stride] = q.bumped[i] % 2 ? at.price : q.exercised ? 0.0 : (at.price - moved_down) / (2.0 * cash_bump(volatility, q.bumped[i]));
}

UPM_INLINE void cash_flush(CashQueue& q, const double* in, double* out, i64 cases) {
  if (q.count == 0) return;
  for (i32 l = q.count; l < UPM_CASH_LANES; ++l) q.terms[l] = q.terms[0];
  CashValue found[UPM_CASH_LANES];
  cash_block(q.terms, found);
  for (i32 i = 0; i < q.count; ++i) cash_store(q, i, found[i], out + q.of[i], cases, in[q.of[i] + CASH_VOLATILITY * cases]);
  q.count = 0;
}

UPM_INLINE void cash_ask(CashQueue& q, const CashTerms& t, i64 of, i32 bumped, const double* in, double* out, i64 cases) {
  if (q.count == UPM_CASH_LANES || (q.count > 0 && !cash_together(q.terms[0], t))) cash_flush(q, in, out, cases);
  q.terms[q.count] = t, q.of[q.count] = of, q.bumped[q.count] = bumped;
  ++q.count;
}

UPM_INLINE void cash_case(CashQueue& q, const double* all_in, double* all_out, i64 cases, i64 i) {
  const double* in = all_in + i;
  double* out = all_out + i;
  CashTerms t = {in[CASH_SPOT * cases], in[CASH_STRIKE * cases], in[CASH_YEARS * cases], in[CASH_RATE * cases],
                 in[CASH_DIVIDEND_YIELD * cases], in[CASH_VOLATILITY * cases], in[CASH_SIGN * cases], in[CASH_AMERICAN * cases] != 0.0,
                 in + CASH_INPUTS * cases, cases, to_int(in[CASH_DIVIDENDS * cases]), in[CASH_PRICE_ONLY * cases] == 2.0 ? 2 : 1};
  for (i32 c = 0; c < CASH_STATUS; ++c) out[c * cases] = not_a_number();
  bool good = t.spot > 0.0 && t.strike > 0.0 && t.years > 0.0 && t.volatility * sqrt(t.years) >= 1e-3 && t.rate == t.rate && t.yield == t.yield &&
              !(t.american && (t.rate < 0.0 || t.yield < 0.0));
  double before = 0.0;
  for (i32 d = 0; d < t.count; ++d) {
    double time = t.dividends[2 * d * cases], amount = t.dividends[(2 * d + 1) * cases];
    good = good && time > before && amount >= 0.0;
    before = time;
  }
  out[CASH_STATUS * cases] = good ? IMPLIED_FOUND : IMPLIED_UNDEFINED;
  if (!good) return;
  cash_ask(q, t, i, 0, all_in, all_out, cases);
  if (in[CASH_PRICE_ONLY * cases] != 0.0) return;
  for (i32 bumped = 1; bumped <= 6; ++bumped) {
    CashTerms near = t;
    const double bump = cash_bump(t.volatility, bumped), moved = bumped % 2 ? -bump : bump;
    if (bumped <= 2) near.volatility += moved;
    else if (bumped <= 4) near.rate += moved;
    else near.yield += moved;
    cash_ask(q, near, i, bumped, all_in, all_out, cases);
  }
}

// Cases [begin, end) of `cases`. Neighbours whose time to expiry and ex dates are the same, as the nodes of a table or the bumps of one case, are made eight at once; the values are the same
// to the bit as one by one.
UPM_INLINE void cash_dividends_range(const double* in, double* out, i64 cases, i64 begin, i64 end) {
  CashQueue q;
  q.count = 0;
  q.exercised = false;
  for (i64 i = begin; i < end; ++i) cash_case(q, in, out, cases, i);
  cash_flush(q, in, out, cases);
}

}  // namespace upm

#endif
