// Product families: value of one unit from states and terms. Twin: upm_gpu/formula/families.py.
//
// A family is a struct of what every column of a group has in common in one scenario, a `*_share` that computes it, and a
// `*_value` that prices one column from it. Scalars in, scalars out; no indexing. Verified against the twin on every
// backend (tests/parity).
#ifndef UPM_FAMILIES_CUH
#define UPM_FAMILIES_CUH

#include "black.cuh"
#include "elementary.cuh"
#include "normal.cuh"
#include "pair.cuh"
#include "platform.cuh"
#include "value_table.cuh"

namespace upm {

#define UPM_VOLATILITY_FLOOR 0.05
#define UPM_VOLATILITY_CAP 5.0
#define UPM_MONEYNESS_LIMIT 3.0
#define UPM_VARIANCE_FLOOR 1e-12
#define UPM_LEAST_LEFT 1e-12

enum Family {
#define UPM_FAMILY(name, prefix) FAMILY_##name,
#include "families.def"
#undef UPM_FAMILY
  FAMILIES
};

// One row of Program.group_integers, in the order of GROUP_INTEGERS.
struct GroupIntegers {
  i32 family, first, count, date, settle_date, level_state, forward_state, volatility_state;
  i32 inverse, sticky_moneyness, additive_volatility, scale_state, skew_state, stretch_state, table, path_state;
  i32 second, payoff, half_nodes;
};

// One row of Program.group_reals, in the order of GROUP_REALS.
struct GroupReals {
  double spot0, forward0, expiry_years, remaining_years, discount0, discount, volatility_loading;
  double svi_a, svi_b, svi_rho, svi_m, svi_s, svi_tilt;
  double barrier, barrier_side, miss_black, miss_cash, miss_index, hit_black, hit_cash, hit_index, region_cash, region_index, fixing_shift;
  double average_past, average_weight, average_log, average_share, average_shift, average_bend, average_scale, average_years, average_cash;
  double leg_moneyness, leg_volatility, leg_residual, correlation, node_step;
  double quanto_drift;
};

// One column of Compiled.terms, in the order of TERM_REALS.
struct Terms {
  double strike, log_moneyness, volatility, residual, sign, correction;
};

// What a group reads in one scenario: level, forward, volatility and scale states at `date`, the forward state again at `settle_date`; change of skew and logarithm
// of the stretch of the smile; running extreme of the log-level at the settlement or `date`. `scale`, `skew`, `stretch` and `path` are 0 where a group has none.
struct GroupStates {
  double level, forward, volatility, level_at_settlement, scale, skew, stretch, path;
};

// Where the volatility of an option comes from: its own quote, the same moved by a skew, or the surface at its moneyness.
enum Smile { SMILE_QUOTE, SMILE_QUOTE_SKEWED, SMILE_SURFACE };
UPM_INLINE Smile smile_of(const GroupIntegers& i) { return i.sticky_moneyness ? SMILE_SURFACE : i.skew_state < 0 ? SMILE_QUOTE : SMILE_QUOTE_SKEWED; }

// Raw SVI total variance (Gatheral 2004) at k = ln(strike / forward), tilted about the money, flat outside +-3, floored.
UPM_INLINE double svi_total_variance(double k, const GroupReals& g, double tilt) {
  double within = at_most(at_least(k, -UPM_MONEYNESS_LIMIT), UPM_MONEYNESS_LIMIT);
  double d = within - g.svi_m;
  return at_least(g.svi_a + g.svi_b * (g.svi_rho * d + sqrt(d * d + g.svi_s * g.svi_s)) + tilt * within, UPM_VARIANCE_FLOOR);
}

// Forward of the expiry and its log-change; the volatility move as base x times + plus (one of the two is neutral); what
// one unit of Black value in quote currency is worth (coins: S / F); slope of total variance added at the money, and moneyness of today's smile a unit of moneyness.
struct European {
  double forward, log_change, times, plus, unit, tilt, squeeze;
};

UPM_INLINE European european_share(const GroupIntegers& i, const GroupReals& g, const GroupStates& s) {
  European r;
  r.forward = g.forward0 * exp(s.forward);
  r.log_change = s.forward;
  double move = s.volatility * g.volatility_loading;
  r.times = i.additive_volatility ? 1.0 : exp(move);
  r.plus = i.additive_volatility ? move : 0.0;
  r.tilt = g.svi_tilt * s.skew;
  r.squeeze = exp(-s.stretch);
  const double moved = exp(i.inverse ? s.level : s.scale);  // one exponential: two would keep the loop from being vectorised
  r.unit = i.inverse ? g.spot0 * moved / r.forward : moved;
  return r;
}

// Volatility of the option in the scenario. `smile` is smile_of its group: an argument, so that a caller can fix it outside its loop.
UPM_INLINE double european_volatility(const GroupReals& g, const European& s, const Terms& t, Smile smile) {
  double base = t.volatility;
  if (smile == SMILE_SURFACE) {
    base = sqrt(svi_total_variance((t.log_moneyness - s.log_change) * s.squeeze, g, s.tilt) / g.expiry_years) + t.residual;
  } else if (smile == SMILE_QUOTE_SKEWED) {
    base = t.volatility + (sqrt(svi_total_variance(t.log_moneyness, g, s.tilt) / g.expiry_years) - sqrt(svi_total_variance(t.log_moneyness, g, 0.0) / g.expiry_years));
  }
  return clip(base * s.times + s.plus, UPM_VOLATILITY_FLOOR, UPM_VOLATILITY_CAP);
}

// `root_years` is the square root of the group's remaining years, `discount` its discount factor; or those of today for value0.
UPM_INLINE double european_value_at(double volatility, const European& s, const Terms& t, double root_years, double discount) {
  return discount * black_undiscounted(s.forward, t.strike, s.log_change - t.log_moneyness, volatility * root_years, t.sign) * s.unit;
}

UPM_INLINE double european_value(const GroupReals& g, const European& s, const Terms& t, double root_years, double discount, Smile smile) {
  return european_value_at(european_volatility(g, s, t, smile), s, t, root_years, discount);
}

// A table at a place in ln(F / K) and a volatility.
UPM_INLINE double table_read(const ValueTable& table, double place, double volatility) {
  return table_value(table.value, table.low[0], table.inverse_step[0], (i32)table.nodes[0], table.low[1], table.inverse_step[1], (i32)table.nodes[1], place, log(volatility));
}

// What an option of a group with a table is worth above Black's value: read at its log-moneyness and volatility, per unit of strike.
UPM_INLINE double european_addition(const ValueTable& table, double volatility, double log_change, double unit, const Terms& t) {
  return t.strike * table_read(table, log_change - t.log_moneyness, volatility) * unit;
}

// Volatility of an option under the scenarios' own model, read from the group's table at its log-moneyness and at `place`, the group's volatility state in its own
// units, times the ratio of its quote to the model today (`residual`); its value is then that of European at this volatility, without limits.
UPM_INLINE double model_volatility(const ValueTable& table, double log_change, double place, const Terms& t) {
  return t.residual * table_value(table.value, table.low[0], table.inverse_step[0], (i32)table.nodes[0], table.low[1], table.inverse_step[1], (i32)table.nodes[1],
                                  log_change - t.log_moneyness, place);
}

UPM_INLINE double model_place(const GroupReals& g, const GroupStates& s) { return s.volatility * g.volatility_loading; }

// Index at the expiry; what a unit of payoff is worth at the horizon.
struct SettledOption {
  double index, unit;
};

UPM_INLINE SettledOption settled_option_share(const GroupIntegers& i, const GroupReals& g, const GroupStates& s) {
  SettledOption r;
  r.index = g.spot0 * exp(s.level_at_settlement);
  r.unit = exp(i.inverse ? s.level - s.level_at_settlement : s.scale);
  return r;
}

UPM_INLINE double settled_option_value(const SettledOption& s, const Terms& t) {
  return at_least(t.sign * (s.index - t.strike), 0.0) * s.unit;
}

// Coins per unit of quote currency at the settlement; index at the horizon.
struct InverseFuture {
  double coins, index;
};

UPM_INLINE InverseFuture inverse_future_share(const GroupIntegers&, const GroupReals& g, const GroupStates& s) {
  InverseFuture r;
  r.coins = 1.0 / (g.forward0 * exp(s.level_at_settlement));
  r.index = g.spot0 * exp(s.level);
  return r;
}

UPM_INLINE double inverse_future_value(const InverseFuture& s, const Terms& t) { return (1.0 / t.strike - s.coins) * s.index; }

// 1 where the running extreme has reached the barrier (side +1 above, -1 below, 0 none).
UPM_INLINE double barrier_hit(const GroupReals& g, double path) { return g.barrier_side != 0.0 && g.barrier_side * (path - g.barrier) >= 0.0 ? 1.0 : 0.0; }

// Log-change of the forward by which an option with a barrier is read and known to be beyond it. Where the barrier is looked at on fixings only it is further off, by
// 0.5826 standard deviations of the time between two (Broadie, Glasserman and Kou 1997): `fixing_shift` times the volatility; else 0.
UPM_INLINE double looked_at(const GroupReals& g, double log_change, double volatility) { return log_change - g.barrier_side * g.fixing_shift * volatility; }

// The same of an option alive: one whose level is beyond the barrier moved so is as good as hit.
UPM_INLINE double exotic_hit(const GroupReals& g, double path, double looked) {
  return barrier_hit(g, path) != 0.0 || (g.fixing_shift != 0.0 && g.barrier_side * (looked - g.barrier) >= 0.0) ? 1.0 : 0.0;
}

// An option with further terms, alive: before its barrier is hit miss_black of Black's value, a payment above or below the strike (digitals) and what the table
// adds; once it is hit hit_black of Black's value, hit_cash and hit_index forwards. Without a barrier it is never hit.
UPM_INLINE double exotic_value(const GroupReals& g, const European& s, const Terms& t, double volatility, double root_years, double hit, double addition) {
  const double black = european_value_at(volatility, s, t, root_years, g.discount);
  if (hit != 0.0) return g.hit_black * black + (g.hit_cash + g.hit_index * s.forward) * s.unit;
  double value = g.miss_black * black + addition;
  if (g.region_cash != 0.0 || g.region_index != 0.0) {
    const double stdev = volatility * root_years, d = (s.log_change - t.log_moneyness) / stdev;
    value += g.discount * (g.region_cash * normal_cdf(t.sign * (d - 0.5 * stdev)) + g.region_index * s.forward * normal_cdf(t.sign * (d + 0.5 * stdev))) * s.unit;
  }
  return value;
}

// The same expired inside the horizon, at the index then.
UPM_INLINE double settled_exotic_value(const GroupReals& g, const SettledOption& s, const Terms& t, double hit) {
  const double payoff = at_least(t.sign * (s.index - t.strike), 0.0);
  if (hit != 0.0) return (g.hit_black * payoff + g.hit_cash + g.hit_index * s.index) * s.unit;
  const double inside = t.sign * (s.index - t.strike) > 0.0 ? g.region_cash + g.region_index * s.index : 0.0;
  return (g.miss_black * payoff + g.miss_cash + g.miss_index * s.index + inside) * s.unit;
}

// Share of the strike that the fixings so far leave to those to come; all of it where they are multiplied and not added.
UPM_INLINE double average_left(const GroupReals& g, double path) { return 1.0 - (g.average_past + g.average_weight * path); }

// Where the table of an option on an average is read: ln(F / K) of the fixings to come, K what the strike leaves to their average.
UPM_INLINE double average_place(const GroupReals& g, const European& s, const Terms& t, double left) {
  return s.log_change - t.log_moneyness - log(at_least(left, UPM_LEAST_LEFT) * g.average_scale);
}

// An option on an average with fixings to come: Black's value on a lognormal average of the same forward, and what the table adds to it a unit of what is left of the strike.
UPM_INLINE double average_value(const GroupReals& g, const European& s, const Terms& t, double path, double volatility, double left, double read) {
  const double within = at_least(left, UPM_LEAST_LEFT), log_forward = g.average_log + g.average_share * s.log_change + g.average_shift * path + g.average_bend * (volatility * volatility);
  const double black = black_undiscounted(exp(log_forward), within, log_forward - log(within), volatility * sqrt(g.average_years), t.sign);
  const double sure = t.sign > 0.0 ? at_least(-left, 0.0) : 0.0;  // what the fixings so far are worth above the strike
  return t.strike * (g.average_cash * (black + sure) + at_least(left, 0.0) * read) * s.unit;
}

// The same with nothing left to fix: `average_cash` is the discount factor of the payment.
UPM_INLINE double fixed_average_value(const GroupReals& g, const GroupStates& s, const Terms& t) {
  const double average = g.average_past + g.average_weight * s.path + g.average_share * exp(g.average_log + g.average_shift * s.path);
  return t.strike * at_least(t.sign * (average - 1.0), 0.0) * g.average_cash * exp(s.scale);
}

// The second asset of an option on two is a group without columns; its terms are among its reals.
UPM_INLINE Terms leg_terms(const GroupReals& g) {
  Terms r = {0.0, g.leg_moneyness, g.leg_volatility, g.leg_residual, 1.0, 0.0};
  return r;
}

// Both assets of an option in one scenario. `root_years` as in european_value_at.
UPM_INLINE Pair two_asset_pair(const GroupReals& g, const European& s, double volatility, const European& s2, double volatility_2, double root_years) {
  const double root = at_least(root_years, UPM_LEAST_ROOT_YEARS);
  Pair r = {s.forward, s2.forward, log(s.forward / s2.forward), volatility * root, volatility_2 * root, g.correlation, 1.0 - g.correlation * g.correlation};
  return r;
}

// Undiscounted value of one column; ln(F1 / K) is read for the better or the worse of two only.
UPM_INLINE double two_asset_value(const GroupIntegers& i, const GroupReals& g, const Pair& p, const Terms& t) {
  return pair_value(p, t.strike, i.payoff == PAIR_SPREAD ? 0.0 : log(p.forward_1 / t.strike), t.sign, i.payoff, i.half_nodes, g.node_step);
}

// European option paid in another currency at a fixed rate (Reiner 1992): Black's value on the forward times exp(-quanto_drift volatility years), quanto_drift the correlation
// of the asset with its own currency's value in the other times that value's volatility. `volatility` is the option's own in the scenario.
UPM_INLINE double quanto_value(const GroupReals& g, const European& s, const Terms& t, double volatility, double years, double discount) {
  const double drift = -(g.quanto_drift * volatility * years);
  return discount * black_undiscounted(s.forward * exp(drift), t.strike, s.log_change - t.log_moneyness + drift, volatility * sqrt(years), t.sign) * s.unit;
}

}  // namespace upm

#endif
