// Rows kept on all scenarios, and the worst scenarios of rows that differ from them in a few columns.
// Twin: upm_gpu/backend/reference/kept.py; orchestration: upm_gpu/backend/cuda/kept.py. The worst are then sorted by the kernels of row_tail.cu.
//
// Arrays: unit (C, S), pnl (S) of the kept row by id, changes by item as in upm_gpu/backend/kept.py. Sums are float64, multiply then add, in the order of the row. No floating
// atomics: candidates are a set that integer atomics collect in any order.
#include "platform.cuh"

using upm::i32;
using upm::i64;
using upm::u32;

#define KEPT_THREADS 128
#define NEW_COLUMN 1
#define GONE 2

template <class Stored>
UPM_INLINE void sum_row(const Stored* unit, i64 scenarios, i32 entries, const i32* column, const double* quantity, const u32* listed, i32 has_list, i64 count, double* out) {
  const i64 s = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (s >= count) return;
  const i64 scenario = has_list ? (i64)listed[s] : s;
  double sum = 0.0;
  for (i32 e = 0; e < entries; ++e) sum = sum + quantity[e] * (double)unit[column[e] * scenarios + scenario];
  out[s] = sum;
}

// P&L of a row on `count` scenarios, or on those listed. A thread a scenario.
UPM_GLOBAL UPM_LAUNCH_BOUNDS(KEPT_THREADS, 4) kept_sums_float(const float* unit, i64 scenarios, i32 entries, const i32* column, const double* quantity, const u32* listed,
                                                               i32 has_list, i64 count, double* out) {
  sum_row(unit, scenarios, entries, column, quantity, listed, has_list, count, out);
}

UPM_GLOBAL UPM_LAUNCH_BOUNDS(KEPT_THREADS, 4) kept_sums_double(const double* unit, i64 scenarios, i32 entries, const i32* column, const double* quantity, const u32* listed,
                                                                i32 has_list, i64 count, double* out) {
  sum_row(unit, scenarios, entries, column, quantity, listed, has_list, count, out);
}

template <class Stored>
UPM_INLINE double approximation(const Stored* unit, i64 scenarios, const double* pnl, i64 from, i64 to, const i32* column, const double* difference, i64 scenario) {
  double guess = pnl[scenario];
  for (i64 e = from; e < to; ++e) guess = guess + difference[e] * (double)unit[column[e] * scenarios + scenario];
  return guess;
}

template <class Stored>
UPM_INLINE void guess_worst(const Stored* unit, i64 scenarios, const double* pnl, const u32* order, i32 count, const i64* first, const i32* column, const double* difference, double* out) {
  const i32 place = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  const i64 item = blockIdx.y;
  if (place < count) out[item * count + place] = approximation(unit, scenarios, pnl, first[item], first[item + 1], column, difference, (i64)order[place]);
}

// Approximation of every item on the `count` scenarios where the kept row is worst, out (M, count). Grid (place tiles, items).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(KEPT_THREADS, 4) changed_guess_float(const float* unit, i64 scenarios, const double* pnl, const u32* order, i32 count, const i64* first, const i32* column,
                                                                   const double* difference, double* out) {
  guess_worst(unit, scenarios, pnl, order, count, first, column, difference, out);
}

UPM_GLOBAL UPM_LAUNCH_BOUNDS(KEPT_THREADS, 4) changed_guess_double(const double* unit, i64 scenarios, const double* pnl, const u32* order, i32 count, const i64* first, const i32* column,
                                                                    const double* difference, double* out) {
  guess_worst(unit, scenarios, pnl, order, count, first, column, difference, out);
}

template <class Stored>
UPM_INLINE void keep_at_or_below(const Stored* unit, i64 scenarios, const double* pnl, const i64* first, const i32* column, const double* difference, const double* bound, i32 capacity,
                                 i32* count, u32* kept) {
  const i64 scenario = (i64)blockIdx.x * blockDim.x + threadIdx.x, item = blockIdx.y;
  if (scenario >= scenarios) return;
  if (approximation(unit, scenarios, pnl, first[item], first[item + 1], column, difference, scenario) <= bound[item]) {
    const i32 slot = atomicAdd(&count[item], 1);
    if (slot < capacity) kept[item * capacity + slot] = (u32)scenario;
  }
}

// Scenarios whose approximation is at or below the bound of the item; `count` goes on counting past `capacity`, and the caller begins again with more. Grid (scenario tiles, items).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(KEPT_THREADS, 4) changed_keep_float(const float* unit, i64 scenarios, const double* pnl, const i64* first, const i32* column, const double* difference,
                                                                  const double* bound, i32 capacity, i32* count, u32* kept) {
  keep_at_or_below(unit, scenarios, pnl, first, column, difference, bound, capacity, count, kept);
}

UPM_GLOBAL UPM_LAUNCH_BOUNDS(KEPT_THREADS, 4) changed_keep_double(const double* unit, i64 scenarios, const double* pnl, const i64* first, const i32* column, const double* difference,
                                                                   const double* bound, i32 capacity, i32* count, u32* kept) {
  keep_at_or_below(unit, scenarios, pnl, first, column, difference, bound, capacity, count, kept);
}

template <class Stored>
UPM_INLINE void sum_changed(const Stored* unit, i64 scenarios, i32 entries, const i32* column, const double* quantity, const i64* first, const i32* place, const i32* kind,
                            const i32* new_column, const double* new_quantity, i32 capacity, const i32* count, const u32* kept, double* out) {
  const i32 slot = (i32)(blockIdx.x * blockDim.x + threadIdx.x);
  const i64 item = blockIdx.y;
  if (slot >= count[item]) return;
  const i64 scenario = (i64)kept[item * capacity + slot], end = first[item + 1];
  i64 change = first[item];
  double sum = 0.0;
  for (i32 e = 0; e <= entries; ++e) {
    bool own = e < entries;
    for (; change < end && place[change] == e; ++change) {
      if (kind[change] != NEW_COLUMN) own = false;
      if (kind[change] != GONE) sum = sum + new_quantity[change] * (double)unit[new_column[change] * scenarios + scenario];
    }
    if (own) sum = sum + quantity[e] * (double)unit[column[e] * scenarios + scenario];
  }
  out[item * capacity + slot] = sum;
}

// P&L of every changed row on its candidates, out (M, capacity). Grid (candidate tiles, items).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(KEPT_THREADS, 4) changed_sums_float(const float* unit, i64 scenarios, i32 entries, const i32* column, const double* quantity, const i64* first, const i32* place,
                                                                  const i32* kind, const i32* new_column, const double* new_quantity, i32 capacity, const i32* count, const u32* kept,
                                                                  double* out) {
  sum_changed(unit, scenarios, entries, column, quantity, first, place, kind, new_column, new_quantity, capacity, count, kept, out);
}

UPM_GLOBAL UPM_LAUNCH_BOUNDS(KEPT_THREADS, 4) changed_sums_double(const double* unit, i64 scenarios, i32 entries, const i32* column, const double* quantity, const i64* first, const i32* place,
                                                                   const i32* kind, const i32* new_column, const double* new_quantity, i32 capacity, const i32* count, const u32* kept,
                                                                   double* out) {
  sum_changed(unit, scenarios, entries, column, quantity, first, place, kind, new_column, new_quantity, capacity, count, kept, out);
}
