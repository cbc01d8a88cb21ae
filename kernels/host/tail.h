// Streaming worst-k: for every slot (row at a horizon) the `depth` smallest (pnl, scenario) of all that were pushed.
#pragma once
#include <cstdint>
#include <vector>

#include "aligned.h"
#include "engine.h"

namespace upm {

// Order of the tail: by P&L, ties by scenario id. Total on finite numbers, so the kept set depends on no order of pushing.
struct Candidate {
  double pnl;
  uint32_t scenario;
};
struct Worse {
  bool operator()(const Candidate& a, const Candidate& b) const { return a.pnl < b.pnl || (a.pnl == b.pnl && a.scenario < b.scenario); }
};

// Scratch of one thread's sorts.
struct Sorter {
  std::vector<Candidate> sorted;
  std::vector<int32_t> bin, end;
};

// A slot holds up to `capacity` candidates at or below its threshold. When it is full, a lower threshold is found that still
// has `depth` candidates at or below it, and what lies above is dropped: it could not be among the worst `depth`. A thread may
// read an old, higher threshold: it then pushes candidates that a later compaction drops.
struct Slots {
  Slots(int64_t slots, int64_t depth, int64_t range, const double* start, Spare& spare);

  int64_t depth, capacity;
  std::vector<Slot> slot;  // (slots,)
  Borrowed memory;
  double* pnl;         // (slots, capacity)
  uint32_t* scenario;  // (slots, capacity)

  void push(int64_t slot, const double* pnl, uint64_t hits, uint32_t first_scenario);
  // Ascending, padded with +inf and 0xFFFFFFFF; out (depth,). One thread a slot.
  void finish(int64_t slot, double* pnl, uint32_t* scenario, Sorter& sorter);

 private:
  int64_t compact(Slot& state, double* pnl, uint32_t* scenario, int64_t count);
};

// A bound with `depth` to `depth + slack` of the values at or below it; NaN when there is no such bound (ties, infinities) within the passes.
double bound_of(const double* pnl, int64_t count, int64_t depth, int64_t slack);
// The candidates in ascending order, into `sorter.sorted`.
void sort_candidates(const double* pnl, const uint32_t* scenario, int64_t count, Sorter& sorter);

void push_hits(Slots* slots, int64_t slot, const double* pnl, uint64_t hits, uint32_t first_scenario);

void merge_slot(const double* pnl_a, const uint32_t* scenario_a, int64_t depth_a, const double* pnl_b, const uint32_t* scenario_b, int64_t depth_b, double* pnl,
                uint32_t* scenario, int64_t depth);

}  // namespace upm
