#include "tail.h"

#include <algorithm>
#include <limits>

namespace upm {

Slots::Slots(int64_t slots, int64_t depth_, int64_t range, const double* start)
    : depth(depth_),
      capacity(std::min(range, depth_ + std::max<int64_t>(depth_, 64))),
      threshold(slots, std::numeric_limits<double>::infinity()),
      count(slots, 0),
      lock(slots, 0),
      kept(new Candidate[slots * capacity]) {
  if (start) std::copy(start, start + slots, threshold.begin());
}

void Slots::push(int64_t slot, const double* pnl, uint64_t hits, uint32_t first_scenario) {
  unsigned char* gate = &lock[slot];
  while (__atomic_exchange_n(gate, 1, __ATOMIC_ACQUIRE)) {
  }
  Candidate* mine = kept.get() + slot * capacity;
  int64_t n = count[slot];
  while (hits) {
    if (n == capacity) {
      if (capacity <= depth) break;  // a slot offered more than the range it was made for
      std::nth_element(mine, mine + depth - 1, mine + n, worse);
      n = depth;
      __atomic_store(&threshold[slot], &mine[depth - 1].pnl, __ATOMIC_RELAXED);
    }
    const int s = __builtin_ctzll(hits);
    hits &= hits - 1;
    mine[n++] = Candidate{pnl[s], first_scenario + (uint32_t)s};
  }
  count[slot] = (int32_t)n;
  __atomic_store_n(gate, 0, __ATOMIC_RELEASE);
}

void Slots::finish(int64_t slot, double* pnl, uint32_t* scenario) {
  Candidate* mine = kept.get() + slot * capacity;
  int64_t n = count[slot];
  if (n > depth) {
    std::nth_element(mine, mine + depth - 1, mine + n, worse);
    n = depth;
  }
  std::sort(mine, mine + n, worse);
  for (int64_t i = 0; i < n; ++i) pnl[i] = mine[i].pnl, scenario[i] = mine[i].scenario;
  std::fill(pnl + n, pnl + depth, std::numeric_limits<double>::infinity());
  std::fill(scenario + n, scenario + depth, 0xFFFFFFFFu);
}

void push_hits(Slots* slots, int64_t slot, const double* pnl, uint64_t hits, uint32_t first_scenario) { slots->push(slot, pnl, hits, first_scenario); }

void merge_slot(const double* pnl_a, const uint32_t* scenario_a, int64_t depth_a, const double* pnl_b, const uint32_t* scenario_b, int64_t depth_b, double* pnl,
                uint32_t* scenario, int64_t depth) {
  int64_t a = 0, b = 0;
  for (int64_t i = 0; i < depth; ++i) {
    const bool from_a = b == depth_b || (a < depth_a && worse(Candidate{pnl_a[a], scenario_a[a]}, Candidate{pnl_b[b], scenario_b[b]}));
    if (from_a) {
      pnl[i] = pnl_a[a], scenario[i] = scenario_a[a], ++a;
    } else {
      pnl[i] = pnl_b[b], scenario[i] = scenario_b[b], ++b;
    }
  }
}

}  // namespace upm
