// One step of the quadratic-exponential scheme with martingale correction (Andersen 2008). Twin: qe_step in upm_gpu/model/heston.py, which has the formulae.
#ifndef UPM_HESTON_CUH
#define UPM_HESTON_CUH

#include "elementary.cuh"
#include "normal.cuh"
#include "platform.cuh"
#include "table.cuh"

namespace upm {

#define UPM_PSI_CRITICAL 1.5

// Of a leg of some length and an underlying; the order of the constants of Heston in upm_gpu/scenario/sets.py.
struct HestonConstants {
  double c0, c1, d0, d1, k2, k3, a;
};

struct HestonMove {
  double variance;  // after the step
  double move;      // of the log-price
};

// v variance before, g the price's normal, e the variance's own. Both branches are computed and one is taken, so that a loop over it vectorises.
UPM_INLINE HestonMove heston_step(double v, double g, double e, double rho, double rest, HestonConstants c) {
  const double zv = rho * g + rest * e, z = rest * g - rho * e;
  const double m = c.c0 + c.c1 * v, square = c.d0 + c.d1 * v;
  const double psi = square / (m * m);
  const double t = 2.0 / at_most(psi, UPM_PSI_CRITICAL);
  const double b2 = (t - 1.0) + sqrt(t * (t - 1.0));
  const double scale = m / (1.0 + b2);
  const double root = sqrt(b2) + zv;
  const double h = 1.0 - 2.0 * c.a * scale;
  const double above = 2.0 / (at_least(psi, UPM_PSI_CRITICAL) + 1.0);
  const double beta = above / m;
  const double tail = normal_cdf(-zv);
  const double ratio = tail < above ? above / tail : 1.0;
  const double rare = log(ratio) / beta;
  const bool quadratic = psi <= UPM_PSI_CRITICAL;
  const double logarithm = log(quadratic ? h : (1.0 - above) + beta * above / (beta - c.a));
  const double log_m = quadratic ? c.a * b2 * scale / h - 0.5 * logarithm : logarithm;
  const double after = quadratic ? scale * (root * root) : rare;
  return HestonMove{after, (c.k2 * after - 0.5 * c.k3 * v) - log_m + sqrt(c.k3 * (v + after)) * z};
}

// What a t copula changes of a price's motion over a base step: from its Gaussian increment z to the normal with the same rank under the stretch.
UPM_INLINE double heston_change(double z, double stretch, double low, double inverse_width, i32 cells, const double* coefficients) {
  return odd_smooth_table(z * stretch, low, inverse_width, cells, coefficients) - z;
}

// Log-change of the volatility of an expiry: base + slope v is the ratio of expected average variances.
UPM_INLINE double heston_shift(double v, double base, double slope) { return 0.5 * log(base + slope * v); }

}  // namespace upm

#endif
