// European options under Merton's jump diffusion: Merton 1976, "Option pricing when underlying stock returns are discontinuous". Twin:
// upm_gpu/formula/merton_price.py, by a Fourier integral. Per instrument.
//
// Given n jumps the forward is lognormal, so with L = lambda T, m = E[e^J] - 1, J ~ N(mu, delta^2),
//
//   V = sum_n e^(-L) L^n / n! Black(F_n, K, s_n),   F_n = F e^(-m L) (1 + m)^n,   s_n^2 = sigma^2 T + n delta^2.
//
// Truncation: Black is at most F_n (call) or K (put), so what is left after term n is at most that bound's term times 1 / (1 - r), where r, the ratio of
// bounds, is L (1 + m) / (n + 1) or L / (n + 1); the sum ends when this is below 1e-17 of it (or of 1e-290, where nothing is left). Every term is an option of
// the out-of-the-money side, hence positive: the wings keep their relative accuracy.
#ifndef UPM_MERTON_PRICE_CUH
#define UPM_MERTON_PRICE_CUH

#include "model_option.cuh"

namespace upm {

struct MertonPriceInput {
  enum { volatility = ModelOptionInput::size, jump_intensity, jump_mean, jump_volatility, size };
};

struct merton_price_shape {
  enum { inputs = MertonPriceInput::size, outputs = ModelOptionOutput::size, repeated = 0, count = 0 };
};

// Expected jumps, under either measure, that the series takes: it costs as many terms.
#define UPM_MOST_JUMPS 10000.0

UPM_OUT_OF_LINE double merton_sum(const ModelOption& o, double volatility, double intensity, double mean, double deviation, ModelValue* out) {
  const double log_growth = mean + 0.5 * deviation * deviation;
  if (!(log_growth < 50.0)) return MODEL_EXPLOSIVE;
  const double surplus = expm1(log_growth), jumps = intensity * o.years, by_call = jumps * exp(log_growth);
  if (!(jumps <= UPM_MOST_JUMPS && by_call <= UPM_MOST_JUMPS)) return MODEL_EXPLOSIVE;
  const bool call = o.beyond_sign > 0.0;
  const double variance = volatility * volatility * o.years, log_jumps = log(jumps);  // -inf without jumps: one term
  ModelValue v = {0.0, 0.0, 0.0, 0.0, 0.0};
  double log_weight = -jumps;
  for (i32 n = 0;; ++n) {
    if (n > 0) log_weight += log_jumps - log((double)n);
    const double moved = n * log_growth - surplus * jumps, k = o.k + moved;
    const double log_bound = log_weight + (call ? moved : 0.0), ratio = (call ? by_call : jumps) / (n + 1.0);
    if (log_bound > -745.0) {
      const double weight = exp(log_weight), growth = exp(moved), forward = o.forward * growth, bound = exp(log_bound);
      const double s = sqrt(variance + n * deviation * deviation);
      const double d1 = k == 0.0 ? 0.5 * s : k / s + 0.5 * s;
      const double density = normal_density(d1), lead = k < 0.0 ? forward : o.strike;
      const double beyond = s > 0.0 ? out_of_the_money(absolute(k), at_most(s, 100.0)).price : 0.0;
      const double value = fma(lead, beyond, at_least(o.beyond_sign * (forward - o.strike), 0.0));
      const double delta = o.beyond_sign * normal_cdf(o.beyond_sign * d1);
      const double spread = density == 0.0 ? 0.0 : forward * density / s;  // by half the variance
      v.value += weight * value;
      v.by_forward += weight * growth * delta;
      v.by_forward_twice += weight * spread / (o.forward * o.forward);
      v.by_volatility += weight * (spread == 0.0 ? 0.0 : spread * volatility * o.years);
      v.by_years += weight * ((n / o.years - intensity) * value - intensity * surplus * forward * delta + (spread == 0.0 ? 0.0 : 0.5 * volatility * volatility * spread));
      if (ratio < 0.9 && bound * o.lead <= 1e-18 * v.value) break;
    }
    if (ratio < 0.9 && log_bound < -670.0) break;
    if (n > 4 * (i32)UPM_MOST_JUMPS) return MODEL_UNSETTLED;
  }
  *out = v;
  return MODEL_FOUND;
}

UPM_OUT_OF_LINE void merton_price_values(const double* in, i64 in_stride, double* out, i64 out_stride) {
  const ModelOption o = model_option_of(in, in_stride);
  const double volatility = in[MertonPriceInput::volatility * in_stride], intensity = in[MertonPriceInput::jump_intensity * in_stride];
  const double mean = in[MertonPriceInput::jump_mean * in_stride], deviation = in[MertonPriceInput::jump_volatility * in_stride];
  double status = o.defined && volatility >= 0.0 && volatility < 1e3 && intensity >= 0.0 && mean - mean == 0.0 && deviation >= 0.0 ? MODEL_FOUND : MODEL_UNDEFINED;
  ModelValue v = model_value_at_once(o);
  if (status == MODEL_FOUND && o.years > 0.0 && (volatility > 0.0 || intensity > 0.0)) status = merton_sum(o, volatility, intensity, mean, deviation, &v);
  write_model_option(o, v, status, out, out_stride);
}

}  // namespace upm

#endif
