// Scrambled Sobol points by address. Twin: upm_gpu/rng/scramble.py, which gives the construction and its sources.
// Words are bit-reversed until the last step; scenario s is point s / 16 of scrambling s % 16.
#ifndef UPM_SOBOL_CUH
#define UPM_SOBOL_CUH

#include "philox.cuh"
#include "platform.cuh"

#define UPM_SCRAMBLINGS 16
#define UPM_POINT_BITS 28

namespace upm {

UPM_INLINE u32 reverse_bits(u32 x) {
  x = ((x >> 1) & 0x55555555u) | ((x & 0x55555555u) << 1);
  x = ((x >> 2) & 0x33333333u) | ((x & 0x33333333u) << 2);
  x = ((x >> 4) & 0x0F0F0F0Fu) | ((x & 0x0F0F0F0Fu) << 4);
  x = ((x >> 8) & 0x00FF00FFu) | ((x & 0x00FF00FFu) << 8);
  return (x >> 16) | (x << 16);
}

// Nested uniform scrambling of a reversed word: bit b depends on bits 0 to b only.
UPM_INLINE u32 nested_hash(u32 x, u32 k0, u32 k1, u32 k2, u32 k3) {
  x ^= x * 0x3D20ADEAu;
  x += k0;
  x *= k1 | 1u;
  x ^= x * 0x05526C56u;
  x ^= x * 0x53A22864u;
  x += k2;
  x *= k3 | 1u;
  x ^= x * 0x05526C56u;
  x ^= x * 0x53A22864u;
  return x;
}

// The word below the leading 32 bits: a fresh draw for every scrambled point.
UPM_INLINE u32 low_word(u32 x, u32 k3) {
  x += k3;
  x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
  x = (x ^ (x >> 13)) * 0xC2B2AE35u;
  return x ^ (x >> 16);
}

// Reversed coordinate of a point: xor of the direction numbers at the bits of its Gray code. direction (UPM_POINT_BITS).
UPM_INLINE u32 sobol_coordinate(u32 point, const u32* direction) {
  u32 x = 0;
  u32 gray = point ^ (point >> 1);
  for (i32 j = 0; gray; ++j, gray >>= 1) x ^= direction[j] & (0u - (gray & 1u));
  return x;
}

// Uniform of a scrambled coordinate, strictly between 0 and 1.
UPM_INLINE double owen_uniform(u32 x, u32 k0, u32 k1, u32 k2, u32 k3) {
  const u32 leading = reverse_bits(nested_hash(x, k0, k1, k2, k3));
  return uniform_of_words(low_word(leading, k3), leading);
}

UPM_INLINE double shifted_uniform(u32 x, u32 k0, u32 k1) { return uniform_of_words(k1, reverse_bits(x ^ k0)); }

}  // namespace upm

#endif
