// One tile of 64 scenarios: states, unit P&L, row sums. Compiled once per instruction set with UPM_ISA (the namespace)
// and UPM_VECTOR_BYTES; the same operations in the same order in each, so all give the same bits.
#include "engine.h"

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "families.cuh"
#include "heston.cuh"
#include "jumps.cuh"
#include "garch.cuh"
#include "derived.cuh"
#include "regimes.cuh"
#include "resample.cuh"
#include "walk.cuh"
#include "sampled_walk.cuh"

// Loops marked `vectorised` are the ones that carry the time; tests/parity/test_vectorised.py reads the compiler's report.

namespace UPM_ISA {
namespace {

using namespace upm;

constexpr int T = TILE;

// ---- states ----------------------------------------------------------------------------------------------------

alignas(64) const double NOTHING[T] = {};  // a state that is not there and reads 0

#include "lanes.inc"
#include "write.inc"
#include "normals.inc"
#include "tables.inc"
// A file a kind: draw_<name> writes the states of a tile.
#include "jumps.inc"
#include "regimes.inc"
#include "walk.inc"
#include "resample.inc"
#include "garch.inc"
#include "sampled_walk.inc"
#include "heston.inc"
#include "derived.inc"
#include "sobol_points.inc"
#include "value_tables.inc"

// Given states; what lies beyond the last scenario repeats it.
void draw_given(const UpmScenarios* set, uint32_t first, int live, double* states) {
  for (int64_t i = 0; i < set->dates * set->states; ++i) {
    const double* from = set->values + i * set->count + first;
    for (int s = 0; s < T; ++s) states[i * T + s] = from[s < live ? s : live - 1];
  }
}

void draw(const UpmScenarios* set, uint32_t first, int live, double* states, double* scratch, int64_t* clipped, Leaving* leaving) {
  switch (set->kind) {
    case 0: return draw_given(set, first, live, states);
#define UPM_MODEL(kind, name) \
  case kind: return draw_##name(set, first, live, states, scratch, clipped, leaving);
#include "models.def"
#undef UPM_MODEL
  }
}

// ---- unit P&L --------------------------------------------------------------------------------------------------

inline __attribute__((always_inline)) Terms terms_of(const UpmBook* book, int64_t option) {
  const int64_t options = book->columns - book->linear;
  const double* t = book->terms + option;
  return Terms{t[0], t[options], t[2 * options], t[3 * options], t[4 * options], t[5 * options]};
}

const GroupIntegers* integers_of(const UpmProgram* p, int64_t group) { return (const GroupIntegers*)(p->group_integers + group * UPM_GROUP_INTEGERS); }
const GroupReals* reals_of(const UpmProgram* p, int64_t group) { return (const GroupReals*)(p->group_reals + group * UPM_GROUP_REALS); }

void value0(const UpmBook* book, double* out) {
  const UpmProgram* p = book->programs;
  for (int64_t i = 0; i < p->groups; ++i) {
    const GroupIntegers g = *integers_of(p, i);
    const GroupReals r = *reals_of(p, i);
    const European zero = european_share(g, r, GroupStates{});
    const double root_years = upm::sqrt(r.expiry_years);
    if (g.second >= 0) {
      const GroupReals r2 = *reals_of(p, g.second);
      const GroupIntegers g2 = *integers_of(p, g.second);
      const European zero2 = european_share(g2, r2, GroupStates{});
      for (int64_t c = g.first - book->linear; c < g.first - book->linear + g.count; ++c) {
        const Terms t = terms_of(book, c);
        const Pair both = two_asset_pair(r, zero, european_volatility(r, zero, t, smile_of(g)), zero2, european_volatility(r2, zero2, leg_terms(r2), smile_of(g2)), root_years);
        out[c] = r.discount0 * two_asset_value(g, r, both, t) * zero.unit;
      }
      continue;
    }
    if (r.quanto_drift != 0.0) {
      for (int64_t c = g.first - book->linear; c < g.first - book->linear + g.count; ++c)
        out[c] = quanto_value(r, zero, terms_of(book, c), european_volatility(r, zero, terms_of(book, c), smile_of(g)), r.expiry_years, r.discount0);
      continue;
    }
    for (int64_t c = g.first - book->linear; c < g.first - book->linear + g.count; ++c)
      out[c] = g.family == FAMILY_INVERSE_FUTURE ? 0.0 : european_value(r, zero, terms_of(book, c), root_years, r.discount0, smile_of(g)) + terms_of(book, c).correction;
  }
}

// Stores value - value0 of one column.
inline __attribute__((always_inline)) void write(const UnitTask* task, int64_t column, const double* value, double start) {
  const int64_t at = (column - task->column_begin) * task->out_stride;
  const int live = task->live;
  if (task->stored == ROUNDED_DOUBLE) {
    double* out = (double*)task->out + at;
    for (int s = 0; s < T; ++s) out[s] = (double)(float)(value[s] - start);
  } else if (task->stored == AS_FLOAT) {
    float* out = (float*)task->out + at;
    if (live == T)
      for (int s = 0; s < T; ++s) out[s] = (float)(value[s] - start);
    else
      for (int s = 0; s < live; ++s) out[s] = (float)(value[s] - start);
  } else {
    double* out = (double*)task->out + at;
    if (live == T)
      for (int s = 0; s < T; ++s) out[s] = value[s] - start;
    else
      for (int s = 0; s < live; ++s) out[s] = value[s] - start;
  }
}

struct Columns {
  const UnitTask* task;
  const GroupIntegers* integers;
  const GroupReals* reals;
  const double *level, *forward, *volatility, *settlement, *scale, *skew, *stretch, *path;
  int64_t begin, end;
};

inline __attribute__((always_inline)) GroupStates states_at(const Columns& c, int s) {
  return GroupStates{c.level[s], c.forward[s], c.volatility[s], c.settlement[s], c.scale[s], c.skew[s], c.stretch[s], c.path[s]};
}

template <Smile SMILE>
void price_european_columns(const Columns& c) {
  alignas(64) double forward[T], log_change[T], times[T], plus[T], unit[T], tilt[T], squeeze[T], value[T], addition[T];
  const GroupIntegers g = *c.integers;
  const GroupReals r = *c.reals;
  for (int s = 0; s < T; ++s) {  // vectorised
    const European x = european_share(g, r, states_at(c, s));
    forward[s] = x.forward, log_change[s] = x.log_change, times[s] = x.times, plus[s] = x.plus, unit[s] = x.unit, tilt[s] = x.tilt, squeeze[s] = x.squeeze;
  }
  // One loop prices a column and finds the volatilities of the next: two chains of long operations that do not wait for each
  // other (a single chain of two square roots and three divisions leaves the multipliers idle a third of the time).
  const double root_years = upm::sqrt(r.remaining_years);
  alignas(64) double volatility[2][T];
  const int64_t first_option = c.begin - c.task->book->linear, end_option = c.end - c.task->book->linear;
  const ValueTable* table = g.table < 0 ? nullptr : (const ValueTable*)c.task->program->table + g.table;
  Terms t = terms_of(c.task->book, first_option);
  const auto shared = [&](int s) { return European{forward[s], log_change[s], times[s], plus[s], unit[s], tilt[s], squeeze[s]}; };
  for (int s = 0; s < T; ++s) volatility[0][s] = european_volatility(r, shared(s), t, SMILE);
  for (int64_t option = first_option; option < end_option; ++option) {
    const Terms next = terms_of(c.task->book, option + 1 < end_option ? option + 1 : option);
    const double* now = volatility[(option - first_option) & 1];
    double* later = volatility[(option - first_option + 1) & 1];
    for (int s = 0; s < T; ++s) {  // vectorised
      const European x = shared(s);
      later[s] = european_volatility(r, x, next, SMILE);
      value[s] = european_value_at(now[s], x, t, root_years, r.discount);
    }
    if (table) {
      table_additions(*table, now, log_change, unit, t, addition);
      for (int s = 0; s < T; ++s) value[s] += addition[s];
    }
    write(c.task, option + c.task->book->linear, value, c.task->value0[option]);
    t = next;
  }
}

void price_european(const Columns& c) {
  switch (smile_of(*c.integers)) {
    case SMILE_QUOTE: return price_european_columns<SMILE_QUOTE>(c);
    case SMILE_QUOTE_SKEWED: return price_european_columns<SMILE_QUOTE_SKEWED>(c);
    case SMILE_SURFACE: return price_european_columns<SMILE_SURFACE>(c);
  }
}

void price_model_volatility(const Columns& c) {
  alignas(64) double forward[T], log_change[T], unit[T], place[T], volatility[T], value[T];
  const GroupIntegers g = *c.integers;
  const GroupReals r = *c.reals;
  for (int s = 0; s < T; ++s) {  // vectorised
    const GroupStates at = states_at(c, s);
    const European x = european_share(g, r, at);
    forward[s] = x.forward, log_change[s] = x.log_change, unit[s] = x.unit, place[s] = model_place(r, at);
  }
  const double root_years = upm::sqrt(r.remaining_years);
  const ValueTable table = ((const ValueTable*)c.task->program->table)[g.table];
  SecondAxis axis;
  second_axis(table, place, &axis);
  for (int64_t column = c.begin; column < c.end; ++column) {
    const int64_t option = column - c.task->book->linear;
    const Terms t = terms_of(c.task->book, option);
    model_volatilities(table, axis, log_change, t, volatility);
    for (int s = 0; s < T; ++s) {  // vectorised
      value[s] = european_value_at(volatility[s], European{forward[s], log_change[s], 1.0, 0.0, unit[s], 0.0, 1.0}, t, root_years, r.discount);
    }
    write(c.task, column, value, c.task->value0[option]);
  }
}

// Families that are cheap: shared numbers are computed again for every column.
#define UPM_CHEAP_FAMILY(name)                                                                             \
  void price_##name(const Columns& c) {                                                                    \
    alignas(64) double value[T];                                                                           \
    const GroupIntegers g = *c.integers;                                                                   \
    const GroupReals r = *c.reals;                                                                         \
    for (int64_t column = c.begin; column < c.end; ++column) {                                             \
      const int64_t option = column - c.task->book->linear;                                                \
      const Terms t = terms_of(c.task->book, option);                                                      \
      for (int s = 0; s < T; ++s) value[s] = name##_value(name##_share(g, r, states_at(c, s)), t);         \
      write(c.task, column, value, c.task->value0[option]);                                                \
    }                                                                                                      \
  }
UPM_CHEAP_FAMILY(settled_option)  // vectorised
UPM_CHEAP_FAMILY(inverse_future)  // vectorised
#undef UPM_CHEAP_FAMILY

// What the columns [begin, end) of a group read. A state that does not apply is -1: any row will do, it is not used.
Columns columns_of(const UnitTask* task, int64_t group, int32_t settle_date, int64_t begin, int64_t end) {
  const GroupIntegers* g = integers_of(task->program, group);
  const double* at = task->states + (int64_t)g->date * task->state_count * T;
  const double* level = at + (int64_t)(g->level_state < 0 ? 0 : g->level_state) * T;
  const double* forward = at + (int64_t)(g->forward_state < 0 ? 0 : g->forward_state) * T;
  const int64_t later = settle_date < 0 ? 0 : (int64_t)(settle_date - g->date) * task->state_count * T;
  const auto moved = [=](int32_t state) { return state < 0 ? NOTHING : at + (int64_t)state * T; };
  const double* path = g->path_state < 0 ? NOTHING : at + (int64_t)g->path_state * T + later;
  return Columns{task, g, reals_of(task->program, group), level, forward, at + (int64_t)(g->volatility_state < 0 ? 0 : g->volatility_state) * T,
                 settle_date < 0 ? level : forward + later, moved(g->scale_state), moved(g->skew_state), moved(g->stretch_state), path, begin, end};
}

#include "exotics.inc"
#include "two_assets.inc"

void unit(const UnitTask* task) {
#define UPM_FAMILY(name, prefix) price_##prefix,
  static void (*const price[])(const Columns&) = {
#include "families.def"
  };
#undef UPM_FAMILY
  const UpmBook* book = task->book;
  const UpmProgram* p = task->program;
  alignas(64) double value[T];
  const int64_t linear_end = task->column_end < book->linear ? task->column_end : book->linear;
  for (int64_t column = task->column_begin; column < linear_end; ++column) {
    const double* x = task->states + (p->linear_date[column] * task->state_count + p->linear_state[column]) * T;
    if (p->linear_form[column]) {
      write(task, column, x, 0.0);
      continue;
    }
    for (int s = 0; s < T; ++s) value[s] = upm::exp(x[s]);  // vectorised
    write(task, column, value, 1.0);
  }
  for (int64_t i = 0; i < p->groups; ++i) {
    const GroupIntegers* g = integers_of(p, i);
    const int64_t begin = g->first > task->column_begin ? g->first : task->column_begin;
    const int64_t end = g->first + g->count < task->column_end ? g->first + g->count : task->column_end;
    if (begin >= end) continue;
    price[g->family](columns_of(task, i, g->settle_date, begin, end));
  }
}

// ---- rows ------------------------------------------------------------------------------------------------------

constexpr int PART = 8 * W;  // scenarios with eight accumulators live
// acc (T,) = (acc where `resume`, else 0) + sum over entries of quantity x unit, entries ascending, multiply then add.
inline __attribute__((always_inline)) void add_entries(const int32_t* column, const double* quantity, int64_t count, const double* unit, double* acc, bool resume) {
  for (int part = 0; part < T; part += PART) {
    Vector* a = (Vector*)(acc + part);
    Vector a0{}, a1{}, a2{}, a3{}, a4{}, a5{}, a6{}, a7{};
    if (resume) a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3], a4 = a[4], a5 = a[5], a6 = a[6], a7 = a[7];
    for (int64_t e = 0; e < count; ++e) {
      const Vector* u = (const Vector*)(unit + (int64_t)column[e] * T + part);
      const double q = quantity[e];
      a0 += q * u[0];
      a1 += q * u[1];
      a2 += q * u[2];
      a3 += q * u[3];
      a4 += q * u[4];
      a5 += q * u[5];
      a6 += q * u[6];
      a7 += q * u[7];
    }
    a[0] = a0, a[1] = a1, a[2] = a2, a[3] = a3, a[4] = a4, a[5] = a5, a[6] = a6, a[7] = a7;
  }
}

// Sum and sum of squares of one tile: eight lanes, each ascending, then the lanes ascending. All from 0, as the contract says.
typedef double Lanes __attribute__((vector_size(64)));
inline __attribute__((always_inline)) void lane_sums(const double* pnl, double* out) {
  const Lanes* x = (const Lanes*)pnl;
  Lanes sum{}, square{};
  for (int i = 0; i < T / 8; ++i) sum += x[i], square += x[i] * x[i];
  double a = 0.0, b = 0.0;
  for (int l = 0; l < 8; ++l) a += sum[l], b += square[l];
  out[0] = a, out[1] = b;
}

int64_t count_not_finite(const double* pnl, int live) {
  int64_t count = 0;
  for (int s = 0; s < live; ++s) count += !(pnl[s] - pnl[s] == 0.0);
  return count;
}

inline __attribute__((always_inline)) void finish_row(RowTask* task, int64_t row, double* acc) {
  const int live = task->live;
  if (task->out) {
    double* out = task->out + row * task->out_stride;
    for (int s = 0; s < live; ++s) out[s] = acc[s];
    return;
  }
  if (live < T)
    for (int s = live; s < T; ++s) acc[s] = 0.0;
  double* partial = task->partial + 2 * row;
  lane_sums(acc, partial);
  if (!(partial[1] - partial[1] == 0.0)) task->not_finite += count_not_finite(acc, live);
  const int64_t slot = task->slot0 + row;
  double threshold;
  __atomic_load(&task->slot[slot].threshold, &threshold, __ATOMIC_RELAXED);
  const uint64_t hits = at_or_below(acc, threshold) & (live < T ? ((uint64_t)1 << live) - 1 : ~(uint64_t)0);
  if (hits) task->push(task->slots, slot, acc, hits, task->first_scenario);
}

// The slot of a row and the end of its candidates have left the caches since the last tile: asked for before the row is summed.
inline __attribute__((always_inline)) void fetch_slot(const RowTask* task, int64_t row) {
  const int64_t at = task->slot0 + row;
  const int32_t count = __atomic_load_n(&task->slot[at].count, __ATOMIC_RELAXED);
  __builtin_prefetch(task->candidate_pnl + at * task->capacity + count, 1);
  __builtin_prefetch(task->candidate_scenario + at * task->capacity + count, 1);
  __builtin_prefetch(&task->slot[at + 4], 1);
}

void rows(RowTask* task) {
  const double* unit = task->unit - task->column_offset * T;
  alignas(64) double local[T];
  for (int64_t row = task->row_begin; row < task->row_end; ++row) {
    double* acc = task->sum ? task->sum + row * T : local;
    if (task->slot && task->last) fetch_slot(task, row);
    const int64_t begin = task->entry_first[row];
    add_entries(task->column + begin, task->quantity + begin, task->entry_first[row + 1] - begin, unit, acc, task->resume);
    if (task->last) finish_row(task, row, acc);
  }
}

}  // namespace

extern const upm::TileFunctions functions;
const upm::TileFunctions functions = {draw, value0, unit, rows, copy_rows, sobol_points};

}  // namespace UPM_ISA
