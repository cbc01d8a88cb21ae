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

// Where a coordinate falls: the first of its four nodes, and their Lagrange weights.
struct CubicPlace {
  i32 start;
  double weight[4];
};

UPM_INLINE CubicPlace cubic_place(double x, double low, double inverse_step, i32 nodes) {
  const double p = at_most(at_least((x - low) * inverse_step, 0.0), (double)(nodes - 1));
  CubicPlace r;
  const i32 whole = (i32)p - 1;
  r.start = whole < 0 ? 0 : whole > nodes - 4 ? nodes - 4 : whole;
  const double u = p - (double)r.start, a = u - 1.0, b = u - 2.0, c = u - 3.0;
  r.weight[0] = -(a * b) * c / 6.0;
  r.weight[1] = (u * b) * c * 0.5;
  r.weight[2] = -(u * a) * c * 0.5;
  r.weight[3] = (u * a) * b / 6.0;
  return r;
}

// Beyond the ends the end's value is used: a table is made to cover every scenario, see upm_gpu/pricing/tables.py.
UPM_INLINE double table_value(const ValueTable& t, double first, double second) {
  const CubicPlace x = cubic_place(first, t.low[0], t.inverse_step[0], (i32)t.nodes[0]), y = cubic_place(second, t.low[1], t.inverse_step[1], (i32)t.nodes[1]);
  const double* row = t.value + (i64)x.start * t.nodes[1] + y.start;
  double total = 0.0;
  for (int i = 0; i < 4; ++i) {
    const double* v = row + i * t.nodes[1];
    total += x.weight[i] * (((y.weight[0] * v[0] + y.weight[1] * v[1]) + y.weight[2] * v[2]) + y.weight[3] * v[3]);
  }
  return total;
}

}  // namespace upm

#endif
