// extern "C" face of the engine: checks lengths, turns exceptions into statuses.
#include <algorithm>
#include <cstring>

#include "kept_rows.h"
#include "operations.h"
#include "tail.h"
#include "threads.h"

#define UPM_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using upm::Prepared;
using upm::require;

template <class Work>
int32_t guarded(Work work) {
  try {
    return work(), UPM_OK;
  } catch (const std::bad_alloc&) {
    return UPM_NO_MEMORY;
  } catch (const std::length_error&) {
    return UPM_NO_MEMORY;
  } catch (const std::invalid_argument&) {
    return UPM_BAD_ARGUMENT;
  } catch (...) {
    return UPM_INTERNAL;
  }
}

const Prepared& book_of(const void* handle) {
  require(handle != nullptr);
  return *static_cast<const Prepared*>(handle);
}

upm::Range range_of(const Prepared& p, const UpmScenarios* set, int64_t first, int64_t last, int32_t threads) {
  require(set && threads >= 1 && first < last);
  p.check(*set, first, last);
  return upm::Range{first, last};
}

}  // namespace

UPM_EXPORT int32_t upm_abi_version() { return UPM_ABI_VERSION; }

UPM_EXPORT int64_t upm_struct_bytes(int32_t which) {
  const int64_t bytes[] = {sizeof(UpmProgram), sizeof(UpmBook), sizeof(UpmTable), sizeof(UpmScenarios), sizeof(UpmJumps), sizeof(UpmHeston), sizeof(UpmRegimes), sizeof(UpmKept), sizeof(UpmRowChanges)};
  return which >= 0 && which < static_cast<int32_t>(sizeof bytes / sizeof *bytes) ? bytes[which] : -1;
}

UPM_EXPORT int32_t upm_isa_count() { return static_cast<int32_t>(upm::isas().size()); }
UPM_EXPORT const char* upm_isa_name(int32_t isa) { return isa >= 0 && isa < upm_isa_count() ? upm::isas()[isa].name : ""; }
UPM_EXPORT int32_t upm_isa_runs(int32_t isa) { return isa >= 0 && isa < upm_isa_count() && upm::isas()[isa].runs(); }

namespace {

bool choose(int32_t* isa) {
  if (*isa < 0)
    for (*isa = 0; *isa + 1 < upm_isa_count() && !upm_isa_runs(*isa);) ++*isa;
  return upm_isa_runs(*isa);
}

}  // namespace

UPM_EXPORT int32_t upm_prepare(const UpmBook* book, int32_t isa, int64_t block_columns, void** prepared, double* value0, int64_t value0_length) {
  if (!choose(&isa)) return UPM_NO_ISA;
  return guarded([&] {
    require(book && prepared && value0_length == book->columns - book->linear);
    std::unique_ptr<Prepared> p(new Prepared(*book, isa, block_columns));
    std::copy(p->value0.begin(), p->value0.end(), value0);
    *prepared = p.release();
  });
}

UPM_EXPORT void upm_release(void* prepared) { delete static_cast<Prepared*>(prepared); }
UPM_EXPORT int32_t upm_prepared_isa(const void* prepared) { return prepared ? static_cast<const Prepared*>(prepared)->isa : -1; }
UPM_EXPORT double upm_cost(const void* prepared, const UpmScenarios* set) { return upm::cost(*static_cast<const Prepared*>(prepared), *set); }

UPM_EXPORT int32_t upm_timings(const void* handle, double* out, int64_t length) {
  return guarded([&] {
    const Prepared& p = book_of(handle);
    require(length == upm::PHASES);
    for (int i = 0; i < upm::PHASES; ++i) out[i] = 1e-9 * static_cast<double>(p.nanoseconds[i]);
  });
}

UPM_EXPORT int32_t upm_states(const void* handle, const UpmScenarios* set, int64_t first, int64_t last, int32_t threads, double* out, int64_t length) {
  return guarded([&] {
    const Prepared& p = book_of(handle);
    const auto range = range_of(p, set, first, last, threads);
    require(length == set->dates * set->states * (last - first));
    upm::states(p, *set, range, threads, out);
  });
}

UPM_EXPORT int32_t upm_unit_pnl(const void* handle, const UpmScenarios* set, int64_t first, int64_t last, int64_t horizon, int32_t threads, void* out,
                                int64_t bytes) {
  return guarded([&] {
    const Prepared& p = book_of(handle);
    const auto range = range_of(p, set, first, last, threads);
    require(horizon >= 0 && horizon < p.book.horizons && bytes == p.book.columns * (last - first) * static_cast<int64_t>(p.stored()));
    upm::unit_pnl(p, *set, range, horizon, threads, out);
  });
}

UPM_EXPORT int32_t upm_row_pnl(const void* handle, const UpmScenarios* set, int64_t first, int64_t last, int64_t horizon, int32_t threads, double* out,
                               int64_t length) {
  return guarded([&] {
    const Prepared& p = book_of(handle);
    const auto range = range_of(p, set, first, last, threads);
    require(horizon >= 0 && horizon < p.book.horizons && length == p.book.rows * (last - first));
    upm::row_pnl(p, *set, range, horizon, threads, out);
  });
}

UPM_EXPORT int32_t upm_row_tail(const void* handle, const UpmScenarios* set, int64_t first, int64_t last, int64_t depth, const double* threshold, int32_t threads,
                                double* pnl, uint32_t* scenario, int64_t length, double* sums, int64_t sums_length, int64_t* clipped, int64_t clipped_length,
                                int64_t* not_finite) {
  return guarded([&] {
    const Prepared& p = book_of(handle);
    const auto range = range_of(p, set, first, last, threads);
    const int64_t slots = p.book.horizons * p.book.rows, blocks = (last - first + UPM_BLOCK - 1) / UPM_BLOCK;
    require(first % UPM_BLOCK == 0 && depth >= 1 && length == slots * depth && sums_length == blocks * slots * 2 && clipped_length == set->states && not_finite);
    upm::row_tail(p, *set, range, depth, threshold, threads, upm::TailOut{pnl, scenario, sums, clipped, not_finite});
  });
}

UPM_EXPORT int32_t upm_attribution(const void* handle, const UpmScenarios* set, int64_t first, int64_t last, int64_t horizon, const int64_t* tail_first,
                                   const uint32_t* tail_scenario, const double* tail_weight, int64_t tail_length, int32_t threads, double* total, int64_t length) {
  return guarded([&] {
    const Prepared& p = book_of(handle);
    const auto range = range_of(p, set, first, last, threads);
    require(horizon >= 0 && horizon < p.book.horizons && length == p.book.entries && tail_first[0] == 0 && tail_first[p.book.rows] == tail_length);
    for (int64_t r = 0; r < p.book.rows; ++r) require(tail_first[r] <= tail_first[r + 1]);
    upm::attribution(p, *set, range, horizon, tail_first, tail_scenario, tail_weight, threads, total);
  });
}

UPM_EXPORT int32_t upm_values(int32_t isa, int32_t operation, int64_t cases, const double* in, int64_t in_length, double* out, int64_t out_length,
                              int32_t threads) {
  if (!choose(&isa)) return UPM_NO_ISA;
  return guarded([&] {
    const upm::Operations* known = upm::isas()[isa].operations;
    const upm::Operation* f = std::find_if(known->all, known->all + known->size, [&](const upm::Operation& o) { return o.number == operation; });
    require(f != known->all + known->size && cases >= 0 && out_length == f->outputs * cases && threads >= 1);
    const int64_t inputs = cases ? in_length / cases : f->inputs, times = f->repeated ? (inputs - f->inputs) / f->repeated : 0;
    require(times >= 0 && in_length == inputs * cases && inputs == f->inputs + f->repeated * times);
    if (f->repeated)
      for (int64_t i = 0; i < cases; ++i) require(in[f->count * cases + i] >= 0.0 && in[f->count * cases + i] <= static_cast<double>(times));
    const int64_t share = std::clamp<int64_t>(cases / (8 * threads), 1, 256), grain = (share + f->together - 1) / f->together * f->together;
    upm::for_each(threads, (cases + grain - 1) / grain, 1,
                  [&](int, int64_t i) { f->run(in, out, cases, i * grain, std::min(cases, (i + 1) * grain)); });
  });
}

UPM_EXPORT int32_t upm_merge_tails(int64_t slots, const double* pnl_a, const uint32_t* scenario_a, int64_t depth_a, const double* pnl_b,
                                   const uint32_t* scenario_b, int64_t depth_b, double* pnl, uint32_t* scenario, int64_t depth, int32_t threads) {
  return guarded([&] {
    require(slots >= 0 && depth_a >= 0 && depth_b >= 0 && depth >= 0 && depth <= depth_a + depth_b && threads >= 1);
    require(pnl != pnl_a || (scenario == scenario_a && depth == depth_a));
    std::vector<std::vector<double>> old_pnl(threads);
    std::vector<std::vector<uint32_t>> old_scenario(threads);
    upm::for_each(threads, slots, 64, [&](int thread, int64_t i) {
      const double* first_pnl = pnl_a + i * depth_a;
      const uint32_t* first_scenario = scenario_a + i * depth_a;
      if (pnl == pnl_a) {
        if (!depth_b || upm::Worse()({first_pnl[depth - 1], first_scenario[depth - 1]}, {pnl_b[i * depth_b], scenario_b[i * depth_b]})) return;
        old_pnl[thread].assign(first_pnl, first_pnl + depth);
        old_scenario[thread].assign(first_scenario, first_scenario + depth);
        first_pnl = old_pnl[thread].data();
        first_scenario = old_scenario[thread].data();
      }
      upm::merge_slot(first_pnl, first_scenario, depth_a, pnl_b + i * depth_b, scenario_b + i * depth_b, depth_b, pnl + i * depth, scenario + i * depth, depth);
    });
  });
}

UPM_EXPORT int32_t upm_sobol_points(int32_t isa, const uint64_t* direction, int64_t bits, int64_t dimensions, int64_t first, int64_t count, double* out, int64_t length) {
  if (!choose(&isa)) return UPM_NO_ISA;
  return guarded([&] {
    require(direction && out && bits >= 1 && bits <= 52 && dimensions >= 1 && first >= 0 && count >= 0 && count <= (int64_t{1} << bits) - first && length == count * dimensions);
    std::vector<uint64_t> word(10 * dimensions + 16);
    const bool past = length * static_cast<int64_t>(sizeof(double)) > upm::PAST_CACHES;
    upm::isas()[isa].functions->points(direction, static_cast<int>(bits), dimensions, first, count, past, word.data(), out);
  });
}

namespace {

// `full`: with its order and block, not only what a sum reads.
void require_kept(const UpmKept* k, bool full) {
  require(k && k->columns >= 0 && k->scenarios >= 1 && k->scenarios < (int64_t{1} << 31) && k->entries >= 0 && (k->unit || !k->columns));
  for (int64_t e = 0; e < k->entries; ++e) require(k->column[e] >= 0 && k->column[e] < k->columns);
  if (full) require(k->order && k->ascending && k->pnl && k->rank && k->worst >= 0 && k->worst <= k->scenarios && k->worst % UPM_KEPT_TILE == 0 && (!k->worst || (k->block && k->partial)) && (k->steepest || !k->columns));
}

void require_changes(const UpmKept& k, const UpmRowChanges* c) {
  require(c && c->items >= 0 && c->first[0] == 0 && c->first[c->items] == c->entries);
  for (int64_t i = 0; i < c->items; ++i) {
    require(c->first[i] <= c->first[i + 1]);
    int32_t last = 0;
    for (int64_t e = c->first[i]; e < c->first[i + 1]; ++e) {
      const bool inserted = c->kind[e] == 1;
      require(c->kind[e] >= 0 && c->kind[e] <= 2 && c->place[e] >= last && c->place[e] < k.entries + inserted && c->column[e] >= 0 && c->column[e] < k.columns);
      last = c->place[e] + !inserted;
    }
  }
}

}  // namespace

UPM_EXPORT int32_t upm_kept_sums(int32_t isa, const UpmKept* kept, const uint32_t* scenario, int64_t length, int32_t threads, double* out) {
  if (!choose(&isa)) return UPM_NO_ISA;
  return guarded([&] {
    require_kept(kept, false);
    require(threads >= 1 && length >= 0 && (scenario || length == kept->scenarios));
    if (scenario)
      for (int64_t i = 0; i < length; ++i) require(scenario[i] < kept->scenarios);
    upm::kept_sums(*upm::isas()[isa].kept, *kept, scenario, length, threads, out);
  });
}

UPM_EXPORT int32_t upm_kept_block(int32_t isa, const UpmKept* kept, int32_t threads) {
  if (!choose(&isa)) return UPM_NO_ISA;
  return guarded([&] {
    require_kept(kept, true);
    require(threads >= 1);
    for (int64_t i = 0; i < kept->scenarios; ++i) require(kept->order[i] < kept->scenarios && kept->rank[i] < kept->scenarios);
    upm::kept_block(*upm::isas()[isa].kept, *kept, threads);
  });
}

UPM_EXPORT int32_t upm_changed_tails(int32_t isa, const UpmKept* kept, const UpmRowChanges* changes, int64_t depth, int32_t threads, double* pnl, uint32_t* scenario, int64_t length) {
  if (!choose(&isa)) return UPM_NO_ISA;
  return guarded([&] {
    require_kept(kept, true);
    require_changes(*kept, changes);
    require(threads >= 1 && depth >= 1 && depth <= kept->scenarios && length == changes->items * depth);
    upm::changed_tails(*upm::isas()[isa].kept, *kept, *changes, depth, threads, pnl, scenario);
  });
}
