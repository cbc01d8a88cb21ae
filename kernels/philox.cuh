// Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"): a bijection of the
// counter under the key, so a draw is a function of its address. Twin: upm_gpu/rng. Known answers: Random123 kat_vectors.
//
// Address: key = the 64-bit seed (low word first), counter = (scenario, factor, step, stream).
#ifndef UPM_PHILOX_CUH
#define UPM_PHILOX_CUH

#include "platform.cuh"

namespace upm {

struct PhiloxWords {
  u32 w0, w1, w2, w3;
};

UPM_INLINE PhiloxWords philox4x32(u32 c0, u32 c1, u32 c2, u32 c3, u32 k0, u32 k1) {
#define UPM_PHILOX_ROUND                         \
  {                                              \
    u64 p0 = (u64)c0 * 0xD2511F53u;              \
    u64 p1 = (u64)c2 * 0xCD9E8D57u;              \
    u32 n0 = (u32)(p1 >> 32) ^ c1 ^ k0;          \
    u32 n2 = (u32)(p0 >> 32) ^ c3 ^ k1;          \
    c0 = n0; c1 = (u32)p1; c2 = n2; c3 = (u32)p0; \
  }
#define UPM_PHILOX_BUMP { k0 += 0x9E3779B9u; k1 += 0xBB67AE85u; }
  // Spelled out: a counted loop here would stop the vectoriser on the loop over scenarios.
  UPM_PHILOX_ROUND UPM_PHILOX_BUMP UPM_PHILOX_ROUND UPM_PHILOX_BUMP UPM_PHILOX_ROUND UPM_PHILOX_BUMP
  UPM_PHILOX_ROUND UPM_PHILOX_BUMP UPM_PHILOX_ROUND UPM_PHILOX_BUMP UPM_PHILOX_ROUND UPM_PHILOX_BUMP
  UPM_PHILOX_ROUND UPM_PHILOX_BUMP UPM_PHILOX_ROUND UPM_PHILOX_BUMP UPM_PHILOX_ROUND UPM_PHILOX_BUMP
  UPM_PHILOX_ROUND
#undef UPM_PHILOX_ROUND
#undef UPM_PHILOX_BUMP
  PhiloxWords out = {c0, c1, c2, c3};
  return out;
}

// u = (k + 1/2) 2^-52, k the top 52 bits of (high, low): exact in double, never 0 or 1, symmetric about 1/2.
UPM_INLINE double uniform_of_words(u32 low, u32 high) {
  u64 k = (((u64)high << 32) | low) >> 12;
  return (from_bits(k | 0x3ff0000000000000ull) - 1.0) + 1.1102230246251565e-16;
}

// The first uniform of an address (words 0 and 1) and the second (words 2 and 3).
UPM_INLINE double first_uniform(PhiloxWords w) { return uniform_of_words(w.w0, w.w1); }
UPM_INLINE double second_uniform(PhiloxWords w) { return uniform_of_words(w.w2, w.w3); }

}  // namespace upm

#endif
