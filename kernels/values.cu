// Prices and Greeks, a thread a case: every operation of operations.def that has a launch.
#include "platform.cuh"
#include "values.cuh"

using upm::i64;

#define VALUES_THREADS 64

// in (inputs, cases), out (outputs, cases) of the operation. Grid (case tiles).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(VALUES_THREADS, 1) value_cases(i64 operation, const double* in, i64 cases, double* out) {
  const i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= cases) return;
  switch (operation) {
#define UPM_OPERATION(number, prefix) \
  case number: return upm::prefix##_values(in + i, cases, out + i, cases);
#define UPM_HOST_OPERATION(number, prefix, together)
#include "operations.def"
#undef UPM_HOST_OPERATION
#undef UPM_OPERATION
  }
}
