// Values on a lattice of two coordinates, read by the cubic through four nodes a side. Twin: upm_gpu/formula/value_table.py.
#ifndef UPM_VALUE_TABLE_CUH
#define UPM_VALUE_TABLE_CUH

#include "elementary.cuh"
#include "platform.cuh"

namespace upm {

// One table of Program.tables: node (i, j) lies at low + (i, j) / inverse_step, at least four nodes a side.
struct ValueTable {
  double low[2], inverse_step[2];
  i64 nodes[2];
  const double* value;  // (nodes[0], nodes[1])
};

// First of the four nodes around a clamped position on an axis.
UPM_INLINE i32 cubic_start(double position, i32 nodes) {
  const i32 whole = (i32)position - 1;
  return whole < 0 ? 0 : whole > nodes - 4 ? nodes - 4 : whole;
}

// Cubic through four neighbours of a row, `u` steps from the first (Lagrange).
UPM_INLINE double cubic(double u, double v0, double v1, double v2, double v3) {
  const double a = u - 1.0, b = u - 2.0, c = u - 3.0;
  const double w0 = -(a * b) * c / 6.0, w1 = (u * b) * c * 0.5, w2 = -(u * a) * c * 0.5, w3 = (u * a) * b / 6.0;
  return ((w0 * v0 + w1 * v1) + w2 * v2) + w3 * v3;
}

// Beyond the ends the end's value is used: a table is made to cover every scenario, see upm_gpu/pricing/tables.py. No loops: the caller's is vectorised.
UPM_INLINE double table_value(const double* value, double low0, double inverse0, i32 nodes0, double low1, double inverse1, i32 nodes1, double first, double second) {
  const double p = at_most(at_least((first - low0) * inverse0, 0.0), (double)(nodes0 - 1)), q = at_most(at_least((second - low1) * inverse1, 0.0), (double)(nodes1 - 1));
  const i32 i = cubic_start(p, nodes0), j = cubic_start(q, nodes1);
  const double u = p - (double)i, w = q - (double)j;
  const i32 a = i * nodes1 + j, b = a + nodes1, c = b + nodes1, d = c + nodes1;
  return cubic(u, cubic(w, value[a], value[a + 1], value[a + 2], value[a + 3]), cubic(w, value[b], value[b + 1], value[b + 2], value[b + 3]),
               cubic(w, value[c], value[c + 1], value[c + 2], value[c + 3]), cubic(w, value[d], value[d + 1], value[d + 2], value[d + 3]));
}

}  // namespace upm

#endif
