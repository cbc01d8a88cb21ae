#include "prepared.h"

#include <unistd.h>

#include <algorithm>

#include "derived.cuh"
#include "families.cuh"
#include "surface_shift.cuh"
#include "tail.h"

namespace upm_plain {
extern const upm::TileFunctions functions;
extern const upm::Operations operations;
extern const upm::KeptFunctions kept_functions;
}
#ifdef UPM_X86_64
namespace upm_avx2 {
extern const upm::TileFunctions functions;
extern const upm::Operations operations;
extern const upm::KeptFunctions kept_functions;
}
namespace upm_avx512 {
extern const upm::TileFunctions functions;
extern const upm::Operations operations;
extern const upm::KeptFunctions kept_functions;
}
#endif

namespace upm {

const std::vector<Isa>& isas() {
  static const std::vector<Isa> all = {
#ifdef UPM_X86_64
      {"avx512", &upm_avx512::functions, &upm_avx512::operations, &upm_avx512::kept_functions,
       [] {
         return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma");
       },
       1.0},
      {"avx2", &upm_avx2::functions, &upm_avx2::operations, &upm_avx2::kept_functions, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }, 1.7},
#endif
      {"plain", &upm_plain::functions, &upm_plain::operations, &upm_plain::kept_functions, [] { return true; }, 40.0},
  };
  return all;
}

namespace {

// Columns whose tile may fill the L2 cache; the rest is left to the rows that stream past.
int64_t columns_in_cache() {
  long bytes = 0;
#ifdef _SC_LEVEL2_CACHE_SIZE
  bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
  if (bytes <= 0) bytes = 1 << 20;
  return std::max<int64_t>(64, static_cast<int64_t>(0.6 * bytes) / static_cast<int64_t>(TILE * sizeof(double)));
}

bool inside(int64_t value, int64_t low, int64_t high) { return value >= low && value < high; }

void check_program(const UpmBook& b, const UpmProgram& p) {
  for (int64_t t = 0; t < p.tables; ++t) require(p.table[t].nodes[0] >= 4 && p.table[t].nodes[1] >= 4 && p.table[t].value);
  for (int64_t i = 0; i < b.linear; ++i) require(inside(p.linear_state[i], 0, b.states) && inside(p.linear_date[i], 0, b.dates));
  for (int64_t g = 0; g < p.groups; ++g) {
    const int32_t* i = p.group_integers + g * UPM_GROUP_INTEGERS;
    require(inside(i[0], 0, FAMILIES) && i[2] >= 0 && i[1] >= b.linear && static_cast<int64_t>(i[1]) + i[2] <= b.columns);
    require(inside(i[3], 0, b.dates) && inside(i[4], -1, b.dates));
    require(inside(i[14], i[0] == FAMILY_MODEL_VOLATILITY ? 0 : -1, p.tables));
    if (i[0] == FAMILY_TWO_ASSET || i[0] == FAMILY_SETTLED_TWO_ASSET)
      require(inside(i[16], 0, p.groups) && inside(i[17], 0, 3) && inside(i[18], 1, 1 << 12) && p.group_integers[i[16] * UPM_GROUP_INTEGERS] == FAMILY_EUROPEAN);
    for (int s : {5, 6, 7, 11, 12, 13, 15}) require(inside(i[s], -1, b.states));
  }
}

// Steps, parts of steps and dates of a path.
void check_legs(const UpmScenarios& set) {
  require(!set.persistence == !set.date_persistence);
  for (int64_t d = 0; d < set.dates; ++d) {
    require(inside(set.date_leg[d], -1, set.legs) && inside(set.date_whole[d], d ? set.date_whole[d - 1] : 0, set.legs + 1));
  }
  for (int64_t g = 0; g < set.legs; ++g) require(set.leg_first_term[g] >= 0 && set.leg_first_term[g] < set.leg_first_term[g + 1] && set.leg_first_term[g + 1] <= set.terms);
}

// Rows of scratch that regimes of roots of `size` doubles need beside `rows` states.
int64_t check_regimes(const UpmScenarios& set, int64_t rows, int64_t size) {
  if (!set.regimes) return 0;
  const UpmRegimes& g = *set.regimes;
  require(inside(g.count, 2, 65) && g.size == size && g.shift <= 1 && g.threshold && g.root);
  return rows;
}

int64_t check_jumps(const UpmScenarios& set) {
  if (!set.jumps) return 0;
  const UpmJumps& j = *set.jumps;
  require(j.clocks >= 1 && inside(j.most, 1, 65) && j.tables >= 1 && j.leg_first_split[0] == 0 && j.leg_first_split[set.legs] <= j.splits && j.first_entry[0] == 0);
  for (int64_t g = 0; g < set.legs; ++g) require(j.leg_first_split[g] <= j.leg_first_split[g + 1]);
  for (int64_t q = 0; q < j.splits; ++q) require(inside(j.split_side[q], 0, 3) && inside(j.split_table[q], 0, j.tables));
  for (int64_t k = 0; k < set.states; ++k) require(j.first_entry[k] <= j.first_entry[k + 1]);
  for (int64_t e = 0; e < j.first_entry[set.states]; ++e) require(inside(j.entry_clock[e], 0, j.clocks));
  return j.clocks;
}

void check_draws(const UpmScenarios& set, const UpmDraws& d, int64_t factors) {
  require(d.factors == factors && (!d.path || factors == set.states));
  require(d.sampler >= 1 && d.sampler <= 5 && (d.sampler < 3 || d.sampler == 5 || d.dimensions > 0) && (d.sampler != 2 || d.blocks * UPM_BLOCK >= set.count));
  for (int64_t t = 0; t < set.terms; ++t) require((set.term_stream[t] & 0xff) != 0 || d.sampler == 1 || inside(set.term_step[t], 0, d.steps));
  if (d.sampler == 5) {
    require(d.components >= 1 && (d.components == 1 || d.threshold) && d.shift);
    for (int64_t g = 0; set.has_mixing && g < set.legs; ++g) require(inside(set.leg_step[g], 0, d.steps));
  }
  if (d.sampler < 3 || d.sampler == 5) return;
  if (d.path) require(set.has_mixing && inside(d.steps, 2, 11) && inside(d.winner_dimension, 0, d.dimensions) && set.scratch >= (3 + d.steps) * set.states);
  for (int64_t i = 0; i < d.steps * factors; ++i) require(inside(d.factor_dimension[i], 0, d.dimensions));
  for (int64_t g = 0; set.has_mixing && g < set.legs; ++g) require(inside(set.leg_step[g], 0, d.steps) && inside(d.mixing_dimension[set.leg_step[g]], 0, d.dimensions));
}

void check_heston(const UpmScenarios& set) {
  require(set.model != nullptr);
  const UpmHeston& h = *static_cast<const UpmHeston*>(set.model);
  require(h.underlyings >= 1 && h.classes >= 1 && h.shifts >= 0 && set.states == 2 * h.underlyings + h.shifts);
  require(set.scratch >= 3 * h.underlyings + 2 * set.states + check_jumps(set) + check_regimes(set, h.underlyings, h.underlyings * h.underlyings) + (h.copula_substeps ? h.underlyings : 0));
  require(h.copula_substeps == 0 || (h.copula_substeps > 0 && set.has_mixing && h.copula_weight && h.copula_marginal.coefficients));
  check_legs(set);
  for (int64_t g = 0; g < set.legs; ++g) require(inside(h.leg_class[g], 0, h.classes));
  for (int64_t e = 0; e < h.shifts; ++e) require(inside(h.shift_underlying[e], 0, h.underlyings));
  if (!h.draws) return;
  require(h.draws->sampler != 5 && h.copula_substeps == 0);
  check_draws(set, *h.draws, 2 * h.underlyings);
}

void check_walk(const UpmScenarios& set) {
  require(set.scratch >= 3 * set.states + check_jumps(set) + check_regimes(set, set.states, set.states * set.states));
  for (int64_t k = 0; k < set.states; ++k) require(inside(set.marginal[k], -1, set.table_count));
  check_legs(set);
}

void check_sampled_walk(const UpmScenarios& set) {
  check_walk(set);
  require(set.model != nullptr);
  check_draws(set, *static_cast<const UpmDraws*>(set.model), set.states);
}

void check_resample(const UpmScenarios& set) {
  const UpmResample* m = static_cast<const UpmResample*>(set.model);
  require(m && m->rows >= 1 && m->rows <= INT32_MAX && set.values && m->clipped);
}

void check_garch(const UpmScenarios& set) {
  const UpmGarch* m = static_cast<const UpmGarch*>(set.model);
  require(m && m->common >= 0 && m->groups >= 0 && set.scratch >= 5 * set.states + m->common + m->groups + check_regimes(set, set.states, set.states * (m->loading ? m->common + 1 : set.states)));
  check_legs(set);
  for (int64_t i = 0; i < set.legs * set.states; ++i) require(inside(m->centring_of[i], -1, m->centrings));
  if (m->residual) return require(!set.regimes && m->rows >= 1 && m->rows <= INT32_MAX && m->residual_stride >= set.states && m->residual_stride % 8 == 0);
  require(m->loading || set.cholesky);
  for (int64_t k = 0; k < set.states; ++k) require(inside(set.marginal[k], -1, set.table_count) && (m->groups == 0 || inside(m->group[k], 0, m->groups)));
}

void check_set(const UpmScenarios& set);

void check_derived(const UpmScenarios& set) {
  const UpmDerived* m = static_cast<const UpmDerived*>(set.model);
  require(m && m->base && m->base->kind != set.kind && m->operations >= 1 && m->lent >= 0);
  const UpmScenarios& base = *m->base;
  require(base.count == set.count && base.dates == set.dates && base.states + m->first_output[m->operations] == set.states);
  require(set.scratch >= base.dates * base.states + std::max(base.scratch, m->lent));
  require(m->first_output[0] == 0 && m->first_input[0] == 0 && m->first_real[0] == 0);
  for (int64_t o = 0; o < m->operations; ++o) {
    const int64_t inputs = m->first_input[o + 1] - m->first_input[o], reals = m->first_real[o + 1] - m->first_real[o];
    const int64_t outputs = m->first_output[o + 1] - m->first_output[o];
    require(outputs >= 1 && inputs >= 1 && reals >= 0);
    for (int64_t i = m->first_input[o]; i < m->first_input[o + 1]; ++i) require(inside(m->input[i], -1, base.states + m->first_output[o]));
    switch (m->operation[o]) {
      case 1:  // linear_combination
        require(outputs == 1 && reals == set.dates * inputs);
        for (int64_t i = m->first_input[o]; i < m->first_input[o + 1]; ++i) require(m->input[i] >= 0);
        break;
      case 2:  // linear_contract
        require(outputs == 1 && inputs == 4 && reals == 2 + 4 * set.dates && m->input[m->first_input[o]] >= 0);
        for (int64_t d = 0; d < set.dates; ++d) require(inside(static_cast<int64_t>(m->real[m->first_real[o] + 2 + 4 * d + 3]), 0, d + 1));
        break;
      case 3:  // inverse_contract
        require(outputs == 1 && inputs == 4 && reals == 2 + 2 * set.dates && m->input[m->first_input[o]] >= 0 && m->input[m->first_input[o] + 1] >= 0);
        break;
      case 4: {  // surface_shift
        const double* r = m->real + m->first_real[o];
        require(inputs == 3 && m->input[m->first_input[o]] >= 0 && reals > UPM_SURFACE_HEAD && r[SURFACE_EXPIRIES] >= 1.0 && r[SURFACE_EXPIRIES] <= UPM_SURFACE_EXPIRIES);
        const int64_t n = static_cast<int64_t>(r[SURFACE_EXPIRIES]);
        int64_t tables = 0;
        if (r[SURFACE_PROJECT] != 0.0) {
          require(r[SURFACE_SKEW_CELLS] >= 1.0 && r[SURFACE_SKEW_CELLS] <= 4096.0 && r[SURFACE_VARIANCE_CELLS] >= 1.0 && r[SURFACE_VARIANCE_CELLS] <= 4096.0);
          const int64_t skews = static_cast<int64_t>(r[SURFACE_SKEW_CELLS]), variances = static_cast<int64_t>(r[SURFACE_VARIANCE_CELLS]);
          tables = 3 * (n - 1) * skews + 5 * n * skews * variances;
        }
        require(outputs == 3 * n && reals == UPM_SURFACE_HEAD + 4 * n + tables);
        break;
      }
      case 5:  // running_extreme
        require(outputs == 1 && inputs == 1 && reals == 5 + 2 * set.dates && m->input[m->first_input[o]] >= 0);
        break;
      case 6: {  // running_fixings
        const double* r = m->real + m->first_real[o];
        require(outputs == 1 && inputs == 1 && reals == FIXINGS_DATES + set.dates && m->input[m->first_input[o]] >= 0 && r[FIXINGS_KIND] >= 0.0 && r[FIXINGS_KIND] <= 3.0);
        break;
      }
      case 7: {  // running_exit
        const double* r = m->real + m->first_real[o];
        require(outputs == 1 && inputs == 3 && reals == EXIT_DATES + 3 * set.dates && r[EXIT_LOWER] < 0.0 && r[EXIT_UPPER] > 0.0);
        for (int64_t i = m->first_input[o]; i < m->first_input[o + 1]; ++i) require(m->input[i] >= 0);
        for (int64_t d = 0; d < set.dates; ++d) require(r[EXIT_DATES + 3 * d + 2] >= -1.0 && r[EXIT_DATES + 3 * d + 2] <= UPM_MOST_IMAGES);
        break;
      }
      default: require(false);
    }
  }
  check_set(base);
}

void check_set(const UpmScenarios& set) {
  switch (set.kind) {
    case 0: return require(set.values != nullptr);
#define UPM_MODEL(kind, name) \
  case kind: return check_##name(set);
#include "models.def"
#undef UPM_MODEL
    default: require(false);
  }
}

}  // namespace

Prepared::Prepared(const UpmBook& source, int isa_, int64_t block_columns) : book(source), isa(isa_) {
  require(book.columns >= book.linear && book.linear >= 0 && book.rows >= 0 && book.horizons >= 1 && book.dates >= 1 && book.states >= 1);
  require(book.columns <= INT32_MAX && book.rows <= INT32_MAX);
  programs.assign(source.programs, source.programs + source.horizons);
  book.programs = programs.data();
  for (const UpmProgram& p : programs) check_program(book, p);
  require(book.row_first[0] == 0 && book.row_first[book.rows] == book.entries);
  for (int64_t r = 0; r < book.rows; ++r) {
    require(book.row_first[r] <= book.row_first[r + 1]);
    for (int64_t e = book.row_first[r]; e < book.row_first[r + 1]; ++e)
      require(inside(book.row_column[e], e > book.row_first[r] ? book.row_column[e - 1] + 1 : 0, book.columns));
  }

  tile = isas()[isa].functions;
  value0.resize(options());
  tile->value0(&book, value0.data());

  const int64_t width = block_columns > 0 ? block_columns : columns_in_cache();
  const int64_t count = std::max<int64_t>(1, (book.columns + width - 1) / width);
  const int64_t even = (book.columns + count - 1) / count;
  blocks.resize(count);
  for (int64_t b = 0; b < count; ++b) {
    Block& block = blocks[b];
    block.first = std::min(book.columns, b * even);
    block.last = std::min(book.columns, block.first + even);
    block.column = book.row_column;
    block.quantity = book.row_quantity;
    block.entry_first.assign(book.row_first, book.row_first + book.rows + 1);
    if (count == 1) return;
    for (int64_t r = 0; r < book.rows; ++r) {
      block.entry_first[r] = static_cast<int64_t>(block.own_column.size());
      const int32_t* end = book.row_column + book.row_first[r + 1];
      for (const int32_t* c = std::lower_bound(book.row_column + book.row_first[r], end, static_cast<int32_t>(block.first)); c < end && *c < block.last; ++c) {
        block.own_column.push_back(*c);
        block.own_quantity.push_back(book.row_quantity[c - book.row_column]);
      }
    }
    block.entry_first[book.rows] = static_cast<int64_t>(block.own_column.size());
    block.column = block.own_column.data();
    block.quantity = block.own_quantity.data();
  }
}

int64_t Prepared::widest_block() const {
  int64_t width = 0;
  for (const Block& b : blocks) width = std::max(width, b.last - b.first);
  return width;
}

void Prepared::check(const UpmScenarios& set, int64_t first, int64_t last) const {
  require(first >= 0 && first <= last && last <= set.count && set.count <= (int64_t{1} << 32));
  require(set.states >= book.states && set.dates >= book.dates);
  check_set(set);
}

Scratch::Scratch(const Prepared& p, const UpmScenarios& set, bool units, bool sums)
    : states(aligned<double>(set.dates * set.states * TILE)),
      model(aligned<double>(set.scratch * TILE)),
      unit(aligned<double>(units ? p.widest_block() * TILE : 0)),
      sum(aligned<double>(sums && p.blocks.size() > 1 ? p.book.rows * TILE : 0)),
      clipped(set.states, 0) {}

void Scratch::draw(const Prepared& p, const UpmScenarios& set, int64_t first, int live, Leaving* leaving) {
  p.tile->draw(&set, static_cast<uint32_t>(first), live, states.get(), model.get(), clipped.data(), leaving);
}

}  // namespace upm
