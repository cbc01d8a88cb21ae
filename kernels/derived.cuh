// Scalar pieces of the operations on drawn states (derived.def). Twin: upm_gpu/formula/derived.py. Scalars in, scalars out; no indexing.
#ifndef UPM_DERIVED_CUH
#define UPM_DERIVED_CUH

#include "elementary.cuh"
#include "platform.cuh"
#include "surface_shift.cuh"

namespace upm {

// One more term of a linear combination.
UPM_INLINE double combined(double total, double weight, double x) { return total + weight * x; }

}  // namespace upm

#endif
