// Unit P&L of every column on a wave of scenarios, and the value today. Twin: upm_gpu/backend/reference (_unit_pnl).
// Formula: families.cuh.
//
// Arrays: states (D, K, stride), unit (C, stride), terms (6, options) with options = C - linear, slices (n, 3): group, first
// and last column. A slice holds columns of one group, so that a thread shares the group's work among them.
#include "families.cuh"
#include "platform.cuh"

using upm::i32;
using upm::i64;

#define UNIT_THREADS 128

UPM_INLINE upm::Terms terms_at(const double* terms, i64 options, i64 option) {
  const double* t = terms + option;
  upm::Terms r = {t[0], t[options], t[2 * options], t[3 * options], t[4 * options], t[5 * options]};
  return r;
}

UPM_INLINE upm::ValueTable table_at(const double* axes, const i64* nodes, const double* values, i32 table) {
  const double* a = axes + 4 * table;
  const i64* n = nodes + 3 * table;
  const upm::ValueTable r = {{a[0], a[1]}, {a[2], a[3]}, {n[0], n[1]}, values + n[2]};
  return r;
}

// Columns linear in a state: exp(state) - 1, or the state itself. Grid (scenario tiles, linear).
template <class Stored>
UPM_INLINE void linear_columns(const double* states, i32 factors, i32 scenarios, i64 stride, const i32* state, const i32* date, const i32* form, Stored* unit) {
  const i32 s = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  const i32 column = (i32)blockIdx.y;
  if (s >= scenarios) return;
  const double x = states[((i64)date[column] * factors + state[column]) * stride + s];
  unit[column * stride + s] = (Stored)(form[column] ? x : upm::exp(x) - 1.0);
}

// What a group reads in scenario s. A state or date that does not apply is -1: any row will do, it is not used.
UPM_INLINE upm::GroupStates states_of(const double* states, i32 factors, i64 stride, i32 s, const upm::GroupIntegers& g, i32 settle_date) {
  const double* at = states + (i64)g.date * factors * stride + s;
  const double* level = at + (i64)(g.level_state < 0 ? 0 : g.level_state) * stride;
  upm::GroupStates x;
  x.level = *level;
  x.forward = at[(i64)(g.forward_state < 0 ? 0 : g.forward_state) * stride];
  x.volatility = at[(i64)(g.volatility_state < 0 ? 0 : g.volatility_state) * stride];
  x.scale = g.scale_state < 0 ? 0.0 : at[(i64)g.scale_state * stride];
  x.skew = g.skew_state < 0 ? 0.0 : at[(i64)g.skew_state * stride];
  x.stretch = g.stretch_state < 0 ? 0.0 : at[(i64)g.stretch_state * stride];
  x.level_at_settlement = settle_date < 0 ? x.level : states[((i64)settle_date * factors + (g.forward_state < 0 ? 0 : g.forward_state)) * stride + s];
  x.path = g.path_state < 0 ? 0.0 : states[((i64)(settle_date < 0 ? g.date : settle_date) * factors + g.path_state) * stride + s];
  return x;
}

template <class Stored>
UPM_INLINE void option_columns(const double* states, i32 factors, i32 scenarios, i64 stride, const i32* integers, const double* reals, const i32* slices, i32 linear,
                               i64 options, const double* terms, const double* value0, const double* table_axes, const i64* table_nodes, const double* table_values, Stored* unit) {
  const i32 s = (i32)(blockIdx.y * blockDim.x + threadIdx.x);
  if (s >= scenarios) return;
  const i32* slice = slices + 3 * blockIdx.x;
  const upm::GroupIntegers g = ((const upm::GroupIntegers*)integers)[slice[0]];
  const upm::GroupReals r = ((const upm::GroupReals*)reals)[slice[0]];
  const upm::GroupStates x = states_of(states, factors, stride, s, g, g.settle_date);
  Stored* out = unit + s;
#define STORE(value) \
  for (i64 column = slice[1]; column < slice[2]; ++column) { \
    const upm::Terms t = terms_at(terms, options, column - linear); \
    out[column * stride] = (Stored)((value)-value0[column - linear]); \
  }
  if (g.family == upm::FAMILY_EUROPEAN) {
    const upm::European shared = upm::european_share(g, r, x);
    const double root_years = upm::sqrt(r.remaining_years);
    const upm::Smile smile = upm::smile_of(g);
    if (g.table >= 0) {
      const upm::ValueTable table = table_at(table_axes, table_nodes, table_values, g.table);
      for (i64 column = slice[1]; column < slice[2]; ++column) {
        const upm::Terms t = terms_at(terms, options, column - linear);
        const double volatility = upm::european_volatility(r, shared, t, smile);
        const double value = upm::european_value_at(volatility, shared, t, root_years, r.discount) + upm::european_addition(table, volatility, shared.log_change, shared.unit, t);
        out[column * stride] = (Stored)(value - value0[column - linear]);
      }
    } else if (smile == upm::SMILE_SURFACE) {
      STORE(upm::european_value(r, shared, t, root_years, r.discount, upm::SMILE_SURFACE))
    } else if (smile == upm::SMILE_QUOTE) {
      STORE(upm::european_value(r, shared, t, root_years, r.discount, upm::SMILE_QUOTE))
    } else {
      STORE(upm::european_value(r, shared, t, root_years, r.discount, upm::SMILE_QUOTE_SKEWED))
    }
  } else if (g.family == upm::FAMILY_SETTLED_OPTION) {
    const upm::SettledOption shared = upm::settled_option_share(g, r, x);
    STORE(upm::settled_option_value(shared, t))
  } else if (g.family == upm::FAMILY_EXOTIC) {
    const upm::European shared = upm::european_share(g, r, x);
    const double root_years = upm::sqrt(r.remaining_years);
    const upm::Smile smile = upm::smile_of(g);
    for (i64 column = slice[1]; column < slice[2]; ++column) {
      const upm::Terms t = terms_at(terms, options, column - linear);
      const double volatility = upm::european_volatility(r, shared, t, smile);
      const double looked = upm::looked_at(r, shared.log_change, volatility), hit = upm::exotic_hit(r, x.path, looked);
      double addition = 0.0;
      if (g.table >= 0) {
        const upm::ValueTable table = table_at(table_axes, table_nodes, table_values, g.table);
        addition = upm::european_addition(table, volatility, looked, shared.unit, t);
      }
      out[column * stride] = (Stored)(upm::exotic_value(r, shared, t, volatility, root_years, hit, addition) - value0[column - linear]);
    }
  } else if (g.family == upm::FAMILY_MODEL_VOLATILITY) {
    const upm::European shared = upm::european_share(g, r, x);
    const double root_years = upm::sqrt(r.remaining_years), place = upm::model_place(r, x);
    const double* a = table_axes + 4 * g.table;
    const i64* n = table_nodes + 3 * g.table;
    const upm::ValueTable table = {{a[0], a[1]}, {a[2], a[3]}, {n[0], n[1]}, table_values + n[2]};
    STORE(upm::european_value_at(upm::model_volatility(table, shared.log_change, place, t), shared, t, root_years, r.discount))
  } else if (g.family == upm::FAMILY_SETTLED_EXOTIC) {
    const upm::SettledOption shared = upm::settled_option_share(g, r, x);
    const double hit = upm::barrier_hit(r, x.path);
    STORE(upm::settled_exotic_value(r, shared, t, hit))
  } else if (g.family == upm::FAMILY_AVERAGE) {
    const upm::European shared = upm::european_share(g, r, x);
    const upm::Smile smile = upm::smile_of(g);
    const double left = upm::average_left(r, x.path);
    for (i64 column = slice[1]; column < slice[2]; ++column) {
      const upm::Terms t = terms_at(terms, options, column - linear);
      const double volatility = upm::european_volatility(r, shared, t, smile);
      double read = 0.0;
      if (g.table >= 0) read = upm::table_read(table_at(table_axes, table_nodes, table_values, g.table), upm::average_place(r, shared, t, left), volatility);
      out[column * stride] = (Stored)(upm::average_value(r, shared, t, x.path, volatility, left, read) - value0[column - linear]);
    }
  } else if (g.family == upm::FAMILY_FIXED_AVERAGE) {
    STORE(upm::fixed_average_value(r, x, t))
  } else if (g.family == upm::FAMILY_TWO_ASSET || g.family == upm::FAMILY_SETTLED_TWO_ASSET) {
    const upm::GroupIntegers g2 = ((const upm::GroupIntegers*)integers)[g.second];
    const upm::GroupReals r2 = ((const upm::GroupReals*)reals)[g.second];
    const upm::GroupStates x2 = states_of(states, factors, stride, s, g2, g.settle_date);
    if (g.family == upm::FAMILY_SETTLED_TWO_ASSET) {
      const upm::SettledOption first = upm::settled_option_share(g, r, x), second = upm::settled_option_share(g, r2, x2);
      STORE(upm::pair_payoff(first.index, second.index, t.strike, t.sign, g.payoff) * first.unit)
      return;
    }
    const upm::European first = upm::european_share(g, r, x), second = upm::european_share(g2, r2, x2);
    const double root_years = upm::sqrt(r.remaining_years), volatility_2 = upm::european_volatility(r2, second, upm::leg_terms(r2), upm::smile_of(g2));
    STORE(r.discount * upm::two_asset_value(g, r, upm::two_asset_pair(r, first, upm::european_volatility(r, first, t, upm::smile_of(g)), second, volatility_2, root_years), t) * first.unit)
  } else if (g.family == upm::FAMILY_QUANTO) {
    const upm::European shared = upm::european_share(g, r, x);
    const upm::Smile smile = upm::smile_of(g);
    STORE(upm::quanto_value(r, shared, t, upm::european_volatility(r, shared, t, smile), r.remaining_years, r.discount))
  } else {
    const upm::InverseFuture shared = upm::inverse_future_share(g, r, x);
    STORE(upm::inverse_future_value(shared, t))
  }
#undef STORE
}

UPM_GLOBAL UPM_LAUNCH_BOUNDS(UNIT_THREADS, 4) linear_pnl_float(const double* states, i32 factors, i32 scenarios, i64 stride, const i32* state, const i32* date, const i32* form, float* unit) {
  linear_columns(states, factors, scenarios, stride, state, date, form, unit);
}

UPM_GLOBAL UPM_LAUNCH_BOUNDS(UNIT_THREADS, 4) linear_pnl_double(const double* states, i32 factors, i32 scenarios, i64 stride, const i32* state, const i32* date, const i32* form, double* unit) {
  linear_columns(states, factors, scenarios, stride, state, date, form, unit);
}

// Grid (slices, scenario tiles).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(UNIT_THREADS, 4)
    option_pnl_float(const double* states, i32 factors, i32 scenarios, i64 stride, const i32* integers, const double* reals, const i32* slices, i32 linear, i64 options,
                     const double* terms, const double* value0, const double* table_axes, const i64* table_nodes, const double* table_values, float* unit) {
  option_columns(states, factors, scenarios, stride, integers, reals, slices, linear, options, terms, value0, table_axes, table_nodes, table_values, unit);
}

UPM_GLOBAL UPM_LAUNCH_BOUNDS(UNIT_THREADS, 4)
    option_pnl_double(const double* states, i32 factors, i32 scenarios, i64 stride, const i32* integers, const double* reals, const i32* slices, i32 linear, i64 options,
                      const double* terms, const double* value0, const double* table_axes, const i64* table_nodes, const double* table_values, double* unit) {
  option_columns(states, factors, scenarios, stride, integers, reals, slices, linear, options, terms, value0, table_axes, table_nodes, table_values, unit);
}

// Value today of one unit: the European value at zero states with the whole time to expiry; 0 for an inverse future.
// Grid (option tiles); group (options): the group of a column.
UPM_GLOBAL UPM_LAUNCH_BOUNDS(UNIT_THREADS, 4) value_today(const i32* integers, const double* reals, const i32* group, i64 options, const double* terms, double* value0) {
  const i64 option = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (option >= options) return;
  const upm::GroupIntegers g = ((const upm::GroupIntegers*)integers)[group[option]];
  const upm::GroupReals r = ((const upm::GroupReals*)reals)[group[option]];
  const upm::GroupStates zero = {0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0};
  const upm::European shared = upm::european_share(g, r, zero);
  if (g.second >= 0) {
    const upm::GroupIntegers g2 = ((const upm::GroupIntegers*)integers)[g.second];
    const upm::GroupReals r2 = ((const upm::GroupReals*)reals)[g.second];
    const upm::European second = upm::european_share(g2, r2, zero);
    const upm::Terms t = terms_at(terms, options, option);
    const upm::Pair both = upm::two_asset_pair(r, shared, upm::european_volatility(r, shared, t, upm::smile_of(g)), second,
                                               upm::european_volatility(r2, second, upm::leg_terms(r2), upm::smile_of(g2)), upm::sqrt(r.expiry_years));
    value0[option] = r.discount0 * upm::two_asset_value(g, r, both, t) * shared.unit;
    return;
  }
  if (r.quanto_drift != 0.0) {
    const upm::Terms t = terms_at(terms, options, option);
    value0[option] = upm::quanto_value(r, shared, t, upm::european_volatility(r, shared, t, upm::smile_of(g)), r.expiry_years, r.discount0);
    return;
  }
  const double value = upm::european_value(r, shared, terms_at(terms, options, option), upm::sqrt(r.expiry_years), r.discount0, upm::smile_of(g)) + terms_at(terms, options, option).correction;
  value0[option] = g.family == upm::FAMILY_INVERSE_FUTURE ? 0.0 : value;
}
