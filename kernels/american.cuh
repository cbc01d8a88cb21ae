// American options on a spot with a continuous yield or on a future: the exercise boundary of Kim (1990) by collocation and Newton's method.
// Twin: upm_gpu/formula/american.py. Decision: docs/design/0055-american-options.md. Per instrument.
//
// Everything is computed for a put of strike 1 with time in units of T: x = S / K, r = rate T, q = yield T, s = volatility sqrt(T); a call is
// the put of spot 1 / x with rate and yield exchanged (McDonald and Schroder 1998). With b(t) the boundary at time to expiry t, v elapsed time,
//
//   premium(x) = integral over v in (0, 1) of  r e^(-r v) Phi(-d-) - q x e^(-q v) Phi(-d+),    d+- = (ln(x / b(1 - v)) + (r - q) v) / (s sqrt v) +- s sqrt(v) / 2
//
// and smooth pasting, delta = -1 at x = b(t), which is the form FP-A of Andersen, Lake and Offengenden (2016), holds at each t:
//
//   integral over v in (0, t) of e^(-r v) phi(d-) (r - q b(t - v)) / (s sqrt v)  =  b(t) (e^(-q t) Phi(d+(b(t), 1)) + q integral of e^(-q v) Phi(d+)).
#ifndef UPM_AMERICAN_CUH
#define UPM_AMERICAN_CUH

#include "american_nodes.cuh"
#include "european.cuh"

namespace upm {

enum AmericanInput {
  AMERICAN_SPOT,            // NaN where the forward is given
  AMERICAN_FORWARD,         // NaN where the spot is given
  AMERICAN_STRIKE,
  AMERICAN_YEARS,
  AMERICAN_RATE,
  AMERICAN_DIVIDEND_YIELD,  // without effect where the forward is given
  AMERICAN_VOLATILITY,      // NaN with a market price: the implied volatility is asked for
  AMERICAN_MARKET_PRICE,
  AMERICAN_SIGN,            // +1 call, -1 put
  AMERICAN_PRICE_ONLY,      // 1: vega and rhos are left NaN, which saves two thirds of the time
  AMERICAN_INPUTS
};

enum AmericanOutput {
  AMERICAN_PRICE, AMERICAN_DELTA, AMERICAN_GAMMA, AMERICAN_VEGA, AMERICAN_THETA, AMERICAN_RHO, AMERICAN_DIVIDEND_RHO,
  AMERICAN_IMPLIED_VOLATILITY,
  AMERICAN_BOUNDARY,  // spot or forward at which exercise begins today; 0 or infinity where it never pays
  AMERICAN_STATUS,
  AMERICAN_OUTPUTS
};

struct american_shape {
  enum { inputs = AMERICAN_INPUTS, outputs = AMERICAN_OUTPUTS, repeated = 0, count = 0 };
};

// Beyond the numbers of ImpliedStatus.
enum AmericanStatus { AMERICAN_TWO_BOUNDARIES = 30, AMERICAN_NOT_SOLVED = 31 };

#define UPM_AMERICAN_POINTS (UPM_AMERICAN_ANGLES * UPM_AMERICAN_BOUNDARY)

// The unit put in scaled time.
struct AmericanTerms {
  double r, q, s;
  bool falls;  // q > r: the boundary starts at r / q < 1
};

// What is needed of the boundary to price any spot.
struct AmericanCurve {
  double r, q, s;
  double start;                                                     // b(0+) = min(1, r / q)
  double root_value[UPM_AMERICAN_BOUNDARY];                         // h = ln(b(0+) / b) at the points
  double level;                                                     // b(1)
  double drift[UPM_AMERICAN_PRICE], bound[UPM_AMERICAN_PRICE];      // at the price integral's points: -ln b(1 - v) + (r - q) v and b(1 - v),
  double rate_weight[UPM_AMERICAN_PRICE], yield_weight[UPM_AMERICAN_PRICE];  // weights with e^(-r v) and e^(-q v)
  bool solved;
};

// Shape of the boundary near expiry and at long times, from closed forms.
struct AmericanShape {
  double log_start;         // ln b(0+)
  double depth;             // ln(b(0+) / b(infinity)) of the perpetual put; capped, as it is infinite at r = 0
  double lead;              // h is roughly depth (1 - e^(lead sqrt t))
  double slack, held;       // r - q b = slack + held (1 - b / b(0+))
  double falls;             // 1 where q > r
};

// b(0+)
UPM_INLINE double american_start(const AmericanTerms& t) { return t.q > t.r ? t.r / t.q : 1.0; }

UPM_INLINE AmericanShape american_shape_of(const AmericanTerms& t) {
  AmericanShape f;
  const double start = american_start(t);
  f.log_start = log(start);
  double s2 = t.s * t.s;
  double m = (t.r - t.q) / s2 - 0.5;
  double root = sqrt(fma(m, m, 2.0 * t.r / s2));
  double power = m > 0.0 ? m + root : (2.0 * t.r / s2) / (root - m);  // the perpetual put falls as x^-power
  f.depth = at_most(f.log_start + log1p(1.0 / power), 60.0);
  f.lead = -(t.falls ? 0.8 : 1.6) * t.s / f.depth;
  f.slack = t.r - t.q * start;
  f.held = t.q * start;
  f.falls = t.falls ? 1.0 : 0.0;
  return f;
}

// h = ln(b(0+) / b) at z = sqrt(t), roughly: the slope at expiry, saturating at the perpetual depth. It only places the payment r - q b below.
UPM_INLINE double american_guess(const AmericanShape& f, double z) { return -f.depth * expm1(f.lead * z); }

// A(z): h / (z A) is smooth, so that sixteen points of it do. Where q <= r, h ~ s z sqrt(2 ln(1 / z)) (Barles et al. 1995; Evans, Kuske and
// Keller 2002), with the exact constant and the saturation at long times folded into one logarithm. Where q > r, h ~ 0.6388 s z until
// ln(q / r) is reached by the other law: a smooth maximum of the two.
UPM_INLINE double american_amplitude(const AmericanShape& f, double s, double z) {
  double c = s / (fma(-f.held, expm1(-american_guess(f, z)), f.slack) * z);
  double law = sqrt(log1p(c * c * 0.039788735772973836));  // 1 / (8 pi)
  double over = law + f.log_start / (s * z) - 0.64;
  double smooth = 0.64 + at_least(over, 0.0) + 0.125 / (sqrt(fma(over, over, 0.25)) + absolute(over));
  return fma(f.falls, smooth - law, law);
}

// Chebyshev coefficients of values at the boundary's points, by the exact discrete orthogonality of Radau points.
UPM_INLINE void american_coefficients(const double* values, const double (*cheb)[UPM_AMERICAN_BOUNDARY], double* coefficients) {
  for (i32 m = 0; m < UPM_AMERICAN_BOUNDARY; ++m) {
    double sum = 0.5 * values[0] * cheb[m][0];
    UPM_KEEP_LOOP
    for (i32 i = 1; i < UPM_AMERICAN_BOUNDARY; ++i) sum = fma(values[i], cheb[m][i], sum);
    coefficients[m] = sum * ((m ? 4.0 : 2.0) / (2 * UPM_AMERICAN_BOUNDARY - 1));
  }
}

// y := the solution x of a x = y, rows scaled, partial pivoting; false where a is singular or not finite. Whole rows are combined, finished
// columns too: loops of one fixed length are vectorised.
UPM_INLINE bool american_linear_solve(double (*a)[UPM_AMERICAN_BOUNDARY], double* y) {
  const i32 n = UPM_AMERICAN_BOUNDARY;
  for (i32 i = 0; i < n; ++i) {
    double largest = 0.0;
    UPM_KEEP_LOOP
    for (i32 j = 0; j < n; ++j) largest = absolute(a[i][j]) > largest ? absolute(a[i][j]) : largest;
    double scale = 1.0 / largest;
    UPM_KEEP_LOOP
    for (i32 j = 0; j < n; ++j) a[i][j] *= scale;
    y[i] *= scale;
  }
  for (i32 k = 0; k < n; ++k) {
    i32 pivot = k;
    for (i32 i = k + 1; i < n; ++i) pivot = absolute(a[i][k]) > absolute(a[pivot][k]) ? i : pivot;
    if (!(absolute(a[pivot][k]) > 0.0)) return false;
    if (pivot != k) {
      UPM_KEEP_LOOP
      for (i32 j = 0; j < n; ++j) { double keep = a[k][j]; a[k][j] = a[pivot][j]; a[pivot][j] = keep; }
      double keep = y[k]; y[k] = y[pivot]; y[pivot] = keep;
    }
    double inverse = 1.0 / a[k][k];
    for (i32 i = k + 1; i < n; ++i) {
      double factor = a[i][k] * inverse;
      UPM_KEEP_LOOP
      for (i32 j = 0; j < n; ++j) a[i][j] = fma(-factor, a[k][j], a[i][j]);
      y[i] = fma(-factor, y[k], y[i]);
    }
  }
  for (i32 i = n - 1; i >= 0; --i) {
    double sum = y[i];
    for (i32 j = i + 1; j < n; ++j) sum = fma(-a[i][j], y[j], sum);
    y[i] = sum / a[i][i];
  }
  return true;
}

// Solves the boundary into `curve`. Newton's method on the logarithm of both sides of smooth pasting at sixteen points, with the exact Jacobian:
// quadratic, 3 or 4 steps from the closed-form guess. `warm` starts from root_value and takes one step, for differences of Greeks; its shape
// is that of the terms `base`, so that both sides of a difference have the same error.
// Arrays are [angle][point], so that every sum over the angles runs in the same order on every instruction set.
UPM_OUT_OF_LINE void american_solve(const AmericanTerms& t, const AmericanTerms& base, bool warm, AmericanCurve& curve) {
  const i32 n = UPM_AMERICAN_BOUNDARY, points = UPM_AMERICAN_POINTS;
  const double r = t.r, q = t.q, s = t.s, mu = r - q;
  const AmericanShape shape = american_shape_of(base);
  const double start = american_start(t), log_start = log(start);
  double cheb[UPM_AMERICAN_BOUNDARY][UPM_AMERICAN_BOUNDARY];       // T_m at the points
  double basis[UPM_AMERICAN_BOUNDARY][UPM_AMERICAN_POINTS];        // T_m at the remaining times
  double reach[UPM_AMERICAN_POINTS];                               // z A there: h = reach * sum of coefficients T_m
  double root_elapsed[UPM_AMERICAN_POINTS], density_weight[UPM_AMERICAN_POINTS], yield_weight[UPM_AMERICAN_POINTS];
  double own_reach[UPM_AMERICAN_BOUNDARY], h[UPM_AMERICAN_BOUNDARY];

  for (i32 i = 0; i < n; ++i) {
    own_reach[i] = american_root[i] * american_amplitude(shape, base.s, american_root[i]);
    h[i] = warm ? curve.root_value[i] : at_most(s * own_reach[i], 0.98 * shape.depth);
    cheb[0][i] = 1.0;
    cheb[1][i] = fma(2.0, american_root[i], -1.0);
  }
  for (i32 m = 2; m < n; ++m)
    UPM_KEEP_LOOP
    for (i32 i = 0; i < n; ++i) cheb[m][i] = fma(2.0 * cheb[1][i], cheb[m - 1][i], -cheb[m - 2][i]);
  for (i32 k = 0; k < UPM_AMERICAN_ANGLES; ++k)
    for (i32 i = 0; i < n; ++i) {
      basis[0][k * n + i] = american_root[i] * american_cosine[k];  // z, until the recurrence is set up
      root_elapsed[k * n + i] = american_root[i] * american_sine[k];
      yield_weight[k * n + i] = 2.0 * american_root[i] * american_cosine[k] * american_weight[k];
    }
  for (i32 p = 0; p < points; ++p) {
    double z = basis[0][p], v = root_elapsed[p] * root_elapsed[p];
    reach[p] = z * american_amplitude(shape, base.s, z);
    basis[0][p] = 1.0;
    basis[1][p] = fma(2.0, z, -1.0);
    density_weight[p] = yield_weight[p] * exp(-r * v) / s;
    yield_weight[p] = yield_weight[p] * root_elapsed[p] * exp(-q * v);
  }
  for (i32 m = 2; m < n; ++m)
    for (i32 p = 0; p < points; ++p) basis[m][p] = fma(2.0 * basis[1][p], basis[m - 1][p], -basis[m - 2][p]);

  // Where the boundary never leaves its start by more than rounding (tiny volatility, drift towards it), the guess is the solution: payments
  // between the two are below 1e-9 of the strike.
  curve.solved = !warm && shape.depth * (absolute(r) + absolute(q)) < 1e-9;
  for (i32 step = 0; step < (warm ? 1 : 24) && !curve.solved; ++step) {
    double g[UPM_AMERICAN_BOUNDARY], coefficients[UPM_AMERICAN_BOUNDARY];
    double hu[UPM_AMERICAN_POINTS], own[UPM_AMERICAN_POINTS], flow[UPM_AMERICAN_POINTS], pull[UPM_AMERICAN_POINTS], held[UPM_AMERICAN_POINTS];
    UPM_KEEP_LOOP
    for (i32 i = 0; i < n; ++i) g[i] = h[i] / own_reach[i];
    american_coefficients(g, cheb, coefficients);
    for (i32 p = 0; p < points; ++p) hu[p] = coefficients[0];
    for (i32 m = 1; m < n; ++m)
      for (i32 p = 0; p < points; ++p) hu[p] = fma(coefficients[m], basis[m][p], hu[p]);
    for (i32 k = 0; k < UPM_AMERICAN_ANGLES; ++k)
      UPM_KEEP_LOOP
      for (i32 i = 0; i < n; ++i) own[k * n + i] = h[i];
    // flow: e^(-r v) phi(d-) (r - q b) / (s sqrt v); pull: its derivative in ln b(t - v) from d-; held: q b e^(-r v) phi(d-) / (s sqrt v)
    for (i32 p = 0; p < points; ++p) {
      double gone = hu[p] * reach[p], w = root_elapsed[p];
      double fall = start * expm1(-gone);
      double inverse = 1.0 / (s * w);
      double plus = fma(0.5 * s, w, fma(mu * w, w, gone - own[p]) * inverse);
      double minus = fma(-s, w, plus);
      double density = density_weight[p] * UPM_INVERSE_SQRT_2PI * exp_of_negative(-0.5 * minus * minus);
      flow[p] = density * fma(-q, fall, r - q * start);
      pull[p] = minus * inverse * flow[p];
      held[p] = q * (start + fall) * density;
      own[p] = yield_weight[p] * normal_cdf(plus);
    }
    double into[UPM_AMERICAN_BOUNDARY], pulled[UPM_AMERICAN_BOUNDARY], kept[UPM_AMERICAN_BOUNDARY], carried[UPM_AMERICAN_BOUNDARY];
    UPM_KEEP_LOOP
    for (i32 i = 0; i < n; ++i) into[i] = pulled[i] = kept[i] = carried[i] = 0.0;
    for (i32 k = 0; k < UPM_AMERICAN_ANGLES; ++k) {
      UPM_KEEP_LOOP
      for (i32 i = 0; i < n; ++i) {
        into[i] += flow[k * n + i];
        pulled[i] += pull[k * n + i];
        kept[i] += held[k * n + i];
        carried[i] += own[k * n + i];
      }
    }
    double system[UPM_AMERICAN_BOUNDARY][UPM_AMERICAN_BOUNDARY], answer[UPM_AMERICAN_BOUNDARY];
    double share[UPM_AMERICAN_BOUNDARY], rest[UPM_AMERICAN_BOUNDARY], slope[UPM_AMERICAN_BOUNDARY];
    for (i32 i = 0; i < n; ++i) {
      double z = american_root[i], log_bound = log_start - h[i];
      double plus = fma(mu * z, z, log_bound) / (s * z) + 0.5 * s * z;
      double growth = exp(-q * z * z), bound = exp(log_bound);
      double right = bound * fma(growth, normal_cdf(plus), q * carried[i]);
      double edge = bound * growth * normal_density(plus) / (s * z);
      share[i] = 1.0 / into[i];
      rest[i] = 1.0 / right - share[i];
      slope[i] = -(pulled[i] * share[i] + 1.0 + (edge + kept[i]) / right);
      answer[i] = log(into[i] / right);
    }
    for (i32 k = 0; k < UPM_AMERICAN_ANGLES; ++k)
      for (i32 i = 0; i < n; ++i) {
        const i32 p = k * n + i;
        flow[p] = fma(pull[p], share[i], held[p] * rest[i]) * reach[p];
      }
    for (i32 m = 0; m < n; ++m) {
      double column[UPM_AMERICAN_BOUNDARY];
      UPM_KEEP_LOOP
      for (i32 i = 0; i < n; ++i) column[i] = slope[i] * own_reach[i] * cheb[m][i];
      for (i32 k = 0; k < UPM_AMERICAN_ANGLES; ++k)
        UPM_KEEP_LOOP
        for (i32 i = 0; i < n; ++i) column[i] = fma(flow[k * n + i], basis[m][k * n + i], column[i]);
      UPM_KEEP_LOOP
      for (i32 i = 0; i < n; ++i) system[i][m] = column[i];
    }
    if (!american_linear_solve(system, answer)) return;
    double moved = 0.0;
    for (i32 i = 0; i < n; ++i) {
      double change = 0.0;
      for (i32 m = 0; m < n; ++m) change = fma(answer[m], cheb[m][i], change);
      change *= own_reach[i] / h[i];
      // Kept between a third and three times; where the boundary starts below the strike, steps are taken in ln h, which keeps it positive.
      double ratio = t.falls && !warm ? exp(clip(change, -1.1, 1.1)) : clip(1.0 + change, 1.0 / 3.0, 3.0);
      h[i] *= ratio;
      double size = absolute(ratio - 1.0);
      moved = size > moved ? size : moved;
      if (!(change == change)) return;
    }
    curve.solved = moved < 1e-4 || warm;  // the error left is of the order of its square
  }
  if (!curve.solved) return;

  curve.r = r;
  curve.q = q;
  curve.s = s;
  curve.start = start;
  double g[UPM_AMERICAN_BOUNDARY], coefficients[UPM_AMERICAN_BOUNDARY];
  for (i32 i = 0; i < n; ++i) {
    curve.root_value[i] = h[i];
    g[i] = h[i] / own_reach[i];
  }
  american_coefficients(g, cheb, coefficients);
  curve.level = start * exp(-h[0]);
  // Clenshaw's recurrence, one coefficient for all points at a time.
  double next[UPM_AMERICAN_PRICE], after[UPM_AMERICAN_PRICE];
  for (i32 p = 0; p < UPM_AMERICAN_PRICE; ++p) next[p] = after[p] = 0.0;
  for (i32 m = UPM_AMERICAN_BOUNDARY - 1; m > 0; --m)
    for (i32 p = 0; p < UPM_AMERICAN_PRICE; ++p) {
      double now = fma(fma(4.0, american_price_cosine[p], -2.0), next[p], coefficients[m] - after[p]);
      after[p] = next[p];
      next[p] = now;
    }
  for (i32 p = 0; p < UPM_AMERICAN_PRICE; ++p) {
    double z = american_price_cosine[p], v = american_price_sine[p] * american_price_sine[p];
    double gone = z * american_amplitude(shape, base.s, z) * fma(fma(2.0, z, -1.0), next[p], coefficients[0] - after[p]);
    curve.drift[p] = fma(mu, v, gone - log_start);
    curve.bound[p] = start * exp(-gone);
    curve.rate_weight[p] = american_price_weight[p] * exp(-r * v);
    curve.yield_weight[p] = american_price_weight[p] * exp(-q * v);
  }
}

struct AmericanPremium {
  double value, slope, bend;  // premium over the European put of strike 1 and its derivatives in x
};

// x above the boundary. Near it the integrands of slope and bend are a layer of width (ln(x / b) / s)^2: the layer of constant rates and
// boundary is integrated in closed form and only the difference by quadrature.
UPM_INLINE AmericanPremium american_premium(const AmericanCurve& c, double x, bool derivatives) {
  double value[UPM_AMERICAN_PRICE], slope[UPM_AMERICAN_PRICE], bend[UPM_AMERICAN_PRICE];
  double log_x = log(x);
  double distance = derivatives ? log_ratio(x, c.level) / c.s : 0.0, payment = c.r - c.q * c.level;
  for (i32 p = 0; p < UPM_AMERICAN_PRICE; ++p) {
    double w = american_price_sine[p];
    double width = c.s * w;
    double minus = (log_x + c.drift[p]) / width - 0.5 * width;
    double paid = c.q * c.yield_weight[p] * normal_cdf(-(minus + width));
    value[p] = fma(c.r * c.rate_weight[p], normal_cdf(-minus), -x * paid);
    slope[p] = paid;
    bend[p] = minus;
  }
  AmericanPremium out = {0.0, 0.0, 0.0};
  for (i32 p = 0; p < UPM_AMERICAN_PRICE; ++p) out.value += value[p];
  if (!derivatives) return out;
  for (i32 p = 0; p < UPM_AMERICAN_PRICE; ++p) {
    double w = american_price_sine[p], minus = bend[p];
    double inverse = 1.0 / (c.s * w), near = distance / w;
    double density = c.rate_weight[p] * UPM_INVERSE_SQRT_2PI * exp_of_negative(-0.5 * minus * minus) * inverse;
    double layer = american_price_weight[p] * UPM_INVERSE_SQRT_2PI * exp_of_negative(-0.5 * near * near) * inverse * payment;
    double flow = density * (c.r - c.q * c.bound[p]);
    slope[p] = fma(slope[p], x, flow - layer);
    bend[p] = fma(flow, fma(minus, inverse, 1.0), fma(c.q * c.bound[p], density, -layer * near * inverse));
  }
  for (i32 p = 0; p < UPM_AMERICAN_PRICE; ++p) {
    out.slope -= slope[p];
    out.bend += bend[p];
  }
  double below = normal_cdf(-distance);
  out.slope = (out.slope - 2.0 * payment / c.s * (normal_density(distance) - distance * below)) / x;
  out.bend = (out.bend + 2.0 * payment / (c.s * c.s) * below) / (x * x);
  return out;
}

// Terms of the unit put of an option, sign +1 call. Where the drift away from the boundary is strong, nothing is paid after (9 volatility / drift)^2
// years (Phi(-9) = 1e-19) and T ends there: else the boundary, flat from then on, would be steep at the start of the scaled time.
UPM_INLINE AmericanTerms american_terms(double sign, double rate, double yield, double volatility, double years) {
  double r = sign > 0.0 ? yield : rate, q = sign > 0.0 ? rate : yield;
  double away = r - q - 0.5 * volatility * volatility;
  double horizon = 9.0 * volatility / at_least(away, 1e-300);
  years = horizon < 1e100 ? at_most(years, horizon * horizon) : years;
  AmericanTerms t = {r * years, q * years, volatility * sqrt(years), q > r};
  return t;
}

enum AmericanRegime { AMERICAN_EARLY, AMERICAN_NEVER, AMERICAN_BETWEEN };

// Interest below which exercising for it is worth nothing: the premium is at most r T of the strike.
#define UPM_AMERICAN_SMALLEST 1e-13

// An exercised unit put earns r - q x a year: exercise pays only where that is positive and x < 1.
UPM_INLINE AmericanRegime american_regime(double r, double q) {
  if (r > UPM_AMERICAN_SMALLEST || (r >= 0.0 && q < 0.0)) return AMERICAN_EARLY;
  return r < 0.0 && q < r ? AMERICAN_BETWEEN : AMERICAN_NEVER;
}

// Premium over the European put of strike 1 at x with terms close to those `base` was solved for, by one Newton step from it.
UPM_INLINE double american_bumped(const AmericanTerms& t, const AmericanTerms& from, const AmericanCurve& base, double x) {
  AmericanCurve near = base;
  american_solve(t, from, true, near);
  return near.solved ? american_premium(near, x, false).value : not_a_number();
}

// A value with no randomness: the best time to exercise is now, the expiry, or where the derivative vanishes.
UPM_INLINE void american_certain(double level, double strike, double years, double rate, double yield, double sign, bool on_forward, double* out,
                                 i64 stride) {
  double turn = log(yield * level / (rate * strike)) / (yield - rate);
  double best = -1.0, at = 0.0;
  for (i32 i = 0; i < 3; ++i) {
    double time = i == 0 ? 0.0 : i == 1 ? years : turn;
    if (!(time >= 0.0 && time <= years)) continue;
    double asset = level == 0.0 ? 0.0 : level * exp(-yield * time), bond = strike == 0.0 ? 0.0 : strike * exp(-rate * time);
    double value = at_least(sign * (asset - bond), 0.0);
    if (value > best) { best = value; at = time; }
  }
  double asset = level == 0.0 ? 0.0 : level * exp(-yield * at), bond = strike == 0.0 ? 0.0 : strike * exp(-rate * at);
  double live = best > 0.0 ? sign : 0.0;
  out[AMERICAN_PRICE * stride] = best;
  out[AMERICAN_DELTA * stride] = live * exp(-yield * at);
  out[AMERICAN_GAMMA * stride] = 0.0;
  out[AMERICAN_VEGA * stride] = 0.0;
  out[AMERICAN_THETA * stride] = at == years ? live * (yield * asset - rate * bond) : 0.0;
  out[AMERICAN_RHO * stride] = live * at * (on_forward ? bond - asset : bond);
  out[AMERICAN_DIVIDEND_RHO * stride] = on_forward ? not_a_number() : -live * at * asset;
}

// Price and Greeks of one option of known volatility > 0 in the form of AmericanOutput. `curve` may hold the boundary of the last case: it is
// used again where the scaled terms are equal, so cases that differ only in spot or strike cost one price integral each.
UPM_OUT_OF_LINE void american_price(double level, bool on_forward, double strike, double years, double rate, double yield, double volatility, double sign,
                           bool price_only, AmericanCurve& curve, double* out, i64 stride) {
  double in[EUROPEAN_INPUTS], european[EUROPEAN_OUTPUTS];
  in[IN_SPOT] = on_forward ? not_a_number() : level;
  in[IN_FORWARD] = on_forward ? level : not_a_number();
  in[IN_STRIKE] = strike;
  in[IN_YEARS] = years;
  in[IN_RATE] = rate;
  in[IN_DIVIDEND_YIELD] = yield;
  in[IN_VOLATILITY] = volatility;
  in[IN_MARKET_PRICE] = not_a_number();
  in[IN_SIGN] = sign;
  in[IN_INVERSE] = 0.0;
  european_values(in, 1, european, 1);
  for (i32 c = 0; c <= AMERICAN_DIVIDEND_RHO; ++c) out[c * stride] = european[c];
  out[AMERICAN_BOUNDARY * stride] = sign > 0.0 ? infinity() : 0.0;

  const double q_given = on_forward ? rate : yield;
  const AmericanTerms t = american_terms(sign, rate, q_given, volatility, years);
  const AmericanRegime regime = american_regime(t.r, t.q);
  if (regime == AMERICAN_NEVER) return;
  if (regime == AMERICAN_BETWEEN) {
    for (i32 c = 0; c <= AMERICAN_DIVIDEND_RHO; ++c) out[c * stride] = not_a_number();
    out[AMERICAN_BOUNDARY * stride] = not_a_number();
    out[AMERICAN_STATUS * stride] = AMERICAN_TWO_BOUNDARIES;
    return;
  }
  if (!(curve.solved && curve.r == t.r && curve.q == t.q && curve.s == t.s)) american_solve(t, t, false, curve);
  if (!curve.solved) {
    for (i32 c = 0; c <= AMERICAN_DIVIDEND_RHO; ++c) out[c * stride] = not_a_number();
    out[AMERICAN_BOUNDARY * stride] = not_a_number();
    out[AMERICAN_STATUS * stride] = AMERICAN_NOT_SOLVED;
    return;
  }
  const bool call = sign > 0.0;
  const double x = call ? strike / level : level / strike, scale = call ? level : strike;
  const double payoff = sign * (level - strike);
  out[AMERICAN_BOUNDARY * stride] = call ? strike / curve.level : strike * curve.level;
  if (!(x > curve.level)) {
    out[AMERICAN_PRICE * stride] = payoff;
    out[AMERICAN_DELTA * stride] = sign;
    out[AMERICAN_GAMMA * stride] = out[AMERICAN_VEGA * stride] = out[AMERICAN_THETA * stride] = out[AMERICAN_RHO * stride] = 0.0;
    out[AMERICAN_DIVIDEND_RHO * stride] = on_forward ? not_a_number() : 0.0;
    if (price_only) out[AMERICAN_VEGA * stride] = out[AMERICAN_RHO * stride] = out[AMERICAN_DIVIDEND_RHO * stride] = not_a_number();
    return;
  }
  const AmericanPremium premium = american_premium(curve, x, true);
  // Each bound holds in exact arithmetic; without them the last digits could fall below.
  double price = at_least(fma(scale, at_least(premium.value, 0.0), european[OUT_PRICE]), payoff);
  double delta = european[OUT_DELTA] + (call ? premium.value - x * premium.slope : premium.slope);
  double gamma = european[OUT_GAMMA] + (call ? x * x * premium.bend / level : premium.bend / strike);
  out[AMERICAN_PRICE * stride] = price;
  out[AMERICAN_DELTA * stride] = delta;
  out[AMERICAN_GAMMA * stride] = gamma;
  // The Black-Scholes equation holds above the boundary.
  out[AMERICAN_THETA * stride] = rate * price - (rate - q_given) * level * delta - 0.5 * volatility * volatility * level * level * gamma;
  if (price_only) {
    out[AMERICAN_VEGA * stride] = out[AMERICAN_RHO * stride] = out[AMERICAN_DIVIDEND_RHO * stride] = not_a_number();
    return;
  }
  // Differences of the premium on the same boundary machinery; the European part is exact. A bump of a rate is small against volatility^2, which is
  // the scale the boundary moves on. It never leaves the regime: it is shortened to half the distance, and one-sided at r = 0.
  double derivative[3];
  for (i32 kind = 0; kind < 3; ++kind) {
    double side[2], step[2];
    for (i32 up = 0; up < 2; ++up) {
      double bump = (up ? 1.0 : -1.0) * (kind == 0 ? 3e-4 * volatility : clip(5e-3 * volatility * volatility, 1e-9, 1e-4));
      double r = rate, q = q_given, v = volatility;
      if (kind == 0) v += bump;
      if (kind == 1) r += bump;
      if (kind == 2 || (kind == 1 && on_forward)) q += bump;
      AmericanTerms near = american_terms(sign, r, q, v, years);
      if (american_regime(near.r, near.q) != AMERICAN_EARLY || (t.r > UPM_AMERICAN_SMALLEST && !(near.r > UPM_AMERICAN_SMALLEST))) {
        bump = t.r > UPM_AMERICAN_SMALLEST ? -0.5 * (sign > 0.0 ? q_given : rate) : 0.0;
        r = kind == 1 ? rate + bump : rate;
        q = kind == 2 || (kind == 1 && on_forward) ? q_given + bump : q_given;
        near = american_terms(sign, r, q, v, years);
      }
      step[up] = bump;
      side[up] = american_bumped(near, t, curve, x);
    }
    derivative[kind] = scale * (side[1] - side[0]) / (step[1] - step[0]);
  }
  out[AMERICAN_VEGA * stride] += derivative[0];
  out[AMERICAN_RHO * stride] += derivative[1];
  out[AMERICAN_DIVIDEND_RHO * stride] += on_forward ? 0.0 : derivative[2];
}

// Volatility that gives the price, inside a bracket: the European one is an upper end since the American price is higher. Illinois' variant of
// the secant, 8 to 15 prices.
UPM_INLINE ImpliedVolatility american_implied(double level, bool on_forward, double strike, double years, double rate, double yield, double sign,
                                              double market_price) {
  ImpliedVolatility out = {not_a_number(), IMPLIED_UNDEFINED};
  if (!(level > 0.0 && strike > 0.0 && years > 0.0 && market_price == market_price)) return out;
  const double payoff = at_least(sign * (level - strike), 0.0), bound = sign > 0.0 ? level : strike;
  const double rounding = 4.0 * 2.220446049250313e-16 * (payoff + 1e-3 * bound);
  double result[AMERICAN_OUTPUTS];
  result[AMERICAN_STATUS] = IMPLIED_FOUND;
  american_certain(level, strike, years, rate, on_forward ? rate : yield, sign, on_forward, result, 1);
  const double floor_price = result[AMERICAN_PRICE];
  AmericanCurve curve;
  curve.solved = false;
  if (market_price < floor_price - rounding) { out.status = IMPLIED_BELOW_PAYOFF; return out; }
  if (market_price <= floor_price + rounding) { out.status = IMPLIED_NO_TIME_VALUE; return out; }
  double high = 0.1 / sqrt(years), low = 0.0, above = -1.0, under = floor_price - market_price;
  while (above < 0.0) {
    high *= 2.0;
    if (high * sqrt(years) > 40.0) { out.status = IMPLIED_ABOVE_BOUND; return out; }
    american_price(level, on_forward, strike, years, rate, yield, high, sign, true, curve, result, 1);
    if (result[AMERICAN_STATUS] != IMPLIED_FOUND) { out.status = (i32)result[AMERICAN_STATUS]; return out; }
    above = result[AMERICAN_PRICE] - market_price;
    if (above < 0.0) { low = high; under = above; }
  }
  for (i32 step = 0; step < 100 && high - low > 1e-13 * high; ++step) {
    double cut = under / (under - above);
    double middle = step % 3 == 2 ? 0.5 * (low + high) : fma(clip(cut, 1e-3, 1.0 - 1e-3), high - low, low);
    american_price(level, on_forward, strike, years, rate, yield, middle, sign, true, curve, result, 1);
    if (result[AMERICAN_STATUS] != IMPLIED_FOUND) { out.status = (i32)result[AMERICAN_STATUS]; return out; }
    double miss = result[AMERICAN_PRICE] - market_price;
    if (miss == 0.0) { low = high = middle; break; }
    if (miss < 0.0) { low = middle; under = miss; } else { high = middle; above = miss; }
    if (absolute(miss) < 1e-15 * bound) { low = high = middle; break; }
  }
  out.volatility = 0.5 * (low + high);
  out.status = IMPLIED_FOUND;
  return out;
}

// One case; `curve` carries the boundary from case to case (curve.solved = false at first).
UPM_OUT_OF_LINE void american_case(const double* in, i64 in_stride, double* out, i64 out_stride, AmericanCurve& curve) {
  const double spot = in[AMERICAN_SPOT * in_stride], forward = in[AMERICAN_FORWARD * in_stride];
  const bool on_forward = forward == forward;
  const double level = on_forward ? forward : spot, strike = in[AMERICAN_STRIKE * in_stride], years = in[AMERICAN_YEARS * in_stride];
  const double rate = in[AMERICAN_RATE * in_stride], sign = in[AMERICAN_SIGN * in_stride];
  const double yield = on_forward ? rate : in[AMERICAN_DIVIDEND_YIELD * in_stride];
  const double market_price = in[AMERICAN_MARKET_PRICE * in_stride];
  double volatility = in[AMERICAN_VOLATILITY * in_stride];
  double status = IMPLIED_FOUND, implied = not_a_number();
  if (volatility != volatility && market_price == market_price) {
    ImpliedVolatility found = american_implied(level, on_forward, strike, years, rate, yield, sign, market_price);
    volatility = implied = found.volatility;
    status = found.status;
  }
  if (!(level >= 0.0 && strike >= 0.0 && years >= 0.0 && rate == rate && yield == yield && (volatility >= 0.0 || status != IMPLIED_FOUND)))
    status = IMPLIED_UNDEFINED;
  for (i32 c = 0; c < AMERICAN_OUTPUTS; ++c) out[c * out_stride] = not_a_number();
  out[AMERICAN_STATUS * out_stride] = status;
  if (status == IMPLIED_FOUND) {
    if (level == 0.0 || strike == 0.0 || !(volatility * sqrt(years) >= 1e-7))
      american_certain(level, strike, years, rate, yield, sign, on_forward, out, out_stride);
    else
      american_price(level, on_forward, strike, years, rate, yield, volatility, sign, in[AMERICAN_PRICE_ONLY * in_stride] != 0.0, curve, out,
                     out_stride);
  }
  out[AMERICAN_IMPLIED_VOLATILITY * out_stride] = implied;
}

UPM_INLINE void american_values(const double* in, i64 in_stride, double* out, i64 out_stride) {
  AmericanCurve curve;
  curve.solved = false;
  american_case(in, in_stride, out, out_stride, curve);
}

// Cases [begin, end) of `cases`. Neighbours that differ only in spot and strike, as the nodes of a table do, share one boundary; the values are the
// same to the bit as one by one.
UPM_INLINE void american_range(const double* in, double* out, i64 cases, i64 begin, i64 end) {
  AmericanCurve curve;
  curve.solved = false;
  for (i64 i = begin; i < end; ++i) american_case(in + i, cases, out + i, cases, curve);
}

}  // namespace upm

#endif
