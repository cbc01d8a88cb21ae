// European options under a law of the forward other than Black's: terms, and the line of results from the out-of-the-money value and its derivatives. Twin:
// upm_gpu/formula/model_option.py. Per instrument.
#ifndef UPM_MODEL_OPTION_CUH
#define UPM_MODEL_OPTION_CUH

#include "european.cuh"

namespace upm {

struct ModelOptionInput {
  enum { spot, forward, strike, time_to_expiry, rate, dividend_yield, sign, inverse, size };  // the model's own follow
};

struct ModelOptionOutput {
  enum { price, delta, gamma, vega, theta, rho, dividend_rho, implied_volatility, price_coin, delta_coin, status, size };
};

enum ModelStatus {
  MODEL_FOUND = 0,
  MODEL_UNDEFINED = 4,    // an argument outside its domain
  MODEL_UNSETTLED = 40,   // the quadrature or the series did not settle
  MODEL_EXPLOSIVE = 41    // the expected size of a jump, or the number of jumps, is beyond the method
};

struct ModelOption {
  bool on_forward, inverse, defined;
  double level, strike, years, rate, carry, discount_rate, forward, sign;
  double k;            // ln(F / K)
  double beyond_sign;  // +1: the call is out of the money (F <= K)
  double lead;         // min(F, K)
};

// Undiscounted, of the out-of-the-money option.
struct ModelValue {
  double value, by_forward, by_forward_twice, by_volatility, by_years;
};

UPM_INLINE ModelOption model_option_of(const double* in, i64 stride) {
  ModelOption o;
  const double forward = in[ModelOptionInput::forward * stride];
  o.on_forward = forward == forward;
  o.inverse = in[ModelOptionInput::inverse * stride] != 0.0;
  o.level = o.on_forward ? forward : in[ModelOptionInput::spot * stride];
  o.strike = in[ModelOptionInput::strike * stride];
  o.years = in[ModelOptionInput::time_to_expiry * stride];
  o.rate = in[ModelOptionInput::rate * stride];
  o.sign = in[ModelOptionInput::sign * stride];
  o.carry = o.on_forward ? 0.0 : o.rate - in[ModelOptionInput::dividend_yield * stride];
  o.discount_rate = o.inverse ? o.carry : o.rate;
  o.forward = o.level * exp(o.carry * o.years);
  o.k = log_ratio(o.level, o.strike) + o.carry * o.years;
  o.beyond_sign = o.k <= 0.0 ? 1.0 : -1.0;
  o.lead = o.k <= 0.0 ? o.forward : o.strike;
  o.defined = o.level > 0.0 && o.strike > 0.0 && o.years >= 0.0 && o.forward > 0.0 && o.forward < infinity() && o.strike < infinity() && o.rate - o.rate == 0.0;
  return o;
}

// Without variance: the limits from above.
UPM_INLINE ModelValue model_value_at_once(const ModelOption& o) {
  const bool at_the_money = o.k == 0.0;
  ModelValue v = {0.0, at_the_money ? 0.5 * o.beyond_sign : 0.0, at_the_money ? infinity() : 0.0, 0.0, 0.0};
  return v;
}

// P = e^(-d T) V(F, T), F = L e^(b T), with d = r, or d = b for an option paid in coins: V / F of them, worth L each.
UPM_INLINE void write_model_option(const ModelOption& o, ModelValue v, double status, double* out, i64 stride) {
  const double ratio = v.value / o.lead, nothing = status == MODEL_FOUND ? 0.0 : not_a_number();
  const bool quoted = o.years > 0.0 && ratio > 1e-300 && ratio < 1.0;
  const double implied = quoted && status == MODEL_FOUND ? implied_total_stdev(absolute(o.k), ratio) / sqrt(o.years) : not_a_number();
  if (o.sign != o.beyond_sign) {
    v.value += o.sign * (o.forward - o.strike);
    v.by_forward += o.sign;
  }
  const double discount = exp(-o.discount_rate * o.years), growth = o.forward / o.level;
  const double price = discount * v.value + nothing, held = discount * v.by_forward * o.forward;  // in units of the money, not of the level
  const double by_carry = o.years * held;
  out[ModelOptionOutput::price * stride] = price;
  out[ModelOptionOutput::delta * stride] = discount * growth * v.by_forward + nothing;
  out[ModelOptionOutput::gamma * stride] = discount * growth * growth * v.by_forward_twice + nothing;
  out[ModelOptionOutput::vega * stride] = discount * v.by_volatility + nothing;
  out[ModelOptionOutput::theta * stride] = o.discount_rate * price - o.carry * held - discount * v.by_years + nothing;
  const double on_spot = by_carry - o.years * price;  // of a spot: the forward and the discounting
  out[ModelOptionOutput::rho * stride] = (o.on_forward ? (o.inverse ? 0.0 : -o.years * price) : on_spot) + nothing;
  out[ModelOptionOutput::dividend_rho * stride] = o.on_forward ? not_a_number() : (o.inverse ? -on_spot : -by_carry) + nothing;
  out[ModelOptionOutput::implied_volatility * stride] = implied;
  const double price_coin = o.inverse ? price / o.level : not_a_number();
  out[ModelOptionOutput::price_coin * stride] = price_coin;
  out[ModelOptionOutput::delta_coin * stride] = v.by_forward - price_coin;
  out[ModelOptionOutput::status * stride] = status;
}

}  // namespace upm

#endif
