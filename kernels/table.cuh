// A smooth function of one variable as polynomials of degree 7 on equal cells. Twin: upm_gpu/scenario/sets.py SmoothTable.
#ifndef UPM_TABLE_CUH
#define UPM_TABLE_CUH

#include "elementary.cuh"

namespace upm {

// coefficients: (cells, 8), row c of the cell, ascending powers. Multiply then add, not fused: NumPy has the same bits.
UPM_INLINE double smooth_table(double t, double low, double inverse_width, i32 cells, const double* coefficients) {
  double p = (t - low) * inverse_width;
  double inside = p > 0.0 ? p : 0.0;  // a NaN reads cell 0 and comes out through u
  double cell = floor(at_most(inside, (double)(cells - 1)));
  double u = (p - cell) - 0.5;
  i64 a = 8 * (i64)to_int(cell);
  double value = coefficients[a + 7];
  value = value * u + coefficients[a + 6];
  value = value * u + coefficients[a + 5];
  value = value * u + coefficients[a + 4];
  value = value * u + coefficients[a + 3];
  value = value * u + coefficients[a + 2];
  value = value * u + coefficients[a + 1];
  return value * u + coefficients[a];
}

// sign(y) table(asinh |y|): a marginal law as a function of a normal score.
UPM_INLINE double odd_smooth_table(double y, double low, double inverse_width, i32 cells, const double* coefficients) {
  double magnitude = smooth_table(asinh_of_positive(absolute(y)), low, inverse_width, cells, coefficients);
  return y < 0.0 ? -magnitude : (y > 0.0 ? magnitude : 0.0 * y);
}

}  // namespace upm

#endif
