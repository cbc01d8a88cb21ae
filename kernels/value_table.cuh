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

// Weights of four neighbours for the cubic through them, `u` steps from the first (Lagrange).
struct CubicWeights {
  double w0, w1, w2, w3;
};

UPM_INLINE CubicWeights cubic_weights(double u) {
  const double a = u - 1.0, b = u - 2.0, c = u - 3.0, bc = b * c, ua = u * a, sixth = 1.0 / 6.0;
  return CubicWeights{-sixth * (a * bc), 0.5 * (u * bc), -0.5 * (ua * c), sixth * (ua * b)};
}

UPM_INLINE double weighted(const CubicWeights& w, double v0, double v1, double v2, double v3) { return ((w.w0 * v0 + w.w1 * v1) + w.w2 * v2) + w.w3 * v3; }

// Where a point lies: the first of its 4 x 4 nodes, and steps from it on both axes.
struct LatticePlace {
  i32 at;
  double first, second;
};

// Beyond the ends the end's value is used: a table is made to cover every scenario, see upm_gpu/pricing/tables.py.
UPM_INLINE LatticePlace lattice_place(double low0, double inverse0, i32 nodes0, double low1, double inverse1, i32 nodes1, double first, double second) {
  const double p = at_most(at_least((first - low0) * inverse0, 0.0), (double)(nodes0 - 1)), q = at_most(at_least((second - low1) * inverse1, 0.0), (double)(nodes1 - 1));
  const i32 i = cubic_start(p, nodes0), j = cubic_start(q, nodes1);
  return LatticePlace{i * nodes1 + j, p - (double)i, q - (double)j};
}

// Along the first axis in each of four columns, then across them: four neighbours of a row are one load of host/value_tables.inc, which does the same.
UPM_INLINE double table_value(const double* value, double low0, double inverse0, i32 nodes0, double low1, double inverse1, i32 nodes1, double first, double second) {
  const LatticePlace place = lattice_place(low0, inverse0, nodes0, low1, inverse1, nodes1, first, second);
  const CubicWeights u = cubic_weights(place.first), w = cubic_weights(place.second);
  const i32 a = place.at, b = a + nodes1, c = b + nodes1, d = c + nodes1;
  return weighted(w, weighted(u, value[a], value[b], value[c], value[d]), weighted(u, value[a + 1], value[b + 1], value[c + 1], value[d + 1]),
                  weighted(u, value[a + 2], value[b + 2], value[c + 2], value[d + 2]), weighted(u, value[a + 3], value[b + 3], value[c + 3], value[d + 3]));
}

}  // namespace upm

#endif
