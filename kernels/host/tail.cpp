#include "tail.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace upm {

namespace {

constexpr int64_t SMALL = 16;  // candidates of a bin that are left to the insertion at the end
constexpr double INFINITE = std::numeric_limits<double>::infinity();

// Least and largest, several at a time: one chain of comparisons would wait for itself.
void extremes(const double* x, int64_t count, double* least, double* largest) {
  constexpr int AT_ONCE = 8;
  double low[AT_ONCE], high[AT_ONCE];
  for (int i = 0; i < AT_ONCE; ++i) low[i] = INFINITE, high[i] = -INFINITE;
  int64_t n = 0;
  for (; n + AT_ONCE <= count; n += AT_ONCE)
    for (int i = 0; i < AT_ONCE; ++i) low[i] = x[n + i] < low[i] ? x[n + i] : low[i], high[i] = x[n + i] > high[i] ? x[n + i] : high[i];
  for (; n < count; ++n) low[0] = x[n] < low[0] ? x[n] : low[0], high[0] = x[n] > high[0] ? x[n] : high[0];
  *least = low[0], *largest = high[0];
  for (int i = 1; i < AT_ONCE; ++i) *least = std::min(*least, low[i]), *largest = std::max(*largest, high[i]);
}

int64_t count_at_or_below(const double* pnl, int64_t count, double bound) {
  int64_t n = 0;
  for (int64_t i = 0; i < count; ++i) n += pnl[i] <= bound;
  return n;
}

}  // namespace

// A few passes over a vector are cheaper than the mispredicted branches of a selection. Steps alternate between the chord of the counts and the middle.
double bound_of(const double* pnl, int64_t count, int64_t depth, int64_t slack) {
  double low, high;
  extremes(pnl, count, &low, &high);
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

// Ascending order: candidates are dealt into as many bins as there are of them, then what is out of place is inserted: the mispredicted branches of one large sort are avoided. A tail grows denser towards its
// end, so the bin is the eighth power of where the P&L lies between the extremes: most bins then hold one or two.
void sort_candidates(const double* pnl, const uint32_t* scenario, int64_t count, Sorter& s) {
  double low, high;
  extremes(pnl, count, &low, &high);
  s.sorted.resize(count);
  const double scale = 1.0 / (high - low), bins = static_cast<double>(count - 1);
  if (!(scale > 0.0 && scale < INFINITE && high - low < INFINITE)) {
    for (int64_t i = 0; i < count; ++i) s.sorted[i] = Candidate{pnl[i], scenario[i]};
    std::sort(s.sorted.begin(), s.sorted.end(), Worse());
    return;
  }
  // every step is monotone in the P&L, rounded or not, so no order is broken between bins
  s.bin.resize(count);
  s.end.assign(count + 1, 0);
  for (int64_t i = 0; i < count; ++i) {
    const double at = std::min((pnl[i] - low) * scale, 1.0), second = at * at, fourth = second * second;
    s.bin[i] = static_cast<int32_t>(fourth * fourth * bins);
  }
  for (int64_t i = 0; i < count; ++i) ++s.end[s.bin[i] + 1];
  int32_t most = 0;
  for (int64_t b = 0; b < count; ++b) most = std::max(most, s.end[b + 1]), s.end[b + 1] += s.end[b];
  for (int64_t i = 0; i < count; ++i) s.sorted[s.end[s.bin[i]]++] = Candidate{pnl[i], scenario[i]};
  if (most > SMALL)
    for (int64_t b = 0, begin = 0; b < count; begin = s.end[b++])
      if (s.end[b] - begin > SMALL) std::sort(s.sorted.begin() + begin, s.sorted.begin() + s.end[b], Worse());
  const Worse worse;
  Candidate* all = s.sorted.data();
  for (int64_t i = 1; i < count; ++i) {
    const Candidate own = all[i];
    int64_t at = i;
    for (; at > 0 && worse(own, all[at - 1]); --at) all[at] = all[at - 1];
    all[at] = own;
  }
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
