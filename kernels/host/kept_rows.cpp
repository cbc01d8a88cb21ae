#include "kept_rows.h"

#include <algorithm>

#include "tail.h"
#include "threads.h"

namespace upm {

namespace {

constexpr int64_t K = UPM_KEPT_TILE;
constexpr int64_t TOGETHER = 128; // items that share the products of a tile
constexpr int64_t NEAR = 4096;    // places of the order that are looked at by gathering: beyond, all scenarios are streamed past
constexpr double SURE = 1.0 - 1e-9;  // of a bound that rounding cannot take back
constexpr int64_t SLICE = 1024;   // scenarios whose sums stay in the first cache

// What one item has found so far: places of the order that may be among the worst, ascending, and their sums.
struct Found {
  std::vector<int32_t> place;
  std::vector<double> sum;
  size_t next;
};

struct KeptScratch {
  Aligned<double> guess, unit;
  Gathered near;
  std::vector<double> some;
  std::vector<uint32_t> id, scenario;
  std::vector<uint64_t> bits;
  std::vector<Found> found;
  std::vector<Running> running;
  std::vector<int64_t> of;
  Sorter sorter;
};

// A number with at least `depth` of the values at or below it, and few more.
double bound_above(const double* values, int64_t count, int64_t depth, std::vector<double>& scratch) {
  const double bound = bound_of(values, count, depth, depth / 16 + 1);
  if (bound == bound) return bound;
  scratch.assign(values, values + count);
  std::nth_element(scratch.begin(), scratch.begin() + (depth - 1), scratch.end());
  return scratch[depth - 1];
}

// Whether a scenario beyond the worst ones may come to `bound` or below it. With T the P&L half-way into the worst ones, s beyond them and a = sum over entries of |difference| x largest
// (-sign(difference) u / (P&L - T)), P&L(s) + sum of difference x u(s) >= T + (1 - a) (P&L(s) - T): above T where a < 1. The largest is of a column, whatever is asked: found once for the row.
bool enters(const KeptFunctions& f, const UpmKept& kept, const UpmRowChanges& changes, int64_t item, double bound) {
  if (kept.worst == kept.scenarios) return false;
  if (!kept.worst) return true;
  const double target = kept.ascending[kept.worst / 2];
  if (!(bound < target) || !(target < kept.ascending[kept.worst])) return true;
  double total = 0.0;
  for (int64_t e = changes.first[item]; e < changes.first[item + 1]; ++e) {
    const double difference = changes.difference[e];
    double slope[2], *known = kept.steepest + 2 * changes.column[e];
    for (int i = 0; i < 2; ++i) __atomic_load(&known[i], &slope[i], __ATOMIC_RELAXED);
    if (!(slope[0] == slope[0] && slope[1] == slope[1])) {
      f.steepest(&kept, changes.column[e], target, slope);
      for (int i = 0; i < 2; ++i) __atomic_store(&known[i], &slope[i], __ATOMIC_RELAXED);
    }
    total += difference > 0.0 ? difference * slope[0] : -difference * slope[1];
  }
  return !(total < SURE);
}

// Places that may hold one of the worst `depth`, ascending; see the bounds in upm_gpu/desk/cube.py.
void select(const KeptFunctions& f, const UpmKept& kept, const UpmRowChanges& changes, int64_t item, int64_t depth, KeptScratch& own, Found& found) {
  const double guard = changes.guard[item];
  const int64_t some = std::min(depth + depth / 4 + 16, kept.scenarios);
  double* guess = own.guess.get();
  f.guess(&kept, &changes, item, 0, some, &own.near, guess);
  double bound = bound_above(guess, some, depth, own.some) + guard;
  int64_t reach = std::max<int64_t>(some, std::upper_bound(kept.ascending, kept.ascending + kept.scenarios, bound + guard - changes.least[item]) - kept.ascending);
  bool far = reach > std::max(some, NEAR);
  if (far && !enters(f, kept, changes, item, bound + guard)) far = false, reach = std::max(some, kept.worst);
  int64_t count = 0;
  own.id.resize(std::max<size_t>(own.id.size(), far ? kept.scenarios : reach));
  if (far) {
    count = f.scan(&kept, &changes, item, bound, own.id.data(), guess);
  } else {
    if (reach > some) f.guess(&kept, &changes, item, some, reach, &own.near, guess + some);
    for (int64_t i = 0; i < reach; ++i) {
      const double value = guess[i];
      own.id[count] = static_cast<uint32_t>(i), guess[count] = value;
      count += value <= bound;
    }
  }
  if (count > depth + depth / 8 + 16) {
    bound = std::min(bound, bound_above(guess, count, depth, own.some) + guard);
    int64_t left = 0;
    for (int64_t i = 0; i < count; ++i) {
      own.id[left] = own.id[i];
      left += guess[i] <= bound;
    }
    count = left;
  }
  found.place.resize(count);
  found.sum.resize(count);
  found.next = 0;
  if (!far) {
    std::copy_n(own.id.begin(), count, found.place.begin());
    return;
  }
  // places in ascending order, by a bit each: sorting them would cost more than finding them
  own.bits.assign((kept.scenarios + 63) / 64, 0);
  for (int64_t i = 0; i < count; ++i) own.bits[kept.rank[own.id[i]] / 64] |= uint64_t{1} << kept.rank[own.id[i]] % 64;
  int64_t n = 0;
  for (size_t word = 0; word < own.bits.size(); ++word)
    for (uint64_t bits = own.bits[word]; bits; bits &= bits - 1) found.place[n++] = static_cast<int32_t>(64 * word + __builtin_ctzll(bits));
}

void sum_tiles(const KeptFunctions& f, const UpmKept& kept, const UpmRowChanges& changes, int64_t first, int64_t items, KeptScratch& own) {
  for (int64_t tile = 0; tile < kept.worst / K; ++tile) {
    int64_t rows = 0;
    for (int64_t i = 0; i < items; ++i) {
      const Found& found = own.found[i];
      if (found.next < found.place.size() && found.place[found.next] < (tile + 1) * K) own.of[rows] = i, own.running[rows++].item = first + i;
    }
    if (!rows) continue;
    f.tile(&kept, &changes, tile, own.running.data(), rows);
    for (int64_t r = 0; r < rows; ++r) {
      Found& found = own.found[own.of[r]];
      if (found.place.size() - found.next >= K && found.place[found.next] == tile * K && found.place[found.next + K - 1] == tile * K + K - 1) {
        std::copy_n(own.running[r].sum, K, &found.sum[found.next]);
        found.next += K;
        continue;
      }
      const double* sum = own.running[r].sum - tile * K;
      for (; found.next < found.place.size() && found.place[found.next] < (tile + 1) * K; ++found.next) found.sum[found.next] = sum[found.place[found.next]];
    }
  }
  for (int64_t i = 0; i < items; ++i) {
    Found& found = own.found[i];
    for (; found.next < found.place.size();) {
      const int64_t count = std::min<int64_t>(K, static_cast<int64_t>(found.place.size() - found.next));
      f.places(&kept, &changes, first + i, &found.place[found.next], count, &found.sum[found.next]);
      found.next += count;
    }
  }
}

}  // namespace

void kept_sums(const KeptFunctions& f, const UpmKept& kept, const uint32_t* scenario, int64_t length, int threads, double* out) {
  for_each(threads, (length + SLICE - 1) / SLICE, 1, [&](int, int64_t i) {
    const int64_t first = i * SLICE, count = std::min(SLICE, length - first);
    f.sums(&kept, scenario ? scenario + first : nullptr, first, count, out + first);
  });
}

void kept_block(const KeptFunctions& f, const UpmKept& kept, int threads) {
  for_each(threads, kept.worst / K, 1, [&](int, int64_t tile) { f.block(&kept, tile); });
}

void changed_tails(const KeptFunctions& f, const UpmKept& kept, const UpmRowChanges& changes, int64_t depth, int threads, double* pnl, uint32_t* scenario) {
  const int64_t parts = std::max<int64_t>((changes.items + TOGETHER - 1) / TOGETHER, std::min<int64_t>(threads, changes.items));
  const int64_t size = parts ? (changes.items + parts - 1) / parts : 1;
  std::vector<KeptScratch> scratch(threads);
  for_each(static_cast<int>(std::min<int64_t>(threads, std::max<int64_t>(parts, 1))), parts, 1, [&](int thread, int64_t part) {
    KeptScratch& own = scratch[thread];
    if (!own.guess) own.guess = aligned<double>(kept.scenarios), own.unit = aligned<double>(kept.scenarios), own.near = Gathered{-1, 0, own.unit.get()}, own.found.resize(size), own.running.resize(size), own.of.resize(size);
    const int64_t first = part * size, items = std::min(size, changes.items - first);
    for (int64_t i = 0; i < items; ++i) select(f, kept, changes, first + i, depth, own, own.found[i]);
    sum_tiles(f, kept, changes, first, items, own);
    for (int64_t i = 0; i < items; ++i) {
      const Found& found = own.found[i];
      const int64_t count = static_cast<int64_t>(found.place.size());
      own.scenario.resize(count);
      for (int64_t n = 0; n < count; ++n) own.scenario[n] = kept.order[found.place[n]];
      sort_candidates(found.sum.data(), own.scenario.data(), count, own.sorter);
      for (int64_t n = 0; n < depth; ++n) pnl[(first + i) * depth + n] = own.sorter.sorted[n].pnl, scenario[(first + i) * depth + n] = own.sorter.sorted[n].scenario;
    }
  });
}

}  // namespace upm
