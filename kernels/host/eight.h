// Eight numbers side by side: what an operation of the host engine computes for eight cases at once, each lane with the bits of `double`.
#pragma once

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "platform.cuh"

namespace upm {

typedef double Eight __attribute__((vector_size(64), may_alias));

UPM_INLINE Eight fma(const Eight& x, const Eight& y, const Eight& z) {
#if defined(__AVX512F__)
  return (Eight)_mm512_fmadd_pd((__m512d)x, (__m512d)y, (__m512d)z);
#elif defined(__AVX2__) && defined(__FMA__)
  Eight r;
  for (i32 half = 0; half < 2; ++half)
    ((__m256d*)&r)[half] = _mm256_fmadd_pd(((const __m256d*)&x)[half], ((const __m256d*)&y)[half], ((const __m256d*)&z)[half]);
  return r;
#else
  Eight r;
  for (i32 l = 0; l < 8; ++l) r[l] = fma(x[l], y[l], z[l]);
  return r;
#endif
}

UPM_INLINE Eight at_least(const Eight& x, const Eight& bound) { return x < bound ? bound : x; }

}  // namespace upm
