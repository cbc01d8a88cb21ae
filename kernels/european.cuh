// European option values and Greeks, one case: generalised Black-Scholes (Black and Scholes 1973, Merton 1973, Black 1976) on a spot
// or a forward, linear or inverse (coin-settled). Twin: upm_gpu/formula/black.py european_values. Per instrument.
//
// european_values(in, in_stride, out, out_stride): column c of the case is in[c * in_stride] and out[c * out_stride], so a case i of
// n stored column by column is european_values(in + i, n, out + i, n). Column order = EuropeanInput and EuropeanOutput below =
// EUROPEAN_INPUTS and EUROPEAN_OUTPUTS of the twin. Years, decimals, continuously compounded rates; delta and gamma with respect to the
// spot, or to the forward where the forward is given; theta a year, vega a unit of volatility, rho a unit of rate.
#ifndef UPM_EUROPEAN_CUH
#define UPM_EUROPEAN_CUH

#include "implied.cuh"

namespace upm {

enum EuropeanInput {
  IN_SPOT,            // NaN where the forward is given
  IN_FORWARD,         // NaN where the spot is given
  IN_STRIKE,
  IN_YEARS,
  IN_RATE,
  IN_DIVIDEND_YIELD,  // without effect where the forward is given
  IN_VOLATILITY,      // NaN with a market price: the implied volatility is asked for
  IN_MARKET_PRICE,    // in the unit of the price
  IN_SIGN,            // +1 call, -1 put
  IN_INVERSE,         // 1: paid in coins
  EUROPEAN_INPUTS
};

enum EuropeanOutput {
  OUT_PRICE, OUT_DELTA, OUT_GAMMA, OUT_VEGA, OUT_THETA, OUT_RHO, OUT_DIVIDEND_RHO,
  OUT_VANNA, OUT_VOLGA,  // second derivatives in (spot or forward, volatility) and in volatility
  OUT_IMPLIED_VOLATILITY, OUT_PRICE_COIN, OUT_DELTA_COIN,
  OUT_STATUS,  // an ImpliedStatus; 0 where all is well
  EUROPEAN_OUTPUTS
};

struct european_shape {
  enum { inputs = EUROPEAN_INPUTS, outputs = EUROPEAN_OUTPUTS, repeated = 0, count = 0 };
};

// ln(level / strike); near 1 from the exact difference, where the quotient's rounding would count.
UPM_INLINE double log_ratio(double level, double strike) {
  double difference = level - strike;
  return absolute(difference) < 0.5 * strike ? log1p(difference / strike) : log(level / strike);
}

// With L the level given, b the carry (r - q on a spot, 0 on a forward) and D = exp(-d tau), d the rate the price is discounted at:
//   linear d = r; inverse: Black76(F) / F coins worth L each, which is d = b
//   price = D Black76(L exp(b tau), K) = sign (L G N(sign d1) - K D N(sign d2)),  G = exp((b - d) tau)
// and the Greeks are its derivatives. At zero total stdev they are the limits from above; gamma at the money is then infinite.
UPM_INLINE void european_values(const double* in, i64 in_stride, double* out, i64 out_stride) {
  const bool on_forward = in[IN_FORWARD * in_stride] == in[IN_FORWARD * in_stride];
  const bool inverse = in[IN_INVERSE * in_stride] != 0.0;
  double level = on_forward ? in[IN_FORWARD * in_stride] : in[IN_SPOT * in_stride];
  double strike = in[IN_STRIKE * in_stride], years = in[IN_YEARS * in_stride];
  double rate = in[IN_RATE * in_stride], yield = in[IN_DIVIDEND_YIELD * in_stride];
  double volatility = in[IN_VOLATILITY * in_stride], sign = in[IN_SIGN * in_stride];
  double market_price = in[IN_MARKET_PRICE * in_stride];

  double carry = on_forward ? 0.0 : rate - yield;
  double discount_rate = inverse ? carry : rate;
  double discount = exp(-discount_rate * years);
  double growth = exp((carry - discount_rate) * years);
  double forward = level * exp(carry * years);
  double k = log_ratio(level, strike) + carry * years;

  double status = IMPLIED_FOUND, implied = not_a_number();
  if (volatility != volatility && market_price == market_price) {
    ImpliedVolatility found = implied_volatility(forward, strike, k, years, market_price / discount, sign);
    volatility = implied = found.volatility;
    status = found.status;
  }
  if (!(level > 0.0 && strike > 0.0 && years >= 0.0 && (volatility >= 0.0 || status != IMPLIED_FOUND))) {
    status = IMPLIED_UNDEFINED;
    level = not_a_number();
  }

  double root = sqrt(years);
  double s = volatility * root;
  double d1 = k == 0.0 ? 0.5 * s : k / s + 0.5 * s;
  double n1 = normal_cdf(sign * d1), n2 = normal_cdf(sign * (d1 - s));
  if (s == 0.0) n2 = n1;  // d1 is infinite then, or 0 at the money
  double density = normal_density(d1);
  double lead = forward < strike ? forward : strike;
  double beyond = s > 0.0 ? out_of_the_money(absolute(k), at_most(s, 100.0)).price : 0.0 * s;
  double price = discount * fma(lead, beyond, at_least(sign * (forward - strike), 0.0));
  double asset = level * growth, bond = strike * discount;
  double decay = density == 0.0 ? 0.0 : asset * density * volatility / (2.0 * root);
  price = level == level ? price : level;

  out[OUT_PRICE * out_stride] = price;
  out[OUT_DELTA * out_stride] = sign * growth * n1 + 0.0 * price;
  out[OUT_GAMMA * out_stride] = (density == 0.0 ? 0.0 : growth * density / (level * s)) + 0.0 * price;
  out[OUT_VEGA * out_stride] = asset * density * root;
  out[OUT_THETA * out_stride] = -(decay + sign * ((carry - discount_rate) * asset * n1 + discount_rate * bond * n2)) + 0.0 * price;
  double spot_rho = sign * bond * years * n2;
  double rho = on_forward ? (inverse ? 0.0 : -years * price) : spot_rho;
  double dividend_rho = on_forward ? not_a_number() : (inverse ? -spot_rho : -sign * years * asset * n1);
  out[OUT_RHO * out_stride] = rho + 0.0 * price;
  out[OUT_DIVIDEND_RHO * out_stride] = dividend_rho + 0.0 * price;
  out[OUT_VANNA * out_stride] = (density == 0.0 ? 0.0 : -growth * density * (d1 - s) / volatility) + 0.0 * price;
  out[OUT_VOLGA * out_stride] = (density == 0.0 ? 0.0 : asset * density * root * d1 * (d1 - s) / volatility) + 0.0 * price;
  out[OUT_IMPLIED_VOLATILITY * out_stride] = implied;
  // One coin is worth L; premium-adjusted delta = Black delta - price in coins.
  double price_coin = inverse ? price / level : not_a_number();
  out[OUT_PRICE_COIN * out_stride] = price_coin;
  out[OUT_DELTA_COIN * out_stride] = sign * n1 - price_coin;
  out[OUT_STATUS * out_stride] = status;
}

}  // namespace upm

#endif
