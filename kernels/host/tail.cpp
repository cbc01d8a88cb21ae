#include "tail.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace upm {

namespace {

constexpr double INFINITE = std::numeric_limits<double>::infinity();

int64_t count_at_or_below(const double* pnl, int64_t count, double bound) {
  int64_t n = 0;
  for (int64_t i = 0; i < count; ++i) n += pnl[i] <= bound;
  return n;
}

}  // namespace

// A few passes over a vector are cheaper than the mispredicted branches of a selection. Steps alternate between the chord of the counts and the middle.
double bound_of(const double* pnl, int64_t count, int64_t depth, int64_t slack) {
  double low = INFINITE, high = -INFINITE;
  for (int64_t i = 0; i < count; ++i) low = pnl[i] < low ? pnl[i] : low, high = pnl[i] > high ? pnl[i] : high;
  int64_t below_low = 0, below_high = count;
  const double target = static_cast<double>(depth) + 0.5 * static_cast<double>(slack);
  for (int pass = 0; pass < 40; ++pass) {
    const double share = pass % 3 == 2 ? 0.5 : (target - static_cast<double>(below_low)) / static_cast<double>(below_high - below_low);
    const double middle = low + share * (high - low);
    const int64_t n = count_at_or_below(pnl, count, middle);
    if (n >= depth && n <= depth + slack) return middle;
    (n < depth ? low : high) = middle;
    (n < depth ? below_low : below_high) = n;
    if (below_low >= below_high) break;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

// Ascending order: candidates are dealt into as many bins as there are of them by where their P&L lies between the extremes,
// then each bin is sorted. Most bins hold a few; the mispredicted branches of one large sort are avoided.
void sort_candidates(const double* pnl, const uint32_t* scenario, int64_t count, Sorter& s) {
  double low = INFINITE, high = -INFINITE;
  for (int64_t i = 0; i < count; ++i) low = pnl[i] < low ? pnl[i] : low, high = pnl[i] > high ? pnl[i] : high;
  s.sorted.resize(count);
  const double scale = static_cast<double>(count - 1) / (high - low);
  if (!(scale > 0.0 && scale < INFINITE && high - low < INFINITE)) {
    for (int64_t i = 0; i < count; ++i) s.sorted[i] = Candidate{pnl[i], scenario[i]};
    std::sort(s.sorted.begin(), s.sorted.end(), Worse());
    return;
  }
  // the product is monotone in the P&L, so no order is broken between bins
  s.bin.resize(count);
  s.end.assign(count + 1, 0);
  for (int64_t i = 0; i < count; ++i) {
    s.bin[i] = static_cast<int32_t>((pnl[i] - low) * scale);
    ++s.end[s.bin[i] + 1];
  }
  for (int64_t b = 0; b < count; ++b) s.end[b + 1] += s.end[b];
  for (int64_t i = 0; i < count; ++i) s.sorted[s.end[s.bin[i]]++] = Candidate{pnl[i], scenario[i]};
  for (int64_t b = 0, begin = 0; b < count; begin = s.end[b++])
    if (s.end[b] - begin > 1) std::sort(s.sorted.begin() + begin, s.sorted.begin() + s.end[b], Worse());
}

Slots::Slots(int64_t slots, int64_t depth_, int64_t range, const double* start, Spare& spare)
    : depth(depth_),
      capacity(std::min(range, depth_ + depth_ / 2 + 192)),
      slot(slots),
      memory(spare, slots * capacity * static_cast<int64_t>(sizeof(double) + sizeof(uint32_t))),
      pnl(memory.as<double>()),
      scenario(reinterpret_cast<uint32_t*>(pnl + slots * capacity)) {
  for (int64_t i = 0; i < slots; ++i) slot[i] = Slot{start ? start[i] : INFINITE, 0, 0};
}

int64_t Slots::compact(Slot& state, double* mine, uint32_t* ids, int64_t count) {
  double bound = bound_of(mine, count, depth, depth / 8);
  int64_t kept = 0;
  if (bound == bound) {
    for (int64_t i = 0; i < count; ++i) {
      mine[kept] = mine[i], ids[kept] = ids[i];
      kept += mine[i] <= bound;
    }
  } else {
    std::vector<Candidate> all(count);
    for (int64_t i = 0; i < count; ++i) all[i] = Candidate{mine[i], ids[i]};
    std::nth_element(all.begin(), all.begin() + (depth - 1), all.end(), Worse());
    for (; kept < depth; ++kept) mine[kept] = all[kept].pnl, ids[kept] = all[kept].scenario;
    bound = all[depth - 1].pnl;
  }
  __atomic_store(&state.threshold, &bound, __ATOMIC_RELAXED);
  return kept;
}

void Slots::push(int64_t at, const double* values, uint64_t hits, uint32_t first_scenario) {
  Slot& state = slot[at];
  while (__atomic_exchange_n(&state.lock, 1, __ATOMIC_ACQUIRE)) {
  }
  double* mine = pnl + at * capacity;
  uint32_t* ids = scenario + at * capacity;
  int64_t n = state.count;
  // `depth` >= capacity only when the range is that short: then nothing is ever dropped
  if (n + __builtin_popcountll(hits) > capacity && depth < capacity) n = compact(state, mine, ids, n);
  for (; hits && n < capacity; hits &= hits - 1) {
    const int s = __builtin_ctzll(hits);
    mine[n] = values[s], ids[n] = first_scenario + static_cast<uint32_t>(s);
    ++n;
  }
  __atomic_store_n(&state.count, static_cast<int32_t>(n), __ATOMIC_RELAXED);
  __atomic_store_n(&state.lock, 0, __ATOMIC_RELEASE);
}

void Slots::finish(int64_t at, double* out_pnl, uint32_t* out_scenario, Sorter& sorter) {
  double* mine = pnl + at * capacity;
  uint32_t* ids = scenario + at * capacity;
  int64_t n = slot[at].count;
  if (n > depth) n = compact(slot[at], mine, ids, n);
  sort_candidates(mine, ids, n, sorter);
  n = std::min(n, depth);
  for (int64_t i = 0; i < n; ++i) out_pnl[i] = sorter.sorted[i].pnl, out_scenario[i] = sorter.sorted[i].scenario;
  std::fill(out_pnl + n, out_pnl + depth, INFINITE);
  std::fill(out_scenario + n, out_scenario + depth, 0xFFFFFFFFu);
}

void push_hits(Slots* slots, int64_t slot, const double* pnl, uint64_t hits, uint32_t first_scenario) { slots->push(slot, pnl, hits, first_scenario); }

void merge_slot(const double* pnl_a, const uint32_t* scenario_a, int64_t depth_a, const double* pnl_b, const uint32_t* scenario_b, int64_t depth_b, double* pnl,
                uint32_t* scenario, int64_t depth) {
  int64_t a = 0, b = 0;
  for (int64_t i = 0; i < depth; ++i) {
    const bool from_a = b == depth_b || (a < depth_a && Worse()(Candidate{pnl_a[a], scenario_a[a]}, Candidate{pnl_b[b], scenario_b[b]}));
    if (from_a) {
      pnl[i] = pnl_a[a], scenario[i] = scenario_a[a], ++a;
    } else {
      pnl[i] = pnl_b[b], scenario[i] = scenario_b[b], ++b;
    }
  }
}

}  // namespace upm
