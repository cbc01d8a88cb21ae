// A smooth function of one variable as polynomials of degree 7 on equal cells. Twin: upm_gpu/scenario/sets.py SmoothTable.
#ifndef UPM_TABLE_CUH
#define UPM_TABLE_CUH

#include "elementary.cuh"

namespace upm {

struct TablePlace {
  double u;  // distance from the middle of the cell, in cells
  i32 cell;
};

UPM_INLINE TablePlace table_place(double t, double low, double inverse_width, i32 cells) {
  double p = (t - low) * inverse_width;
  double inside = p > 0.0 ? p : 0.0;  // a NaN reads cell 0 and comes out through u
  double cell = floor(at_most(inside, (double)(cells - 1)));
  TablePlace out = {(p - cell) - 0.5, to_int(cell)};
  return out;
}

// coefficients: (cells, 8), row c of the cell, ascending powers. Multiply then add, not fused: NumPy has the same bits.
UPM_INLINE double smooth_table(double t, double low, double inverse_width, i32 cells, const double* coefficients) {
  const TablePlace place = table_place(t, low, inverse_width, cells);
  const double u = place.u;
  i64 a = 8 * (i64)place.cell;
  double value = coefficients[a + 7];
  value = value * u + coefficients[a + 6];
  value = value * u + coefficients[a + 5];
  value = value * u + coefficients[a + 4];
  value = value * u + coefficients[a + 3];
  value = value * u + coefficients[a + 2];
  value = value * u + coefficients[a + 1];
  return value * u + coefficients[a];
}

// The value of an odd function of y from that of |y|; 0 and NaN come through.
UPM_INLINE double with_sign_of_score(double magnitude, double y) { return y < 0.0 ? -magnitude : (y > 0.0 ? magnitude : 0.0 * y); }

// sign(y) table(asinh |y|): a marginal law as a function of a normal score.
UPM_INLINE double odd_smooth_table(double y, double low, double inverse_width, i32 cells, const double* coefficients) {
  return with_sign_of_score(smooth_table(asinh_of_positive(absolute(y)), low, inverse_width, cells, coefficients), y);
}

}  // namespace upm

#endif
