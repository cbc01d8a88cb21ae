// The operations of upm_gpu/backend/contract.py on a prepared book; ranges are half-open scenario ids.
#pragma once
#include "prepared.h"

namespace upm {

struct Range {
  int64_t first, last;
  int64_t tiles() const { return (last - first + TILE - 1) / TILE; }
  int64_t start(int64_t tile) const { return first + tile * TILE; }
  int live(int64_t tile) const { return static_cast<int>(last - start(tile) < TILE ? last - start(tile) : TILE); }
};

struct TailOut {
  double* pnl;         // (horizons, rows, depth)
  uint32_t* scenario;  // (horizons, rows, depth)
  double* sums;        // (blocks, horizons, rows, 2)
  int64_t* clipped;    // (states,)
  int64_t* not_finite;
};

void states(const Prepared& p, const UpmScenarios& set, Range range, int threads, double* out);
void unit_pnl(const Prepared& p, const UpmScenarios& set, Range range, int64_t horizon, int threads, void* out);
void row_pnl(const Prepared& p, const UpmScenarios& set, Range range, int64_t horizon, int threads, double* out);
void row_tail(const Prepared& p, const UpmScenarios& set, Range range, int64_t depth, const double* threshold, int threads, TailOut out);
void attribution(const Prepared& p, const UpmScenarios& set, Range range, int64_t horizon, const int64_t* tail_first, const uint32_t* tail_scenario,
                 const double* tail_weight, int threads, double* total);
double cost(const Prepared& p, const UpmScenarios& set);

}  // namespace upm
