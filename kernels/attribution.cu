// Contributions of the entries of rows over the rows' tail scenarios. Twin: upm_gpu/backend/reference (attribution).
//
// The tail scenarios of all rows are listed once, ascending, and priced in waves; unit (C, stride) holds one wave. Tail
// entries of row r in this wave are [from[r], to[r]); place[t] is the entry's column of `unit`.
#include "platform.cuh"

using upm::i32;
using upm::i64;

#define ATTRIBUTION_THREADS 128

// Ascending scenarios in one accumulator, which goes on from wave to wave. A thread an entry of the rows; grid (entry tiles).
template <class Stored>
UPM_INLINE void add_tail(const Stored* unit, i64 stride, i64 entries, const i32* row, const i32* column, const i64* from, const i64* to, const i32* place,
                         const double* weight, double* total) {
  const i64 entry = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (entry >= entries) return;
  const Stored* own = unit + column[entry] * stride;
  const i64 last = to[row[entry]];
  double sum = total[entry];
  for (i64 t = from[row[entry]]; t < last; ++t) sum = sum + weight[t] * (double)own[place[t]];
  total[entry] = sum;
}

UPM_GLOBAL UPM_LAUNCH_BOUNDS(ATTRIBUTION_THREADS, 4) attribute_float(const float* unit, i64 stride, i64 entries, const i32* row, const i32* column, const i64* from,
                                                                      const i64* to, const i32* place, const double* weight, double* total) {
  add_tail(unit, stride, entries, row, column, from, to, place, weight, total);
}

UPM_GLOBAL UPM_LAUNCH_BOUNDS(ATTRIBUTION_THREADS, 4) attribute_double(const double* unit, i64 stride, i64 entries, const i32* row, const i32* column, const i64* from,
                                                                       const i64* to, const i32* place, const double* weight, double* total) {
  add_tail(unit, stride, entries, row, column, from, to, place, weight, total);
}
