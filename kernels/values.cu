// European prices and Greeks, a thread a case. Formula: european.cuh; twin: european_values in upm_gpu/formula/black.py.
#include "european.cuh"
#include "platform.cuh"

using upm::i64;

#define VALUES_THREADS 64

// in (EUROPEAN_INPUTS, cases), out (EUROPEAN_OUTPUTS, cases). Grid (case tiles).
UPM_GLOBAL UPM_LAUNCH_BOUNDS(VALUES_THREADS, 1) value_europeans(const double* in, i64 cases, double* out) {
  const i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < cases) upm::european_values(in + i, cases, out + i, cases);
}
