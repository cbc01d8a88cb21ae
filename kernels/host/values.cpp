// Operations on single cases (operations.def). Compiled once per instruction set with UPM_ISA (the namespace), like tile.cpp and under its rule:
// nothing from the standard library.
#include "american.cuh"
#include "arithmetic_asian.cuh"
#include "cash_dividends.cuh"
#include "engine.h"
#include "values.cuh"

namespace UPM_ISA {
namespace {

using namespace upm;

#define UPM_OPERATION(number, prefix)                                                                        \
  void run_##prefix(const double* in, double* out, int64_t cases, int64_t begin, int64_t end) {              \
    for (int64_t i = begin; i < end; ++i) prefix##_values(in + i, cases, out + i, cases);                    \
  }
#define UPM_HOST_OPERATION(number, prefix, together) \
  void run_##prefix(const double* in, double* out, int64_t cases, int64_t begin, int64_t end) { prefix##_range(in, out, cases, begin, end); }
#include "operations.def"
#undef UPM_HOST_OPERATION
#undef UPM_OPERATION

const Operation table[] = {
#define UPM_HOST_OPERATION(number, prefix, together) {number, prefix##_shape::inputs, prefix##_shape::outputs, prefix##_shape::repeated, prefix##_shape::count, together, run_##prefix},
#define UPM_OPERATION(number, prefix) UPM_HOST_OPERATION(number, prefix, 1)
#include "operations.def"
#undef UPM_OPERATION
#undef UPM_HOST_OPERATION
};

}  // namespace

extern const upm::Operations operations;
const upm::Operations operations = {table, sizeof table / sizeof table[0]};

}  // namespace UPM_ISA
